"""From a host name to a logged-in connection: TLS, capabilities, SASL, ENABLE. Opens no folder.

Round trips after TCP and TLS: greeting, one for the log-in; ID and ENABLE ride along with the next command.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

from mailferry.errors import AuthError, ConfigError, MailferryError
from mailferry.model.account import ImapAccount, Tls
from mailferry.model.message import Body
from mailferry.net.entra import token
from mailferry.net.imap import refusal
from mailferry.net.imap.connection import Connection
from mailferry.wire.imap import commands, quirks, sasl
from mailferry.wire.imap.events import Event, Id, Tagged


async def connect(account: ImapAccount, *, compress: bool | None = None) -> Connection:
    """A connection with a mailbox behind it. `compress` None: where offered and the server is on a public address.

    Raises AuthError, Temporary, Permanent, RemoteProtocolError, ConfigError; nothing stays open then.
    """
    connection = Connection(account)
    try:
        greeting = await connection.open()
        connection.quirks = quirks.recognise(greeting.text, {}, connection.capabilities)
        if account.tls is Tls.STARTTLS:
            await _require_tls(connection)
        if greeting.status != "PREAUTH":
            if not connection.capabilities:
                await connection.run(b"CAPABILITY", "tell its capabilities")
            await _authenticate(connection)
        if not connection.capabilities:
            await connection.run(b"CAPABILITY", "tell its capabilities")
        if compress is None:
            compress = _far(connection.stream.peer)
        if compress and "COMPRESS=DEFLATE" in connection.capabilities:
            await connection.start_compression()
        await _introduce(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _require_tls(connection: Connection) -> None:
    if connection.capabilities and "STARTTLS" not in connection.capabilities:
        raise AuthError(
            "the server offers no STARTTLS on this port, and a password must not go out unencrypted",
            about=connection.about,
            advice="use imaps:// (port 993)",
        )
    await connection.start_tls()


async def _authenticate(connection: Connection) -> None:
    account = connection.account
    before = connection.capabilities
    connection.capabilities = frozenset()
    if account.application is not None:
        account = replace(account, secret=await token(account, f"https://{account.host}/.default"))
    mechanism = sasl.choose(account, before)
    if mechanism == sasl.LOGIN_COMMAND:
        error = await _login_command(connection, before)
    else:
        error = await _sasl(connection, sasl.exchange(mechanism, account), before)
    if error is not None:
        raise error


async def _login_command(connection: Connection, capabilities: frozenset[str]) -> MailferryError | None:
    account = connection.account
    if account.admin is not None:
        raise ConfigError("an admin cannot log in for somebody else with the LOGIN command", about=account.key)
    secret = account.secret.reveal() if account.secret is not None else ""
    async with connection.sending("log in") as pending:
        line = pending.tag + b" LOGIN"
        for text in (account.user.encode(), secret.encode()):
            if commands.can_quote(text):
                line += b" " + commands.quote(text)
                continue
            sync = not commands.may_skip_sync(capabilities, len(text))
            connection.write(line + b" " + commands.literal_head(len(text), sync=sync))
            if sync and await connection.challenge(pending) is None:
                break
            line = text
        else:
            connection.write(line + b"\r\n")
    return _outcome(connection, await pending.done)


async def _sasl(connection: Connection, exchange: sasl.Exchange, capabilities: frozenset[str]) -> MailferryError | None:
    async with connection.sending("log in") as pending:
        line = pending.tag + b" AUTHENTICATE " + exchange.mechanism.encode()
        answers = list(exchange.answers)
        if exchange.initial is not None and "SASL-IR" in capabilities:
            line += b" " + sasl.to_initial(exchange.initial)
        elif exchange.initial is not None:
            answers.insert(0, exchange.initial)
        connection.write(line + b"\r\n")
        while await connection.challenge(pending) is not None:
            connection.write((sasl.to_line(answers.pop(0)) if answers else b"*") + b"\r\n")
    return _outcome(connection, await pending.done)


def _outcome(connection: Connection, tagged: Tagged) -> MailferryError | None:
    if tagged.status == "OK":
        return None
    return refusal.login_error(tagged.code, tagged.text, connection.account.key)


async def _introduce(connection: Connection) -> None:
    """ID and ENABLE, without waiting: both are answered before whatever comes next."""
    offered = connection.capabilities
    if "ID" in offered:
        identity = await connection.send(
            b'ID ("name" "mailferry" "version" %s)' % commands.quote(version("mailferry").encode()), "identify itself"
        )

        def remember(event: Event, bodies: Sequence[Body]) -> bool:
            if not isinstance(event, Id):
                return False
            connection.quirks = quirks.recognise(
                connection.greeting.text if connection.greeting else "", event.fields, offered
            )
            connection.identity = event.fields
            return True

        identity.sink = remember
    if "ENABLE" in offered and "QRESYNC" in offered:
        await connection.send(b"ENABLE QRESYNC", "enable QRESYNC")


def _far(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_global
    except ValueError:
        return False
