"""Who is compared: Mailferry, mbsync, doveadm backup and the raw floor, each as the commands for the same work.

Starts nothing itself. Invariant: every contender gets the same source mailboxes, a target of its own that is new in
each round, and as many processes at once as the machine has cores.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import mailboxes
from bench.mailboxes import Held
from lab.dovecot import Dovecot
from lab.process import PASSWORD, binary


def environment(bytecode: Path) -> dict[str, str]:
    """The environment of all contenders. Python's bytecode is kept in that directory, as an installation by pip has
    it, whatever this machine's own settings are."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    passwords = {"MAILFERRY_SOURCE_PASSWORD": PASSWORD, "MAILFERRY_TARGET_PASSWORD": PASSWORD}
    return {**own, **passwords, "PYTHONPYCACHEPREFIX": str(bytecode)}


Commands = list[list[str]]


@dataclass(frozen=True, slots=True)
class Work:
    """What one contender does in one round. `users` are the source's; `place` is a directory for its state and files.

    The ports may be those of a proxy before the servers.
    """

    source: Dovecot
    target: Dovecot
    source_port: int
    target_port: int
    users: Sequence[str]
    name: str
    place: Path

    def target_user(self, user: str) -> str:
        """The user on the target that belongs to this contender, round and source user."""
        return f"{self.name}-{user}"

    def held(self, user: str) -> Held:
        """What has come of one mailbox."""
        own = _own_maildir(self, user)
        return mailboxes.held_in_files(own) if own.exists() else mailboxes.held(self.target, self.target_user(user))


@dataclass(frozen=True, slots=True)
class Contender:
    """`deltas`: whether it can bring later changes. `mirrors`: whether it removes at the target what has gone."""

    name: str
    commands: Callable[[Work], Commands]
    deltas: bool = True
    mirrors: bool = False


def mailferry() -> str:
    """The command line of this environment."""
    return str(Path(sys.executable).with_name("mailferry"))


def _ours(work: Work) -> Commands:
    return _mailferry(work, f"imap://127.0.0.1:{work.target_port}?tls=none")


def _ours_maildir(work: Work) -> Commands:
    return _mailferry(work, f"maildir:{work.place}/mail/{{user}}")


def _mailferry(work: Work, target: str) -> Commands:
    accounts = work.place / "accounts.csv"
    lines = [f"{user},{work.target_user(user)}\n" for user in work.users]
    accounts.write_text("source_user,target_user\n" + "".join(lines))
    source = f"imap://127.0.0.1:{work.source_port}?tls=none"
    return [[mailferry(), "copy", source, target, "--accounts", str(accounts), "--ledger", str(work.place / "ledger")]]


def _own_maildir(work: Work, user: str) -> Path:
    return work.place / "mail" / work.target_user(user)


def _mbsync(work: Work) -> Commands:
    commands = []
    for user in work.users:
        state = work.place / f"state-{user}"
        state.mkdir(exist_ok=True)
        config = work.place / f"mbsyncrc-{user}"
        config.write_text(
            _mbsync_store("far", work.source_port, user)
            + _mbsync_store("near", work.target_port, work.target_user(user))
            + "Channel all\nFar :far:\nNear :near:\nPatterns *\nSync Pull\nCreate Near\nExpunge None\n"
            + f"CopyArrivalDate yes\nSyncState {state}/\n"
        )
        commands.append([binary("mbsync"), "-q", "-c", str(config), "all"])
    return commands


def _mbsync_store(name: str, port: int, user: str) -> str:
    """Without compression, which mbsync switches on wherever it is offered: here it would only cost it CPU."""
    return (
        f"IMAPStore {name}\nHost 127.0.0.1\nPort {port}\nUser {user}\nPass {PASSWORD}\n"
        "SSLType None\nAuthMechs LOGIN\nDisableExtension COMPRESS=DEFLATE\n\n"
    )


def _doveadm(work: Work) -> Commands:
    return [
        [
            *(binary("doveadm"), "-c", str(work.target.config_file)),
            *("-o", "imapc_host=127.0.0.1", "-o", f"imapc_port={work.source_port}"),
            *("-o", f"imapc_user={user}", "-o", f"imapc_password={PASSWORD}"),
            *("-o", "imapc_features=rfc822.size fetch-headers", "-o", "mail_prefetch_count=20"),
            *("backup", "-R", "-u", work.target_user(user), "imapc:"),
        ]
        for user in work.users
    ]


def _floor(work: Work) -> Commands:
    ends = [(work.source_port, user, work.target_port, work.target_user(user)) for user in work.users]
    return [[sys.executable, "-m", "bench.floor", *map(str, end), PASSWORD] for end in ends]


OURS = Contender("mailferry", _ours)
OURS_MAILDIR = Contender("mailferry to Maildir", _ours_maildir)
MBSYNC = Contender("mbsync", _mbsync)
DOVEADM = Contender("doveadm backup", _doveadm, mirrors=True)
FLOOR = Contender("raw floor", _floor, deltas=False)
