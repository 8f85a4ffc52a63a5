"""What the verbs of `mailferry wave` say before they connect to anything: nothing is done in silence, and a person
belongs to the latest wave."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailferry.cli.main import cli
from mailferry.errors import MailferryError
from mailferry.ledger import open_ledger, waves
from mailferry.model.wave import Move, MoveState, WaveState

SETTINGS = """
ledger = "{folder}/ledger.db"
[directory.source]
url = "ldap://127.0.0.1:1"
[directory.target]
url = "ldap://127.0.0.1:1"
suffix = "dc=acme,dc=example"
[directory.mapping]
domains = ["acme.example"]
[coexist]
source = "imap://127.0.0.1:1?tls=none"
[coexist.stores."store1"]
url = "imap://127.0.0.1:2?tls=none"
[[coexist.queues]]
name = "mx"
"""
ANN = "ann@acme.example"
_ = MoveState
TO_SWITCHED = (_.SEEDING, _.SEEDED, _.PARKED, _.SETTLED, _.CAUGHT_UP, _.VERIFIED, _.SWITCHED)


class Lab:
    """A ledger, and settings that lead nowhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "mailferry.toml").write_text(SETTINGS.format(folder=folder))

    def wave(self, name: str, *states: MoveState, state: WaveState = WaveState.OPEN) -> None:
        """A wave with Ann in it, who goes through these states."""
        with closing(open_ledger(str(self.folder / "ledger.db"))) as ledger:
            made = waves.create(ledger, name, {})
            waves.add(ledger, made.id, [Move(0, 0, "ad:1", ANN, "ann", "mailbox", ANN, "ann", "store1")])
            (move,) = waves.moves(ledger, made.id)
            for one in states:
                move = waves.enter(ledger, move, one)
            if state is not WaveState.OPEN:
                waves.change(ledger, made.id, state=state)

    def run(self, *arguments: str) -> Result:
        config = str(self.folder / "mailferry.toml")
        return CliRunner().invoke(cli, ["wave", *arguments, "--config", config], standalone_mode=False)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def refused(result: Result) -> MailferryError:
    assert isinstance(result.exception, MailferryError), result
    return result.exception


@pytest.mark.parametrize("only", [(), ("--only", ANN)])
def test_nobody_is_done_who_was_not_swept(lab: Lab, only: tuple[str, ...]) -> None:
    lab.wave("one", *TO_SWITCHED, _.RELEASED)
    error = refused(lab.run("done", "one", "--early", *only))
    assert f"{ANN} is released" in error.message
    assert "wave sweep one" in str(error.advice)


def test_who_is_swept_is_done(lab: Lab) -> None:
    lab.wave("one", *TO_SWITCHED, _.RELEASED, _.SWEPT)
    assert lab.run("done", "one", "--early").output == "one: done (1 people)\n"


def test_an_old_wave_leaves_alone_who_has_moved_in_a_later_one(lab: Lab) -> None:
    lab.wave("one", *TO_SWITCHED, _.RETURNING, _.ROLLED_BACK)
    lab.wave("two", *TO_SWITCHED, _.RELEASED)
    assert lab.run("rollback", "one", "--dry-run").output == "0 people\n"
    error = refused(lab.run("rollback", "one", "--only", ANN))
    assert "in the wave two since" in error.message
    assert lab.run("rollback", "two", "--dry-run").output == f"1 people\n  {ANN}\n"


@pytest.mark.parametrize(
    ("state", "advice"), [(WaveState.PAUSED, "wave resume one"), (WaveState.CANCELLED, "wave plan")]
)
def test_a_wave_that_is_not_open_says_what_to_do(lab: Lab, state: WaveState, advice: str) -> None:
    lab.wave("one", _.SEEDING, state=state)
    assert advice in str(refused(lab.run("cutover", "one")).advice)
