"""`mailferry`: the group of commands. Imports a command's module only when it runs, so that `--help` is quick."""

from __future__ import annotations

import codecs
import gc
import importlib
import json
import os
import sys

import click

from mailferry import __version__
from mailferry.errors import LocalProtocolError, MailferryError, Permanent, explain

COMMANDS = {
    "copy": ("copying", "Copy mailboxes, or bring earlier copies in step."),
    "check": ("check", "Connect, log in, and tell what a server can do and what to expect."),
    "verify": ("verify", "Compare both sides message by message and score the result."),
    "survey": ("survey", "Count what there is before a move, and who could move first."),
    "directory": ("directory", "Bring people and groups from Active Directory and files into OpenLDAP."),
    "route": ("route", "Tell and change where mail goes, person by person."),
    "wave": ("wave", "Move people in waves while mail keeps coming: seed, cut over, sweep."),
    "worker": ("worker", "Do what waves ask for, on any number of hosts."),
    "trace": ("trace", "Tell where a message is: queue, log, ledger or mailbox."),
    "rules": ("rules", "Turn Exchange's inbox rules and out-of-office into Sieve."),
    "sharing": ("sharing", "Bring rights on folders, full access and who may send as whom."),
    "stack": ("stack", "Render, check, start the servers of the open platform."),
    "relay": ("relay", "Hold the mail of whole domains, and let it go in order."),
    "restrict": ("restrict", "Tell and change who may send outside."),
    "report": ("report", "Write the report of what came, what did not and why, as HTML and JSON."),
    "status": ("status", "Show runs and mailboxes, also those at work in the background."),
    "log": ("log", "Show the log of a run."),
    "pause": ("control", "Pause a run: it finishes what is on its way and waits."),
    "continue": ("control", "Let a paused run go on."),
    "stop": ("control", "Stop a run; the next run continues where it stopped."),
}

EPILOG = """\b
Exit codes: 0 all well; 1 done, but some messages or mailboxes failed (see the report); 2 wrong usage;
64 the command makes no sense; 65 safety stop, a question to answer; 69 a server or disk says no;
70 a bug of ours; 71 the ledger contradicts itself; 73 somebody else works on the mailbox;
74 our lease was taken over; 75 temporary, run again; 76 the server broke its protocol;
77 log-in refused; 78 wrong configuration; 130 interrupted."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mailferry.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_Lazy, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mailferry")
def cli() -> None:
    """Move mailboxes from Exchange or any IMAP server to open mail servers.

    \b
    mailferry copy imaps://alice@exchange.example imaps://alice@mail.example

    Shell completion: eval "$(_MAILFERRY_COMPLETE=bash_source mailferry)" (or zsh_source, fish_source).
    """


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """What an output's encoding lacks (an ISO-8859-1 terminal) as JSON escapes it, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _drop_output() -> None:
    """What standard output does not take, the interpreter would try again at its end, and exit with its own code."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Entry point: runs the command, turns our errors into one clear text and an exit code."""
    codecs.register_error("mailferry", _escaped)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="mailferry")  # type: ignore[union-attr]
    gc.disable()  # imports make much that lives for ever; a worker collects again (copy/worker.py)
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MailferryError as error:
        click.echo(f"mailferry: {explain(error)}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        click.echo(f"mailferry: {error.filename or 'output'}: {error.strerror or error}", err=True)
        _drop_output()
        sys.exit(Permanent.exit_code)
    except Exception:  # noqa: BLE001 - shown whole, with the code that says it is ours
        sys.excepthook(*sys.exc_info())
        click.echo("mailferry: this is a bug in Mailferry: please report it with the lines above", err=True)
        sys.exit(LocalProtocolError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
