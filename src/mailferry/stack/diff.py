"""What is rendered against what is installed, as a unified diff without secrets. Pure but for `installed`, which reads.

Invariants: no secret is ever in the text; two files that differ in a secret alone still count as different.
"""

from __future__ import annotations

import difflib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailferry.errors import Permanent
from mailferry.stack.file import File, Kit

_SECRET = re.compile(
    r"^(?P<name>[ \t]*(?:bind_pw|dnpass|password|enable_password|olcRootPW|userPassword)[ \t]*(?:=|::?)[ \t]*"
    r"|LDAP_BINDPW[ \t]+)\S.*$"
    r"|(?P<within>credentials=)(?:\"[^\"]*\"|\S+)"
    r"|(?P<scheme>\{(?:ARGON2\w*|SSHA\w*|[A-Z0-9-]*CRYPT|PLAIN)\})[^\s:]+",
    re.MULTILINE | re.IGNORECASE,
)
_OF_THE_SERVER = re.compile(
    r"^(structuralObjectClass|entryUUID|creatorsName|createTimestamp|entryCSN|modifiersName|modifyTimestamp|contextCSN)"
    r"::? .*\n",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One file that is not installed as it is rendered. `text`: the unified diff, secrets as `***`; `missing`: it is
    not installed at all."""

    name: str
    place: Path
    text: str
    missing: bool = False


def redacted(text: str) -> str:
    """The text of a configuration file with `***` in the place of secrets."""
    return _SECRET.sub(lambda found: f"{found['name'] or found['within'] or found['scheme']}***", text)


def differences(kit: Kit) -> Iterator[Difference]:
    """What install.sh would change on this host. Permanent: something there cannot be read."""
    for file in kit.files:
        if file.place is not None:
            found = _slapd(file) if file.name == "config.ldif" else _file(file)
            if found is not None:
                yield found


def _file(file: File) -> Difference | None:
    assert file.place is not None
    have = installed(file.place)
    mode = file.place.stat().st_mode & 0o777 if have is not None else file.mode
    if have == file.content and mode == file.mode:
        return None
    text = _unified(have or b"", file.content, file.place)
    if mode != file.mode:
        text += f"(permissions {mode:o}, rendered {file.mode:o})\n"
    return Difference(file.name, file.place, text, have is None)


def installed(place: Path) -> bytes | None:
    """What stands there; None: nothing."""
    try:
        return place.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Permanent(f"it cannot be read: {error.strerror}", about=str(place), advice="run it as root") from error


def _slapd(file: File) -> Difference | None:
    """slapd keeps its configuration as a directory; both are compared as slapcat(8) writes them."""
    assert file.place is not None
    with tempfile.TemporaryDirectory(prefix="mailferry-slapd-") as scratch:
        want = slapd_config(file.content, Path(scratch))
    have = _slapcat(file.place) if file.place.exists() else b""
    if have == want:
        return None
    return Difference(file.name, file.place, _unified(have, want, file.place), not have)


def slapd_config(ldif: bytes, scratch: Path) -> bytes:
    """A configuration as slapd would keep it, made in a directory of nobody's. Permanent: slapadd refuses it."""
    config, data = scratch / "slapd.d", scratch / "data"
    config.mkdir()
    data.mkdir()
    found = re.search(rb"^olcDbDirectory: (.*)$", ldif, re.MULTILINE)
    real = found[1] if found else b""
    moved = ldif.replace(b"olcDbDirectory: " + real, b"olcDbDirectory: " + str(data).encode())
    _run(["slapadd", "-n", "0", "-F", str(config)], moved)
    return _slapcat(config).replace(str(data).encode(), real)


def _slapcat(config: Path) -> bytes:
    said = _run(["slapcat", "-n", "0", "-o", "ldif-wrap=no", "-F", str(config)])
    return _OF_THE_SERVER.sub("", said.decode("utf-8", "replace")).encode()


def _run(command: list[str], stdin: bytes = b"") -> bytes:
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, input=stdin, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        )
    except FileNotFoundError as error:
        raise Permanent(
            f"{command[0]} is not installed here", about="openldap", advice="apt-get install slapd"
        ) from error
    if done.returncode:
        said = redacted(done.stderr.decode("utf-8", "replace")).strip()[-500:]
        raise Permanent(f"{command[0]} says: {said}", about=command[-1])
    return done.stdout


def _unified(have: bytes, want: bytes, place: Path) -> str:
    old, new = (redacted(text.decode("utf-8", "replace")).splitlines(keepends=True) for text in (have, want))
    lines = difflib.unified_diff(old, new, f"{place} (installed)", f"{place} (rendered)")
    text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    return text or f"{place}: only secrets or permissions differ\n"
