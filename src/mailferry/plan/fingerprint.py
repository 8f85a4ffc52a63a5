"""Recognises a message by its headers: fingerprints for moves and adoption, and the matching of two folders by them.

Does not compare bodies or sizes (Exchange renders bodies anew and estimates sizes) and decides nothing where headers
leave a doubt: such messages come back in groups, to be fetched and compared (docs/design.md §5, adoption).

Invariant: equal header blocks have equal fingerprints, in every run and on every machine, whatever the bytes.
"""

from __future__ import annotations

import binascii
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from email.utils import parsedate_tz
from hashlib import blake2b
from typing import NamedTuple

HEADER_LIMIT = 256 * 1024
"""Bytes of a header block that are looked at."""

_END = re.compile(rb"\n\r?\n")
_DATE = re.compile(
    rb"(?:[A-Za-z]{3},)?[ \t]*([0-9]{1,2})[ \t]+([A-Za-z]{3})[ \t]+([0-9]{4})[ \t]+"
    rb"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?[ \t]+(?:([+-])([0-9]{2})([0-9]{2})|GMT|UTC?)(?![0-9A-Za-z])"
)
_MONTHS = {b"janfebmaraprmayjunjulaugsepoctnovdec"[3 * i : 3 * i + 3]: i + 1 for i in range(12)}
_EPOCH = date(1970, 1, 1).toordinal()
_ANGLE = re.compile(r"<([^<>]*)>")
_WORD = re.compile(r"=\?([^?\s]+)\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(?<=\?=)\s+(?==\?)")


class Fingerprint(NamedTuple):
    """`value`: 64 bits, signed, of Message-ID and the Date's instant. `by_id` is False where there is no Message-ID:
    then the value stands for Date, From and Subject, and a match by it is only a candidate."""

    value: int
    by_id: bool


class Key(NamedTuple):
    """What tells apart messages of one fingerprint. `tie`: 64 bits of the decoded From address and Subject.
    `head`: 64 bits of the whole header block, line endings aside: equal heads are copies of one message."""

    tie: int
    head: int


class Candidate(NamedTuple):
    """One message of a folder, for `match`."""

    uid: int
    fingerprint: Fingerprint
    key: Key


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Messages that headers cannot pair with certainty: uids of the source and of the target, ascending, neither
    empty. The caller fetches and compares."""

    source: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Matches:
    """`pairs`: (source uid, target uid). `to_copy`: source uids with no counterpart. `extra`: target uids with none.

    Every uid given occurs exactly once in the four lists together.
    """

    pairs: list[tuple[int, int]]
    to_copy: list[int]
    extra: list[int]
    ambiguous: list[Ambiguous]


def header_block(first_chunk: bytes) -> bytes:
    """The header block (without the empty line) at the beginning of a message; all of it, up to `HEADER_LIMIT`, where
    no empty line comes."""
    if first_chunk.startswith((b"\n", b"\r\n")):
        return b""
    found = _END.search(first_chunk, 0, HEADER_LIMIT)
    return first_chunk[: found.start() + 1] if found else first_chunk[:HEADER_LIMIT]


def fingerprint(block: bytes) -> Fingerprint:
    """The fingerprint of a message with this header block."""
    text, lowered = _prepared(block)
    return _fingerprint(text, lowered)


def candidate(uid: int, block: bytes) -> Candidate:
    """Fingerprint and key of one message, for `match`."""
    text, lowered = _prepared(block)
    head = _hash(text.replace(b"\r\n", b"\n"))
    return Candidate(uid, _fingerprint(text, lowered), Key(_hash(_sender_and_subject(text, lowered)), head))


def match(source: Sequence[Candidate], target: Sequence[Candidate]) -> Matches:
    """Pair two folders' messages as multisets: two identical at the source and one at the target are one pair and one
    to copy.

    A group of one fingerprint is paired where it is one against one, where From and Subject single a pair out, where
    heads are equal, or where all of them are copies of one message. Whatever remains on both sides is ambiguous, and
    so is everything without a Message-ID.
    """
    pairs: list[tuple[int, int]] = []
    to_copy: list[int] = []
    extra: list[int] = []
    ambiguous: list[Ambiguous] = []
    theirs = _grouped(target)
    for print_, ours in _grouped(source).items():
        there = theirs.pop(print_, [])
        if there and print_.by_id:
            found, ours, there = _paired(ours, there)
            pairs += found
        if ours and there:
            ambiguous.append(Ambiguous(_uids(ours), _uids(there)))
        else:
            to_copy += _uids(ours)
            extra += _uids(there)
    for there in theirs.values():
        extra += _uids(there)
    return Matches(sorted(pairs), sorted(to_copy), sorted(extra), sorted(ambiguous, key=lambda group: group.source))


def _paired(
    ours: list[Candidate], theirs: list[Candidate]
) -> tuple[list[tuple[int, int]], list[Candidate], list[Candidate]]:
    """Pairs that are certain within one fingerprint, and what is left of either side."""
    if len(ours) == len(theirs) == 1:
        return [(ours[0].uid, theirs[0].uid)], [], []
    pairs: list[tuple[int, int]] = []
    left_ours: list[Candidate] = []
    left_theirs: list[Candidate] = []
    sides: dict[int, tuple[list[Candidate], list[Candidate]]] = {}
    for side, members in enumerate((ours, theirs)):
        for one in members:
            sides.setdefault(one.key.tie, ([], []))[side].append(one)
    for here, there in sides.values():
        alone = len(here) == len(there) == 1
        common = Counter(one.key.head for one in here) & Counter(one.key.head for one in there)
        first, here = _split(here, common)
        second, there = _split(there, common)
        pairs += _zipped(first, second)
        if alone or (len({one.key.head for one in here}) == 1 and len({one.key.head for one in there}) == 1):
            count = min(len(here), len(there))
            pairs += _zipped(here[:count], there[:count])
            here, there = here[count:], there[count:]
        left_ours += here
        left_theirs += there
    return pairs, left_ours, left_theirs


def _split(group: list[Candidate], heads: Counter[int]) -> tuple[list[Candidate], list[Candidate]]:
    """Those that `heads` counts, by head and uid, and the others."""
    wanted = Counter(heads)
    taken: list[Candidate] = []
    rest: list[Candidate] = []
    for one in group:
        if wanted[one.key.head]:
            wanted[one.key.head] -= 1
            taken.append(one)
        else:
            rest.append(one)
    return sorted(taken, key=lambda one: (one.key.head, one.uid)), rest


def _zipped(ours: list[Candidate], theirs: list[Candidate]) -> list[tuple[int, int]]:
    return [(our.uid, their.uid) for our, their in zip(ours, theirs, strict=True)]


def _grouped(candidates: Iterable[Candidate]) -> dict[Fingerprint, list[Candidate]]:
    groups: dict[Fingerprint, list[Candidate]] = {}
    for one in sorted(candidates):
        groups.setdefault(one.fingerprint, []).append(one)
    return groups


def _uids(candidates: Iterable[Candidate]) -> tuple[int, ...]:
    return tuple(sorted(one.uid for one in candidates))


def _prepared(block: bytes) -> tuple[bytes, bytes]:
    """The block with a newline before its first line, and the same in small letters."""
    text = b"\n" + block[:HEADER_LIMIT]
    return text, text.lower()


def _fingerprint(text: bytes, lowered: bytes) -> Fingerprint:
    identity = _field(text, lowered, b"\nmessage-id:")
    when = _instant(_field(text, lowered, b"\ndate:"))
    start = identity.find(b"<") + 1
    end = identity.find(b">", start)
    identity = b"".join(identity[start : end if end >= 0 else None].split())
    if identity:
        return Fingerprint(_hash(b"%b\0%b" % (identity, when)), True)
    return Fingerprint(_hash(b"\0%b\0%b" % (when, _sender_and_subject(text, lowered))), False)


def _field(text: bytes, lowered: bytes, name: bytes) -> bytes:
    """The first field of that name, unfolded (RFC 5322 §2.2.3), without surrounding blanks; empty if absent."""
    start = lowered.find(name)
    if start < 0:
        return b""
    start += len(name)
    end = text.find(b"\n", start)
    while end >= 0 and text[end + 1 : end + 2] in (b" ", b"\t"):
        end = text.find(b"\n", end + 1)
    value = text[start : end if end >= 0 else None]
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip()


def _instant(value: bytes) -> bytes:
    """A Date's seconds since 1970, UTC, as decimal text; where it does not parse, the text itself."""
    found = _DATE.match(value)
    month = _MONTHS.get(found[2].lower()) if found else None
    if found is None or month is None or found[3] == b"0000":
        return _instant_slowly(value)
    day, _, year, hour, minute, second, sign, zone_hour, zone_minute = found.groups()
    zone = 0
    if sign:
        zone = int(zone_hour) * 3600 + int(zone_minute) * 60
        if sign == b"-":
            zone = -zone
    days = date(int(year), month, 1).toordinal() - _EPOCH + int(day) - 1
    return b"%d" % (days * 86400 + int(hour) * 3600 + int(minute) * 60 + int(second or 0) - zone)


def _instant_slowly(value: bytes) -> bytes:
    text = value[:200].decode("latin-1")
    try:
        parsed = parsedate_tz(text)
        if parsed is None:
            return value
        year, month, day, hour, minute, second = parsed[:6]
        days = date(year, month, 1).toordinal() - _EPOCH + day - 1
    except (ValueError, TypeError, IndexError, OverflowError):  # parsedate_tz is not total; the raw text then serves
        return value
    return b"%d" % (days * 86400 + hour * 3600 + minute * 60 + second - (parsed[9] or 0))


def _sender_and_subject(text: bytes, lowered: bytes) -> bytes:
    sender = _decoded(_field(text, lowered, b"\nfrom:"))
    addresses = _ANGLE.findall(sender)
    address = (addresses[-1] if addresses else sender).strip().lower()
    subject = " ".join(_decoded(_field(text, lowered, b"\nsubject:")).split())
    return f"{address}\0{subject}".encode("utf-8", "surrogatepass")


def _decoded(value: bytes) -> str:
    """A field's text with its encoded words (RFC 2047) decoded; raw 8-bit bytes are UTF-8 or else Latin-1."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    if "=?" not in text:
        return text
    return _WORD.sub(_word, _BETWEEN_WORDS.sub("", text))


def _word(found: re.Match[str]) -> str:
    charset, encoding, content = found[1].partition("*")[0], found[2].lower(), found[3]
    raw = content.encode("utf-8", "surrogatepass")
    try:
        data = binascii.a2b_base64(raw + b"==") if encoding == "b" else binascii.a2b_qp(raw, header=True)
        return data.decode(charset, "replace")
    except (binascii.Error, LookupError, ValueError, TypeError):  # not an encoded word after all: it stands as it is
        return found[0]


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)
