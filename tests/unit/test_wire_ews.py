"""EWS answers taken apart: contents in pieces, hostile bytes, uids from entry ids, time zones, addresses."""

from __future__ import annotations

import base64
import random
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from lab.fake_ews_zones import ZONES
from mailferry.config.accounts import parse_address
from mailferry.errors import AuthError, MailferryError, Permanent, RemoteProtocolError, Temporary, UserError
from mailferry.model.account import Access, EwsAccount, HttpLogin
from mailferry.wire.ews import answers, autodiscover, stream
from mailferry.wire.ews.ids import mailbox_guid, uid, validity
from mailferry.wire.ews.values import day, smtp
from mailferry.wire.ews.zones import definition

NAMES = f'xmlns:s="{answers.SOAP}" xmlns:t="{answers.TYPES}" xmlns:m="{answers.MESSAGES}"'


def split(data: bytes, cuts: list[int]) -> tuple[bytes, list[bytes]]:
    contents: list[bytearray] = []

    def begin() -> stream.Sink:
        contents.append(bytearray())
        return contents[-1].extend

    splitter = stream.Splitter(begin)
    places = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(places):
        splitter.feed(data[start:end])
    return splitter.skeleton(), [bytes(one) for one in contents]


def envelope(*contents: bytes) -> bytes:
    inner = b"".join(
        b'<t:Message a="x&gt;y"><t:MimeContent CharacterSet="UTF-8">%s</t:MimeContent><t:Subject>a &lt; b</t:Subject>'
        b"</t:Message>" % base64.b64encode(one)
        for one in contents
    )
    return f"<s:Envelope {NAMES}><s:Body><m:X>".encode() + inner + b"</m:X></s:Body></s:Envelope>"


@given(st.lists(st.binary(max_size=60), max_size=4), st.randoms(use_true_random=False))
def test_contents_are_the_same_however_the_answer_is_cut(contents: list[bytes], dice: random.Random) -> None:
    data = envelope(*contents)
    whole = split(data, [])
    assert whole[1] == contents
    assert split(data, list(range(1, len(data)))) == whole
    assert split(data, [dice.randrange(len(data)) for _ in range(6)]) == whole
    payload = answers.tree(whole[0], "x")
    numbers = [one.text for one in payload.iter(f"{answers.T}MimeContent")]
    assert numbers == [str(number) for number in range(len(contents))]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x/>', "document type"),
        (b"<x><![CDATA[hidden]]></x>", "document type"),
        (b"<t:MimeContent>!!!!</t:MimeContent>", "no base64"),
        (b"<t:MimeContent>QUJD", "ends in the middle"),
        (b"<x><unfinished", "ends in the middle"),
        (b"<x " + b"a" * (70 << 10), "without an end"),
    ],
)
def test_what_no_exchange_sends_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(RemoteProtocolError, match=said):
        split(data, [])


def test_an_answer_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_SKELETON", 1000)
    with pytest.raises(RemoteProtocolError, match="beside its contents"):
        split(b"<x/>" * 300, [400, 800])
    assert len(split(envelope(b"y" * 5000), [100, 4000])[1][0]) == 5000


def test_characters_that_xml_cannot_hold_are_let_through() -> None:
    body = answers.tree(f"<s:Envelope {NAMES}><s:Body><m:X>a&#x1;&#65;</m:X></s:Body></s:Envelope>".encode(), "x")
    assert body.text == "a\ufffdA"
    with pytest.raises(RemoteProtocolError):
        answers.tree(b"<html>", "x")
    with pytest.raises(RemoteProtocolError):
        answers.tree(b"<html/>", "x")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ErrorServerBusy", Temporary),
        ("ErrorMailboxMoveInProgress", Temporary),
        ("ErrorAccessDenied", AuthError),
        ("ErrorNonExistentMailbox", Permanent),
        ("ErrorWhatever", Permanent),
    ],
)
def test_refusals_become_ours(code: str, kind: type[MailferryError]) -> None:
    more = '<m:MessageXml><t:Value Name="BackOffMilliseconds">1500</t:Value></m:MessageXml>'
    text = (
        f"<m:R {NAMES} ResponseClass='Error'><m:MessageText>no</m:MessageText><m:ResponseCode>{code}</m:ResponseCode>"
    )
    found = answers.refusal(etree.fromstring(f"{text}{more}</m:R>"))
    assert found is not None
    error = found.error("ews://x")
    assert type(error) is kind
    assert code in error.message
    assert found.back_off == 1.5


# Uids


def entry(replica: uuid.UUID, counter: int) -> bytes:
    gid = replica.bytes_le + counter.to_bytes(6, "big") + b"\0\0"
    return b"\0\0\0\0" + bytes(16) + b"\x07\0" + bytes(24) + gid


@given(st.lists(st.integers(1, (1 << 48) - 1), unique=True, max_size=30), st.uuids())
def test_uids_keep_the_order_of_arrival_and_fit_the_ledger(counters: list[int], replica: uuid.UUID) -> None:
    uids = [uid(entry(replica, one)) for one in sorted(counters)]
    assert uids == sorted(set(uids))
    assert all(0 < one < 1 << 62 for one in uids)


@given(st.binary(max_size=80).filter(lambda data: len(data) != 70))
def test_ids_of_another_shape_have_uids_of_their_own(data: bytes) -> None:
    assert 1 << 62 <= uid(data) < 1 << 63
    assert uid(data) == uid(data)


def test_the_mailbox_is_told_by_its_guid() -> None:
    guid = uuid.uuid4()
    assert mailbox_guid(b"\0\0\0\0" + guid.bytes_le + bytes(26)) == str(guid)
    assert mailbox_guid(b"") == ""
    assert 0 < validity(str(guid)) < 1 << 31


# Values


@pytest.mark.parametrize(
    ("name", "iana"),
    [
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("Eastern Standard Time", "America/New_York"),
        ("India Standard Time", "Asia/Kolkata"),
        ("UTC", "UTC"),
    ],
)
def test_wall_clocks_are_those_of_an_independent_library(name: str, iana: str) -> None:
    text = ZONES[name].replace("<t:TimeZoneDefinition ", f'<t:TimeZoneDefinition xmlns:t="{answers.TYPES}" ')
    found = definition(etree.fromstring(text))
    assert found is not None
    at = datetime(2025, 1, 1, tzinfo=UTC)
    while at.year < 2027:
        assert found.wall(at) == at.astimezone(ZoneInfo(iana)).replace(tzinfo=None), at
        at += timedelta(hours=1)


def test_days_and_addresses() -> None:
    assert str(day("2026-05-01T22:00:00Z")) == "2026-05-02"  # Berlin's midnight
    assert str(day("2026-05-02T05:00:00Z")) == "2026-05-02"  # Chicago's
    assert day("never") is None
    losses: list[str] = []
    assert smtp("a@x", "SMTP", losses) == "a@x"
    assert smtp("/o=acme/cn=a@b", "EX", losses) == ""
    assert len(losses) == 1


# Where the server is


def answer(inner: str) -> bytes:
    return f'<Autodiscover xmlns="a"><Response xmlns="b">{inner}</Response></Autodiscover>'.encode()


def test_autodiscover_names_the_server_or_where_to_ask() -> None:
    two = "".join(
        f"<Protocol><Type>{kind}</Type><EwsUrl>https://{kind}.example/EWS</EwsUrl></Protocol>"
        for kind in ("WEB", "EXPR", "EXCH")
    )
    assert autodiscover.answer(answer(f"<Account>{two}</Account>")).ews == "https://EXCH.example/EWS"
    redirect = "<Account><Action>redirectAddr</Action><RedirectAddr>a@b</RedirectAddr></Account>"
    assert autodiscover.answer(answer(redirect)).address == "a@b"
    assert autodiscover.answer(answer("<Error><Message>no such</Message></Error>")).error == "no such"
    with pytest.raises(RemoteProtocolError):
        autodiscover.answer(b"<!DOCTYPE html><html/>")


def test_addresses_name_a_mailbox_and_who_opens_it() -> None:
    found = parse_address(
        "ews://alice@acme.example@mail.acme.example?admin=ACME\\svc&access=delegate&auth=ntlm&archive=yes&requests=9"
    )
    assert isinstance(found, EwsAccount)
    assert (found.user, found.host, found.port) == ("alice@acme.example", "mail.acme.example", 443)
    assert (found.admin, found.access, found.mechanism) == ("ACME\\svc", Access.DELEGATE, HttpLogin.NTLM)
    assert (found.archive, found.public, found.requests) == (True, False, 9)
    assert found.key == "ews://alice@acme.example@mail.acme.example:443"
    assert found.url == "https://mail.acme.example:443/EWS/Exchange.asmx"
    discovered = parse_address("ews://alice@acme.example?autodiscover=yes")
    assert isinstance(discovered, EwsAccount)
    assert (discovered.user, discovered.host, discovered.discover) == ("alice@acme.example", "acme.example", True)
    filled = parse_address("ews://{user}@mail.acme.example", user="bob@acme.example")
    assert isinstance(filled, EwsAccount)
    assert filled.user == "bob@acme.example"


@pytest.mark.parametrize(
    "address",
    [
        "ews://alice@mail.acme.example",
        "ews://a@b:secret@mail.acme.example",
        "ews://a@b@mail?tls=starttls",
        "ews://a@b@mail?access=root",
        "ews://a@b@mail?unknown=1",
        "ews://a@b@mail:99999",
    ],
)
def test_addresses_that_make_no_sense(address: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_address(address)
    assert "secret" not in f"{refused.value}{refused.value.about}"
