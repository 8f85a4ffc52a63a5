"""The formats of Maildir++ trees: round trips, and what real servers wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.model.folder import INBOX
from mailferry.model.message import ALL_FLAGS, Flag
from mailferry.wire import maildir as wire
from mailferry.wire.maildir import FileName, Pop3List, Record, UidList

BASES = st.text("abcXYZ0123456789.,=_-%", min_size=1, max_size=40).filter(lambda text: not text.startswith("."))
LEVELS = st.text(min_size=1, max_size=12).filter(
    lambda text: (
        not wire.FORBIDDEN.intersection(text)
        and not any("\ud800" <= c <= "\udfff" for c in text)
        and text.upper() != "INBOX"
    )
)
UIDS = st.lists(st.integers(1, wire.MAX_UID - 1), unique=True, max_size=8).map(sorted)
FIELDS = st.lists(st.builds(lambda k, v: k + v, st.sampled_from("PSWGO"), st.text("abc019%", min_size=1)), max_size=3)


@given(BASES, st.integers(0, ALL_FLAGS), st.sets(st.sampled_from("abcxyzP")))
def test_file_names_round_trip(base: str, flags: int, letters: set[str]) -> None:
    name = FileName(base, flags, "".join(sorted(letters)))
    assert wire.parse_name(wire.format_name(name)) == name


def test_file_names_of_real_servers() -> None:
    found = wire.parse_name("1700000000.M123456P42.host,S=1234,W=1260:2,FRSab")
    assert (found.flags, found.keyword_letters) == (Flag.FLAGGED | Flag.ANSWERED | Flag.SEEN, "ab")
    assert wire.sizes(found.base) == (1234, 1260)
    assert wire.sizes("1700000000.V1I2.host") == (None, None)
    assert wire.parse_name("1700000000.host") == FileName("1700000000.host")
    assert wire.format_name(FileName("x", Flag.SEEN | Flag.DRAFT, "Pa")) == "x:2,DPSa"


@given(
    st.integers(0, 2**33), st.integers(0, 999_999), st.integers(1, 2**22), st.integers(1, 2**32), st.integers(1, 2**62)
)
def test_our_own_names_tell_their_origin(seconds: int, micros: int, pid: int, uidvalidity: int, uid: int) -> None:
    base = wire.own_base(seconds, micros, pid, uidvalidity, uid, "a/b:c.example")
    assert "/" not in base
    assert ":" not in base
    assert wire.origin(f"{base},S=1,W=2") == wire.Origin(pid, uidvalidity, uid, "a\\057b\\072c.example")


def test_names_of_others_are_not_ours() -> None:
    for base in ("1700000000.M1P2.host", "1700000000.M1P2V3I4.host", "F1U2", "x.M1P2F3U4.host"):
        assert wire.origin(base) is None


@given(st.sets(BASES, min_size=1, max_size=20))
def test_uids_from_names_are_unique_and_need_no_memory(bases: set[str]) -> None:
    uids = wire.name_uids(bases)
    assert len(set(uids.values())) == len(bases)
    assert all(2**61 <= uid < 2**62 for uid in uids.values())
    assert wire.name_uids(sorted(bases, reverse=True)) == uids


def test_uids_from_names_do_not_change_when_others_come_and_go() -> None:
    bases = [f"{1_600_000_000 + n // 7}.M{n * 1009 % 1_000_000}P{n}.host" for n in range(3000)]
    uids = wire.name_uids(bases)
    assert wire.name_uids(bases[::2]) == {base: uids[base] for base in bases[::2]}
    assert sorted(bases, key=wire.delivered) == sorted(bases, key=lambda base: (uids[base], base))


def test_uids_from_names_that_would_be_equal_differ() -> None:
    taken = wire.name_uids(["1.M5P1.a"])["1.M5P1.a"]
    assert wire.name_uids(["1.M5P1.a"], [taken])["1.M5P1.a"] == taken + 1


@given(st.lists(LEVELS, min_size=1, max_size=3).map(tuple), st.booleans())
def test_folder_names_round_trip(path: tuple[str, ...], utf8: bool) -> None:
    if utf8 and any("&" in level for level in path):
        return  # such a name may look like modified UTF-7: see the next test
    directory = wire.directory_of(path, utf8=utf8)
    assert "/" not in directory
    assert directory.startswith(".")
    assert directory not in (".", "..")
    assert wire.path_of(directory) == path


def test_folder_names_of_real_servers() -> None:
    assert wire.path_of("INBOX") == INBOX
    assert wire.directory_of(INBOX, utf8=False) == "INBOX"
    assert wire.path_of(".Entw&APw-rfe.2024") == ("Entwürfe", "2024")
    assert wire.path_of(".Entwürfe") == ("Entwürfe",)
    assert wire.directory_of(("Entwürfe", "A & B"), utf8=False) == ".Entw&APw-rfe.A &- B"
    assert wire.directory_of(("Entwürfe", "A & B"), utf8=True) == ".Entwürfe.A & B"
    for name in (".a..b", ".a.", "..evil", "..."):
        assert wire.path_of(name) == (name,)  # no server makes such; shown as it stands, not lost
    for name in (".", "..", "cur", "dovecot-uidlist", "Folder"):
        assert wire.path_of(name) is None


@pytest.mark.parametrize(
    "path",
    [
        *((name,) for name in ("..", ".", "a/b", "", "a.b", "a\0b", "a\nb", "\udcff", "x" * 255, "Inbox", "ä" * 100)),
        ("a", ""),
        ("inbox", "x"),
    ],
)
def test_names_that_cannot_be_are_refused(path: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        wire.directory_of(path, utf8=False)


@given(st.data(), st.integers(1, 2**32 - 1), UIDS)
def test_uidlists_round_trip(data: st.DataObject, uidvalidity: int, uids: list[int]) -> None:
    bases = data.draw(st.lists(BASES, unique=True, min_size=len(uids), max_size=len(uids)))
    records = [Record(uid, base, tuple(data.draw(FIELDS))) for uid, base in zip(uids, bases, strict=True)]
    uidnext = max([0, *uids]) + data.draw(st.integers(1, 5))
    full = UidList(uidvalidity, uidnext, "0" * 32, ("X1",), records)
    assert wire.parse_uidlist(wire.format_uidlist(full)) == full
    plain = UidList(uidvalidity, uidnext, records=[Record(r.uid, r.base) for r in records])
    assert wire.parse_uiddb(wire.format_uiddb(plain)) == plain


def test_a_uidlist_of_dovecot() -> None:
    text = (
        b"3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n"
        b"25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,\n"
        b"25017 W2481 P0000.x :1276533073.M242911P3632.kurkku:2,F\n"
        b"25030 :1276533074.M1P1.kurkku"
    )
    found = wire.parse_uidlist(text)
    assert (found.uidvalidity, found.uidnext, found.guid) == (1275660208, 25022, "3085f01b7f11094c501100008c4a11c1")
    assert found.torn
    assert found.records == [
        Record(25006, "1276528487.M364837P9451.kurkku,S=1355,W=1394"),
        Record(25017, "1276533073.M242911P3632.kurkku", ("W2481", "P0000.x")),
    ]
    appended = wire.parse_uidlist(text + b"\n")
    assert appended.uidnext == 25031  # lines appended later count more than the header
    old = wire.parse_uidlist(b"1 1000 7\n5 a.b:2,S\n6 c.d\n")
    assert (old.uidvalidity, old.uidnext, old.records) == (1000, 7, [Record(5, "a.b"), Record(6, "c.d")])


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"2 V1 N1\n", b"3 V1\n", b"3 Vx N1\n", b"3 V1 N5\n3 :a\n2 :b\n", b"3 V1 N5\nx :a\n", b"3 V1 N5\n3\n"],
)
def test_broken_uidlists_are_named(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        wire.parse_uidlist(text)


@given(st.dictionaries(st.sampled_from("abcdz"), st.text("abc$_1", min_size=1, max_size=8)))
def test_keywords_round_trip(keywords: dict[str, str]) -> None:
    assert wire.parse_keywords(wire.format_keywords(keywords)) == keywords


def test_a_letter_without_a_name_is_called_as_dovecot_does() -> None:
    assert wire.keyword_of({"a": "Work"}, "a") == "Work"
    assert wire.keyword_of({"a": "Work"}, "c") == "unknown-2"


@given(st.lists(st.lists(LEVELS, min_size=1, max_size=3).map(tuple), max_size=5))
def test_subscriptions_round_trip(paths: list[tuple[str, ...]]) -> None:
    assert wire.parse_subscriptions(wire.format_subscriptions(paths)) == paths


def test_subscriptions_of_real_servers() -> None:
    assert wire.parse_subscriptions(b"V\t2\n\nINBOX\nA\tB &- C\n") == [INBOX, ("A", "B & C")]
    assert wire.parse_subscriptions(b"INBOX\nA.B\n") == [INBOX, ("A", "B")]
    assert wire.parse_courier_subscribed(b"INBOX\nINBOX.A.B\nINBOX.\nother\n") == [INBOX, ("A", "B")]


def test_courier_keywords() -> None:
    text = b"Work\n$Forwarded\n\n170.a:0 1\n171.b:1\n172.c:7\n"
    assert wire.parse_courier_keywords(text) == {
        "170.a": {"Work", "$Forwarded"},
        "171.b": {"$Forwarded"},
        "172.c": frozenset(),
    }
    assert wire.parse_courier_keywords(b"") == {}


@given(st.dictionaries(st.text('abc $!-"\\é', min_size=1, max_size=8).map(str.strip).filter(bool), st.just("lrs")))
def test_acls_round_trip(acl: dict[str, str]) -> None:
    shaped = {who: rights for who, rights in acl.items() if not who.startswith(("-", "!", "$"))}
    assert wire.parse_acl(wire.format_acl(shaped)) == shaped


def test_acls_of_dovecot() -> None:
    assert wire.parse_acl(b"# note\nowner lrwstipekxa\nuser=bob lrs\n-user=eve w\ngroup=staff lr\nanyone l\n") == {
        "owner": "lrwstipekxa",
        "bob": "lrs",
        "-eve": "w",
        "$staff": "lr",
        "anyone": "l",
    }
    assert wire.format_acl({"bob": "lrcd", "$staff": "r"}) == b"user=bob lrtekx\ngroup=staff r\n"
    with pytest.raises(ValueError, match="line break"):
        wire.format_acl({"a\nb": "l"})


def test_pop3_lists_round_trip() -> None:
    text = b"/3 12 1700000000\n160.a 1234 7:1700000000:0\n161.b 99 8:0:1\n"
    found = wire.parse_pop3_list(text)
    assert found == Pop3List(12, 1700000000, {"160.a": (1234, 7, 1700000000, 0), "161.b": (99, 8, 0, 1)})
    assert wire.format_pop3_list(found) == text
    with pytest.raises(ValueError, match="version"):
        wire.parse_pop3_list(b"/1 2 3\n")
