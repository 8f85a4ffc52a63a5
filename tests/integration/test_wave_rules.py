"""People's rules move with them: uploaded while mail flows, in force from the switch on, gone after the way back; and a
server for them that is away at the switch."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from lab.dovecot import Dovecot
from lab.open_dovecot import MASTER, MASTER_PASSWORD, OpenDovecot
from lab.openldap import OpenLdap
from lab.postfix import ExchangeSide, open_side
from lab.proxy import TcpProxy
from mailferry.config.sieve import parse_sieve
from mailferry.ledger import uploads
from mailferry.model.rule import Upload, UploadState
from mailferry.model.wave import MoveState
from mailferry.net.managesieve import session
from mailferry.secret import Secret
from tests.e2e.moves import mailbox
from tests.mail_flow import STORE, Sides
from tests.waves import WaveLab

S = MoveState
OWN = b'require "imap4flags";\r\naddflag "\\\\Flagged";\r\n'


@dataclass(slots=True)
class Here:
    """Both sides, the open store as our own renderer makes it, its ManageSieve behind a proxy that can be shut."""

    sides: Sides
    store: OpenDovecot
    sieve: TcpProxy


@pytest.fixture(scope="module")
def here() -> Iterator[Here]:
    with ExitStack() as stack:
        openldap = stack.enter_context(OpenLdap())
        store = stack.enter_context(OpenDovecot(openldap, STORE))
        exchange_store = stack.enter_context(Dovecot(flavour="exchange", lmtp=True))
        exchange = stack.enter_context(ExchangeSide(("127.0.0.1", exchange_store.lmtp_port)))
        stores = {STORE: ("127.0.0.1", store.lmtp_port)}
        postfix = stack.enter_context(open_side(openldap, ("127.0.0.1", exchange.postfix.port), stores))
        exchange.connector = ("127.0.0.1", postfix.exchange_port)
        exchange.update()
        sieve = stack.enter_context(TcpProxy(store.sieve_port))
        both = cast(Dovecot, store)
        yield Here(Sides(openldap, postfix, both, both, exchange, exchange_store), store, sieve)


@dataclass(slots=True, kw_only=True)
class RulesLab(WaveLab):
    """`exports`: the folder that `[coexist.rules]` names."""

    here: Here
    rules: dict[str, Any] = field(default_factory=dict)

    @property
    def exports(self) -> Path:
        return self.folder / "exports"

    def settings(self, reload_before: str = "", **coexist: Any) -> None:
        WaveLab.settings(self, reload_before, **coexist)
        path = self.folder / "mailferry.toml"
        (self.folder / "master").write_text(MASTER_PASSWORD)
        self.exports.mkdir(exist_ok=True)
        text = path.read_text()
        store = self.here.store
        plain = f"imap://127.0.0.1:{store.port}?tls=none&timeout=10"
        sieve = f"sieve://localhost:{self.here.sieve.port}?admin={MASTER}&ca={store.ca_file}&timeout=5"
        secrets = [f'password = "file:{self.folder}/{name}"' for name in ("password", "master")]
        before, after = (
            f'url = "{plain}"\n{secrets[0]}',
            f'url = "{plain}&admin={MASTER}"\nsieve = "{sieve}"\n{secrets[1]}',
        )
        assert before in text
        text = text.replace(before, after)
        more = "\n".join(f"{key} = {json.dumps(value)}" for key, value in self.rules.items())
        path.write_text(f'{text}\n[coexist.rules]\nfolder = "exports"\n{more}\n')

    def export(self, address: str, *rules: dict[str, Any], **away: Any) -> None:
        rows = [
            {"Name": f"rule {number}", "Priority": number, "Enabled": True, "RuleIdentity": number, **rule}
            for number, rule in enumerate(rules, start=1)
        ]
        (self.exports / f"{address}.json").write_text(json.dumps(rows))
        if away:
            (self.exports / f"{address}.away.json").write_text(json.dumps({"AutoReplyState": "Enabled", **away}))

    def upload(self, address: str) -> Upload | None:
        with self.ledger() as ledger:
            return next((one for one in uploads.uploads(ledger) if one.mail == address), None)

    def active(self, address: str) -> str:
        """The script that the store runs for somebody, "" if none."""
        link = self.here.store.mail_dir / address.partition("@")[0] / ".dovecot.sieve"
        return link.resolve().stem if link.is_symlink() else ""

    def found(self, address: str, folder: str) -> list[str]:
        said = self.here.store.doveadm(
            *("-f", "tab", "fetch", "-u", address.partition("@")[0], "hdr.subject", "mailbox", folder), check=False
        )
        return sorted(line.strip() for line in said.splitlines()[1:])

    def send(self, address: str, *subjects: str) -> None:
        for subject in subjects:
            self.sides.postfix.send(address, subject)
        self.sides.drain()


@pytest.fixture
def lab(here: Here, tmp_path: Path) -> RulesLab:
    return RulesLab(here.sides, tmp_path, here=here)


FILES = {"SubjectContainsWords": ["invoice"], "MoveToFolder": "\\Inbox\\Bills"}
LOST = {"SubjectContainsWords": ["x"], "MoveToFolder": "\\Inbox\\Nowhere"}


def person(lab: RulesLab, uid: str) -> str:
    """Somebody with a folder for bills, and a script of their own on the open side."""
    address = lab.person(uid)
    with mailbox(lab.sides.exchange_store.port, address) as session:
        session.create("INBOX/Bills")
    return address


def own_script(lab: RulesLab, address: str) -> None:
    """Somebody's own, active on the open side already."""
    ours = f"sieve://localhost:{lab.here.store.sieve_port}?admin={MASTER}&ca={lab.here.store.ca_file}"

    async def put() -> None:
        async with session(parse_sieve(ours, user=address, secret=Secret(MASTER_PASSWORD))) as server:
            await server.put("mine", OWN)
            await server.activate("mine")

    asyncio.run(put())


def test_rules_go_with_people_and_come_back(lab: RulesLab, new_user: Callable[[], str]) -> None:
    with_rules, without = person(lab, new_user()), lab.person(new_user())
    own_script(lab, with_rules)
    lab.export(with_rules, FILES, LOST, InternalMessage="Gone.", ExternalMessage="Gone.")
    lab.wave("w1", [with_rules, without])
    rehearsed = lab.run("rehearse", "w1", "--json")
    page = json.loads(rehearsed.out)
    (one,) = [each for each in page["people"] if each["mail"] == with_rules]
    told = [loss["text"] for loss in one["losses"] if loss["folder"] == "rules"]
    assert any("rule 2 (manual)" in text and "Nowhere did not come over" in text for text in told), told
    upload = lab.upload(with_rules)
    assert upload is not None and upload.state is UploadState.UPLOADED and lab.active(with_rules) == "mine"
    assert [part["rating"] for part in upload.parts] == ["approximate", "exact", "manual"]
    killed = lab.run("cutover", "w1", "--only", with_rules, crash_at="rules active:before:1")
    assert killed.code == -signal.SIGKILL and lab.active(with_rules) == "mailferry", killed
    upload = lab.upload(with_rules)
    assert upload is not None and upload.state is UploadState.UPLOADED, "it was killed before it could note that"
    cutover = lab.run("cutover", "w1")
    assert cutover.code == 0, cutover
    upload = lab.upload(with_rules)
    assert upload is not None and (upload.state, upload.before) == (UploadState.ACTIVE, "mine")
    assert (lab.active(with_rules), lab.active(without)) == ("mailferry", "")
    lab.send(with_rules, "invoice 1", "other")
    assert lab.found(with_rules, "INBOX/Bills") == ["invoice 1"]
    assert "other" in lab.found(with_rules, "INBOX")
    rollback = lab.run("rollback", "w1", "--only", with_rules)
    assert rollback.code == 0, rollback
    assert lab.active(with_rules) == "mine"
    upload = lab.upload(with_rules)
    assert upload is not None and upload.state is UploadState.WITHDRAWN and not upload.ours


def test_a_switch_waits_for_a_server_that_is_away(lab: RulesLab, new_user: Callable[[], str]) -> None:
    """Until it is back; or until the longest park, and then everything is on Exchange as before."""
    address = person(lab, new_user())
    lab.export(address, FILES)
    lab.wave("w2", [address])
    assert lab.run("seed", "w2").code == 0
    lab.here.sieve.refuse = True
    try:
        lab.settings(longest_park=2.0)
        late = lab.run("cutover", "w2")
        assert late.code == 75 and lab.move(address).state is S.SEEDED, late
        assert "longest_park" in lab.move(address).error and lab.route(address)[0] == "exchange"
        lab.settings()
        running = lab.start("cutover", "w2")
        lab.wait(address, S.SETTLED)
        deadline = time.monotonic() + 20
        while "cut" not in lab.move(address).error and "refused" not in lab.move(address).error:
            assert time.monotonic() < deadline, lab.move(address)
            time.sleep(0.05)
    finally:
        lab.here.sieve.refuse = False
    assert running.end(60).code == 0
    assert (lab.move(address).state, lab.active(address)) == (S.RELEASED, "mailferry")
    lab.here.sieve.refuse = True
    try:
        back = lab.run("rollback", "w2")
        assert back.code != 0 and lab.move(address).state is S.RETURNING, back
        assert lab.route(address)[0] == "exchange", "mail waits for nothing: only the script is left"
    finally:
        lab.here.sieve.refuse = False
    assert lab.run("rollback", "w2").code == 0
    assert (lab.move(address).state, lab.active(address)) == (S.ROLLED_BACK, "")


def test_a_switch_goes_on_without_and_says_so(lab: RulesLab, new_user: Callable[[], str]) -> None:
    lab.rules["when_away"] = "go-on"
    lab.settings()
    address = person(lab, new_user())
    lab.export(address, FILES)
    lab.wave("w3", [address])
    lab.here.sieve.refuse = True
    try:
        assert lab.run("seed", "w3").code == 0
        done = lab.run("cutover", "w3", "--json")
    finally:
        lab.here.sieve.refuse = False
    (told,) = json.loads(done.out)["wave"]["people"]
    assert told["state"] == "released" and "rules are not in force yet" in told["error"], done
    assert lab.active(address) == ""
    assert lab.run("sweep", "w3").code == 0
    upload = lab.upload(address)
    assert upload is not None and (upload.state, upload.put_off) == (UploadState.ACTIVE, "")
    assert lab.active(address) == "mailferry"
