"""Messages rebuilt from MAPI properties: headers, bodies, attachments, RTF; read back by Python's own parser."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from mailferry.errors import ItemError
from mailferry.wire.mapi import tags, tnef
from mailferry.wire.mapi.fields import Making, smtp_address, transport_fields
from mailferry.wire.mapi.lzfu import decompress
from mailferry.wire.mapi.rebuild import charset_of, rebuilt
from mailferry.wire.mapi.rtf import Origin, unwrapped
from mailferry.wire.mapi.values import Type, Value, decode
from mailferry.wire.mime import bodies, headers

SENT = 133_000_000_000_000_000


@dataclass
class Bag:
    values: Mapping[int, Value | ItemError]
    pieces: Sequence[bytes | ItemError] = ()

    def get(self, tag: int) -> Value | None:
        value = self.values.get(tag)
        if isinstance(value, ItemError):
            raise value
        return value

    def chunks(self, tag: int) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, ItemError):
                raise piece
            yield piece


@dataclass
class Part:
    properties: Bag
    inside: Thing | None = None

    def message(self) -> Thing | None:
        return self.inside

    def object_chunks(self) -> Iterator[bytes]:
        return self.properties.chunks(tags.ATTACH_DATA)


@dataclass
class Thing:
    values: dict[int, Value | ItemError]
    people: list[Bag] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    categories: Sequence[str] = ()
    key: bytes = b"key"

    @property
    def properties(self) -> Bag:
        return Bag(self.values)

    def tag(self, space: bytes, name: str | int) -> int | None:
        return None

    def recipients(self) -> Iterator[Bag]:
        return iter(self.people)

    def attachments(self) -> Iterator[Part]:
        return iter(self.parts)


def built(thing: Thing, making: Making | None = None) -> bytes:
    return b"".join(rebuilt(thing, making or Making()))


def parsed(thing: Thing, making: Making | None = None) -> EmailMessage:
    data = built(thing, making)
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in data.split(b"\r\n"))
    found = message_from_bytes(data, _class=EmailMessage, policy=policy.default)
    assert isinstance(found, EmailMessage)
    assert not [part.defects for part in found.walk() if part.defects]
    return found


def attachment(name: str, data: bytes, **more: Value) -> Part:
    values: dict[int, Value | ItemError] = {tags.ATTACH_LONG_FILENAME: name, tags.ATTACH_METHOD: 1}
    values |= {getattr(tags, key.upper()): value for key, value in more.items()}
    return Part(Bag(values, [data]))


# Headers


def test_fields_are_made_where_none_were_kept() -> None:
    thing = Thing(
        {
            tags.SUBJECT: "\x01\x05Re: Größe",
            tags.CLIENT_SUBMIT_TIME: SENT,
            tags.SENT_REPRESENTING_NAME: "Chef, Der",
            tags.SENT_REPRESENTING_SMTP_ADDRESS: "chef@acme.example",
            tags.SENDER_NAME: "Alice",
            tags.SENDER_ADDRESS_TYPE: "EX",
            tags.SENDER_EMAIL_ADDRESS: "/O=ACME/CN=ALICE",
            tags.INTERNET_MESSAGE_ID: "<1@acme.example>",
            tags.IN_REPLY_TO_ID: "<0@acme.example>",
            tags.INTERNET_REFERENCES: "<0@acme.example>",
            tags.IMPORTANCE: 2,
            tags.SENSITIVITY: 2,
            tags.READ_RECEIPT_REQUESTED: True,
            tags.BODY: "hello",
        },
        [
            Bag({tags.RECIPIENT_TYPE: 1, tags.DISPLAY_NAME: "Bob", tags.SMTP_ADDRESS: "bob@acme.example"}),
            Bag({tags.RECIPIENT_TYPE: 1, tags.DISPLAY_NAME: "Team"}),
            Bag({tags.RECIPIENT_TYPE: 2, tags.ADDRESS_TYPE: "SMTP", tags.EMAIL_ADDRESS: "c@acme.example"}),
            Bag({tags.RECIPIENT_TYPE: 3, tags.DISPLAY_NAME: "Zoë", tags.SMTP_ADDRESS: "zoe@acme.example"}),
        ],
        categories=["Rot"],
    )
    directory = {"/o=acme/cn=alice": "alice@acme.example"}
    found = parsed(thing, Making(resolve=directory.get))
    assert found["Subject"] == "Re: Größe"
    assert found["Date"].datetime.isoformat() == "2022-06-18T04:26:40+00:00"
    assert str(found["From"]) == '"Chef, Der" <chef@acme.example>'
    assert str(found["Sender"]) == "Alice <alice@acme.example>"
    assert str(found["To"]) == "Bob <bob@acme.example>, Team:;"
    assert str(found["Cc"]) == "c@acme.example"
    assert str(found["Bcc"]) == "Zoë <zoe@acme.example>"
    assert str(found["Disposition-Notification-To"]) == '"Chef, Der" <chef@acme.example>'
    for name, value in (
        ("Message-ID", "<1@acme.example>"),
        ("In-Reply-To", "<0@acme.example>"),
        ("References", "<0@acme.example>"),
        ("Importance", "high"),
        ("Sensitivity", "Private"),
        ("Keywords", "Rot"),
    ):
        assert found.get_all(name) == [value]


def test_kept_fields_stay_and_only_what_lacks_is_made() -> None:
    kept = (
        "Microsoft Mail Internet Headers Version 2.0\r\n"
        "Received: from a by b;\r\n\tMon, 1 Jan 2001 00:00:00 +0000\r\nSubject: as it was  sent\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary="gone"\r\nFrom: <a@b.example>\r\n'
        "X-Raw: Gr\u00f6\u00dfe und so\r\n\r\nContent-Type: text/plain\r\nNot: a field any more\r\n"
    )
    thing = Thing({tags.TRANSPORT_MESSAGE_HEADERS: kept, tags.SUBJECT: "another", tags.BODY: "x"})
    data = built(thing)
    assert b"Received: from a by b;\r\n\tMon, 1 Jan 2001 00:00:00 +0000\r\nSubject: as it was  sent\r\n" in data
    assert b"gone" not in data
    assert b"Not:" not in data
    found = parsed(thing)
    assert found.get_all("Subject") == ["as it was  sent"]
    assert len(found.get_all("MIME-Version", [])) == len(found.get_all("From", [])) == 1
    assert str(found["X-Raw"]) == "Größe und so"
    assert found["Message-ID"].endswith("@mailferry.invalid>")


def test_no_value_begins_a_field_of_its_own() -> None:
    evil = "x\r\nBcc: victim@acme.example\r\n\r\nbody"
    values: dict[int, Value | ItemError] = dict.fromkeys(
        (tags.SUBJECT, tags.INTERNET_MESSAGE_ID, tags.SENDER_NAME, tags.SENDER_SMTP_ADDRESS, tags.CONVERSATION_TOPIC),
        evil,
    )
    thing = Thing(
        {**values, tags.DISPLAY_TO: evil},
        [Bag({tags.RECIPIENT_TYPE: 1, tags.DISPLAY_NAME: evil, tags.SMTP_ADDRESS: evil})],
        [attachment(evil, b"x", attach_content_id=evil, attach_mime_tag=evil)],
        [evil],
    )
    found = parsed(thing)
    assert found["Bcc"] is None
    assert found["To"] is not None
    (part,) = found.iter_attachments()
    assert part["Bcc"] is None


def test_x500_addresses_leave_so_that_exchange_knows_them_again() -> None:
    assert smtp_address(Making(domain="d.example"), "EX", "/o=A B/cn=x") == "IMCEAEX-_o=A+20B_cn=x@d.example"
    assert smtp_address(Making(), "", "/O=A/CN=x").startswith("IMCEAEX-_O=A_CN=x@")
    assert smtp_address(Making(), "SMTP", "a@b.example") == "a@b.example"
    assert smtp_address(Making(), "FAX", "12345") == ""


def flat(*entries: bytes) -> bytes:
    padded = b"".join(struct.pack("<I", len(one)) + one + bytes(-len(one) % 4) for one in entries)
    return struct.pack("<II", len(entries), len(padded)) + padded


def test_answers_go_where_they_were_asked_for() -> None:
    one_off = bytes(4) + bytes.fromhex("812b1fa4bea310199d6e00dd010f5402")
    wide = one_off + struct.pack("<HH", 0, 0x9000) + "Lïst\0SMTP\0list@acme.example\0".encode("utf-16-le")
    narrow = one_off + struct.pack("<HH", 0, 0) + b"Fax\0FAX\0123\0"
    inside = bytes(4) + bytes.fromhex("dca740c8c042101ab4b908002b2fe182") + struct.pack("<II", 1, 0) + b"/o=a/cn=b\0"
    entries = flat(wide, narrow, inside, b"", b"x" * 30)
    found = parsed(Thing({tags.REPLY_RECIPIENT_ENTRIES: entries}), Making(resolve={"/o=a/cn=b": "b@a.example"}.get))
    assert str(found["Reply-To"]) == "Lïst <list@acme.example>, b@a.example"
    for cut in range(len(entries)):
        parsed(Thing({tags.REPLY_RECIPIENT_ENTRIES: entries[:cut]}))
    assert parsed(Thing({tags.REPLY_RECIPIENT_ENTRIES: struct.pack("<II", 0xFFFFFFFF, 0) * 99}))["Reply-To"] is None


def test_a_message_that_names_somebody_twice_needs_no_directory() -> None:
    dn = "/o=acme/cn=alice"
    thing = Thing(
        {
            tags.SENDER_NAME: "Alice",
            tags.SENDER_ADDRESS_TYPE: "EX",
            tags.SENDER_EMAIL_ADDRESS: dn,
            tags.CREATOR_EMAIL_ADDRESS: dn.upper(),
            tags.CREATOR_SMTP_ADDRESS: "alice@acme.example",
            tags.SENT_REPRESENTING_NAME: "Alice",
        },
        [Bag({tags.RECIPIENT_TYPE: 1, tags.ADDRESS_TYPE: "EX", tags.EMAIL_ADDRESS: dn})],
    )
    found = parsed(thing)
    assert str(found["From"]) == "Alice <alice@acme.example>"
    assert found["Sender"] is None
    assert str(found["To"]) == "alice@acme.example"


def test_the_same_item_gives_the_same_bytes_and_another_others() -> None:
    one = Thing({tags.BODY: "x"}, parts=[attachment("a", b"a")])
    other = Thing({tags.BODY: "x"}, parts=[attachment("a", b"a")], key=b"other")
    assert built(one) == built(one)
    assert built(one) != built(other)


def test_a_header_block_of_anything_gives_whole_fields() -> None:
    dice = random.Random(5)
    letters = "ab:\r\n\t \0é=?"
    for _ in range(500):
        text = "".join(dice.choice(letters) for _ in range(60))
        for name, line in transport_fields(text):
            assert line.startswith(f"{name}:".encode())
            assert line.endswith(b"\r\n")
            assert line.isascii()
            assert all(row.startswith((b" ", b"\t")) for row in line.split(b"\r\n")[1:-1])


# Bodies


def test_text_alone_and_beside_html() -> None:
    found = parsed(Thing({tags.BODY: "Grüße\nzweite\r\ndritte"}))
    assert found.get_content_type() == "text/plain"
    assert found.get_content() == "Grüße\r\nzweite\r\ndritte\r\n"
    html = "<p>Größe</p>".encode("cp1252")
    found = parsed(Thing({tags.BODY: "Größe", tags.HTML: html, tags.INTERNET_CODEPAGE: 1252}))
    assert found.get_content_type() == "multipart/alternative"
    plain, rich = found.iter_parts()
    assert (plain.get_content_type(), rich.get_content_type()) == ("text/plain", "text/html")
    assert rich.get_content_charset() == "windows-1252"
    assert "<p>Größe</p>" in rich.get_content()


@pytest.mark.parametrize(
    "codepage", [1250, 1251, 1252, 932, 936, 949, 950, 28591, 28605, 65001, 20866, 874, 1200, 99999]
)
def test_html_of_every_code_page(codepage: int) -> None:
    name = charset_of(codepage)
    data = "<p>a</p>".encode("utf-16-le") if codepage == 1200 else b"<p>a</p>"
    found = parsed(Thing({tags.HTML: data, tags.INTERNET_CODEPAGE: codepage}))
    assert found.get_payload(decode=True) == b"<p>a</p>\r\n"
    assert found.get_content_charset() == (name or "utf-8")


def rtf(text: bytes) -> bytes:
    return struct.pack("<IIII", len(text) + 12, len(text), 0x414C454D, 0) + text


def test_html_comes_out_of_rtf() -> None:
    wrapped = (
        rb"{\rtf1\ansi\ansicpg1251\fromhtml1 \deff0{\fonttbl{\f0\fswiss Arial;}{\f1\fmodern\fcharset204 Courier}}"
        rb"{\*\htmltag34 <html>}\htmlrtf {\htmlrtf0 {\*\htmltag84 <b>}\htmlrtf {\b \htmlrtf0 Hello \'cf\'f0 "
        rb"\u1055?x{\*\htmltag84 &lt;}\htmlrtf\par\htmlrtf0\line z{\*\htmltag92 </b>}}"
    )
    assert unwrapped(wrapped) == (Origin.HTML, "<html><b>Hello Пр Пx&lt;\r\nz</b>")
    found = parsed(Thing({tags.RTF_COMPRESSED: rtf(wrapped)}))
    assert found.get_content_type() == "text/html"
    assert found.get_content() == "<html><b>Hello Пр Пx&lt;\r\nz</b>\r\n"


def test_text_comes_out_of_rtf_and_real_rtf_stays_beside_its_text() -> None:
    assert unwrapped(rb"{\rtf1\ansi\fromtext \deff0 one\par two\'e9}") == (Origin.TEXT, "one\r\ntwoé")
    found = parsed(Thing({tags.RTF_COMPRESSED: rtf(rb"{\rtf1\ansi {\b bold} text\par}")}))
    plain, rich = found.iter_parts()
    assert plain.get_content() == "bold text"
    assert rich.get_content_type() == "text/rtf"


def test_surrogates_skipped_stand_ins_and_unbalanced_groups() -> None:
    assert unwrapped(rb"{\rtf1\fromtext \u-10179?\u-8694?}")[1] == "\U0001f60a"
    assert unwrapped(rb"{\rtf1\fromtext\uc2 \u233\'c3\'a9!}")[1] == "é!"
    assert unwrapped(rb"}}}{\rtf1\fromtext a}}}{{{b")[1] == "ab"
    assert unwrapped(rb"{\rtf1\fromtext \u99999999999999 \'zz a\u")[0] is Origin.TEXT


def test_compressed_rtf_is_the_specification_s() -> None:
    """[MS-OXRTFCP] §3.1 and §3.2."""
    with pytest.raises(ItemError):
        decompress(b"")
    whole = bytes.fromhex("2d0000002b0000004c5a4675f1c5c7a7")
    whole += bytes.fromhex("03000a007263706731323542320af32068656c090020627705b06c647d0a800fa0")
    assert decompress(whole) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    again = bytes.fromhex("1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0")
    assert decompress(again) == b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"
    for cut in range(16, len(whole)):
        assert b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n".startswith(decompress(whole[:cut]))


def test_compressed_rtf_never_gives_more_than_it_may() -> None:
    bomb = struct.pack("<IIII", 60_000, 0xFFFFFFFF, 0x75465A4C, 0) + b"\xff\x00\x0f" * 20_000
    assert len(decompress(bomb, 10_000)) <= 10_017


# Attachments


def test_images_that_the_html_names_are_related_the_rest_is_attached() -> None:
    thing = Thing(
        {tags.HTML: b'<img src="cid:Pic1@x">', tags.BODY: "t"},
        parts=[
            attachment("p.png", b"PNG", attach_content_id="pic1@X", attach_mime_tag="image/png"),
            attachment("Größe und mehr als das, damit es wirklich lang wird.pdf", b"PDF" * 100, attach_content_id="no"),
            attachment("m.eml", b"Subject: x\r\n\r\n", attach_mime_tag="message/rfc822"),
        ],
    )
    found = parsed(thing)
    assert found.get_content_type() == "multipart/mixed"
    related, pdf, eml = found.iter_parts()
    assert related.get_content_type() == "multipart/related"
    alternative, image = related.iter_parts()
    assert alternative.get_content_type() == "multipart/alternative"
    assert (image["Content-ID"], image.get_content()) == ("<pic1@X>", b"PNG")
    assert pdf.get_filename() == "Größe und mehr als das, damit es wirklich lang wird.pdf"
    assert pdf.get_content() == b"PDF" * 100
    assert eml.get_content_type() == "application/octet-stream"  # may not be encoded as what it is
    assert eml.get_content() == b"Subject: x\r\n\r\n"


def test_a_broken_attachment_costs_only_itself_and_is_named() -> None:
    broken = Part(Bag({tags.ATTACH_METHOD: 1, tags.ATTACH_FILENAME: "b"}, [b"begin", ItemError("block 4 is missing")]))
    lost = Part(Bag({tags.ATTACH_METHOD: 5}))
    link = Part(Bag({tags.ATTACH_METHOD: 7, tags.ATTACH_LONG_PATHNAME: "https://x.example/f"}))
    making = Making()
    thing = Thing(
        {tags.BODY: ItemError("gone"), tags.SUBJECT: "s"}, parts=[broken, lost, link, attachment("g", b"good")]
    )
    parts = list(parsed(thing, making).iter_parts())
    assert len(parts) == 5
    assert parts[1].get_content() == b"begin"
    assert parts[3].get_content() == b"https://x.example/f\r\n"
    assert parts[4].get_content() == b"good"
    assert [one.partition(" ")[0] for one in making.differences] == [
        "property",
        "attachment",
        "attachment",
        "attachment",
    ]


def test_signed_and_encrypted_messages_are_as_they_were_sent() -> None:
    entity = b'Content-Type: multipart/signed; micalg=sha1;\r\n\tboundary="b"\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n'
    signed = Thing({tags.MESSAGE_CLASS: "IPM.Note.SMIME.MultipartSigned"}, parts=[attachment("smime.p7m", entity)])
    assert built(signed).endswith(b"MIME-Version: 1.0\r\n" + entity)
    sealed = Thing({tags.MESSAGE_CLASS: "IPM.Note.SMIME"}, parts=[attachment("smime.p7m", b"\x30\x82sealed")])
    found = parsed(sealed)
    assert found.get_content_type() == "application/pkcs7-mime"
    assert found.get_content() == b"\x30\x82sealed"


# Values, header writing, transfer encodings


def test_values_that_are_too_short_are_refused_and_texts_never() -> None:
    for kind in (Type.LONG, Type.TIME, Type.LONG | Type.MULTIPLE, Type.STRING | Type.MULTIPLE):
        if kind & Type.MULTIPLE:
            assert decode(kind, b"\1", None) == []
            continue
        with pytest.raises(ItemError):
            decode(kind, b"\1", None)
    assert decode(Type.STRING, b"a\0b", None) == "a\ufffd"
    assert decode(Type.STRING8, b"\xe9\0", 99999) == "é"
    with pytest.raises(ItemError):
        decode(Type.STRING | Type.MULTIPLE, struct.pack("<II", 0x7FFFFFFF, 0), None)


@pytest.mark.parametrize(
    "text", ["", "plain", "=?utf-8?q?x?=", "ä" * 300, "w" * 2000, "a  b", "\U0001f600 \ud800 \x00\x1b"]
)
def test_any_text_survives_a_header_field(text: str) -> None:
    line = headers.field("Subject", text)
    assert line.isascii()
    assert all(len(row) <= 998 for row in line.split(b"\r\n"))
    found = message_from_bytes(line + b"\r\n", policy=policy.default)
    assert str(found["Subject"]).strip() == headers.cleaned(text)


def test_long_and_foreign_parameters() -> None:
    for name in ("a.txt", 'a "b".txt', "ü.txt", "x" * 250, "名" * 120):
        line = headers.parametric("Content-Disposition", "attachment", {"filename": name})
        assert all(len(row) < 100 for row in line.split(b"\r\n"))
        found = message_from_bytes(line + b"\r\n", _class=EmailMessage, policy=policy.default)
        assert found.get_filename() == name


def test_base64_of_pieces_is_that_of_the_whole() -> None:
    dice = random.Random(1)
    for _ in range(50):
        pieces = [dice.randbytes(dice.choice((0, 1, 56, 57, 58, 1000))) for _ in range(dice.randrange(5))]
        assert b"".join(bodies.base64_lines(pieces)) == bodies.base64_whole(b"".join(pieces))


@pytest.mark.parametrize(
    "data", [b"", b"a", b"a\n\rb\r", b"x" * 2000, b"\0", "日本".encode() * 300, b"=20 \n.\nFrom x\n"]
)
def test_texts_come_back_from_their_transfer_encoding(data: bytes) -> None:
    encoding, body = bodies.text_body(data)
    assert all(len(line) <= 998 for line in body.split(b"\r\n"))
    header = f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    found = message_from_bytes(header + body).get_payload(decode=True)
    assert isinstance(found, bytes)
    assert found == bodies.crlf(data) + (b"" if bodies.crlf(data).endswith(b"\r\n") else b"\r\n")


# winmail.dat


def attribute(level: int, name: int, data: bytes) -> bytes:
    return struct.pack("<BII", level, name, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def encapsulated(values: Sequence[tuple[int, int, bytes | str | int]]) -> bytes:
    """[MS-OXTNEF] §2.1.3.4: tag, type, value."""
    found = struct.pack("<I", len(values))
    for tag, kind, value in values:
        found += struct.pack("<HH", kind, tag)
        if isinstance(value, int):
            found += struct.pack("<i", value)
            continue
        data = value.encode("utf-16-le") if isinstance(value, str) else value
        found += struct.pack("<II", 1, len(data)) + data.ljust(-(-len(data) // 4) * 4, b"\0")
    return found


def winmail(inner: bytes = b"") -> bytes:
    """A message with HTML, a file, and, if given, another message."""
    html = b"<p>Gr\xfc\xdfe</p>"
    stream = struct.pack("<IH", 0x223E9F78, 1) + attribute(1, 0x00069007, struct.pack("<II", 1252, 0))
    stream += attribute(1, 0x00069003, encapsulated([(tags.HTML, Type.BINARY, html), (0x3FDE, Type.LONG, 1252)]))
    stream += attribute(2, 0x00069002, bytes(14)) + attribute(2, 0x00018010, b"old.txt\0")
    stream += attribute(2, 0x0006800F, b"data" * 100)
    stream += attribute(2, 0x00069005, encapsulated([(tags.ATTACH_LONG_FILENAME, Type.STRING, "N\u00e4me.txt\0")]))
    if inner:
        stream += attribute(2, 0x00069002, bytes(14))
        data = bytes(16) + inner
        more = encapsulated([(tags.ATTACH_METHOD, Type.LONG, 5), (tags.ATTACH_DATA, Type.OBJECT, data)])
        stream += attribute(2, 0x00069005, more)
    return stream


def with_winmail(data: bytes) -> Thing:
    part = Part(Bag({tags.ATTACH_METHOD: 1, tags.ATTACH_LONG_FILENAME: "winmail.dat"}, [data]))
    return Thing({tags.BODY: "plain", tags.SUBJECT: "S"}, parts=[part])


def test_winmail_dat_is_taken_apart() -> None:
    making = Making()
    found = parsed(with_winmail(winmail(winmail())), making)
    assert making.differences == []
    assert built(with_winmail(winmail(winmail()))) == built(with_winmail(winmail(winmail())))
    html = found.get_body(("html",))
    assert html is not None and html.get_content().strip() == "<p>Grüße</p>"
    text, message = found.iter_attachments()
    assert (text.get_filename(), text.get_content()) == ("Näme.txt", b"data" * 100)
    assert message.get_content_type() == "message/rfc822"
    (inner,) = message.get_content().iter_attachments()
    assert inner.get_filename() == "Näme.txt"


def test_a_broken_winmail_dat_stays_as_it_is() -> None:
    whole = winmail(winmail())
    ends, at = set(), 6
    while at < len(whole):  # a stream that ends with an attribute cannot be told from a whole one
        at += 11 + int(struct.unpack_from("<I", whole, at + 5)[0])
        ends.add(at)
    for end in {*range(0, len(whole) - 1, 7)} - ends - {6}:
        making = Making()
        (part,) = parsed(with_winmail(whole[:end]), making).iter_attachments()
        assert (part.get_filename(), part.get_content()) == ("winmail.dat", whole[:end])
        assert len(making.differences) == 1
    making = Making()
    wrong = bytearray(whole)
    wrong[60] ^= 1
    (part,) = parsed(with_winmail(bytes(wrong)), making).iter_attachments()
    assert part.get_filename() == "winmail.dat"
    assert making.differences == ["winmail.dat has a wrong checksum; it stays as it is"]


def test_noise_in_winmail_dat_is_an_error_or_nothing() -> None:
    chance, whole = random.Random(7), winmail()
    for _ in range(300):
        data = bytearray(whole)
        at = chance.randrange(6, len(data) - 4)
        data[at : at + 4] = chance.randbytes(4)
        try:
            tnef.read(bytes(data), b"")
        except ItemError:
            continue
