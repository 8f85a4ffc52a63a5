"""`mailferry wave script` over a real Active Directory (Samba); what it says as LDIF is applied there and undone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ldap
import pytest

from lab.openldap import OpenLdap
from lab.process import PASSWORD, binary
from lab.samba import Samba
from mailferry.ledger import open_ledger
from mailferry.ledger import waves as ledger_waves
from mailferry.model.wave import Move, MoveState
from tests.directories import Pair, ou_of

NASTY = "O\u2019Brien; 'x' $(y) # Ünï"


@dataclass
class Wave:
    """A wave whose people are in Active Directory and in the open directory."""

    pair: Pair
    name: str = "first"

    def fill(self, **people: MoveState) -> None:
        """Sync, and put these uids into the wave in these states."""
        self.pair.sync()
        with closing(open_ledger(self.pair.folder / "ledger.db")) as ledger:
            wave = ledger_waves.create(ledger, self.name, {})
            moves = []
            for uid, state in people.items():
                entry = self.pair.entry(f"uid={uid},ou=people")
                (source_id,), (mail,) = entry["mailferrySourceId"], entry["mail"]
                given = (source_id.decode(), mail.decode(), uid, "mailbox", uid, uid, "store1")
                moves.append(Move(0, wave.id, *given, state=state))
            ledger_waves.add(ledger, wave.id, moves)

    def script(self, step: str, out: str, *more: str) -> tuple[int, dict[str, Any], str]:
        """The program itself: exit code, its JSON, and what it says to people."""
        command = ["wave", "script", self.name, step, "--out", str(self.pair.folder / out), "--json", *more]
        done = subprocess.run(
            [sys.executable, "-c", "from mailferry.cli.main import main; main()", *command],
            capture_output=True,
            text=True,
            env={**os.environ, "MAILFERRY_CONFIG": str(self.pair.config)},
            timeout=60,
            check=False,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr

    def apply(self, out: str, name: str) -> int:
        """As an administrator would."""
        ad = self.pair.ad
        command = [binary("ldapmodify"), "-x", "-H", ad.url, "-D", ad.admin_dn, "-w", PASSWORD]
        path = self.pair.folder / out / name
        return subprocess.run([*command, "-f", str(path)], capture_output=True, check=False).returncode

    def targets(self, *dns: str) -> list[str]:
        found = []
        for dn in dns:
            ((_, values),) = self.pair.ad.admin.search_s(dn, ldap.SCOPE_BASE, attrlist=["targetAddress"])
            found.append(b"".join(values.get("targetAddress", [])).decode())
        return found


@pytest.fixture
def wave(samba: Samba, own_openldap: OpenLdap, new_user: Callable[[], str], tmp_path: Path) -> Iterator[Wave]:
    pair = Pair(samba, own_openldap, ou_of(samba, new_user()), tmp_path)
    pair.configure(
        """
        [directory.exchange]
        routing_domain = "open.acme.example"
        [coexist]
        source = "imaps://ex1.acme.example"
        [coexist.stores."store1"]
        url = "imaps://store1.acme.example"
        [stack.postfix]
        hostname = "mx1.acme.example"
        exchange = "ex1.acme.example:25"
        exchange_domain = "exchange.acme.example"
        exchange_networks = ["10.1.0.0/24"]
        listen_exchange = "10.1.0.1:2525"
        [stack.postfix.stores]
        "store1" = "10.2.0.1:24"
        """
    )
    yield Wave(pair)


def test_external_addresses_by_ldif_and_back(wave: Wave, new_user: Callable[[], str]) -> None:
    alice, bob, back = new_user(), new_user(), new_user()
    ad, ou = wave.pair.ad, wave.pair.ou
    former = "SMTP:bob@partner.example"
    dns = [
        ad.add_user(alice, parent=ou, cn=NASTY),
        ad.add_user(bob, parent=ou, targetAddress=former),
        ad.add_user(back, parent=ou, targetAddress=f"SMTP:{back}@open.acme.example"),
    ]
    wave.fill(**{alice: MoveState.SEEDED, bob: MoveState.PARKED, back: MoveState.ROLLED_BACK})
    ours = [f"SMTP:{uid}@open.acme.example" for uid in (alice, bob, back)]

    assert wave.script("park", "dry", "--format", "ldif", "--dry-run")[1]["files"] == []
    assert not (wave.pair.folder / "dry").exists()
    code, told, _ = wave.script("park", "park", "--format", "ldif")
    assert code == 1 and told["left_out"] == [{"mail": f"{back}@acme.example", "why": "is rolled back"}]
    assert [(one["before"], one["ours"]) for one in told["people"]] == [("", ours[0]), (former, ours[1])]
    assert "is rolled back" in (wave.pair.folder / "park" / "README.md").read_text()
    assert wave.apply("park", "park.ldif") == 0
    assert wave.targets(*dns) == ours
    assert wave.apply("park", "park.ldif") != 0, "it is no longer what was read"

    again = wave.script("park", "again")[1]
    assert [one["before"] for one in again["people"]] == ["", former], "the ledger knows what is ours"
    text = (wave.pair.folder / "again" / "park-undo.ps1").read_text(encoding="utf-8-sig")
    assert f"From = '{ours[1]}'; To = '{former}'" in text
    assert wave.apply("park", "park-undo.ldif") == 0
    assert wave.targets(*dns) == ["", former, ours[2]]

    code, _, said = wave.script("rollback", "back", "--format", "ldif")
    assert code == 64 and f"{back}@acme.example has our targetAddress already" in said, "listed for a human"


def test_rolling_back_gives_back_what_a_script_has_replaced(wave: Wave, new_user: Callable[[], str]) -> None:
    uid = new_user()
    dn = wave.pair.ad.add_user(uid, parent=wave.pair.ou, targetAddress="smtp:x@partner.example")
    wave.fill(**{uid: MoveState.PARKED})
    wave.script("park", "park", "--format", "ldif")
    assert wave.apply("park", "park.ldif") == 0
    with closing(open_ledger(wave.pair.folder / "ledger.db")) as ledger:
        (move,) = ledger_waves.moves(ledger)
        for state in (MoveState.SETTLED, MoveState.CAUGHT_UP, MoveState.VERIFIED, MoveState.SWITCHED):
            move = ledger_waves.enter(ledger, move, state)
        ledger_waves.enter(ledger, move, MoveState.RETURNING)
    assert wave.script("rollback", "back", "--format", "ldif")[0] == 0
    for name, target in (
        ("rollback.ldif", "smtp:x@partner.example"),
        ("rollback-undo.ldif", f"SMTP:{uid}@open.acme.example"),
    ):
        assert wave.apply("back", name) == 0
        assert wave.targets(dn) == [target]


def test_who_does_not_fit_is_left_out_and_told(wave: Wave, new_user: Callable[[], str]) -> None:
    done, swept, forwards, without, gone = (new_user() for _ in range(5))
    ad, ou = wave.pair.ad, wave.pair.ou
    to = ad.add_user(done, parent=ou)
    ad.add_user(swept, parent=ou)
    ad.add_user(forwards, parent=ou, altRecipient=to)
    empty = ad.add_user(without, parent=ou)
    lost = ad.add_user(gone, parent=ou)
    wave.fill(
        **{done: MoveState.DONE, **dict.fromkeys((swept, forwards), MoveState.SWEPT)},
        **dict.fromkeys((without, gone), MoveState.SEEDED),
    )
    ad.modify(empty, replace={"msExchMailboxGuid": ()})
    ad.delete(lost)

    told = wave.script("forward", "forward")[1]
    assert {one["mail"] for one in told["people"]} == {f"{uid}@acme.example" for uid in (done, swept)}
    why = {one["mail"].partition("@")[0]: one["why"] for one in told["left_out"]}
    assert why[without] == "has no mailbox in Exchange" and "nobody in Active Directory" in why[gone]
    assert why[forwards].startswith(f"forwards to {done}@acme.example already")
    finish = wave.script("finish", "finish")[1]
    assert [one["mail"] for one in finish["people"]] == [f"{done}@acme.example"]
    assert (wave.pair.folder / "finish" / "finish-undo.ps1").exists()
    assert wave.script("close", "close", "--only", f"{swept}@acme.example")[0] == 0
    assert wave.script("close", "close")[0] == 64, "its undo may still be needed"
    for arguments, code in ((("rollback", "x"), 64), (("close", "x", "--format", "ldif"), 64)):
        assert wave.script(*arguments)[0] == code
    assert wave.script("close", "x", "--only", "nobody@acme.example")[0] == 64


def test_the_way_is_prepared_from_the_settings(wave: Wave, new_user: Callable[[], str]) -> None:
    uid = new_user()
    wave.pair.ad.add_user(uid, parent=wave.pair.ou)
    wave.fill(**{uid: MoveState.PLANNED})
    assert wave.script("prepare", "prepare")[0] == 0
    text = (wave.pair.folder / "prepare" / "prepare.ps1").read_text(encoding="utf-8-sig")
    assert "$SmartHost = 'mx1.acme.example'" in text and "$Port = 2525" in text
    assert "@{ Domain = 'exchange.acme.example'; Type = 'Authoritative' }" in text
