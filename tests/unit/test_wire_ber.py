"""BER as LDAP's controls use it: encodings of X.690, round trips, and damaged bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.errors import RemoteProtocolError
from mailferry.wire import ber


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "020100"), (127, "02017f"), (128, "02020080"), (-128, "020180"), (-(1 << 31), "020480000000")],
)
def test_integers_are_as_short_as_x690_wants(value: int, expected: str) -> None:
    assert ber.integer(value).hex() == expected


@given(st.integers(min_value=-(1 << 63), max_value=1 << 63))
def test_integers_come_back(value: int) -> None:
    ((tag, content),) = ber.elements(ber.integer(value))
    assert (tag, ber.number(content)) == (ber.INTEGER, value)


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_sequences_come_back(values: list[bytes]) -> None:
    data = ber.encode(ber.SEQUENCE, *(ber.encode(ber.OCTETS, value) for value in values))
    assert ber.inside(data) == [(ber.OCTETS, value) for value in values]


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = list(ber.elements(data))
    except RemoteProtocolError:
        return
    assert sum(len(content) for _, content in found) <= len(data)


@pytest.mark.parametrize("data", ["30", "3005", "308400000001", "3080", "30850000000001", "0401ff", "30000400"])
def test_what_is_cut_or_no_sequence_is_refused(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        ber.inside(bytes.fromhex(data))
