"""LDIF as Netscape, ldifde and OpenLDAP write it, and as nobody should."""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.errors import LocalProtocolError
from mailferry.wire.ldif import HEADER, LIMIT, Fault, Record, Value, emit, parse

attributes = st.dictionaries(
    st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,10}(;lang-[a-z]{2})?", fullmatch=True).filter(
        lambda name: name.lower() not in ("dn", "changetype", "control")
    ),
    st.lists(st.binary(max_size=300), min_size=1, max_size=3),
    max_size=5,
)


def read(text: str | bytes) -> list[Record | Fault]:
    return list(parse([text.encode() if isinstance(text, str) else text]))


def faults(text: str | bytes) -> list[tuple[int, str]]:
    return [(one.line, one.message) for one in read(text) if isinstance(one, Fault)]


@given(st.lists(st.tuples(st.text(), attributes), max_size=4), st.integers(1, 50))
def test_what_is_written_is_read(entries: list[tuple[str, dict[str, list[bytes]]]], step: int) -> None:
    data = HEADER + b"".join(emit(dn, values) for dn, values in entries)
    assert all(len(line) <= 76 and line.isascii() for line in data.split(b"\n"))
    records = list(parse(data[at : at + step] for at in range(0, len(data), step)))
    expected = [(dn.encode("utf-8", "surrogateescape"), values) for dn, values in entries]
    found = []
    for record in records:
        assert isinstance(record, Record)
        values: dict[str, list[bytes]] = {}
        for value in record.values:
            values.setdefault(value.name, []).append(value.data)
        found.append((record.dn, values))
    assert found == expected


@given(st.one_of(st.binary(), st.text("dn:cahgetyp# -<=\n\r\t\0Aä", max_size=80).map(str.encode)))
def test_garbage_is_a_fault_at_most(data: bytes) -> None:
    whole = list(parse([data]))
    assert whole == list(parse(data[at : at + 1] for at in range(len(data))))
    assert all(one.line >= 1 for one in whole)


def test_netscape_form_with_latin_1_and_folded_lines() -> None:
    data = (
        b"dn: cn=J\xf6rg M\xfcller,mail=joerg@acme.example\r\n"
        b"cn: J\xf6rg M\xfcller\r\n"
        b"xmozillanickname: joe\r\n"
        b"description: a long \r\n text\r\n"
        b"objectclass: top\r\nobjectclass: person\r\n\r\n"
    )
    (record,) = read(data)
    assert record == Record(
        b"cn=J\xf6rg M\xfcller,mail=joerg@acme.example",
        1,
        (
            Value("cn", b"J\xf6rg M\xfcller", 2),
            Value("xmozillanickname", b"joe", 3),
            Value("description", b"a long text", 4),
            Value("objectclass", b"top", 6),
            Value("objectclass", b"person", 7),
        ),
    )


def test_comments_version_options_and_ldapsearch_trailer() -> None:
    text = (
        "# extended LDIF\n#\n# a folded\n  comment: x\nversion: 1\n\n"
        "# entry\ndn: o=x\ncn;lang-de: y\nmember;range=0-1: z\n\n"
        "# search result\nsearch: 2\nresult: 0 Success\n\n# numResponses: 2\n"
    )
    (record,) = read(text)
    assert isinstance(record, Record)
    assert [(value.name, value.data, value.line) for value in record.values] == [
        ("cn;lang-de", b"y", 9),
        ("member;range=0-1", b"z", 10),
    ]


def test_bad_base64_costs_one_value() -> None:
    records = read("dn: o=x\ncn:: bad*\nsn: y\n\ndn: o=z\ncn: z\n")
    assert records == [
        Fault(2, "bad base64: Only base64 data is allowed", "cn:: bad*", "value"),
        Record(b"o=x", 1, (Value("sn", b"y", 3),)),
        Record(b"o=z", 5, (Value("cn", b"z", 6),)),
    ]


def test_bad_base64_in_a_name_costs_the_record() -> None:
    found = read("dn:: Z\ncn: lost\n\ndn: o=z\n")
    assert [type(one).__name__ for one in found] == ["Fault", "Record"]
    assert isinstance(found[0], Fault) and (found[0].line, found[0].lost) == (1, "record")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dn: o=x\njpegPhoto:< file:///etc/passwd\n", [(2, "the value is in another file, which is not read")]),
        ("dn: o=x\nno colon\n", [(2, "not an attribute: a name and a colon are missing")]),
        ("dn: o=x\ncn: a\ndn: o=y\n", [(3, "no blank line before this record")]),
        ("cn: a\nsn: b\n\ndn: o=y\n", [(1, "this record does not begin with dn:")]),
        ("version: 2\ndn: o=y\n", [(1, "this version of LDIF is not known; read as version 1")]),
        ("<html>\n", [(1, "this record does not begin with dn:")]),
    ],
)
def test_faults_name_their_line(text: str, expected: list[tuple[int, str]]) -> None:
    assert faults(text) == expected


def test_a_missing_blank_line_loses_nothing() -> None:
    assert [one.dn for one in read("dn: o=x\ncn: a\ndn: o=y\ncn: b\n") if isinstance(one, Record)] == [b"o=x", b"o=y"]


def test_a_line_of_blanks_ends_a_record() -> None:
    assert [one for one in read("dn: o=x\ncn: a\n\n  \n\ndn: o=y\n") if isinstance(one, Fault)] == []


def test_changes_are_told_from_entries() -> None:
    text = (
        "dn: o=x\ncontrol: 1.2.3 true\nchangetype: add\ncn: a\n\n"
        "dn: o=y\nchangetype: modify\nadd: mail\nmail: a@b.example\n-\ndelete: sn\n-\n\n"
        "dn: o=z\nchangetype: Delete\n"
    )
    added, modified, deleted = read(text)
    assert isinstance(added, Record) and isinstance(modified, Record) and isinstance(deleted, Record)
    assert (added.is_entry, modified.is_entry, deleted.is_entry) == (True, False, False)
    assert [value.name for value in modified.values] == ["add", "mail", "-", "delete", "-"]
    assert deleted.change == "delete"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_byte_order_marks(encoding: str) -> None:
    text = "dn: cn=Пётр,o=x\r\ncn: Пётр\r\n"
    data = text.encode(encoding)
    data = b"\xfe\xff" + data if encoding == "utf-16-be" else data
    assert read(data) == [Record("cn=Пётр,o=x".encode(), 1, (Value("cn", "Пётр".encode(), 2),))]


def test_an_endless_line_is_a_fault_and_takes_no_memory() -> None:
    block = b"x" * 1_000_000

    def chunks() -> Iterator[bytes]:
        yield b"dn: o=x\ndescription: "
        for _ in range(100):
            yield block
        yield b"\nsn: y\n"

    tracemalloc.start()
    found = list(parse(chunks()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [
        Fault(2, f"longer than {LIMIT} bytes", "description: " + "x" * 67 + "…", "value"),
        Record(b"o=x", 1, (Value("sn", b"y", 3),)),
    ]
    assert peak < 4 * LIMIT


@pytest.mark.parametrize(
    "value", [b"", b"plain", b" leading", b"trailing ", b":colon", b"<less", b"a\nb", b"\0", "ü".encode()]
)
def test_base64_only_where_needed(value: bytes) -> None:
    plain = value in (b"", b"plain")
    line = emit("o=x", {"cn": [value]}).split(b"\n")[1]
    assert line == (b"cn: " + value if plain else b"cn:: " + base64.b64encode(value))


@pytest.mark.parametrize("name", ["", "a b", "cn:x", "cn\nuserPassword", "ünicode"])
def test_a_name_cannot_smuggle_lines(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        emit("o=x", {name: [b"v"]})
