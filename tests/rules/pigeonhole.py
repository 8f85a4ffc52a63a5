"""Pigeonhole's own compiler and tester, run on a script and a message. Reads what they say."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.rules.cases import ME, PLAIN

_CONFIG = "sieve.conf"
_DEED = r"\s*(\*|\+ add)"


def deeds(script: str, message: Mapping[str, str], folder: Path) -> list[str]:
    """What the script does with the message, in sieve-test(1)'s words, without the numbers of its list."""
    return [line.strip(" *\t") for line in _run(script, message, folder).splitlines() if re.match(_DEED, line)]


def replies(script: str, message: Mapping[str, str], folder: Path) -> list[str]:
    """The texts that it answers with."""
    return re.findall(r"^START MESSAGE\n(.*?)\nEND MESSAGE$", _run(script, message, folder), re.MULTILINE | re.DOTALL)


def _run(script: str, message: Mapping[str, str], folder: Path) -> str:
    config, source, mail = folder / _CONFIG, folder / "script.sieve", folder / "message.eml"
    me = f"mail_uid = {os.getuid() or 65534}\nmail_gid = {os.getgid() or 65534}\n"
    me += "first_valid_uid = 1\nfirst_valid_gid = 1\n"
    plugin = "plugin {\n  sieve_extensions = +editheader\n  sieve_max_script_size = 4M\n}\n"
    config.write_text(f"{me}mail_home = {folder}\nmail_location = maildir:{folder}/none\n{plugin}")
    source.write_bytes(script.encode())
    headers = {**PLAIN, **message}
    body = headers.pop("body", "text")
    mail.write_text("".join(f"{name}: {value}\n" for name, value in headers.items()) + f"\n{body}\n")
    command = ["sieve-test", "-c", str(config), "-a", ME, "-f", "zoe@outside.example", str(source), str(mail)]
    done = subprocess.run(command, capture_output=True, check=False)
    said, errors = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 0, (script, said, errors)
    assert "error" not in errors.lower(), (script, errors)
    return said.replace("\r\n", "\n")


def compiles(script: str, folder: Path) -> None:
    """Raises AssertionError with what sieve-c(1) says where it does not."""
    source = folder / "script.sieve"
    source.write_bytes(script.encode())
    done = subprocess.run(["sievec", str(source), str(folder / "x.svbin")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (script[:2000], done.stderr)
