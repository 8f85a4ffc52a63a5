"""From the settings to the port that reads and writes Exchange's side (`coexist.target_address`). Opens no connection.

Invariant: without `coexist.write_target_address` nobody gets a port that writes from `writer`.
"""

from __future__ import annotations

from mailferry.coexist.target_address import Do, TargetAddresses
from mailferry.config.exchange import ExchangeAccess
from mailferry.config.settings import Settings, Source
from mailferry.errors import ConfigError
from mailferry.ops.directory import server_of


def writer(settings: Settings, do: Do) -> TargetAddresses | None:
    """The port for a wave; None where Mailferry is not to write to Active Directory. ConfigError: the source is none,
    or a password is missing."""
    if settings.coexist is None or not settings.coexist.write_target_address:
        return None
    return _port(settings, settings.coexist.exchange, do)


def reader(settings: Settings, do: Do) -> TargetAddresses | None:
    """The port for looking only; None where the people do not come from Active Directory."""
    if settings.directory is None or settings.directory.source.kind != "ad":
        return None
    return _port(settings, settings.coexist.exchange if settings.coexist else ExchangeAccess(), do)


def _port(settings: Settings, access: ExchangeAccess, do: Do) -> TargetAddresses:
    if settings.directory is None or settings.directory.source.kind != "ad":
        raise ConfigError(
            "Mailferry can only set the external address of people who are read from Active Directory",
            about="coexist.write_target_address",
            advice="switch it off, and use the scripts of `mailferry wave script`",
        )
    sources = [access_to(settings.directory.source, access, access.url)]
    sources += [access_to(settings.directory.source, access, url) for url in access.controllers]
    servers = {one.url: one for one in map(server_of, sources)}
    return TargetAddresses(tuple(servers.values()), do)


def access_to(source: Source, access: ExchangeAccess, url: str | None) -> Source:
    """The source with what `access` says differently."""
    own = {
        "url": url,
        "bind": access.bind,
        "password": access.password,
        "ca_file": access.ca_file,
        "tls": access.tls,
        "kerberos": False if access.bind else None,
    }
    return source.model_copy(update={name: value for name, value in own.items() if value is not None})
