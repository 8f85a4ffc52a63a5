"""`python -m lab.fidelity`: copies mailboxes between real servers, checks every message, writes docs/fidelity.md.

The copies are made by the command line, as an administrator makes them, and by mbsync and `doveadm backup` from the
same source; what came of them is read with `lab.snapshot`, which shares no code with the product. A difference that
Mailferry's own report does not name is a defect, and ends the run with exit code 1.
"""

from __future__ import annotations

import hashlib
import imaplib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path as File
from typing import Any

from lab import corpus, fidelity_page, maildir
from lab.corpus import CorpusFolder, CorpusMessage
from lab.courier import Courier
from lab.cyrus import Cyrus
from lab.dovecot import Dovecot
from lab.install import install
from lab.likeness import Aspect, Difference, Likeness, compare
from lab.process import PASSWORD, LabError, binary, workspace
from lab.snapshot import Path, Snapshot, files_snapshot, logged_in, quoted, snapshot

PAGE = File(__file__).resolve().parent.parent / "docs" / "fidelity.md"

Server = Dovecot | Courier | Cyrus

_USES = {"sent": "\\Sent", "trash": "\\Trash", "drafts": "\\Drafts", "junk": "\\Junk", "archive": "\\Archive"}
_BY_ATTRIBUTE = {"sent": "Sent", "trash": "Trash", "drafts": "Drafts", "junk": "Junk", "archive": "Archive"}
_SECONDS = 300
_ALLOW_ANYONE = "plugin {\n  acl_anyone = allow\n}\n"
_ZONE = "import_environment = $import_environment TZ=Europe/Berlin\n"


@dataclass(frozen=True, slots=True)
class Origin:
    """A source mailbox. `uses`: the special use of each folder that has one, by attribute or by its name in Outlook;
    `doors`: folders that are left to their own doors."""

    name: str
    server: Dovecot
    user: str
    uses: Mapping[Path, frozenset[str]]
    doors: frozenset[Path]
    kinds: Mapping[str, str]


@dataclass(slots=True)
class Case:
    """One copy, by one tool, from one origin to one target. `same_uids`: the tool writes the store itself."""

    tool: str
    target: str
    origin: Origin
    run: Callable[[tuple[str, ...]], None]
    read: Callable[[], Snapshot]
    same_uids: bool = False
    verify: Callable[[], dict[str, Any]] | None = None
    results: list[Result] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """How a copy stood after one pass. `named`: for each difference the words of Mailferry's report, None where it has
    none. `places`: source folder to target folder."""

    likeness: Likeness
    named: tuple[tuple[Difference, str | None], ...]
    places: Mapping[Path, Path]
    excluded: Mapping[Path, str]
    score: str | None
    kinds: Mapping[tuple[Path, int], str]

    @property
    def unnamed(self) -> list[Difference]:
        """What is different without a word; the zone is named on the page, once for all messages."""
        return [one for one, words in self.named if words is None and one.aspect is not Aspect.ZONE]


def main() -> int:
    install(bench=True)
    started = time.monotonic()
    messages = int(os.environ.get("FIDELITY_MESSAGES", "600"))
    cases = run(messages, say=print)
    versions = f"Dovecot {_version('dovecot')}, {_version('mbsync')}, Debian's Courier and Cyrus"
    made = f"{time.strftime('%Y-%m-%d')}, {time.monotonic() - started:.0f} s, {versions}"
    PAGE.write_text(fidelity_page.page(cases, made), encoding="utf-8")
    print(f"written: {PAGE}")
    faults = [fault for case in cases if case.verify for fault in faults_of(case)]
    print(*faults, sep="\n", file=sys.stderr, end="\n" * bool(faults))
    return 1 if faults else 0


def faults_of(case: Case) -> list[str]:
    """What must not be: a difference that Mailferry's report does not name, or one whose cause nobody knows."""
    where = f"{case.origin.name} to {case.target}"
    found = [
        f"NOT NAMED: {where}: {one.aspect.value}: {'/'.join(one.path)} {one.uid or ''}: {one.text}"
        for result in case.results
        for one in result.unnamed
    ]
    return found + [f"CAUSE NOT KNOWN: {where}: {text}" for text in fidelity_page.unexplained(case)]


def _version(program: str) -> str:
    done = subprocess.run(
        [binary(program, f"/usr/sbin/{program}"), "--version"], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[0].partition(" (")[0]


def run(messages: int, say: Callable[[str], None], wanted: Callable[[Case], bool] = lambda case: True) -> list[Case]:
    """Copy, check, change the sources, copy and check again, for the cases that are wanted."""
    root = workspace("fidelity")
    try:
        with ExitStack() as stack:
            servers = Servers(stack, root)
            origins = [_exchange(servers.exchange, messages), _open(servers.source, messages)]
            cases = [case for origin in origins for case in _ours(servers, origin)]
            cases += [_mbsync(servers, origins[1]), _doveadm(servers, origins[1])]
            cases = [case for case in cases if wanted(case)]
            for phase, options in (("first copy", ()), ("after changes", ("--deletions", "mirror"))):
                if options:
                    for origin in origins:
                        _change(origin)
                truth = {origin.name: snapshot(origin.server.port, origin.user) for origin in origins}
                for case in cases:
                    say(f"{phase}: {case.tool}, {case.origin.name} to {case.target}")
                    case.run(options)
                    case.results.append(_result(case, truth[case.origin.name]))
            return cases
    finally:
        shutil.rmtree(root, ignore_errors=True)


class Servers:
    """The lab's servers for a run, started."""

    def __init__(self, stack: ExitStack, root: File) -> None:
        self.root = root
        self.exchange = stack.enter_context(Dovecot(root / "exchange", "exchange", settings=_ZONE))
        self.source = stack.enter_context(Dovecot(root / "source", "open", settings=_ALLOW_ANYONE + _ZONE))
        self.dovecot = stack.enter_context(Dovecot(root / "dovecot", "open"))
        self.courier = stack.enter_context(Courier(root / "courier"))
        self.cyrus = stack.enter_context(Cyrus(root / "cyrus"))


def _exchange(server: Dovecot, messages: int) -> Origin:
    """A German Outlook user's mailbox: special folders by name only, and folders that are not mail."""
    known = corpus.WELL_KNOWN["de"]
    doors = [CorpusFolder((known[use],), 3, seed=number, scale=0.1) for number, use in enumerate(("calendar", "tasks"))]
    folders = [*corpus.mailbox(11, messages, "de", scale=0.3, big=messages >= 500), *doors]
    left = frozenset((known[use],) for use in ("calendar", "tasks", "outbox"))
    uses: dict[Path, frozenset[str]] = {(known[use],): frozenset({attribute}) for use, attribute in _USES.items()}
    return _origin("Exchange", server, "hans", folders, uses, left)


def _open(server: Dovecot, messages: int) -> Origin:
    """A mailbox with all that IMAP knows: special use by attribute, more keywords than a Maildir has letters, rights,
    annotations."""
    names: dict[Path, Path] = {(corpus.WELL_KNOWN["en"][use],): (name,) for use, name in _BY_ATTRIBUTE.items()}
    folders = [
        replace(one, path=(*names.get(one.path[:1], one.path[:1]), *one.path[1:]))
        for one in corpus.mailbox(12, messages, "en", scale=0.3, big=False, dots=False)
    ]
    uses: dict[Path, frozenset[str]] = {(name,): frozenset({_USES[use]}) for use, name in _BY_ATTRIBUTE.items()}
    origin = _origin("Dovecot", server, "olga", folders, uses, frozenset({("Outbox",)}))
    with logged_in(server.port, origin.user) as session:
        session.create("Labels")
        session.subscribe("Labels")
        for number in range(30):
            body = b"Subject: label %d\r\nMessage-ID: <label-%d@fidelity>\r\n\r\nlabel\r\n" % (number, number)
            _append(session, "Labels", CorpusMessage(body, keywords=frozenset({f"label{number:02}"})))
        for who, rights in (("u1", "lrs"), ("u2", "lrswite"), ("gone@acme.example", "lr"), ("anyone", "l")):
            _ok(session.setacl("Projects", who, rights))
    for folder, entry, value in (
        ("Projects", "/private/comment", "only mine"),
        ("Projects", "/shared/comment", "for \u201call\u201d of us"),
        ("INBOX", "/private/comment", "the first"),
    ):
        server.doveadm("mailbox", "metadata", "set", "-u", origin.user, folder, entry, value)
    return origin


def _origin(
    name: str,
    server: Dovecot,
    user: str,
    folders: Iterable[CorpusFolder],
    uses: Mapping[Path, frozenset[str]],
    doors: frozenset[Path],
) -> Origin:
    """Seed the mailbox; its INBOX gets identical messages too, whose marks differ or not."""
    folders = list(folders)
    maildir.seed(server, user, folders)
    with logged_in(server.port, user) as session:
        for number in range(12):
            body = b"Subject: again\r\nMessage-ID: <again-%d@fidelity>\r\n\r\nidentical\r\n" % (number % 3)
            flags = ("", "\\Seen", "\\Flagged Work", "\\Deleted")[number % 4]
            day = 86_400 * (number // 6)
            _append(session, "INBOX", CorpusMessage(body, frozenset(flags.split()), internal_date=1_500_000_000 + day))
    return Origin(name, server, user, uses, doors, _kinds())


def _kinds() -> dict[str, str]:
    """What is odd about an odd message, by its digest as `lab.snapshot` makes it of what Dovecot gives."""
    return {
        hashlib.sha256(corpus.dovecot_view(one.body).replace(b"\r\n", b"\n")).hexdigest()[:24]: one.kind
        for one in corpus.odd_messages()
    }


def _append(session: imaplib.IMAP4, name: str, message: CorpusMessage) -> None:
    date = datetime.fromtimestamp(message.internal_date, UTC)
    words = " ".join(sorted(message.flags | message.keywords))
    _ok(session.append(name, f"({words})", date, message.body))


def _ok(answer: tuple[str, list[Any]]) -> None:
    if answer[0] != "OK":
        raise LabError(f"a lab server answered {answer}")


def _change(origin: Origin) -> None:
    """New messages, flags and keywords set and cleared, moves, deletions, a new folder, a renamed one."""
    with logged_in(origin.server.port, origin.user) as session:
        separator = origin.server.separator
        for new in corpus.messages(77, 12, scale=0.2, big=False):
            _append(session, "INBOX", new)
        session.select("INBOX")
        uids = bytes(session.uid("SEARCH", "UNDELETED")[1][0]).decode().split()
        for uid, how, what in (
            (uids[0], "+FLAGS", "(\\Flagged \\Answered Later)"),
            (uids[1], "-FLAGS", "(\\Seen)"),
            (uids[2], "FLAGS", "(\\Draft $Label1)"),
            (uids[3], "+FLAGS", "(\\Deleted)"),
            (uids[4], "FLAGS", "()"),
        ):
            _ok(session.uid("STORE", uid, how, what))
        moved, gone = uids[5:9], uids[9:12]
        _ok(session.uid("COPY", ",".join(moved), "Projects"))
        _ok(session.uid("STORE", ",".join(moved + gone), "+FLAGS", "(\\Deleted)"))
        _ok(session.uid("EXPUNGE", ",".join(moved + gone)))
        for name in ("Later", f"Later{separator}still empty"):
            _ok(session.create(quoted(name.encode())))
            _ok(session.subscribe(quoted(name.encode())))
        for new in corpus.messages(78, 3, scale=0.2, big=False):
            _append(session, "Later", new)
        _ok(session.rename(quoted(f"Empty{separator}also empty".encode()), quoted(f"Empty{separator}renamed".encode())))


def _ours(servers: Servers, origin: Origin) -> Iterator[Case]:
    """Mailferry to every target. A Maildir that it writes is read through the server that it was written for."""
    wanted: tuple[tuple[str, Server, str | None], ...] = (
        ("Dovecot over IMAP", servers.dovecot, None),
        ("Dovecot's Maildir", servers.dovecot, "dovecot"),
        ("Courier over IMAP", servers.courier, None),
        ("Courier's Maildir", servers.courier, "courier"),
        ("qmail's Maildir", servers.courier, "qmail"),  # in Courier's place, but never opened by it
        ("Cyrus over IMAP", servers.cyrus, None),
    )
    for number, (target, server, flavour) in enumerate(wanted, start=1):
        login = f"{origin.user}{number}"
        address = f"imap://{login}@127.0.0.1:{server.port}?tls=none"
        if flavour is not None:
            assert not isinstance(server, Cyrus)
            home = server.root / "mail" / login
            home.mkdir(parents=True)
            os.chown(home, *server.owner)
            address = f"maildir:{home}/Maildir?flavour={flavour}&owner={server.owner[0]}"
        yield _our_case(servers, origin, target, server, login, address, flavour)


def _our_case(
    servers: Servers, origin: Origin, target: str, server: Server, login: str, address: str, flavour: str | None
) -> Case:
    source = f"imap://{origin.user}@127.0.0.1:{origin.server.port}?tls=none"
    ledger = servers.root / f"{login}.db"

    def ferry(command: str, *options: str) -> str:
        environment = {**os.environ, "MAILFERRY_SOURCE_PASSWORD": PASSWORD, "MAILFERRY_TARGET_PASSWORD": PASSWORD}
        argv = [str(File(sys.executable).with_name("mailferry")), command, *options, "--ledger", str(ledger), "--json"]
        done = subprocess.run(argv, env=environment, check=False, capture_output=True, text=True, timeout=_SECONDS)
        if done.returncode not in (0, 1):
            raise LabError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def verify() -> dict[str, Any]:
        ferry("verify", source, address)
        (mailbox,) = json.loads(ferry("report"))["mailboxes"]
        return dict(mailbox)

    return Case(
        tool="Mailferry",
        target=target,
        origin=origin,
        run=lambda options: _done(ferry("copy", source, address, "--same-names", *options)),
        read=lambda: read(server, login, flavour),
        same_uids=flavour in ("dovecot", "courier"),
        verify=verify,
    )


def _done(_: str) -> None:
    return


def read(server: Server, login: str, flavour: str | None) -> Snapshot:
    """What came: through the server, or from the files where none serves them."""
    if flavour == "qmail":
        return files_snapshot(server.root / "mail" / login / "Maildir")
    return snapshot(server.port, login)


def _mbsync(servers: Servers, origin: Origin) -> Case:
    login, place = "peer-mbsync", servers.root / "mbsync"
    (place / "state").mkdir(parents=True)

    def store(name: str, port: int, user: str) -> str:
        return (
            f"IMAPStore {name}\nHost 127.0.0.1\nPort {port}\nUser {user}\nPass {PASSWORD}\n"
            "SSLType None\nAuthMechs LOGIN\n\n"
        )

    (place / "rc").write_text(
        store("far", origin.server.port, origin.user)
        + store("near", servers.dovecot.port, login)
        + "Channel all\nFar :far:\nNear :near:\nPatterns *\nSync Pull\nCreate Near\nExpunge Near\n"
        + f"CopyArrivalDate yes\nSyncState {place}/state/\n"
    )
    return _peer(servers, origin, "mbsync", login, ["mbsync", "-q", "-c", str(place / "rc"), "all"])


def _doveadm(servers: Servers, origin: Origin) -> Case:
    login = "peer-doveadm"
    argv = [
        *(binary("doveadm"), "-c", str(servers.dovecot.config_file)),
        *("-o", "imapc_host=127.0.0.1", "-o", f"imapc_port={origin.server.port}"),
        *("-o", f"imapc_user={origin.user}", "-o", f"imapc_password={PASSWORD}"),
        *("-o", "imapc_features=rfc822.size fetch-headers", "-o", "mail_prefetch_count=20"),
        *("backup", "-R", "-u", login, "imapc:"),
    ]
    return _peer(servers, origin, "doveadm backup", login, argv)


def _peer(servers: Servers, origin: Origin, tool: str, login: str, argv: list[str]) -> Case:
    def go(_: tuple[str, ...]) -> None:
        subprocess.run(
            argv, check=False, capture_output=True, timeout=_SECONDS
        )  # what its exit code is worth shows in what came

    return Case(
        tool=tool,
        target=f"Dovecot, by {tool}",
        origin=origin,
        run=go,
        read=lambda: snapshot(servers.dovecot.port, login),
        same_uids=tool.startswith("doveadm"),
    )


def _result(case: Case, truth: Snapshot) -> Result:
    report = case.verify() if case.verify else None
    copy = case.read()
    if report is not None:
        excluded = {tuple(one["source"]): one["rule"] for one in report["folders"] if one["rule"]}
        named = {tuple(one["source"]): tuple(one["target"]) for one in report["folders"] if one["target"]}
        places = {path: named[path] for path in truth.folders if path in named and path not in excluded}
    else:
        excluded = {}
        places = {path: path for path in truth.folders}
    likeness = compare(truth, copy, places, case.origin.uses, same_uids=case.same_uids)
    for path in truth.folders.keys() - places.keys() - excluded.keys():
        likeness.differences.append(Difference(Aspect.FOLDER, path, None, "it was not copied, and no rule says so"))
    digests = {(path, item.uid): item.digest for path, view in truth.folders.items() for item in view.items}
    return Result(
        likeness=likeness,
        named=tuple((one, words_for(one, report) if report else None) for one in likeness.differences),
        places=places,
        excluded=excluded,
        score=report["score"] if report else None,
        kinds={key: case.origin.kinds[digest] for key, digest in digests.items() if digest in case.origin.kinds},
    )


_REASONS: Mapping[Aspect, frozenset[str]] = {
    Aspect.BYTES: frozenset({"nul-bytes", "bare-newline"}),
    Aspect.FLAGS: frozenset({"flags"}),
    Aspect.KEYWORDS: frozenset({"keywords"}),
    Aspect.SUBSCRIPTION: frozenset({"subscription"}),
    Aspect.ACL: frozenset({"acl"}),
    Aspect.METADATA: frozenset({"metadata"}),
}
_FINDINGS: Mapping[Aspect, frozenset[str]] = {
    Aspect.BYTES: frozenset({"altered"}),
    Aspect.FLAGS: frozenset({"flags"}),
    Aspect.KEYWORDS: frozenset({"keywords"}),
    Aspect.DATE: frozenset({"date"}),
    Aspect.ZONE: frozenset({"zone"}),
    Aspect.SUBSCRIPTION: frozenset({"subscription"}),
    Aspect.SPECIAL_USE: frozenset({"special-use"}),
    Aspect.FOLDER: frozenset({"folder-failed"}),
}
"""That verification noticed a loss, a double or other bytes (`missing`, `duplicate`, `content`) excuses nothing."""


def words_for(one: Difference, report: Mapping[str, Any]) -> str | None:
    """What Mailferry's report says of a difference: an open failure, or a finding of its verification."""
    for row in report["failures"]:
        same = row["uid"] in (one.uid, None) and row["folder"] == list(one.path)
        lost = one.aspect is Aspect.LOST and row["kind"] == "failed"
        if same and (lost or (row["kind"] != "failed" and row["reason"] in _REASONS.get(one.aspect, ()))):
            return f"{row['reason']}: {row['text']}"
    for row in report["findings"]:
        same = row["uid"] in (one.uid, None) and row["folder"] == list(one.path)
        if same and row["kind"] in _FINDINGS.get(one.aspect, ()):
            return f"{row['kind']}: {row['text']}"
    return None


if __name__ == "__main__":
    sys.exit(main())
