"""The right person? Whose messages the Sent folder of a mailbox holds, compared with its owner's addresses (law 4).

Reads header blocks of about fifty messages, and nothing else; says only addresses, never a subject or a name. Whether
the mailbox is still the one that the ledger is bound to, each pass of the copy says (`copy/identity.py`).

How a message counts (RFC 5322 §3.6.2, who wrote it and who sent it):

    From is the owner's, and Sender is not given or the owner's     for
    Sender is the owner's, From is somebody else's                  for: sent on behalf of that other
    From is the owner's, Sender is somebody else's                  neither: a delegate sent it, and may have filed it
    From is somebody's who may work in this mailbox, or is worked for   neither
    From is the owner's name before the @, in another domain        neither: an address of before, or a namesake
    From is anybody else's                                          against
    no From, two of them, or one that nobody can read               not counted

*Confirmed*: more than half of what counts is for, and no single other has written more than a quarter of it.
*Contradicted*: some is against, nothing is for. *No evidence*: all else, nothing to count included.
Invariant: what cannot be read is never evidence for anybody.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from email.utils import getaddresses
from enum import Enum
from typing import Any

from mailferry.directory import addresses as smtp
from mailferry.directory.entries import imceaex
from mailferry.errors import ItemError
from mailferry.model.folder import Folder, SpecialUse
from mailferry.plan.wellknown import special_uses
from mailferry.sources.base import Source, SourceSession, select_listed

NEWEST = 20
SPREAD = 30
"""The newest messages are looked at, and so many more, evenly over all that is older."""
OTHERS = 5
_FIELD_BYTES = 8192
"""No honest From field is longer."""

_FIELD = re.compile(rb"(?im)^(from|sender)[ \t]*:((?:.*(?:\r?\n[ \t]+.*)*))")
_PART = re.compile(r'"(?:[^"\\]|\\.)*"|<([^<>]*)>|"')
_PREFIX = re.compile(r"(?i)(?:smtp|mailto|x500|ex):")


class Verdict(Enum):
    """What Sent says. The value is what ledger, JSON and people see."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    NO_EVIDENCE = "no-evidence"


@dataclass(frozen=True, slots=True)
class Evidence:
    """`checked`: messages that count; `matching`: those of them that are the owner's; `others`: the addresses that most
    others have, at most OTHERS, namesakes included; `how`: a sentence for people."""

    verdict: Verdict
    checked: int = 0
    matching: int = 0
    others: tuple[str, ...] = ()
    how: str = ""


def as_data(evidence: Evidence) -> dict[str, Any]:
    """As JSON values, for `Move.evidence`."""
    return {**asdict(evidence), "verdict": evidence.verdict.value, "others": list(evidence.others)}


def from_data(data: Mapping[str, Any]) -> Evidence | None:
    """What `as_data` gave; None if nothing was ever gathered."""
    if not data:
        return None
    values = {name: data[name] for name in ("checked", "matching", "how")}
    return Evidence(Verdict(data["verdict"]), others=tuple(data["others"]), **values)


async def gather(source: Source, addresses: Collection[str], tied: Collection[str] = ()) -> Evidence:
    """What the Sent folder says of its owner. `addresses`: all of the owner's, SMTP and X.500; `tied`: those of people
    who may work in this mailbox, or in whose mailboxes the owner works.

    Opens a session of its own. Raises what the source raises, but for a Sent folder that does not open.
    """
    session = await source.session()
    try:
        return await _gathered(session, addresses, tied)
    finally:
        await session.close()


async def _gathered(session: SourceSession, addresses: Collection[str], tied: Collection[str]) -> Evidence:
    folders = await session.folders()
    path = special_uses(folders).path(SpecialUse.SENT)
    sent: Folder | None = next((one for one in folders if one.path == path and one.selectable), None)
    if sent is None:
        return Evidence(Verdict.NO_EVIDENCE, how="it has no folder for sent messages")
    try:
        _, listing = await select_listed(session, sent)
        uids = sample([one.uid for one in listing.messages])
        blocks = [one.block async for one in session.headers(uids)] if uids else []
    except ItemError as error:
        return Evidence(Verdict.NO_EVIDENCE, how=f"{sent.label} does not open: {error.message}")
    return judged(blocks, addresses, tied, sent.label)


def sample(uids: Sequence[int]) -> list[int]:
    """The newest NEWEST of these (ascending) uids and SPREAD evenly over the others, the oldest one included."""
    older, newest = uids[:-NEWEST], uids[-NEWEST:]
    if len(older) > SPREAD:
        older = [older[number * len(older) // SPREAD] for number in range(SPREAD)]
    return [*older, *newest]


def judged(blocks: Iterable[bytes], addresses: Collection[str], tied: Collection[str], label: str) -> Evidence:
    """The verdict on these header blocks. Pure."""
    mine = {_key(one) for one in addresses}
    if not mine:
        return Evidence(Verdict.NO_EVIDENCE, how="its owner has no address")
    theirs = {_key(one) for one in tied} - mine
    names = {one.rpartition("@")[0] for one in mine if "@" in one}
    owner, looked = 0, 0
    others: Counter[str] = Counter()
    for block in blocks:
        looked += 1
        writer, sender = written_by(block)
        if writer and (sender in mine or (writer in mine and sender is None)):
            owner += 1
        elif writer and writer not in mine | theirs:
            others[writer] += 1
    against = {who: count for who, count in others.items() if who.rpartition("@")[0] not in names}
    checked = owner + sum(against.values())
    named = tuple(who for who, _ in others.most_common(OTHERS))
    if not checked:
        how = f"none of {looked} messages in {label} tells who sent it" if looked else f"{label} is empty"
        return Evidence(Verdict.NO_EVIDENCE, others=named, how=how)
    how = f"{owner} of {checked} messages in {label} were sent by the owner"
    if not owner:
        return Evidence(Verdict.CONTRADICTED, checked, owner, named, how)
    largest = max(against.values(), default=0)
    sure = owner * 2 > checked and largest * 4 <= checked
    return Evidence(Verdict.CONFIRMED if sure else Verdict.NO_EVIDENCE, checked, owner, named, how)


def written_by(block: bytes) -> tuple[str | None, str | None]:
    """(From, Sender) of a header block, each as a key to compare; None: no such field, "": not exactly one address."""
    found: dict[str, list[bytes]] = {"from": [], "sender": []}
    for match in _FIELD.finditer(block):
        found[match[1].lower().decode()].append(match[2])
    return _only(found["from"]), _only(found["sender"])


def _only(fields: Sequence[bytes]) -> str | None:
    """The one address of the one field; encoded words (RFC 2047) are names, so they are left as they are."""
    if not fields:
        return None
    if len(fields) > 1 or len(fields[0]) > _FIELD_BYTES:
        return ""
    try:
        text = fields[0].decode()
    except UnicodeDecodeError:
        text = fields[0].decode("latin-1")
    text = " ".join(text.split())
    found = [match[1].strip() for match in _PART.finditer(text) if match[1] is not None]
    if not found:
        found = [text] if smtp.is_x500(text) else [address for _, address in getaddresses([text]) if address]
    return _key(found[0]) if len(found) == 1 and "@" in _key(found[0]) else ""


def _key(address: str) -> str:
    """One text for all spellings of an address: `SMTP:`, case, an internationalised domain; X.500 as Exchange writes it
    in SMTP, without the domain."""
    text = address.strip()
    x500 = smtp.tidy_x500(text)
    if x500 is not None:
        return imceaex(x500, "").casefold()
    text = _PREFIX.sub("", text, count=1) if _PREFIX.match(text) else text
    local, _, domain = text.rpartition("@")
    if local.casefold().startswith("imceaex-"):
        return f"{local}@".casefold()
    if not domain.isascii():
        with contextlib.suppress(UnicodeError):  # no domain that DNS could hold: compared as it is
            domain = domain.encode("idna").decode()
    return f"{local}@{domain}".casefold() if local else text.casefold()
