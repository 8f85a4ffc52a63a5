"""Exchange's side of a wave as PowerShell for its administrator, each script with the one that undoes it; targetAddress
also as LDIF. Pure: text out, nothing is sent anywhere.

The programs are the files of `powershell/`; what is put into them is data in single quotes, where PowerShell expands
nothing (directory/exchange_script.py). Invariants: a script changes nobody whose state is not the one it was written
for or an earlier run has left; run again it changes nothing; its undo gives back exactly what was there. None of them
has been run on a real Exchange (docs/exchange-side.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files

from mailferry.directory.exchange_script import BOM, quote
from mailferry.stack.file import File
from mailferry.wire import ldif


class Step(Enum):
    """What of a wave has to be done on Exchange's side. The value is the name of the script."""

    PREPARE = "prepare"
    PARK = "park"
    CLOSE = "close"
    FORWARD = "forward"
    FINISH = "finish"
    ROLLBACK = "rollback"


ABOUT = {
    Step.PREPARE: (
        "Makes the way from Exchange to the open side: remote domains without TNEF (winmail.dat), a send connector, "
        "the routing domains, and the shared domains as InternalRelay. Once for all, before the first wave."
    ),
    Step.PARK: (
        "Sets the external address (targetAddress), so that mail between people on Exchange goes to the open side, "
        "too. While they are parked."
    ),
    Step.CLOSE: "Switches client access to the old mailboxes off, except IMAP and EWS. While they are parked.",
    Step.FORWARD: (
        "Instead of park: forwards mail to the open side with Exchange's own forwarding (ForwardingSmtpAddress), where "
        "nobody may write to Active Directory."
    ),
    Step.FINISH: (
        "Ends the mailboxes and makes mail users of them. Only when all is done: no sweep and no rollback after it."
    ),
    Step.ROLLBACK: "Gives back the external addresses that people had before: they are on Exchange again.",
}
WARNINGS = {
    Step.ROLLBACK: (
        "Afterwards look at Exchange's queue to the open side: mail that waits there for these people is resolved "
        "anew by Retry-Queue -Resubmit $true."
    ),
    Step.FINISH: (
        "The undo connects the OLD mailbox again, without anything that came since, and only for as long as its "
        "database keeps it (MailboxRetention, mostly 30 days)."
    ),
}


@dataclass(frozen=True, slots=True)
class Person:
    """One person for a script. `id`: `ad:GUID`. `dn`: in Active Directory, for LDIF. `ours`: the external address that
    leads to the open side, `SMTP:UID@…`; `before`: what was there before it, "" for nothing."""

    id: str
    mail: str
    dn: str
    ours: str
    before: str


@dataclass(frozen=True, slots=True)
class Way:
    """The way from Exchange to the open side. `exchange_domain`: Exchange's own routing domain, "" for none.
    `smart_host`, `port`: the listener for mail from Exchange."""

    shared: Sequence[str]
    open_domain: str
    exchange_domain: str
    smart_host: str
    port: int


def person_files(step: Step, wave: str, people: Sequence[Person]) -> Iterator[File]:
    """The script of a step for people, and its undo."""
    back = step is Step.ROLLBACK
    if step in (Step.PARK, Step.ROLLBACK):
        yield _script("target", step.value, step, wave, _targets(people, to_ours=not back))
        yield _script("target", f"{step.value}-undo", step, wave, _targets(people, to_ours=back))
        return
    rows = [{"Guid": _guid(one), "Mail": one.mail, "To": _to(step, one)} for one in people]
    yield _script(step.value, step.value, step, wave, _people(rows))
    yield _script(f"{step.value}-undo", f"{step.value}-undo", step, wave, _people(rows))


def prepare_files(wave: str, way: Way) -> Iterator[File]:
    """The scripts that make the way, and take it away."""
    new = [
        (way.open_domain, "InternalRelay"),
        *([(way.exchange_domain, "Authoritative")] if way.exchange_domain else []),
    ]
    domains = "".join(f"  @{{ Domain = {quote(name)}; Type = {quote(kind)} }}\n" for name, kind in new)
    data = (
        f"$OpenDomain = {quote(way.open_domain)}\n"
        f"$SharedDomains = @({', '.join(map(quote, way.shared))})\n"
        f"$NewDomains = @(\n{domains})\n"
        f"$ConnectorName = {quote('Mailferry: to the open side')}\n"
        f"$SmartHost = {quote(way.smart_host)}\n"
        f"$Port = {way.port}\n"
    )
    for name in ("prepare", "prepare-undo"):
        yield _script(name, name, Step.PREPARE, wave, data)


def ldif_files(step: Step, people: Sequence[Person]) -> Iterator[File]:
    """Change records for ldapmodify or ldifde, and those that undo them: each fails where the value is another."""
    back = step is Step.ROLLBACK
    for name, to_ours in ((step.value, not back), (f"{step.value}-undo", back)):
        records = [_record(one, to_ours=to_ours) for one in people]
        yield File(f"{name}.ldif", b"".join([ldif.HEADER, *records]))


def readme(step: Step, wave: str, names: Iterable[str], left_out: Sequence[tuple[str, str]]) -> File:
    """What to do with the files, in plain text. `left_out`: who is not in them, and why."""
    script = step.value
    out = "".join(f"- {mail}: {why}\n" for mail, why in left_out)
    warning = f"\n**{WARNINGS[step]}**\n" if step in WARNINGS else ""
    text = f"""\
# Wave {wave}: {script}

{ABOUT[step]}
{warning}
Files: {", ".join(names)}. Keep them together: the undo may need what the script notes beside itself.

1. Read the script. Nothing in it is generated but the list of people.
2. In the Exchange Management Shell, on premises, first without effect, then for good:

       .\\{script}.ps1 -DomainController dc1.acme.example -WhatIf
       .\\{script}.ps1 -DomainController dc1.acme.example

   Exit code 1 and warnings: somebody was left alone; the others are done. Run it again at any time.
3. `{script}-*.log` tells what was done.
4. To go back: `.\\{script}-undo.ps1`, with the same parameters.

Further parameters stand at the top of each script. As LDIF (`--format ldif`, external addresses only):
`ldapmodify -f {script}.ldif` or `ldifde -i -u -f {script}.ldif`, without an option to go on after errors.
"""
    return File(
        "README.md", (text + (f"\nNot in the script:\n\n{out}" if out else "")).encode("utf-8", "backslashreplace")
    )


def _targets(people: Sequence[Person], *, to_ours: bool) -> str:
    return _people(
        {
            "Guid": _guid(one),
            "Mail": one.mail,
            "From": one.before if to_ours else one.ours,
            "To": one.ours if to_ours else one.before,
        }
        for one in people
    )


def _people(rows: Iterable[dict[str, str]]) -> str:
    lines = ("; ".join(f"{key} = {quote(value)}" for key, value in row.items()) for row in rows)
    return "$People = @(\n" + "".join(f"  @{{ {line} }}\n" for line in lines) + ")\n"


def _script(program: str, name: str, step: Step, wave: str, data: str) -> File:
    """One script: a head for its reader, the program, the data in it."""
    undo = name != step.value
    head = [
        f"# Written by Mailferry for the wave {_comment(wave)}: "
        + ("takes back what is beside it." if undo else step.value),
        f"# {'Of the script beside it: ' if undo else ''}{ABOUT[step]}",
        "# Read it, run it in the Exchange Management Shell, first with -WhatIf. Running it again changes nothing.",
        "#Requires -Version 5.1",
    ]
    names = f"$Step = {quote(step.value)}\n$MyName = {quote(name)}\n"
    text = _program(program).replace("#{data}\n", names + data, 1).replace("#{common}\n", _program("common"), 1)
    return File(f"{name}.ps1", (BOM + "\n".join([*head, text]).replace("\n", "\r\n")).encode())


def _program(name: str) -> str:
    return (files("mailferry.coexist") / "powershell" / f"{name}.ps1").read_text(encoding="utf-8")


def _comment(text: str) -> str:
    """Text that cannot end a comment's line."""
    return "".join(one if one == " " or one.isprintable() else "?" for one in text)


def _guid(one: Person) -> str:
    return one.id.removeprefix("ad:")


def _to(step: Step, one: Person) -> str:
    """Exchange's own forwarding takes the address without `SMTP:`."""
    return one.ours.partition(":")[2] if step is Step.FORWARD else one.ours


def _record(one: Person, *, to_ours: bool) -> bytes:
    now, then = (one.before, one.ours) if to_ours else (one.ours, one.before)
    steps = [("delete", now)] if now else []
    steps += [("add", then)] if then else []
    return ldif.emit_modification(one.dn, [(how, "targetAddress", (value.encode(),)) for how, value in steps])
