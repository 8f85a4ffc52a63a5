"""From the settings to a store or a proxy (`[stack.dovecot]`). Installs and starts nothing."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

from mailferry.config.settings import Settings as Config
from mailferry.config.stack import Dovecot, Postfix
from mailferry.errors import ConfigError, UserError
from mailferry.ops.route_store import in_ad, lookup
from mailferry.ops.stack_places import endpoint, under
from mailferry.secret import Secret
from mailferry.stack.dovecot.files import ROTATE, files
from mailferry.stack.dovecot.settings import EXCHANGE, Backend, Ports, Proxy, Rspamd, Settings, Store
from mailferry.stack.file import Kit
from mailferry.stack.postfix.settings import Endpoint


def dovecot_settings(config: Config, store: str | None = None, *, proxy: bool = False) -> Settings:
    """What a store is to be, or the proxy. `store`: its mailHost; None: the only one. ConfigError when a section is
    missing; UserError when it is not clear which store."""
    stack = config.stack
    if (
        config.directory is None
        or stack is None
        or not ((stack.openldap or in_ad(config)) and stack.postfix and stack.dovecot)
    ):
        raise ConfigError(
            "it needs [directory], [stack.openldap], [stack.postfix] and [stack.dovecot]",
            about="mailferry.toml",
            advice="see docs/stack-dovecot.md",
        )
    wanted, postfix = stack.dovecot, stack.postfix
    name = None if proxy else _which(postfix, store)
    return Settings(
        hostname=wanted.hostname,
        directory=lookup(config, wanted.directory),
        store=None if name is None else _store(wanted, postfix, name),
        proxy=_proxy(wanted, postfix, name) if name is None or wanted.stores_pass_on else None,
        ports=Ports(**wanted.ports.model_dump()),
        addresses=wanted.listen,
        certificate=wanted.certificate,
        key=wanted.key,
        sessions=wanted.sessions,
        sasl=_sasl(wanted.sasl),
        log_file=wanted.log,
    )


def kit(config: Config, store: str | None, *, proxy: bool, root: Path | None) -> Kit:
    """The kit of a store or the proxy, as `ops.stack.kits` gives them."""
    settings = dovecot_settings(config, store, proxy=proxy)
    if root is None:
        rendered = tuple(files(settings))
        return Kit("dovecot", rendered, "systemctl start dovecot", "systemctl stop dovecot")
    settings = replace(
        settings,
        config_dir=under(root, settings.config_dir),
        base_dir=under(root, settings.base_dir),
        state_dir=under(root, settings.state_dir),
        log_file=under(root, settings.log_file or Path("/var/log/dovecot.log")),
        sasl=under(root, settings.sasl) if isinstance(settings.sasl, Path) else settings.sasl,
        store=settings.store and replace(settings.store, mail_dir=under(root, settings.store.mail_dir)),
    )
    conf = f"-c {settings.config_dir}/dovecot.conf"
    runs = f'kill -0 "$(cat {settings.base_dir}/master.pid 2> /dev/null)" 2> /dev/null'
    begin = f"dovecot {conf} < /dev/null > /dev/null 2>&1"  # it would hold whoever waits for the end of its output
    start = f"{runs} || {begin}"
    reload = f"if {runs}; then doveadm {conf} reload; else {begin}; fi"
    rendered = tuple(files(settings, reload, under(root, ROTATE)))
    return Kit("dovecot", rendered, start, f"! {runs} || doveadm {conf} stop")


def _which(postfix: Postfix, store: str | None) -> str:
    names = list(postfix.stores)
    if store is None and len(names) == 1:
        return names[0]
    if store is None or store.lower() not in names:
        what = "which store?" if store is None else "there is no such store in stack.postfix.stores"
        raise UserError(what, about=store or "dovecot", advice=f"--store {' | '.join(names)}, or --proxy")
    return store.lower()


def _store(wanted: Dovecot, postfix: Postfix, name: str) -> Store:
    return Store(
        name=name,
        relay=endpoint(wanted.relay) if wanted.relay else Endpoint(postfix.hostname, 25),
        mail_dir=wanted.mail_dir,
        owner=(wanted.owner, wanted.owner),
        master=Secret.from_reference(wanted.master_password) if wanted.master_password else None,
        master_networks=wanted.master_networks,
        trusted=wanted.proxy_networks,
        defer_over_quota=wanted.over_quota == "defer",
        rspamd=Rspamd(endpoint(wanted.rspamd), wanted.junk_folder) if wanted.rspamd else None,
        metrics=endpoint(wanted.metrics) if wanted.metrics else None,
        before=_read(wanted.rules) if wanted.rules else "",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="strict")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", about=f"stack.dovecot.rules ({path})") from error


def _proxy(wanted: Dovecot, postfix: Postfix, own: str | None) -> Proxy:
    """The places of a proxy, or of the store `own` that passes on the others' people."""
    ports = wanted.ports
    places = {
        name: Backend(name, _address(endpoint(server).host), ports.imaps, ports.pop3s, ports.sieve)
        for name, server in postfix.stores.items()
        if name != own
    }
    if wanted.exchange_imap is not None:
        imap = endpoint(wanted.exchange_imap)
        pop3 = endpoint(wanted.exchange_pop3).port if wanted.exchange_pop3 else 0
        places[EXCHANGE] = Backend(imap.host, "", imap.port, pop3)
    return Proxy(places, wanted.exchange_user, wanted.proxy_ca_file)


def _sasl(text: str | None) -> Path | Endpoint | None:
    if text is None:
        return None
    return Path(text) if text.startswith("/") else endpoint(text)


def _address(host: str) -> str:
    """The host if it is an address; a name is looked up by what it is called in the certificate."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""
