"""What differs between a folder's two sides and what the ledger says of them. Pure; reads nothing itself.

Invariant (law 2): every message of the source's listing is counted exactly once, as copied, already there, failed,
arrived since the last pass, or unrecorded; only the last has no reason. The reference for content is the digest that
the ledger recorded when the message left the source, since a server may render a message differently each time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mailferry.ledger.rows import Failure, FolderRow, Kind, MessageRow
from mailferry.model.folder import Folder, Selected
from mailferry.model.message import Date, Flag, Listed, Reason
from mailferry.model.state import HELD, State


class Difference(Enum):
    """What can be found. The value is what JSON and ledger show; what each does to the score is in `score.py`."""

    MISSING = "missing"
    UNRECORDED = "never-recorded"
    UNSETTLED = "unsettled"
    DUPLICATE = "duplicate"
    CONTENT = "content"
    UNREADABLE = "unreadable"
    FOLDER_MISSING = "folder-missing"
    FOLDER_UNKNOWN = "folder-unknown"
    FOLDER_UNREADABLE = "folder-unreadable"
    RENUMBERED = "renumbered"
    FAILED = "failed"
    FOLDER_FAILED = "folder-failed"
    ARRIVED_SINCE = "arrived-since"
    ADOPTED_DIFFERS = "adopted-differs"
    FLAGS = "flags"
    KEYWORDS = "keywords"
    DATE = "date"
    SUBSCRIPTION = "subscription"
    SPECIAL_USE = "special-use"
    NAMED = "named"
    ALTERED = "altered"
    ADOPTED_BY_HEADERS = "adopted-by-headers"
    EXTRA = "extra"
    ZONE = "zone"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `text`: one sentence. `date` (epoch seconds), `size` (bytes), uids: which message, where it is
    one. `explained`: the target cannot hold it otherwise. `reason`: the ledger's, where it recorded one."""

    kind: Difference
    text: str
    source_uid: int | None = None
    target_uid: int | None = None
    date: int | None = None
    size: int | None = None
    explained: bool = False
    reason: Reason | None = None


@dataclass(slots=True)
class FolderCounts:
    """Numbers of one folder, or sums of them.

    `listed == copied + there + excluded + failed + since + unrecorded` by construction; it adds up (law 2) when
    `unrecorded` is 0. `there`: was in the target before (adopted). `since`: arrived after the last pass. `missing`: of
    copied and there, those that the target no longer shows. `target`: messages in the target's listing, of which
    `extra` are none of ours and `kept` have gone from the source. `checked`: compared by content, `bytes` read for it.
    """

    listed: int = 0
    copied: int = 0
    there: int = 0
    excluded: int = 0
    failed: int = 0
    since: int = 0
    unrecorded: int = 0
    missing: int = 0
    target: int = 0
    extra: int = 0
    kept: int = 0
    checked: int = 0
    bytes: int = 0

    @property
    def balanced(self) -> bool:
        return self.listed == self.copied + self.there + self.excluded + self.failed + self.since

    def add(self, other: FolderCounts) -> None:
        for name in FolderCounts.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in FolderCounts.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of one target message. `digest` None: only its date and size. `size` None: not told. `failed`: why
    it could not be read."""

    date: Date | None
    size: int | None
    digest: bytes | None = None
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of one folder, and the ledger.

    `read`: by target uid; `asked`: the target uids that were to be read. `source_digests`: of messages that have no
    recorded digest, where they were fetched again, by source uid. `source_dates`: with their zones, where the target
    keeps zones. `source_heads`: date and size of messages that the ledger does not know, by source uid. `failures`: the
    open ones of this folder. `altered`: by source uid, the known alteration that explains other bytes.
    `target_marks_uses`: it shows special uses at all.
    """

    row: FolderRow
    rows: Sequence[MessageRow]
    source_folder: Folder
    target_folder: Folder
    selected: Selected
    source: Sequence[Listed]
    target: Sequence[Listed]
    failures: Sequence[Failure]
    read: Mapping[int, Read] = field(default_factory=dict)
    asked: frozenset[int] = frozenset()
    left_out: int = 0
    """Items at the source that are no messages."""
    source_digests: Mapping[int, bytes] = field(default_factory=dict)
    source_dates: Mapping[int, Date] = field(default_factory=dict)
    source_heads: Mapping[int, Read] = field(default_factory=dict)
    altered: Mapping[int, str] = field(default_factory=dict)
    target_marks_uses: bool = True


@dataclass(slots=True)
class Comparison:
    """The numbers and findings of one folder."""

    counts: FolderCounts = field(default_factory=FolderCounts)
    findings: list[Finding] = field(default_factory=list)

    def tally(self) -> Counter[Difference]:
        return Counter(finding.kind for finding in self.findings)


def compare_folder(sides: Sides) -> Comparison:
    """Every difference of one folder whose messages were listed on both sides."""
    found = _Comparing(sides)
    found.source()
    found.target()
    found.folder()
    return found.result


def unplaced(rows: Iterable[MessageRow], target: Iterable[Listed]) -> list[MessageRow]:
    """Held rows whose target uid is unknown or no longer there: they may stand in the target under another uid."""
    there = {item.uid for item in target}
    return [row for row in rows if row.state in HELD and row.target_uid not in there]


def unclaimed(rows: Iterable[MessageRow], target: Iterable[Listed]) -> list[int]:
    """Target uids that no row of the ledger speaks of."""
    claimed = {row.target_uid for row in rows if row.target_uid is not None}
    return [item.uid for item in target if item.uid not in claimed]


def keeps_zones(dates: Iterable[Date]) -> bool:
    """Whether a store keeps the zones of internal dates: one that shows at most two shows its own clock's (summer and
    winter)."""
    return len({date.zone for date in dates}) > 2


class _Comparing:
    """The state of one call of `compare_folder`."""

    def __init__(self, sides: Sides) -> None:
        self.sides = sides
        self.result = Comparison()
        self.counts = self.result.counts
        self.counts.checked = sum(1 for read in sides.read.values() if read.digest is not None)
        self.counts.bytes = sum(read.size or 0 for read in sides.read.values() if read.digest is not None)
        self.there = {item.uid: item for item in sides.target}
        self.rows = {row.source_uid: row for row in sides.rows}
        self.failed = {f.source_uid: f for f in sides.failures if f.kind is Kind.FAILED}
        self.different = {(f.source_uid, f.reason): f for f in sides.failures if f.kind is Kind.DIFFERENCE}
        self.extra = unclaimed(sides.rows, sides.target)
        self.place = {row.source_uid: row.target_uid for row in sides.rows if row.state in HELD}
        self.place.update(self._found_elsewhere())

    def _found_elsewhere(self) -> dict[int, int]:
        """Rows whose message stands in the target under a uid that the ledger does not know, by digest."""
        waiting: defaultdict[bytes, list[int]] = defaultdict(list)
        for uid in reversed(self.extra):
            read = self.sides.read.get(uid)
            if read is not None and read.digest is not None:
                waiting[read.digest].append(uid)
        placed: dict[int, int] = {}
        for row in unplaced(self.sides.rows, self.sides.target):
            digest = row.digest or self.sides.source_digests.get(row.source_uid)
            uids = waiting.get(digest) if digest is not None else None
            if uids:
                placed[row.source_uid] = uids.pop()
        self.extra = [uid for uid in self.extra if uid not in set(placed.values())]
        return placed

    def note(
        self,
        kind: Difference,
        text: str,
        row: MessageRow | None = None,
        uid: int | None = None,
        target_uid: int | None = None,
        *,
        explained: bool = False,
        reason: Reason | None = None,
    ) -> None:
        read = self.sides.read.get(target_uid) if target_uid is not None else None
        date = row.internal_date if row else None
        size = row.size if row else None
        if read is None and row is None and uid is not None:
            read = self.sides.source_heads.get(uid)
        if read is not None:
            date = read.date.epoch if date is None and read.date is not None else date
            size = read.size if size is None else size
        uid = row.source_uid if row else uid
        self.result.findings.append(Finding(kind, text, uid, target_uid, date, size, explained, reason))

    # The source's listing

    def source(self) -> None:
        counts = self.counts
        counts.excluded = self.sides.left_out
        counts.listed = len(self.sides.source) + counts.excluded
        for item in self.sides.source:
            row = self.rows.get(item.uid)
            if row is not None and row.state in HELD:
                if row.state == State.COPIED:
                    counts.copied += 1
                else:
                    counts.there += 1
                self._held(item, row)
            else:
                self._not_held(item, row)

    def _not_held(self, item: Listed, row: MessageRow | None) -> None:
        """A message that is not in the target: is there a reason?"""
        counts = self.counts
        failure = self.failed.get(item.uid)
        next_uid = self.sides.row.source_uidnext
        if failure is not None:
            counts.failed += 1
            self.note(Difference.FAILED, failure.text, row, item.uid, reason=failure.reason)
        elif None in self.failed:
            counts.failed += 1  # the whole folder failed: one finding stands for all
        elif row is not None and row.state == State.PENDING:
            counts.unrecorded += 1
            self.note(Difference.UNSETTLED, "A run ended while sending it, and no later pass settled it.", row)
        elif row is None and next_uid is not None and item.uid >= next_uid:
            counts.since += 1
            self.note(Difference.ARRIVED_SINCE, "It arrived at the source after the last pass.", uid=item.uid)
        else:
            counts.unrecorded += 1
            text = "The source lists it, and the ledger has neither a copy nor a reason."
            self.note(Difference.UNRECORDED, text, row, item.uid)

    def _held(self, item: Listed, row: MessageRow) -> None:
        uid = self.place.get(item.uid)
        there = self.there.get(uid) if uid is not None else None
        if there is None:
            self.counts.missing += 1
            what = "It was brought to" if row.state == State.COPIED else "It was found in"
            text = f"{what} the target, which does not show it any more."
            if row.target_uid is None:
                text = "The target did not say where it stored it, and shows no message with the same bytes."
            self.note(Difference.MISSING, text, row, target_uid=row.target_uid)
            return
        self._flags(item, there, row)
        self._keywords(item, there, row)
        self._read(row, there.uid)

    def _flags(self, item: Listed, there: Listed, row: MessageRow) -> None:
        if item.flags == there.flags:
            return
        lost, added = item.flags & ~there.flags, there.flags & ~item.flags
        words = [f"lacks {_flag_words(lost)}"] * bool(lost) + [f"has {_flag_words(added)} more"] * bool(added)
        text = f"The target {' and '.join(words)}"
        explained = not (item.flags ^ there.flags) & self.sides.selected.permanent_flags
        text += _why(explained, item.flags != row.flags and there.flags == row.flags)
        self.note(Difference.FLAGS, text, row, target_uid=there.uid, explained=explained)

    def _keywords(self, item: Listed, there: Listed, row: MessageRow) -> None:
        ours = {word.casefold() for word in item.keywords}
        theirs = {word.casefold() for word in there.keywords}
        if ours == theirs:
            return
        lost = sorted(word for word in item.keywords if word.casefold() not in theirs)
        added = sorted(word for word in there.keywords if word.casefold() not in ours)
        words = [f"lacks the keywords {' '.join(lost)}"] * bool(lost) + [f"has {' '.join(added)} more"] * bool(added)
        selected = self.sides.selected
        known = {word.casefold() for word in selected.keywords}
        named = (row.source_uid, Reason.KEYWORDS) in self.different
        refused = not selected.new_keywords and not any(word.casefold() in known for word in lost)
        explained = not added and (named or refused)
        text = f"The target {' and '.join(words)}"
        text += _why(explained, item.keywords != row.keywords and there.keywords == row.keywords)
        self.note(Difference.KEYWORDS, text, row, target_uid=there.uid, explained=explained)

    def _read(self, row: MessageRow, uid: int) -> None:
        """Date and content, as far as they were read."""
        sides = self.sides
        read = sides.read.get(uid)
        if read is None or read.failed is not None:
            if uid in sides.asked:
                why = read.failed if read is not None and read.failed is not None else "it gave no answer"
                self.note(Difference.UNREADABLE, f"The target lists it and cannot give it: {why}.", row, target_uid=uid)
            return
        if read.date is not None:
            self._date(row, uid, read.date)
        reference = row.digest or sides.source_digests.get(row.source_uid)
        if read.digest is not None and reference is not None:
            if read.digest == reference:
                return
            if row.source_uid in sides.altered:
                self.note(Difference.ALTERED, sides.altered[row.source_uid], row, target_uid=uid)
            elif row.digest is None:
                text = "It was in the target before; its headers are the same, its bytes are not those of the source."
                self.note(Difference.ADOPTED_DIFFERS, text, row, target_uid=uid)
            else:
                text = "Its bytes in the target are not those that left the source."
                self.note(Difference.CONTENT, text, row, target_uid=uid)
        elif row.state == State.ADOPTED:
            text = "It was in the target before and was recognised by its headers; its bytes were not compared."
            self.note(Difference.ADOPTED_BY_HEADERS, text, row, target_uid=uid)

    def _date(self, row: MessageRow, uid: int, there: Date) -> None:
        ours = self.sides.source_dates.get(row.source_uid)
        instant = ours.epoch if ours is not None else row.internal_date
        if instant is not None and there.epoch != instant:
            text = f"The target's date is {_span(there.epoch - instant)} than the source's."
            self.note(Difference.DATE, text, row, target_uid=uid)
        elif ours is not None and ours.zone != there.zone:
            text = f"Same instant, but the zone is {_zone(there.zone)} instead of {_zone(ours.zone)}."
            self.note(Difference.ZONE, text, row, target_uid=uid)

    # What the target has besides

    def target(self) -> None:
        counts = self.counts
        counts.target = len(self.sides.target)
        counts.extra = len(self.extra)
        listed = {item.uid for item in self.sides.source}
        sent = {row.digest for row in self.sides.rows if row.attempts and row.state in HELD | {State.GONE}}
        for row in self.sides.rows:
            if row.source_uid in listed or row.target_uid not in self.there:
                continue
            if row.state == State.REMOVED:
                text = "It moved or was deleted at the source and was removed here, yet the target still shows it."
                self.note(Difference.DUPLICATE, text, row, target_uid=row.target_uid)
            else:
                counts.kept += 1
                text = "It has gone from the source and is kept in the target."
                self.note(Difference.KEPT, text, row, target_uid=row.target_uid)
        for uid in self.extra:
            read = self.sides.read.get(uid)
            if read is not None and read.digest is not None and read.digest in sent:
                text = "The target holds it once more than the source: Mailferry brought a message with these bytes."
                self.note(Difference.DUPLICATE, text, target_uid=uid)
            else:
                self.note(Difference.EXTRA, "It is only in the target; Mailferry did not bring it.", target_uid=uid)

    # The folder itself

    def folder(self) -> None:
        sides = self.sides
        source, target = sides.source_folder, sides.target_folder
        if None in self.failed:
            failure = self.failed[None]
            self.note(Difference.FOLDER_FAILED, failure.text, reason=failure.reason)
        if source.subscribed and not target.subscribed:
            explained = (None, Reason.SUBSCRIPTION) in self.different
            text = "The folder is subscribed at the source and not in the target."
            self.note(Difference.SUBSCRIPTION, text, explained=explained)
        if sides.row.special_use is not None and target.special_use is not sides.row.special_use:
            use = sides.row.special_use.name.capitalize()
            text = f"The folder is not marked as the {use} folder in the target."
            self.note(Difference.SPECIAL_USE, text, explained=not sides.target_marks_uses)
        listed = {item.uid for item in sides.source}
        for (uid, reason), failure in self.different.items():
            over = uid is not None and uid not in listed and reason is not Reason.DUPLICATE
            if reason not in _SEEN_AGAIN and not over:
                self.note(Difference.NAMED, failure.text, self.rows.get(uid or 0), uid, reason=reason)


_SEEN_AGAIN = frozenset({Reason.FLAGS, Reason.KEYWORDS, Reason.SUBSCRIPTION})
"""Differences in the ledger that a comparison sees by itself, if they are still there."""


def _flag_words(flags: int) -> str:
    return " ".join("\\" + flag.name.capitalize() for flag in Flag if flags & flag and flag.name)


def _why(explained: bool, since: bool) -> str:
    if explained:
        return ", which it cannot hold."
    return "; the source changed it after the last pass." if since else "."


def _span(seconds: int) -> str:
    size = abs(seconds)
    unit, name = next(((u, n) for u, n in ((86400, "day"), (3600, "hour"), (60, "minute")) if size >= u), (1, "second"))
    count = round(size / unit)
    return f"{count} {name}{'' if count == 1 else 's'} {'later' if seconds > 0 else 'earlier'}"


def _zone(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
