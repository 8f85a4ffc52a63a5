"""Waves planned from real directories, the right-person check over IMAP, approvals, and the rehearsal."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lab import maildir
from lab.acme import STORES, Acme, Person, acme
from lab.corpus import CorpusFolder
from lab.process import workspace
from mailferry.cli.main import cli
from mailferry.coexist.routes import People
from mailferry.config.settings import read_settings
from mailferry.directory.sharing import Tie, ties
from mailferry.errors import MailferryError
from mailferry.ledger import open_ledger
from mailferry.ledger import waves as ledger_waves
from mailferry.model.recipient import Recipient
from mailferry.net import ldap
from mailferry.ops import wave
from mailferry.ops.directory import reader_of
from mailferry.waves.people import read_everybody
from mailferry.wire import dn as names


@pytest.fixture(scope="module")
def organisation() -> Iterator[Acme]:
    root = workspace("wave-plan")
    try:
        with acme(root) as running:
            yield running
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def here(organisation: Acme) -> Iterator[Acme]:
    """With a ledger that has no waves, and mailboxes as before."""
    backup = organisation.root / "ledger.backup"
    shutil.copy(organisation.ledger, backup)
    try:
        yield organisation
    finally:
        for extra in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{organisation.ledger}{extra}").unlink()
        shutil.move(backup, organisation.ledger)


def run(here: Acme, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(here.command("wave", *arguments), capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def planned(here: Acme, *arguments: str) -> Any:
    code, out, err = run(here, "plan", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def mails(found: Any) -> list[list[str]]:
    return [[one["mail"] for one in wave["people"]] for wave in found["waves"]]


def tied(here: Acme, tie: Tie | None = None) -> set[str]:
    """Addresses of those who share, in this way."""
    site = wave.site_of(here.config, None, str)
    with ldap.Connection(site.directory) as connection:
        recipients = read_everybody(People(connection, site.suffix)).recipients
    strong = [edge for edge in ties(recipients).strong if tie in (None, edge.tie)]
    return {recipients[who].mail or "" for edge in strong for who in (edge.one, edge.other)}


@pytest.fixture(scope="module")
def alone(organisation: Acme) -> list[Person]:
    """Five people who share with nobody."""
    sharing = tied(organisation)
    return [one for one in organisation.people if one.mail not in sharing][:5]


def sent(here: Acme, whose: str, sender: str) -> None:
    """A mailbox on Exchange with messages in Sent Items, as this person wrote them."""
    maildir.seed(here.exchange.store, whose, [CorpusFolder(("Sent Items",), 3, sender=sender)])


def test_everybody_in_waves_within_a_budget(here: Acme) -> None:
    found = planned(here, "all", "--all", "--most-people", "10", "--no-sizes")
    assert [wave["name"] for wave in found["waves"]] == [f"all-{number + 1}" for number in range(len(found["waves"]))]
    everybody = [mail for wave in mails(found) for mail in wave]
    assert len(everybody) == len(set(everybody)) > 40
    assert all(len(wave["people"]) <= 10 or wave["over_budget"] for wave in found["waves"])
    stores = {one["store"] for wave in found["waves"] for one in wave["people"]}
    assert stores == set(STORES)
    shown = json.loads(run(here, "show", found["waves"][-1]["name"], "--json")[1])
    assert shown["settings"]["planned_by"]
    by_store = {one["mail"]: one["store"] for one in shown["people"]}
    assert shown["separated"] == []  # all of a cluster are planned, and not across waves
    assert shown["clusters"] and all(len({by_store[one] for one in cluster}) == 1 for cluster in shown["clusters"])
    code, _, err = run(here, "plan", "again", "--all", "--no-sizes")
    assert code == 64 and "nobody who could move" in err and "is in the wave all-" in err
    code, _, err = run(here, "plan", "all-1", "--people", everybody[0])
    assert code == 64 and "is in the wave" in err


def test_those_who_share_stay_together_unless_told(here: Acme) -> None:
    shared = min(tied(here, Tie.FULL_ACCESS) & {one.mail for one in here.people})
    code, _, err = run(here, "plan", "x", "--people", shared, "--no-sizes")
    assert code == 65 and "would be separated" in err and "--bring" in err and "--split" in err
    alone = planned(here, "x", "--people", shared, "--split", "--no-sizes", "--dry-run")
    assert mails(alone) == [[shared]] and alone["separated"]
    together = planned(here, "x", "--people", shared, "--bring", "--no-sizes", "--most-people", "1")
    assert len(together["waves"]) == 1 and together["waves"][0]["over_budget"] and not together["separated"]
    assert {one["shares_with"] for one in alone["separated"]} <= set(mails(together)[0])
    code, _, err = run(here, "plan", "x", "--remove", shared)
    assert code == 0, err
    again = planned(here, "x", "--add", shared, "--no-sizes")
    assert mails(again) == [[shared]] and again["separated"] == []


def test_who_by_group_ou_and_file(here: Acme, tmp_path: Path) -> None:
    group, members = next(iter(here.groups.items()))
    by_uid = {one.uid: one.mail for one in here.people}
    found = planned(here, "g", "--group", group, "--split", "--no-sizes", "--dry-run")
    assert set(mails(found)[0]) <= {by_uid[uid] for uid in members}
    assert len(mails(found)[0]) + len(found["passed_over"]) == len(members)

    with reader_of(source(here)) as reader:
        everybody = [one for one in reader.read() if isinstance(one, Recipient) and one.mail]
    someone = next(one for one in everybody if one.mail == here.people[0].mail)
    ou = names.join(names.parse(someone.where)[1:])
    found = planned(here, "o", "--ou", ou, "--split", "--no-sizes", "--dry-run")
    below = {one.mail for one in everybody if one.where.lower().endswith(f",{ou.lower()}")}
    assert someone.mail in mails(found)[0] and set(mails(found)[0]) <= below
    branch = f"ou=people,{here.openldap.suffix}"
    assert len(mails(planned(here, "o", "--ou", branch, "--no-sizes", "--dry-run", "--split"))[0]) > 40

    file = tmp_path / "list.csv"
    file.write_bytes('\ufeffName;Mail\r\n"Müller; Ü";{}\r\n;SMTP:{}\r\n'.format(*two(here)).encode("utf-16-le"))
    assert set(mails(planned(here, "c", "--csv", str(file), "--split", "--no-sizes", "--dry-run"))[0]) == set(two(here))
    file.write_bytes(f"Name,Mail\nM\xfcller,{two(here)[0]}\nnobody,here\n".encode("latin-1"))
    code, _, err = run(here, "plan", "c", "--csv", str(file))
    assert code == 64 and f"{file}:3" in err


def two(here: Acme) -> tuple[str, str]:
    return here.people[0].mail, here.people[1].mail


def source(here: Acme) -> Any:
    settings = read_settings(here.config)
    assert settings.directory is not None
    return settings.directory.source


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["../x", "--all"], "not a name for a wave"),
        (["a b", "--all"], "not a name for a wave"),
        (["x"], "nobody is named"),
        (["x", "--people", "nobody@acme.example"], "nobody in the directory has this address"),
        (["x", "--people", "GROUP"], "is a group"),
        (["x", "--group", "PERSON"], "is no group"),
        (["x", "--ou", "ou=nowhere,dc=acme,dc=example"], "there is no such entry"),
        (["x", "--people", "PERSON", "--store", "nowhere"], "there is no such store"),
        (["x", "--people", "PERSON", "--blackout", "8-18"], "not blackout hours"),
        (["x", "--people", "PERSON", "--blackout", "00:00-24:00"], "ever be parked"),
        (["x", "--all", "--start", "2027-01-02 20:00", "--complete", "2027-01-01"], "completed before it is started"),
        (["nowave", "--add", "PERSON"], "there is no such wave"),
        (["x", "--add", "PERSON", "--all"], "too much at once"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_planned(here: Acme, arguments: list[str], why: str) -> None:
    given = {"GROUP": next(iter(here.groups)), "PERSON": here.people[0].mail}
    command = here.command("wave", "plan", *(given.get(one, one) for one in arguments))[1:]
    with pytest.raises(MailferryError, match=why) as caught:
        cli.main(command, standalone_mode=False)
    assert caught.value.advice and caught.value.about
    with closing(open_ledger(here.ledger)) as ledger:
        assert ledger_waves.waves(ledger) == []


def test_the_wrong_mailbox_and_a_changed_mapping_stop(here: Acme, alone: list[Person]) -> None:
    right, wrong, new = alone[:3]
    sent(here, right.mail, right.mail)
    sent(here, wrong.mail, "somebody.else@acme.example")
    planned(here, "w", "--people", right.mail, "--people", wrong.mail, "--people", new.mail, "--no-sizes")
    assert run(here, "seed", "w")[0] == 0
    people = {one["mail"]: one for one in json.loads(run(here, "show", "w", "--json")[1])["people"]}
    assert people[right.mail]["evidence"]["verdict"] == "confirmed"
    assert people[wrong.mail]["evidence"]["verdict"] == "contradicted"
    assert people[wrong.mail]["evidence"]["others"] == ["somebody.else@acme.example"]
    assert people[new.mail]["evidence"]["verdict"] == "no-evidence"
    code, out, _ = run(here, "approve", "w")
    assert code == 1 and new.mail in out and wrong.mail not in out  # what is contradicted nobody can approve

    try:
        change(here, right, "mailferryMailboxGuid", b"00000000-0000-0000-0000-000000000001")
        code, _, err = run(here, "seed", "w", "--only", right.mail)
        assert code == 65 and "its mailbox is 00000000-0000-0000-0000-000000000001 in the directory" in err
    finally:
        change(here, right, "mailferryMailboxGuid", None)
        here.ferry("directory", "sync", "--full", codes=(0, 1))
    assert run(here, "seed", "w", "--only", right.mail)[0] == 0


def change(here: Acme, one: Person, name: str, value: bytes | None) -> None:
    connection = here.openldap.connect()
    connection.modify_s(one.dn, [(2, name, None if value is None else [value])])
    connection.unbind_s()


def test_rehearsal_approval_and_cutover(here: Acme, alone: list[Person], tmp_path: Path) -> None:
    known, new = alone[3:]
    sent(here, known.mail, known.mail)
    planned(here, "r", "--people", known.mail, "--people", new.mail)
    code, out, err = run(here, "rehearse", "r", "--out", str(tmp_path / "page"))
    assert code == 1, err
    assert "NOT READY" in out and f"{new.mail}: waits for an approval" in out
    document = json.loads((tmp_path / "page" / "rehearsal.json").read_text())
    assert all(check["ok"] for check in document["checks"])
    assert {check["name"] for check in document["checks"]} == {
        "directory",
        "queue mx",
        "reload mx",
        "postsuper mx",
        "listener mx",
        "domain controller",
    }
    assert [one["score"] for one in document["people"]] == ["Perfect", "Perfect"]
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Not ready" in page and "signature" in page and "<script" not in page
    routes = here.routes()
    assert routes[known.uid] == routes[new.uid] == "exchange"

    code, _, err = run(here, "approve", "r", new.mail, "--why", "she is new")
    assert code == 64 and "somebody else has to approve" in err
    assert run(here, "approve", "r", new.mail, "--as", "carol", "--why", " ")[0] == 64
    assert run(here, "approve", "r", new.mail, "--as", "carol", "--why", "she is new")[0] == 0
    code, out, _ = run(here, "rehearse", "r", "--out", str(tmp_path / "page"))
    assert code == 0 and "READY" in out and "approved by carol: she is new" in out
    code, out, err = run(here, "cutover", "r")
    assert code == 0, out + err
    routes = here.routes()
    assert routes[known.uid] == routes[new.uid] == "local"
    with closing(open_ledger(here.ledger)) as ledger:
        told = [one for one in ledger.events() if one.what == "move approved"]
    assert [one.data["approval"]["by"] for one in told] == ["carol"]
    assert run(here, "rehearse", "r", "--no-copy", "--out", str(tmp_path / "page"))[1].startswith(
        "Rehearsal of the wave r"
    )
    assert run(here, "rollback", "r")[0] == 0


def test_what_does_not_answer_is_on_the_page(here: Acme, alone: list[Person], tmp_path: Path) -> None:
    person = alone[0]
    planned(here, "d", "--people", person.mail, "--no-sizes", "--blackout", "Mon-Sun 00:00-23:59")
    config = here.config.read_text()
    broken = config.replace(f'smtp = "127.0.0.1:{here.postfix.port}"', 'smtp = "127.0.0.1:9"')
    for store in STORES:
        broken = broken.replace(f'[coexist.stores."{store}"]', f'[coexist.stores."{store}"]\nfree = "echo 12"')
    here.config.write_text(broken)
    try:
        code, out, _ = run(here, "rehearse", "d", "--no-copy", "--out", str(tmp_path))
    finally:
        here.config.write_text(config)
    assert code == 1
    assert "NOT listener mx: " in out and "ok  disk " in out and "Nobody is parked before" in " ".join(out.split())
    assert f"{person.mail}: is planned: no complete copy was made yet" in out
