"""Exports of rules → Sieve scripts and a report: the use case behind `mailferry rules convert`.

Needs no settings, no ledger, no server. Invariant: files are written whole or not at all, and only below the output
directory, whatever an owner is called.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mailferry.errors import UserError
from mailferry.model.folder import INBOX, SpecialUse
from mailferry.model.rule import Behaviour, Junk, Rule
from mailferry.ops.files import read_export, safe_name, table, write
from mailferry.plan.folders import PREFERRED
from mailferry.plan.wellknown import folded, special_use_by_name
from mailferry.rules.convert import Converted, convert
from mailferry.rules.files import behaviours
from mailferry.rules.names import Rating
from mailferry.rules.predicates import Owner
from mailferry.rules.values import INBOXES

REPORT = "rules.csv"
ADDRESS = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+")
_OF_ADDRESS = re.compile(
    r"([^\s@]+@[^\s@]+?)(?:\.(?:rules|away|junk|mailbox))?\.(?:json|xml|clixml|csv)", re.IGNORECASE
)
"""A file that is called as the address of whom it is about."""
_MARK = b"\xef\xbb\xbf"
"""All that PowerShell writes into a file of nothing, at most."""


@dataclass(frozen=True, slots=True)
class Options:
    """`me`: owner as the export calls it → addresses. `domains`: the organisation's. `separator`: of the target's
    folder names. `extensions`: what the server offers; None: what Pigeonhole has by itself."""

    me: Mapping[str, tuple[str, ...]]
    domains: tuple[str, ...] = ()
    separator: str = "/"
    extensions: frozenset[str] | None = None
    redirects: int = 4


@dataclass(frozen=True, slots=True)
class Done:
    """One mailbox: `path` of its script, None where there is nothing for one to do."""

    owner: str
    path: Path | None
    parts: tuple[Converted, ...]


def convert_files(files: Sequence[Path], out: Path | None, options: Options) -> list[Done]:
    """Read all files (several may be about one mailbox), convert each mailbox, write `OWNER.sieve` and the report into
    `out`; None: nothing is written. UserError names the file that is no export, or may be about somebody else of the
    same name."""
    done = []
    names: dict[str, str] = {}
    for one in merged(files):
        script = convert(one, owner_of(one, options))
        path = None
        if out is not None and script.text:
            name = safe_name(one.owner, ".sieve")
            if names.setdefault(name.lower(), one.owner) != one.owner:
                raise UserError(f"its script would be that of {names[name.lower()]}, {name}", about=one.owner)
            path = out / name
            write(path, script.text.encode())
        done.append(Done(one.owner, path, script.parts))
    if out is not None:
        write(out / REPORT, _report(done))
    return done


def ratings(done: Sequence[Done]) -> dict[str, int]:
    """How many parts are of each rating, inactive ones apart."""
    counts = Counter(part.rating.value if part.active else "inactive" for one in done for part in one.parts)
    return {name: counts[name] for name in (*(rating.value for rating in Rating), "inactive")}


def read_owners(path: Path) -> dict[str, tuple[str, ...]]:
    """CSV `owner,addresses`: how the export calls somebody, and all addresses (separated by blanks), the main one
    first. UserError names the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", about=str(path), advice="save it as CSV UTF-8") from error
    reader = csv.DictReader(text.splitlines())
    if set(reader.fieldnames or ()) != {"owner", "addresses"}:
        raise UserError("its first line is not owner,addresses", about=str(path))
    found = {}
    for row in reader:
        addresses = tuple((row["addresses"] or "").split())
        if not row["owner"] or not addresses or not all(ADDRESS.fullmatch(one) for one in addresses):
            raise UserError("an owner and addresses are wanted", about=f"{path}:{reader.line_num}")
        found[row["owner"]] = addresses
    return found


def merged(files: Sequence[Path], main: Mapping[str, str] | None = None) -> list[Behaviour]:
    """One behaviour for each mailbox of all files. `main`: owner as the exports call them → their address."""
    found: dict[str, Behaviour] = {}
    for path in files:
        whose = _OF_ADDRESS.fullmatch(path.name)
        content = read_export(path)
        some = [] if whose is not None and len(content) <= len(_MARK) else behaviours(str(path), content)
        if whose is not None and not some:
            found.setdefault(whose[1], Behaviour(whose[1]))  # somebody without any
        for one in some:
            owner = whose[1] if whose is not None and len(some) == 1 else one.owner
            owner = (main or {}).get(owner, owner)
            other = found.get(owner)
            if other is not None and not ADDRESS.fullmatch(owner) and _another(other, one):
                raise UserError(
                    f"has other rules of {owner} than a file before it: two people of one name?",
                    about=str(path),
                    advice="name each file after its mailbox's address, as ann@acme.example.json",
                )
            found[owner] = replace(one, owner=owner) if other is None else _with(other, one)
    return list(found.values())


def _with(one: Behaviour, more: Behaviour) -> Behaviour:
    origins = {_content(rule) for rule in one.rules}
    new = tuple(rule for rule in more.rules if _content(rule) not in origins)
    return replace(
        one,
        rules=one.rules + new,
        out_of_office=more.out_of_office or one.out_of_office,
        junk=one.junk if more.junk == Junk() else more.junk,
        forwarding=more.forwarding or one.forwarding,
    )


def _another(one: Behaviour, more: Behaviour) -> bool:
    """Whether both have a rule of one priority that is not the same: in one mailbox each rule has its own."""
    known = {rule.order: _content(rule) for rule in one.rules}
    return any(known.get(rule.order, _content(rule)) != _content(rule) for rule in more.rules)


def _content(rule: Rule) -> Rule:
    return replace(rule, origin="")


def owner_of(one: Behaviour, options: Options) -> Owner:
    """What is known of somebody without a directory and without a copy."""
    me = options.me.get(one.owner) or ((one.owner,) if ADDRESS.fullmatch(one.owner) else ())
    domains = options.domains or tuple(dict.fromkeys(address.rpartition("@")[2] for address in me))
    return Owner(
        me=me,
        people=lambda text: (text,) if ADDRESS.fullmatch(text) else None,
        reach=lambda text: text if ADDRESS.fullmatch(text) else None,
        folder=lambda path: _folder(path, options.separator),
        domains=domains,
        extensions=options.extensions,
        redirects=options.redirects,
        trash=PREFERRED[SpecialUse.TRASH],
        junk=PREFERRED[SpecialUse.JUNK],
    )


def _folder(path: str, separator: str) -> str | None:
    """The target's name of a folder of Exchange as `mailferry copy` gives it without a separator in a name. None: an
    EWS or Graph id, which says nothing without the mailbox."""
    parts = tuple(part for part in path.split("\\") if part)
    if not parts or (len(parts) == 1 and len(parts[0]) > 60 and " " not in parts[0]):
        return None
    use = special_use_by_name(parts[:1])
    inbox = folded(parts[0]) in INBOXES
    first = INBOX[0] if inbox else PREFERRED.get(use, parts[0]) if use is not None else parts[0]
    names = (first, *parts[1:])
    return None if any(separator in name for name in names) else separator.join(names)


def _report(done: Sequence[Done]) -> bytes:
    head = ("mailbox", "name", "origin", "rating", "active", "what to know or do")
    rows = [
        (one.owner, part.name, part.origin, part.rating.value, "yes" if part.active else "no", "; ".join(part.notes))
        for one in done
        for part in one.parts
    ]
    return table(head, rows)
