"""A server's NO, BAD or BYE as one of our errors, and an APPEND's NO as a reason. Pure.

Codes are RFC 5530's and those of the extensions; where a server has none, its well-known words are read.
"""

from __future__ import annotations

import re

from mailferry.errors import AuthError, MailferryError, Temporary
from mailferry.model.message import Reason
from mailferry.wire.imap.events import Code

_NOT_CONNECTED = re.compile(r"authenticated but not connected", re.IGNORECASE)
_BACK_OFF = re.compile(r"(?:Suggested Backoff Time:|BackOffMilliseconds\D{0,3})\s*(\d{1,9})", re.IGNORECASE)
_THROTTLED = re.compile(r"throttl|too many (?:simultaneous |concurrent )?(?:connections|sessions)", re.IGNORECASE)
_TEMPORARY = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG"})

_REASONS = {
    "TOOBIG": Reason.TOO_LARGE,
    "OVERQUOTA": Reason.QUOTA,
}
_WORDS = (
    (re.compile(r"NUL\b|null (?:byte|character)|8bit or null", re.IGNORECASE), Reason.NUL),
    (re.compile(r"bare (?:newline|LF|CR|line ?feed|carriage)", re.IGNORECASE), Reason.BARE_NEWLINE),
    (re.compile(r"quota", re.IGNORECASE), Reason.QUOTA),
    (
        re.compile(r"too (?:large|big|long)|maximum (?:message )?size|size limit|exceeds", re.IGNORECASE),
        Reason.TOO_LARGE,
    ),
    (re.compile(r"keyword|invalid flag|flags? (?:is |are )?not", re.IGNORECASE), Reason.KEYWORDS),
)


def session_error(code: Code | None, text: str, about: str, *, codes: bool = False) -> MailferryError | None:
    """The error if the words mean that this session (or any, for a while) is of no use; None: only this command
    failed. `codes`: it is a BYE or a refused log-in, where UNAVAILABLE and the like concern the session and not one
    message."""
    if _NOT_CONNECTED.search(text):
        return AuthError(
            f"the server accepted the log-in but gives no mailbox: {text}",
            about=about,
            advice="wrong password, or no rights on the delegated mailbox",
        )
    back_off = _BACK_OFF.search(text)
    if back_off is not None:
        return Temporary(f"the server throttles us: {text}", about=about, retry_after=int(back_off[1]) / 1000)
    if _THROTTLED.search(text) or (codes and code is not None and code.name in _TEMPORARY):
        return Temporary(f"the server asks us to come back later: {text}", about=about)
    return None


def login_error(code: Code | None, text: str, about: str) -> MailferryError:
    """A NO or BAD to the log-in."""
    return session_error(code, text, about, codes=True) or AuthError(
        f"the server refused the log-in: {text or 'it gave no reason'}", about=about
    )


def append_reason(code: Code | None, text: str) -> Reason:
    """Why a message was refused."""
    if code is not None and code.name in _REASONS:
        return _REASONS[code.name]
    for pattern, reason in _WORDS:
        if pattern.search(text):
            return reason
    return Reason.REFUSED
