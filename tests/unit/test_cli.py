"""The command line without servers: pages that tell the truth, wrong arguments, addresses, lists, secrets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab import cli_page
from mailferry.config.accounts import parse_address, read_pairs
from mailferry.errors import ConfigError, UserError
from mailferry.model.account import ImapAccount, MaildirAccount, MaildirFlavour, PstAccount, Tls
from mailferry.secret import Secret

DOCS = Path(__file__).parents[2] / "docs"
FERRY = str(Path(sys.executable).with_name("mailferry"))


def ferry(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAILFERRY_")}
    return subprocess.run(
        [FERRY, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, **environment},
        stdin=subprocess.DEVNULL,
    )


def test_the_reference_page_is_the_commands() -> None:
    assert cli_page.PAGE.read_text(encoding="utf-8") == cli_page.page(), "run `make docs`"


def test_every_exit_code_is_in_the_help_and_in_the_docs() -> None:
    shown = ferry("--help").stdout
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    for code in cli_page.codes():
        assert re.search(rf"\b{code}\b", shown)
        assert f"| {code} |" in page


def test_help_imports_no_engine() -> None:
    heavy = ("sqlalchemy", "asyncio", "rich")
    code = f"import sys, mailferry.cli.main; print([m for m in sys.modules if m.startswith({heavy})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_terminal_without_a_letter_gets_it_escaped() -> None:
    done = ferry("directory", "undo", "Łд", PYTHONIOENCODING="latin-1")
    assert (done.returncode, r"'\u0141\u0434' is not a valid" in done.stderr) == (2, True)


def test_a_full_disk_behind_the_output() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([FERRY, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (69, "mailferry: output: No space left on device\n")


def test_a_bug_of_ours_has_its_own_exit_code() -> None:
    code = "import mailferry.cli.main as m; m.cli = lambda **_: 1 / 0; m.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert "please report it" in done.stderr


def test_completion_offers_the_commands() -> None:
    done = ferry(_MAILFERRY_COMPLETE="bash_complete", COMP_WORDS="mailferry ver", COMP_CWORD="1")
    assert "verify" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["frobnicate"], 2, "No such command"),
        (["copy", "imaps://a@h"], 2, "TARGET"),
        (["copy", "ews:x", "maildir:/tmp/x"], 64, "not an address that Mailferry knows"),
        (["copy", "imaps://a:geheim@h", "maildir:/tmp/x"], 64, "password must not stand in an address"),
        (["copy", "imaps://a@h", "maildir:/tmp/x"], 64, "MAILFERRY_SOURCE_PASSWORD"),
        (["copy", "imaps://a@h", "maildir:/tmp/x", "--source-password", "geheim"], 78, "not a reference to a secret"),
        (["copy", "imaps://a@h", "maildir:/tmp/x", "--source-password", "env:NOT_SET"], 78, "env:NOT_SET"),
        (["copy", "imaps://h", "maildir:/x/{user}", "--accounts", "/nowhere.csv"], 64, "/nowhere.csv"),
        (["copy", "maildir:/tmp/x", "maildir:/tmp/x"], 64, "the same account"),
        (["copy", "maildir:/tmp/x", "maildir:/tmp/y", "--map", "nonsense"], 64, "OLD=NEW"),
        (["status", "--ledger", "/proc/nowhere/l.db"], 64, "/proc/nowhere"),
        (["log", "9", "--ledger", "{tmp}/l.db"], 64, "no such run"),
        (["pause", "--ledger", "{tmp}/l.db"], 64, "at work: none"),
    ],
)
def test_wrong_arguments(arguments: list[str], code: int, says: str, tmp_path: Path) -> None:
    done = ferry(*(one.replace("{tmp}", str(tmp_path)) for one in arguments), XDG_STATE_HOME=str(tmp_path))
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "geheim" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_addresses() -> None:
    account = parse_address("imap://alice@acme.example@[::1]:1143?tls=none&admin=root&timeout=3")
    assert isinstance(account, ImapAccount)
    assert (account.user, account.host, account.port) == ("alice@acme.example", "::1", 1143)
    assert (account.tls, account.admin, account.timeout) == (Tls.NONE, "root", 3.0)
    delegated = parse_address("imaps://alice@h?login=ACME\\admin\\{user}")
    assert isinstance(delegated, ImapAccount)
    assert delegated.login == "ACME\\admin\\alice"
    assert delegated.key == "imap://alice@h:993"
    place = parse_address("maildir:/v/{domain}/{localpart}?flavour=qmail&owner=0", user="bob@x.example")
    assert place == MaildirAccount("/v/x.example/bob", MaildirFlavour.QMAIL, (0, 0))
    file = parse_address("pst:/v/{localpart}.pst?owner={user},a@y.example&domain=x.example", user="bob@x.example")
    assert file == PstAccount("/v/bob.pst", ("bob@x.example", "a@y.example"), domain="x.example")


@pytest.mark.parametrize(
    "text",
    [
        "imaps://a@h?foo=1",
        "imaps://a@h?tls=maybe",
        "imaps://a@h:0",
        "imaps://h",
        "maildir:",
        "imaps://a@h?timeout=x",
        "pst:",
        "pst:/f?owner=bob",
    ],
)
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(UserError):
        parse_address(text)


@pytest.mark.parametrize("user", ["../x", "a/b", "..", ""])
def test_a_user_name_leaves_no_directory(user: str) -> None:
    with pytest.raises(UserError):
        parse_address("maildir:/v/{user}/Maildir", user=user)
    with pytest.raises(UserError):
        parse_address("pst:/v/{user}", user=user)


def test_account_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "s3cret")
    file = tmp_path / "a.csv"
    file.write_text("source_user;target_user;source_password\nalice;a;env:A_SECRET\n\nböb;;\n", encoding="utf-8-sig")
    first, second = read_pairs(file, "imaps://old", "imaps://new")
    assert isinstance(first.source, ImapAccount)
    assert first.source.secret is not None
    assert first.source.secret.reveal() == "s3cret"
    assert "s3cret" not in repr(first)
    assert [one.key for one in (first.target, second.source, second.target)] == [
        "imap://a@new:993",
        "imap://böb@old:993",
        "imap://böb@new:993",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("user\nalice\n", "unknown column 'user'"),
        ("target_user\nalice\n", "no column source_user"),
        ("source_user\nalice\nalice\n", "stands in line 2 already"),
        ("source_user,target_user\n,bob\n", "no source_user"),
        ("source_user,target_user\nalice\n", "not as many fields"),
        ("source_user\n", "no mailbox"),
    ],
)
def test_wrong_account_lists(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_pairs(file, "imaps://old", "imaps://new")
    assert says in caught.value.message
    assert str(file) in caught.value.about


def test_secrets_never_show(tmp_path: Path) -> None:
    file = tmp_path / "s"
    file.write_text("word\nsecond line\n", encoding="utf-8")
    secret = Secret.from_reference(f"file:{file}")
    assert secret.reveal() == "word"
    assert {str(secret), repr(secret), f"{secret}", f"{secret:>20}".strip()} == {"***"}
    assert Secret.from_reference("command:echo word").reveal() == "word"
    for wrong in ("word", "file:/nowhere", "command:false", "env:NOT_SET_AT_ALL"):
        with pytest.raises(ConfigError) as caught:
            Secret.from_reference(wrong)
        assert wrong != "word" or "word" not in caught.value.about.replace("password", "")
