"""What DAV servers answer: whole, byte by byte, cut, and hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.errors import RemoteProtocolError
from mailferry.wire import dav

ANSWER = """<?xml version="1.0"?>
<D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:x="urn:x">
 <D:response>
  <D:href> /al%40x/cal/ </D:href>
  <D:propstat><D:prop>
    <D:resourcetype><D:collection/><C:calendar/></D:resourcetype>
    <D:displayname>Größe &amp; &lt;Urlaub&gt;</D:displayname>
    <C:supported-calendar-component-set><C:comp name="VEVENT"/><C:comp name="VTODO"/>
    </C:supported-calendar-component-set>
    <D:current-user-principal><D:href>/p/</D:href></D:current-user-principal>
    <x:odd><x:deep><x:deeper>text</x:deeper></x:deep></x:odd>
   </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>
  <D:propstat><D:prop><D:getetag>no</D:getetag></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>
 </D:response>
 <D:response><D:href>/gone</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>
</D:multistatus>""".encode()


def parsed(data: bytes, step: int = 0) -> list[dav.Response]:
    reader = dav.Multistatus()
    pieces = [data[at : at + step] for at in range(0, len(data), step)] if step else [data]
    found = [one for piece in pieces for one in reader.feed(piece)]
    reader.end()
    return found


@pytest.mark.parametrize("step", [0, 1, 7])
def test_a_multistatus_is_read_whole_and_in_pieces(step: int) -> None:
    calendar, gone = parsed(ANSWER, step)
    assert calendar.href == "/al%40x/cal/"
    assert dav.CALENDAR in calendar.properties[dav.RESOURCE_TYPE].elements
    assert calendar.text(dav.DISPLAY_NAME) == "Größe & <Urlaub>"
    assert calendar.properties[dav.COMPONENTS].names == ["VEVENT", "VTODO"]
    assert calendar.properties[dav.PRINCIPAL].hrefs == ["/p/"]
    assert dav.ETAG not in calendar.properties
    assert (gone.href, gone.status) == ("/gone", 404)


@given(st.integers(0, len(ANSWER) - 1))
def test_half_an_answer_is_none(end: int) -> None:
    with pytest.raises(RemoteProtocolError):
        parsed(ANSWER[:end])


BOMB = b"""<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;">]>
<D:multistatus xmlns:D="DAV:"><D:response><D:href>&c;</D:href></D:response></D:multistatus>"""
OUTSIDE = b"""<!DOCTYPE b SYSTEM "file:///etc/passwd"><D:multistatus xmlns:D="DAV:"/>"""


@pytest.mark.parametrize(
    "answer",
    [
        BOMB,
        OUTSIDE,
        b"",
        b"<html>log in here</html>",
        b'<D:multistatus xmlns:D="DAV:">' + b"<D:x>" * 100,
        b'<D:multistatus xmlns:D="DAV:"><D:response><D:status>200</D:status></D:response></D:multistatus>',
        b"\x00\xff" * 10,
    ],
)
def test_what_is_no_multistatus_is_refused(answer: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parsed(answer)


def test_a_response_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dav, "MOST_TEXT", 1000)
    reader = dav.Multistatus()
    reader.feed(b'<D:multistatus xmlns:D="DAV:"><D:response><D:href>')
    with pytest.raises(RemoteProtocolError, match="larger"):
        for _ in range(100):
            reader.feed(b"x" * 100)


@given(st.text())
def test_the_name_of_a_resource_is_one_part_of_a_path(uid: str) -> None:
    name = dav.resource_name(uid, "ics")
    assert name == dav.resource_name(uid, "ics")
    assert "/" not in name and not name.startswith(".") and name.isascii() and len(name) < 200


def test_a_plain_uid_is_the_name() -> None:
    assert dav.resource_name("040000008200E00074C5B7101A82E008", "ics") == "040000008200E00074C5B7101A82E008.ics"
    assert dav.resource_name("a/b", "ics") != dav.resource_name("a_b", "ics")


@given(st.text())
def test_any_display_name_makes_a_body_that_is_xml(name: str) -> None:
    from xml.dom.minidom import parseString

    parseString(dav.make_calendar(name, ["VEVENT"]))
    parseString(dav.make_address_book(name))
