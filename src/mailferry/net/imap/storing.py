"""Writing to a mailbox over IMAP: create, append, flags, removal, rights. Decides nothing; reads only to answer.

`append` puts a whole chunk on the wire as one MULTIAPPEND (RFC 3502) where offered, else as pipelined APPENDs; calls
may overlap and keep their order. Invariant: a refused message costs only itself: a refused MULTIAPPEND, which stored
nothing, is sent again message by message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from mailferry.errors import ItemError, LocalProtocolError
from mailferry.model.folder import INBOX, Folder, FolderStatus, Path, SpecialUse
from mailferry.model.message import ALL_FLAGS, Failed, Flag, Listed, Message, Reason
from mailferry.net.imap import folders, refusal
from mailferry.net.imap.connection import Connection, Pending
from mailferry.net.imap.folders import Names
from mailferry.wire.imap import commands, dates, flags, sets, utf7
from mailferry.wire.imap import events as ev

MAX_LEVEL = 255
"""Bytes of one level of a folder's name: servers keep it as a file name."""

BLOCK = 128 * 1024
"""Small messages are joined to writes of about this size."""


async def create(connection: Connection, names: Names, path: Path, special_use: SpecialUse | None) -> Folder:
    """Make the folder, or find the one that is there; one round trip. ItemError if the server refuses."""
    _check_path(connection, names, path)
    wire = names.name(path)
    name = commands.mailbox(wire)
    if path == INBOX:
        found, status = await _look(connection, wire)
        created, words = False, "it is not there"
    else:
        use = _use(connection, special_use)
        found, status, made = await _create(connection, wire, name + use)
        if found is None and use:  # it may refuse only the attribute (RFC 6154 §3, USEATTR): the folder matters more
            found, status, made = await _create(connection, wire, name)
        created, words = made.status == "OK", made.text
    if found is None or "\\NONEXISTENT" in found.attributes:
        raise ItemError(f"the server refused to create the folder {'/'.join(path)}: {words}", about=connection.about)
    uses = [folders.SPECIAL_USES[word] for word in sorted(found.attributes) if word in folders.SPECIAL_USES]
    if created and special_use is not None and await _set_use(connection, name, special_use):
        uses = [special_use]
    return Folder(
        path,
        wire.decode("latin-1"),
        special_use=SpecialUse.INBOX if path == INBOX else next(iter(uses), None),
        selectable="\\NOSELECT" not in found.attributes,
        subscribed="\\SUBSCRIBED" in found.attributes,
        status=status,
    )


async def _create(
    connection: Connection, wire: bytes, argument: bytes
) -> tuple[ev.Listed | None, FolderStatus | None, ev.Tagged]:
    """CREATE, and look at what is there then; one round trip."""
    pending = await connection.send(b"CREATE " + argument, "create the folder")
    found, status = await _look(connection, wire)
    return found, status, await connection.wait(pending)


def _check_path(connection: Connection, names: Names, path: Path) -> None:
    """Names that the server should not keep: refused here, since some servers take them and then stumble."""
    bad = frozenset(connection.quirks.forbidden + (names.separator or ""))
    for level in path:
        if not level or bad & frozenset(level) or any(ord(character) < 32 for character in level):
            raise ItemError(f"{'/'.join(path)!r} cannot be a folder's name here", about=connection.about)
        if len(utf7.encode(level)) > MAX_LEVEL:
            raise ItemError(f"{level[:40]!r}… is too long for a folder's name here", about=connection.about)


def _use(connection: Connection, special_use: SpecialUse | None) -> bytes:
    if "CREATE-SPECIAL-USE" in connection.capabilities and _has_attribute(special_use):
        return b" (USE (%s))" % special_use.value.encode() if special_use is not None else b""
    return b""


def _has_attribute(special_use: SpecialUse | None) -> bool:
    return special_use is not None and special_use.value.startswith("\\")


async def _set_use(connection: Connection, name: bytes, special_use: SpecialUse) -> bool:
    """Where CREATE cannot carry the attribute, RFC 6154 §5 has it as metadata. False: not done."""
    offered = connection.capabilities
    if not _has_attribute(special_use) or "CREATE-SPECIAL-USE" in offered or not {"METADATA", "SPECIAL-USE"} <= offered:
        return False
    value = commands.quote(special_use.value.encode())
    pending = await connection.send(
        b"SETMETADATA " + name + b" (/private/specialuse " + value + b")", "mark the folder"
    )
    return (await connection.wait(pending)).status == "OK"


async def _look(connection: Connection, wire: bytes) -> tuple[ev.Listed | None, FolderStatus | None]:
    """The LIST line and counters of one name. Its wildcards would match more, so the answer is compared."""
    extra = b" RETURN (SUBSCRIBED SPECIAL-USE)" if {"LIST-EXTENDED", "SPECIAL-USE"} <= connection.capabilities else b""
    listing = await connection.send(b'LIST "" ' + commands.mailbox(wire) + extra, "look for the folder")
    status = await folders.status(connection, wire)
    for event in await connection.finish(listing):
        if isinstance(event, ev.Listed) and (event.name == wire or event.name.upper() == wire.upper() == b"INBOX"):
            return event, status
    return None, None


async def append(connection: Connection, folder: Folder, messages: Sequence[Message]) -> list[int | Failed | None]:
    """Store these messages, in order. For each: its uid, None (stored, uid unknown) or why not.

    ItemError if the folder has gone.
    """
    results: list[int | Failed | None] = [None] * len(messages)
    together: list[int] = []
    alone: list[int] = []
    multi = "MULTIAPPEND" in connection.capabilities
    for number, message in enumerate(messages):
        failed = _refuse(connection, message)
        if failed is not None:
            results[number] = failed
        elif multi and message.body.size:  # an empty literal ends a MULTIAPPEND
            together.append(number)
        else:
            alone.append(number)
    sent: list[tuple[list[int], asyncio.Task[ev.Tagged]]] = []
    try:
        async with connection.appending:  # overlapping calls go out one after the other
            for numbers in ([together] if together else []) + [[number] for number in alone]:
                pending = await _send(connection, folder, [messages[number] for number in numbers])
                sent.append((numbers, asyncio.ensure_future(connection.wait(pending))))
        for numbers, task in sent:
            tagged = await task
            if tagged.status == "OK":
                connection.exists += len(numbers)
                for number, uid in zip(numbers, _uids(tagged, len(numbers)), strict=True):
                    results[number] = uid
            elif tagged.code is not None and tagged.code.name == "TRYCREATE":
                raise ItemError(f"the folder {folder.label} has gone", about=connection.about)
            elif len(numbers) == 1:
                results[numbers[0]] = _failed(messages[numbers[0]], tagged)
            else:
                await _singly(connection, folder, messages, numbers, results)
    finally:
        for _, task in sent:
            task.cancel()
    return results


async def _singly(
    connection: Connection,
    folder: Folder,
    messages: Sequence[Message],
    numbers: Sequence[int],
    results: list[int | Failed | None],
) -> None:
    """Find the refused ones of a refused MULTIAPPEND."""
    pending = [(number, await _send(connection, folder, [messages[number]])) for number in numbers]
    for number, one in pending:
        tagged = await connection.wait(one)
        if tagged.status == "OK":
            connection.exists += 1
            results[number] = _uids(tagged, 1)[0]
        else:
            results[number] = _failed(messages[number], tagged)


def _refuse(connection: Connection, message: Message) -> Failed | None:
    """What need not be sent to know that it will be refused."""
    limit = append_limit(connection.capabilities)
    if limit is not None and message.body.size > limit:
        return Failed(message.uid, Reason.TOO_LARGE, f"{message.body.size} bytes; the target takes at most {limit}")
    bad = [keyword for keyword in message.keywords if not flags.is_keyword(keyword)]
    if bad:
        return Failed(message.uid, Reason.KEYWORDS, f"IMAP cannot carry the keyword {bad[0]!r}")
    return None


def append_limit(capabilities: frozenset[str]) -> int | None:
    """RFC 7889: the largest message the server takes, in bytes."""
    for name in capabilities:
        if name.startswith("APPENDLIMIT=") and name[12:].isdigit():
            return int(name[12:])
    return None


def _failed(message: Message, tagged: ev.Tagged) -> Failed:
    return Failed(message.uid, refusal.append_reason(tagged.code, tagged.text), tagged.text or "it gave no reason")


def _uids(tagged: ev.Tagged, count: int) -> list[int | None]:
    """APPENDUID's uids (RFC 4315), in the order of the messages."""
    if tagged.code is not None and tagged.code.name == "APPENDUID" and sets.count(tagged.code.uids) == count:
        return list(sets.expand(tagged.code.uids))
    return [None] * count


async def _send(connection: Connection, folder: Folder, messages: Sequence[Message]) -> Pending:
    """One APPEND of one or more messages, written in blocks as the other side takes them."""
    offered = connection.capabilities
    binary = "BINARY" in offered
    async with connection.sending("store messages") as pending:
        block = [pending.tag, b" APPEND ", commands.mailbox(folder.name.encode("latin-1"))]
        size = 0
        for message in messages:
            body = message.body
            sync = not commands.may_skip_sync(offered, body.size)
            words = flags.format(message.flags & ALL_FLAGS, message.keywords)
            has_nul = binary and any(b"\0" in chunk for chunk in body.chunks())
            literal = commands.literal_head(body.size, sync=sync, binary=has_nul)
            block.append(b' (%s) "%s" %s' % (words, dates.format(message.internal_date), literal))
            if sync:
                connection.write(b"".join(block))
                block.clear()
                size = 0
                if await connection.challenge(pending) is None:
                    return pending
            left = body.size
            for chunk in body.chunks():
                left -= len(chunk)
                block.append(chunk)
                size += len(chunk)
                if size >= BLOCK:
                    connection.write(b"".join(block))
                    block.clear()
                    size = 0
                    await connection.drain()
            if left:
                raise LocalProtocolError("a body is not as long as it says", about=f"uid {message.uid}")
        block.append(b"\r\n")
        connection.write(b"".join(block))
    return pending


async def set_flags(connection: Connection, changes: Sequence[Listed]) -> None:
    """Flags and keywords exactly so; uids with the same ones in one STORE, all STOREs in flight together."""
    groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for change in changes:
        groups.setdefault((change.flags & ALL_FLAGS, change.keywords), []).append(change.uid)
    pending = []
    for (bits, keywords), uids in groups.items():
        words = flags.format(bits, keywords)
        for group in sets.split(sorted(uids), 1000, connection.quirks.max_command - 100 - len(words)):
            command = b"UID STORE " + sets.format(group) + b" FLAGS.SILENT (" + words + b")"
            pending.append(await connection.send(command, "set flags"))
    for one in pending:
        await connection.finish(one)


async def remove(connection: Connection, uids: Sequence[int]) -> list[int]:
    """STORE \\Deleted and UID EXPUNGE (RFC 4315); what is still there afterwards, or all without UIDPLUS."""
    if not connection.capabilities & {"UIDPLUS", "IMAP4REV2"}:
        return list(uids)
    left: set[int] = set()
    for group in sets.split(sorted(uids), 1000, connection.quirks.max_command - 100):
        which = sets.format(group)
        mark = await connection.send(
            b"UID STORE " + which + b" +FLAGS.SILENT (" + flags.format(Flag.DELETED) + b")", "mark messages"
        )
        gone = await connection.send(b"UID EXPUNGE " + which, "remove messages")
        look = await connection.send(b"UID SEARCH UID " + which, "look for what was removed")
        await connection.wait(mark)
        await connection.wait(gone)
        for event in await connection.finish(look):
            if isinstance(event, ev.Search):
                left.update(sets.expand(event.ranges))
    return sorted(left.intersection(uids))


async def subscribe(connection: Connection, folder: Folder) -> None:
    await connection.run(b"SUBSCRIBE " + commands.mailbox(folder.name.encode("latin-1")), "subscribe the folder")


async def follow(connection: Connection, name: bytes, label: str, *, yes: bool) -> None:
    """Subscribe a folder of somebody else's mailbox, by its wire name, or no longer."""
    verb, about = (b"SUBSCRIBE ", "subscribe") if yes else (b"UNSUBSCRIBE ", "unsubscribe")
    await connection.run(verb + commands.mailbox(name), f"{about} {label}")


async def set_acl(connection: Connection, folder: Folder, rights: Mapping[str, str]) -> None:
    """RFC 4314 SETACL for each identifier; DELETEACL where it is to have no rights."""
    if "ACL" not in connection.capabilities:
        raise ItemError("the target has no access rights (ACL)", about=folder.label)
    name = commands.mailbox(folder.name.encode("latin-1"))
    pending = []
    for identifier, letters in rights.items():
        verb, rest = (b"SETACL", b" " + _astring(letters)) if letters else (b"DELETEACL", b"")
        command = b"%s %s %s%s" % (verb, name, _astring(identifier), rest)
        pending.append(await connection.send(command, f"set rights on {folder.label}"))
    for one in pending:
        await connection.finish(one)


def _astring(text: str) -> bytes:
    raw = text.encode()
    if not commands.can_quote(raw):
        raise ItemError(f"{text!r} cannot be written as an identifier")
    return commands.quote(raw)


async def set_metadata(connection: Connection, folder: Folder, entries: Mapping[str, bytes]) -> None:
    """RFC 5464 SETMETADATA. Values that cannot be quoted go as literals."""
    if "METADATA" not in connection.capabilities:
        raise ItemError("the target has no annotations (METADATA)", about=folder.label)
    name = commands.mailbox(folder.name.encode("latin-1"))
    for entry, value in entries.items():
        async with connection.sending(f"annotate {folder.label}") as pending:
            head = pending.tag + b" SETMETADATA " + name + b" (" + commands.quote(entry.encode()) + b" "
            if commands.can_quote(value):
                connection.write(head + commands.quote(value) + b")\r\n")
            else:
                sync = not commands.may_skip_sync(connection.capabilities, len(value))
                binary = b"\0" in value
                connection.write(head + commands.literal_head(len(value), sync=sync, binary=binary))
                if not sync or await connection.challenge(pending) is not None:
                    connection.write(value + b")\r\n")
        await connection.finish(pending)
