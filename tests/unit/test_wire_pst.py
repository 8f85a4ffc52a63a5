"""PST files made for it: every format and encoding, to any depth; what is broken is named and ends nothing."""

from __future__ import annotations

import hashlib
import random
import struct
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from lab.pst_file import (
    BINARY,
    BOOLEAN,
    LONG,
    STRING,
    STRING8,
    STRINGS,
    TIME,
    Attached,
    Mail,
    Properties,
    PstWriter,
)
from mailferry.errors import ItemError, MailferryError, Permanent, UserError
from mailferry.model.account import PstAccount
from mailferry.model.folder import INBOX, SpecialUse
from mailferry.model.message import Failed, Flag, Message
from mailferry.net.pst import PstMailbox
from mailferry.wire.mapi.fields import Making
from mailferry.wire.mapi.rebuild import DEPTH
from mailferry.wire.pst import crypt
from mailferry.wire.pst.header import ANSI, UNICODE, UNICODE_4K, Crypt, Layout, parse_header
from tests.pst_reading import mime, ours, store, theirs

each_layout = pytest.mark.parametrize("layout", [ANSI, UNICODE, UNICODE_4K], ids=["ansi", "unicode", "4k"])
each_crypt = pytest.mark.parametrize("method", [Crypt.NONE, Crypt.PERMUTE, Crypt.CYCLIC])
NOTE: Properties = {0x001A: (STRING, "IPM.Note")}
SENT = 133_000_000_000_000_000


def note(subject: str, text: str = "text") -> Mail:
    return Mail({**NOTE, 0x0037: (STRING, subject), 0x1000: (STRING, text), 0x0039: (TIME, SENT)})


def by_value(name: str, *pieces: bytes) -> Attached:
    return Attached({0x3705: (LONG, 1), 0x3707: (STRING, name)}, pieces)


# Encodings


def naive_cyclic(data: bytes, key: int) -> bytes:
    """[MS-PST] §5.2, byte by byte."""
    r, s, i = (crypt.permuted(bytes(range(256))), crypt._S, crypt.unpermuted(bytes(range(256))))
    w = (key ^ key >> 16) & 0xFFFF
    out = bytearray()
    for byte in data:
        byte = r[byte + w & 0xFF]
        byte = s[byte + (w >> 8) & 0xFF]
        byte = i[byte - (w >> 8) & 0xFF]
        out.append(byte - w & 0xFF)
        w = w + 1 & 0xFFFF
    return bytes(out)


@pytest.mark.parametrize("key", [0, 4, 0x1234, 0xFFF0, 0xFFFFFFFF, 0x00010004])
@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 8176])
def test_cyclic_decoding_is_the_specification_s(key: int, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert crypt.cyclic(data, key) == naive_cyclic(data, key)
    assert crypt.cyclic(crypt.cyclic(data, key), key) == data


def test_tables_are_permutations_that_undo_each_other() -> None:
    everything = bytes(range(256))
    assert crypt.unpermuted(crypt.permuted(everything)) == everything
    assert sorted(crypt.permuted(everything)) == sorted(crypt._S) == list(everything)
    assert bytes(crypt._S[one] for one in crypt._S) == everything
    assert crypt.permuted(b"\0\1\2") == b"\x41\x36\x13"  # §5.1: 65, 54, 19


def test_the_checksum_has_no_inversions() -> None:
    assert crypt.checksum(b"") == 0
    assert crypt.checksum(bytes(99)) == 0
    assert crypt.checksum(b"\1") == 0x77073096


# Whole files


@each_layout
@each_crypt
def test_a_file_of_each_kind_is_read_whole(tmp_path: Path, layout: Layout, method: Crypt) -> None:
    """Values in heap and subnode, an XBLOCK, a table of many blocks, a multi-level index."""
    path = tmp_path / "f.pst"
    writer = PstWriter(path, layout, method)
    inbox = writer.folder("Posteingang", inbox=True)
    many = writer.folder("Viele")
    big = [random.Random(number).randbytes(10_000) for number in range(100)]
    mail = Mail(
        {**NOTE, 0x0037: (STRING, "Grüße"), 0x1000: (STRING, "x" * 9000), 0x0039: (TIME, SENT), 0x0E07: (LONG, 1)},
        [{0x0C15: (LONG, 1), 0x3001: (STRING, "Bob"), 0x39FE: (STRING, "bob@acme.example")}],
        [by_value("big.bin", *big), by_value("none.bin")],
    )
    writer.add(inbox, mail)
    for number in range(700):
        writer.add(many, note(f"Nr. {number}"))
    writer.close()
    found = ours(path)
    (first,) = found["Posteingang",]
    assert (first.subject, len(first.text)) == ("Grüße", 9000)
    whole = b"".join(big)
    assert first.attachments[0] == (len(whole), hashlib.sha256(whole).hexdigest())
    assert [one.subject for one in found["Viele",]] == [f"Nr. {number}" for number in range(700)]
    assert not store(path.read_bytes()).db.findings.counts
    if layout is not UNICODE_4K:  # libpff reads no lists of subnodes that our writer makes with 4 KB pages
        assert theirs(path) == found


@each_layout
def test_named_properties_flags_and_dates(tmp_path: Path, layout: Layout) -> None:
    writer = PstWriter(tmp_path / "f.pst", layout)
    inbox = writer.folder("Inbox", inbox=True)
    keywords: Properties = {writer.keyword_tag(): (STRINGS, ["Rot (wichtig)", "Blau"])}
    marked: Properties = {0x0E07: (LONG, 1 | 8), 0x1081: (LONG, 103), 0x1090: (LONG, 2), 0x0E06: (TIME, SENT)}
    writer.add(inbox, Mail({**NOTE, **keywords, **marked}))
    writer.add(inbox, Mail({**NOTE, 0x1081: (LONG, 104), 0x0E07: (LONG, 0)}))
    writer.close()
    box = PstMailbox(PstAccount(str(tmp_path / "f.pst")))
    (folder,) = box.folders()
    assert folder.path == INBOX
    first, second = box.listing(box.open(folder.name)).messages
    assert first.flags == Flag.SEEN | Flag.DRAFT | Flag.ANSWERED | Flag.FLAGGED
    assert first.keywords == ("Blau", "Rot__wichtig_")
    assert (second.flags, second.keywords) == (0, ("$Forwarded",))
    message = box.message(first.uid)
    assert isinstance(message, Message)
    assert message.internal_date.epoch == (SENT - 116_444_736_000_000_000) // 10**7
    assert b"Keywords: Rot (wichtig), Blau\r\n" in b"".join(message.body.chunks())
    box.close()


def nested(depth: int) -> Mail:
    mail = Mail({**NOTE, 0x0037: (STRING, "deepest")}, [], [by_value("deep.bin", b"deep" * 10)])
    for level in range(depth):
        mail = Mail({**NOTE, 0x0037: (STRING, f"level {level}")}, [], [Attached({0x3705: (LONG, 5)}, mail)])
    return mail


@each_layout
def test_messages_in_messages(tmp_path: Path, layout: Layout) -> None:
    writer = PstWriter(tmp_path / "f.pst", layout)
    inbox = writer.folder("Inbox")
    nid = writer.add(inbox, nested(5))
    writer.close()
    making = Making()
    parsed = message_from_bytes(mime(store((tmp_path / "f.pst").read_bytes()).item(nid), making), policy=policy.default)
    subjects = [str(part["Subject"]) for part in parsed.walk() if part["Subject"]]
    assert subjects == ["level 4", "level 3", "level 2", "level 1", "level 0", "deepest"]
    (deep,) = [part for part in parsed.walk() if part.get_filename() == "deep.bin"]
    assert deep.get_content() == b"deep" * 10
    assert not making.differences
    ids = [str(part["Message-ID"]) for part in parsed.walk() if part["Message-ID"]]
    assert len(set(ids)) == 6


def test_a_bottomless_message_ends(tmp_path: Path) -> None:
    writer = PstWriter(tmp_path / "f.pst")
    nid = writer.add(writer.folder("Inbox"), nested(DEPTH + 5))
    writer.close()
    making = Making()
    data = mime(store((tmp_path / "f.pst").read_bytes()).item(nid), making)
    assert data.count(b"message/rfc822") == DEPTH
    assert any("deeper" in one for one in making.differences)


def test_8_bit_texts_have_the_code_page_of_their_message(tmp_path: Path) -> None:
    writer = PstWriter(tmp_path / "f.pst", ANSI)
    subject = "Привет"
    mail = Mail({**NOTE, 0x0037: (STRING8, subject.encode("cp1251")), 0x3FFD: (LONG, 1251)})
    nid = writer.add(writer.folder("Inbox"), mail)
    writer.close()
    parsed = message_from_bytes(mime(store((tmp_path / "f.pst").read_bytes()).item(nid)), policy=policy.default)
    assert parsed["Subject"] == subject


def test_what_is_no_message_is_left_out_by_name(tmp_path: Path) -> None:
    writer = PstWriter(tmp_path / "f.pst")
    inbox = writer.folder("Inbox", inbox=True)
    writer.folder("Kalender", container="IPF.Appointment")
    writer.folder("Noch einer", container="IPF.Appointment.Birthday")
    writer.folder("Geheim", container="IPF.Whatever", hidden=True)
    classes = ["IPM.Note", "IPM.Appointment", "IPM.Contact", "IPM.Task", "IPM.TaskRequest", "IPM.StickyNote"]
    classes += ["REPORT.IPM.Note.NDR", "IPM.Document.txt", "IPM.Note.SMIME", "IPM.Strange", "IPM.NoteBook", ""]
    for name in classes:
        writer.add(inbox, Mail({0x001A: (STRING, name)}))
    writer.add(inbox, Mail({0x001A: (STRING, "IPM.Strange"), 0x007D: (STRING, "Subject: was one\r\n")}))
    writer.close()
    box = PstMailbox(PstAccount(str(tmp_path / "f.pst")))
    folders = {folder.path: folder for folder in box.folders()}
    uses = [folders[name,].special_use for name in ("Kalender", "Noch einer", "Geheim")]
    assert uses == [SpecialUse.CALENDAR, SpecialUse.CALENDAR, SpecialUse.FILES]
    listing = box.listing(box.open(folders[INBOX].name))
    rules = ["appointment", "contact", "task", "note", "document", "other", "other"]
    assert [one.rule for one in listing.left_out] == [f"class:{rule}" for rule in rules]
    assert len(listing.messages) + len(listing.left_out) == 13
    status = folders[INBOX].status
    assert status is not None
    assert status.messages == 13
    box.close()


def test_names_that_are_twice_there_or_hold_anything(tmp_path: Path) -> None:
    writer = PstWriter(tmp_path / "f.pst")
    inbox = writer.folder("Posteingang", inbox=True)
    for name in ("A/B", "A/B", "..", "", "inbox", "posteingang"):
        writer.folder(name)
    writer.folder("unter", inbox)
    writer.close()
    paths = [folder.path for folder in PstMailbox(PstAccount(str(tmp_path / "f.pst"))).folders()]
    assert paths[:2] == [INBOX, ("INBOX", "unter")]
    assert len(set(paths)) == len(paths) == 8
    assert {("A/B",), ("A/B (2)",), ("..",), ("inbox (2)",)} <= set(paths)


# Broken files


def test_files_that_are_none() -> None:
    with pytest.raises(UserError, match="not a PST"):
        parse_header(b"")
    with pytest.raises(UserError, match="not a PST"):
        parse_header(b"PK\3\4" + bytes(600))
    with pytest.raises(UserError, match="address book"):
        parse_header(b"!BDN0000AB" + bytes(600))


def header(tmp_path: Path, layout: Layout = UNICODE) -> bytearray:
    writer = PstWriter(tmp_path / "h.pst", layout)
    writer.close()
    return bytearray((tmp_path / "h.pst").read_bytes())


def test_a_file_under_a_policy_and_formats_of_the_future(tmp_path: Path) -> None:
    data = header(tmp_path)
    data[10:12] = struct.pack("<H", 37)
    assert parse_header(bytes(data)).layout is UNICODE  # Outlook that knows policies, but uses none
    data[513] = 0x10
    with pytest.raises(Permanent, match="encrypted by a policy"):
        parse_header(bytes(data))
    data[513] = 0x77
    with pytest.raises(Permanent, match="nobody knows"):
        parse_header(bytes(data))
    data[10:12] = struct.pack("<H", 19)
    with pytest.raises(Permanent, match="19"):
        parse_header(bytes(data))


def test_a_wrong_checksum_is_read_over_and_named(tmp_path: Path) -> None:
    path = tmp_path / "f.pst"
    writer = PstWriter(path, UNICODE, Crypt.NONE)
    nid = writer.add(writer.folder("Inbox"), note("s", "a text to be found again " * 300))
    writer.close()
    data = bytearray(path.read_bytes())
    at = data.index("a text to be found again".encode("utf-16-le"))
    data[at] = ord("A")
    path.write_bytes(data)
    box = PstMailbox(PstAccount(str(path)))
    message = box.message(nid)
    assert isinstance(message, Message)
    assert b"A text to be found" in b"".join(message.body.chunks())
    assert message.losses == ("it was read in spite of a block with a wrong checksum",)
    assert box.damage == ["1 × a block with a wrong checksum"]


def full(path: Path, layout: Layout) -> bytearray:
    """A file of 400 messages, whose indexes have several levels."""
    writer = PstWriter(path, layout)
    inbox = writer.folder("Inbox")
    for number in range(400):
        writer.add(inbox, note(f"{number}"))
    writer.close()
    return bytearray(path.read_bytes())


def subjects(data: bytes) -> list[str]:
    box = store(data)
    (folder,) = [folder for folder in box.folders() if folder.path == ("Inbox",)]
    found = [box.item(nid).properties.get(0x0037) for nid in box.items(folder.nid)]
    assert box.db.findings.counts["an index that had to be put together from its pages"] <= 2
    return [str(one) for one in found]


ALL = [str(number) for number in range(400)]


def test_circles_in_the_index_end_and_all_is_found(tmp_path: Path) -> None:
    data = full(tmp_path / "f.pst", UNICODE)
    root = parse_header(bytes(data)).nodes
    assert data[root + 491] >= 1
    for entry in range(data[root + 488]):  # every child is the root itself
        struct.pack_into("<Q", data, root + entry * 24 + 16, root)
    assert subjects(bytes(data)) == ALL


@each_layout
def test_an_index_whose_upper_pages_are_lost_is_put_together(tmp_path: Path, layout: Layout) -> None:
    data = full(tmp_path / "f.pst", layout)
    header = parse_header(bytes(data))
    for root in (header.nodes, header.blocks):
        if layout is not UNICODE_4K:  # else the root is the only page
            data[root : root + layout.page] = bytes(layout.page)
    assert subjects(bytes(data)) == ALL
    if layout is not UNICODE_4K:
        assert subjects(bytes(data[: header.nodes])) == ALL


INBOX_NODE, TOP_NODE = 0x8082, 0x8022


@pytest.mark.parametrize("lost", [INBOX_NODE, INBOX_NODE & ~31 | 0x0E, TOP_NODE & ~31 | 0x0D, TOP_NODE, 0x21])
def test_what_is_lost_of_a_folder_does_not_take_its_items_along(tmp_path: Path, lost: int) -> None:
    """Itself, its list of items, its parent's list of folders, its parent, the store."""
    path = tmp_path / "f.pst"
    writer = PstWriter(path)
    inbox = writer.folder("Inbox")
    assert (inbox, writer.top) == (INBOX_NODE, TOP_NODE)
    nid = writer.add(inbox, note("here"))
    writer.close(lost)
    data = bytearray(path.read_bytes())
    data[100] ^= 1  # the header's checksum: the file is seen to be damaged
    box = store(bytes(data))
    assert [item for folder in box.folders() for item in box.items(folder.nid)] == [nid]


def test_folders_that_hold_each_other_end(tmp_path: Path) -> None:
    path = tmp_path / "f.pst"
    writer = PstWriter(path)
    one = writer.folder("one")
    two = writer.folder("two", one)
    writer._folders[one].parent = two
    writer._folders[0x9999 << 5 | 2] = writer._folders.pop(two)
    writer._folders[one].parent = writer.top
    writer.close()
    assert len(store(path.read_bytes()).folders()) >= 1


def test_a_zip_bomb_gives_no_more_than_a_block(tmp_path: Path) -> None:
    import zlib

    path = tmp_path / "f.pst"
    writer = PstWriter(path, UNICODE_4K, Crypt.NONE)
    nid = writer.add(writer.folder("Inbox"), Mail(NOTE, [], [by_value("bomb", b"\0" * 60_000)]))
    writer.close()
    data = bytearray(path.read_bytes())
    bomb = zlib.compress(b"\0" * 60_000)
    at = data.index(bomb)
    larger = zlib.compressobj(9)
    evil = larger.compress(b"\0" * 30_000_000)[: len(bomb) - 8]
    data[at : at + len(evil)] = evil
    making = Making()
    out = mime(store(bytes(data)).item(nid), making)
    assert len(out) < 200_000
    assert making.differences


def test_a_value_that_claims_more_than_the_file(tmp_path: Path) -> None:
    """An XBLOCK that names one block over and over: as much as the file's length allows, then an end."""
    path = tmp_path / "f.pst"
    writer = PstWriter(path, UNICODE, Crypt.NONE)
    first = writer._block(b"x" * 8000)
    block = writer._block(struct.pack("<BBHI1000Q", 1, 1, 1000, 8_000_000, *[first] * 1000), True)
    lists = writer._block(struct.pack("<BBHI1000Q", 1, 2, 1000, 0xFFFFFFFF, *[block] * 1000), True)
    writer.close()
    found = store(path.read_bytes())
    with pytest.raises(ItemError, match="more data than the file holds"):
        found.db.leaves(lists)


@each_layout
def test_a_file_cut_off_anywhere_gives_what_is_left(tmp_path: Path, layout: Layout) -> None:
    path = tmp_path / "f.pst"
    writer = PstWriter(path, layout)
    inbox = writer.folder("Inbox")
    for number in range(30):
        writer.add(inbox, Mail({**NOTE, 0x0037: (STRING, f"{number}"), 0x1000: (STRING, "y" * 5000)}))
    writer.close()
    data = path.read_bytes()
    dice = random.Random(layout.page)
    for _ in range(25):
        read_all(data[: dice.randrange(len(data))])


@each_layout
@each_crypt
def test_flipped_bytes_never_crash(tmp_path: Path, layout: Layout, method: Crypt) -> None:
    path = tmp_path / "f.pst"
    writer = PstWriter(path, layout, method)
    inbox = writer.folder("Inbox", inbox=True)
    rtf = struct.pack("<IIII", 30, 14, 0x414C454D, 0) + b"{\\rtf1 some t}"
    for number in range(5):
        recipients: list[Properties] = [{0x0C15: (LONG, 1), 0x3001: (STRING, "Bob"), 0x3003: (STRING, "/o=x/cn=bob")}]
        more: Properties = {0x1009: (BINARY, rtf), 0x0029: (BOOLEAN, True), writer.keyword_tag(): (STRINGS, ["k"])}
        attachments = [by_value("a", b"a" * 9000), Attached({0x3705: (LONG, 5)}, nested(1))]
        writer.add(inbox, Mail({**NOTE, **more, 0x0037: (STRING, f"{number}")}, recipients, attachments))
    writer.close()
    whole = path.read_bytes()
    dice = random.Random(f"{layout.page}{method}")
    used = [at for at in range(0, len(whole), 64) if any(whole[at : at + 64])]
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 5, 50))):
            data[dice.choice(used) + dice.randrange(64)] = dice.randrange(256)
        read_all(bytes(data))


def read_all(data: bytes) -> int:
    """Everything that a copy asks for; only errors of ours may come out. Returns the bytes of all messages."""
    total = 0
    try:
        box = store(data)
        box.inbox()
        for folder in box.folders():
            for nid in box.items(folder.nid):
                try:
                    size = len(mime(box.item(nid)))
                except ItemError:
                    continue
                assert size < 200 * len(data) + 100_000
                total += size
    except MailferryError:
        pass
    return total


def test_an_item_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "f.pst"
    writer = PstWriter(path, UNICODE, Crypt.NONE)
    inbox = writer.folder("Inbox", inbox=True)
    good, bad = writer.add(inbox, note("good")), writer.add(inbox, note("bad"))
    bid = writer._nodes[bad][0]
    writer._extents = [one for one in writer._extents if one[0] != bid]
    writer.close()
    box = PstMailbox(PstAccount(str(path)))
    (folder,) = box.folders()
    assert [one.uid for one in box.listing(box.open(folder.name)).messages] == [good, bad]
    assert isinstance(box.message(good), Message)
    failed = box.message(bad)
    assert isinstance(failed, Failed)
    assert "missing from the index" in failed.text
    assert box.headers(bad) is None
