"""WebDAV, CalDAV and CardDAV as texts: the bodies of requests, and what servers answer (RFC 4918, 4791, 6352, 6638).

Sans-IO: bytes in, `Response`s out, as soon as each is whole. Invariant: an answer that declares a document type is
refused, so no entity is ever expanded; depth, the length of a text and the number of responses are bounded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from mailferry.errors import RemoteProtocolError

DAV, CALDAV, CARDDAV, CALENDARSERVER = (
    "DAV:",
    "urn:ietf:params:xml:ns:caldav",
    "urn:ietf:params:xml:ns:carddav",
    "http://calendarserver.org/ns/",
)
_PREFIXES = {DAV: "D", CALDAV: "C", CARDDAV: "CR", CALENDARSERVER: "CS"}
MOST_RESPONSES = 1_000_000
MOST_DEPTH = 40
MOST_TEXT = 64 << 20
"""Characters of all texts of one response: a resource with what is attached to it, in base64."""


def name(namespace: str, local: str) -> str:
    """A property's or element's name, as `Response.properties` has it."""
    return f"{namespace} {local}"


RESOURCE_TYPE = name(DAV, "resourcetype")
DISPLAY_NAME = name(DAV, "displayname")
ETAG = name(DAV, "getetag")
SYNC_TOKEN = name(DAV, "sync-token")
CTAG = name(CALENDARSERVER, "getctag")
PRINCIPAL = name(DAV, "current-user-principal")
CALENDAR_HOME = name(CALDAV, "calendar-home-set")
ADDRESS_BOOK_HOME = name(CARDDAV, "addressbook-home-set")
COMPONENTS = name(CALDAV, "supported-calendar-component-set")
CALENDAR_DATA = name(CALDAV, "calendar-data")
ADDRESS_DATA = name(CARDDAV, "address-data")
CALENDAR = name(CALDAV, "calendar")
ADDRESS_BOOK = name(CARDDAV, "addressbook")
OWNER = name(DAV, "owner")


@dataclass(slots=True)
class Property:
    """The value of one property: its text, the hrefs in it, and the elements directly in it: their names, and the
    `name` attributes they have (`<C:comp name="VEVENT"/>`)."""

    text: str = ""
    hrefs: list[str] = field(default_factory=list)
    elements: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Response:
    """One resource of a multistatus. `status`: of the resource as a whole, 200 where only its properties have one.
    `properties`: those that it has (status 2xx)."""

    href: str = ""
    status: int = 200
    properties: dict[str, Property] = field(default_factory=dict)

    def text(self, property_name: str) -> str:
        found = self.properties.get(property_name)
        return found.text.strip() if found else ""


def propfind(properties: Sequence[str]) -> bytes:
    """Ask for these properties."""
    return _document("D:propfind", f"<D:prop>{''.join(map(_empty, properties))}</D:prop>")


def multiget(kind: str, hrefs: Iterable[str]) -> bytes:
    """Ask for the content of resources of a calendar (`kind` CALENDAR) or an address book, with their ETags."""
    calendar = kind == CALENDAR
    root, data = (
        ("C:calendar-multiget", "C:calendar-data") if calendar else ("CR:addressbook-multiget", "CR:address-data")
    )
    asked = f"<D:prop><D:getetag/><{data}/></D:prop>"
    return _document(root, asked + "".join(f"<D:href>{escape(one)}</D:href>" for one in hrefs))


def make_calendar(display_name: str, components: Sequence[str]) -> bytes:
    """The body of MKCALENDAR (RFC 4791 §5.3.1). `components`: such as VEVENT."""
    holds = "".join(f'<C:comp name="{one}"/>' for one in components)
    return _document(
        "C:mkcalendar",
        f"<D:set><D:prop><D:displayname>{_text(display_name)}</D:displayname>"
        f"<C:supported-calendar-component-set>{holds}</C:supported-calendar-component-set></D:prop></D:set>",
    )


def make_address_book(display_name: str) -> bytes:
    """The body of an extended MKCOL (RFC 6352 §6.3.1)."""
    return _document(
        "D:mkcol",
        "<D:set><D:prop><D:resourcetype><D:collection/><CR:addressbook/></D:resourcetype>"
        f"<D:displayname>{_text(display_name)}</D:displayname></D:prop></D:set>",
    )


def _document(root: str, content: str) -> bytes:
    spaces = " ".join(f'xmlns:{prefix}="{space}"' for space, prefix in _PREFIXES.items())
    return f'<?xml version="1.0" encoding="utf-8"?>\n<{root} {spaces}>{content}</{root}>'.encode()


def _empty(property_name: str) -> str:
    space, _, local = property_name.partition(" ")
    return f"<{_PREFIXES[space]}:{local}/>"


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(text: str) -> str:
    """As XML takes it: without the characters that it forbids (XML 1.0 §2.2)."""
    return escape(_NOT_XML.sub("", text))


class Multistatus:
    """`feed` bytes as they come; each call gives the responses that are whole by then. `end` says that all came.

    RemoteProtocolError: it is no XML, no multistatus, cut short, beyond the bounds, or declares a document type.
    """

    def __init__(self) -> None:
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        self._path: list[str] = []
        self._done: list[Response] = []
        self._number = 0
        self._response = Response()
        self._found: dict[str, Property] = {}
        self._status = 200
        self._text: list[str] = []
        self._length = 0

    def feed(self, data: bytes) -> list[Response]:
        self._parse(data, False)
        done, self._done = self._done, []
        return done

    def end(self) -> None:
        self._parse(b"", True)

    def _parse(self, data: bytes, last: bool) -> None:
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            raise RemoteProtocolError(f"its answer is no whole XML: {expat.ErrorString(error.code)}") from error

    def _doctype(self, *_: object) -> None:
        raise RemoteProtocolError("its answer declares a document type, which no DAV server has to")

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        path = self._path
        if not path and tag != "DAV: multistatus":
            raise RemoteProtocolError("its answer is no multistatus")
        path.append(tag)
        depth = len(path)
        if depth > MOST_DEPTH:
            raise RemoteProtocolError("its answer is nested too deeply")
        if depth == 2 and tag == "DAV: response":
            self._number += 1
            if self._number > MOST_RESPONSES:
                raise RemoteProtocolError(f"its answer has more than {MOST_RESPONSES} responses")
            self._response, self._length = Response(), 0
        elif depth == 3 and tag == "DAV: propstat":
            self._found, self._status = {}, 200
        elif depth == 5 and self._in_property():
            self._found[tag] = Property()
        elif depth == 6 and self._in_property():
            found = self._found[path[4]]
            found.elements.append(tag)
            if "name" in attributes:
                found.names.append(attributes["name"])
        self._text = []

    def _data(self, text: str) -> None:
        self._length += len(text)
        if self._length > MOST_TEXT:
            raise RemoteProtocolError("a response is larger than Mailferry takes")
        self._text.append(text)

    def _end(self, tag: str) -> None:
        path, text = self._path, "".join(self._text)
        depth = len(path)
        if depth == 2 and tag == "DAV: response":
            self._done.append(self._response)
        elif depth == 3 and tag == "DAV: href":
            self._response.href = text.strip()
        elif depth == 3 and tag == "DAV: status":
            self._response.status = _status(text)
        elif depth == 3 and tag == "DAV: propstat" and 200 <= self._status < 300:
            self._response.properties |= self._found
        elif depth == 4 and tag == "DAV: status":
            self._status = _status(text)
        elif depth == 5 and self._in_property():
            self._found[tag].text = text
        elif depth >= 6 and tag == "DAV: href" and self._in_property():
            self._found[path[4]].hrefs.append(text.strip())
        path.pop()
        self._text = []

    def _in_property(self) -> bool:
        return self._path[1:4] == ["DAV: response", "DAV: propstat", "DAV: prop"]


def _status(line: str) -> int:
    found = re.fullmatch(r"\s*HTTP/[0-9.]+ ([0-9]{3})(?: .*)?\s*", line, re.DOTALL)
    if found is None:
        raise RemoteProtocolError("its answer holds a status that is none")
    return int(found[1])


_SAFE = re.compile(r"[A-Za-z0-9_@-][A-Za-z0-9._@-]{0,150}")


def resource_name(uid: str, ending: str) -> str:
    """The last part of the href of the item with this UID, `ending` without a dot: the UID itself where servers, their
    disks and URLs take it as it is, else a digest of it. The same UID always gives the same name."""
    if _SAFE.fullmatch(uid):
        return f"{uid}.{ending}"
    return f"uid-{hashlib.sha256(uid.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}.{ending}"
