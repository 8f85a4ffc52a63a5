"""One line of a mail log: when, on which host, by which program, what. Understands the text no further. Pure.

Formats: syslog's (RFC 3164, as rsyslog and Postfix's maillog_file write it), with ISO 8601 times, RFC 5424's, and
Dovecot's own file. Invariant: what a line says can never make it another program's line.
"""

from __future__ import annotations

import functools
import re
import time
from datetime import UTC, datetime
from typing import NamedTuple

MOST = 8192
"""Characters of a line that are looked at."""
_DAY = 86400.0

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OLD = re.compile(r"([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d)(\.\d+)? ")
_ISO = re.compile(
    r"(?:<\d{1,3}>1 )?(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)?[ :]+"
)
_DOVECOT = re.compile(r"([a-z][a-z0-9-]*)(?:\((.*?)\))?((?:<[^>]*>)*): (?:Info|Warning|Error|Fatal|Panic|Debug): ")
_SYSLOG = re.compile(r"(\S+) ([^\s:\[\]]+)(?:\[\d+\])?: ")
_RFC5424 = re.compile(r"(\S+) (\S+) (?:\d+|-) (?:\S+) (?:-|(?:\[(?:[^\]\\]|\\.)*\])+) ?(?:\ufeff)?")


class Line(NamedTuple):
    """`at`: seconds since the epoch; a time without a zone is this machine's, one without a year the latest that is
    past. `host`: "" where the line names none. `program`: as written, such as `postfix/exchange/smtpd`, `dovecot`."""

    at: float
    host: str
    program: str
    text: str


def split(raw: str, now: float) -> Line | None:
    """None for what is no line of a log."""
    raw = raw[:MOST]
    if (found := _OLD.match(raw)) is not None:
        at = _old(found[0], now)
    elif (found := _ISO.match(raw)) is not None:
        at = _iso(found)
    else:
        return None
    if at is None:
        return None
    start = found.end()
    if _DOVECOT.match(raw, start) is not None:
        return Line(at, "", "dovecot", raw[start:])
    if raw.startswith("<"):
        rest = _RFC5424.match(raw, start)
        return None if rest is None else Line(at, rest[1], rest[2], raw[rest.end() :])
    rest = _SYSLOG.match(raw, start)
    return None if rest is None else Line(at, rest[1], rest[2], raw[rest.end() :])


@functools.lru_cache(64)
def _old(text: str, now: float) -> float | None:
    found = _OLD.match(text)
    if found is None or found[1] not in _MONTHS:
        return None
    month, year = _MONTHS.index(found[1]) + 1, time.localtime(now).tm_year
    for one in (year, year - 1):
        try:
            at = datetime(one, month, int(found[2]), int(found[3]), int(found[4]), int(found[5])).timestamp()
        except ValueError:
            continue
        if at <= now + _DAY:
            return at + float(found[6] or 0)
    return None


def _iso(found: re.Match[str]) -> float | None:
    try:
        at = datetime(*(int(found[number]) for number in range(1, 7)))  # type: ignore[arg-type]
    except ValueError:
        return None
    zone, part = found[8], float(f"0.{found[7] or 0}")
    if zone is None:
        return at.timestamp() + part
    seconds = 0 if zone == "Z" else (int(zone[1:3]) * 60 + int(zone[-2:])) * 60
    return at.replace(tzinfo=UTC).timestamp() - (-seconds if zone[0] == "-" else seconds) + part
