"""Writes docs/cli.md, the reference of the command line, from the commands (`make docs`; a test compares)."""

from __future__ import annotations

from pathlib import Path

import click

from mailferry.cli.main import COMMANDS, cli
from mailferry.errors import MailferryError

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"


def page() -> str:
    """The whole page as Markdown."""
    lines = ["# Command line", "", "Generated from the commands by `make docs`.", ""]
    context = click.Context(cli, info_name="mailferry")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        lines += _section(name, command)
        if isinstance(command, click.Group):
            lines += [line for verb, one in command.commands.items() for line in _section(f"{name} {verb}", one)]
    return "\n".join(lines)


def _section(name: str, command: click.Command) -> list[str]:
    usage = command.collect_usage_pieces(click.Context(command, info_name=name))
    lines = [f"## mailferry {name}", "", f"`mailferry {' '.join([name, *usage])}`", "", _prose(command.help or ""), ""]
    rows = [_row(option) for option in command.params if isinstance(option, click.Option)]
    return [*lines, "| option | meaning |", "|---|---|", *rows, ""] if rows else lines


def _prose(text: str) -> str:
    paragraphs = text.replace("\b\n", "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _row(option: click.Option) -> str:
    names = ", ".join(option.opts)
    if isinstance(option.type, click.Choice):
        names += " " + "\\|".join(map(str, option.type.choices))
    elif not option.is_flag:
        names += f" {option.metavar or option.type.name.upper()}"
    shown = option.default is not None and option.show_default
    return f"| `{names}` | {option.help}{f' (default: {option.default})' if shown else ''} |"


def codes() -> set[int]:
    """Every exit code that an error of ours has."""
    found, left = set(), [MailferryError]
    while left:
        kind = left.pop()
        found.add(kind.exit_code)
        left += kind.__subclasses__()
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
