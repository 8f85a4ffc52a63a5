"""The formats of Maildir++ trees: file names, folder names, and the side files of Dovecot and Courier.

Bytes and names in, data out, and back; it opens no file. Sources: the Maildir++ description of Courier
(README.maildirquota, README.imapkeywords), Dovecot 2.3's maildir-uidlist.c, maildir-keywords.c, subscription-file.c.

A message's *base* is its file name up to the info part (`:2,FLAGS`): what stays while flags change. Names are `str`
as `os.fsdecode` gives them. Invariant: `parse_X(format_X(data)) == data`; what cannot be parsed raises `ValueError`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mailferry.model.folder import INBOX, Path
from mailferry.model.message import Flag
from mailferry.wire.imap import utf7

MAX_KEYWORDS = 26
"""Letters a to z: what Dovecot can hold in one folder."""

MAX_UID = 2**32 - 2

_FLAG_LETTERS = {"D": Flag.DRAFT, "F": Flag.FLAGGED, "R": Flag.ANSWERED, "S": Flag.SEEN, "T": Flag.DELETED}
_SIZES = re.compile(r",([SW])=(\d+)")
_OURS = re.compile(r"\d+\.M\d+P(\d+)F([0-9a-f]+)U(\d+)\.([^,:]+)")
_TIME = re.compile(r"(\d{1,10})(?:\.M(\d{1,6})(?!\d))?")


# File names


@dataclass(frozen=True, slots=True)
class FileName:
    """`base:2,letters`. `letters`: keyword letters (a-z) and others that are not IMAP's, in the order found."""

    base: str
    flags: int = 0
    letters: str = ""

    @property
    def keyword_letters(self) -> str:
        return "".join(letter for letter in self.letters if "a" <= letter <= "z")


def parse_name(name: str) -> FileName:
    """Any file name in `cur` or `new`; one without an info part has no flags."""
    base, _, info = name.partition(":")
    if not info.startswith("2,"):
        return FileName(base)
    flags = 0
    letters = ""
    for letter in info[2:]:
        if letter in _FLAG_LETTERS:
            flags |= _FLAG_LETTERS[letter]
        else:
            letters += letter
    return FileName(base, int(flags), letters)


def format_name(name: FileName) -> str:
    """The file name in `cur`, letters in ASCII order as the Maildir description asks."""
    letters = [letter for letter, flag in _FLAG_LETTERS.items() if name.flags & flag]
    return f"{name.base}:2,{''.join(sorted({*letters, *name.letters}))}"


def sizes(base: str) -> tuple[int | None, int | None]:
    """What the name says of the size: bytes as stored (`S=`), and with every line end as CRLF (`W=`)."""
    found = dict(_SIZES.findall(base))
    return (int(found["S"]) if "S" in found else None, int(found["W"]) if "W" in found else None)


def own_base(seconds: int, micros: int, pid: int, uidvalidity: int, uid: int, host: str) -> str:
    """The base name of a message that we write, without sizes: it tells which uid it is to have where."""
    return f"{seconds}.M{micros:06d}P{pid}F{uidvalidity:x}U{uid}.{host_part(host)}"


def host_part(host: str) -> str:
    """A host's name as it stands in file names."""
    return re.sub(r"[/:,]", lambda m: f"\\{ord(m[0]):03o}", host)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a name made by `own_base` says."""

    pid: int
    uidvalidity: int
    uid: int
    host: str


def origin(base: str) -> Origin | None:
    """Who wrote the message of this name, if we did."""
    found = _OURS.match(base)
    return Origin(int(found[1]), int(found[2], 16), int(found[3]), found[4]) if found else None


def delivered(base: str) -> tuple[int, int, str]:
    """A sort key: time of delivery in seconds and microseconds as the name tells, then the name."""
    found = _TIME.match(base)
    return (int(found[1]), int(found[2] or 0), base) if found else (0, 0, base)


def name_uids(bases: Iterable[str], taken: Iterable[int] = ()) -> dict[str, int]:
    """Uids for messages that no side file numbers: from the names alone, so that they are the same in every run.

    They are above 2^61, so that they are never mistaken for a server's, and ascend with the time of delivery:
    2^61 + seconds * 2^29 + (microseconds * 2^9 + 9 bits of hash, or 29 bits of hash where the name has no
    microseconds). Two names with the same number (one in some hundred million pairs within one second, or 512 within
    one microsecond) are told apart by the next free number, in order of their names.
    """
    used = set(taken)
    result: dict[str, int] = {}
    for base in sorted(bases):
        found = _TIME.match(base)
        seconds = min(int(found[1]), 2**32 - 1) if found else 0
        mixed = int.from_bytes(hashlib.blake2b(base.encode("utf-8", "surrogateescape"), digest_size=4).digest(), "big")
        low = int(found[2]) << 9 | mixed & 0x1FF if found and found[2] else mixed & 0x1FFFFFFF
        uid = 1 << 61 | seconds << 29 | low
        while uid in used:
            uid += 1
        used.add(uid)
        result[base] = uid
    return result


def name_seconds(uid: int) -> int:
    """The time that a uid of `name_uids` holds."""
    return uid >> 29 & 0xFFFFFFFF


# Folder names

ROOT = "INBOX"
"""What stands for the tree's own directory, which is INBOX; no folder's directory is called so."""


def path_of(directory: str) -> Path | None:
    """The place of a folder's directory (`.A.B`), or None if it is not a folder's. The root is called `INBOX`.

    A name with an empty level, which no server makes, is one level as it stands.
    """
    if directory == ROOT:
        return INBOX
    if directory[:1] != "." or directory in (".", ".."):
        return None
    levels = directory[1:].split(".")
    if not all(levels):
        levels = [directory]
    return tuple(utf7.decode(level.encode("utf-8", "surrogateescape")) for level in levels)


def directory_of(path: Path, *, utf8: bool) -> str:
    """The directory of a folder; `utf8`: names as Courier 5 keeps them, else modified UTF-7. `ValueError` tells why
    there can be none. Nothing that this returns can lead out of the tree."""
    if path == INBOX:
        return ROOT
    if path[0].upper() == "INBOX" and (len(path) == 1 or path[0] != "INBOX"):
        raise ValueError("the name collides with INBOX")
    for level in path:
        if not level:
            raise ValueError("a level of the name is empty")
        if bad := FORBIDDEN.intersection(level):
            raise ValueError(f"the name holds {min(bad)!r}")
        if any("\ud800" <= character <= "\udfff" for character in level):
            raise ValueError("the name is not text")
    directory = "".join("." + (level if utf8 else utf7.encode(level).decode("ascii")) for level in path)
    if len(directory.encode()) > 255:
        raise ValueError("the name with its parents is longer than 255 bytes as stored")
    return directory


FORBIDDEN = frozenset({".", "/", "\x7f", *map(chr, range(32))})
"""What no level of a Maildir++ folder name may hold."""


# dovecot-uidlist


@dataclass(slots=True)
class Record:
    """One line: `fields` are the extension fields as they stand (`P` POP3 UIDL, `S`, `W` sizes, `G` guid)."""

    uid: int
    base: str
    fields: tuple[str, ...] = ()


@dataclass(slots=True)
class UidList:
    """A folder's numbering, of Dovecot (version 3; 1 is read) or Courier. `torn`: the last line was cut short.

    `extra`: header fields that we do not know, kept.
    """

    uidvalidity: int
    uidnext: int
    guid: str = ""
    extra: tuple[str, ...] = ()
    records: list[Record] = field(default_factory=list)
    torn: bool = False


def parse_uidlist(data: bytes) -> UidList:
    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    torn = bool(lines.pop())
    if not lines:
        raise ValueError("empty")
    version, *fields = lines[0].split(" ")
    if version == "3":
        result = _uidlist_header(fields)
    elif version == "1" and len(fields) == 2:
        result = UidList(int(fields[0]), int(fields[1]))
    else:
        raise ValueError(f"unknown version {version[:10]}")
    last = 0
    for line in lines[1:]:
        number, _, rest = line.partition(" ")
        uid = int(number)
        if uid <= last or not rest:
            raise ValueError("uids out of order, or a line without a name")
        last = uid
        if version == "1":
            result.records.append(Record(uid, rest.partition(":")[0]))
        elif rest[0] == ":":
            result.records.append(Record(uid, rest[1:].partition(":")[0]))
        else:
            extension, _, name = rest.partition(" :")
            result.records.append(Record(uid, name.partition(":")[0], tuple(extension.split())))
    return replace(result, uidnext=max(result.uidnext, last + 1), torn=torn)


def _uidlist_header(fields: Sequence[str]) -> UidList:
    known = {f[0]: f[1:] for f in fields if f and f[0] in "VNG"}
    if "V" not in known or "N" not in known:
        raise ValueError("the header has no uidvalidity or uidnext")
    extra = tuple(f for f in fields if f and f[0] not in "VNG")
    return UidList(int(known["V"]), int(known["N"]), known.get("G", ""), extra)


def format_uidlist(uids: UidList) -> bytes:
    header = " ".join([f"3 V{uids.uidvalidity} N{uids.uidnext} G{uids.guid}", *uids.extra])
    return f"{header}\n".encode() + format_records(uids.records)


def format_records(records: Iterable[Record]) -> bytes:
    """Lines to append: Dovecot does so itself (maildir_uidlist_sync_update), without touching the header."""
    lines = [f"{r.uid} {''.join(f'{f} ' for f in r.fields)}:{r.base}\n" for r in records]
    return "".join(lines).encode("utf-8", "surrogateescape")


# dovecot-keywords, subscriptions, dovecot-acl


def parse_keywords(data: bytes) -> dict[str, str]:
    """Keyword by letter."""
    result = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        number, _, keyword = line.partition(" ")
        if number.isdigit() and int(number) < MAX_KEYWORDS and keyword:
            result[chr(ord("a") + int(number))] = keyword
    return result


def format_keywords(keywords: Mapping[str, str]) -> bytes:
    lines = [f"{ord(letter) - ord('a')} {keyword}\n" for letter, keyword in sorted(keywords.items())]
    return "".join(lines).encode("utf-8", "surrogateescape")


def keyword_of(keywords: Mapping[str, str], letter: str) -> str:
    """The keyword of a letter; one that the folder's list does not name is called as Dovecot calls it."""
    return keywords.get(letter) or f"unknown-{ord(letter) - ord('a')}"


_SUBSCRIPTIONS = b"V\t2\n\n"
_TAB_ESCAPES = {"\x01": "\x011", "\t": "\x01t", "\r": "\x01r", "\n": "\x01n", "\0": "\x010"}


def parse_subscriptions(data: bytes) -> list[Path]:
    """Dovecot's `subscriptions`: version 2 (levels between tabs), or 1 (levels between dots)."""
    separator = "\t" if data.startswith(_SUBSCRIPTIONS) else "."
    lines = data.removeprefix(_SUBSCRIPTIONS).splitlines()
    unescaped = {value: key for key, value in _TAB_ESCAPES.items()}
    return [
        tuple(
            re.sub("\x01.", lambda m: unescaped.get(m[0], m[0]), utf7.decode(level))
            for level in line.split(separator.encode())
        )
        for line in lines
        if line
    ]


def format_subscriptions(paths: Iterable[Path]) -> bytes:
    """Names in modified UTF-7, which leaves nothing to escape."""
    return _SUBSCRIPTIONS + b"".join(b"\t".join(map(utf7.encode, path)) + b"\n" for path in paths)


_ACL_SPECIAL = ("anyone", "authenticated", "owner")
_RIGHTS = "lrswtipekxa"


def parse_acl(data: bytes) -> dict[str, str]:
    """`dovecot-acl` as identifier (RFC 4314 as Dovecot's imap-acl shows it: `$group`, `-user`) to rights. Lines with
    named rights that have no letter lose those."""
    result = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        found = re.match(r'\s*(-?)(?:"((?:[^"\\]|\\.)*)"|(\S+))\s*([a-z]*)', line)
        if not found or line.lstrip().startswith("#"):
            continue
        who = re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3]
        for prefix, shown in (("user=", ""), ("group=", "$"), ("group-override=", "!$")):
            if who.startswith(prefix):
                who = shown + who.removeprefix(prefix)
        result[found[1] + who] = found[4]
    return result


def format_acl(acl: Mapping[str, str]) -> bytes:
    """`c` and `d` of RFC 2086 are written as what RFC 4314 §2.1.1 makes of them. `ValueError` for line breaks."""
    lines = []
    for identifier, rights in acl.items():
        if re.search(r"[\r\n\0]", identifier):
            raise ValueError("an identifier holds a line break")
        minus, who = ("-", identifier[1:]) if identifier.startswith("-") else ("", identifier)
        if who.startswith("!$"):
            who = "group-override=" + who[2:]
        elif who.startswith("$"):
            who = "group=" + who[1:]
        elif who not in _ACL_SPECIAL:
            who = "user=" + who
        if re.search(r'[\s"\\]', who):
            who = '"' + re.sub(r'(["\\])', r"\\\1", who) + '"'
        wanted = set(rights.replace("c", "kx").replace("d", "te"))
        lines.append(f"{minus}{who} {''.join(r for r in _RIGHTS if r in wanted)}\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


# Courier: courierimapuiddb, courierimapsubscribed, courierimapkeywords/, courierpop3dsizelist


def parse_uiddb(data: bytes) -> UidList:
    """`courierimapuiddb`: a line `1 UIDVALIDITY UIDNEXT`, then `UID BASE` in any order."""
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    header = lines[0].split() if lines else []
    if len(header) != 3 or header[0] != "1":
        raise ValueError("unknown version")
    result = UidList(int(header[1]), int(header[2]))
    for line in lines[1:]:
        number, _, name = line.partition(" ")
        if number.isdigit() and name:
            result.records.append(Record(int(number), name.partition(":")[0]))
    result.records.sort(key=lambda record: record.uid)
    last = result.records[-1].uid if result.records else 0
    return replace(result, uidnext=max(result.uidnext, last + 1))


def format_uiddb(uids: UidList) -> bytes:
    lines = [f"1 {uids.uidvalidity} {uids.uidnext}\n", *(f"{r.uid} {r.base}\n" for r in uids.records)]
    return "".join(lines).encode("utf-8", "surrogateescape")


def parse_courier_subscribed(data: bytes) -> list[Path]:
    """Lines `INBOX` or `INBOX.A.B`; names as those of directories."""
    paths = []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        if line == "INBOX":
            paths.append(INBOX)
        elif line.startswith("INBOX.") and (path := path_of(line.removeprefix("INBOX"))):
            paths.append(path)
    return paths


def parse_courier_keywords(data: bytes) -> dict[str, frozenset[str]]:
    """`courierimapkeywords/:list`: keywords, an empty line, then `BASE:N N …` with numbers into the first part."""
    names, _, lines = data.decode("utf-8", "surrogateescape").partition("\n\n")
    keywords = names.split("\n")
    result = {}
    for line in lines.splitlines():
        base, _, numbers = line.partition(":")
        known = [int(n) for n in numbers.split() if n.isdigit() and int(n) < len(keywords)]
        result[base] = frozenset(keywords[n] for n in known if keywords[n])
    return result


@dataclass(slots=True)
class Pop3List:
    """`courierpop3dsizelist`: next number, uidvalidity, and per base (bytes, number, uidvalidity, raw 8-bit
    headers). The UIDL is `UIDnumber-uidvalidity`, or `UIDnumber` where the uidvalidity is 0."""

    next: int
    uidvalidity: int
    entries: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)


def parse_pop3_list(data: bytes) -> Pop3List:
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    header = lines[0].removeprefix("/").split() if lines else []
    if len(header) != 3 or header[0] not in ("2", "3"):
        raise ValueError("unknown version")
    result = Pop3List(int(header[1]), int(header[2]))
    for line in lines[1:]:
        name, size, numbers = line.rsplit(" ", 2)
        number, uidvalidity, *eight_bit = (int(n) for n in numbers.split(":"))
        base = name.rpartition("/")[2].partition(":")[0]
        result.entries[base] = (int(size), number, uidvalidity, eight_bit[0] if eight_bit else 0)
    return result


def format_pop3_list(uidls: Pop3List) -> bytes:
    lines = [f"/3 {uidls.next} {uidls.uidvalidity}\n"]
    lines += [f"{base} {size} {n}:{v}:{e}\n" for base, (size, n, v, e) in uidls.entries.items()]
    return "".join(lines).encode("utf-8", "surrogateescape")
