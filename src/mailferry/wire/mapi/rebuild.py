"""A message as MIME again, from its MAPI properties ([MS-OXCMAIL]): piece by piece, the same bytes at every reading.

Shape, where all of it is there:

    mixed ── related ── alternative ── text/plain
      │         │            ├──────── text/html, or text/rtf where no HTML can be had
      │         │            └──────── text/calendar of meeting messages
      │         └──────── images that the HTML names by cid:
      └───────── attachments; attached messages as message/rfc822, to any depth up to `DEPTH`

What cannot be read is left out and named in `Making.differences`. Invariant: memory does not depend on attachments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailferry.errors import ItemError
from mailferry.model.groupware import Text
from mailferry.wire.html import plain as as_plain
from mailferry.wire.mapi import tags, tnef
from mailferry.wire.mapi.fields import Making, header_fields, token
from mailferry.wire.mapi.item import Attachment, Item
from mailferry.wire.mapi.lzfu import decompress
from mailferry.wire.mapi.rtf import Origin, unwrapped
from mailferry.wire.mapi.values import codec, text_of
from mailferry.wire.mime.bodies import base64_lines, crlf, text_body
from mailferry.wire.mime.headers import parametric

DEPTH = 32
"""Messages in messages in messages. Outlook itself stops sooner."""

_BY_VALUE, _EMBEDDED, _OLE = 1, 5, 6
_MEETING = "ipm.schedule.meeting."
_TNEF = ("application/ms-tnef", "application/vnd.ms-tnef")
_CHARSETS = {
    None: "windows-1252",
    874: "windows-874",
    932: "shift_jis",
    949: "ks_c_5601-1987",
    950: "big5",
    20127: "us-ascii",
    28591: "iso-8859-1",
}
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
_ENTITY = re.compile(rb"content-type[ \t]*:", re.IGNORECASE)
_CID = re.compile(rb"cid:([^\"'> \t\r\n)]{1,250})", re.IGNORECASE)


@dataclass(slots=True)
class _Part:
    """One attachment with what its header says."""

    attachment: Attachment
    name: str
    kind: str
    cid: str
    location: str
    method: int
    number: int


def rebuilt(item: Item, making: Making, depth: int = 0) -> Iterator[bytes]:
    """The whole message: header block, empty line, body, in pieces of at most some hundred kB. Lines end with CRLF."""
    yield from header_fields(making, item)
    yield b"MIME-Version: 1.0\r\n"
    kind = making.text(item.properties, tags.MESSAGE_CLASS).casefold()
    parts = list(_parts(making, item))
    if kind.startswith("ipm.note.smime") and len(parts) == 1:
        yield from _smime(making, parts[0], "multipartsigned" in kind)
        return
    parts, wrapped = _unwrapped(making, item, parts)
    html, bodies = _bodies(making, item)
    if wrapped is not None and not html:
        html, bodies = _bodies(making, wrapped) if _has_more(wrapped) else (html, bodies)
    if kind.startswith(_MEETING):
        bodies += _invitation(making, item)
    wanted = {found.lower() for found in _CID.findall(html)}
    inline = [part for part in parts if part.cid and part.cid.encode().lower() in wanted]
    attached = [part for part in parts if part not in inline]
    yield from _mixed(making, item, bodies, inline, attached, depth)


def _mixed(
    making: Making, item: Item, bodies: list[bytes], inline: list[_Part], attached: list[_Part], depth: int
) -> Iterator[bytes]:
    if not attached:
        yield from _related(making, item, bodies, inline, depth)
        return
    boundary = f"=_mixed_{token(item, 'mixed')}"
    yield _multipart("mixed", boundary)
    yield _open(boundary)
    yield from _related(making, item, bodies, inline, depth)
    for part in attached:
        yield _open(boundary)
        yield from _attachment(making, part, depth, inline=False)
    yield _close(boundary)


def _related(making: Making, item: Item, bodies: list[bytes], inline: list[_Part], depth: int) -> Iterator[bytes]:
    if not inline:
        yield from _alternative(item, bodies)
        return
    boundary = f"=_related_{token(item, 'related')}"
    yield _multipart("related", boundary)
    yield _open(boundary)
    yield from _alternative(item, bodies)
    for part in inline:
        yield _open(boundary)
        yield from _attachment(making, part, depth, inline=True)
    yield _close(boundary)


def _alternative(item: Item, bodies: list[bytes]) -> Iterator[bytes]:
    if len(bodies) == 1:
        yield bodies[0]
        return
    boundary = f"=_alternative_{token(item, 'alternative')}"
    yield _multipart("alternative", boundary)
    for body in bodies:
        yield _open(boundary)
        yield body
    yield _close(boundary)


def _multipart(kind: str, boundary: str) -> bytes:
    return parametric("Content-Type", f"multipart/{kind}", {"boundary": boundary}) + b"\r\n"


def _open(boundary: str) -> bytes:
    return f"--{boundary}\r\n".encode()


def _close(boundary: str) -> bytes:
    return f"--{boundary}--\r\n".encode()


# Bodies


def _bodies(making: Making, item: Item) -> tuple[bytes, list[bytes]]:
    """The HTML as it will stand there (none: empty), and the body's parts, plainest first; at least one."""
    bag = item.properties
    plain = making.text(bag, tags.BODY) or making.text(bag, tags.REPORT_TEXT)
    html, charset = _html(making, item)
    rtf = b""
    if not html:
        origin, text, rtf = _from_rtf(making, item)
        if origin is Origin.HTML:
            html, charset, rtf = text.encode("utf-8", "replace"), "utf-8", b""
        elif origin is not None:
            plain = plain or text
            rtf = rtf if origin is Origin.NATIVE else b""
    bodies = []
    if plain or not (html or rtf):
        ascii_only = plain.isascii()
        bodies.append(_text("plain", plain.encode("utf-8", "replace"), "us-ascii" if ascii_only else "utf-8"))
    if html:
        bodies.append(_text("html", html, charset))
    if rtf:
        bodies.append(_text("rtf", rtf, ""))
    return html, bodies


def text(making: Making, item: Item) -> Text:
    """The body as text, and as HTML where there is some."""
    plain = making.text(item.properties, tags.BODY)
    data, charset = _html(making, item)
    html = data.decode(charset or "utf-8", "replace")
    if not html:
        origin, inner, _ = _from_rtf(making, item)
        html = inner if origin is Origin.HTML else ""
        plain = plain or (inner if origin in (Origin.TEXT, Origin.NATIVE) else "")
    return Text(plain or as_plain(html), html)


def _html(making: Making, item: Item) -> tuple[bytes, str]:
    """The HTML body with its charset's name."""
    bag = item.properties
    value = making.get(bag, tags.HTML)
    if isinstance(value, str):
        return value.encode("utf-8", "replace"), "utf-8"
    if not isinstance(value, bytes) or not value.strip(b"\0 \r\n"):
        return b"", ""
    codepage = making.number(bag, tags.INTERNET_CODEPAGE)
    name = charset_of(codepage)
    if name is None:
        return text_of(value, codepage).encode("utf-8"), "utf-8"
    return value.rstrip(b"\0"), name


def charset_of(codepage: int | None) -> str | None:
    """The name that mail clients know a code page by; None where text is better written as UTF-8."""
    if codepage in _CHARSETS:
        return _CHARSETS[codepage]
    name = codec(codepage)
    if name.startswith("utf-16") or name == "utf-7":
        return None
    if name.startswith("cp125"):
        return f"windows-{name[2:]}"
    if name.startswith("iso8859-"):
        return f"iso-8859-{name[8:]}"
    return name.replace("_", "-")


def _from_rtf(making: Making, item: Item) -> tuple[Origin | None, str, bytes]:
    """What the RTF body was made from, that, and the RTF itself; None where there is none that can be read."""
    value = making.get(item.properties, tags.RTF_COMPRESSED)
    if not isinstance(value, bytes) or not value:
        return None, "", b""
    try:
        rtf = decompress(value)
    except ItemError as error:
        making.lost(error.message)
        return None, "", b""
    return (*unwrapped(rtf), rtf) if rtf.strip() else (None, "", b"")


def _invitation(making: Making, item: Item) -> list[bytes]:
    """The calendar part of a meeting message, the richest of its bodies (RFC 6047 §2.4)."""
    try:
        made = making.invite(item, making) if making.invite is not None else None
    except ItemError as error:
        making.lost(f"the calendar part of a meeting message could not be made: {error.message}")
        return []
    if made is None:
        return []
    method, data = made
    encoding, body = text_body(data)
    header = parametric("Content-Type", "text/calendar", {"charset": "utf-8", "method": method})
    return [header + f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body]


def _text(kind: str, data: bytes, charset: str) -> bytes:
    encoding, body = text_body(data)
    header = parametric("Content-Type", f"text/{kind}", {"charset": charset} if charset else {})
    return header + f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body


# Attachments


def _unwrapped(making: Making, item: Item, parts: list[_Part]) -> tuple[list[_Part], Item | None]:
    """The parts with those in winmail.dat in its place, and the message in that; one that cannot be read stays."""
    found: list[_Part] = []
    wrapped: Item | None = None
    for part in parts:
        if part.method != _BY_VALUE or (part.kind not in _TNEF and part.name.casefold() != "winmail.dat"):
            found.append(part)
            continue
        try:
            data = bytearray()
            for piece in part.attachment.properties.chunks(tags.ATTACH_DATA):
                data += piece
                if len(data) > tnef.MOST:
                    raise ItemError("winmail.dat is too large to be taken apart")
            inner = tnef.read(bytes(data), item.key + f"winmail.dat {part.number}".encode())
            found += _parts(making, inner)
            wrapped = inner
        except ItemError as error:
            making.lost(f"{error.message}; it stays as it is")
            found.append(part)
    return found, wrapped


def _has_more(item: Item) -> bool:
    """Whether a message in winmail.dat has a body of its own."""
    return any(item.properties.get(tag) for tag in (tags.HTML, tags.RTF_COMPRESSED, tags.BODY))


def _parts(making: Making, item: Item) -> Iterator[_Part]:
    try:
        for number, attachment in enumerate(item.attachments()):
            try:
                bag = attachment.properties
            except ItemError as error:
                making.lost(f"attachment {number + 1} could not be read: {error.message}")
                continue
            name = making.text(bag, tags.ATTACH_LONG_FILENAME, tags.ATTACH_FILENAME, tags.DISPLAY_NAME)
            kind = making.text(bag, tags.ATTACH_MIME_TAG).strip().casefold()
            method = making.number(bag, tags.ATTACH_METHOD)
            yield _Part(
                attachment,
                re.split(r"[/\\]", name)[-1].strip(" \0"),
                kind if _TYPE.fullmatch(kind) else "application/octet-stream",
                making.text(bag, tags.ATTACH_CONTENT_ID).strip(" <>"),
                making.text(bag, tags.ATTACH_CONTENT_LOCATION).strip(),
                _BY_VALUE if method is None else method,
                number,
            )
    except ItemError as error:
        making.lost(f"the list of attachments could not be read: {error.message}")


def _attachment(making: Making, part: _Part, depth: int, *, inline: bool) -> Iterator[bytes]:
    """One attachment with its header; what goes wrong on the way leaves what was read so far, and is named."""
    try:
        if part.method == _EMBEDDED:
            yield from _embedded(making, part, depth)
            return
        yield _attachment_header(part, inline)
        if part.method in (_BY_VALUE, _OLE):
            yield from base64_lines(_content(making, part))
        else:
            yield from _reference(making, part)
    except ItemError as error:
        making.lost(f"attachment {part.number + 1} could not be read whole: {error.message}")
        yield b"\r\n"


def _content(making: Making, part: _Part) -> Iterator[bytes]:
    """The attachment's bytes; where they break off, that is named, and what came before stays."""
    pieces = (
        part.attachment.object_chunks() if part.method == _OLE else part.attachment.properties.chunks(tags.ATTACH_DATA)
    )
    try:
        yield from pieces
    except ItemError as error:
        making.lost(f"attachment {part.number + 1} could not be read whole: {error.message}")


def _attachment_header(part: _Part, inline: bool) -> bytes:
    kind = part.kind
    if kind.startswith(("message/", "multipart/")):  # may not be encoded (RFC 2045 §6.4)
        kind = "application/octet-stream"
    names = {"name": part.name} if part.name else {}
    header = parametric("Content-Type", kind, names)
    header += b"Content-Transfer-Encoding: base64\r\n"
    header += parametric(
        "Content-Disposition", "inline" if inline else "attachment", {"filename": part.name} if part.name else {}
    )
    if part.cid:
        header += parametric("Content-ID", f"<{part.cid}>", {})
    elif part.location:
        header += parametric("Content-Location", part.location[:900], {})
    return header + b"\r\n"


def _reference(making: Making, part: _Part) -> Iterator[bytes]:
    """An attachment that only names where the file is: its name for it is all there is to bring."""
    making.lost(f"attachment {part.number + 1} is a link to a file elsewhere; the link is there, the file is not")
    bag = part.attachment.properties
    path = making.text(bag, tags.ATTACH_LONG_PATHNAME, tags.ATTACH_PATHNAME)
    yield from base64_lines([path.encode("utf-8", "replace") + b"\r\n"])


def _embedded(making: Making, part: _Part, depth: int) -> Iterator[bytes]:
    if depth >= DEPTH:
        raise ItemError(f"messages in messages deeper than {DEPTH}")
    message = part.attachment.message()
    if message is None:
        raise ItemError("the attached message is missing")
    yield parametric("Content-Type", "message/rfc822", {})
    name = part.name or "message"
    yield parametric("Content-Disposition", "attachment", {"filename": f"{name.removesuffix('.msg')}.eml"})
    yield b"\r\n"
    yield from rebuilt(message, making, depth + 1)


def _smime(making: Making, part: _Part, clear: bool) -> Iterator[bytes]:
    """The signed or encrypted entity as it was sent: nothing of it may change (RFC 8551 §3.1)."""
    if not clear:
        yield parametric("Content-Type", "application/pkcs7-mime", {"name": "smime.p7m"})
        yield b"Content-Transfer-Encoding: base64\r\n"
        yield parametric("Content-Disposition", "attachment", {"filename": "smime.p7m"})
        yield b"\r\n"
        yield from base64_lines(_content(making, part))
        return
    data = b"".join(_content(making, part))
    if not _ENTITY.search(data[:4096].partition(b"\r\n\r\n")[0]):
        yield _attachment_header(part, inline=False)
        yield from base64_lines([data])
        return
    yield re.sub(rb"(?im)^mime-version[ \t]*:[^\n]*\n", b"", crlf(data).lstrip(b"\r\n"), count=1)
