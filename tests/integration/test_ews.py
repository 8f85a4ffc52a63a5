"""Mail from the fake Exchange over EWS through the engine: seed, deltas, throttling, rights, hostile answers."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.fake_ews import FakeEws
from lab.fake_ews_store import FakeExchange, FakeMailbox, message, set_field
from lab.process import make_certificate
from mailferry.cli.main import cli
from mailferry.config.accounts import parse_address
from mailferry.errors import AuthError, MailferryError, Permanent, RemoteProtocolError, Temporary
from mailferry.model.account import EwsAccount
from mailferry.model.message import Failed, Flag, Message, Reason
from mailferry.ops.checking import check
from mailferry.secret import Secret
from mailferry.sources.base import select_listed
from mailferry.sources.ews import EwsSource, EwsSourceSession
from tests.stateful.world import INBOX, World

ALICE = "alice@acme.example"
WORK = ("INBOX", "Work")


def text(number: int, size: int = 0) -> bytes:
    return (
        b"Message-ID: <%d@acme.example>\r\nDate: Wed, 01 May 2024 10:00:00 +0000\r\nFrom: bob@acme.example\r\n"
        b"Subject: number %d\r\n\r\n" % (number, number)
    ) + b"body\r\n" * (1 + size // 6)


@pytest.fixture
def fake() -> Iterator[FakeEws]:
    exchange = FakeExchange()
    exchange.add(ALICE, "pw")
    with FakeEws(exchange) as running:
        yield running


def account(fake: FakeEws, options: str = "", password: str = "pw", user: str = ALICE) -> EwsAccount:
    found = parse_address(fake.address(user, options), secret=Secret(password))
    assert isinstance(found, EwsAccount)
    return found


@pytest.fixture
def alice(fake: FakeEws) -> FakeMailbox:
    return fake.exchange.mailboxes[ALICE]


@pytest.fixture
def world(fake: FakeEws, tmp_path: Path) -> World:
    made = World(tmp_path / "ledger.db")
    made.source = EwsSource(account(fake))
    return made


def fill(mailbox: FakeMailbox, count: int, folder: str = "inbox") -> None:
    for number in range(count):
        mailbox.add(mailbox.known(folder), message(text(number)))


# The engine


def test_seed_then_nothing_then_what_changed(fake: FakeEws, alice: FakeMailbox, world: World) -> None:
    inbox = alice.known("inbox")
    fill(alice, 30)
    work = alice.add_folder("Work", parent=inbox)
    alice.add(inbox, message(text(100), read=True, flagged=True, verb=102, categories=["Red Category"]))
    counts = world.run()
    assert (counts.listed, counts.copied, counts.failed) == (31, 31, 0)
    last = list(world.b.folder(INBOX).messages.values())[-1]
    assert last.flags == Flag.SEEN | Flag.FLAGGED | Flag.ANSWERED
    assert last.keywords == ("Red_Category",)
    assert last.internal_date.epoch == 1714557600

    asked = fake.seen["GetItem"]
    assert world.run().there == 31
    assert fake.seen["GetItem"] == asked

    items = list(inbox.items.values())
    set_field(items[0], "message:IsRead", True)
    alice.touch(inbox, items[0], "read")
    items[1].extended["0x1090"] = ("Integer", "2")
    alice.touch(inbox, items[1])
    alice.remove(inbox, items[2])
    alice.move(items[3], inbox, work)
    alice.add(inbox, message(text(200)))
    counts = world.run()
    assert (counts.copied, counts.flags, counts.moved, counts.gone, counts.listed) == (2, 2, 1, 1, 31)
    shown = list(world.b.folder(INBOX).messages.values())
    assert [shown[0].flags, shown[1].flags] == [Flag.SEEN, Flag.FLAGGED]
    assert len(world.b.folder(WORK).messages) == 1


def test_a_sync_state_that_the_server_does_not_know_is_no_matter(alice: FakeMailbox, world: World) -> None:
    fill(alice, 5)
    world.run()
    other = alice.known("sentitems")
    inbox = alice.known("inbox")
    inbox.id, other.id = other.id, inbox.id  # as after a restore: the states belong to other folders
    alice.folders = {one.id: one for one in alice.folders.values()}
    alice.add(inbox, message(text(9)))
    counts = world.run()
    assert (counts.copied, counts.there) == (1, 5)


def test_what_is_no_message_is_left_out_by_name_and_what_is_refused_fails_by_name(
    alice: FakeMailbox, world: World
) -> None:
    inbox = alice.known("inbox")
    fill(alice, 3)
    alice.add(inbox, message(text(4), item_class="IPM.Contact"))
    broken = alice.add(inbox, message(text(5)))
    broken.refuses = "ErrorMimeContentConversionFailed"
    counts = world.run()
    assert (counts.copied, counts.excluded, counts.failed) == (3, 1, 1)
    assert sorted(one.text for one in world.failures()) == [
        "Exchange says ErrorMimeContentConversionFailed: The fake was told to refuse this one.",
        "class:contact: a contact (IPM.Contact)",
    ]
    broken.refuses = ""
    assert world.run().copied == 1


def test_a_mailbox_of_another_person_stops_the_run(fake: FakeEws, alice: FakeMailbox, world: World) -> None:
    fill(alice, 2)
    world.run()
    del fake.exchange.mailboxes[ALICE]
    fake.exchange.mailboxes[ALICE] = other = FakeMailbox(ALICE)
    fill(other, 2)
    with pytest.raises(MailferryError, match="not the source that the first copy saw"):
        world.run()


def test_troubles_on_the_way_cost_nothing(fake: FakeEws, alice: FakeMailbox, world: World) -> None:
    fill(alice, 60)
    fake.trouble("busy", 20, "GetItem")
    fake.trouble("http", 503, "SyncFolderItems")
    fake.trouble("http", 429, "GetItem")
    fake.trouble("cut", 900, "GetItem")
    fake.trouble("fault", "ErrorMailboxMoveInProgress", "GetItem")
    counts = world.run()
    assert (counts.copied, counts.failed, counts.different) == (60, 0, 0)
    assert not fake.troubles


# One session


def run_session(fake: FakeEws, options: str = "", password: str = "pw", user: str = ALICE) -> list[Message | Failed]:
    """Everything of INBOX."""

    async def work() -> list[Message | Failed]:
        session = await EwsSource(account(fake, options, password, user)).session()
        try:
            return await everything(session)
        finally:
            await session.close()

    return asyncio.run(work())


async def everything(session: EwsSourceSession) -> list[Message | Failed]:
    folder = next(one for one in await session.folders() if one.path == INBOX)
    _, listing = await select_listed(session, folder)
    return [one async for one in session.fetch([line.uid for line in listing.messages])]


def test_messages_come_in_the_order_of_arrival_with_several_requests_under_way(
    fake: FakeEws, alice: FakeMailbox
) -> None:
    fill(alice, 120)
    fake.trouble("hang", 0.2, "GetItem", times=3)
    got = run_session(fake)
    bodies = [b"".join(one.body.chunks()) for one in got if isinstance(one, Message)]
    assert bodies == [text(number) for number in range(120)]
    assert fake.most_under_way == 3


def test_a_large_message_goes_through_a_file(fake: FakeEws, alice: FakeMailbox) -> None:
    data = text(1, 5_000_000)
    alice.add(alice.known("inbox"), message(data))
    (got,) = run_session(fake)
    assert isinstance(got, Message)
    assert type(got.body).__name__ == "FileBody"
    assert b"".join(got.body.chunks()) == data
    got.body.close()


def test_further_trees_beside_the_mailbox(fake: FakeEws, alice: FakeMailbox) -> None:
    archive = alice.open_archive()
    archive.add(archive.known("inbox"), message(text(1)))
    root = alice.add_folder("Recoverable Items", "", distinguished="recoverableitemsroot")
    root.parent = alice.known("root").id
    alice.add_folder("Deletions", parent=root)
    fake.exchange.public = FakeMailbox("public")
    shared = fake.exchange.public.add_folder("Team", parent=fake.exchange.public.known("msgfolderroot"))
    fake.exchange.public.add_folder("Plans", parent=shared)

    async def paths(options: str) -> dict[tuple[str, ...], int]:
        session = await EwsSource(account(fake, options)).session()
        try:
            found = await session.folders()
            return {one.path: one.status.messages for one in found if one.status is not None}
        finally:
            await session.close()

    plain = asyncio.run(paths(""))
    more = asyncio.run(paths("archive=yes&recoverable=yes&public=yes"))
    assert more.keys() > plain.keys()
    assert more["Archive", "Inbox"] == 1
    assert {("Recoverable Items", "Deletions"), ("Public Folders", "Team", "Plans")} <= more.keys()
    assert not {path[0] for path in plain} & {"Archive", "Recoverable Items", "Public Folders"}


# Who may


def test_impersonation_and_delegate_access(fake: FakeEws, alice: FakeMailbox) -> None:
    fill(alice, 1)
    fake.exchange.passwords["ACME\\svc"] = "s"
    with pytest.raises(AuthError, match="ErrorImpersonateUserDenied") as refused:
        run_session(fake, "admin=ACME\\svc", "s")
    assert "ApplicationImpersonation" in refused.value.advice
    fake.exchange.impersonators.add("ACME\\svc")
    assert len(run_session(fake, "admin=ACME\\svc", "s")) == 1
    with pytest.raises(AuthError, match="ErrorAccessDenied"):
        run_session(fake, "admin=ACME\\svc&access=delegate", "s")
    alice.full_access.add("ACME\\svc")
    assert len(run_session(fake, "admin=ACME\\svc&access=delegate", "s")) == 1
    with pytest.raises(Permanent, match="ErrorNonExistentMailbox"):
        run_session(fake, "admin=ACME\\svc", "s", user="nobody@acme.example")


@pytest.mark.parametrize("scheme", ["Basic", "NTLM", "Negotiate"])
def test_log_in_as_the_server_offers(alice: FakeMailbox, fake: FakeEws, scheme: str) -> None:
    """Negotiate carries NTLM here: there is no KDC."""
    fill(alice, 1)
    fake.schemes = (scheme,)
    fake.exchange.passwords["ACME\\alice"] = "secret"
    alice.full_access.add("ACME\\alice")
    alice.address = "ACME\\alice"
    fake.exchange.mailboxes["acme\\alice"] = alice
    assert len(run_session(fake, "login=ACME\\alice", "secret")) == 1
    with pytest.raises(AuthError):
        run_session(fake, "login=ACME\\alice", "wrong")


def test_a_token_and_one_that_has_expired(fake: FakeEws, alice: FakeMailbox) -> None:
    fill(alice, 1)
    fake.exchange.tokens["t0ken"] = ALICE
    assert len(run_session(fake, "auth=oauth", "t0ken")) == 1
    with pytest.raises(AuthError, match="no longer valid") as refused:
        run_session(fake, "auth=oauth", "old-t0ken")
    assert "t0ken" not in str(refused.value) + refused.value.advice


def test_over_tls_with_a_certificate_that_is_checked(tmp_path: Path, alice: FakeMailbox) -> None:
    certificate = make_certificate(tmp_path)
    place = certificate[0]
    exchange = FakeExchange({ALICE: alice}, {ALICE: "pw", "ACME\\alice": "pw"})
    fill(alice, 1)
    with FakeEws(exchange, schemes=("NTLM", "Basic"), certificate=certificate) as fake:
        with pytest.raises(Permanent, match="certificate cannot be trusted"):
            run_session(fake, "auth=basic")
        assert len(run_session(fake, f"auth=basic&ca={place}")) == 1
        found = asyncio.run(_discovered(fake, place))
        assert (found.host, found.port, found.path) == ("127.0.0.1", fake.port, "/EWS/Exchange.asmx")


async def _discovered(fake: FakeEws, ca: Path) -> EwsAccount:
    from mailferry.net.ews_discover import located

    return await located(account(fake, f"autodiscover=yes&auth=basic&ca={ca}"))


# What no Exchange says


@pytest.mark.parametrize(
    ("trouble", "value", "error", "said"),
    [
        ("bomb", 0, RemoteProtocolError, "declares a document type"),
        ("html", 0, RemoteProtocolError, "does not know"),
        ("cut", 40, Temporary, "cut in the middle"),
        ("fault", "ErrorMailboxStoreUnavailable", Temporary, "ErrorMailboxStoreUnavailable"),
    ],
)
def test_bad_answers_are_clear_errors(
    fake: FakeEws, alice: FakeMailbox, trouble: str, value: object, error: type[MailferryError], said: str
) -> None:
    fill(alice, 3)
    fake.trouble(trouble, value, "SyncFolderItems")
    with pytest.raises(error, match=said):
        run_session(fake)


def test_one_message_that_breaks_its_batch_costs_only_itself(fake: FakeEws, alice: FakeMailbox, world: World) -> None:
    """Exchange closes the connection whenever one certain message is asked for."""
    fill(alice, 12)
    poison = list(alice.known("inbox").items.values())[7]
    fake.poison = poison.id
    counts = world.run()
    assert (counts.copied, counts.failed) == (11, 1)
    (failure,) = world.failures()
    assert failure.text == "each attempt to bring it ended the connection"


# Before a move


def test_check_tells_what_is_used_and_what_may_not_be_seen(fake: FakeEws, alice: FakeMailbox) -> None:
    fill(alice, 3)
    archive = alice.open_archive()
    archive.add(archive.known("inbox"), message(text(1)))
    journal = alice.add_folder("Journal", "IPF.Journal", distinguished="journal")
    alice.add(journal, message(text(2), item_class="IPM.Activity"))
    alice.rules = "<t:Rule><t:RuleId>1</t:RuleId><t:DisplayName>r</t:DisplayName><t:Priority>1</t:Priority></t:Rule>"
    fake.trouble("fault", "ErrorAccessDenied", "GetDelegate")
    found = asyncio.run(check(account(fake)))
    assert found.error is None
    assert found.facts["server"] == "Exchange 2019 or SE (15.2.1544.9)"
    assert (found.facts["messages"], found.facts["bytes"]) == (3, sum(len(text(one)) for one in (0, 1, 2, 2)))
    assert found.facts["uses"] == {"journal entries": 1, "archive items": 1, "rules": 1}
    assert len(found.facts["left_behind"]) == 2
    assert any("may not see the delegates" in one for one in found.warnings)
    wrong = asyncio.run(check(account(fake, password="wrong")))
    assert wrong.error is not None
    assert wrong.error["exit_code"] == 77


def test_survey_tells_who_uses_what(
    fake: FakeEws,
    alice: FakeMailbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(alice, 2)
    alice.add(alice.known("notes"), message(text(3), item_class="IPM.StickyNote"))
    bob = fake.exchange.add("bob@acme.example", "pw")
    bob.rules = "<t:Rule><t:RuleId>1</t:RuleId><t:DisplayName>r</t:DisplayName></t:Rule>"
    fake.exchange.passwords["svc"] = "secret"
    fake.exchange.impersonators.add("svc")
    people = "".join(
        f"dn: cn={name}\nobjectClass: user\nsAMAccountName: {name}\nmail: {name}@acme.example\ncn: {name}\n"
        f"sn: {name}\nmsExchRecipientTypeDetails: 1\nproxyAddresses: SMTP:{name}@acme.example\n\n"
        for name in ("alice", "bob", "gone")
    )
    (tmp_path / "people.ldif").write_text("version: 1\n\n" + people)
    (tmp_path / "mailferry.toml").write_text(
        '[directory.source]\nkind = "ldif"\nurl = "people.ldif"\n'
        '[directory.target]\nurl = "ldap://127.0.0.1"\nsuffix = "dc=acme,dc=example"\n'
    )
    monkeypatch.setenv("MAILFERRY_SOURCE_PASSWORD", "secret")
    out = tmp_path / "out"
    where = ["--config", str(tmp_path / "mailferry.toml"), "--out", str(out)]
    cli(["survey", *where, "--sizes", fake.address("{user}", "admin=svc"), "--user", "mail"], standalone_mode=False)
    assert "used by: notes 1, rules 1" in capsys.readouterr().out
    with (out / "recipients.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert (rows["alice"]["messages"], rows["alice"]["uses"]) == ("2", "notes 1")
    assert rows["alice"]["left_behind"].startswith("1 sticky notes become")
    assert rows["bob"]["uses"] == "rules 1"
    assert "ErrorNonExistentMailbox" in rows["gone"]["trouble"]
    assert json.loads((out / "survey.json").read_text())["uses"] == {"notes": 1, "rules": 1}


def test_a_message_beyond_every_limit_is_listed_and_the_others_come(
    fake: FakeEws, alice: FakeMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailferry.net.ews.MOST", 50_000)
    for size in (100, 80_000, 100):
        alice.add(alice.known("inbox"), message(text(size, size)))
    got = run_session(fake)
    assert [type(one) for one in got] == [Message, Failed, Message]
    assert isinstance(got[1], Failed) and got[1].reason is Reason.TOO_LARGE
