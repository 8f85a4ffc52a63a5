"""Pigeonhole's own compiler and tester, run on a script and a message. Reads what they say."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.rules.cases import ME, PLAIN

_CONFIG = "sieve.conf"


def deeds(script: str, message: Mapping[str, str], folder: Path) -> list[str]:
    """What the script does with the message, in sieve-test(1)'s words, without the numbers of its list."""
    config, source, mail = folder / _CONFIG, folder / "script.sieve", folder / "message.eml"
    me = f"mail_uid = {os.getuid() or 65534}\nmail_gid = {os.getgid() or 65534}\n"
    me += "first_valid_uid = 1\nfirst_valid_gid = 1\n"
    config.write_text(f"{me}mail_home = {folder}\nmail_location = maildir:{folder}/none\n")
    source.write_bytes(script.encode())
    headers = {**PLAIN, **message}
    body = headers.pop("body", "text")
    mail.write_text("".join(f"{name}: {value}\n" for name, value in headers.items()) + f"\n{body}\n")
    command = ["sieve-test", "-c", str(config), "-a", ME, "-f", "zoe@outside.example", str(source), str(mail)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    assert "error" not in done.stderr.lower(), (script, done.stderr)
    return [line.strip(" *\t") for line in done.stdout.splitlines() if re.match(r"\s*(\*|\+ add)", line)]


def compiles(script: str, folder: Path) -> None:
    """Raises AssertionError with what sieve-c(1) says where it does not."""
    source = folder / "script.sieve"
    source.write_bytes(script.encode())
    done = subprocess.run(["sievec", str(source), str(folder / "x.svbin")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (script[:2000], done.stderr)
