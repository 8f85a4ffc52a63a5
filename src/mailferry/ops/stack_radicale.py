"""From the settings to the CalDAV and CardDAV server (`[stack.radicale]`). Installs and starts nothing."""

from __future__ import annotations

import asyncio
import shlex
import time
from dataclasses import replace
from pathlib import Path

from mailferry.config.settings import Settings as Config
from mailferry.errors import ConfigError, Temporary
from mailferry.model.account import DavAccount, Tls
from mailferry.net.dav import DavConnection
from mailferry.ops.route_store import lookup
from mailferry.ops.stack_places import endpoint, under
from mailferry.secret import Secret
from mailferry.stack.file import Kit
from mailferry.stack.openldap.settings import DAV_ACCOUNT
from mailferry.stack.radicale.files import files
from mailferry.stack.radicale.settings import VENV, Settings
from mailferry.wire.dav import RESOURCE_TYPE

SECONDS = 10.0
START_SECONDS = 5.0
"""It takes a second from its start until it answers."""


def radicale_settings(config: Config) -> Settings:
    """What the server is to be. ConfigError when a section is missing."""
    stack = config.stack
    if config.directory is None or stack is None or stack.openldap is None or stack.radicale is None:
        raise ConfigError(
            "it needs [directory], [stack.openldap] and [stack.radicale]",
            about="mailferry.toml",
            advice="see docs/stack-radicale.md",
        )
    wanted = stack.radicale
    return Settings(
        hostname=wanted.hostname,
        listen=wanted.listen,
        directory=lookup(config, wanted.directory),
        certificate=wanted.certificate,
        key=wanted.key,
        python=wanted.python or VENV / "bin" / "python",
        data_dir=wanted.data_dir,
        most_bytes=wanted.item_mb << 20,
    )


def kit(config: Config, root: Path | None) -> Kit:
    """The kit, as `ops.stack.kits` gives them."""
    settings = radicale_settings(config)
    if root is None:
        name = "mailferry-radicale"
        return Kit("radicale", tuple(files(settings)), f"systemctl start {name}", f"systemctl stop {name}")
    settings = replace(settings, config_dir=under(root, settings.config_dir), data_dir=under(root, settings.data_dir))
    pid, log = shlex.quote(str(settings.data_dir / "pid")), shlex.quote(str(settings.data_dir / "log"))
    program = shlex.join([str(settings.python), "-m", "radicale", "--config", str(settings.config_dir / "config")])
    runs = f'kill -0 "$(cat {pid} 2> /dev/null)" 2> /dev/null'
    begin = f"(setsid {program} < /dev/null >> {log} 2>&1 & echo $! > {pid})"
    stop = f'p=$(cat {pid}); kill "$p"; while kill -0 "$p" 2> /dev/null; do sleep 0.1; done'
    restart = f"if {runs}; then {stop}; fi; {begin}"
    return Kit("radicale", tuple(files(settings, restart, None)), f"{runs} || {begin}", f"! {runs} || {{ {stop}; }}")


def account_of(config: Config, service: str, user: str, path: str = "") -> DavAccount:
    """Somebody's collections there, opened by the account that fills them."""
    settings = radicale_settings(config)
    assert config.stack is not None and config.stack.radicale is not None
    at = endpoint(settings.listen[0])
    by_name = settings.certificate is not None or at.host in ("0.0.0.0", "::")
    return DavAccount(
        service,
        settings.hostname if by_name else at.host,
        at.port,
        user,
        Secret.from_reference(config.stack.radicale.admin_password),
        admin=settings.admin,
        path=path,
        tls=Tls.NONE if settings.certificate is None else Tls.IMPLICIT,
        timeout=SECONDS,
    )


def log_in(config: Config) -> str:
    """Log in as the account that fills collections, which takes an answer of the directory. What was found; raises
    what `net/dav` raises."""
    account = account_of(config, "dav", DAV_ACCOUNT)
    return asyncio.run(_ask(account))


async def _ask(account: DavAccount) -> str:
    until = time.monotonic() + START_SECONDS
    async with DavConnection(account) as dav:
        while True:
            try:
                await dav.propfind("/", [RESOURCE_TYPE], 0)
                return f"as {account.user}, at {account.host}:{account.port}"
            except Temporary:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)
