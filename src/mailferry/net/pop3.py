"""Reads a mailbox's POP3 UIDLs (RFC 1939 §7), so that clients which leave mail on the server download nothing again.

The standard library's client does the protocol, in a thread. Deletes nothing: no DELE is ever sent.
"""

from __future__ import annotations

import asyncio
import poplib
from collections.abc import Callable
from typing import TypeVar

from mailferry.errors import AuthError, MailferryError, Permanent, RemoteProtocolError
from mailferry.model.account import ImapAccount, Tls
from mailferry.model.message import Uidl
from mailferry.net import tls

IMPLICIT_PORT = 995
T = TypeVar("T")


async def read_uidls(account: ImapAccount, latest: int) -> list[Uidl]:
    """The UIDLs of the last `latest` messages that POP3 shows, each with its message's header block.

    Raises AuthError, Permanent (no UIDL or TOP there), RemoteProtocolError, Temporary.
    """
    return await asyncio.to_thread(_read, account, latest)


def _read(account: ImapAccount, latest: int) -> list[Uidl]:
    assert account.pop3_port is not None
    about = f"pop3://{account.user}@{account.host}:{account.pop3_port}"
    try:
        pop = _connect(account, account.pop3_port)
    except OSError as error:
        raise tls.explain(error, account.host, account.pop3_port) from error
    except poplib.error_proto as error:
        raise RemoteProtocolError("this is no POP3 server", about=about) from error
    try:
        secret = account.secret.reveal() if account.secret else ""
        _do(lambda: (pop.user(account.login or account.user), pop.pass_(secret)), about, AuthError, "the log-in")
        _, lines, _ = _do(pop.uidl, about, Permanent, "UIDL")
        numbered = [(int(number), text) for number, _, text in (line.partition(b" ") for line in lines)][-latest:]
        found = []
        for number, text in numbered:
            _, top, _ = _do(lambda: pop.top(number, 0), about, Permanent, "TOP")
            block = b"\r\n".join(top)
            found.append(Uidl(text.decode("ascii", "backslashreplace"), block.partition(b"\r\n\r\n")[0]))
        return found
    finally:
        pop.close()


def _connect(account: ImapAccount, port: int) -> poplib.POP3:
    context = tls.context(verify=account.verify, ca_file=account.ca_file, client_certificate=account.client_certificate)
    if port == IMPLICIT_PORT:
        return poplib.POP3_SSL(account.host, port, timeout=account.timeout, context=context)
    pop = poplib.POP3(account.host, port, timeout=account.timeout)
    if account.tls is not Tls.NONE:
        pop.stls(context)
    return pop


def _do(call: Callable[[], T], about: str, error_type: type[MailferryError], what: str) -> T:
    try:
        return call()
    except poplib.error_proto as error:
        raise error_type(f"the POP3 server refused {what}", about=about) from error
    except (OSError, ValueError) as error:
        raise RemoteProtocolError(f"the POP3 connection failed at {what}", about=about) from error
