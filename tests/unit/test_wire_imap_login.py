"""How we prove who we are, which server we recognise, and how we read its refusals."""

from __future__ import annotations

import dataclasses

import pytest

from mailferry.errors import AuthError, ConfigError, Temporary
from mailferry.model.account import ImapAccount, Mechanism
from mailferry.net.imap import refusal
from mailferry.secret import Secret
from mailferry.wire.imap import quirks, sasl
from mailferry.wire.imap.events import Code

ACCOUNT = ImapAccount("mail.example", 993, "anna", Secret("p w"))
PLAIN = frozenset({"IMAP4REV1", "AUTH=PLAIN", "AUTH=LOGIN"})


def account(**changes: object) -> ImapAccount:
    return dataclasses.replace(ACCOUNT, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "offered", "chosen"),
    [
        ({}, PLAIN, "PLAIN"),
        ({}, {"IMAP4REV1"}, sasl.LOGIN_COMMAND),
        ({}, {"IMAP4REV1", "LOGINDISABLED", "AUTH=LOGIN"}, "LOGIN"),
        ({}, {"LOGINDISABLED", "AUTH=XOAUTH2"}, "XOAUTH2"),
        ({}, {"LOGINDISABLED", "AUTH=XOAUTH2", "AUTH=OAUTHBEARER"}, "OAUTHBEARER"),
        ({"admin": "root"}, {"IMAP4REV1"}, "PLAIN"),
        ({"secret": None, "client_certificate": "x.pem"}, PLAIN, "EXTERNAL"),
        ({"mechanism": Mechanism.LOGIN}, PLAIN, sasl.LOGIN_COMMAND),
        ({"mechanism": Mechanism.LOGIN}, {"LOGINDISABLED"}, "LOGIN"),
        ({"mechanism": Mechanism.XOAUTH2}, PLAIN, "XOAUTH2"),
    ],
)
def test_choice(changes: dict[str, object], offered: set[str], chosen: str) -> None:
    assert sasl.choose(account(**changes), frozenset(offered)) == chosen


def test_no_way_in() -> None:
    with pytest.raises(AuthError, match="offers NTLM"):
        sasl.choose(ACCOUNT, frozenset({"LOGINDISABLED", "AUTH=NTLM"}))
    with pytest.raises(ConfigError, match="no password"):
        sasl.choose(account(secret=None), PLAIN)


@pytest.mark.parametrize(
    ("mechanism", "changes", "initial", "answers"),
    [
        ("PLAIN", {}, b"\0anna\0p w", ()),
        ("PLAIN", {"admin": "root"}, b"anna\0root\0p w", ()),
        ("PLAIN", {"user": "LAB\\root\\anna"}, b"\0LAB\\root\\anna\0p w", ()),
        ("LOGIN", {}, None, (b"anna", b"p w")),
        ("XOAUTH2", {}, b"user=anna\1auth=Bearer p w\1\1", (b"",)),
        (
            "OAUTHBEARER",
            {"user": "a,b=c"},
            b"n,a=a=2Cb=3Dc,\1host=mail.example\1port=993\1auth=Bearer p w\1\1",
            (b"\1",),
        ),
        ("EXTERNAL", {}, b"anna", ()),
    ],
)
def test_exchanges(
    mechanism: str, changes: dict[str, object], initial: bytes | None, answers: tuple[bytes, ...]
) -> None:
    made = sasl.exchange(mechanism, account(**changes))
    assert (made.initial, made.answers) == (initial, answers)


def test_secrets_do_not_show() -> None:
    for mechanism in ("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"):
        assert "p w" not in repr(sasl.exchange(mechanism, ACCOUNT))


def test_an_empty_initial_response() -> None:
    assert sasl.to_initial(b"") == b"="
    assert sasl.to_initial(b"\0a\0b") == b"AGEAYg=="
    assert sasl.to_line(b"") == b""


@pytest.mark.parametrize(
    ("greeting", "identity", "capabilities", "name"),
    [
        ("The Microsoft Exchange IMAP4 service is ready. [TQBO]", {}, set(), "exchange"),
        ("Dovecot (Debian) ready.", {}, set(), "dovecot"),
        ("hi", {"name": "Dovecot"}, set(), "dovecot"),
        ("host Cyrus IMAP 3.6.1 server ready", {}, set(), "cyrus"),
        ("Courier-IMAP ready.", {}, set(), "courier"),
        ("hi", {}, {"XMAGICTRASH"}, "courier"),
        ("hi", {}, set(), "generic"),
        ("Dovecot ready", {"name": "Microsoft.Exchange.Imap4.Imap4Server"}, set(), "exchange"),
    ],
)
def test_servers(greeting: str, identity: dict[str, str], capabilities: set[str], name: str) -> None:
    assert quirks.recognise(greeting, identity, frozenset(capabilities)).name == name


def test_stand_ins() -> None:
    subject = b"Subject: Retrieval using the IMAP4 protocol failed for the following message: 33\r\n"
    assert quirks.is_fake(b"From: a\r\n" + subject + b"\r\nx")
    assert not quirks.is_fake(b"From: a\r\nSubject: Re: " + subject[9:] + b"\r\nx")
    assert not quirks.is_fake(b"x" * 10_000 + b"\r\n" + subject)


def test_back_off_is_read() -> None:
    error = refusal.session_error(None, "Request is throttled. Suggested Backoff Time: 1500 milliseconds", "h:1")
    assert isinstance(error, Temporary)
    assert error.retry_after == 1.5


@pytest.mark.parametrize("code", ["UNAVAILABLE", "SERVERBUG", "INUSE", "LIMIT"])
def test_one_bad_message_is_not_a_bad_session(code: str) -> None:
    assert refusal.session_error(Code(code), "Message could not be retrieved", "h:1") is None
    assert isinstance(refusal.session_error(Code(code), "come back", "h:1", codes=True), Temporary)


def test_an_unknown_refusal_of_the_login_is_about_the_login() -> None:
    assert isinstance(refusal.login_error(None, "no", "h:1"), AuthError)
    assert isinstance(refusal.login_error(Code("UNAVAILABLE"), "no", "h:1"), Temporary)
