"""Each difference, provoked on two memory stores after a real copy, and what it does to the score."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import pytest

from mailferry.copy.mailbox import copy_mailbox
from mailferry.copy.policy import CopyPolicy
from mailferry.copy.work import Engine
from mailferry.errors import Temporary
from mailferry.ledger import open_ledger
from mailferry.ledger.owner import owner_text
from mailferry.ledger.rows import Intent, Lease
from mailferry.ledger.store import Ledger
from mailferry.ledger.writer import LedgerThread
from mailferry.model.folder import INBOX, SpecialUse
from mailferry.model.message import Date, Flag, Reason
from mailferry.net.memory import MemoryOptions, MemoryStore
from mailferry.plan.folders import FolderPolicy
from mailferry.sources.memory import MemorySource
from mailferry.targets.memory import MemoryTarget, MemoryTargetSession
from mailferry.verify.compare import Difference
from mailferry.verify.mailbox import Verifying, verify_mailbox
from mailferry.verify.reading import Content, sampled
from mailferry.verify.record import MailboxVerification
from mailferry.verify.score import Score

SENT = ("Sent",)


def message(number: int, body: bytes = b"body") -> bytes:
    head = b"Message-ID: <%d@x>\r\nDate: Mon, 2 Jan 2023 10:00:%02d +0000\r\nFrom: a@x\r\nSubject: s\r\n\r\n"
    return head % (number, number % 60) + body + b"\r\n"


@dataclass
class Move:
    """Two mailboxes and a ledger; `copy()` makes one pass, `verify()` compares."""

    place: FilePath
    source: MemoryStore = field(default_factory=lambda: MemoryStore("a"))
    target: MemoryStore = field(default_factory=lambda: MemoryStore("b"))
    policy: CopyPolicy = field(default_factory=CopyPolicy)
    mailbox_id: int = 0

    def fill(self, count: int = 10) -> Move:
        for number in range(1, count + 1):
            self.source.add(INBOX, message(number), flags=number % 4, date=Date(1_700_000_000 + number))
        self.source.folder(INBOX).subscribed = True
        self.source.add_folder(SENT, special_use=SpecialUse.SENT)
        self.source.add(SENT, message(900), keywords=("work",))
        return self

    async def _copy(self) -> None:
        async with LedgerThread(self.place) as thread:
            mailbox = await thread.write(lambda db: db.mailbox(self.source.key, self.target.key))
            self.mailbox_id = mailbox.id
            lease = await thread.write(lambda db: db.acquire(mailbox.id, owner_text(), 60))
            await copy_mailbox(
                Engine.of(thread, self.policy), MemorySource(self.source), MemoryTarget(self.target), lease
            )
            await thread.write(lambda db: db.release(lease))

    async def _verify(self, target: MemoryTarget, content: Content, seen: list[Verifying]) -> MailboxVerification:
        async with LedgerThread(self.place) as thread:
            return await verify_mailbox(
                thread, MemorySource(self.source), target, self.mailbox_id, content=content, progress=seen.append
            )

    def copy(self) -> Move:
        asyncio.run(self._copy())
        return self

    def verify(self, content: Content = Content.FULL, target: MemoryTarget | None = None) -> MailboxVerification:
        return asyncio.run(self._verify(target or MemoryTarget(self.target), content, []))

    def ledger(self, change: Callable[[Ledger, Lease, int], None]) -> None:
        """Change the ledger behind everyone's back; `change` gets a lease and INBOX's folder id."""
        ledger = open_ledger(self.place)
        lease = ledger.acquire(self.mailbox_id, owner_text(), 60)
        inbox = next(row.id for row in ledger.folders(self.mailbox_id) if row.source_path == INBOX)
        change(ledger, lease, inbox)
        ledger.release(lease)
        ledger.close()


@pytest.fixture
def move(tmp_path: FilePath) -> Move:
    return Move(tmp_path / "ledger.db")


@pytest.mark.parametrize("content", Content)
def test_a_complete_copy_is_perfect(move: Move, content: Content) -> None:
    done = move.fill().copy().verify(content)
    assert done.score is Score.PERFECT
    assert done.tally() == Counter()
    counts = done.counts
    assert (counts.listed, counts.copied, counts.target, counts.balanced) == (11, 11, 11, True)
    assert counts.checked == {Content.FULL: 11, Content.SAMPLE: 2, Content.NONE: 0}[content]


Break = Callable[[Move], object]


def _lose_folder(move: Move) -> None:
    move.target.remove_folder(SENT)


def _change_body(move: Move) -> None:
    move.target.folder(INBOX).messages[2].data += b"x"


def _change_date(move: Move) -> None:
    move.target.folder(INBOX).messages[2].internal_date = Date(1)


def _unsubscribe(move: Move) -> None:
    move.target.folder(INBOX).subscribed = False


def _unmark(move: Move) -> None:
    move.target.folder(SENT).special_use = None
    move.target.add_folder(("Bin",), special_use=SpecialUse.TRASH)


def _twice(move: Move) -> None:
    twin = move.target.folder(INBOX).messages[3]
    move.target.add(INBOX, twin.data, date=twin.internal_date)


def _new_folder(move: Move) -> None:
    move.source.add_folder(("New",))
    move.source.add(("New",), message(77))


BREAKS: list[tuple[Break, Difference, Score, bool]] = [
    (lambda m: m.target.remove(INBOX, 2), Difference.MISSING, Score.POOR, True),
    (_lose_folder, Difference.FOLDER_MISSING, Score.POOR, True),
    (_change_body, Difference.CONTENT, Score.POOR, False),
    (lambda m: m.target.spoil(INBOX, 4), Difference.UNREADABLE, Score.POOR, True),
    (_twice, Difference.DUPLICATE, Score.POOR, True),
    (_new_folder, Difference.FOLDER_UNKNOWN, Score.POOR, True),
    (
        lambda m: m.source.reset_uidvalidity(INBOX),
        Difference.RENUMBERED,
        Score.POOR,
        True,
    ),
    (lambda m: m.target.reset_uidvalidity(INBOX), Difference.RENUMBERED, Score.POOR, True),
    (lambda m: m.target.set_flags(INBOX, 2, Flag.DRAFT), Difference.FLAGS, Score.INVESTIGATE, True),
    (lambda m: m.source.set_flags(INBOX, 2, Flag.DRAFT), Difference.FLAGS, Score.INVESTIGATE, True),
    (lambda m: m.target.set_flags(SENT, 1, 0, ("play",)), Difference.KEYWORDS, Score.INVESTIGATE, True),
    (_change_date, Difference.DATE, Score.INVESTIGATE, True),
    (_unsubscribe, Difference.SUBSCRIPTION, Score.INVESTIGATE, True),
    (_unmark, Difference.SPECIAL_USE, Score.INVESTIGATE, True),
    (lambda m: m.source.add(INBOX, message(50)), Difference.ARRIVED_SINCE, Score.INVESTIGATE, True),
    (lambda m: m.target.add(INBOX, message(51)), Difference.EXTRA, Score.PERFECT, True),
    (lambda m: m.source.remove(INBOX, 2), Difference.KEPT, Score.PERFECT, True),
]


@pytest.mark.parametrize(("damage", "kind", "score", "without_content"), BREAKS)
def test_each_difference_is_found(
    move: Move, damage: Break, kind: Difference, score: Score, without_content: bool
) -> None:
    move.fill().copy()
    damage(move)
    done = move.verify()
    assert done.tally() == Counter({kind: 1})
    assert done.score is score
    assert (kind in move.verify(Content.NONE).tally()) is without_content


def test_a_failed_message_has_its_reason_and_needs_approval(move: Move) -> None:
    def refuse(data: bytes) -> tuple[Reason, str] | None:
        return (Reason.TOO_LARGE, "552 too large") if b"<3@x>" in data else None

    move.target = MemoryStore("b", MemoryOptions(refuse=refuse))
    done = move.fill().copy().verify()
    assert done.score is Score.INVESTIGATE
    assert (done.counts.copied, done.counts.failed, done.counts.balanced) == (10, 1, True)
    (finding,) = done.folders[0].comparison.findings
    assert (finding.kind, finding.reason, finding.text) == (Difference.FAILED, Reason.TOO_LARGE, "552 too large")
    assert (finding.source_uid, finding.date) == (3, 1_700_000_003)


def test_what_the_ledger_does_not_know_makes_the_numbers_not_add_up(move: Move) -> None:
    move.fill().copy()
    move.ledger(lambda db, lease, inbox: db.forget(lease, inbox, [4]))
    done = move.verify()
    assert done.score is Score.POOR
    assert not done.counts.balanced
    assert done.counts.unrecorded == 1
    finding = next(f for f in done.folders[0].comparison.findings if f.kind is Difference.UNRECORDED)
    assert (finding.source_uid, finding.date) == (4, 1_700_000_004)


def test_an_unsettled_message_is_no_copy(move: Move) -> None:
    move.fill().copy()
    intent = Intent(4, 0, (), 1_700_000_004, 100, b"d" * 20)
    move.ledger(lambda db, lease, inbox: db.intend(lease, inbox, db.passes()[-1].id, [intent], None))
    done = move.verify()
    assert done.score is Score.POOR
    assert Difference.UNSETTLED in done.tally()
    assert not done.counts.balanced


def test_a_folder_that_failed_stands_for_its_messages(move: Move) -> None:
    move.fill().source.add_folder(("Sub",))
    move.copy()
    move.source.add(("Sub",), message(60))
    move.ledger(
        lambda db, lease, _: db.fail(
            lease, next(r.id for r in db.folders(lease.mailbox_id) if r.source_path == ("Sub",)), None,
            Reason.SAFETY, "it smells",
        )
    )  # fmt: skip
    done = move.verify()
    assert done.tally() == Counter({Difference.FOLDER_FAILED: 1})
    assert done.score is Score.INVESTIGATE
    assert (done.counts.failed, done.counts.balanced) == (1, True)


def _adoptable(move: Move, body: bytes) -> Move:
    move.fill()
    move.target.add(INBOX, message(1, body), flags=1, date=Date(1_700_000_001))
    return move.copy()


def test_adopted_by_headers_is_good_until_the_bytes_are_compared(move: Move) -> None:
    _adoptable(move, b"body")
    unread = move.verify(Content.NONE)
    assert (unread.score, unread.tally()) == (Score.GOOD, Counter({Difference.ADOPTED_BY_HEADERS: 1}))
    assert (unread.counts.copied, unread.counts.there) == (10, 1)
    assert move.verify(Content.FULL).score is Score.PERFECT


def test_adopted_with_other_bytes_needs_approval(move: Move) -> None:
    done = _adoptable(move, b"another body").verify()
    assert (done.score, done.tally()) == (Score.INVESTIGATE, Counter({Difference.ADOPTED_DIFFERS: 1}))


def test_a_double_that_was_there_before_us_is_not_ours(move: Move) -> None:
    move.target.add(INBOX, message(1), flags=1, date=Date(1_700_000_001))
    move.target.add(INBOX, message(1), flags=1, date=Date(1_700_000_001))
    done = move.fill().copy().verify()
    assert done.tally() == Counter({Difference.EXTRA: 1})


def test_keywords_that_the_target_cannot_hold_are_good(move: Move) -> None:
    move.target = MemoryStore("b", MemoryOptions(keywords=frozenset()))
    done = move.fill().copy().verify()
    assert (done.score, done.tally()) == (Score.GOOD, Counter({Difference.KEYWORDS: 1}))


def test_what_the_copy_could_not_carry_is_named(move: Move) -> None:
    move.target = MemoryStore("b", MemoryOptions(acl=False))
    move.source.folder(INBOX).acl["anna"] = "lrs"
    done = move.fill().copy().verify()
    assert (done.score, done.tally()) == (Score.GOOD, Counter({Difference.NAMED: 1}))


def test_zones_are_noted_only_where_the_target_keeps_zones(move: Move) -> None:
    for zone in (-300, 60, 120, 330):
        move.source.add(INBOX, message(200 + zone), date=Date(1_700_000_000, zone))
    move.copy()
    kept = move.target.folder(INBOX).messages
    kept[1].internal_date = Date(1_700_000_000, 0)
    assert move.verify().tally() == Counter({Difference.ZONE: 1})
    for one in kept.values():
        one.internal_date = Date(1_700_000_000, 0)
    assert move.verify().tally() == Counter()


def test_excluded_folders_are_counted(move: Move) -> None:
    move.policy = CopyPolicy(folders=FolderPolicy(exclude=("Old",)))
    move.fill().source.add_folder(("Old",))
    move.source.add(("Old",), message(70))
    counts = move.copy().verify().counts
    assert (counts.listed, counts.copied, counts.excluded, counts.balanced) == (12, 11, 1, True)


def test_a_message_under_another_uid_is_found_by_its_bytes(move: Move) -> None:
    move.fill().copy()
    kept = move.target.folder(INBOX).messages[5]
    move.target.remove(INBOX, 5)
    move.target.add(INBOX, kept.data, flags=kept.flags, date=kept.internal_date)
    for content in Content:
        assert move.verify(content).tally() == Counter()


def test_a_target_without_uidplus_is_verified_too(move: Move) -> None:
    move.target = MemoryStore("b", MemoryOptions(uidplus=False))
    assert move.fill().copy().verify().score is Score.PERFECT


def test_a_sample_reads_what_has_another_size(move: Move) -> None:
    move.fill(200).copy()
    inbox = next(f for f in move.verify().folders if f.source == INBOX)
    chosen = set(sampled(inbox.folder_id or 0, range(1, 201), 0.05))
    assert 2 <= len(chosen) <= 25
    other = next(uid for uid in range(1, 201) if uid not in chosen)
    move.target.folder(INBOX).messages[other].data += b"x"
    assert move.verify(Content.SAMPLE).tally() == Counter({Difference.CONTENT: 1})


class _Lost(MemoryTargetSession):
    async def listing(self, changed_since: int | None = None) -> None:  # type: ignore[override]
        raise Temporary("connection lost")


class _LosingTarget(MemoryTarget):
    async def session(self) -> MemoryTargetSession:
        return _Lost(self.store)


def test_a_lost_connection_ends_it_and_records_nothing(move: Move) -> None:
    move.fill().copy()
    with pytest.raises(Temporary, match="connection lost"):
        move.verify(target=_LosingTarget(move.target))
    ledger = open_ledger(move.place)
    assert ledger.verifications(move.mailbox_id) == []
    ledger.close()


def test_the_result_is_recorded_by_folder_and_mailbox(move: Move) -> None:
    move.fill().copy()
    move.target.remove(SENT, 1)
    done = move.verify()
    ledger = open_ledger(move.place)
    rows = ledger.verifications(move.mailbox_id)
    ledger.close()
    assert [row.score for row in rows] == ["Perfect", "Poor", "Poor"]
    assert rows[-1].folder_id is None
    assert rows[-1].result["counts"] == done.counts.as_dict()
    assert rows[-1].result["tally"] == {"missing": 1}
    assert [one["kind"] for one in rows[1].result["findings"]] == ["missing"]


def test_a_known_alteration_by_the_target_is_named_and_good(move: Move) -> None:
    odd = message(300, b"a\0b")
    raw = message(301).replace(b"Subject: s", "Subject: ü".encode())
    move.source.add(INBOX, odd)
    move.source.add(INBOX, raw)
    move.copy()
    kept = move.target.folder(INBOX).messages
    kept[1].data = odd.replace(b"\0", b"\x80")
    kept[2].data = raw.replace("ü".encode(), b"XX")
    done = move.verify()
    assert (done.score, done.tally()) == (Score.GOOD, Counter({Difference.ALTERED: 2}))
    kept[2].data += b"more"
    assert move.verify().tally() == Counter({Difference.ALTERED: 1, Difference.CONTENT: 1})
