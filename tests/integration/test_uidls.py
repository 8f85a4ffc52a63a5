"""POP3 clients that leave mail on the server download nothing again after a move into a Maildir that we write."""

from __future__ import annotations

import imaplib
import os
import poplib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import corpus, maildir
from lab.dovecot import Dovecot
from lab.process import PASSWORD


def uidls(server: Dovecot, user: str) -> list[bytes]:
    pop = poplib.POP3(server.host, server.pop3_port)
    pop.user(user)
    pop.pass_(PASSWORD)
    found = [line.split()[1] for line in pop.uidl()[1]]
    pop.quit()
    return found


def copy(source: str, target: str, ledger: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MAILFERRY_SOURCE_PASSWORD": PASSWORD}
    return subprocess.run(
        [str(Path(sys.executable).with_name("mailferry")), "copy", source, target, "--ledger", str(ledger)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("delta", [False, True])
def test_uidls_survive_though_the_target_makes_others_by_itself(
    dovecot_exchange: Dovecot, new_user: Callable[[], str], tmp_path: Path, delta: bool
) -> None:
    user = new_user()
    maildir.seed(dovecot_exchange, user, corpus.mailbox(5, 60, scale=0.1, big=False))
    other_format = "protocol pop3 {\n  pop3_uidl_format = %g\n}\n"
    with Dovecot(flavour="open", users=[user], settings=other_format) as target:
        home = target.maildir(user).parent
        home.mkdir(parents=True, exist_ok=True)
        os.chown(home, *target.owner)
        source = f"imap://{user}@127.0.0.1:{dovecot_exchange.port}?tls=none&pop3={dovecot_exchange.pop3_port}"
        place = f"maildir:{target.maildir(user)}?owner={target.owner[0]}"
        done = copy(source, place, tmp_path / "ledger.db")
        assert done.returncode == 0, done.stderr
        if delta:
            _append(dovecot_exchange, user)
            done = copy(source, place, tmp_path / "ledger.db")
            assert done.returncode == 0, done.stderr
        ours = uidls(dovecot_exchange, user)
        assert len(ours) >= 10 + delta
        assert uidls(target, user) == ours


def _append(server: Dovecot, user: str) -> None:
    connection = imaplib.IMAP4(server.host, server.port)
    connection.login(user, PASSWORD)
    new = b"From: a@acme.example\r\nDate: Mon, 2 Jan 2023 10:00:00 +0000\r\nMessage-ID: <new@x>\r\n\r\nnew\r\n"
    connection.append("INBOX", None, None, new)
    connection.logout()
