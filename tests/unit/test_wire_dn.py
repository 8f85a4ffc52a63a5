"""Distinguished names: escaping, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.errors import UserError
from mailferry.wire.dn import LONGEST, escape, join, parse, short

names = st.lists(
    st.lists(
        st.tuples(st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True), st.text()), min_size=1, max_size=3
    ).map(tuple),
    max_size=5,
).map(tuple)


@given(names)
def test_whatever_a_name_holds_comes_back(name: tuple[tuple[tuple[str, str], ...], ...]) -> None:
    assert parse(join(name)) == name


@given(st.text())
def test_parsing_raises_nothing_of_its_own(text: str) -> None:
    try:
        assert parse(join(parse(text))) == parse(text)
    except UserError as error:
        assert error.about == text[:200]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Smith, John", r"Smith\, John"),
        ("#1 team", r"\#1 team"),
        (" both ", r"\ both\ "),
        ("  ", r"\ \ "),
        ("back\\ ", r"back\\\ "),
        ('Say "hi" + <ho>; a=b', r"Say \"hi\" \+ \<ho\>\; a\=b"),
        ("nul\0line\nend", r"nul\00line\0aend"),
        ("Müller *(x)", "Müller *(x)"),
        ("", ""),
    ],
)
def test_escaping(value: str, text: str) -> None:
    assert escape(value) == text
    assert parse(f"cn={text}") == ((("cn", value),),)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", ()),
        ("cn=A, ou=B ,  dc=c", ((("cn", "A"),), (("ou", "B"),), (("dc", "c"),))),
        ("cn=A+uid=b;o=C", ((("cn", "A"), ("uid", "b")), (("o", "C"),))),
        ('cn="Smith, John",o=x', ((("cn", "Smith, John"),), (("o", "x"),))),
        (r"cn=M\c3\bcller", ((("cn", "Müller"),),)),
        ("2.5.4.3=#0403414243", ((("2.5.4.3", "#0403414243"),),)),
        ("cn=Max,mail=max@acme.example", ((("cn", "Max"),), (("mail", "max@acme.example"),))),
    ],
)
def test_reading(text: str, name: object) -> None:
    assert parse(text) == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Max", "= is missing after Max (character 4)"),
        ("cn=A,", "an attribute name is missing (character 6)"),
        ("cn=A,,o=b", "an attribute name is missing (character 6)"),
        ("cn=<A>", "'<' must be escaped (character 4)"),
        ("cn=a\0b", r"'\x00' must be escaped (character 5)"),
        ("cn=A\\", "a backslash before a character that it cannot escape"),
        (r"cn=\ff", "escaped bytes that are no UTF-8"),
        ('cn="A', "a quotation mark is not closed"),
        ("cn=#0", "# without hexadecimal digits"),
    ],
)
def test_what_is_no_name_says_why(text: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert says in str(caught.value)


@given(st.text(max_size=400))
def test_a_short_value_is_the_beginning_and_fits(value: str) -> None:
    kept = short(value)
    assert value.startswith(kept)
    assert len(escape(kept).encode("utf-8", "surrogatepass")) <= LONGEST
    assert kept == value or len(escape(value).encode("utf-8", "surrogatepass")) > LONGEST
    assert short("x" * 400) == "x" * LONGEST
