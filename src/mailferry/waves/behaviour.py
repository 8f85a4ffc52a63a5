"""A mailbox's rules, out-of-office and junk lists go with it: uploaded while mail flows, in force from the switch on.

Reads no export and converts by `rules/`; what is on the server, `targets/managesieve.py` does. Invariants: nothing is
in force before the switch; what was before it is again after the way back, and nobody's parked mail waits for that;
what could not be done stands in the upload's `put_off`, and is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mailferry.errors import AuthError, Fenced, MailferryError, Permanent, RemoteProtocolError, Temporary
from mailferry.ledger import uploads
from mailferry.ledger.rows import Lease
from mailferry.ledger.writer import LedgerThread
from mailferry.model.account import ImapAccount
from mailferry.model.rule import Upload, UploadState
from mailferry.model.wave import Move, MoveState
from mailferry.net import managesieve
from mailferry.net.managesieve import Session, key_of
from mailferry.rules.convert import Converted, Script, pieces
from mailferry.rules.names import Rating
from mailferry.targets.managesieve import Keep, activate, limit, put, withdraw
from mailferry.verify.score import Score
from mailferry.waves.companion import Companion

BACK_SECONDS = 10.0
"""What a server may take to answer while somebody's mail waits for the way back."""
_AWAY = (Temporary, RemoteProtocolError, Permanent, AuthError)


def keeper(ledger: LedgerThread, lease: Lease | None = None) -> Keep:
    """Writes an upload to the ledger, so that no power cut makes it forget what stands on a server."""

    async def keep(upload: Upload) -> Upload:
        return await ledger.write_durably(lambda db: uploads.keep(db, upload, lease))

    return keep


async def bring(session: Session, known: Upload | None, mail: str, script: Script, keep: Keep) -> Upload:
    """The converted rules of somebody are on the server, not in force unless they were; what became of each is kept."""
    upload = known or Upload(key_of(session.account), mail)
    parts = tuple(told(part) for part in script.parts)
    state = UploadState.UPLOADED if upload.state is UploadState.WITHDRAWN else upload.state
    now = replace(upload, mail=mail, parts=parts, state=state, put_off="")
    if known is None or now != upload:
        now = await keep(now)
    texts = []
    if script.text:
        texts = pieces(script, await limit(session, len(script.text.encode())))
    return await put(session, now, texts, keep)


def told(part: Converted) -> Mapping[str, Any]:
    """What the ledger keeps of a rule, for people; none of the texts that it looks for or sends."""
    return {
        "name": part.name,
        "origin": part.origin,
        "rating": part.rating.value,
        "active": part.active,
        "notes": list(part.notes),
    }


@dataclass(frozen=True, slots=True)
class Rules(Companion):
    """`script`: converts what the mailbox on Exchange has now, for this server; `account`: where its scripts are, None
    where a store has no Sieve. `wait`: a server that is away holds the switch up, else the switch goes on and says
    so."""

    ledger: LedgerThread
    script: Callable[[Move, Lease, Session], Awaitable[Script]]
    account: Callable[[Move], ImapAccount | None]
    wait: bool
    name = "rules"

    async def seed(self, move: Move, lease: Lease) -> None:
        await self._tried(move, lease, self._bring)

    async def catch_up(self, move: Move, lease: Lease) -> None:
        await self._tried(move, lease, self._bring)

    async def verify(self, move: Move, lease: Lease) -> Score:
        account = self.account(move)
        known = None if account is None else await self._known(account)
        if known is None or known.put_off:
            return Score.GOOD
        exact = all(part["rating"] == Rating.EXACT.value or not part["active"] for part in known.parts)
        return Score.PERFECT if exact else Score.GOOD

    async def activate(self, move: Move, lease: Lease) -> None:
        await self._tried(move, lease, self._activate)

    async def complete(self, move: Move, lease: Lease) -> str:
        account = self.account(move)
        if account is None:
            return ""
        try:
            await self._activate(account, move, lease)
        except Fenced:
            raise
        except MailferryError as error:
            await self._put_off(account, move, lease, error)
        known = await self._known(account)
        if known is None or known.state is UploadState.ACTIVE:
            return ""
        return f"rules are not in force yet: {known.put_off}"

    async def withdraw(self, move: Move, lease: Lease) -> None:
        account = self.account(move)
        known = None if account is None else await self._known(account)
        if account is None or known is None or not known.ours:
            return
        parked = move.state is MoveState.UNPARKING
        account = replace(account, timeout=min(account.timeout, BACK_SECONDS)) if parked else account
        try:
            async with managesieve.session(account) as session:
                await withdraw(session, known, keeper(self.ledger, lease))
        except _AWAY as error:
            if self.wait and not parked:
                raise
            await self._put_off(account, move, lease, error)

    async def _tried(
        self, move: Move, lease: Lease, work: Callable[[ImapAccount, Move, Lease], Awaitable[None]]
    ) -> None:
        account = self.account(move)
        if account is None:
            return
        try:
            await work(account, move, lease)
        except _AWAY as error:
            if self.wait:
                raise
            await self._put_off(account, move, lease, error)

    async def _bring(self, account: ImapAccount, move: Move, lease: Lease) -> None:
        async with managesieve.session(account) as session:
            await self._brought(session, move, lease)

    async def _brought(self, session: Session, move: Move, lease: Lease) -> Upload:
        known, keep = await self._known(session.account), keeper(self.ledger, lease)
        if known is not None and known.state is UploadState.ACTIVE:  # a way back could not withdraw it
            known = await withdraw(session, known, keep)
        script = await self.script(move, lease, session)
        return await bring(session, known, move.mail, script, keep)

    async def _activate(self, account: ImapAccount, move: Move, lease: Lease) -> None:
        known = await self._known(account)
        if known is not None and known.state is UploadState.ACTIVE:
            return
        async with managesieve.session(account) as session:
            if known is None or known.put_off:
                known = await self._brought(session, move, lease)
            await activate(session, known, keeper(self.ledger, lease))

    async def _known(self, account: ImapAccount) -> Upload | None:
        return await self.ledger.call(lambda db: uploads.upload_of(db, key_of(account)))

    async def _put_off(self, account: ImapAccount, move: Move, lease: Lease, error: MailferryError) -> None:
        known = await self._known(account) or Upload(key_of(account), move.mail)
        await keeper(self.ledger, lease)(replace(known, put_off=error.message))
