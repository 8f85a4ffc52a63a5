"""vCards, read and written: versions 2.1, 3.0 (RFC 2426) and 4.0 (RFC 6350), as telephones, Outlook and Apple do.

Bytes in, cards and faults out; lines of 3.0 and 4.0 written; says nothing of what a property means. (The libraries
there are refuse the folded quoted-printable of 2.1 that Outlook and telephones write.) Invariant: `parse` raises
nothing; every card that begins comes out, or is a fault with its line.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

LIMIT = 16 * 1024 * 1024
"""Bytes of a card; what is longer is a fault, and skipped to the next BEGIN."""

_HEAD = re.compile(r'(?:([A-Za-z0-9-]+)\.)?([A-Za-z0-9-]+)((?:;(?:"[^"]*"|[^":;])*)*):')
_PARAMETER = re.compile(r';((?:"[^"]*"|[^";])*)')
_ENCODINGS = {"quoted-printable", "base64", "b", "8bit", "7bit"}
_CHARSET = re.compile(
    r"(?i)utf-?(?:8|16(?:[bl]e)?)|us-ascii|iso-8859-\d{1,2}|latin-?\d|(?:windows-|cp)\d{3,4}|koi8-[ru]|macintosh|"
    r"shift[_-]jis|euc-(?:jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5|tis-620"
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{4,}=*")
_MARKS = (("^", "^^"), ("\n", "^n"), ('"', "^'"))
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Property:
    """One line. `name`: upper case; `types`: lower case (`home`, `fax`, `pref`); `parameters`: others, by upper-case
    name; `data`: the value's bytes, its encoding undone but its escapes not."""

    name: str
    data: bytes
    types: frozenset[str]
    parameters: Mapping[str, str]
    group: str
    line: int

    def text(self) -> str:
        """The whole value as text."""
        return unescape(self.raw())

    def parts(self, separator: str = ";") -> list[str]:
        """The components of a structured value (N, ADR, ORG)."""
        return [unescape(part) for part in split(self.raw(), separator)]

    def raw(self) -> str:
        """As text, escapes and all: in the charset it names, else UTF-8, else Windows-1252."""
        for charset in (self._charset(), "utf-8", "cp1252"):
            try:
                return self.data.decode(charset)
            except (UnicodeDecodeError, LookupError):
                continue
        return self.data.decode("latin-1")

    def _charset(self) -> str:
        """What CHARSET says, if it is one of text: Python has stranger codecs."""
        named = self.parameters.get("CHARSET", "")
        return named if _CHARSET.fullmatch(named) else "utf-8"

    @property
    def is_mixed(self) -> bool:
        """Whether the bytes are not what they are said to be."""
        try:
            self.data.decode(self._charset())
        except (UnicodeDecodeError, LookupError):
            return True
        return False


@dataclass(frozen=True, slots=True)
class Card:
    """One card: its properties in order, its first line, its version as written ("" if it says none)."""

    line: int
    version: str
    properties: tuple[Property, ...]

    def all(self, *names: str) -> list[Property]:
        return [one for name in names for one in self.properties if one.name == name]

    def text(self, *names: str) -> str:
        """The first value of some properties that is not empty."""
        return next((text for one in self.all(*names) if (text := one.text()).strip()), "")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something unreadable. `lost`: "card" or "line"."""

    line: int
    message: str
    text: str
    lost: str


def parse(lines: Iterable[bytes]) -> Iterator[Card | Fault]:
    """Cards and faults in order. `lines`: with or without their ends."""
    reading = _Reading()
    for number, line in _unfolded(lines):
        yield from reading.line(number, line)
    yield from reading.end("the card does not end: END:VCARD is missing")


class _Reading:
    """The card being read. `begun`: its first line, 0 between cards. `skipping`: until the next one begins."""

    def __init__(self) -> None:
        self.begun = 0
        self.version = ""
        self.found: list[Property] = []
        self.size = 0
        self.inner = 0  # a card in an AGENT is no contact of its own
        self.skipping = False

    def line(self, number: int, line: bytes) -> Iterator[Card | Fault]:
        upper = line.strip().upper()
        self.size += len(line)
        if upper == b"BEGIN:VCARD":
            if self.begun and self.found and self.found[-1].name == "AGENT" and not self.found[-1].data.strip():
                self.inner += 1
                return
            yield from self.end("the card does not end before the next one begins")
            self.begun, self.size, self.skipping = number, 0, False
        elif upper == b"END:VCARD" and self.inner:
            self.inner -= 1
        elif upper == b"END:VCARD" and self.begun:
            yield Card(self.begun, self.version, tuple(self.found))
            self._forget()
        elif not upper or self.inner or self.skipping:
            return
        elif not self.begun:
            yield Fault(number, "not in a card: BEGIN:VCARD is missing", _shown(line), "line")
        elif self.size > LIMIT:
            yield Fault(self.begun, f"a card of more than {LIMIT} bytes", _shown(line), "card")
            self._forget()
            self.skipping = True
        else:
            one = _property(number, line)
            if isinstance(one, Fault):
                yield one
            elif one.name == "VERSION":
                self.version = one.text().strip()
            else:
                self.found.append(one)

    def end(self, why: str) -> Iterator[Card | Fault]:
        """A card that ends without END: it counts, with a fault."""
        if self.begun:
            yield Fault(self.begun, why, "", "line")
            yield Card(self.begun, self.version, tuple(self.found))
        self._forget()

    def _forget(self) -> None:
        self.begun, self.version, self.found, self.inner = 0, "", [], 0


def _property(number: int, line: bytes) -> Property | Fault:
    text = line.decode("latin-1")
    match = _HEAD.match(text)
    if match is None:
        why = "a name and a colon are missing" if b":" not in line else "its name or parameters make no sense"
        return Fault(number, f"not a property: {why}", _shown(line), "line")
    group, name, rest = match[1] or "", match[2].upper(), match[3]
    types: set[str] = set()
    parameters: dict[str, str] = {}
    encoding = ""
    for found in _PARAMETER.finditer(rest):
        key, equals, value = found[1].partition("=")
        key = key.strip().upper()
        value = value.strip().strip('"').encode("latin-1").decode("utf-8", "replace")
        if (not equals and key.lower() in _ENCODINGS) or key == "ENCODING":
            encoding = (value or key).lower()
        elif not equals or key == "TYPE":
            types.update(part.strip().lower() for part in (value if equals else key).split(",") if part.strip())
        else:
            parameters[key] = value
    data = line[match.end() :]
    if encoding == "quoted-printable":
        data = quopri.decodestring(data)
    elif encoding in ("base64", "b"):
        try:
            data = binascii.a2b_base64(re.sub(rb"\s+", b"", data), strict_mode=True)
        except (binascii.Error, ValueError) as error:
            return Fault(number, f"bad base64: {error}", _shown(line), "line")
    return Property(name, data, frozenset(types), MappingProxyType(parameters), group, number)


def _unfolded(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Logical lines with the number of their first one. Folded by a blank (all versions), by `=` at the end
    (quoted-printable), or, as some telephones write base64, by nothing but the look of the next line."""
    parts: list[bytes] = []
    start, size = 0, 0
    soft = quoted = base64 = False
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip(b"\r\n")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        blank = line[:1] in (b" ", b"\t") and len(line) > 1
        if start and (soft or blank or (base64 and _BASE64.fullmatch(line))):
            if soft and parts[-1].endswith(b"="):
                parts[-1] = parts[-1][:-1]
            size += len(line)
            if size <= LIMIT:
                parts.append(line[1:] if blank and not soft else line)
        else:
            if start:
                yield start, b"".join(parts)
            parts, start, size = [line], number, len(line)
            head = line.partition(b":")[0].upper()
            quoted = b"QUOTED-PRINTABLE" in head
            base64 = b"BASE64" in head or b"ENCODING=B" in head
        soft = quoted and line.endswith(b"=")
    if start:
        yield start, b"".join(parts)


def split(text: str, separator: str) -> list[str]:
    """A value cut at a separator that no backslash stands before; the pieces keep their escapes."""
    pieces = [""]
    for part in re.findall(r"\\.|[^\\]|\\$", text, re.DOTALL):
        if part == separator:
            pieces.append("")
        else:
            pieces[-1] += part
    return pieces


def unescape(text: str) -> str:
    """`\\n`, `\\,`, `\\;`, `\\\\` as what they mean; a backslash before anything else stays (2.1 has none of them)."""
    return _ESCAPE.sub(lambda one: "\n" if one[1] in "nN" else one[1] if one[1] in ",;:\\" else one[0], text)


def _shown(line: bytes) -> str:
    text = line[:80].decode("utf-8", "replace")
    return text + "…" if len(line) > 80 else text


# Writing


def escape(text: str) -> str:
    """A text value, or one component of a structured one (RFC 6350 §3.4)."""
    for plain, escaped in (("\\", "\\\\"), ("\n", "\\n"), (",", "\\,"), (";", "\\;")):
        text = text.replace(plain, escaped)
    return text


def written(name: str, value: str, parameters: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """One property, folded at 75 bytes and ended. `value`: escaped as its kind needs; parameters are quoted here, with
    RFC 6868's marks for what a quoted one may not hold."""
    head = "".join(f";{key}={_parameter(key, text)}" for key, text in parameters.items())
    data = f"{name}{head}:{value}".encode("utf-8", "replace")
    lines, start, room = [], 0, 75
    while len(data) - start > room:
        end = start + room
        while data[end] & 0xC0 == 0x80:  # never inside a character
            end -= 1
        lines.append(data[start:end])
        start, room = end, 74
    return b"\r\n ".join([*lines, data[start:]]) + b"\r\n"


def _parameter(key: str, text: str) -> str:
    """Quoted where needed; the values of TYPE are a list."""
    for plain, mark in _MARKS:
        text = text.replace(plain, mark)
    return f'"{text}"' if re.search(r"[^A-Za-z0-9+/.=_-]", text.replace(",", "") if key == "TYPE" else text) else text


def unmarked(text: str) -> str:
    """A parameter with RFC 6868's marks as what they mean."""
    return re.sub(r"\^([\^n'])", lambda one: {"^": "^", "n": "\n", "'": '"'}[one[1]], text)
