"""Addresses of calendars and contacts, alone and in account lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailferry.config.accounts import parse_address, read_pairs
from mailferry.errors import UserError
from mailferry.model.account import DavAccount, Tls


def test_an_address_says_who_where_and_how() -> None:
    assert parse_address("davs://alice@dav.acme.example") == DavAccount("dav", "dav.acme.example", 443, "alice")
    found = parse_address("caldav://al%40x@[::1]:5232/cal/{user}/?tls=none&admin=svc&timeout=5", user="bob@x")
    assert found == DavAccount(
        "caldav", "::1", 5232, "al@x", admin="svc", path="/cal/bob@x/", tls=Tls.NONE, timeout=5.0
    )
    assert parse_address("carddavs://alice@h?ca=/x.pem").key == "carddav://alice@h:443"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("davs://alice:secret@h", "password"),
        ("davs://h", "no user"),
        ("dav://alice@h", "protected"),
        ("davs://alice@h?tls=none", "protected"),
        ("davs://alice@h:0", "port"),
        ("davs://alice@h?wrong=1", "unknown option"),
        ("ics:", "no directory"),
    ],
)
def test_what_makes_no_sense_is_told_without_secrets(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as told:
        parse_address(text)
    assert "secret" not in f"{told.value.about} {told.value.advice}"


def test_an_account_list_names_everybodys_groupware(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.csv"
    accounts.write_text("source_user,target_user\nalice@acme.example,alice\nbob@acme.example,\n")
    pairs = read_pairs(accounts, "imaps://old", "imaps://new", groupware=("davs://dav/home/{localpart}/",))
    found = [one for pair in pairs for one in pair.groupware]
    assert [(one.user, one.path) for one in found if isinstance(one, DavAccount)] == [
        ("alice", "/home/alice/"),
        ("bob@acme.example", "/home/bob/"),
    ]
    with pytest.raises(UserError, match="no events"):
        read_pairs(accounts, "imaps://old", "imaps://new", groupware=("imaps://dav",))
