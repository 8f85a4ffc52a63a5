"""Maildir++ trees on disk, for reading: folders, numbering, and messages as IMAP would give them. Writes nothing.

All calls block; sessions call them in threads. Every path is opened relative to a directory that is held open, without
following symbolic links, so that nothing in a tree leads out of it, whoever owns the tree and whatever he does to it
meanwhile. A live server may rename and remove files at any time: what is not found is looked for once more by its base
name before it counts as gone.

Where uids come from: `dovecot-uidlist` or `courierimapuiddb`, whichever the folder has (the account's flavour
decides between the two). Messages that it does not list (not yet seen by the server), and folders without either, get
the numbers of `wire.maildir.name_uids`, under uidvalidity `NAMES_UIDVALIDITY`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mailferry.errors import ItemError, Permanent
from mailferry.model.account import MaildirAccount, MaildirFlavour
from mailferry.model.folder import INBOX, Folder, FolderStatus, Path, SpecialUse
from mailferry.model.message import Body, Date, Failed, Headers, Listed, MemoryBody, Message, Reason, Uidl
from mailferry.wire import maildir as wire
from mailferry.wire.maildir import UidList

NAMES_UIDVALIDITY = 1

UIDLIST = "dovecot-uidlist"
UIDDB = "courierimapuiddb"
KEYWORDS = "dovecot-keywords"
COURIER_KEYWORDS = "courierimapkeywords"
SUBSCRIPTIONS = "subscriptions"
COURIER_SUBSCRIBED = "courierimapsubscribed"
ACL = "dovecot-acl"
POP3_LIST = "courierpop3dsizelist"

PIECE = 256 * 1024
"""Bytes read at a time; longer messages are never in memory whole."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(slots=True)
class OpenFolder:
    """A folder's directories, held open. `files`: where each message is, by base name: (`cur` or `new`, file name).

    `tmp` is open only for writing. `uids`: uid by base name; `bases` the other way round. All are as of
    the last `scan`.
    """

    name: str
    fd: int
    cur: int
    new: int
    tmp: int = -1
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    uids: dict[str, int] = field(default_factory=dict)
    bases: dict[int, str] = field(default_factory=dict)
    numbering: UidList | None = None
    numbering_stamp: tuple[int, int, int] | None = None
    keywords: dict[str, str] = field(default_factory=dict)
    courier_keywords: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def uidvalidity(self) -> int:
        return self.numbering.uidvalidity if self.numbering else NAMES_UIDVALIDITY

    @property
    def uidnext(self) -> int:
        return self.numbering.uidnext if self.numbering else max(self.bases, default=0) + 1

    def status(self) -> FolderStatus:
        return FolderStatus(self.uidvalidity, self.uidnext, len(self.files))

    def all_keywords(self) -> frozenset[str]:
        """Every keyword that the folder knows."""
        return frozenset(self.keywords.values()).union(*self.courier_keywords.values())

    def close(self) -> None:
        """Give the directories back; may be called twice."""
        for fd in (self.fd, self.cur, self.new, self.tmp):
            if fd >= 0:
                os.close(fd)
        self.fd = self.cur = self.new = self.tmp = -1


class Tree:
    """One Maildir++ tree, read."""

    def __init__(self, account: MaildirAccount) -> None:
        self.account = account
        try:
            self.root = os.open(account.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Permanent(
                f"the Maildir cannot be opened: {error.strerror}",
                about=account.key,
                advice="check the path and who may read it",
            ) from error

    def close(self) -> None:
        if self.root >= 0:
            os.close(self.root)
            self.root = -1

    def directories(self) -> list[tuple[Path, str]]:
        """Each folder's place and directory name (`wire.ROOT` for the root), INBOX first, parents before children."""
        found: dict[Path, str] = {}
        for entry in sorted(os.listdir(self.root)):
            if not self._is_folder(entry):
                continue
            path = wire.path_of(entry)
            if path is None:
                raise Permanent(
                    f"the tree has a folder {entry!r} beside INBOX, so it is not Maildir++ (Dovecot's LAYOUT=fs?)",
                    about=self.account.key,
                    advice="serve the tree with Dovecot and read it over IMAP",
                )
            if path == INBOX or path in found:
                path = (entry,)  # two directories whose names decode to the same: both are shown
            found[path] = entry
        return [(INBOX, wire.ROOT), *((path, found[path]) for path in sorted(found))]

    def _is_folder(self, entry: str) -> bool:
        try:
            mode = os.stat(entry, dir_fd=self.root, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                os.stat(f"{entry}/cur", dir_fd=self.root, follow_symlinks=False)
            elif stat.S_ISLNK(mode):  # shown, so that it is reported; `open` refuses it
                return stat.S_ISDIR(os.stat(entry, dir_fd=self.root).st_mode)
            else:
                return False
        except FileNotFoundError:
            return False
        return True

    def folders(self) -> list[Folder]:
        """All folders with counters; one that cannot be opened is listed without."""
        subscribed = self.subscriptions()
        result = []
        for path, name in self.directories():
            status: FolderStatus | None = None
            selectable = True
            try:
                opened = self.open(name)
            except ItemError:
                pass  # select will say so again, where it is recorded
            else:
                selectable = not self.is_fresh(opened)
                status = opened.status() if selectable else None
                opened.close()
            special = SpecialUse.INBOX if path == INBOX else None
            result.append(Folder(path, name, special, selectable, path in subscribed, status))
        return result

    def is_fresh(self, folder: OpenFolder) -> bool:
        """Whether the folder is not yet one that can be opened: never so in a tree that is only read."""
        return False

    def open(self, name: str) -> OpenFolder:
        """Open and scan a folder; `ItemError` where that is impossible."""
        if "/" in name or "\0" in name or wire.path_of(name) is None:
            raise ItemError("not a folder's name", about=name)
        fds: list[int] = []
        try:
            fds.append(os.open("." if name == wire.ROOT else name, _DIRECTORY, dir_fd=self.root))
            fds.append(os.open("cur", _DIRECTORY, dir_fd=fds[0]))
            fds.append(os.open("new", _DIRECTORY, dir_fd=fds[0]))
            folder = OpenFolder(name, fds[0], fds[1], fds[2])
            self.scan(folder)
        except OSError as error:
            for fd in fds:
                os.close(fd)
            raise ItemError(f"the folder cannot be opened: {error.strerror}", about=name) from error
        except ItemError:
            for fd in fds:
                os.close(fd)
            raise
        return folder

    def scan(self, folder: OpenFolder) -> None:
        """Read the folder afresh: names, numbering, keywords."""
        numbering, stamp = self.numbering(folder)
        if stamp is None or stamp != folder.numbering_stamp:
            folder.numbering, folder.numbering_stamp = numbering, stamp
        folder.keywords = wire.parse_keywords(read_file(folder.fd, KEYWORDS) or b"")
        folder.files = scan_files(folder)
        known = {record.base: record.uid for record in folder.numbering.records} if folder.numbering else {}
        folder.uids = {base: known[base] for base in folder.files if base in known}
        unlisted = [base for base in folder.files if base not in known]
        folder.uids.update(wire.name_uids(unlisted))
        folder.bases = {uid: base for base, uid in folder.uids.items()}
        folder.courier_keywords = read_courier_keywords(folder)

    def numbering(self, folder: OpenFolder) -> tuple[UidList | None, tuple[int, int, int] | None]:
        """The folder's side file with uids, and a stamp that changes when it does; (None, None) without one."""
        dovecot, courier = (UIDLIST, wire.parse_uidlist), (UIDDB, wire.parse_uiddb)
        first_courier = self.account.flavour is MaildirFlavour.COURIER
        for name, parse in (courier, dovecot) if first_courier else (dovecot, courier):
            stamp = stamp_of(folder.fd, name)
            if stamp is None:
                continue
            if stamp == folder.numbering_stamp:
                return folder.numbering, stamp
            try:
                return parse(read_file(folder.fd, name) or b""), stamp
            except ValueError as error:
                raise ItemError(f"{name} is broken: {error}", about=folder.name) from error
        return None, None

    def listing(self, folder: OpenFolder) -> list[Listed]:
        """The messages as of the last scan, uids ascending."""
        return [self.listed(folder, uid, folder.bases[uid]) for uid in sorted(folder.bases)]

    def listed(self, folder: OpenFolder, uid: int, base: str) -> Listed:
        name = wire.parse_name(folder.files[base][1])
        keywords = {wire.keyword_of(folder.keywords, letter) for letter in name.keyword_letters}
        keywords |= folder.courier_keywords.get(base, frozenset())
        return Listed(uid, name.flags, tuple(sorted(keywords)))

    def message(self, folder: OpenFolder, uid: int) -> Message | Failed | None:
        """One message, its body open; None when it has gone."""
        opened = self._open_message(folder, uid)
        if opened is None or isinstance(opened, Failed):
            return opened
        fd, found = opened
        listed = self.listed(folder, uid, folder.bases[uid])
        try:
            body: Body
            if found.st_size <= PIECE:
                body = MemoryBody(with_crlf(read_all(fd)))
                os.close(fd)
            else:
                body = FileBody(fd, virtual_size(fd))
        except OSError as error:
            os.close(fd)
            return Failed(uid, Reason.UNREADABLE, f"the file cannot be read: {error.strerror}")
        return Message(uid, listed.flags, listed.keywords, date_of(found), body)

    def headers(self, folder: OpenFolder, uid: int) -> Headers | None:
        """Header block, date and size (CRLF) of one message; None when it has gone or cannot be read."""
        opened = self._open_message(folder, uid)
        if opened is None or isinstance(opened, Failed):
            return None
        fd, found = opened
        try:
            size = wire.sizes(folder.bases[uid])[1]
            return Headers(uid, date_of(found), virtual_size(fd) if size is None else size, header_block(fd))
        except OSError:
            return None  # the contract leaves out what cannot be read; `fetch` tells why
        finally:
            os.close(fd)

    def _open_message(self, folder: OpenFolder, uid: int) -> tuple[int, os.stat_result] | Failed | None:
        for rescan in (False, True):
            if rescan:
                folder.files = scan_files(folder)  # a live server has renamed it, or it has gone
            base = folder.bases.get(uid)
            if base is None or base not in folder.files:
                continue
            directory, name = folder.files[base]
            try:
                fd = os.open(name, _READ, dir_fd=folder.cur if directory == "cur" else folder.new)
            except FileNotFoundError:
                continue
            except OSError as error:
                return Failed(uid, Reason.UNREADABLE, f"the file cannot be opened: {error.strerror}")
            found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode):
                return fd, found
            os.close(fd)
            return Failed(uid, Reason.UNREADABLE, "not a regular file")
        return None

    def subscriptions(self) -> set[Path]:
        """The subscribed folders, of Dovecot's file and Courier's."""
        paths = wire.parse_subscriptions(read_file(self.root, SUBSCRIPTIONS) or b"")
        paths += wire.parse_courier_subscribed(read_file(self.root, COURIER_SUBSCRIBED) or b"")
        return set(paths)

    def acl(self, name: str) -> Mapping[str, str] | None:
        """Dovecot's ACL of the folder, None where it has none."""
        folder = self.open(name)
        try:
            data = read_file(folder.fd, ACL)
        finally:
            folder.close()
        return None if data is None else wire.parse_acl(data)

    def uidls(self, latest: int) -> list[Uidl]:
        """The POP3 UIDLs of INBOX's last `latest` messages, of Dovecot's `P` fields or Courier's list (`UIDn-v`)."""
        folder = self.open(wire.ROOT)
        try:
            records = folder.numbering.records if folder.numbering else []
            found = {r.uid: f[1:] for r in records if r.base in folder.uids for f in r.fields if f[0] == "P"}
            data = read_file(folder.fd, POP3_LIST)
            entries = wire.parse_pop3_list(data).entries if data else {}
            for base, (_, number, uidvalidity, _) in entries.items():
                if base in folder.uids and number:
                    uidl = f"UID{number}-{uidvalidity}" if uidvalidity else f"UID{number}"
                    found.setdefault(folder.uids[base], uidl)
            headers = [self.headers(folder, uid) for uid in sorted(folder.bases)[-latest:] if uid in found]
            return [Uidl(found[one.uid], one.block) for one in headers if one is not None]
        except ValueError as error:
            raise ItemError(f"{POP3_LIST} is broken: {error}", about=self.account.key) from error
        finally:
            folder.close()


def scan_files(folder: OpenFolder) -> dict[str, tuple[str, str]]:
    """Where each message is, by base name. One that a server moves from `new` to `cur` meanwhile is found in one."""
    files = {}
    for directory, fd in (("new", folder.new), ("cur", folder.cur)):
        for name in os.listdir(fd):
            if name[0] != ".":
                files[name.partition(":")[0]] = (directory, name)
    return files


def read_courier_keywords(folder: OpenFolder) -> dict[str, frozenset[str]]:
    """Courier's keywords by base name: its list, then the newer updates beside it (README.imapkeywords)."""
    try:
        fd = os.open(COURIER_KEYWORDS, _DIRECTORY, dir_fd=folder.fd)
    except OSError:
        return {}  # there are none
    try:
        result = wire.parse_courier_keywords(read_file(fd, ":list") or b"")
        updates: dict[str, tuple[float, str]] = {}
        for name in os.listdir(fd):
            version, base = float("inf"), name
            if name.startswith("."):
                number, _, base = name[1:].partition(".")
                if not number.isdigit():
                    continue
                version = int(number)
            if base in folder.files:
                updates[base] = max(updates.get(base, (-1.0, "")), (version, name))
        for base, (_, name) in updates.items():
            data = read_file(fd, name)
            if data is not None:
                result[base] = frozenset(data.decode("utf-8", "surrogateescape").split())
        return result
    finally:
        os.close(fd)


def stamp_of(directory: int, name: str) -> tuple[int, int, int] | None:
    """What changes when the file is written or replaced: inode, size, time; None without a file."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_file(directory: int, name: str) -> bytes | None:
    """A side file's bytes, None where there is none. `ItemError` if it cannot be read."""
    try:
        fd = os.open(name, _READ, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ItemError(f"{name} cannot be read: {error.strerror}", about=name) from error
    try:
        return read_all(fd)
    finally:
        os.close(fd)


def read_all(fd: int) -> bytes:
    """The whole file from its start."""
    pieces = list(_pieces(fd))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _pieces(fd: int) -> Iterator[bytes]:
    offset = 0
    while piece := os.pread(fd, PIECE, offset):
        offset += len(piece)
        yield piece


def with_crlf(data: bytes) -> bytes:
    """Every line end as CRLF, as IMAP servers show files; bare CRs stay."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    return data.replace(b"\n", b"\r\n")


def pieces_with_crlf(fd: int) -> Iterator[bytes]:
    """`with_crlf` of a file piece by piece."""
    after_cr = False
    for piece in _pieces(fd):
        ends_cr = piece.endswith(b"\r")
        if after_cr and piece.startswith(b"\n"):
            yield b"\n" + with_crlf(piece[1:])  # its CR went out with the last piece
        else:
            yield with_crlf(piece)
        after_cr = ends_cr


def virtual_size(fd: int) -> int:
    """Bytes with every line end as CRLF."""
    return sum(map(len, pieces_with_crlf(fd)))


def header_block(fd: int) -> bytes:
    """Bytes up to the empty line (without it), CRLF."""
    block = b""
    for piece in pieces_with_crlf(fd):
        start = max(0, len(block) - 3)
        block += piece
        if block.startswith(b"\r\n"):
            return b""
        end = block.find(b"\r\n\r\n", start)
        if end >= 0:
            return block[: end + 2]
    return block


def date_of(found: os.stat_result) -> Date:
    """The internal date: a Maildir keeps it as the file's time, without a zone."""
    return Date(found.st_mtime_ns // 1_000_000_000)


class FileBody:
    """A long body, read from its file as it is consumed; renaming or removing the file does not disturb it."""

    __slots__ = ("_fd", "_size")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    def chunks(self) -> Iterator[bytes]:
        return pieces_with_crlf(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()
