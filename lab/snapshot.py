"""Reads a whole mailbox with the standard library's IMAP client, so that the product never judges itself.

Shares no code with `mailferry`: names, dates, rights and annotations are parsed here once more. Keeps digests, never
bodies. Invariant: opens every folder read-only and peeks, so that looking changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import imaplib
import mailbox
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path as File

from lab.process import PASSWORD

imaplib.Commands.setdefault("GETMETADATA", ("AUTH", "SELECTED"))
imaplib.Commands.setdefault("SETMETADATA", ("AUTH", "SELECTED"))

Path = tuple[str, ...]

USES = frozenset({"\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash"})
ENTRIES = ("/private/comment", "/shared/comment")
"""The annotations that are asked for."""

_AT_ONCE = 100
_LETTERS = {"D": "\\draft", "F": "\\flagged", "R": "\\answered", "S": "\\seen", "T": "\\deleted"}
_DATE = "%d-%b-%Y %H:%M:%S %z"
_KEPT_BY_ALL = re.compile(rb"[^0-9A-WYZa-z]")


@dataclass(frozen=True, slots=True)
class Item:
    """One message as a server shows it. `exact`: digest of its very bytes; `digest`: with CRLF as LF; `rough`: of its
    letters and digits only (no X), which survives all that servers are known to do to a message. `instant`: seconds
    since 1970; `zone`: minutes east of UTC."""

    uid: int
    exact: str
    digest: str
    rough: str
    size: int
    flags: frozenset[str]
    keywords: frozenset[str]
    instant: int
    zone: int


@dataclass(frozen=True, slots=True)
class FolderView:
    """One folder as a server shows it. `items` in the order of their uids. `rights`: by identifier; None where the
    server has no ACL. `entries`: annotations; None where it has none."""

    path: Path
    items: tuple[Item, ...]
    uidvalidity: int
    uidnext: int
    subscribed: bool
    uses: frozenset[str]
    rights: dict[str, str] | None
    entries: dict[str, bytes] | None


@dataclass(slots=True)
class Snapshot:
    """A whole mailbox. `refused`: folders that the server lists and does not open, with its words."""

    folders: dict[Path, FolderView] = field(default_factory=dict)
    refused: dict[Path, str] = field(default_factory=dict)

    @property
    def messages(self) -> int:
        return sum(len(folder.items) for folder in self.folders.values())


@contextmanager
def logged_in(port: int, user: str) -> Iterator[imaplib.IMAP4]:
    """A session on a lab server, ended whatever happens."""
    session = imaplib.IMAP4("127.0.0.1", port)
    try:
        session.login(user, PASSWORD)
        yield session
    finally:
        session.logout()


def snapshot(port: int, user: str) -> Snapshot:
    """Everything that a lab server shows of a mailbox."""
    found = Snapshot()
    with logged_in(port, user) as session:
        prefix, separator = _personal(session)
        offered = set(session.capabilities) | set(bytes(session.capability()[1][0]).decode().split())
        subscribed = {name for name, _ in _names(session, "LSUB")}
        for name, attributes in _names(session, "LIST"):
            if "\\Noselect" in attributes or "\\NonExistent" in attributes:
                continue
            path = path_of(name, prefix, separator)
            status, answer = session.select(quoted(name), readonly=True)
            if status != "OK":
                found.refused[path] = bytes(answer[0] or b"").decode()
                continue
            found.folders[path] = FolderView(
                path=path,
                items=tuple(_items(session)),
                uidvalidity=_number(session, "UIDVALIDITY"),
                uidnext=_number(session, "UIDNEXT"),
                subscribed=name in subscribed,
                uses=USES & attributes,
                rights=_rights(session, name, user) if "ACL" in offered else None,
                entries=_entries(session, name) if "METADATA" in offered else None,
            )
    return found


def files_snapshot(root: File) -> Snapshot:
    """A Maildir++ tree without a server, read with the standard library's `mailbox`: qmail's own view. Uids count the
    files in the order of their names."""
    subscribed = (root / "courierimapsubscribed").read_bytes().splitlines()
    found = Snapshot()
    for place in [root, *(one for one in root.iterdir() if one.name.startswith("."))]:
        name = b"INBOX" if place == root else b"INBOX" + os.fsencode(place.name)
        path = path_of(name, b"INBOX.", b".")
        box = mailbox.Maildir(place, create=False)
        items = []
        for uid, key in enumerate(sorted(box.iterkeys()), start=1):
            message = box.get_message(key)
            body = box.get_bytes(key).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            letters = message.get_flags()
            flags = frozenset(flag for letter, flag in _LETTERS.items() if letter in letters)
            items.append(_made(uid, body, flags, frozenset(), int(message.get_date()), 0))
        found.folders[path] = FolderView(path, tuple(items), 0, 0, name in subscribed, frozenset(), None, None)
    return found


def path_of(name: bytes, prefix: bytes, separator: bytes) -> Path:
    """The levels of a name, decoded, without the personal namespace's prefix."""
    if name.upper() == b"INBOX":
        return ("INBOX",)
    rest = name.removeprefix(prefix)
    return tuple(decode_utf7(level) for level in rest.split(separator))


def decode_utf7(level: bytes) -> str:
    """Modified UTF-7 (RFC 3501 section 5.1.3)."""

    def run(match: re.Match[str]) -> str:
        packed = match[1].replace(",", "/")
        if not packed:
            return "&"
        return base64.b64decode(packed + "=" * (-len(packed) % 4)).decode("utf-16-be")

    return re.sub(r"&([^-]*)-", run, level.decode("ascii"))


def quoted(name: bytes) -> str:
    return '"' + name.decode("ascii").replace("\\", "\\\\").replace('"', '\\"') + '"'


def _personal(session: imaplib.IMAP4) -> tuple[bytes, bytes]:
    answer = session.namespace()[1][0]
    match = re.match(rb'\(\("([^"]*)" "([^"]*)"', answer or b"")
    if match is None:
        raise ValueError(f"no personal namespace in {answer!r}")
    return match[1], match[2]


def _names(session: imaplib.IMAP4, command: str) -> Iterator[tuple[bytes, frozenset[str]]]:
    answers = (session.lsub if command == "LSUB" else session.list)('""', "*")[1]
    literal = None
    for line in answers:
        if isinstance(line, tuple):
            literal = line
            continue
        if literal is not None:
            head, name = literal
            literal = None
        elif line is None:
            continue
        else:
            match = re.fullmatch(rb'(\(.*?\) (?:"[^"]*"|NIL)) (?:"((?:[^"\\]|\\.)*)"|(\S+))', line, re.DOTALL)
            if match is None:
                raise ValueError(f"no folder in {line!r}")
            head = match[1]
            name = match[3] if match[3] is not None else re.sub(rb"\\(.)", rb"\1", match[2])
        attributes = head[1 : head.index(b")")].decode().split()
        yield name, frozenset(attributes)


def _number(session: imaplib.IMAP4, code: str) -> int:
    values = session.response(code)[1]
    return int(values[0]) if values and values[0] is not None else 0


def _items(session: imaplib.IMAP4) -> Iterator[Item]:
    uids = [int(uid) for uid in bytes(session.uid("SEARCH", "ALL")[1][0] or b"").split()]
    for start in range(0, len(uids), _AT_ONCE):
        part = uids[start : start + _AT_ONCE]
        asked = ",".join(map(str, part))
        seen: dict[int, Item] = {}
        # One APPEND of several literals may come with flags behind the body as well as before it.
        answers = session.uid("FETCH", asked, "(UID FLAGS INTERNALDATE BODY.PEEK[])")[1]
        for place, answer in enumerate(answers):
            if isinstance(answer, tuple):
                tail = answers[place + 1] if place + 1 < len(answers) else b""
                item = _item(answer[0] + (tail if isinstance(tail, bytes) else b""), answer[1])
                seen[item.uid] = item
        yield from (seen[uid] for uid in part if uid in seen)


def _item(head: bytes, body: bytes) -> Item:
    uid = re.search(rb"UID (\d+)", head)
    flags = re.search(rb"FLAGS \(([^)]*)\)", head)
    date = re.search(rb'INTERNALDATE "([^"]*)"', head)
    if uid is None or flags is None or date is None:
        raise ValueError(f"an incomplete FETCH: {head!r}")
    moment = datetime.strptime(date[1].decode().strip(), _DATE)
    offset = moment.utcoffset()
    assert offset is not None
    words = {word for word in flags[1].decode().split() if word != "\\Recent"}
    return _made(
        int(uid[1]),
        body,
        frozenset(word.lower() for word in words if word.startswith("\\")),
        frozenset(word for word in words if not word.startswith("\\")),
        int(moment.timestamp()),
        int(offset.total_seconds()) // 60,
    )


def _made(uid: int, body: bytes, flags: frozenset[str], keywords: frozenset[str], instant: int, zone: int) -> Item:
    stripped = re.sub(rb"(?m)^X-TUID:.*\r?\n", b"", body)
    return Item(
        uid=uid,
        exact=_hash(body),
        digest=_hash(body.replace(b"\r\n", b"\n")),
        rough=_hash(_KEPT_BY_ALL.sub(b"", stripped)),
        size=len(body),
        flags=flags,
        keywords=keywords,
        instant=instant,
        zone=zone,
    )


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


def _rights(session: imaplib.IMAP4, name: bytes, user: str) -> dict[str, str] | None:
    """Rights of others than the owner. None where the server does not tell."""
    status, answers = session.getacl(quoted(name))
    if status != "OK" or not isinstance(answers[0], bytes):
        return None
    words = _words(answers[0])[1:]
    found = {
        who.decode().removeprefix("user="): _modern(rights.decode())
        for who, rights in zip(words[::2], words[1::2], strict=True)
    }
    # Courier shows its defaults for the owner and for administrators on every folder.
    own = (user, "owner", "administrators")
    return {who: rights for who, rights in found.items() if who not in own}


def _modern(rights: str) -> str:
    """`c` and `d` of RFC 2086 as what RFC 4314 section 2.1.1 makes of them."""
    return "".join(sorted((set(rights) - {"c", "d"}) | set("kx" * ("c" in rights) + "te" * ("d" in rights))))


def _entries(session: imaplib.IMAP4, name: bytes) -> dict[str, bytes] | None:
    typ, _ = session._simple_command("GETMETADATA", quoted(name), f"({' '.join(ENTRIES)})")
    _, answers = session._untagged_response(typ, [None], "METADATA")
    if typ != "OK":
        return None
    found: dict[str, bytes] = {}
    joined = b"".join(part[0] + b'"' + part[1] + b'"' if isinstance(part, tuple) else part for part in answers if part)
    joined = re.sub(rb'\{\d+\+?\}"', b'"', joined)
    for line in re.findall(rb"\((.*?)\)(?:$|(?=\())", joined, re.DOTALL) or []:
        words = _words(line)
        found.update(
            {key.decode(): value for key, value in zip(words[::2], words[1::2], strict=True) if value != b"NIL"}
        )
    return found


def _words(line: bytes) -> list[bytes]:
    """Atoms and quoted strings."""
    found: Sequence[tuple[bytes, bytes]] = re.findall(rb'"((?:[^"\\]|\\.)*)"|([^\s"()]+)', line)
    return [atom or re.sub(rb"\\(.)", rb"\1", text) for text, atom in found]
