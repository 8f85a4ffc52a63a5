"""Maildir++ trees on disk, for writing: folders, chunks of messages, and the side files of Dovecot and Courier.

Legal states on disk, for one message of ours, in this order; a kill at any instant leaves one of them:
  1. a file in `tmp` whose name says which uid in which uidvalidity it is for (`wire.maildir.own_base`): nobody sees
     it, and the next run on the folder removes it;
  2. the same file, whole and durable, in `cur`, not in the uid list: the next run (or the server) enters it;
  3. in `cur` and in the uid list.
The step from 1 to 3 is made under the server's own lock, so that a live server never numbers our files itself.

Uids only grow: a source's uid is kept where no uid from it on was ever given, else the next free one is taken.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

from mailferry.errors import ItemError
from mailferry.model.account import MaildirAccount, MaildirFlavour
from mailferry.model.folder import INBOX, Folder, Path, SpecialUse
from mailferry.model.message import Failed, Listed, Message, Reason
from mailferry.net import maildir
from mailferry.net.maildir import OpenFolder, Tree, read_file, stamp_of
from mailferry.net.maildir_disk import (
    CLOCK,
    HOST,
    append_file,
    clear_tmp,
    dotlock,
    error_of,
    make_directory,
    owner_of,
    replace_file,
    sync,
    unlink,
    write_all,
    write_message,
)
from mailferry.wire import maildir as wire
from mailferry.wire.maildir import FileName, Record, UidList

_UID_RESERVE = 1_000_000
"""Uids at the top of the range that are not taken over, so that there is room for new messages."""

Outcome = int | Failed
"""A message's uid, or why it was not stored."""


class WritableTree(Tree):
    """One Maildir++ tree, written. Made with its INBOX if there is nothing at the path yet.

    `side_files` is shared by all sessions of the tree: held while what belongs to the whole tree is changed.
    """

    def __init__(self, account: MaildirAccount, side_files: threading.Lock) -> None:
        self._side_files = side_files
        try:
            os.makedirs(account.path, mode=0o700, exist_ok=True)
        except OSError as error:
            raise error_of(error, account.key) from error
        super().__init__(account)
        self.owner = owner_of(account, self.root)
        if account.owner and os.geteuid() == 0 and not os.listdir(self.root):
            self.owner.take(self.root, directory=True)
        try:
            with side_files:
                self._make(wire.ROOT)
        except OSError as error:
            self.close()
            raise error_of(error, account.key) from error
        self._utf8 = account.flavour is MaildirFlavour.COURIER

    # Folders

    def is_fresh(self, folder: OpenFolder) -> bool:
        """Whether the folder has neither messages nor a numbering: nobody has ever seen it through IMAP."""
        return not folder.files and folder.numbering is None and self.account.flavour is not MaildirFlavour.QMAIL

    def directory_of(self, path: Path) -> str:
        try:
            return wire.directory_of(path, utf8=self._utf8)
        except ValueError as error:
            raise ItemError(str(error), about="/".join(path)) from error

    def create(self, path: Path, uidvalidity: int | None) -> Folder:
        """Make a folder with its parents; a fresh one gets this uidvalidity. A kill leaves what the next call ends."""
        with self._side_files:
            there = dict(self.directories())
            for depth in range(1, len(path) + 1):
                name = there.get(path[:depth], self.directory_of(path[:depth]))
                try:
                    self._make(name)
                except OSError as error:
                    raise ItemError(f"the folder cannot be made: {error.strerror}", about="/".join(path)) from error
        folder = self.open_for_writing(name, uidvalidity)
        status = folder.status()
        folder.close()
        special = SpecialUse.INBOX if path == INBOX else None
        return Folder(path, name, special, True, path in self.subscriptions(), status)

    def _make(self, name: str) -> None:
        fd = os.dup(self.root) if name == wire.ROOT else make_directory(self.root, name, self.owner)
        try:
            for part in ("tmp", "new", "cur"):  # `cur` last: it makes the directory a folder
                os.close(make_directory(fd, part, self.owner))
            if name != wire.ROOT and stamp_of(fd, "maildirfolder") is None:
                replace_file(fd, "maildirfolder", b"", self.owner)
        finally:
            os.close(fd)

    def open_for_writing(self, name: str, uidvalidity: int | None = None) -> OpenFolder:
        """Open a folder, clear our dead runs' files from `tmp`, and number what is not numbered yet."""
        folder = self.open(name)
        try:
            folder.tmp = os.open("tmp", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder.fd)
            clear_tmp(folder.tmp)
            if self.account.flavour is not MaildirFlavour.QMAIL:
                with self.lock(folder):
                    self.scan(folder)
                    self._number(folder, uidvalidity)
        except OSError as error:
            folder.close()
            raise error_of(error, self.label(folder)) from error
        except BaseException:
            folder.close()
            raise
        return folder

    def lock(self, folder: OpenFolder) -> AbstractContextManager[None]:
        """The server's own lock on the folder's numbering."""
        match self.account.flavour:
            case MaildirFlavour.DOVECOT:
                return dotlock(folder.fd, f"{maildir.UIDLIST}.lock", self.label(folder), self.owner)
            case MaildirFlavour.COURIER:
                return dotlock(folder.tmp, "courier.lock", self.label(folder), self.owner)
            case MaildirFlavour.QMAIL:
                return nullcontext()

    def label(self, folder: OpenFolder) -> str:
        return f"{self.account.key} {folder.name}"

    # Numbering

    def numbering(self, folder: OpenFolder) -> tuple[UidList | None, tuple[int, int, int] | None]:
        """As for reading, but only the file of the account's own flavour counts."""
        match self.account.flavour:
            case MaildirFlavour.DOVECOT:
                name, parse = maildir.UIDLIST, wire.parse_uidlist
            case MaildirFlavour.COURIER:
                name, parse = maildir.UIDDB, wire.parse_uiddb
            case MaildirFlavour.QMAIL:
                return None, None
        stamp = stamp_of(folder.fd, name)
        if stamp is None or stamp == folder.numbering_stamp:
            return folder.numbering, stamp
        try:
            return parse(read_file(folder.fd, name) or b""), stamp
        except ValueError as error:
            raise ItemError(f"{name} is broken: {error}", about=self.label(folder)) from error

    def _number(self, folder: OpenFolder, uidvalidity: int | None) -> None:
        """Under the lock: give every message a uid, ours the one its name says where that is still free."""
        uids = folder.numbering
        known = {record.base for record in uids.records} if uids else set()
        unlisted = sorted(folder.files.keys() - known, key=wire.delivered)
        if uids and not unlisted and not uids.torn and (uids.guid or self.account.flavour is MaildirFlavour.COURIER):
            return
        if uids is None or (uidvalidity and uids.uidnext == 1 and not folder.files and not uids.records):
            uids = UidList(uidvalidity or (uids and uids.uidvalidity) or int(time.time()), 1)
        uids.guid = uids.guid or secrets.token_hex(16)
        ours = {base: origin for base in unlisted if (origin := wire.origin(base))}
        unlisted.sort(key=lambda base: (base not in ours, ours[base].uid if base in ours else 0))
        for base in unlisted:
            origin = ours.get(base)
            keep = origin.uid if origin and origin.uidvalidity == uids.uidvalidity else None
            uids.records.append(Record(next_uid(uids, keep), base))
        self._write_numbering(folder, uids)

    def _write_numbering(self, folder: OpenFolder, uids: UidList) -> None:
        """Under the lock: write the whole file; what has gone is left out."""
        uids = replace(uids, records=[r for r in uids.records if r.base in folder.files], torn=False)
        if self.account.flavour is MaildirFlavour.DOVECOT:
            name, data = maildir.UIDLIST, wire.format_uidlist(uids)
        else:
            name, data = maildir.UIDDB, wire.format_uiddb(uids)
        replace_file(folder.fd, name, data, self.owner)
        self._numbered(folder, uids, stamp_of(folder.fd, name))

    def _numbered(self, folder: OpenFolder, uids: UidList, stamp: tuple[int, int, int] | None) -> None:
        folder.numbering, folder.numbering_stamp = uids, stamp
        folder.uids = {record.base: record.uid for record in uids.records if record.base in folder.files}
        folder.bases = {uid: base for base, uid in folder.uids.items()}

    def _refresh(self, folder: OpenFolder) -> UidList | None:
        """Under the lock: the numbering as it is now."""
        if self.account.flavour is MaildirFlavour.QMAIL:
            return None
        _, stamp = self.numbering(folder)
        if stamp is None or stamp != folder.numbering_stamp:
            self.scan(folder)
            self._number(folder, None)
        return folder.numbering

    # Messages

    def append(self, folder: OpenFolder, messages: Sequence[Message], sizes: Sequence[int]) -> list[Outcome]:
        """Store these messages durably, in order. `sizes`: of the bodies. On an error nothing half-written shows."""
        outcomes: list[Outcome] = [0] * len(messages)
        waiting: list[tuple[int, str, FileName]] = []
        try:
            try:
                for index, message in enumerate(messages):
                    written = self._write(folder, message, sizes[index])
                    if isinstance(written, Failed):
                        outcomes[index] = written
                    else:
                        waiting.append((index, *written))
                sync(folder.fd)
                with self.lock(folder):
                    self._show(folder, messages, waiting, outcomes)
            finally:
                for _, temporary, _ in waiting:
                    unlink(folder.tmp, temporary)  # what is still there was not shown
            sync(folder.fd)
        except OSError as error:
            raise error_of(error, self.label(folder)) from error
        return outcomes

    def _write(self, folder: OpenFolder, message: Message, size: int) -> tuple[str, FileName] | Failed:
        seconds, micros = CLOCK.tick(self._latest(folder))
        base = wire.own_base(seconds, micros, os.getpid(), folder.uidvalidity, message.uid, HOST)
        epoch = message.internal_date.epoch
        try:
            stored, virtual = write_message(folder.tmp, base, message.body, size, epoch, self.owner)
        except ItemError as error:
            return Failed(message.uid, Reason.REFUSED, error.message)
        return base, FileName(f"{base},S={stored},W={virtual}", message.flags)

    def _latest(self, folder: OpenFolder) -> int:
        """The time in seconds that new names must not be before, where names are the numbering."""
        if folder.numbering:
            return 0
        last = wire.name_seconds(folder.uidnext - 1)
        return last + 1 if last > time.time() else 0

    def _show(
        self,
        folder: OpenFolder,
        messages: Sequence[Message],
        waiting: list[tuple[int, str, FileName]],
        outcomes: list[Outcome],
    ) -> None:
        """Under the lock: move the files to `cur` and number them."""
        uids = self._refresh(folder)
        letters = self._letters(folder, [messages[index].keywords for index, _, _ in waiting])
        records = []
        shown = []
        while waiting:
            index, temporary, name = waiting[0]
            message = messages[index]
            name = replace(name, letters=letters.get(message.keywords, ""))
            if self.account.flavour is MaildirFlavour.COURIER and message.keywords:
                self._write_courier_keywords(folder, name.base, message.keywords)
            final = wire.format_name(name)
            os.rename(temporary, final, src_dir_fd=folder.tmp, dst_dir_fd=folder.cur)
            waiting.pop(0)
            shown.append(name.base)
            folder.files[name.base] = ("cur", final)
            if uids:
                uid = next_uid(uids, message.uid)
                records.append(Record(uid, name.base))
            else:
                uid = wire.name_uids([name.base], folder.bases)[name.base]
            folder.uids[name.base], folder.bases[uid] = uid, name.base
            outcomes[index] = uid
        if uids:
            uids.records += records
            if self.account.flavour is MaildirFlavour.DOVECOT:
                append_file(folder.fd, maildir.UIDLIST, wire.format_records(records))
                folder.numbering_stamp = stamp_of(folder.fd, maildir.UIDLIST)
            else:
                self._write_numbering(folder, uids)
        self._count(folder, shown)

    def _letters(self, folder: OpenFolder, wanted: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
        """Under the lock: keyword letters of each set of keywords, new ones entered in Dovecot's list while there is
        room; the rest of the set is left out."""
        if self.account.flavour is not MaildirFlavour.DOVECOT:
            return {}
        letters = {keyword.casefold(): letter for letter, keyword in folder.keywords.items()}
        free = [letter for letter in map(chr, range(ord("a"), ord("z") + 1)) if letter not in folder.keywords]
        added = False
        for keyword in dict.fromkeys(keyword for keywords in wanted for keyword in keywords):
            if keyword.casefold() not in letters and free and re.fullmatch(r"[^\s\0]+", keyword):
                letter = free.pop(0)
                letters[keyword.casefold()] = letter
                folder.keywords[letter] = keyword
                added = True
        if added:
            data = wire.format_keywords(folder.keywords)
            replace_file(folder.fd, maildir.KEYWORDS, data, self.owner, newer=True)
        return {
            keywords: "".join(sorted({letters[k.casefold()] for k in keywords if k.casefold() in letters}))
            for keywords in wanted
        }

    def _write_courier_keywords(self, folder: OpenFolder, base: str, keywords: Sequence[str]) -> None:
        """The update file that Courier merges into its list when it opens the folder (README.imapkeywords)."""
        directory = make_directory(folder.fd, maildir.COURIER_KEYWORDS, self.owner)
        try:
            fd = os.open(base, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=folder.tmp)
            try:
                self.owner.take(fd)
                write_all(fd, "".join(f"{keyword}\n" for keyword in keywords).encode("utf-8", "surrogateescape"))
            finally:
                os.close(fd)
            os.rename(base, base, src_dir_fd=folder.tmp, dst_dir_fd=directory)
        finally:
            os.close(directory)
        folder.courier_keywords[base] = frozenset(keywords)

    def set_flags(self, folder: OpenFolder, changes: Sequence[Listed]) -> None:
        """Make flags and keywords exactly so, by renaming; what has gone is passed over."""
        try:
            with self.lock(folder):
                self._refresh(folder)
                letters = self._letters(folder, [change.keywords for change in changes])
                for change in changes:
                    self._set_flags(folder, change, letters.get(change.keywords, ""))
            sync(folder.fd)
        except OSError as error:
            raise error_of(error, self.label(folder)) from error

    def _set_flags(self, folder: OpenFolder, change: Listed, letters: str) -> None:
        for _ in range(3):
            base = folder.bases.get(change.uid)
            if base is None or base not in folder.files:
                return
            directory, old = folder.files[base]
            others = [letter for letter in wire.parse_name(old).letters if not "a" <= letter <= "z"]
            new = wire.format_name(FileName(base, change.flags, letters + "".join(others)))
            keywords = folder.courier_keywords.get(base, frozenset())
            if self.account.flavour is MaildirFlavour.COURIER and keywords != frozenset(change.keywords):
                self._write_courier_keywords(folder, base, change.keywords)
            if (directory, old) == ("cur", new):
                return
            try:
                fd = folder.cur if directory == "cur" else folder.new
                os.rename(old, new, src_dir_fd=fd, dst_dir_fd=folder.cur)
                folder.files[base] = ("cur", new)
                return
            except FileNotFoundError:
                folder.files = maildir.scan_files(folder)  # somebody else renamed or removed it

    def remove(self, folder: OpenFolder, uids: Sequence[int]) -> list[int]:
        """Remove exactly these; returns those that could not be removed."""
        kept = []
        removed = []
        for uid in uids:
            for _ in range(3):
                base = folder.bases.get(uid)
                if base is None or base not in folder.files:
                    break
                directory, name = folder.files[base]
                try:
                    os.unlink(name, dir_fd=folder.cur if directory == "cur" else folder.new)
                    removed.append(base)
                    del folder.files[base]
                    break
                except FileNotFoundError:
                    folder.files = maildir.scan_files(folder)
                except OSError:
                    kept.append(uid)  # the caller records it as a failure
                    break
        try:
            self._count(folder, removed, -1)
            sync(folder.fd)
        except OSError as error:
            raise error_of(error, self.label(folder)) from error
        return kept

    def _count(self, folder: OpenFolder, bases: Sequence[str], sign: int = 1) -> None:
        """Tell `maildirsize`, where the tree has one, what came or went (Maildir++ quota: Trash is not counted)."""
        if not bases or stamp_of(self.root, "maildirsize") is None:
            return
        if folder.name == ".Trash" and self.account.flavour is not MaildirFlavour.DOVECOT:
            return
        size = sum(wire.sizes(base)[0] or 0 for base in bases)
        append_file(self.root, "maildirsize", f"{sign * size} {sign * len(bases)}\n".encode())

    def finish(self, name: str, uidnext: int) -> None:
        """See to it that no uid below the source's uidnext is given any more."""
        if uidnext > wire.MAX_UID - _UID_RESERVE:
            return
        with self._open_locked(name) as folder:
            if folder.numbering and folder.numbering.uidnext < uidnext:
                self._write_numbering(folder, replace(folder.numbering, uidnext=uidnext))

    @contextmanager
    def _open_locked(self, name: str) -> Iterator[OpenFolder]:
        """A folder open for writing and locked, its numbering complete."""
        folder = self.open_for_writing(name)
        try:
            with self.lock(folder):
                self._refresh(folder)
                yield folder
        except OSError as error:
            raise error_of(error, self.label(folder)) from error
        finally:
            folder.close()

    # Side files

    def subscribe(self, folder: Folder) -> None:
        """Enter the folder in the list of subscriptions."""
        with self._side_files:
            try:
                self._subscribe(folder)
            except OSError as error:
                raise error_of(error, self.account.key) from error

    def _subscribe(self, folder: Folder) -> None:
        if self.account.flavour is MaildirFlavour.DOVECOT:
            paths = wire.parse_subscriptions(read_file(self.root, maildir.SUBSCRIPTIONS) or b"")
            if folder.path not in paths:
                data = wire.format_subscriptions([*paths, folder.path])
                replace_file(self.root, maildir.SUBSCRIPTIONS, data, self.owner)
            return
        old = read_file(self.root, maildir.COURIER_SUBSCRIBED) or b""
        if folder.path not in wire.parse_courier_subscribed(old):
            line = f"INBOX{folder.name.removeprefix(wire.ROOT)}\n".encode("utf-8", "surrogateescape")
            replace_file(self.root, maildir.COURIER_SUBSCRIBED, old + line, self.owner)

    def set_acl(self, name: str, rights: Mapping[str, str]) -> None:
        """Set these rights in Dovecot's ACL file of the folder; without letters somebody has none, and no line."""
        with self._open_locked(name) as folder:
            if self.account.flavour is not MaildirFlavour.DOVECOT:
                raise ItemError("only Dovecot's ACL files are written", about=self.label(folder))
            old = wire.parse_acl(read_file(folder.fd, maildir.ACL) or b"")
            new = {who: letters for who, letters in {**old, **rights}.items() if letters or who not in rights}
            try:
                replace_file(folder.fd, maildir.ACL, wire.format_acl(new), self.owner)
            except ValueError as error:
                raise ItemError(str(error), about=self.label(folder)) from error

    def keep_uidls(self, name: str, uidls: Mapping[int, str]) -> list[int]:
        """Give messages (by uid) the POP3 UIDLs they had; returns the uids whose UIDL cannot be kept."""
        with self._open_locked(name) as folder:
            match self.account.flavour:
                case MaildirFlavour.DOVECOT:
                    return self._keep_dovecot_uidls(folder, uidls)
                case MaildirFlavour.COURIER:
                    return self._keep_courier_uidls(folder, uidls)
                case MaildirFlavour.QMAIL:
                    return sorted(uidls)

    def _keep_dovecot_uidls(self, folder: OpenFolder, uidls: Mapping[int, str]) -> list[int]:
        if folder.numbering is None:
            return sorted(uidls)
        kept = set()
        records = []
        for record in folder.numbering.records:
            uidl = uidls.get(record.uid, "")
            if re.fullmatch(r"[!-~]{1,70}", uidl):  # RFC 1939 §7
                kept.add(record.uid)
                record = replace(record, fields=(*(f for f in record.fields if f[0] != "P"), f"P{uidl}"))
            records.append(record)
        self._write_numbering(folder, replace(folder.numbering, records=records))
        return sorted(uidls.keys() - kept)

    def _keep_courier_uidls(self, folder: OpenFolder, uidls: Mapping[int, str]) -> list[int]:
        """Courier forms UIDLs from two numbers; others it cannot have."""
        data = read_file(folder.fd, maildir.POP3_LIST)
        try:
            known = wire.parse_pop3_list(data) if data else wire.Pop3List(1, int(time.time()))
        except ValueError as error:
            raise ItemError(f"{maildir.POP3_LIST} is broken: {error}", about=self.label(folder)) from error
        failed = []
        for uid, uidl in sorted(uidls.items()):
            found = re.fullmatch(r"UID([1-9]\d{0,17})(?:-([1-9]\d{0,17}))?", uidl)
            base = folder.bases.get(uid)
            size = wire.sizes(base)[1] if base else None
            if not found or base is None or size is None:
                failed.append(uid)
                continue
            number, uidvalidity = int(found[1]), int(found[2] or 0)
            known.entries[base] = (size, number, uidvalidity, 0)
            if uidvalidity == known.uidvalidity:
                known.next = max(known.next, number + 1)
        replace_file(folder.fd, maildir.POP3_LIST, wire.format_pop3_list(known), self.owner)
        return failed


def next_uid(uids: UidList, wanted: int | None) -> int:
    """Take the wanted uid if it and all after it are free, else the next."""
    uid = uids.uidnext
    if wanted is not None and uid < wanted <= wire.MAX_UID - _UID_RESERVE:
        uid = wanted
    uids.uidnext = uid + 1
    return uid
