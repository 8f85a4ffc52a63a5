"""From the settings to a qmail host and its Courier (`[stack.qmail]`, `[stack.courier]`): kits, and who gets what.

Invariant: who reads the directory to write holds the host's lock already, so that nobody writes what is older.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mailferry.coexist import qmail_people
from mailferry.coexist.people import People
from mailferry.config.qmail import Qmail
from mailferry.config.settings import Settings as Config
from mailferry.errors import ConfigError, Temporary, UserError
from mailferry.net import ldap
from mailferry.ops.route_store import in_ad, lookup
from mailferry.ops.stack_places import endpoint, under
from mailferry.stack.courier.files import files as courier_files
from mailferry.stack.courier.files import services
from mailferry.stack.courier.settings import Ports
from mailferry.stack.courier.settings import Settings as CourierSettings
from mailferry.stack.file import Kit
from mailferry.stack.qmail import tree
from mailferry.stack.qmail.files import files, start, stop, trial
from mailferry.stack.qmail.people import GROUPS, home_of, plan
from mailferry.stack.qmail.settings import Places, Settings

T = TypeVar("T")
LDAP_SECONDS = 30.0


def is_qmail(config: Config) -> bool:
    """Whether qmail keeps the routes."""
    return config.stack is not None and config.stack.flavour == "qmail"


def section(config: Config) -> Qmail:
    """`[stack.qmail]`. ConfigError: something that it needs is missing."""
    stack = config.stack
    if config.directory is None or stack is None or stack.openldap is None or stack.qmail is None:
        raise ConfigError(
            'it needs [directory], [stack] with flavour = "qmail", [stack.openldap] and [stack.qmail]',
            about="mailferry.toml",
            advice="see docs/stack-qmail.md",
        )
    if in_ad(config):
        raise ConfigError(
            "qmail's homes are written from OpenLDAP alone", about="coexist.route_store", advice="leave it out"
        )
    return stack.qmail


def qmail_settings(config: Config, store: str | None = None) -> Settings:
    """What a host is to be. `store`: which mailHost it is; None: the only one. ConfigError: a section or a domain is
    missing; UserError: it is not clear which store."""
    wanted = section(config)
    assert config.directory is not None
    domains, routing = config.directory.mapping.domains, config.directory.exchange.routing_domain
    if not domains or routing is None:
        raise ConfigError(
            "the domains are missing: directory.mapping.domains (the organisation's, its main one first) and "
            "directory.exchange.routing_domain (the open side's)",
            about="mailferry.toml",
        )
    probe_from = config.coexist.probe_from if config.coexist is not None else "mailferry-probe@{domain}"
    return Settings(
        hostname=wanted.hostname,
        domains=domains,
        open_domain=routing,
        exchange_domain=wanted.exchange_domain,
        exchange=endpoint(wanted.exchange),
        stores={name: endpoint(server) for name, server in wanted.stores.items()},
        store=_which(wanted, store),
        places=Places(prefix=wanted.prefix, state=wanted.state_dir, mail_dir=wanted.mail_dir),
        owner=wanted.owner,
        relay=endpoint(wanted.relay) if wanted.relay else None,
        listen=wanted.listen,
        listen_exchange=wanted.listen_exchange,
        exchange_networks=wanted.exchange_networks,
        own_networks=wanted.own_networks,
        queue_days=wanted.queue_days,
        message_size=wanted.message_mb << 20,
        concurrency=(wanted.deliveries, wanted.handovers),
        sessions=wanted.sessions,
        probe_from=probe_from.replace("{domain}", domains[0]),
        stale_seconds=wanted.stale_minutes * 60,
    )


def any_host(config: Config) -> Settings:
    """One of the hosts, for what is the same on all."""
    return qmail_settings(config, next(iter(section(config).stores)))


def rooted(settings: Settings, root: Path) -> Settings:
    """The same host below a directory; qmail itself stays where it is, since that is compiled into it."""
    places = settings.places
    return replace(
        settings,
        places=replace(
            places,
            programs=under(root, places.programs),
            state=under(root, places.state),
            mail_dir=under(root, places.mail_dir),
        ),
    )


def kit(config: Config, store: str | None, root: Path | None) -> Kit:
    """The kit of a host, as `ops.stack.kits` gives them."""
    settings = qmail_settings(config, store)
    if root is None:
        return Kit("qmail", tuple(files(settings)), start(), stop())
    settings = rooted(settings, root.resolve())
    begin, end = trial(settings, under(root.resolve(), Path("/run/mailferry-qmail")))
    return Kit("qmail", tuple(files(settings, systemd=False)), begin, end)


def courier_settings(config: Config, store: str | None = None) -> CourierSettings:
    """What the Courier of a store is to be. Errors as `qmail_settings`."""
    host = qmail_settings(config, store)
    wanted = config.stack.courier if config.stack is not None else None
    if wanted is None:
        raise ConfigError("it needs [stack.courier]", about="mailferry.toml", advice="see docs/stack-qmail.md")
    return CourierSettings(
        hostname=wanted.hostname,
        store=host.store,
        directory=lookup(config, wanted.directory),
        login=wanted.login,
        mail_dir=host.places.mail_dir,
        owner=host.owner,
        ports=Ports(wanted.imap, wanted.imaps, wanted.pop3, wanted.pop3s),
        address=wanted.listen,
        certificate=wanted.certificate,
        sessions=wanted.sessions,
    )


def courier_kit(config: Config, store: str | None) -> Kit:
    """The kit of that Courier."""
    settings = courier_settings(config, store)
    names = services(settings)
    start_all, stop_all = f"systemctl start {' '.join(names)}", f"systemctl stop {' '.join(reversed(names))}"
    return Kit("courier", tuple(courier_files(settings)), start_all, stop_all)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `apply` is asked. `addresses`: these people alone; none: everybody. `brake`: False: however many vanish."""

    addresses: Sequence[str] = ()
    store: str | None = None
    root: Path | None = None
    brake: bool = True
    dry_run: bool = False


def apply(config: Config, wanted: Wanted) -> tree.Applied:
    """Bring this host's homes in step with the directory. Of single people only the route is written; somebody who has
    no home yet, or is nobody, or a group, makes it a comparison of all."""
    settings = qmail_settings(config, wanted.store)
    if wanted.root is not None:
        settings = rooted(settings, wanted.root.resolve())
    assert config.directory is not None
    with tree.locked(settings):
        if wanted.addresses:
            known = _read(config, lambda people: qmail_people.some(people, wanted.addresses))
            homes = [home_of(one, {}, settings) for one in known or ()]
            plain = known is not None and all(one.kind not in GROUPS for one in known)
            if plain and all(tree.knows(settings, home) for home in homes):
                written = tree.write(settings, homes, dry_run=wanted.dry_run)
                return tree.Applied(tuple(written), (), assigned=False, homes=len(homes), addresses=0)
        entries = _read(config, qmail_people.everybody)
        brake = config.directory.brake
        limit = tree.Brake(brake.percent, brake.entries) if wanted.brake else None
        return tree.apply(settings, plan(entries, settings), limit, dry_run=wanted.dry_run)


def _read(config: Config, work: Callable[[People], T]) -> T:
    """With the first server that answers. Temporary: none does."""
    directory = lookup(config, section(config).directory)
    assert config.directory is not None
    failures: list[Temporary] = []
    for url in directory.urls:
        server = ldap.Server(
            url,
            user=directory.bind,
            secret=directory.password,
            plain=directory.ca_file is None,
            ca_file=str(directory.ca_file) if directory.ca_file else None,
            timeout=LDAP_SECONDS,
        )
        try:
            with ldap.Connection(server) as connection:
                routing = config.directory.exchange.routing_domain or ""
                return work(People(connection, directory.suffix, directory.words, routing))
        except Temporary as error:
            failures.append(error)
    raise failures[0]


def _which(wanted: Qmail, store: str | None) -> str:
    names = list(wanted.stores)
    if store is None and len(names) == 1:
        return names[0]
    if store is None or store.lower() not in names:
        what = "which store is this host?" if store is None else "there is no such store in stack.qmail.stores"
        raise UserError(what, about=store or "qmail", advice=f"--store {' | '.join(names)}")
    return store.lower()


def told(applied: tree.Applied) -> Iterable[str]:
    """What was done, for people."""
    yield f"{applied.homes} homes, {applied.addresses} addresses: {len(applied.written)} written, " + (
        f"{len(applied.removed)} removed" + (", users/cdb made anew" if applied.assigned else "")
    )
    yield from (f"not carried: {one}" for one in applied.odd)
