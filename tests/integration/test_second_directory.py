"""The university's way: mailHost is set in the old system's directory, too, when somebody is switched. Two slapds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.ldap_people import person
from lab.openldap import WRITER_PASSWORD, OpenLdap
from mailferry.coexist.second import BACK, LEFT_ALONE, SWITCH_INTENDED, SWITCHED, SecondDirectory
from mailferry.errors import IntegrityError, UserError
from mailferry.ledger import open_ledger
from mailferry.ledger.store import Ledger
from mailferry.net import ldap
from mailferry.secret import Secret
from tests.mail_flow import STORE, Sides, sides
from tests.waves import WaveLab

OLD = "mail.university.example"


@pytest.fixture(scope="module")
def second() -> Iterator[OpenLdap]:
    """The old system's directory; it knows nothing of routes."""
    with OpenLdap() as server:
        yield server


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(open_ledger(str(tmp_path / "ledger.db"))) as ledger:
        yield ledger


@pytest.fixture
def port(second: OpenLdap, ledger: Ledger) -> SecondDirectory:
    server = ldap.Server(second.url, user=second.settings.writer_dn, secret=Secret(WRITER_PASSWORD), plain=True)
    return SecondDirectory(server, second.suffix, "mailHost", "mail", lambda work: work(ledger))


def add(second: OpenLdap, uid: str, **more: str) -> str:
    second.add(person(second.suffix, uid, **more))
    return f"{uid}@acme.example"


def values(second: OpenLdap, uid: str, name: str = "mailHost") -> list[str]:
    found = second.connect().search_s(f"uid={uid},ou=people,{second.suffix}", 0, attrlist=[name])
    return [one.decode() for one in found[0][1].get(name, [])]


def said(ledger: Ledger) -> list[str]:
    return [one.what for one in ledger.events() if one.what.startswith("second")]


def test_there_and_back(second: OpenLdap, port: SecondDirectory, ledger: Ledger, new_user: Callable[[], str]) -> None:
    mail = add(second, uid := new_user(), mailHost=OLD)
    assert port.give_back("ad:1", mail) is None and values(second, uid) == [OLD]
    assert port.switch("ad:1", mail, "store1").made
    assert not port.switch("ad:1", mail, "store1").made
    assert port.switch("ad:1", mail, "store2").made, "to another store"
    assert values(second, uid) == ["store2"]
    back = port.give_back("ad:1", mail)
    assert back is not None and back.made and values(second, uid) == [OLD]
    again = port.give_back("ad:1", mail)
    assert again is not None and not again.made
    assert said(ledger).count(SWITCHED) == 2 and said(ledger).count(BACK) == 1


def test_an_attribute_that_was_not_there_goes_again(
    second: OpenLdap, port: SecondDirectory, new_user: Callable[[], str]
) -> None:
    mail = add(second, uid := new_user())
    port.switch("ad:2", mail, "store1")
    port.give_back("ad:2", mail)
    assert values(second, uid) == []


def test_what_others_have_written_since_is_left_alone(
    second: OpenLdap, port: SecondDirectory, ledger: Ledger, new_user: Callable[[], str]
) -> None:
    mail = add(second, uid := new_user(), mailHost=OLD)
    port.switch("ad:3", mail, "store1")
    second.connect().modify_s(f"uid={uid},ou=people,{second.suffix}", [(2, "mailHost", [b"elsewhere"])])
    back = port.give_back("ad:3", mail)
    assert back is not None and not back.made and "elsewhere" in back.note
    assert values(second, uid) == ["elsewhere"] and LEFT_ALONE in said(ledger)


def test_a_killed_run_has_told_what_was_there(
    second: OpenLdap, port: SecondDirectory, ledger: Ledger, new_user: Callable[[], str]
) -> None:
    mail = add(second, uid := new_user(), mailHost="store1")  # it had written, and died
    ledger.audit(SWITCH_INTENDED, id="ad:4", dn="x", attribute="mailHost", before=OLD, after="store1")
    assert not port.switch("ad:4", mail, "store1").made
    port.give_back("ad:4", mail)
    assert values(second, uid) == [OLD]


def test_a_person_is_found_once_or_not_at_all(
    second: OpenLdap, port: SecondDirectory, new_user: Callable[[], str]
) -> None:
    with pytest.raises(UserError, match="nobody in"):
        port.switch("ad:5", "nobody@acme.example", "store1")
    uid = new_user()
    mail = add(second, uid)
    by_id = SecondDirectory(port.server, port.base, "mailHost", "entryUUID", port.do)
    assert by_id.switch(f"ldap:{values(second, uid, 'entryUUID')[0]}", mail, "store1").made
    assert values(second, uid) == ["store1"]
    second.connect().modify_s(f"uid={uid},ou=people,{second.suffix}", [(0, "title", [b"same", b"other"])])
    twice = SecondDirectory(port.server, port.base, "title", "mail", port.do)
    with pytest.raises(IntegrityError, match="more than one"):
        twice.switch("ad:6", mail, "store1")


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


def test_a_whole_wave_and_its_rollback(
    both: Sides, second: OpenLdap, tmp_path: Path, new_user: Callable[[], str]
) -> None:
    lab = WaveLab(both, tmp_path)
    uid = new_user()
    address = lab.person(uid)
    add(second, uid, mailHost=OLD)
    with (tmp_path / "mailferry.toml").open("a") as settings:
        settings.write(f"""
[coexist.second]
url = "{second.url}"
base = "{second.suffix}"
bind = "{second.settings.writer_dn}"
password = "file:{tmp_path}/writer"
match = "mail"
values = {{ {STORE} = "store1.university.example" }}
write = true
tls = "none"
""")
    lab.wave("w", [address])
    for verb in ("seed", "cutover"):
        assert (done := lab.run(verb, "w")).code == 0, done
    assert lab.route(address) == ("local", STORE)
    assert values(second, uid) == ["store1.university.example"]
    assert (done := lab.run("rollback", "w")).code == 0, done
    assert lab.route(address)[0] == "exchange"
    assert values(second, uid) == [OLD]
