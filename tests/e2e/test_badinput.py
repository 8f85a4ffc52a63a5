"""Whatever is wrong around a copy: the exit code says what kind, the text which object and what to do next, no secret
is shown, and when it is put right, nothing is lost and nothing comes twice (issue 2, section 3)."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.corpus import CorpusFolder
from lab.dovecot import Dovecot
from lab.maildir import encode_utf7, seed
from lab.process import PASSWORD
from lab.proxy import Say, TcpProxy
from tests.e2e import moves
from tests.e2e.cases import Case, NewCase
from tests.e2e.moves import Done

WRONG = "wr0ng-pass"


def refused(case: Case, code: int, *words: str) -> Done:
    """The copy ends with this code and these words; it shows what to do next, and no secret anywhere."""
    done = case.move.run(as_json=False)
    assert done.code == code, (case.name, done)
    for word in words:
        assert word in done.err, (word, done)
    assert "→" in done.err, done
    for secret in (PASSWORD, WRONG, base64.b64encode(f"\0e2e\0{WRONG}".encode()).decode()):
        assert secret not in done.out + done.err + case.log(), (secret, done)
    assert "Traceback" not in done.err + case.log(), (done, case.log())
    return done


def only_missing(case: Case) -> bool:
    """What the target has is right; it only has not everything."""
    tallies = moves.compare(case.source, case.read_target()).values()
    return any(tally.lost for tally in tallies) and not any(tally.twice or tally.wrong for tally in tallies)


# Who we are


@pytest.mark.parametrize("side", ["SOURCE", "TARGET"])
def test_wrong_password(new_case: NewCase, dovecot_exchange: Dovecot, dovecot_open: Dovecot, side: str) -> None:
    with new_case() as case:
        proxy = case.from_source if side == "SOURCE" else case.to_target
        case.move.environment[f"MAILFERRY_{side}_PASSWORD"] = WRONG
        refused(case, 77, f"127.0.0.1:{proxy.port}", "refused the log-in", "check user name and password")
        del case.move.environment[f"MAILFERRY_{side}_PASSWORD"]
        case.finish()


def test_no_password_and_nobody_to_ask(new_case: NewCase) -> None:
    with new_case() as case:
        case.move.environment["MAILFERRY_TARGET_PASSWORD"] = ""
        refused(case, 77, f"127.0.0.1:{case.to_target.port}")


def test_authenticated_but_not_connected(new_case: NewCase) -> None:
    with new_case() as case:
        rule = case.from_source.at(
            "to_client", rb"\* LIST", Say(b"* BYE User is authenticated but not connected.\r\n"), where="start"
        )
        refused(case, 77, f"127.0.0.1:{case.from_source.port}", "gives no mailbox", "delegated")
        assert rule.fired == 1  # asked once: it is an answer, not an accident
        case.finish()


# TLS


def test_no_tls_where_it_is_required(new_case: NewCase) -> None:
    with new_case() as case:
        greeting = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n"
        case.from_source.at("to_client", rb"\* OK", Say(greeting), where="start", times=None)
        sent = case.from_source.at("to_server", rb"AUTHENTICATE|LOGIN", Say(b""), where="start")
        case.move.source = case.move.source.replace("?tls=none", "")
        refused(case, 77, "no STARTTLS", f"127.0.0.1:{case.from_source.port}", "imaps://")
        assert sent.fired == 0


@pytest.mark.parametrize("scheme", ["imaps", "imap"])
def test_a_certificate_that_nobody_vouches_for(new_case: NewCase, dovecot_exchange: Dovecot, scheme: str) -> None:
    with new_case() as case:
        port = dovecot_exchange.tls_port if scheme == "imaps" else dovecot_exchange.port
        case.move.source = f"{scheme}://e2e@127.0.0.1:{port}"
        refused(case, 69, f"127.0.0.1:{port}", "certificate cannot be trusted", "ca=FILE")
        case.move.source += f"?ca={dovecot_exchange.ca_file}"
        case.finish()


# The wrong port, and servers that have gone mad

MAD = {
    "garbage": bytes(range(1, 256)) * 40 + b"\r\n",
    "endless line": b"* LIST " + b"x" * 20_000_000,
    "2^63 literal": b'* LIST () "/" {9223372036854775808}\r\n',
    "10,000 deep": b"* LIST " + b"(" * 10_000 + b"\r\n",
    "an answer to no question": b"m99 OK done\r\n",
}


@pytest.mark.parametrize("what", MAD)
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_breaks_its_protocol(new_case: NewCase, what: str, side: str) -> None:
    with new_case() as case:
        proxy = case.from_source if side == "source" else case.to_target
        proxy.at("to_client", rb"\* LIST", Say(MAD[what]), where="start")
        refused(case, 76, f"127.0.0.1:{proxy.port}")
        case.finish()


def test_smtp_on_this_port(new_case: NewCase) -> None:
    with new_case() as case:
        case.to_target.at("to_client", rb"\* OK", Say(b"220 mx.example.org ESMTP Postfix\r\n"), where="start")
        refused(case, 76, f"127.0.0.1:{case.to_target.port}", "SMTP", "port")


def test_pop3_on_this_port(new_case: NewCase, dovecot_open: Dovecot) -> None:
    with new_case() as case:
        case.move.target = f"imap://x@127.0.0.1:{dovecot_open.pop3_port}?tls=none"
        refused(case, 76, f"127.0.0.1:{dovecot_open.pop3_port}", "POP3", "port")


def test_tls_expected_where_there_is_none(new_case: NewCase, dovecot_open: Dovecot) -> None:
    with new_case() as case:
        case.move.target = f"imaps://x@127.0.0.1:{dovecot_open.port}"
        refused(case, 76, "does not speak TLS", "imap://")


# Messages and folders


def test_the_source_refuses_one_message(new_case: NewCase, dovecot_exchange: Dovecot) -> None:
    """A file that its server may not read: NO to one FETCH."""
    user = f"unreadable{os.getpid()}"
    moves.fill_source(dovecot_exchange, user)
    path = sorted((dovecot_exchange.maildir(user) / "cur").glob("*,S=*"))[7]
    with new_case(source_user=user) as case:
        path.chmod(0)
        done = case.move.run()
        assert done.code == 1, done
        assert (done.counts["failed"], done.counts["copied"]) == (1, done.counts["listed"] - 1), done.counts
        assert moves.differences(case.source, case.read_target()) == ["INBOX: 1 lost"]
        path.chmod(0o600)
        case.finish()


def test_the_quota_is_reached(new_case: NewCase, dovecot_open: Dovecot) -> None:
    with new_case() as case:
        user = case.move.target.partition("//")[2].partition("@")[0]
        dovecot_open.set_quota(user, 400_000)
        done = case.move.run()
        assert done.code in (1, 69), done
        counts = done.counts
        assert counts["failed"] and counts["copied"], counts
        assert counts["listed"] == counts["copied"] + counts["there"] + counts["failed"], counts
        assert only_missing(case)
        dovecot_open.set_quota(user, 400_000_000)
        case.finish()


def test_a_message_over_the_target_s_limit(new_case: NewCase) -> None:
    settings = "plugin {\n  quota_max_mail_size = 20k\n}\n"
    with Dovecot(settings=settings) as small, TcpProxy(small.port) as proxy, new_case() as case:
        case.move.target = f"imap://u1@127.0.0.1:{proxy.port}?tls=none"
        done = case.move.run()
        assert done.code == 1, done
        too_large = done.counts["failed"]
        assert 0 < too_large < 40 and done.counts["copied"] == done.counts["listed"] - too_large, done.counts
        there = moves.contents(small.port, "u1", ".")
        lost = moves.differences(case.source, there)
        assert lost and all(line.endswith(" lost") for line in lost), lost
        again = case.move.run()
        assert (again.code, again.counts["failed"], again.counts["copied"]) == (1, too_large, 0), again
        assert moves.contents(small.port, "u1", ".") == there


HOSTILE = (
    *(
        "..",
        ".",
        "...",
        "/etc",
        "../../../../tmp/out",
        "a/b",
        "trailing ",
        " leading",
        "dots.in.name.",
        "cur",
        "new",
        "tmp",
    ),
    *(
        "dovecot-uidlist",
        "x" * 180,
        "nul\0here",
        "line\r\nbreak",
        "~",
        "#shared",
        'quote"back\\slash',
        "per%cent*",
        "INBOX.INBOX",
    ),
    *("Инбокс", "inbox", "&-", "&AGE-"),
)


@pytest.mark.parametrize("target", ["imap", "plain", "maildir"])
def test_hostile_folder_names(new_case: NewCase, tmp_path: Path, target: str) -> None:
    """As a Maildir source gives them: each message comes or is named as failed, and no path leaves the target."""
    root = tmp_path / "hostile" / "Maildir"
    names = [name for name in HOSTILE if len(encode_utf7(name)) < 250]
    for number, name in enumerate(["", *names]):
        level = "".join(f"&{_utf7(char)}-" if char in "./\0\r\n&" else encode_utf7(char) for char in name)
        place = root / f".{level}" if name else root
        for part in ("cur", "new", "tmp"):
            (place / part).mkdir(parents=True, exist_ok=True)
        (place / "cur" / f"{1_600_000_000 + number}.M1P1.host:2,S").write_bytes(
            b"Subject: %d\n\n%d\n" % (number, number)
        )
    with new_case(target) as case:
        case.move.source = f"maildir:{root}"
        done = case.move.run()
        counts = done.counts
        assert done.code in (0, 1), done
        assert counts["listed"] == len(names) + 1, counts
        assert counts["listed"] == counts["copied"] + counts["failed"], counts
        assert sum(map(len, case.read_target().values())) == counts["copied"], (counts, case.read_target().keys())
        refused_names = ("cur", "new", "tmp", "dovecot-uidlist") if target == "plain" else ()  # by its layout on disk
        assert counts["failed"] == counts["broken"] == len(refused_names), (counts, case.log())
        assert all(f"create the folder {name}:" in case.log() for name in refused_names)
        if target != "plain":
            assert beside(case.target_path) == {"Maildir"}
        assert not Path("/tmp/out").exists()
        again = case.move.run()
        assert again.counts["copied"] == 0 and again.counts["failed"] == counts["failed"], again


def _utf7(char: str) -> str:
    return base64.b64encode(char.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",").decode()


def beside(maildir: Path) -> set[str]:
    """What stands beside a Maildir in its owner's home, but for Dovecot's own files."""
    return {path.name for path in maildir.parent.iterdir() if not path.name.startswith("dovecot")}


# Disks


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system of its own of that size."""
    place.mkdir(parents=True)
    as_root("mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(place))
    try:
        yield
    finally:
        as_root("umount", "--lazy", str(place))  # Dovecot may be about to leave it


def as_root(*command: str) -> None:
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*sudo, *command], check=True)


def test_the_ledger_s_disk_is_full(new_case: NewCase, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "1400k"), new_case() as case:
        case.move.ledger = str(disk / "ledger.db")
        (disk / "ballast").write_bytes(b"x" * 1_050_000)
        done = case.move.run(as_json=False)
        assert done.code == 69, (done, list(disk.rglob("*")))
        assert str(disk / "ledger.db") in done.err and "→" in done.err, done
        assert "Traceback" not in done.err, done
        (disk / "ballast").unlink()
        case.finish()


def test_the_maildir_s_disk_is_full(new_case: NewCase, dovecot_open: Dovecot) -> None:
    with new_case("maildir") as case, small_disk(case.target_path, "1500k"):
        case.move.target = f"maildir:{case.target_path}?owner={dovecot_open.owner[0]}"
        done = case.move.run(as_json=False)
        assert done.code in (1, 69), done
        assert str(case.target_path) in done.err and "Traceback" not in done.err + case.log(), done
        as_root("mount", "-o", "remount,size=50m", str(case.target_path))  # Dovecot needs room to open a folder, too
        assert only_missing(case)
        case.finish()


# The same account, and other runs


def test_source_and_target_are_the_same_account(new_case: NewCase) -> None:
    with new_case() as case:
        case.move.target = case.move.source
        refused(case, 64, "same account")


def test_source_and_target_are_the_same_account_by_another_name(new_case: NewCase, dovecot_exchange: Dovecot) -> None:
    with new_case() as case:
        case.move.target = f"imap://e2e@localhost:{dovecot_exchange.port}?tls=none"
        refused(case, 65, "one mailbox", "--accept same")
        assert moves.contents(dovecot_exchange.port, "e2e", "/") == case.source


def test_nothing_at_the_source_s_path(new_case: NewCase, tmp_path: Path) -> None:
    with new_case() as case:
        case.move.source = f"maildir:{tmp_path / 'none'}"
        refused(case, 69, str(tmp_path / "none"))


def test_a_person_of_another_mailbox(new_case: NewCase, dovecot_exchange: Dovecot) -> None:
    """The same ledger, the same target, another source: nobody sees another person's mail."""
    seed(dovecot_exchange, other := f"other{os.getpid()}", [CorpusFolder(("INBOX",), 3)])
    with new_case() as case:
        assert case.move.run().code == 0
        there = case.read_target()
        mine = case.move.source
        case.move.source = mine.replace("e2e@", f"{other}@")
        refused(case, 65, "already receives")
        assert case.read_target() == there
        case.move.source = mine
        case.finish()
