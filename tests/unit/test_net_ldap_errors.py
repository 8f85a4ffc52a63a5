"""What LDAP servers say no with, told so that somebody knows what to do."""

from __future__ import annotations

import pytest

from mailferry.errors import AuthError, MailferryError, RemoteProtocolError, Temporary
from mailferry.errors import explain as shown
from mailferry.net.ldap_errors import Refused, Result, bind_error, explain, parts

AD = "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data {}, v3839\x00"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("525", "there is no such user"),
        ("52e", "wrong user name or password"),
        ("52f", "the account is restricted"),
        ("530", "not permitted at this hour"),
        ("531", "not permitted from this host"),
        ("532", "the password has expired"),
        ("533", "the account is disabled"),
        ("701", "the account has expired"),
        ("773", "the password must be changed first"),
        ("775", "the account is locked"),
        ("52E", "wrong user name or password"),
    ],
)
def test_active_directorys_reasons_are_told_apart(data: str, reason: str) -> None:
    error = explain(49, "Invalid credentials", AD.format(data), about="ldaps://dc1")
    assert isinstance(error, AuthError)
    assert reason in error.message
    assert error.advice
    assert error.about == "ldaps://dc1"
    assert "DSID" not in shown(error)


def test_another_servers_refusal_keeps_its_words() -> None:
    error = bind_error(49, "Invalid credentials", "", about="ldap://x")
    assert error.message == "the server refuses the log-in: invalid credentials"
    unknown = bind_error(49, "Invalid credentials", AD.format("999"), about="ldap://x")
    assert "data 999" in unknown.message


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (8, AuthError),
        (13, AuthError),
        (48, AuthError),
        (51, Temporary),
        (52, Temporary),
        (-1, Temporary),
        (-5, Temporary),
        (2, RemoteProtocolError),
        (3, Refused),
        (4, Refused),
        (11, Refused),
        (12, Refused),
        (19, Refused),
        (32, Refused),
        (50, Refused),
        (53, Refused),
        (65, Refused),
        (68, Refused),
        (80, Refused),
        (-7, Refused),
    ],
)
def test_each_code_has_its_class(code: int, kind: type[MailferryError]) -> None:
    error = explain(code, "In words", "the server's text", about="cn=x")
    assert type(error) is kind
    assert error.about == "cn=x"
    if isinstance(error, Refused):
        assert error.result == code
        assert "the server's text" in error.message


def test_a_referral_names_the_other_server() -> None:
    error = explain(10, "Referral", "", about="dc=x", referrals="ldap://other/dc=y")
    assert isinstance(error, Refused)
    assert error.result == Result.REFERRAL
    assert "ldap://other/dc=y" in error.message


def test_an_anonymous_client_of_active_directory_is_told_to_log_in() -> None:
    text = "000004DC: LdapErr: DSID-0C0907C2, comment: In order to perform this operation a successful bind must be "
    assert isinstance(explain(1, "Operations error", text + "completed", about="x"), AuthError)
    assert isinstance(explain(1, "Operations error", "something else", about="x"), Refused)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("SASL(-1): generic failure: GSSAPI Error: (No Kerberos credentials available)", "kinit"),
        ("GSSAPI Error: (Server not found in Kerberos database)", "by the full name"),
        ("SASL(-4): no mechanism available: No worthy mechs found", "libsasl2-modules-gssapi-mit"),
        ("GSSAPI Error: (Clock skew too great)", "clock"),
    ],
)
def test_kerberos_troubles_have_advice(words: str, advice: str) -> None:
    error = explain(-2, "Local error", words, about="ldap://dc1")
    assert isinstance(error, AuthError)
    assert advice in error.advice


def test_texts_are_on_one_line_and_not_endless() -> None:
    error = explain(53, "Unwilling", "a\n b\x00" + "c" * 1000, about="x")
    assert "\n" not in error.message
    assert "\x00" not in error.message
    assert len(error.message) < 400


def test_an_exception_of_python_ldap_is_taken_apart() -> None:
    class Failed(Exception):
        errnum = 32

    made = Failed({"result": 10, "desc": "Referral", "info": "Referral:\nldap://other/dc=y"})
    assert parts(made) == (10, "Referral", "", "ldap://other/dc=y")
    assert parts(Failed())[0] == 32
