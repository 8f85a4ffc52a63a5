"""What an LDAP server or libldap says no with, as one of Mailferry's errors. Talks to nobody.

Knows results by their numbers (RFC 4511 appendix A.1; negative ones are libldap's own), so that it can be used and
tested without python-ldap. Invariant: the server's own words are in the message, never a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from mailferry.errors import AuthError, MailferryError, Permanent, RemoteProtocolError, Temporary


class Result(IntEnum):
    """Result codes that callers tell apart (RFC 4511 appendix A.1, RFC 4533)."""

    OPERATIONS_ERROR = 1
    TIME_LIMIT = 3
    SIZE_LIMIT = 4
    REFERRAL = 10
    ADMIN_LIMIT = 11
    UNAVAILABLE_CRITICAL_EXTENSION = 12
    NO_SUCH_ATTRIBUTE = 16
    UNDEFINED_TYPE = 17
    CONSTRAINT = 19
    VALUE_EXISTS = 20
    INVALID_SYNTAX = 21
    NO_SUCH_OBJECT = 32
    INVALID_DN = 34
    INSUFFICIENT_ACCESS = 50
    UNWILLING = 53
    NAMING_VIOLATION = 64
    OBJECT_CLASS_VIOLATION = 65
    NOT_ON_NON_LEAF = 66
    NOT_ON_RDN = 67
    ALREADY_EXISTS = 68
    OTHER = 80
    FILTER_ERROR = -7
    SYNC_REFRESH_REQUIRED = 4096


class Refused(Permanent):
    """The server did not do it, and will say so again. `result` is its code, a member of Result where that names it."""

    def __init__(self, message: str, *, result: int, about: str = "", advice: str = "") -> None:
        super().__init__(message, about=about, advice=advice)
        self.result = result


_AD_REASONS: dict[str, tuple[str, str]] = {  # MS-ERREF 2.2; in the text of Active Directory's answer to a bind
    "525": ("there is no such user", "check the user name: DOMAIN\\user, user@domain or a DN"),
    "52e": ("wrong user name or password", "check both; `file:` and `command:` secrets are read by their first line"),
    "52f": ("the account is restricted", "an administrator has to lift the restriction (empty password, policy)"),
    "530": ("log-on is not permitted at this hour", "wait, or have the account's log-on hours widened"),
    "531": ("log-on is not permitted from this host", "have this host added to the account's workstations"),
    "532": ("the password has expired", "set a new password; service accounts are best set to never expire"),
    "533": ("the account is disabled", "have the account enabled"),
    "701": ("the account has expired", "have the account's expiry date moved"),
    "773": ("the password must be changed first", "log in once as this account and change it"),
    "775": ("the account is locked after too many wrong passwords", "have it unlocked, and find who tries"),
}
_AD_DATA = re.compile(r"\bdata ([0-9a-fA-F]{1,8})\b")

_REFUSALS: dict[int, tuple[str, str]] = {
    Result.TIME_LIMIT: ("the server's time limit is reached", "give a narrower base or filter, or have it raised"),
    Result.SIZE_LIMIT: (
        "the server gives no more entries: its size limit is reached",
        "have the limit raised for this account (OpenLDAP: olcLimits size=unlimited), or give a narrower base",
    ),
    Result.ADMIN_LIMIT: ("an administrative limit of the server is reached", "have it raised for this account"),
    Result.UNAVAILABLE_CRITICAL_EXTENSION: ("the server does not support a control that is needed", ""),
    Result.NO_SUCH_OBJECT: ("there is no such entry", "check the DN; an account that may not see it is told the same"),
    Result.INVALID_DN: ("the server takes this for no valid DN", "check commas, quotes and backslashes"),
    Result.INSUFFICIENT_ACCESS: ("this account has no right to do it", "have the right given to the bind account"),
    Result.UNWILLING: ("the server is unwilling", ""),
    Result.CONSTRAINT: (
        "the value breaks a constraint of the server",
        "see the server's words; “non-unique”: another entry there has this value",
    ),
    Result.OBJECT_CLASS_VIOLATION: ("the entry breaks the schema", "see the server's words; is our schema loaded?"),
    Result.ALREADY_EXISTS: ("there is such an entry already", ""),
    Result.FILTER_ERROR: ("not a valid search filter", "check its brackets and backslashes (RFC 4515)"),
    Result.SYNC_REFRESH_REQUIRED: ("the server refuses the cookie", "a full read is needed"),
}
_TEMPORARY: dict[int, tuple[str, str]] = {
    51: ("the server is busy", ""),
    52: ("the server is unavailable", ""),
    -1: ("the connection to the server is lost", ""),
    -5: ("the server did not answer in time", "check the server; then run again"),
    -11: ("the connection to the server is lost", ""),
}
_CREDENTIALS = (7, 8, 13, 48, 49, -6)
"""Codes by which a bind, or what needs a better one, is refused: unknown method, stronger or confidential needed,
inappropriate, wrong."""


def explain(code: int, description: str, info: str, *, about: str, referrals: str = "") -> MailferryError:
    """One failure as an error of ours. `description`: the code in words; `info`: the server's text; `about`: the DN
    or server it is told of."""
    words = _words(info)
    if code in _CREDENTIALS:
        return bind_error(code, description, words, about=about)
    if code in _TEMPORARY:
        message, advice = _TEMPORARY[code]
        return Temporary(message + _quoted(words if code > 0 else ""), about=about, advice=advice)
    if code == -2 and words:  # libldap's own trouble, nearly always SASL's
        return AuthError(f"the log-in could not be done: {words}", about=about, advice=_sasl_advice(words))
    if code in (2, -4):
        return RemoteProtocolError(f"the server broke the protocol{_quoted(words or description)}", about=about)
    if code == Result.REFERRAL:
        where = referrals or words
        return Refused(
            f"the server refers to another one, which is not followed: {where}",
            result=code,
            about=about,
            advice="give the URL of the server that holds the entries itself",
        )
    message, advice = _REFUSALS.get(code, (description or f"LDAP result {code}", ""))
    if code == Result.OPERATIONS_ERROR and (
        "successful bind" in words or "without authentication" in words
    ):  # how Active Directory tells an anonymous client
        return AuthError(
            "the server gives nothing without a log-in", about=about, advice="configure the bind account and its secret"
        )
    return Refused(message + _quoted(words), result=code, about=about, advice=advice)


def bind_error(code: int, description: str, info: str, *, about: str) -> AuthError:
    """Why a bind was refused, Active Directory's reasons told apart."""
    found = _AD_DATA.search(info)
    if found is not None and (reason := _AD_REASONS.get(found[1].lower().lstrip("0"))) is not None:
        return AuthError(f"the server refuses the log-in: {reason[0]} ({found[1]})", about=about, advice=reason[1])
    if code in (8, 13):
        advice = "use ldaps:// or ldap:// with StartTLS; the server takes no password on an open connection"
        return AuthError(f"the server wants a protected log-in{_quoted(info)}", about=about, advice=advice)
    advice = "check user name (for OpenLDAP a DN) and password"
    return AuthError(f"the server refuses the log-in: {description.lower()}{_quoted(info)}", about=about, advice=advice)


def parts(error: Exception) -> tuple[int, str, str, str]:
    """Code, description, the server's text and its referral, out of an exception of python-ldap."""
    found: Mapping[str, Any] = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    info, referrals = str(found.get("info", "")), ""
    if info.startswith("Referral:"):
        referrals, info = " ".join(info.removeprefix("Referral:").split()), ""
    code = found.get("result", getattr(error, "errnum", None))
    if code is None:
        code = -5 if type(error).__name__ == "TIMEOUT" else -7 if type(error).__name__ == "FILTER_ERROR" else 80
    return int(code), str(found.get("desc", "") or type(error).__name__.replace("_", " ")), info, referrals


def _words(info: str) -> str:
    """The server's text on one line, without NULs (Active Directory sends one) and not endless."""
    return " ".join(info.replace("\x00", " ").split())[:300]


def _quoted(words: str) -> str:
    return f": {words}" if words else ""


def _sasl_advice(words: str) -> str:
    lower = words.lower()
    if "credentials cache" in lower or "no kerberos credentials" in lower or "ticket expired" in lower:
        return "get a ticket first: kinit, or KRB5_CLIENT_KTNAME=FILE for a service"
    if "not found in kerberos database" in lower:
        return "name the server by the full name that its Kerberos principal has, never by address"
    if "no worthy mechs" in lower or "no mechanism available" in lower:
        return "install the SASL module (Debian: libsasl2-modules-gssapi-mit)"
    if "clock skew" in lower:
        return "set this host's clock by the domain controller's"
    return ""
