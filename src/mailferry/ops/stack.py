"""From the settings to the files of each server of the open platform. Installs and starts nothing."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mailferry.config import stack as wanted_stack
from mailferry.config.settings import Settings as Config
from mailferry.errors import ConfigError, Permanent
from mailferry.ops import stack_dovecot, stack_qmail, stack_radicale, stack_relay
from mailferry.ops.route_store import in_ad, lookup
from mailferry.ops.stack_places import endpoint, under
from mailferry.secret import Secret
from mailferry.stack import rspamd
from mailferry.stack.file import File, Kit
from mailferry.stack.openldap.files import DEBIAN, files
from mailferry.stack.openldap.settings import BindThrough, MailSchema, Readers, Role, Settings, Tls
from mailferry.stack.postfix.files import files as postfix_files
from mailferry.stack.postfix.settings import Milter, Submission
from mailferry.stack.postfix.settings import Settings as Postfix

CONFIG_DIR, RUN_DIR = Path("/etc/ldap/slapd.d"), Path("/run/slapd")
DOMAIN = "source"


def openldap_settings(config: Config, replica: int | None = None) -> Settings:
    """What the provider is to be, or the replica of that number (1..999). ConfigError when a section is missing."""
    if config.directory is None or config.stack is None or config.stack.openldap is None:
        raise ConfigError(
            "it needs [directory] and [stack.openldap]", about="mailferry.toml", advice="see docs/stack-openldap.md"
        )
    directory, wanted = config.directory, config.stack.openldap
    tls = through = None
    if wanted.certificate and wanted.key and wanted.ca_file:
        tls = Tls(wanted.certificate, wanted.key, wanted.ca_file)
    if wanted.controllers is not None:
        start_tls = any(url.startswith("ldap://") for url in wanted.controllers.urls)
        urls = {DOMAIN: wanted.controllers.urls}
        through = BindThrough(urls, DOMAIN, wanted.controllers.ca_file, start_tls=start_tls)
    return Settings(
        suffix=directory.target.suffix,
        config_dir=CONFIG_DIR,
        data_dir=wanted.data_dir,
        run_dir=RUN_DIR,
        admin=Secret.from_reference(wanted.admin_password),
        writer=Secret.from_reference(wanted.sync_password),
        replicator=Secret.from_reference(wanted.replicator_password),
        lookup=Secret.from_reference(wanted.lookup_password),
        dav=Secret.from_reference(config.stack.radicale.admin_password) if config.stack.radicale else None,
        role=Role.PROVIDER if replica is None else Role.REPLICA,
        mail_schema=MailSchema(directory.schema_),
        readers=Readers(wanted.readers),
        tls=tls,
        require_tls=tls is not None,
        bind_through=through,
        replica_id=replica or 1,
        provider=wanted.provider,
        max_size=wanted.max_size_gb << 30,
        rows=(wanted.rows, wanted.most_rows),
        failures=wanted.failures,
    )


def postfix_settings(config: Config) -> Postfix:
    """What the Postfix between both sides is to be. ConfigError when a section or a domain is missing."""
    stack = config.stack
    if config.directory is None or stack is None or stack.postfix is None or not (stack.openldap or in_ad(config)):
        raise ConfigError(
            "it needs [directory], [stack.openldap] and [stack.postfix]",
            about="mailferry.toml",
            advice="see docs/stack-postfix.md",
        )
    directory, wanted = config.directory, stack.postfix
    routing = directory.exchange.routing_domain
    if not directory.mapping.domains or routing is None:
        raise ConfigError(
            "the domains are missing: directory.mapping.domains (the organisation's, its main one first) and "
            "directory.exchange.routing_domain (the open side's)",
            about="mailferry.toml",
        )
    return Postfix(
        hostname=wanted.hostname,
        domains=directory.mapping.domains,
        open_domain=routing,
        exchange_domain=wanted.exchange_domain,
        exchange=endpoint(wanted.exchange),
        stores={name: endpoint(server) for name, server in wanted.stores.items()},
        directory=lookup(config, wanted.directory),
        listen=wanted.listen,
        listen_exchange=wanted.listen_exchange,
        exchange_networks=wanted.exchange_networks,
        own_networks=wanted.own_networks,
        queue_days=wanted.queue_days,
        expansion=wanted.expansion,
        message_size=wanted.message_mb << 20,
        certificate=wanted.certificate,
        log_file=wanted.log,
        instances=(stack.relay.config_dir,) if stack.relay is not None else (),
        submission=_submission(wanted, stack.dovecot),
        milter=Milter(stack.rspamd.milter, stack.rspamd.when_away) if stack.rspamd is not None else None,
    )


def _submission(postfix: wanted_stack.Postfix, dovecot: wanted_stack.Dovecot | None) -> Submission | None:
    """Where people hand in mail; None: nobody is there to ask about passwords."""
    sasl = postfix.sasl or (dovecot.sasl if dovecot is not None else None)
    return None if sasl is None else Submission(sasl, postfix.submission, postfix.submissions, postfix.gates)


@dataclass(frozen=True, slots=True)
class Which:
    """Which of several hosts of a kind this is. `replica`: of OpenLDAP (None: the provider); `store`: the mailHost of a
    Dovecot or qmail (None: the only one there is); `proxy`: the Dovecot that is no store."""

    replica: int | None = None
    store: str | None = None
    proxy: bool = False


THE_FIRST = Which()


def kits(config: Config, server: str, which: Which = THE_FIRST, *, root: Path | None = None) -> list[Kit]:
    """What this host gets: the kit of one of SERVERS, or of all that the settings know. `root`: everything stands below
    that directory, and is started without systemd. ConfigError as above, or if there is nothing."""
    if server != ALL:
        return [SERVERS[server](config, which, root)]
    stack = config.stack
    found = [SERVERS[one](config, which, root) for one in SERVERS if stack is not None and getattr(stack, one, None)]
    if not found:
        raise ConfigError("it has no server in [stack]", about="mailferry.toml", advice="see docs/stack-postfix.md")
    return found


def _openldap(config: Config, which: Which, root: Path | None) -> Kit:
    replica = which.replica
    settings, host = openldap_settings(config, replica), DEBIAN
    if root is not None:
        settings = replace(
            settings,
            config_dir=under(root, settings.config_dir),
            data_dir=under(root, settings.data_dir),
            run_dir=under(root, settings.run_dir),
        )
        defaults, pid = under(root, host.defaults), shlex.quote(str(settings.run_dir / "slapd.pid"))
        begin = (
            f'. {shlex.quote(str(defaults))}; slapd -h "$SLAPD_SERVICES" -F "$SLAPD_CONF" -u {host.user} -g {host.user}'
        )
        host = replace(
            host,
            defaults=defaults,
            listen=settings.provider if replica is None else None,
            stop=f"[ ! -e {pid} ] || {{ p=$(cat {pid}); kill $p; while kill -0 $p 2>/dev/null; do sleep 0.1; done; }}",
            start=f"[ -e {pid} ] && kill -0 $(cat {pid}) 2>/dev/null || ({begin})",
        )
    return Kit("openldap", tuple(files(settings, host)), host.start, host.stop)


def _postfix(config: Config, which: Which, root: Path | None) -> Kit:
    settings = postfix_settings(config)
    if root is None:
        return Kit("postfix", tuple(postfix_files(settings)), "systemctl start postfix", "systemctl stop postfix")
    settings = stack_relay.rooted(settings, root, "postfix.log")
    start, stop, reload = stack_relay.commands(settings.config_dir)
    return Kit("postfix", tuple(postfix_files(settings, reload)), start, stop)


def _relay(config: Config, which: Which, root: Path | None) -> Kit:
    return stack_relay.kit(config, postfix_settings(config), root)


def _rspamd(config: Config, which: Which, root: Path | None) -> Kit:
    found = config.stack.rspamd if config.stack is not None else None
    if found is None:
        raise ConfigError("it needs [stack.rspamd]", about="mailferry.toml", advice="see docs/stack-postfix.md")
    settings = rspamd.Settings(
        milter=found.milter,
        controller=found.controller,
        reject=found.reject_score,
        mark=found.mark_score,
        clamav=found.clamav,
        own_networks=postfix_settings(config).own_networks,
    )
    if root is not None:
        raise ConfigError("rspamd is not installed below a directory", about=str(root), advice="install it on a host")
    return rspamd.kit(settings)


def _dovecot(config: Config, which: Which, root: Path | None) -> Kit:
    return stack_dovecot.kit(config, which.store, proxy=which.proxy, root=root)


def _radicale(config: Config, which: Which, root: Path | None) -> Kit:
    return stack_radicale.kit(config, root)


def _qmail(config: Config, which: Which, root: Path | None) -> Kit:
    return stack_qmail.kit(config, which.store, root)


def _courier(config: Config, which: Which, root: Path | None) -> Kit:
    if root is not None:
        raise ConfigError("Courier is not installed below a directory", about=str(root), advice="install it on a host")
    return stack_qmail.courier_kit(config, which.store)


ALL = "all"
SERVERS: dict[str, Callable[[Config, Which, Path | None], Kit]] = {
    "openldap": _openldap,
    "rspamd": _rspamd,
    "relay": _relay,
    "postfix": _postfix,
    "dovecot": _dovecot,
    "radicale": _radicale,
    "qmail": _qmail,
    "courier": _courier,
}
"""Each server by its name in `[stack]`, in the order of starting: settings, which host, root → its kit."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One file of the output directory, and whether its content or permissions were new."""

    path: Path
    changed: bool


def render(kit: Kit, out: Path) -> list[Rendered]:
    """Write the files of one host into `out`. Permanent when the disk says no."""
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        return [_write(out, file) for file in kit.files]
    except OSError as error:
        raise Permanent(f"cannot write: {error.strerror}", about=error.filename or str(out)) from error


def _write(out: Path, file: File) -> Rendered:
    """Put a file in its place by one rename, unless it is there already."""
    path = out / file.name
    if path.exists() and path.read_bytes() == file.content and path.stat().st_mode & 0o777 == file.mode:
        return Rendered(path, changed=False)
    handle, scratch = tempfile.mkstemp(dir=out, prefix=f".{file.name}.")
    with open(handle, "wb") as stream:
        stream.write(file.content)
        os.fchmod(handle, file.mode)
    os.replace(scratch, path)
    return Rendered(path, changed=True)
