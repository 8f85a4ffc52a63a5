"""Distinguished names as text, both ways (RFC 4514), and values in filters. Knows no directory and compares nothing but
the text.

Invariant: `parse(join(name)) == name` for every name, whatever its values hold (NUL, commas, blanks, quotes).
"""

from __future__ import annotations

import re

from mailferry.errors import UserError

Rdn = tuple[tuple[str, str], ...]
"""One level: attribute type and value, mostly a single pair; more for a multi-valued RDN (`cn=A+uid=b`)."""

LONGEST = 160
"""Bytes of a value that names an entry, escaped."""
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_SPECIAL = re.compile(r'[\\,+"<>;=\x00-\x1f\x7f]')
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_SIMPLE = re.compile(r'[^\\"+;<>#\x00]*')
_PLAIN = re.compile(r'[^\\,+"<>;\x00]+')


def escape(value: str) -> str:
    """A value as it may stand in a DN (RFC 4514 §2.4), control characters as `\\XX`. An empty value stays empty."""
    text = _SPECIAL.sub(_escaped, value)
    if text.startswith((" ", "#")):
        text = "\\" + text
    if value.endswith(" ") and value != " ":
        text = text[:-1] + "\\ "
    return text


def in_filter(value: str) -> str:
    """A value as it may stand in a search filter (RFC 4515 §3); all but letters and digits as `\\XX`."""
    return "".join(one if one.isalnum() else "".join(f"\\{byte:02x}" for byte in one.encode()) for one in value)


def short(value: str) -> str:
    """The beginning of a value that may name an entry: OpenLDAP's mdb takes no RDN beyond 249 bytes (it answers 80),
    and something may have to be added to tell two entries apart."""
    kept = value[:LONGEST]
    while len(escape(kept).encode("utf-8", "surrogatepass")) > LONGEST:
        kept = kept[:-1]
    return kept if kept == value else kept.rstrip()


def _escaped(match: re.Match[str]) -> str:
    one = match[0]
    return f"\\{ord(one):02x}" if ord(one) < 0x20 or one == "\x7f" else "\\" + one


def join(name: tuple[Rdn, ...]) -> str:
    """A parsed name as text, the leaf first."""
    return ",".join("+".join(f"{kind}={escape(value)}" for kind, value in rdn) for rdn in name)


def parse(text: str) -> tuple[Rdn, ...]:
    """The levels of a DN, the leaf first; "" has none. Blanks around separators and quoted values (RFC 2253) are read.

    UserError for what is no DN; its message says where.
    """
    if _SIMPLE.fullmatch(text):
        pieces = [piece.partition("=") for piece in text.split(",")]
        plain = tuple([((kind.strip(" "), value.strip(" ")),) for kind, _, value in pieces])
        if all(equals and _TYPE.fullmatch(rdn[0][0]) for rdn, (_, equals, _) in zip(plain, pieces, strict=True)):
            return plain
    position = _blanks(text, 0)
    if position == len(text):
        return ()
    levels: list[Rdn] = []
    pairs: list[tuple[str, str]] = []
    while True:
        pair, position = _pair(text, position)
        pairs.append(pair)
        separator = text[position : position + 1]
        if separator != "+":
            levels.append(tuple(pairs))
            pairs = []
        if not separator:
            return tuple(levels)
        position += 1


def _pair(text: str, position: int) -> tuple[tuple[str, str], int]:
    """One `type=value` from `position` on, and the position of the separator behind it."""
    position = _blanks(text, position)
    kind = _TYPE.match(text, position)
    if kind is None:
        raise _fault(text, position, "an attribute name is missing")
    position = _blanks(text, kind.end())
    if text[position : position + 1] != "=":
        raise _fault(text, position, f"= is missing after {kind[0]}")
    position = _blanks(text, position + 1)
    if text[position : position + 1] == "#":
        encoded = _HEX.match(text, position + 1)
        if encoded is None:
            raise _fault(text, position, "# without hexadecimal digits")
        value, position = "#" + encoded[0], encoded.end()
    elif text[position : position + 1] == '"':
        value, position = _value(text, position + 1, quoted=True)
    else:
        value, position = _value(text, position, quoted=False)
    position = _blanks(text, position)
    if position < len(text) and text[position] not in ",;+":
        raise _fault(text, position, f"{text[position]!r} must be escaped")
    return (kind[0], value), position


def _value(text: str, position: int, *, quoted: bool) -> tuple[str, int]:
    """A value up to its separator or closing quote. Trailing blanks that are not escaped are no part of it."""
    raw = bytearray()
    kept = 0  # bytes that a trailing blank cannot be cut from
    while position < len(text):
        one = text[position]
        if one == "\\":
            found, position = _unescape(text, position + 1)
            raw += found
            kept = len(raw)
        elif quoted and one == '"':
            return _text(text, position, raw), position + 1
        elif quoted and one != "\x00":
            raw += one.encode("utf-8", "surrogatepass")
            position += 1
        elif (plain := _PLAIN.match(text, position)) is not None:
            raw += plain[0].encode("utf-8", "surrogatepass")
            position = plain.end()
        else:
            break
    if quoted:
        raise _fault(text, position, "a quotation mark is not closed")
    while len(raw) > kept and raw.endswith(b" "):
        del raw[-1]
    return _text(text, position, raw), position


def _unescape(text: str, position: int) -> tuple[bytes, int]:
    digits = text[position : position + 2]
    if len(digits) == 2 and _HEX.fullmatch(digits):
        return bytes.fromhex(digits), position + 2
    if digits and digits[0] in ' "#+,;<=>\\':
        return digits[0].encode(), position + 1
    raise _fault(text, position, "a backslash before a character that it cannot escape")


def _text(text: str, position: int, raw: bytearray) -> str:
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise _fault(text, position, "escaped bytes that are no UTF-8") from error


def _blanks(text: str, position: int) -> int:
    while text[position : position + 1] == " ":
        position += 1
    return position


def _fault(text: str, position: int, what: str) -> UserError:
    return UserError(f"not a distinguished name: {what} (character {position + 1})", about=text[:200])
