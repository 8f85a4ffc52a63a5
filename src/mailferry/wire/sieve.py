"""Sieve scripts (RFC 5228) as a small tree, and the one place that writes and quotes them. Reads none.

Invariant: whatever texts are in it, the script is well-formed and each string means exactly its text. No command here
uses `variables` or `encoded-character`, so `${…}` is nothing special (RFC 5229 §3, RFC 5228 §2.4.2.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Tag:
    """A tagged argument such as `:contains`, or a bare word."""

    name: str


Argument = str | int | Tag | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Test:
    """A test. `inner`: the tests of `allof`, `anyof`, `not`. `needs`: extensions."""

    name: str
    arguments: tuple[Argument, ...] = ()
    inner: tuple[Test, ...] = ()
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Command:
    """An action or control command. With `test` and `block` it is an `if`."""

    name: str
    arguments: tuple[Argument, ...] = ()
    needs: frozenset[str] = frozenset()
    test: Test | None = None
    block: tuple[Command, ...] = ()


@dataclass(frozen=True, slots=True)
class Comment:
    """Lines for people."""

    text: str


def all_of(tests: Sequence[Test]) -> Test:
    """One test that is all of these; `true` for none."""
    return _joined("allof", "true", tests)


def any_of(tests: Sequence[Test]) -> Test:
    """One test that is any of these; `false` for none."""
    return _joined("anyof", "false", tests)


def not_(test: Test) -> Test:
    return Test("not", inner=(test,))


def _joined(name: str, nothing: str, tests: Sequence[Test]) -> Test:
    return tests[0] if len(tests) == 1 else Test(name, inner=tuple(tests)) if tests else Test(nothing)


def script(parts: Iterable[Command | Comment]) -> str:
    """The whole text, its lines ended by CRLF, `require` first."""
    parts = list(parts)
    needs = sorted(needs_of(parts))
    lines = [f"require {_strings(needs)};"] if needs else []
    for part in parts:
        lines += _comment(part.text) if isinstance(part, Comment) else _command(part, "")
    return "".join(f"{line}\r\n" for line in lines)


def body(commands: Iterable[Command]) -> str:
    """The commands alone, without `require`."""
    return "\n".join(line for one in commands for line in _command(one, ""))


def quote(text: str) -> str:
    """A quoted string. NUL, which no script may hold, becomes U+FFFD; line breaks become CRLF, as a message has them;
    a lone surrogate becomes a question mark."""
    text = text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    text = re.sub("\r\n|\r|\n", "\r\n", text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def needs_of(parts: Iterable[Command | Comment]) -> frozenset[str]:
    """The extensions that a script of these would require."""
    return frozenset(one for part in parts if isinstance(part, Command) for one in _needs(part))


def _needs(command: Command) -> Iterator[str]:
    yield from command.needs
    if command.test is not None:
        yield from _needs_of_test(command.test)
    for one in command.block:
        yield from _needs(one)


def _needs_of_test(test: Test) -> Iterator[str]:
    yield from test.needs
    for one in test.inner:
        yield from _needs_of_test(one)


def _command(command: Command, indent: str) -> list[str]:
    if command.test is None:
        words = [command.name, *map(_argument, command.arguments)]
        return [f"{indent}{' '.join(words)};"]
    lines = _test(command.test, indent)
    lines[0] = f"{indent}{command.name} {lines[0].lstrip()}"
    lines[-1] += " {"
    for one in command.block:
        lines += _command(one, indent + "    ")
    return [*lines, f"{indent}}}"]


def _test(test: Test, indent: str) -> list[str]:
    """The lines of a test, the first of which starts with the indent."""
    words = " ".join([test.name, *map(_argument, test.arguments)])
    if not test.inner:
        return [f"{indent}{words}"]
    if test.name == "not":
        lines = _test(test.inner[0], indent)
        lines[0] = f"{indent}not {lines[0].lstrip()}"
        return lines
    lines = [f"{indent}{words} ("]
    for number, one in enumerate(test.inner):
        inner = _test(one, indent + "    ")
        if number < len(test.inner) - 1:
            inner[-1] += ","
        lines += inner
    return [*lines, f"{indent})"]


def _argument(value: Argument) -> str:
    if isinstance(value, Tag):
        return value.name
    if isinstance(value, int):
        return str(value)
    return quote(value) if isinstance(value, str) else _strings(value)


def _strings(values: Sequence[str]) -> str:
    return quote(values[0]) if len(values) == 1 else f"[{', '.join(map(quote, values))}]"


def _comment(text: str) -> list[str]:
    """A comment never ends early: whatever might end its line is a space."""
    return [f"# {_CONTROL.sub(' ', line).encode('utf-8', 'replace').decode()}".rstrip() for line in text.split("\n")]
