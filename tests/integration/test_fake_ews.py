"""An independent look at the fake Exchange: exchangelib reads from it what was put in, and so do we."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from lab import fake_ews_items as make
from lab.fake_ews import FakeEws
from lab.fake_ews_store import Attachment, FakeExchange, message

ALICE = "alice@acme.example"
FORTNIGHT = (
    "<t:WeeklyRecurrence><t:Interval>2</t:Interval><t:DaysOfWeek>Monday Wednesday</t:DaysOfWeek>"
    "<t:FirstDayOfWeek>Monday</t:FirstDayOfWeek></t:WeeklyRecurrence><t:NumberedRecurrence>"
    "<t:StartDate>2026-03-02Z</t:StartDate><t:NumberOfOccurrences>10</t:NumberOfOccurrences></t:NumberedRecurrence>"
)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeEws]:
    exchange = FakeExchange()
    alice = exchange.add(ALICE, "pw")
    inbox = alice.known("inbox")
    for number in range(7):
        alice.add(
            inbox,
            message(
                b"Message-ID: <%d@acme.example>\r\nSubject: n %d & more\r\n\r\nbody\r\n" % (number, number),
                read=number % 2 == 0,
                categories=["Red"] if number == 3 else (),
            ),
        )
    alice.add_folder("Below", parent=inbox)
    calendar = alice.known("calendar")
    changed = make.event("u1", "Moved", datetime(2026, 3, 31, 15), exception=True, body="its own text")
    alice.add(
        calendar,
        make.event(
            "u1",
            "Jour fixe",
            datetime(2026, 3, 2, 9, 30),
            body="agenda",
            recurrence=FORTNIGHT,
            deleted=[datetime(2026, 3, 16, 9, 30)],
            changed=[(datetime(2026, 3, 30, 9, 30), changed)],
            attendees=[("Bob", "bob@acme.example", "Accept")],
            attachments=[Attachment("agenda.txt", b"one, two", "text/plain")],
        ),
    )
    contacts = alice.known("contacts")
    alice.add(contacts, make.contact("Ann Smith", "ann@x.example"))
    alice.add(contacts, make.distribution_list("Team", [("Bob", "bob@acme.example", "SMTP")]))
    alice.add(alice.known("tasks"), make.task("do it", due="2026-05-01T22:00:00Z", done=25, status="InProgress"))
    with FakeEws(exchange) as running:
        yield running


@pytest.fixture(scope="module")
def account(fake: FakeEws) -> object:
    """exchangelib's."""
    import exchangelib
    from exchangelib.version import EXCHANGE_2016

    logging.getLogger("exchangelib").setLevel(logging.ERROR)
    return exchangelib.Account(
        ALICE,
        config=exchangelib.Configuration(
            service_endpoint=fake.url,
            credentials=exchangelib.Credentials(ALICE, "pw"),
            auth_type=exchangelib.BASIC,
            version=exchangelib.Version(build=EXCHANGE_2016),
        ),
        autodiscover=False,
        access_type=exchangelib.DELEGATE,
        default_timezone=exchangelib.UTC,
    )


def test_exchangelib_reads_the_mail(account: object) -> None:
    inbox = account.inbox  # type: ignore[attr-defined]
    assert inbox.total_count == 7
    assert [one.name for one in inbox.children] == ["Below"]
    found = list(inbox.all().only("subject", "is_read", "mime_content", "categories", "message_id"))
    assert {one.subject for one in found} == {f"n {number} & more" for number in range(7)}
    assert sum(one.is_read for one in found) == 4
    assert [one.categories for one in found if one.categories] == [["Red"]]
    assert all(one.mime_content.endswith(b"body\r\n") for one in found)


def test_exchangelib_follows_sync_states(account: object, fake: FakeEws) -> None:
    inbox = account.inbox  # type: ignore[attr-defined]
    whole = list(inbox.sync_items(only_fields=["subject"], max_changes_returned=3))
    assert [kind for kind, _ in whole] == ["create"] * 7
    alice = fake.exchange.mailboxes[ALICE]
    place = alice.known("inbox")
    item = list(place.items.values())[2]
    alice.touch(place, item, "read")
    alice.remove(place, list(place.items.values())[4])
    changes = list(inbox.sync_items(sync_state=inbox.item_sync_state, only_fields=["subject"]))
    assert sorted(kind for kind, _ in changes) == ["delete", "read_flag_change"]


def test_exchangelib_reads_items(account: object) -> None:
    (event,) = account.calendar.all()  # type: ignore[attr-defined]
    assert (event.subject, event.uid, event.recurrence.pattern.interval) == ("Jour fixe", "u1", 2)
    assert event.start == datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
    assert [one.original_start for one in event.modified_occurrences] == [datetime(2026, 3, 30, 7, 30, tzinfo=UTC)]
    assert [one.start for one in event.deleted_occurrences] == [datetime(2026, 3, 16, 8, 30, tzinfo=UTC)]
    assert [one.content for one in event.attachments] == [b"one, two"]
    assert event._start_timezone.key == "Europe/Berlin"
    people = {type(one).__name__: one for one in account.contacts.all()}  # type: ignore[attr-defined]
    assert people["Contact"].email_addresses[0].email == "ann@x.example"
    assert [one.mailbox.email_address for one in people["DistributionList"].members] == ["bob@acme.example"]
    (task,) = account.tasks.all()  # type: ignore[attr-defined]
    assert (task.subject, task.percent_complete, task.status) == ("do it", 25, "InProgress")
