"""Sets of uids as IMAP writes them (RFC 3501 §9 sequence-set): `1:3,7`. Does not know what the numbers mean.

Invariant: a set is never expanded beyond a limit, since four bytes of a hostile answer can name four thousand million
uids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from mailferry.errors import RemoteProtocolError

Ranges = tuple[tuple[int, int], ...]
"""Inclusive (low, high) pairs as they came."""

MAX_EXPANDED = 1_000_000
_SET = re.compile(rb"\d{1,10}(?::\d{1,10})?(?:,\d{1,10}(?::\d{1,10})?)*")


def parse(text: bytes) -> Ranges:
    """`b"3,5:7"` to ((3, 3), (5, 7)). Raises RemoteProtocolError for anything else; `*` has no place in an answer."""
    if not _SET.fullmatch(text):
        raise RemoteProtocolError("the server sent a malformed set of uids")
    ranges = []
    for part in text.split(b","):
        low, _, high = part.partition(b":")
        first, last = int(low), int(high or low)
        ranges.append((first, last) if first <= last else (last, first))
    return tuple(ranges)


def count(ranges: Ranges) -> int:
    """How many uids the ranges name (a uid named twice counts twice)."""
    return sum(high - low + 1 for low, high in ranges)


def expand(ranges: Ranges, limit: int = MAX_EXPANDED) -> tuple[int, ...]:
    """All uids in the order of the ranges. RemoteProtocolError beyond `limit`."""
    if count(ranges) > limit:
        raise RemoteProtocolError("the server named an absurdly large set of uids")
    return tuple(uid for low, high in ranges for uid in range(low, high + 1))


def compress(uids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending uids as inclusive ranges of strictly consecutive numbers: never names a uid that was not given."""
    first = last = -1
    for uid in uids:
        if uid == last + 1 and first >= 0:
            last = uid
            continue
        if first >= 0:
            yield first, last
        first = last = uid
    if first >= 0:
        yield first, last


def format(uids: Iterable[int]) -> bytes:
    """Ascending uids as one set: `b"1:3,7"`."""
    return b",".join(_range(low, high) for low, high in compress(uids))


def split(uids: Iterable[int], max_count: int, max_bytes: int) -> Iterator[list[int]]:
    """Ascending uids in groups, each of at most `max_count` uids and `max_bytes` bytes once formatted."""
    group: list[int] = []
    size = 0
    for uid in uids:
        follows = bool(group) and uid == group[-1] + 1
        # A run grows once by ":" and its end, whose digits may become one more; 12 bytes is the most a new range adds.
        extra = 0 if follows and len(group) > 1 and group[-2] == group[-1] - 1 else 12
        if group and (len(group) >= max_count or size + extra > max_bytes):
            yield group
            group, size, extra = [], 0, 12
        group.append(uid)
        size += extra
    if group:
        yield group


def _range(low: int, high: int) -> bytes:
    return b"%d" % low if low == high else b"%d:%d" % (low, high)
