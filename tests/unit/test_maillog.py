"""Logs of every form, what strangers write into them, and how little of a long one is kept."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailferry.maillog import find, read
from mailferry.maillog.events import Event, Kind, event
from mailferry.maillog.find import Finder, Wanted
from mailferry.maillog.lines import Line, split
from mailferry.maillog.read import Looked
from mailferry.maillog.story import Held, Place, Queued, tell

NOW = time.mktime((2026, 11, 22, 17, 0, 0, 0, 0, -1))
TEN = time.mktime((2026, 11, 22, 10, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("raw", "host", "program"),
    [
        ("Nov 22 10:00:00 mx postfix/smtpd[1]: text", "mx", "postfix/smtpd"),
        ("Nov 22 10:00:00.5 mx.acme.example postfix-relay/smtp[123]: text", "mx.acme.example", "postfix-relay/smtp"),
        ("2026-11-22T10:00:00.000001+00:00 mx postfix/exchange/smtpd[1]: text", "mx", "postfix/exchange/smtpd"),
        ("2026-11-22T12:00:00+02:00 mx dovecot: text", "mx", "dovecot"),
        ("<22>1 2026-11-22T10:00:00Z mx postfix/qmgr 77 - - text", "mx", "postfix/qmgr"),
        ('<22>1 2026-11-22T10:00:00Z mx dovecot - - [a b="c\\]d"] text', "mx", "dovecot"),
    ],
)
def test_formats(raw: str, host: str, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    line = split(raw, NOW)
    assert line is not None
    assert (int(line.at), line.host, line.program, line.text) == (int(TEN), host, program, "text")


def test_dovecot_s_own_file_and_a_year_that_is_not_told() -> None:
    line = split("Nov 22 10:00:00 lmtp(a@x)<1><s>: Info: msgid=<m@x>: saved mail to INBOX", NOW)
    assert line == Line(TEN, "", "dovecot", "lmtp(a@x)<1><s>: Info: msgid=<m@x>: saved mail to INBOX")
    line = split("Dec 31 23:00:00 mx postfix/qmgr[1]: x", NOW)
    assert line is not None and time.localtime(line.at).tm_year == 2025


@pytest.mark.parametrize(
    "raw",
    ["", "x" * 100_000, "Nov 22", "Foo 22 10:00:00 mx postfix/a: x", "Nov 99 10:00:00 mx postfix/a[1]: x", "\0\x1b[2J"],
)
def test_what_is_no_line(raw: str) -> None:
    assert split(raw, NOW) is None


def parsed(program: str, text: str, host: str = "mx") -> Event | None:
    return event(Line(TEN, host, program, text))


QUEUE = "4jXbnL4XF4zJCG9"


@pytest.mark.parametrize(
    ("program", "text", "wanted"),
    [
        ("postfix/smtpd", "client=h[1.2.3.4], sasl_method=PLAIN", {"kind": Kind.ACCEPTED, "where": "h[1.2.3.4]"}),
        ("postfix/pickup", "uid=0 from=<root>", {"kind": Kind.ACCEPTED, "sender": "root"}),
        ("postfix/cleanup", "message-id=<a@b>", {"kind": Kind.NAMED, "message_id": "<a@b>"}),
        ("postfix/qmgr", "from=<a@b>, size=301, nrcpt=1 (queue active)", {"kind": Kind.QUEUED, "size": 301}),
        ("postfix/qmgr", "removed", {"kind": Kind.LEFT, "status": ""}),
        ("postfix/postsuper", "removed", {"kind": Kind.LEFT, "status": "deleted"}),
        ("postfix/qmgr", "from=<a@b>, status=expired, returned to sender", {"kind": Kind.RETURNED}),
        ("postfix/bounce", "sender non-delivery notification: ABCDEF123", {"kind": Kind.RETURNED}),
        (
            "postfix/store/lmtp",
            "to=<a@b>, orig_to=<c@b>, relay=1.2.3.4[1.2.3.4]:24, conn_use=2, delay=0.1, delays=0.1/0/0/0, dsn=2.0.0, "
            "status=sent (250 2.0.0 <a@b> x Saved)",
            {"kind": Kind.TRIED, "recipient": "a@b", "original": "c@b", "status": "sent"},
        ),
        (
            "postfix/error",
            "to=<a@b>, relay=none, delay=9, delays=0/9/0/0, dsn=4.3.2, status=deferred (deferred transport)",
            {"kind": Kind.TRIED, "text": "deferred transport", "where": "none"},
        ),
    ],
)
def test_what_postfix_says(program: str, text: str, wanted: dict[str, object]) -> None:
    found = parsed(program, f"{QUEUE}: {text}")
    assert found is not None and found.queue_id == QUEUE
    assert {name: getattr(found, name) for name in wanted} == wanted


def test_what_was_refused() -> None:
    found = parsed(
        "postfix/smtpd",
        "NOQUEUE: reject: RCPT from h[1.2.3.4]: 550 5.1.1 <no@b>: Recipient address rejected: no such address; "
        "from=<a@x> to=<no@b> proto=ESMTP helo=<h>",
    )
    assert found is not None
    assert (found.kind, found.recipient, found.sender, found.queue_id) == (Kind.REFUSED, "no@b", "a@x", "")
    milter = parsed(
        "postfix/cleanup",
        "ABCDEF12: milter-reject: END-OF-MESSAGE from h[1.2.3.4]: 4.7.1 Service unavailable; from=<a@x> to=<b@b>",
    )
    assert milter is not None and milter.text == "4.7.1 Service unavailable"


@pytest.mark.parametrize(
    ("text", "kind", "where"),
    [
        ("lmtp(al@x)<1><s>: Info: msgid=<m@x>: saved mail to INBOX", Kind.STORED, "INBOX"),
        ("lmtp(al@x)<1><s>: Info: msgid=<m@x> size=12: saved mail to INBOX", Kind.STORED, "INBOX"),
        ("lmtp(al@x)<1><s>: sieve: msgid=<m@x> size=12: stored mail into mailbox 'A b'", Kind.STORED, "A b"),
        ("imap(al@x)<1><s>: expunge: box=Sent, uid=3, msgid=<m@x>, size=300", Kind.CHANGED, "Sent"),
        ("imap(al@x)<1><s>: Info: copy from INBOX: box=Old, uid=3, msgid=<m@x>, size=300", Kind.CHANGED, "Old"),
    ],
)
def test_what_dovecot_says(text: str, kind: Kind, where: str) -> None:
    found = parsed("dovecot", text)
    assert found is not None
    assert (found.kind, found.message_id, found.recipient, found.where) == (kind, "<m@x>", "al@x", where)


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("postfix/cleanup", f"{QUEUE}: warning: header Subject: secret from h[1.2.3.4]; from=<a@x> to=<b@b>"),
        ("postfix/cleanup", f"{QUEUE}: reject: header Subject: secret from h[1.2.3.4]; from=<a@x> to=<b@b>: 5.7.1 no"),
        ("postfix/cleanup", f"{QUEUE}: to=<a@b>, relay=x, delay=1, delays=1/1/1/1, dsn=2.0.0, status=sent (secret)"),
        ("postfix/smtpd", f"{QUEUE}: removed"),
        ("evil/qmgr", f"{QUEUE}: removed"),
        ("postfix/qmgr", "../../etc: removed"),
        ("dovecot", "imap-login: Info: msgid=<m@x>: saved mail to INBOX"),
    ],
)
def test_what_no_line_can_pretend(program: str, text: str) -> None:
    assert parsed(program, text) is None


def test_a_message_id_that_looks_like_more() -> None:
    evil = "<m@x>, to=<b@b>, relay=x, delay=1, delays=1/1/1/1, dsn=2.0.0, status=sent (x)"
    found = parsed("postfix/cleanup", f"{QUEUE}: message-id={evil}")
    assert found is not None and (found.kind, found.message_id) == (Kind.NAMED, evil)
    evil = "<m@x>: saved mail to Elsewhere"
    found = parsed("dovecot", f"lmtp(al)<1><s>: msgid={evil}: saved mail to INBOX")
    assert found is not None and (found.message_id, found.where) == (evil, "INBOX")


def journey(number: int, message_id: str, to: str, *, done: bool = True) -> list[Event]:
    queue = f"ABCDEF{number:06X}"
    end = [Event(TEN + number, "mx", Kind.LEFT, queue)] if done else []
    return [
        Event(TEN + number, "mx", Kind.ACCEPTED, queue, where="h[1.2.3.4]"),
        Event(TEN + number, "mx", Kind.NAMED, queue, message_id=message_id),
        Event(TEN + number, "mx", Kind.TRIED, queue, recipient=to, where="store", status="sent", text="250 ok"),
        *end,
    ]


def test_only_what_is_wanted_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "LIVE", 50)
    by_id, by_name = Finder(Wanted("<m7@x>")), Finder(Wanted(names=frozenset({"b@b"}), latest=3))
    for number in range(2000):
        for one in journey(number, f"<m{number}@x>", "B@b" if number % 100 == 7 else "c@b", done=number % 3 > 0):
            by_id.take(one)
            by_name.take(one)
        assert len(by_id._live) <= 50
    assert [one.message_id for one in by_id.found().journeys] == ["<m7@x>"]
    assert [one.message_id for one in by_name.found().journeys] == ["<m1707@x>", "<m1807@x>", "<m1907@x>"]


def test_a_try_that_is_repeated_for_a_week_is_one_entry() -> None:
    finder = Finder(Wanted("<m@x>"))
    finder.take(Event(TEN, "mx", Kind.NAMED, "ABCDEF", message_id="<m@x>"))
    for number in range(5000):
        words = {"recipient": "b@b", "status": "deferred", "text": "deferred transport", "where": "none"}
        finder.take(Event(TEN + number, "mx", Kind.TRIED, "ABCDEF", **words))  # type: ignore[arg-type]
    (found,) = finder.found().journeys
    assert len(found.events) == 3
    told = tell("<m@x>", [found], [], [], {}, {})
    (recipient,) = told.recipients
    assert recipient.place is Place.WAITING
    assert "(5000 times the same)" in recipient.entries[-1].text
    found.add(Event(TEN + 9000, "mx", Kind.LEFT, "ABCDEF", status="deleted"))
    (recipient,) = tell("<m@x>", [found], [], [], {}, {}).recipients
    assert (recipient.place, recipient.where) == (Place.DELETED, "from the queue, by postsuper")


def test_what_is_seen_now_counts_more_than_what_was_logged() -> None:
    finder = Finder(Wanted("<m@x>"))
    for one in journey(1, "<m@x>", "b@b"):
        finder.take(one)
    found = finder.found()
    deleted = Event(TEN + 9, "", Kind.CHANGED, message_id="<m@x>", recipient="b", where="INBOX", status="expunge")
    stored = Event(TEN + 2, "", Kind.STORED, message_id="<m@x>", recipient="b", where="INBOX")
    queued = Queued("mx", "ABCDEF000001", "b@b", TEN, "\x1b]0;evil\x07 later", False)

    def place(**more: object) -> Place:
        words = {"stored": [], "queued": [], "held": {}} | more
        told = tell("<m@x>", found.journeys, names={"b": "b@b"}, **words)  # type: ignore[arg-type]
        assert "\x1b" not in str([entry.text for one in told.recipients for entry in one.entries])
        return told.recipients[0].place

    assert place() is Place.HANDED_ON
    assert place(stored=[stored]) is Place.STORED
    assert place(stored=[stored, deleted]) is Place.DELETED
    assert place(stored=[stored, deleted], held={"b@b": [Held("store1", "Old", 3)]}) is Place.STORED
    assert place(stored=[stored], queued=[queued]) is Place.WAITING


def test_files_are_read_the_oldest_first_whatever_their_form(tmp_path: Path) -> None:
    packers: dict[str, Callable[[bytes], bytes]] = {
        "mail.log.3.xz": lzma.compress,
        "mail.log.2.bz2": bz2.compress,
        "mail.log.1.gz": gzip.compress,
        "mail.log": bytes,
    }
    for number, (name, pack) in enumerate(packers.items()):
        (tmp_path / name).write_bytes(pack(b"%d\n" % number + b"x" * 40_000 + b"\nlast \xff" + b"%d" % number))
        os.utime(tmp_path / name, (TEN + number, TEN + number))
    looked: list[Looked] = []
    lines = list(read.read(f"{tmp_path}/mail.log*", TEN + 1, looked))
    assert lines[::3] == ["1", "2", "3"] and lines[2] == "last \ufffd1"
    assert {len(line) for line in lines[1::3]} == {read.MOST}
    assert [(Path(one.what).name, one.lines, one.problem) for one in looked] == [
        ("mail.log.2.bz2", 3, ""),
        ("mail.log.1.gz", 3, ""),
        ("mail.log", 3, ""),
    ]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    looked: list[Looked] = []
    lines = list(read.read("sh -c 'head -c 30000000 /dev/zero; echo; echo end'", 0, looked))
    assert [len(line) for line in lines] == [read.MOST, 3]


def test_commands_that_fail_or_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "SILENCE_SECONDS", 0.3)
    looked: list[Looked] = []
    for command in ("sh -c 'echo a; echo no such host >&2; exit 255'", "no-such-command x", "sh -c 'echo b; sleep 60'"):
        list(read.read(command, 0, looked))
    assert [one.lines for one in looked] == [1, 0, 1]
    assert looked[0].problem == "it ended with 255: no such host"
    assert "No such file" in looked[1].problem
    assert "it said nothing" in looked[2].problem
