"""The small encodings of IMAP: names, uid sets, dates, flags, quoting. Round trips and the RFCs' own examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.errors import LocalProtocolError, RemoteProtocolError
from mailferry.model.message import ALL_FLAGS, Date
from mailferry.wire.imap import commands, dates, flags, sets, utf7

TEXT = st.text(max_size=40)
UIDS = st.sets(st.integers(1, 4_294_967_295), max_size=60).map(sorted)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 §5.1.3
        ("Entwürfe", b"Entw&APw-rfe"),
        ("R&D", b"R&-D"),
        ("&", b"&-"),
        ("Отправленные", b"&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"),
        ("🚀", b"&2D3egA-"),
        ("tab\there", b"tab&AAk-here"),
        ("", b""),
    ],
)
def test_modified_utf7(text: str, wire: bytes) -> None:
    assert utf7.encode(text) == wire
    assert utf7.decode(wire) == text


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"a&b", "a&b"),  # no end
        (b"&!!-", "&!!-"),  # not base64
        (b"&2D0-", "&2D0-"),  # half a surrogate pair
        (b"&AGE-", "a"),  # needless, but clear
        (b"&A-x", "&A-x"),  # too short
        ("Größe".encode(), "Größe"),  # raw UTF-8
        (b"Gr\xf6\xdfe", "Größe"),  # raw Latin-1
    ],
)
def test_what_is_not_modified_utf7_stays_readable(wire: bytes, text: str) -> None:
    assert utf7.decode(wire) == text


@given(TEXT)
def test_names_round_trip(text: str) -> None:
    wire = utf7.encode(text)
    assert wire.isascii()
    assert utf7.decode(wire) == text


@given(st.binary(max_size=60))
def test_any_bytes_decode_and_the_text_is_stable(wire: bytes) -> None:
    text = utf7.decode(wire)
    assert utf7.decode(utf7.encode(text)) == text


@given(UIDS)
def test_sets_name_exactly_what_was_given(uids: list[int]) -> None:
    if uids:
        assert list(sets.expand(sets.parse(sets.format(uids)))) == uids
    assert list(sets.compress([])) == []


@given(UIDS, st.integers(1, 20), st.integers(30, 200))
def test_groups_stay_small_and_lose_nothing(uids: list[int], count: int, size: int) -> None:
    groups = list(sets.split(uids, count, size))
    assert [uid for group in groups for uid in group] == uids
    assert all(len(group) <= count and len(sets.format(group)) <= size for group in groups)


@given(st.integers(1, 10**9), st.integers(1, 3000))
def test_a_run_of_uids_is_one_short_range(first: int, length: int) -> None:
    assert len(list(sets.split(range(first, first + length), 5000, 100))) == 1


@pytest.mark.parametrize("text", [b"", b"*", b"1:*", b"1,", b"a", b"-1", b"1:2:3", b"99999999999"])
def test_what_is_no_set(text: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        sets.parse(text)


def test_an_absurd_set_is_not_expanded() -> None:
    ranges = sets.parse(b"4294967295:1")
    assert sets.count(ranges) == 4_294_967_295
    with pytest.raises(RemoteProtocolError):
        sets.expand(ranges)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        (b"17-Jul-1996 02:44:25 -0700", Date(837596665, -420)),
        (b" 1-jan-1970 00:00:00 +0000", Date(0, 0)),
        (b"01-Jan-1970 05:30:00 +0530", Date(0, 330)),
        (b"31-Dec-1969 23:59:59 +0000", Date(-1, 0)),
    ],
)
def test_dates(text: bytes, date: Date) -> None:
    assert dates.parse(text) == date


@given(st.integers(-60_000_000_000, 250_000_000_000), st.integers(-1439, 1439))
def test_dates_round_trip(epoch: int, zone: int) -> None:
    assert dates.parse(dates.format(Date(epoch, zone))) == Date(epoch, zone)


@given(st.integers(-(10**15), 10**15), st.integers(-(10**6), 10**6))
def test_any_date_can_be_written(epoch: int, zone: int) -> None:
    assert dates.parse(dates.format(Date(epoch, zone))) is not None


@pytest.mark.parametrize("text", [b"", b"yesterday", b"31-Feb-2001 00:00:00 +0000", b"01-Xyz-2001 00:00:00 +0000"])
def test_what_is_no_date(text: bytes) -> None:
    assert dates.parse(text) is None


def test_flags() -> None:
    assert flags.parse(b"\\sEEN \\Deleted \\Recent $B a") == (17, ("$B", "a"))
    assert flags.format(17, ("$B", "a")) == b"\\Seen \\Deleted $B a"
    assert flags.format(0) == b""


@given(st.integers(0, ALL_FLAGS), st.sets(st.from_regex(r"[A-Za-z$_][A-Za-z0-9$_.-]{0,9}", fullmatch=True), max_size=5))
def test_flags_round_trip(bits: int, keywords: set[str]) -> None:
    known = tuple(sorted(keywords))
    assert flags.parse(flags.format(bits, known)) == (bits, known)


@pytest.mark.parametrize("keyword", ["", "a b", "(", "\\Seen", 'q"', "ü", "a\r\nb", "x]", "*", "%", "{"])
def test_what_is_no_keyword(keyword: str) -> None:
    assert not flags.is_keyword(keyword)
    with pytest.raises(LocalProtocolError):
        flags.format(0, (keyword,))


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        (b"INBOX", b"INBOX"),
        (b"Sent Items", b'"Sent Items"'),
        (b'a"b\\c', b'"a\\"b\\\\c"'),
        (b"", b'""'),
        (b"nil", b'"nil"'),
        (b"a(b", b'"a(b"'),
        (b"50% *", b'"50% *"'),
        ("ü".encode(), b'"\xc3\xbc"'),
    ],
)
def test_mailbox_names_on_the_wire(name: bytes, wire: bytes) -> None:
    assert commands.mailbox(name) == wire


@pytest.mark.parametrize("name", [b"a\r\nb LOGOUT", b"a\0", b"a\nb"])
def test_no_name_can_smuggle_a_command(name: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        commands.mailbox(name)
    assert not commands.can_quote(name)
    with pytest.raises(LocalProtocolError):
        commands.quote(name)


def test_literals() -> None:
    assert commands.literal_head(5, sync=True) == b"{5}\r\n"
    assert commands.literal_head(5, sync=False) == b"{5+}\r\n"
    assert commands.literal_head(5, sync=False, binary=True) == b"~{5+}\r\n"
    assert commands.may_skip_sync(frozenset({"LITERAL+"}), 10**9)
    assert commands.may_skip_sync(frozenset({"LITERAL-"}), 4096)
    assert not commands.may_skip_sync(frozenset({"LITERAL-"}), 4097)
    assert not commands.may_skip_sync(frozenset(), 1)
