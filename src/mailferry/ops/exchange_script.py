"""Write the scripts that make people of the open side mail users in Exchange: the use case behind
`mailferry directory exchange-script`. Sends nothing to Exchange and changes nothing there.

Invariant: the files of one call belong together; the review page names everybody in the script, and everybody who is
not, with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mailferry import __version__
from mailferry.config.settings import DirectorySettings
from mailferry.directory import exchange_ldif, exchange_script
from mailferry.directory.exchange_plan import KEPT, OPEN_ATTRIBUTES, Exchange, OpenPerson, Plan, plan
from mailferry.directory.sync import Progress
from mailferry.errors import ConfigError, Permanent, UserError
from mailferry.model.recipient import Recipient
from mailferry.net import ldap
from mailferry.net.ldap_ad import DOMAIN_SCOPE
from mailferry.net.ldap_entry import Entry
from mailferry.ops.directory import Place, reader_of, server_of
from mailferry.verify.report import environment

BORN_HERE = "(&(objectClass=inetOrgPerson)(mail=*)(!(mailferrySourceId=*)))"
"""People of the target whom no sync brought."""
POWERSHELL, LDIF = "powershell", "ldif"
TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Written:
    """`files`: the review page first, then script and undo, if there is anything to do."""

    plan: Plan
    files: tuple[Path, ...]


def write(place: Place, form: str, folder: Path, progress: Progress) -> Written:
    """Plan, and write the files into `folder` (made if needed).

    UserError if earlier scripts are there; ConfigError for settings that are missing; what reading both sides raises;
    Permanent if a file cannot be written.
    """
    settings = place.settings
    _check(settings, form)
    if there := [one.name for one in folder.glob("people*")]:
        raise UserError(
            f"it holds {there[0]}, whose undo may still be needed", about=str(folder), advice="name a new directory"
        )
    found = plan(_people(settings), _exchange(settings, progress), settings.exchange, settings.mapping.domains)
    files = {"review.html": _review(found, form)}
    if found.users:
        mark, container = settings.exchange.mark, settings.exchange.container
        if form == LDIF:
            files["people.ldif"] = b"".join(exchange_ldif.records(found.users, mark))
            files["people-undo.ldif"] = b"".join(exchange_ldif.undo(found.users, mark))
        else:
            files["people.ps1"] = exchange_script.script(found.users, mark, container).encode()
            files["people-undo.ps1"] = exchange_script.undo(found.users, mark, container).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise Permanent(f"the scripts cannot be written: {error.strerror}", about=str(folder)) from error
    place.ledger.audit("exchange script", format=form, people=len(found.users), folder=str(folder))
    return Written(found, tuple(folder / name for name in files))


def _check(settings: DirectorySettings, form: str) -> None:
    if settings.exchange.routing_domain is None:
        raise ConfigError(
            "it is not known by which domain Exchange reaches the open side",
            about="directory.exchange.routing_domain",
            advice='set it under [directory.exchange], such as routing_domain = "open.acme.example"',
        )
    if form == LDIF and settings.exchange.container is None:
        raise ConfigError(
            "it is not known under which OU the mail users go",
            about="directory.exchange.container",
            advice='set it under [directory.exchange], such as container = "OU=Open side,DC=acme,DC=example"',
        )
    if form == LDIF and settings.source.kind != "ad":
        raise ConfigError(
            "LDIF for Active Directory can only be made looking at it",
            about=f"directory.source.kind = {settings.source.kind}",
            advice="use --format powershell, which looks by itself when it is run",
        )


def _people(settings: DirectorySettings) -> list[OpenPerson]:
    with ldap.Connection(server_of(settings.target)) as target:
        found = target.search(settings.target.suffix, BORN_HERE, OPEN_ATTRIBUTES)
        return [OpenPerson(one.dn, {name: one.texts(name) for name in OPEN_ATTRIBUTES}) for one in found]


def _exchange(settings: DirectorySettings, progress: Progress) -> Exchange:
    """Everything that stands at the source, uncleaned: an address is taken whoever has it."""
    there = Exchange()
    with reader_of(settings.source) as reader:
        for number, one in enumerate(reader.read(), 1):
            if isinstance(one, Recipient):
                there.add(one, settings.exchange)
            elif one.code == "mail-user-of-ours":
                there.add_marked(one.value, one.where)
            if number % 500 == 0:
                progress("reading", number, 0)
    if settings.source.kind == "ad":
        with ldap.Connection(server_of(settings.source)) as connection:
            _look(connection, settings, there)
    return there


def _look(connection: ldap.Connection, settings: DirectorySettings, there: Exchange) -> None:
    """What the reader does not tell: our own mail users' values, names in the container, accounts of all kinds."""
    domain = connection.root().text("defaultNamingContext") or ""
    exchange = settings.exchange

    def find(base: str, filter: str, *names: str, scope: ldap.Scope = ldap.Scope.SUBTREE) -> Iterator[Entry]:
        return connection.search(base, filter, names, scope=scope, controls=(DOMAIN_SCOPE,))

    for one in find(domain, f"({exchange.mark}=mailferry:*)", exchange.mark, *KEPT):
        mark = one.text(exchange.mark) or ""
        there.add_marked(mark, one.dn, {name: one.texts(name) for name in KEPT})
    for one in find(domain, "(sAMAccountName=*)", "sAMAccountName", "userPrincipalName"):
        there.accounts.setdefault((one.text("sAMAccountName") or "").casefold(), None)
        there.principals.add((one.text("userPrincipalName") or "").casefold())
    if exchange.container is not None:
        if connection.read(exchange.container, ("1.1",), controls=(DOMAIN_SCOPE,)) is None:
            raise ConfigError("there is no such OU in Active Directory", about=exchange.container, advice="make it")
        below = find(exchange.container, "(objectClass=*)", "name", scope=ldap.Scope.ONE)
        there.names.update((one.text("name") or "").casefold() for one in below)


def _review(found: Plan, form: str) -> bytes:
    render: Callable[..., str] = environment(TEMPLATES).get_template("exchange.html").render
    left = [one for one in found.findings if one.severity.value == "error"]
    page = render(
        head={"mailferry": __version__, "generated": time.time()},
        plan=found,
        left=left,
        notes=[one for one in found.findings if one.severity.value != "error"],
        form=form,
    )
    return page.encode("utf-8", "backslashreplace")
