"""A person's scripts on a server: ours put beside their own, put in force, and taken away again.

Converts nothing; keeps what it did through `keep`, which the caller gives. Invariants: a script that is not ours, or
that its owner has changed since, is never overwritten or deleted; what was active before is still run, and is what is
active again after `withdraw`; each call may be made again at any time, and changes nothing that is as it should be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from mailferry.errors import Permanent
from mailferry.model.rule import Upload, UploadState
from mailferry.net.managesieve import Session
from mailferry.wire import sieve
from mailferry.wire.sieve import Command, Comment, Tag

HEAD = "mailferry"
"""The script that is put in force; with several pieces, or beside the person's own, it includes them."""
LEAST = 4096
"""A server that takes no scripts of that size takes none of ours."""

Keep = Callable[[Upload], Awaitable[Upload]]
_INCLUDE = frozenset({"include"})


async def limit(session: Session, size: int) -> int:
    """The largest script, up to `size` bytes, that the server takes. Permanent: hardly any."""
    while not await session.has_space(HEAD, size):
        if size <= LEAST:
            raise Permanent(f"the server takes no script of {size} bytes", about=session.about)
        size = max(size // 2, LEAST)
    return size


async def put(session: Session, upload: Upload, texts: Sequence[str], keep: Keep) -> Upload:
    """The scripts are there, and not in force unless they were. `texts`: to be run one after the other; none: ours are
    taken away. Permanent: one does not compile, or a script of somebody else has our name."""
    found = await session.scripts()
    own = upload.before if found.active in (HEAD, *upload.ours) else found.active
    wanted = _layout(own, texts)
    if strange := [name for name in found.names if name in wanted and name not in upload.ours]:
        advice = "rename it there, and run the same again"
        raise Permanent(f"there is a script {strange[0]} that is not ours", about=session.about, advice=advice)
    there = {name: await session.get(name) for name in found.names if name in upload.ours}
    theirs = {name for name, content in there.items() if _digest(content) not in upload.ours[name]}
    new = {name: text for name, text in wanted.items() if name not in theirs and there.get(name) != text}
    over = [name for name in there if name not in wanted and name not in theirs and HEAD not in theirs]
    if not new and not over and upload.before == own and set(upload.ours) <= set(there):
        return upload
    if len(wanted) > 1 and "include" not in session.extensions:
        why = f"their own script {own} stays alone" if own else "the script is too large"
        return await keep(replace(upload, put_off=f"{why}: the server cannot include one in another"))
    ours = {name: upload.ours.get(name, ()) for name in (*wanted, *there)}
    ours |= {name: tuple(dict.fromkeys((*ours[name], _digest(text)))) for name, text in new.items()}
    upload = await keep(replace(upload, before=own, ours=ours))
    for name, text in new.items():
        await session.has_space(name, len(text))
        await session.check(text)
        await session.put(name, text)
    for name in over:
        if name == found.active:
            await session.activate(own)
        await session.delete(name)
    state = UploadState.ACTIVE if found.active == HEAD and texts else UploadState.UPLOADED
    return await keep(replace(upload, state=state, ours={name: ours[name] for name in ours if name not in over}))


async def activate(session: Session, upload: Upload, keep: Keep) -> Upload:
    """Ours are in force. A script that the person has put in force since `put` is included, too."""
    if HEAD not in upload.ours:
        return upload if upload.put_off else await keep(replace(upload, state=UploadState.ACTIVE))
    found = await session.scripts()
    if found.active not in (HEAD, upload.before):
        names = sorted((name for name in upload.ours if name != HEAD), key=_number) or [HEAD]
        texts = [(await session.get(name)).decode("utf-8", "replace") for name in names if name in found.names]
        upload = await put(session, replace(upload, put_off=""), texts, keep)
        if not upload.put_off and _digest(await session.get(HEAD)) not in upload.ours[HEAD]:
            why = f"{HEAD} was changed by its owner, and {found.active} put in force"
            upload = await keep(replace(upload, put_off=why))
        if upload.put_off:
            return upload
    if found.active != HEAD:
        await session.activate(HEAD)
    return await keep(replace(upload, state=UploadState.ACTIVE, put_off=""))


async def withdraw(session: Session, upload: Upload, keep: Keep) -> Upload:
    """What was active before ours is active again; ours are gone, but for those that their owner has changed."""
    found = await session.scripts()
    if found.active in upload.ours:
        await session.activate(upload.before if upload.before in found.names else "")
    left = {}
    for name, digests in upload.ours.items():
        if name in found.names:
            if _digest(await session.get(name)) in digests:
                await session.delete(name)
            else:
                left[name] = digests
    return await keep(replace(upload, state=UploadState.WITHDRAWN, ours=left, put_off=""))


def _layout(own: str, texts: Sequence[str]) -> Mapping[str, bytes]:
    """Name → content, in the order in which they have to be put."""
    if not texts:
        return {}
    if not own and len(texts) == 1:
        return {HEAD: texts[0].encode()}
    parts = {f"{HEAD}-{number}": text.encode() for number, text in enumerate(texts, start=1)}
    commands = [Command("include", (Tag(":personal"), name), _INCLUDE) for name in ((own,) if own else ()) + (*parts,)]
    head = sieve.script([Comment("Made by Mailferry: runs these scripts one after the other."), *commands])
    return {**parts, HEAD: head.encode()}


def _number(name: str) -> int:
    return int(name.removeprefix(f"{HEAD}-"))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
