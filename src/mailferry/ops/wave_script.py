"""Write the scripts for Exchange's side of a wave: the use case behind `mailferry wave script`. Looks at Active
Directory, and changes nothing there.

Invariant: everybody of the wave is either in the script or named with the reason; nothing is overwritten, because the
undo of an earlier script may still be needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailferry.coexist import wave_script
from mailferry.coexist.exchange_side import OnExchange, by_id, plain
from mailferry.coexist.target_address import SCRIPTED, former
from mailferry.coexist.wave_script import Person, Step, Way
from mailferry.errors import ConfigError, Permanent, UserError
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.store import Ledger
from mailferry.model.wave import Move, MoveState
from mailferry.net import ldap
from mailferry.ops import exchange_side
from mailferry.ops.wave import Site, opened
from mailferry.stack.file import File

POWERSHELL, LDIF = "powershell", "ldif"

_GONE = {MoveState.CANCELLED, MoveState.ROLLED_BACK}
_FOR: dict[Step, frozenset[MoveState]] = {
    Step.PARK: frozenset(MoveState) - _GONE,
    Step.CLOSE: frozenset(MoveState) - _GONE,
    Step.FORWARD: frozenset(MoveState) - _GONE,
    Step.FINISH: frozenset({MoveState.DONE}),
    Step.ROLLBACK: frozenset({MoveState.RETURNING, MoveState.ROLLED_BACK}),
}
"""In which states people are in a step's script."""


@dataclass(frozen=True, slots=True)
class Written:
    """`people`: in the script. `left_out`: address and reason. `files`: the README first; none in a dry run."""

    people: tuple[Person, ...]
    left_out: tuple[tuple[str, str], ...]
    files: tuple[Path, ...]


def write(
    site: Site, name: str, step: Step, folder: Path, *, form: str, only: Sequence[str], dry_run: bool = False
) -> Written:
    """Look everybody up, and write script, undo and README into `folder` (made if needed).

    UserError: there are such scripts already, or nobody is to be in them, or the step has no such form; ConfigError for
    settings that are missing; what reading Active Directory raises; Permanent if a file cannot be written.
    """
    if form == LDIF and step not in (Step.PARK, Step.ROLLBACK):
        advice = "use --format powershell; LDIF is for external addresses: park, rollback"
        raise UserError("this step cannot be said in LDIF", about=step.value, advice=advice)
    if there := [one.name for one in folder.glob(f"{step.value}*")]:
        advice = "name a new directory"
        raise UserError(f"it holds {there[0]}, whose undo may still be needed", about=str(folder), advice=advice)
    with opened(site) as ledger:
        if step is Step.PREPARE:
            ledger_waves.named(ledger, name)
            people, left_out = list[Person](), list[tuple[str, str]]()
            scripts = list(wave_script.prepare_files(name, _way(site)))
        else:
            people, left_out = _people(site, ledger, name, step, only)
            if not people:
                raise UserError(
                    "nobody is to be in this script: "
                    + ("; ".join(f"{who} {why}" for who, why in left_out[:5]) or name),
                    about=name,
                    advice=f"mailferry wave status {name}",
                )
            kind = (
                wave_script.ldif_files(step, people) if form == LDIF else wave_script.person_files(step, name, people)
            )
            scripts = list(kind)
        if dry_run:
            return Written(tuple(people), tuple(left_out), ())
        with ledger.transaction():  # before the files: what a script finds later is known from here
            for one in people if step is Step.PARK else ():
                ledger.audit(SCRIPTED, id=one.id, dn=one.dn, before=one.before, after=one.ours)
            ledger.audit("wave script", wave=name, step=step.value, people=len(people), folder=str(folder))
        readme = wave_script.readme(step, name, [one.name for one in scripts], left_out)
        return Written(tuple(people), tuple(left_out), _save(folder, [readme, *scripts]))


def _people(
    site: Site, ledger: Ledger, name: str, step: Step, only: Sequence[str]
) -> tuple[list[Person], list[tuple[str, str]]]:
    """Who is in the script, and who is not and why."""
    wave = ledger_waves.named(ledger, name)
    moves = ledger_waves.moves(ledger, wave.id)
    if wrong := {one.lower() for one in only} - {one.mail.lower() for one in moves}:
        raise UserError("is not in this wave", about=", ".join(sorted(wrong)), advice=f"mailferry wave show {name}")
    moves = [one for one in moves if not only or one.mail.lower() in {each.lower() for each in only}]
    port = exchange_side.reader(site.settings, lambda work: work(ledger))
    if port is None:
        raise ConfigError("Exchange's people can only be looked up in Active Directory", about="directory.source.kind")
    if not site.open_domain:
        raise ConfigError("it is needed", about="directory.exchange.routing_domain", advice='"open.acme.example"')
    people, left_out = [], []
    with ldap.Connection(port.servers[0]) as connection:
        for move in moves:
            found = _person(connection, ledger, site, move, step)
            if isinstance(found, str):
                left_out.append((move.mail, found))
            else:
                people.append(found)
    return people, left_out


def _person(connection: ldap.Connection, ledger: Ledger, site: Site, move: Move, step: Step) -> Person | str:
    """What a script says of somebody, or why it says nothing."""
    if move.state not in _FOR[step]:
        return f"is {move.state.value}"
    try:
        there = by_id(connection, move.source_id)
    except UserError as error:
        return error.message
    ours = f"SMTP:{move.uid}@{site.open_domain}"
    before = former(ledger, move.source_id, there.target)
    if step in (Step.PARK, Step.ROLLBACK) and before.casefold() == ours.casefold():
        return "has our targetAddress already, set by somebody else: what was there before is not known"
    return _unfit(there, ours, step) or Person(move.source_id, move.mail, there.dn, ours, before)


def _unfit(there: OnExchange, ours: str, step: Step) -> str:
    """Why somebody as they are in Exchange cannot be in a script."""
    if not there.mailbox:
        return "has no mailbox in Exchange"
    if step is Step.FORWARD and there.forward_to and there.forward_to.casefold() != plain(ours).casefold():
        return f"forwards to {there.forward_to} already, which the script would end: use the step park"
    if step is Step.ROLLBACK and there.target.casefold() != ours.casefold():
        return f"has the targetAddress {there.target}, which is not ours" if there.target else "has no targetAddress"
    return ""


def _way(site: Site) -> Way:
    settings = site.settings
    mx = (settings.stack.qmail or settings.stack.postfix) if settings.stack else None
    if settings.directory is None or mx is None or not site.open_domain or not settings.directory.mapping.domains:
        raise ConfigError(
            "the way to the open side is not known",
            about="[stack.postfix] or [stack.qmail], directory.exchange.routing_domain, directory.mapping.domains",
            advice="docs/stack-postfix.md has an example",
        )
    port = int(mx.listen_exchange.rpartition(":")[2])
    domains = settings.directory.mapping.domains
    return Way(domains, site.open_domain, mx.exchange_domain, mx.hostname, port)


def _save(folder: Path, made: Sequence[File]) -> tuple[Path, ...]:
    def paths() -> Iterator[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        for one in made:
            (folder / one.name).write_bytes(one.content)
            yield folder / one.name

    try:
        return tuple(paths())
    except OSError as error:
        raise Permanent(f"the scripts cannot be written: {error.strerror}", about=str(folder)) from error
