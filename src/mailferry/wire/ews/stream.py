"""Takes the large base64 contents out of an EWS answer while it arrives. Parses no XML itself.

What stands in `MimeContent` and `Content` is decoded piece by piece into sinks; the rest, the skeleton, is small and
holds the number of the sink in the content's place. Invariants: memory does not depend on the contents; an answer that
declares a document type, so that entities could be made up, is refused before any parser sees it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable

from pybase64 import b64decode

from mailferry.errors import RemoteProtocolError

MOST_SKELETON = 64 << 20
"""Bytes of an answer without its contents: a batch never comes near it."""

_LONGEST_TAG = 64 << 10
_OPEN = re.compile(rb"<(?:[\w.-]+:)?(?:MimeContent|MimeContentUTF8|Content)(?:\s[^<>]*)?(?<!/)>")
_BLANKS = (b"\n", b"\r", b" ", b"\t")

Sink = Callable[[bytes], None]


class Splitter:
    """`begin` is called for each content, in order, and gives what takes its bytes."""

    def __init__(self, begin: Callable[[], Sink]) -> None:
        self._begin = begin
        self._number = 0
        self._skeleton: list[bytes] = []
        self._size = 0
        self._held = b""
        self._sink: Sink | None = None

    def feed(self, data: bytes) -> None:
        """RemoteProtocolError for what no Exchange sends."""
        data = self._held + data
        self._held = b""
        at = 0
        while at < len(data):
            at = self._outside(data, at) if self._sink is None else self._inside(data, at, self._sink)

    def skeleton(self) -> bytes:
        """What was left, when all has been fed."""
        if self._sink is not None or self._held:
            raise RemoteProtocolError("the answer ends in the middle")
        return b"".join(self._skeleton)

    def _outside(self, data: bytes, at: int) -> int:
        found = _OPEN.search(data, at)
        if found is not None:
            self._keep(data[at : found.end()])
            self._keep(b"%d" % self._number)
            self._number += 1
            self._sink = self._begin()
            return found.end()
        cut = data.rfind(b"<", at)
        if cut < 0 or data.find(b">", cut) >= 0:
            cut = len(data)
        if len(data) - cut > _LONGEST_TAG:
            raise RemoteProtocolError("the answer holds a tag without an end")
        self._keep(data[at:cut])
        self._held = data[cut:]
        return len(data)

    def _keep(self, data: bytes) -> None:
        if b"<!" in data:
            raise RemoteProtocolError(
                "the answer declares a document type or hides text from view, as Exchange never does",
                advice="make sure that the address is your Exchange server's",
            )
        self._size += len(data)
        if self._size > MOST_SKELETON:
            raise RemoteProtocolError(f"the answer holds more than {MOST_SKELETON >> 20} MB beside its contents")
        self._skeleton.append(data)

    def _inside(self, data: bytes, at: int, sink: Sink) -> int:
        end = data.find(b"<", at)
        text = data[at : len(data) if end < 0 else end]
        if any(blank in text for blank in _BLANKS):
            text = text.translate(None, b"".join(_BLANKS))
        usable = len(text) if end >= 0 else len(text) - len(text) % 4
        try:
            decoded = b64decode(text[:usable], validate=True)
        except binascii.Error as error:
            raise RemoteProtocolError(f"a content of the answer is no base64: {error}") from error
        if decoded:
            sink(decoded)
        if end < 0:
            self._held = text[usable:]
            return len(data)
        self._sink = None
        return end
