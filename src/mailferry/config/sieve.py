"""Reads ManageSieve addresses (`sieve://user@host`), which are those of IMAP but for scheme and port."""

from __future__ import annotations

import re

from mailferry.config.accounts import parse_address
from mailferry.errors import UserError
from mailferry.model.account import ImapAccount
from mailferry.secret import Secret

PORT = 4190
_ADDRESS = re.compile(r"sieve://(?P<who>[^?]*@)?(?P<host>\[[^\]]*\]|[^@/:?]+)(?P<port>:\d+)?(?P<rest>/?(?:\?.*)?)")


def parse_sieve(text: str, *, user: str | None = None, secret: Secret | None = None) -> ImapAccount:
    """The log-in that `sieve://user@host[:4190]` (STARTTLS) names, with the options and errors of `parse_address`."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise UserError("not a ManageSieve address", about=text.partition("?")[0], advice="sieve://user@host[:port]")
    imap = f"imap://{found['who'] or ''}{found['host']}{found['port'] or f':{PORT}'}{found['rest']}"
    account = parse_address(imap, user=user, secret=secret)
    assert isinstance(account, ImapAccount)
    return account
