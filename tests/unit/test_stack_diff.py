"""No secret is shown in a difference, and what differs in a secret alone still differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailferry.stack.diff import differences, redacted
from mailferry.stack.file import File, Kit


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("bind_pw = s3cret word", "bind_pw = ***"),
        ('dnpass = "s3cret"', "dnpass = ***"),
        ("olcRootPW: {ARGON2}$argon2id$s3cret", "olcRootPW: ***"),
        ("userPassword:: czNjcmV0", "userPassword:: ***"),
        (
            'olcSyncrepl: {0}rid=1 credentials="s3cret word" searchbase=x',
            "olcSyncrepl: {0}rid=1 credentials=*** searchbase=x",
        ),
        ("credentials=s3cret type=x", "credentials=*** type=x"),
        ("mailferry:{ARGON2ID}$argon2id$v=19$s3cret::::::x", "mailferry:{ARGON2ID}***::::::x"),
        ("disable_plaintext_auth = no", "disable_plaintext_auth = no"),
        ("query_filter = (uid=password)", "query_filter = (uid=password)"),
    ],
)
def test_secrets_are_stars(line: str, shown: str) -> None:
    assert redacted(f"first\n{line}\nlast\n") == f"first\n{shown}\nlast\n"


def test_what_differs(tmp_path: Path) -> None:
    def kit(content: str, mode: int = 0o644) -> Kit:
        return Kit("x", (File("a", content.encode(), mode, tmp_path / "a"), File("README.md", b"for people")), "", "")

    (missing,) = differences(kit("one\n"))
    assert missing.missing and "+one" in missing.text
    (tmp_path / "a").write_text("one\nbind_pw = old\n")
    (tmp_path / "a").chmod(0o644)
    assert list(differences(kit("one\nbind_pw = old\n"))) == []
    (secret,) = differences(kit("one\nbind_pw = new\n"))
    assert "only secrets or permissions differ" in secret.text and "new" not in secret.text and "old" not in secret.text
    (line,) = differences(kit("two\nbind_pw = new\n"))
    assert "-one\n+two\n" in line.text and "new" not in line.text
    (mode,) = differences(kit("one\nbind_pw = old\n", 0o640))
    assert "(permissions 644, rendered 640)" in mode.text
