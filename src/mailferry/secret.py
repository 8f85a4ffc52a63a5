"""Secrets: a value that never shows itself, and the places it may come from.

A `Secret` prints as `***` in every way Python prints things; only `reveal()` gives the text. Does not store secrets.
References accepted by `Secret.from_reference`: `env:NAME`, `file:PATH` (first line), `command:COMMAND` (first line of
its output), `keyring:SERVICE/USER` (needs the keyring package). A literal secret has no reference form on purpose:
argv is visible to every user of the machine.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mailferry.errors import ConfigError


class Secret:
    """A text that redacts itself in repr, str, format and pickles."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is never serialised")

    @classmethod
    def from_reference(cls, reference: str) -> Secret:
        """Read a secret from `env:`, `file:`, `command:` or `keyring:`; ConfigError says what failed."""
        kind, _, rest = reference.partition(":")
        if kind == "env" and rest:
            value = os.environ.get(rest)
            if value is None:
                raise ConfigError("the environment variable is not set", about=reference)
            return cls(value)
        if kind == "file" and rest:
            try:
                lines = Path(rest).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"cannot read the secret file: {error}", about=reference) from error
            return cls(_first_line(lines, reference))
        if kind == "command" and rest:
            done = subprocess.run(["/bin/sh", "-c", rest], stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode != 0:
                raise ConfigError(f"the command ended with code {done.returncode}", about=reference)
            return cls(_first_line(done.stdout.splitlines(), reference))
        if kind == "keyring" and "/" in rest:
            return cls(_from_keyring(rest, reference))
        raise ConfigError(
            "not a reference to a secret",
            about="the password reference",  # not its text: people do type the password itself here
            advice="give env:NAME, file:PATH, command:COMMAND or keyring:SERVICE/USER",
        )


def _first_line(lines: list[str], reference: str) -> str:
    if not lines or not lines[0]:
        raise ConfigError("it gave no text", about=reference)
    return lines[0]


def _from_keyring(rest: str, reference: str) -> str:
    try:
        import keyring
    except ImportError as error:
        raise ConfigError(
            "the keyring package is not installed", about=reference, advice="pip install keyring"
        ) from error
    service, _, user = rest.partition("/")
    value: str | None = keyring.get_password(service, user)
    if value is None:
        raise ConfigError("the keyring holds no such entry", about=reference)
    return value
