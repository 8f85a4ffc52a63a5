"""Every command of the runbook exists, with the options that it is shown with."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from mailferry.cli.main import cli

PAGE = Path(__file__).parents[2] / "docs" / "runbook.md"
COMMANDS = sorted(set(re.findall(r"mailferry ((?:[a-z]|--help)[^`#\n]*)", PAGE.read_text(encoding="utf-8"))))


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("line", COMMANDS)
def test_command_exists(line: str) -> None:
    words = shlex.split(line)
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    assert not isinstance(command, click.Group) or not words, line
    known = {name for option in command.params for name in option.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known, line
