"""Header fields as bytes that every server takes: ASCII, CRLF, folded lines (RFC 5322 §2.2.3, RFC 2047, RFC 2231).

Invariant: no value, whatever it holds, begins a new field or ends the block: control characters become blanks.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$&'*+\-.^_`{|}~]+")
_LINE = 76
_WORD_BYTES = 42
"""Of one encoded word: 56 characters in base64, 68 with what is around them, 75 are allowed (RFC 2047 §2)."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def field(name: str, value: str) -> bytes:
    """An unstructured field, with its line end. Long ones are folded at blanks."""
    return _folded(name, unstructured(value).split(" "))


def listed(name: str, items: Iterable[str]) -> bytes:
    """A field of a list of ready items (addresses), folded between them."""
    texts = [*items]
    return _folded(name, [f"{text}," for text in texts[:-1]] + texts[-1:])


def _folded(name: str, parts: Iterable[str]) -> bytes:
    lines, line = [], f"{name}:"
    for part in parts:
        if len(line) + 1 + len(part) > _LINE and line.strip() and part and line != f"{name}:":
            lines.append(line)
            line = ""
        line += f" {part}"
    return "\r\n".join([*lines, line]).encode("ascii", "replace") + b"\r\n"


def cleaned(text: str) -> str:
    """Without control characters and surrogates, which no header may hold."""
    return _CONTROL.sub(" ", text).encode("utf-8", "replace").decode("utf-8").strip()


def unstructured(text: str) -> str:
    """Text as ASCII, in encoded words where it must be. What only looks like an encoded word is encoded as well."""
    text = cleaned(text)
    if text.isascii() and "=?" not in text and all(len(word) < 900 for word in text.split(" ")):
        return text
    return encoded_words(text)


def encoded_words(text: str) -> str:
    """RFC 2047, base64 of UTF-8; no character is cut in two."""
    words: list[str] = []
    held = b""
    for character in text:
        more = character.encode("utf-8", "replace")
        if len(held) + len(more) > _WORD_BYTES:
            words.append(_word(held))
            held = b""
        held += more
    return " ".join([*words, _word(held)] if held or not words else words)


def _word(data: bytes) -> str:
    return f"=?utf-8?B?{binascii.b2a_base64(data, newline=False).decode()}?="


def phrase(text: str) -> str:
    """A display name (RFC 5322 §3.2.5)."""
    text = cleaned(text)
    if not text.isascii() or "=?" in text or len(text) > 200:
        return encoded_words(text)
    if _ATOMS.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def mailbox(name: str, address: str) -> str:
    """One address of a list; without an address a group without members (RFC 5322 §3.4), which shows the name."""
    address = cleaned(address).replace(" ", "").translate(str.maketrans("", "", "<>,;"))
    if not address:
        return f"{phrase(name) or 'unknown'}:;"
    if not address.isascii():
        local, _, domain = address.rpartition("@")
        address = f"{_ascii_local(local)}@{_ascii_domain(domain)}"
    return f"{phrase(name)} <{address}>" if name and name != address else f"<{address}>"


def _ascii_local(local: str) -> str:
    """A local part beyond ASCII as no older server takes it: spelled out, so that nobody else gets an answer."""
    return quote(local, safe="!#$&'*+-/=?^_`{|}~.@").replace("%", "=")


def _ascii_domain(domain: str) -> str:
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return quote(domain, safe=".-").replace("%", "x")


def parametric(name: str, value: str, parameters: Mapping[str, str]) -> bytes:
    """A field with parameters: `Content-Type: text/plain; charset=utf-8`. Long or foreign ones as of RFC 2231."""
    parts = [_safe_value(value)]
    for key, text in parameters.items():
        parts += _parameter(key, cleaned(text))
    return _folded(name, [f"{part};" for part in parts[:-1]] + parts[-1:])


def _safe_value(value: str) -> str:
    return re.sub(r"[^\x21-\x7e]|[;\"]", "", value)


def _parameter(key: str, text: str) -> list[str]:
    if text.isascii() and len(text) < 60:
        if _TOKEN.fullmatch(text):
            return [f"{key}={text}"]
        return [f'{key}="' + text.replace("\\", "\\\\").replace('"', '\\"') + '"']
    pieces, held = [], ""
    for character in text:
        more = quote(character, safe="!#$&+-.^_`{|}~")
        if len(held) + len(more) > 56:
            pieces.append(held)
            held = ""
        held += more
    pieces.append(held)
    if len(pieces) == 1:
        return [f"{key}*=utf-8''{pieces[0]}"]
    first = ["utf-8''"] + [""] * (len(pieces) - 1)
    return [f"{key}*{number}*={first[number]}{piece}" for number, piece in enumerate(pieces)]


def date(seconds: int) -> str:
    """RFC 5322 §3.3, in UTC, whatever the locale; years that no calendar knows become 1970."""
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        at = datetime(1970, 1, 1, tzinfo=UTC)
    clock = f"{at.hour:02}:{at.minute:02}:{at.second:02}"
    return f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} {clock} +0000"
