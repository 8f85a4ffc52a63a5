"""What to say to prove who we are: mechanisms as (initial response, answers to challenges). Sends nothing.

Sources: RFC 4616 (PLAIN), RFC 7628 (OAUTHBEARER), Google's XOAUTH2, RFC 4422 appendix A (EXTERNAL), AUTH=LOGIN as
deployed. Invariant: nothing here is ever shown; the texts hold secrets.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from mailferry.errors import AuthError, ConfigError
from mailferry.model.account import ImapAccount, Mechanism


@dataclass(frozen=True, slots=True)
class Exchange:
    """One SASL exchange. `initial`: the client's first message; None: the server speaks first. `answers`: to each
    further challenge in turn; past the last one the exchange is cancelled with `*`."""

    mechanism: str
    initial: bytes | None = field(repr=False)
    answers: tuple[bytes, ...] = field(default=(), repr=False)


LOGIN_COMMAND = "LOGIN command"


def choose(account: ImapAccount, capabilities: frozenset[str]) -> str:
    """The mechanism's name, or LOGIN_COMMAND. AuthError if the server offers nothing that the account can use."""
    offered = {name[5:] for name in capabilities if name.startswith("AUTH=")}
    asked = Mechanism.XOAUTH2 if account.application is not None else account.mechanism
    if asked is Mechanism.AUTO:
        if account.secret is None:
            if account.client_certificate is None:
                raise ConfigError("no password or token is given", about=account.key)
            return "EXTERNAL"
        if "PLAIN" in offered or account.admin is not None:
            return "PLAIN"
        if "LOGINDISABLED" not in capabilities:
            return LOGIN_COMMAND
        for name in ("LOGIN", "OAUTHBEARER", "XOAUTH2"):
            if name in offered:
                return name
        raise AuthError(
            "the server offers no way to log in that Mailferry knows"
            + (f" (it offers {', '.join(sorted(offered))})" if offered else ""),
            about=account.key,
            advice="if it is an unencrypted connection, use imaps:// or STARTTLS",
        )
    if asked is Mechanism.LOGIN:
        return LOGIN_COMMAND if "LOGINDISABLED" not in capabilities else "LOGIN"
    return str(asked.value).upper()


def exchange(mechanism: str, account: ImapAccount) -> Exchange:
    """The messages of one SASL mechanism for this account."""
    secret = account.secret.reveal() if account.secret is not None else ""
    if mechanism == "PLAIN":
        authzid = account.user if account.admin is not None else ""
        authcid = account.admin if account.admin is not None else account.user
        return Exchange(mechanism, f"{authzid}\0{authcid}\0{secret}".encode())
    if account.admin is not None and mechanism not in ("EXTERNAL", "OAUTHBEARER"):
        raise ConfigError(f"an admin cannot log in for somebody else with {mechanism}", about=account.key)
    if mechanism == "LOGIN":
        return Exchange(mechanism, None, (account.user.encode(), secret.encode()))
    if mechanism == "XOAUTH2":
        return Exchange(mechanism, f"user={account.user}\1auth=Bearer {secret}\1\1".encode(), (b"",))
    if mechanism == "OAUTHBEARER":
        name = account.user.replace("=", "=3D").replace(",", "=2C")
        head = f"n,a={name},\1host={account.host}\1port={account.port}\1auth=Bearer {secret}\1\1"
        return Exchange(mechanism, head.encode(), (b"\1",))
    if mechanism == "EXTERNAL":
        return Exchange(mechanism, account.user.encode())
    raise ConfigError(f"the mechanism {mechanism} is unknown", about=account.key)


def to_line(message: bytes) -> bytes:
    """One message of an exchange as a line's content."""
    return base64.b64encode(message)


def to_initial(message: bytes) -> bytes:
    """The same as an initial response (RFC 4959: `=` stands for an empty one)."""
    return base64.b64encode(message) or b"="
