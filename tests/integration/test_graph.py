"""A mailbox at Microsoft Graph, as the fake Graph shows it, through the command: mail, events, contacts, tasks.

The fake holds the same mailbox as the fake EWS, so that both doors can be compared.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab import process
from lab.fake_ews import FakeEws
from lab.fake_ews_store import FakeExchange, FakeMailbox, message, set_field
from lab.fake_graph import CLIENT, SECRET, TENANT, FakeGraph, FakeGroupware, Trouble
from mailferry.config.accounts import parse_address
from mailferry.errors import RemoteProtocolError
from mailferry.groupware.to_ical import calendar
from mailferry.model.account import EwsAccount
from mailferry.model.folder import SpecialUse
from mailferry.model.groupware import Busy, Contact, Event, Item, NotCarried, Sensitivity, Task
from mailferry.model.message import Listed
from mailferry.net.graph import Graph
from mailferry.net.imap.login import connect
from mailferry.secret import Secret
from mailferry.sources.ews import EwsSource
from mailferry.sources.graph import GraphSource
from mailferry.sources.graph_items import GraphItemSource
from tests.e2e.moves import COMMAND
from tests.protocol.scripted import Script

ALICE = "alice@acme.example"
NOT_MAIL = (SpecialUse.CALENDAR, SpecialUse.CONTACTS, SpecialUse.TASKS, SpecialUse.NOTES)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return process.make_certificate(tmp_path_factory.mktemp("graph"))


@pytest.fixture
def exchange() -> FakeExchange:
    held = FakeExchange()
    fill(held.add(ALICE, "secret"))
    return held


@pytest.fixture
def graph(exchange: FakeExchange, certificate: tuple[Path, Path]) -> Iterator[FakeGraph]:
    with FakeGraph(exchange, *certificate) as running:
        yield running


def fill(alice: FakeMailbox) -> None:
    inbox = alice.known("inbox")
    for number in range(7):
        when = datetime(2024, 5, 1 + number, 10, tzinfo=UTC)
        alice.add(inbox, message(mime(number), received=when, read=number % 2 == 0, flagged=number == 3))
    alice.add(inbox, message(mime(7), verb=102, categories=("Blue category", "Work")))
    alice.add(inbox, message(mime(8), verb=104))
    projects = alice.add_folder("Projects", parent=inbox)
    deep = alice.add_folder("Müller & Söhne", parent=projects)
    alice.add(deep, message(mime(20)))
    alice.add(alice.known("sentitems"), message(mime(30), read=True))
    alice.add(alice.known("drafts"), message(mime(31), draft=True))


def mime(number: int) -> bytes:
    return (
        f"From: x@y.example\r\nTo: {ALICE}\r\nMessage-ID: <graph-{number}@t>\r\nSubject: number {number}\r\n\r\n"
        f"text {number}\r\n"
    ).encode()


class Result:
    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    def __repr__(self) -> str:
        return f"{self.code}\n{self.out}\n{self.err}"


def copy(folder: Path, source: str, *options: str, secret: str = SECRET) -> Result:
    folder.mkdir(exist_ok=True)
    command = [
        *COMMAND,
        "copy",
        source,
        f"maildir:{folder / 'Maildir'}",
        "--ledger",
        str(folder / "ledger.db"),
        "--json",
    ]
    environment = {**os.environ, "MAILFERRY_SOURCE_PASSWORD": secret}
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, env=environment)
    return Result(done)


def bodies(folder: Path) -> list[str]:
    """Subjects of everything in the Maildir, with the flags of their names."""
    found = []
    for path in (folder / "Maildir").rglob("*"):
        if path.parent.name in ("cur", "new"):
            subject = next(one for one in path.read_text().splitlines() if one.startswith("Subject: "))
            found.append(f"{subject.removeprefix('Subject: number ')} {path.name.partition(':2,')[2]}")
    return sorted(found)


def test_every_message_comes_once_with_its_marks(graph: FakeGraph, tmp_path: Path) -> None:
    done = copy(tmp_path, graph.address(ALICE))
    assert done.code == 0, done
    assert bodies(tmp_path)[:9] == ["0 S", "1 ", "2 S", "20 ", "3 F", "30 S", "31 D", "4 S", "5 "], bodies(tmp_path)
    assert [one.partition(" ")[0] for one in bodies(tmp_path)[9:]] == ["6", "7", "8"]
    assert (tmp_path / "Maildir" / ".Sent Items").is_dir() or (tmp_path / "Maildir" / ".Sent").is_dir()
    assert graph.seen["$batch"] > 0

    graph.seen.clear()
    again = copy(tmp_path, graph.address(ALICE))
    assert again.code == 0, again
    assert again.counts["counts"]["copied"] == 0
    assert not [one for one in graph.seen if "$value" in one], "nothing is read twice"


def test_only_what_changed_is_asked_for(graph: FakeGraph, tmp_path: Path) -> None:
    alice = graph.exchange.mailboxes[ALICE]
    inbox = alice.known("inbox")
    assert copy(tmp_path, graph.address(ALICE)).code == 0
    held = list(inbox.items.values())
    set_field(held[1], "message:IsRead", True)
    alice.touch(inbox, held[1])
    alice.add(inbox, message(mime(40)))
    alice.remove(inbox, held[2])
    alice.move(held[4], inbox, alice.known("sentitems"))
    graph.seen.clear()
    done = copy(tmp_path, graph.address(ALICE), "--deletions", "mirror")
    assert done.code == 0, done
    found = bodies(tmp_path)
    assert "1 S" in found and "40 " in found and "2 S" not in found and found.count("4 S") == 1
    assert graph.seen["messages/ID/$value"] <= 2, graph.seen
    assert not [one for one in graph.seen if one.endswith("/messages")], "no folder is listed as a whole"


def test_a_delta_that_graph_has_forgotten_costs_a_listing(graph: FakeGraph, tmp_path: Path) -> None:
    alice = graph.exchange.mailboxes[ALICE]
    assert copy(tmp_path, graph.address(ALICE)).code == 0
    alice.add(alice.known("inbox"), message(mime(40)))
    graph.troubles.extend([Trouble("deltatoken", 410, "SyncStateNotFound")] * 20)
    done = copy(tmp_path, graph.address(ALICE))
    assert (done.code, done.counts["counts"]["copied"]) == (0, 1), done


def test_both_doors_give_the_same_uids(graph: FakeGraph, tmp_path: Path) -> None:
    """What was begun over EWS goes on over Graph, and nothing comes twice."""

    async def listings(source: GraphSource | EwsSource) -> dict[tuple[str, ...], list[Listed]]:
        session = await source.session()
        try:
            found = {}
            for folder in await session.folders():
                if folder.selectable and folder.special_use not in NOT_MAIL:
                    found[folder.path] = (await session.select_changes(folder, None))[1].messages
            return found
        finally:
            await session.close()

    with FakeEws(graph.exchange) as ews:
        one = GraphSource(_account(graph.address(ALICE), SECRET))
        other = EwsSource(_account(ews.address(ALICE), "secret"))
        over_graph, over_ews = asyncio.run(listings(one)), asyncio.run(listings(other))
    assert over_graph == {path: over_ews[path] for path in over_graph}
    assert sum(map(len, over_graph.values())) == 12


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble("/mailFolders?", 429, "ApplicationThrottled"),
        Trouble("/childFolders", 429, "ApplicationThrottled"),
        Trouble("/messages?", 503, "ServiceUnavailable"),
        Trouble("$value", 429, "ApplicationThrottled"),
        Trouble("$value", 500, "InternalServerError"),
        Trouble("$value", cut=30),
        Trouble("/messages?", cut=50),
        Trouble("/mailFolders?", 401, "InvalidAuthenticationToken"),
    ],
    ids=str,
)
def test_a_trouble_that_passes_is_outlived(graph: FakeGraph, tmp_path: Path, trouble: Trouble) -> None:
    graph.troubles.append(trouble)
    done = copy(tmp_path, graph.address(ALICE))
    assert not graph.troubles
    assert (done.code, done.counts["counts"]["copied"]) == (0, 12), done


def test_an_expired_token_is_asked_for_again(graph: FakeGraph, tmp_path: Path) -> None:
    async def twice() -> tuple[int, int]:
        client = Graph(_account(graph.address(ALICE), SECRET))
        try:
            await client.get(f"{client.user}/mailFolders/inbox")
            graph.good_tokens.clear()
            await client.get(f"{client.user}/mailFolders/inbox")
            return graph.seen["token"], graph.tokens_given
        finally:
            await client.close()

    assert asyncio.run(twice()) == (2, 2)


def test_what_one_message_refuses_is_a_failure_of_its_own(graph: FakeGraph, tmp_path: Path) -> None:
    inbox = graph.exchange.mailboxes[ALICE].known("inbox")
    next(iter(inbox.items.values())).refuses = "ErrorMimeContentConversionFailed"
    done = copy(tmp_path, graph.address(ALICE))
    assert done.code == 1, done
    assert (done.counts["counts"]["copied"], done.counts["counts"]["failed"]) == (11, 1)


def test_wrong_arguments_and_missing_rights_say_what_to_do(graph: FakeGraph, tmp_path: Path) -> None:
    done = copy(tmp_path, f"graph:{ALICE}?tenant=acme.example")
    assert done.code == 64 and "names no client" in done.err + done.out, done
    done = copy(tmp_path, graph.address(ALICE), secret="wrong")
    assert done.code != 0 and "Invalid client secret" in done.out and "wrong" not in done.err, done
    graph.denied.add(ALICE)
    done = copy(tmp_path, graph.address(ALICE))
    assert done.code != 0 and "administrator's consent" in done.out, done
    done = copy(tmp_path / "nobody", graph.address("nobody@acme.example"))
    assert done.code != 0 and "ErrorInvalidUser" in done.out, done


def test_check_names_missing_permissions(graph: FakeGraph) -> None:
    graph.troubles.append(Trouble("/mailboxSettings", 403, "ErrorAccessDenied"))
    environment = {**os.environ, "MAILFERRY_SOURCE_PASSWORD": SECRET}
    command = [*COMMAND, "check", graph.address(ALICE), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done
    (mailbox,) = json.loads(done.stdout)["mailboxes"]
    assert "MailboxSettings.Read" in mailbox["facts"]["missing"], mailbox
    assert mailbox["facts"]["messages"] == 12
    assert any("online archive" in one for one in mailbox["warnings"])


def test_rules_are_fetched_and_converted(graph: FakeGraph, tmp_path: Path) -> None:
    projects = next(one for one in graph.exchange.mailboxes[ALICE].folders.values() if one.name == "Projects")
    rule = {
        "displayName": "Invoices",
        "sequence": 1,
        "isEnabled": True,
        "conditions": {"subjectContains": ["invoice"]},
        "actions": {"moveToFolder": projects.id.replace("+", "-").replace("/", "_"), "stopProcessingRules": True},
    }
    away = {
        "status": "alwaysEnabled",
        "externalAudience": "all",
        "internalReplyMessage": "Away",
        "externalReplyMessage": "Out",
    }
    graph.groupware[ALICE] = FakeGroupware(rules=[rule], settings={"automaticRepliesSetting": away})
    source = graph.address("{user}")
    environment = {**os.environ, "SECRET": SECRET}
    fetch = [
        *COMMAND,
        "rules",
        "fetch",
        ALICE,
        "--from",
        source,
        "--password",
        "env:SECRET",
        "-o",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(fetch, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done
    files = sorted(map(str, (tmp_path / "out").iterdir()))
    convert = [*COMMAND, "rules", "convert", *files, "--output", str(tmp_path / "sieve")]
    done = subprocess.run(convert, capture_output=True, text=True, timeout=60)
    (script,) = (tmp_path / "sieve").glob("*.sieve")
    text = script.read_text()
    assert "fileinto" in text and "Projects" in text, text
    assert "vacation" in text and "Away" in text, text


def test_the_token_goes_to_graph_alone(graph: FakeGraph) -> None:
    """A link in an answer that leads elsewhere is not followed."""

    async def follow() -> None:
        client = Graph(_account(graph.address(ALICE), SECRET))
        try:
            await client.get("https://elsewhere.example/v1.0/users")
        finally:
            await client.close()

    with pytest.raises(RemoteProtocolError, match=r"another host: elsewhere\.example"):
        asyncio.run(follow())


def test_imap_logs_in_with_a_token_of_the_application(graph: FakeGraph) -> None:
    """Two sessions, one token."""
    steps = [
        b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 AUTH=PLAIN] hi\r\n",
        "AUTHENTICATE XOAUTH2 ",
        b"{tag} OK [CAPABILITY IMAP4rev1] in\r\n",
    ]
    place = f"authority=127.0.0.1:{graph.port}&tenant={TENANT}&client={CLIENT}&ca={graph.certificate}"
    spoken: list[str] = []

    async def once() -> None:
        script = Script(steps)
        server = await asyncio.start_server(script.run, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = await connect(_account(f"imap://{ALICE}@127.0.0.1:{port}?tls=none&{place}", SECRET))
        await connection.close()
        server.close()
        assert script.problem is None
        spoken.append(base64.b64decode(script.heard[0].split()[-1]).decode())

    async def twice() -> None:
        await once()
        await once()

    asyncio.run(twice())
    assert spoken[0] == spoken[1] and spoken[0].startswith(f"user={ALICE}\1auth=Bearer fake-token-1-")
    assert graph.seen["token"] == 1


# Events, contacts, tasks

SERIES = {
    "id": "SERIES1",
    "changeKey": "k1",
    "iCalUId": "040000008200E00074C5B7101A82E008",
    "subject": "Jour fixe",
    "type": "seriesMaster",
    "start": {"dateTime": "2025-03-03T09:00:00.0000000", "timeZone": "W. Europe Standard Time"},
    "end": {"dateTime": "2025-03-03T10:00:00.0000000", "timeZone": "W. Europe Standard Time"},
    "originalStartTimeZone": "W. Europe Standard Time",
    "isOrganizer": True,
    "showAs": "oof",
    "sensitivity": "private",
    "isReminderOn": True,
    "reminderMinutesBeforeStart": 15,
    "hasAttachments": True,
    "body": {"contentType": "html", "content": "<p>Agenda</p>"},
    "organizer": {"emailAddress": {"name": "Alice", "address": ALICE}},
    "attendees": [
        {
            "type": "optional",
            "status": {"response": "accepted"},
            "emailAddress": {"name": "Bob", "address": "bob@acme.example"},
        }
    ],
    "recurrence": {
        "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["monday"], "firstDayOfWeek": "sunday"},
        "range": {"type": "numbered", "startDate": "2025-03-03", "numberOfOccurrences": 10},
    },
    "cancelledOccurrences": ["OID.SERIES1.2025-03-17"],
    "exceptionOccurrences": [
        {
            "id": "EXCEPTION1",
            "occurrenceId": "OID.SERIES1.2025-03-31",
            "subject": "Jour fixe, in the garden",
            "type": "exception",
            "start": {"dateTime": "2025-03-31T11:00:00.0000000", "timeZone": "W. Europe Standard Time"},
            "end": {"dateTime": "2025-03-31T12:00:00.0000000", "timeZone": "W. Europe Standard Time"},
            "isOrganizer": True,
        }
    ],
}


def groupware() -> FakeGroupware:
    return FakeGroupware(
        calendars=[
            {"id": "CAL1", "name": "Calendar", "isDefaultCalendar": True, "owner": {"address": ALICE}},
            {"id": "CAL2", "name": "Bob's", "isDefaultCalendar": False, "owner": {"address": "bob@acme.example"}},
        ],
        task_lists=[{"id": "LIST1", "displayName": "Tasks", "wellknownListName": "defaultList"}],
        items={
            "calendars/CAL1": [SERIES, {"id": "BROKEN", "changeKey": "k", "subject": "no start"}],
            "contacts": [
                {"id": "CON1", "displayName": "Carla", "emailAddresses": [{"name": "C", "address": "c@x.example"}]},
                {"id": "CON2", "displayName": "No photo", "birthday": "1980-02-29T11:59:00Z"},
            ],
            "todo/lists/LIST1": [{"id": "T1", "title": "Pack", "status": "completed", "importance": "high"}],
        },
        files={"contacts/CON1/photo/$value": b"\xff\xd8photo", "events/SERIES1/attachments/A1/$value": b"agenda"},
        attachments={
            "events/SERIES1/attachments": [
                {
                    "@odata.type": "#microsoft.graph.fileAttachment",
                    "id": "A1",
                    "name": "a.txt",
                    "contentType": "text/plain",
                }
            ]
        },
    )


def test_events_contacts_and_tasks(graph: FakeGraph) -> None:
    graph.groupware[ALICE] = groupware()

    async def everything() -> dict[tuple[str, str], Item | NotCarried]:
        session = await GraphItemSource(_account(graph.address(ALICE), SECRET)).items_session()
        try:
            found = {}
            for collection in await session.collections():
                contents = await session.contents(collection)
                async for name, item in session.items(collection, [one.id for one in contents.items]):
                    found[collection.path[-1], name] = item
            return found
        finally:
            await session.close()

    found = asyncio.run(everything())
    assert {name for name, _ in found} == {"Calendar", "Contacts", "Tasks"}, "what Bob shares is Bob's"
    broken = found["Calendar", "BROKEN"]
    assert isinstance(broken, NotCarried) and broken.reason == "it has no start"
    series = found["Calendar", "SERIES1"]
    assert isinstance(series, Event)
    assert [str(one.local) for one in series.deleted] == ["2025-03-17 09:00:00"]
    (changed,) = series.exceptions
    assert (changed.subject, changed.original and str(changed.original.local)) == (
        "Jour fixe, in the garden",
        "2025-03-31 09:00:00",
    )
    assert (series.busy, series.sensitivity, series.reminder) == (Busy.AWAY, Sensitivity.PRIVATE, 15)
    assert [b"".join(one.body.chunks()) for one in series.attached] == [b"agenda"]
    text = calendar(series).data.decode().replace("\r\n ", "")
    for line in (
        "DTSTART;TZID=Europe/Berlin:20250303T090000",
        "EXDATE;TZID=Europe/Berlin:20250317T090000",
        "RECURRENCE-ID;TZID=Europe/Berlin:20250331T090000",
        "CLASS:PRIVATE",
    ):
        assert line in text, text
    carla, task = found["Contacts", "CON1"], found["Tasks", "T1"]
    assert isinstance(carla, Contact) and (carla.photo, carla.mails[0].address) == (b"\xff\xd8photo", "c@x.example")
    assert isinstance(task, Task) and (task.status, task.done) == ("completed", 100)


def _account(address: str, secret: str) -> Any:
    return parse_address(address, secret=Secret(secret))


def test_ews_at_exchange_online_takes_the_same_token(graph: FakeGraph, exchange: FakeExchange) -> None:
    """By impersonation, as an application has to."""
    exchange.impersonators.add("application")
    place = f"authority=127.0.0.1:{graph.port}&tenant={TENANT}&client={CLIENT}&ca={graph.certificate}"

    async def folders(fake: FakeEws) -> int:
        account = parse_address(fake.address(ALICE, place), secret=Secret(SECRET))
        assert isinstance(account, EwsAccount)
        session = await EwsSource(account).session()
        try:
            return len(await session.folders())
        finally:
            await session.close()

    class _Tokens(dict[str, str]):
        """Every token that the fake Entra ID gave stands for the application."""

        def __contains__(self, token: object) -> bool:
            return token in graph.good_tokens

        def __getitem__(self, token: str) -> str:
            return "application"

    exchange.tokens = _Tokens()
    with FakeEws(exchange) as fake:
        assert asyncio.run(folders(fake)) > 10
    assert graph.tokens_given == 1
