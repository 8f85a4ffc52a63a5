"""targetAddress in Active Directory (Samba): written while somebody is parked, and given back exactly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ldap
import pytest

from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.coexist.target_address import PARK, PARK_INTENDED, RESTORE, TargetAddresses
from mailferry.directory.readers.ad_entry import identity
from mailferry.errors import AuthError, ConfigError, Permanent, Temporary, UserError
from mailferry.ledger import open_ledger
from mailferry.ledger.store import Ledger
from mailferry.net.ldap import Server
from mailferry.net.ldap_entry import Entry
from mailferry.secret import Secret

OPEN = "alice@open.acme.example"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samba]:
    """A controller that never hears of what is written at the first: the longest replication there is."""
    with Samba() as server:
        yield server


def port(ledger: Ledger, *controllers: Samba) -> TargetAddresses:
    servers = [
        Server(one.tls_url, user=one.admin_dn, secret=Secret(PASSWORD), ca_file=str(one.ca_file)) for one in controllers
    ]
    lock = threading.Lock()

    def do(work: Callable[[Ledger], Any]) -> Any:
        with lock:
            return work(ledger)

    return TargetAddresses(servers, do)


def id_of(samba: Samba, dn: str) -> str:
    ((found, values),) = samba.admin.search_s(dn, ldap.SCOPE_BASE, attrlist=["objectGUID"])
    known = identity(Entry(found, {"objectguid": tuple(values["objectGUID"])}))
    assert known is not None
    return known


def target(samba: Samba, dn: str) -> list[bytes]:
    ((_, values),) = samba.admin.search_s(dn, ldap.SCOPE_BASE, attrlist=["targetAddress"])
    found: list[bytes] = values.get("targetAddress", [])
    return found


@pytest.mark.parametrize("former", ["", "smtp:Alice@Old.example", "X400:c=de;a= ;p=acme;s=alice"])
def test_what_was_there_comes_back_exactly(
    samba: Samba, ledger: Ledger, new_user: Callable[[], str], former: str
) -> None:
    dn = samba.add_user(new_user(), **({"targetAddress": former} if former else {}))
    who, exchange = id_of(samba, dn), port(ledger, samba)
    assert exchange.park(who, OPEN, dry_run=True).after == f"SMTP:{OPEN}"
    assert target(samba, dn) == ([former.encode()] if former else [])
    for made in (True, False):
        done = exchange.park(who, OPEN)
        assert (done.made, done.after) == (made, f"SMTP:{OPEN}")
        assert target(samba, dn) == [f"SMTP:{OPEN}".encode()]
    dn = samba.rename(dn, f"renamed {new_user()}")
    assert exchange.restore(who, dry_run=True).after == former
    for made in (True, False):
        done = exchange.restore(who)
        assert (done.made, done.after, done.note) == (made, former, "")
        assert target(samba, dn) == ([former.encode()] if former else [])
    told = [(one.what, one.data["before"], one.data["after"]) for one in ledger.events()]
    wanted = f"SMTP:{OPEN}"
    assert [one for one in told if one[0] in (PARK, RESTORE)] == [(PARK, former, wanted), (RESTORE, wanted, former)]


def test_an_address_that_changes_meanwhile_does_not_become_the_former_one(
    samba: Samba, ledger: Ledger, new_user: Callable[[], str]
) -> None:
    dn = samba.add_user(new_user(), targetAddress="SMTP:old@partner.example")
    who, exchange = id_of(samba, dn), port(ledger, samba)
    exchange.park(who, OPEN)
    exchange.park(who, "alice2@open.acme.example")
    exchange.restore(who)
    assert target(samba, dn) == [b"SMTP:old@partner.example"]


def test_a_run_killed_between_the_ledger_and_the_directory_goes_on(
    samba: Samba, ledger: Ledger, new_user: Callable[[], str]
) -> None:
    dn = samba.add_user(new_user(), targetAddress="SMTP:old@partner.example")
    who, exchange = id_of(samba, dn), port(ledger, samba)
    ledger.audit(PARK_INTENDED, id=who, dn=dn, before="SMTP:old@partner.example", after=f"SMTP:{OPEN}")
    assert exchange.restore(who).made is False, "killed before it was written"
    assert target(samba, dn) == [b"SMTP:old@partner.example"]
    exchange.park(who, OPEN)
    samba.modify(dn, replace={"targetAddress": f"SMTP:{OPEN}"})
    assert exchange.restore(who).made
    assert target(samba, dn) == [b"SMTP:old@partner.example"]


def test_what_somebody_else_wrote_is_left_alone(samba: Samba, ledger: Ledger, new_user: Callable[[], str]) -> None:
    dn = samba.add_user(new_user(), targetAddress="SMTP:else@partner.example")
    who, exchange = id_of(samba, dn), port(ledger, samba)
    done = exchange.restore(who)
    assert (done.made, done.after, done.note) == (False, "SMTP:else@partner.example", ""), "it is none of ours"
    exchange.park(who, OPEN)
    samba.modify(dn, replace={"targetAddress": "SMTP:new@partner.example"})
    done = exchange.restore(who)
    assert not done.made and "somebody else has set its targetAddress to SMTP:new@partner.example" in done.note
    assert target(samba, dn) == [b"SMTP:new@partner.example"]


def test_who_was_diverted_by_somebody_else_is_left_to_them(
    samba: Samba, ledger: Ledger, new_user: Callable[[], str]
) -> None:
    dn = samba.add_user(new_user(), targetAddress=f"SMTP:{OPEN}")
    who, exchange = id_of(samba, dn), port(ledger, samba)
    assert not exchange.park(who, OPEN).made and not exchange.park(who, OPEN).made
    done = exchange.restore(who)
    assert not done.made and "what was there before is not known" in done.note
    samba.modify(dn, replace={"targetAddress": ()})
    assert exchange.restore(who).note.startswith("somebody else has set its targetAddress to nothing")


def test_a_change_between_reading_and_writing_is_not_overwritten(
    samba: Samba, ledger: Ledger, new_user: Callable[[], str]
) -> None:
    dn = samba.add_user(new_user())
    who = id_of(samba, dn)

    class Slow:
        """A ledger during whose commit somebody sets the attribute."""

        def audit(self, what: str, **data: Any) -> None:
            samba.modify(dn, replace={"targetAddress": "SMTP:quick@partner.example"})
            ledger.audit(what, **data)

    exchange = port(ledger, samba)
    exchange = TargetAddresses(exchange.servers, lambda work: work(Slow()))  # type: ignore[arg-type]
    with pytest.raises(Temporary, match="somebody else has just changed"):
        exchange.park(who, OPEN)
    assert target(samba, dn) == [b"SMTP:quick@partner.example"]


def test_nobody_is_parked_before_every_controller_shows_it(samba: Samba, other: Samba, ledger: Ledger) -> None:
    """Two copies of one controller that do not replicate: we write the value at the other, when it is time."""
    dn = samba.reader_dn  # somebody whom both have, with the same id
    who, exchange = id_of(samba, dn), port(ledger, samba, other)
    other.modify(dn, replace={"targetAddress": "SMTP:differs@partner.example"})
    with pytest.raises(Temporary, match="do not agree"):
        exchange.park(who, OPEN)
    assert target(samba, dn) == []
    other.modify(dn, replace={"targetAddress": ()})
    with pytest.raises(Temporary, match=f"{other.tls_url} shows none"):
        exchange.park(who, OPEN)
    assert target(samba, dn) == [f"SMTP:{OPEN}".encode()], "it is written, and waited for"
    assert exchange.show(who)[1] == (f"{other.tls_url} shows none",)
    other.modify(dn, replace={"targetAddress": f"SMTP:{OPEN}"})
    assert not exchange.park(who, OPEN).made
    done = exchange.restore(who)
    assert done.made and done.lagging == (f"{other.tls_url} shows SMTP:{OPEN}",)
    only_here = samba.add_user("only-here")
    with pytest.raises(Temporary, match="does not know it"):
        exchange.park(id_of(samba, only_here), OPEN)
    other.halt()
    with pytest.raises(Temporary, match="is not reached"):
        exchange.park(who, OPEN)
    assert target(samba, dn) == [], "who is away is not asked to agree"


def test_refusals_say_why(samba: Samba, ledger: Ledger, new_user: Callable[[], str]) -> None:
    dn = samba.add_user(new_user())
    who, exchange = id_of(samba, dn), port(ledger, samba)
    with pytest.raises(ConfigError, match="external address"):
        exchange.park(who, "no address")
    with pytest.raises(ConfigError, match="not read from Active Directory"):
        exchange.park("csv:alice", OPEN)
    reader = Server(samba.tls_url, user=samba.reader_principal, secret=Secret(PASSWORD), ca_file=str(samba.ca_file))
    with pytest.raises(Permanent, match="no right"):
        TargetAddresses([reader], exchange.do).park(who, OPEN)
    wrong = Server(samba.tls_url, user=samba.admin_dn, secret=Secret("wrong"), ca_file=str(samba.ca_file))
    with pytest.raises(AuthError):
        TargetAddresses([wrong], exchange.do).park(who, OPEN)
    samba.delete(dn)
    with pytest.raises(UserError, match="nobody in Active Directory"):
        exchange.park(who, OPEN)
