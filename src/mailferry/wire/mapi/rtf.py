"""What an RTF body was made from ([MS-OXRTFEX]): the HTML or the plain text inside it. Does not render RTF.

Invariant: time and memory grow with the length of the RTF only; whatever groups it opens, nothing is nested here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from mailferry.wire.mapi.values import text_of

_TOKEN = re.compile(
    rb"\\(?:(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})?[ ]?|'(?P<hex>[0-9a-fA-F]{2})|(?P<sign>[^a-zA-Z]))"
    rb"|(?P<brace>[{}])|[\r\n]+|(?P<text>[^\\{}\r\n]+)",
    re.DOTALL,
)
_SKIPPED = frozenset(
    b"fonttbl colortbl stylesheet info pict object header footer headerl headerr headerf footerl footerr footerf "
    b"filetbl listtable listoverridetable revtbl rsidtbl generator pntext pntxta pntxtb nonesttables xmlnstbl "
    b"themedata datastore latentstyles mhtmltag ftnsep ftnsepc bkmkstart bkmkend".split()
)
"""Destinations whose text is no part of the message."""

_SIGNS = {
    b"par": "\r\n",
    b"line": "\r\n",
    b"tab": "\t",
    b"lquote": "\u2018",
    b"rquote": "\u2019",
    b"ldblquote": "\u201c",
    b"rdblquote": "\u201d",
    b"bullet": "\u2022",
    b"endash": "\u2013",
    b"emdash": "\u2014",
    b"emspace": "\u2003",
    b"enspace": "\u2002",
    b"zwj": "\u200d",
    b"zwnj": "\u200c",
}
_CHARSETS = {0: 1252, 1: 1252, 77: 10000, 128: 932, 129: 949, 134: 936, 136: 950, 161: 1253, 162: 1254, 163: 1258}
_CHARSETS |= {177: 1255, 178: 1256, 186: 1257, 204: 1251, 222: 874, 238: 1250, 254: 437, 255: 850}
"""Font charsets to code pages (RTF 1.9.1)."""


class Origin(Enum):
    """What the RTF was made from; NATIVE: it was written as RTF, so that its text loses its looks."""

    HTML = "html"
    TEXT = "text"
    NATIVE = "native"


@dataclass(frozen=True, slots=True)
class _State:
    """What holds inside a group. `silent`: its text is no part of the message. `shadow`: between \\htmlrtf and
    \\htmlrtf0, where RTF repeats what the HTML says. `tag`: in an \\htmltag. `skip`: characters after each \\u."""

    silent: bool = False
    shadow: bool = False
    tag: bool = False
    skip: int = 1
    codepage: int = 1252


class _Reader:
    def __init__(self, rtf: bytes) -> None:
        self.rtf = rtf
        head = rtf[:2048]
        self.origin = Origin.HTML if b"\\fromhtml" in head else Origin.TEXT if b"\\fromtext" in head else Origin.NATIVE
        found = re.search(rb"\\ansicpg(\d{1,5})", head)
        self.codepage = int(found[1]) if found else 1252
        self.fonts = self._font_charsets()
        self.out: list[str] = []
        self.held = bytearray()  # 8-bit text that waits for the rest of its character

    def _font_charsets(self) -> dict[int, int]:
        begin = self.rtf.find(b"{\\fonttbl")
        table = self.rtf[begin : begin + 65536] if begin >= 0 else b""
        pairs = re.findall(rb"\{\\f(\d{1,5})[^{}]{0,200}?\\fcharset(\d{1,3})", table)
        return {int(font): _CHARSETS.get(int(charset), self.codepage) for font, charset in pairs}

    def read(self) -> str:
        state, stack = _State(codepage=self.codepage), list[_State]()
        star = False
        skip = 0  # characters that stand in for the \u before them
        for found in _TOKEN.finditer(self.rtf):
            kind = found.lastgroup
            if kind == "brace":
                star, skip = False, 0
                if found[0] == b"{":
                    stack.append(state)
                else:
                    self.flush(state)
                    state = stack.pop() if stack else _State(codepage=self.codepage)
            elif kind == "text":
                text = found["text"]
                state, text, skip = state, text[skip:], max(0, skip - len(text))
                self.put(state, text)
            elif kind == "hex":
                if skip:
                    skip -= 1
                else:
                    self.put(state, bytes.fromhex(found["hex"].decode()))
            elif kind == "sign":
                if found["sign"] == b"*":
                    star = True
                elif skip:
                    skip -= 1
                else:
                    self.sign(state, found["sign"])
            elif found["word"]:
                before, state = state, self.word(state, found["word"], found["number"], star)
                if (before.codepage, before.silent, before.shadow) != (state.codepage, state.silent, state.shadow):
                    self.flush(before)
                star = False
                skip = state.skip if found["word"] == b"u" else 0
        self.flush(state)
        return "".join(self.out).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def loud(self, state: _State) -> bool:
        return not state.silent and not (state.shadow and self.origin is Origin.HTML)

    def put(self, state: _State, data: bytes) -> None:
        if self.loud(state):
            self.held += data

    def flush(self, state: _State) -> None:
        if self.held:
            self.out.append(text_of(bytes(self.held), state.codepage))
            self.held.clear()

    def say(self, state: _State, text: str) -> None:
        if self.loud(state):
            self.flush(state)
            self.out.append(text)

    def sign(self, state: _State, sign: bytes) -> None:
        if sign in b"{}\\":
            self.put(state, sign)
        elif sign == b"~":
            self.say(state, "&nbsp;" if self.origin is Origin.HTML else "\u00a0")
        elif sign == b"_":
            self.say(state, "&shy;" if self.origin is Origin.HTML else "\u00ad")
        elif sign in b"\r\n":
            self.say(state, "\r\n")

    def word(self, state: _State, word: bytes, number: bytes | None, star: bool) -> _State:
        value = int(number) if number else None
        if word == b"htmltag" and star:
            return replace(state, silent=self.origin is not Origin.HTML, shadow=False, tag=True)
        if star or word in _SKIPPED:
            return replace(state, silent=True)
        match word:
            case b"htmlrtf":
                return replace(state, shadow=value != 0)
            case b"u" if value is not None:
                self.say(state, chr(value & 0xFFFF))
            case b"uc" if value is not None:
                return replace(state, skip=max(0, min(value, 8)))
            case b"f" if value is not None and not state.tag:
                return replace(state, codepage=self.fonts.get(value, self.codepage))
            case b"plain":
                return replace(state, codepage=self.codepage)
            case _ if word in _SIGNS:
                self.say(state, _SIGNS[word])
        return state


def unwrapped(rtf: bytes) -> tuple[Origin, str]:
    """What the RTF was made from, and that: HTML source, or plain text with CRLF."""
    reader = _Reader(rtf)
    return reader.origin, reader.read()
