"""Exports of rules → people's scripts on a server, without a wave: behind `mailferry rules upload` and `withdraw`.

Invariant: what was active before is kept in the ledger, so that `withdraw` brings it back; a person whose scripts could
not be changed is told, and stops nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from mailferry.config.sieve import parse_sieve
from mailferry.errors import ConfigError, MailferryError, UserError, explain
from mailferry.ledger import uploads
from mailferry.ledger.writer import LedgerThread
from mailferry.model.account import ImapAccount
from mailferry.model.rule import Behaviour, Upload, UploadState
from mailferry.net.managesieve import key_of, session
from mailferry.ops.rules import ADDRESS, Options, merged, owner_of
from mailferry.rules.convert import convert
from mailferry.secret import Secret
from mailferry.targets import managesieve
from mailferry.tasks import together
from mailferry.waves.behaviour import bring, keeper, told

T = TypeVar("T")
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one person. `upload`: as the ledger has it; None where there was `error`."""

    owner: str
    upload: Upload | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where scripts go. `to`: a `sieve://` address, with `{user}`, `{localpart}` or `{domain}` of each owner."""

    to: str
    secret: Secret | None

    def account(self, owner: str) -> ImapAccount:
        return parse_sieve(self.to, user=owner, secret=self.secret)


async def upload_files(
    ledger: str,
    files: Sequence[Path],
    place: Place,
    options: Options,
    *,
    only: Sequence[str] = (),
    activate: bool = False,
    dry_run: bool = False,
    said: Callable[[Sent], None] = lambda one: None,
) -> list[Sent]:
    """Convert each mailbox of the exports for what its server offers, and upload it. UserError: no export, or an owner
    without an address."""
    main = {name: theirs[0] for name, theirs in options.me.items()}
    people = _chosen(merged(files, main), only)
    options = replace(options, me={theirs[0]: theirs for theirs in options.me.values()})
    for one in people:
        if ADDRESS.fullmatch(one.owner) is None:
            raise UserError("the export does not tell an address", about=one.owner, advice="name it with --owners")

    async def work(thread: LedgerThread, one: Behaviour) -> Upload:
        async with session(place.account(one.owner)) as server:
            redirects = options.redirects if server.redirects is None else server.redirects
            here = replace(options, extensions=server.extensions, redirects=redirects)
            script = await asyncio.to_thread(convert, one, owner_of(one, here))
            known = await thread.call(lambda db: uploads.upload_of(db, key_of(server.account)))
            if dry_run:
                now = known or Upload(key_of(server.account), one.owner)
                return replace(now, parts=tuple(told(part) for part in script.parts))
            done = await bring(server, known, one.owner, script, keeper(thread))
            return await managesieve.activate(server, done, keeper(thread)) if activate else done

    return await _each(ledger, people, lambda one: one.owner, work, said)


async def withdraw_from(
    ledger: str,
    place: Place,
    owners: Sequence[str],
    *,
    dry_run: bool = False,
    said: Callable[[Sent], None] = lambda one: None,
) -> list[Sent]:
    """What was active before the upload is active again, for these people or for everybody with this server."""

    async def work(thread: LedgerThread, one: Upload) -> Upload:
        if dry_run:
            return one
        account = place.account(one.mail)
        if key_of(account) != one.key:
            raise ConfigError(f"it was uploaded to {one.key}", about=one.mail, advice="give that server with --to")
        async with session(account) as server:
            return await managesieve.withdraw(server, one, keeper(thread))

    async with LedgerThread(ledger) as thread:
        known = {one.mail.lower(): one for one in await thread.call(uploads.uploads)}
    for owner in owners:
        if owner.lower() not in known:
            raise UserError("nothing was uploaded for them", about=owner, advice="mailferry rules show")
    theirs = [known[owner.lower()] for owner in owners] if owners else list(known.values())
    theirs = [one for one in theirs if one.state is not UploadState.WITHDRAWN]
    return await _each(ledger, theirs, lambda one: one.mail, work, said)


def _chosen(people: Sequence[Behaviour], only: Sequence[str]) -> list[Behaviour]:
    known = {one.owner.lower(): one for one in people}
    for owner in only:
        if owner.lower() not in known:
            raise UserError("the exports hold nothing of them", about=owner)
    return [known[owner.lower()] for owner in only] if only else list(people)


async def _each(
    ledger: str,
    people: Sequence[T],
    name: Callable[[T], str],
    work: Callable[[LedgerThread, T], Coroutine[Any, Any, Upload]],
    said: Callable[[Sent], None],
) -> list[Sent]:
    done: list[Sent] = []
    waiting = iter(list(people))

    async def lane(thread: LedgerThread) -> None:
        for one in waiting:
            try:
                sent = Sent(name(one), await work(thread, one))
            except MailferryError as error:
                sent = Sent(name(one), None, explain(error))
            done.append(sent)
            said(sent)

    async with LedgerThread(ledger) as thread:
        await together(*(lane(thread) for _ in range(AT_ONCE)))
    return sorted(done, key=lambda one: one.owner)
