"""From the settings to the directory that holds routes: our OpenLDAP, or Active Directory. Opens no connection.

Invariant: Active Directory is read with the source's account, and written only where `coexist.ad.write` says so, with
the one of `[coexist.exchange]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mailferry.coexist.people import People
from mailferry.coexist.second import SecondDirectory
from mailferry.coexist.target_address import Do
from mailferry.config.exchange import ExchangeAccess
from mailferry.config.route_store import RoutesInAd
from mailferry.config.settings import Settings
from mailferry.config.stack import OpenLdap
from mailferry.errors import ConfigError
from mailferry.net import ldap
from mailferry.ops.directory import server_of
from mailferry.ops.exchange_side import access_to
from mailferry.secret import Secret
from mailferry.stack.openldap.render import ADDRESSES
from mailferry.stack.openldap.settings import SERVICES, MailSchema
from mailferry.stack.postfix.settings import Directory
from mailferry.stack.words import Attributes, Words, active_directory, openldap
from mailferry.waves.companion import Companion
from mailferry.waves.second import SecondSide

_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Those that Debian trusts, on the hosts of Postfix and Dovecot."""


@dataclass(frozen=True, slots=True)
class RouteStore:
    """`server`: that is written to. `others`: what else Postfix and Dovecot may ask. `forbidden`: why nothing may be
    written, "" if it may."""

    server: ldap.Server
    suffix: str
    words: Words
    open_domain: str
    others: Sequence[ldap.Server] = ()
    forbidden: str = ""

    def people(self, connection: ldap.Connection) -> People:
        """Its recipients over a connection to `server`."""
        return People(connection, self.suffix, self.words, self.open_domain, self.others, self.forbidden)


def in_ad(settings: Settings) -> bool:
    """Whether Active Directory is the only directory."""
    return settings.coexist is not None and settings.coexist.route_store == "ad"


def route_store(settings: Settings) -> RouteStore:
    """Where routes are. ConfigError: sections are missing, or Active Directory cannot be written as they say."""
    directory = settings.directory
    if directory is None:
        raise ConfigError("it needs [directory]", about="mailferry.toml", advice="docs/directory.md has an example")
    open_domain = directory.exchange.routing_domain or ""
    if settings.coexist is None or not in_ad(settings):
        words = openldap(ADDRESSES[MailSchema(directory.schema_)])
        return RouteStore(server_of(directory.target), directory.target.suffix, words, open_domain)
    coexist, source = settings.coexist, directory.source
    access = coexist.exchange if coexist.ad.write else ExchangeAccess()
    server = server_of(access_to(source, access, access.url))
    urls = [source.url, *_asked(settings), *coexist.exchange.controllers]
    others = [server_of(access_to(source, access, url)) for url in dict.fromkeys(urls) if url != server.url]
    forbidden = "" if coexist.ad.write else "coexist.ad.write"
    return RouteStore(server, _base(settings), _words(coexist.ad), open_domain, others, forbidden)


def lookup(settings: Settings, urls: tuple[str, ...]) -> Directory:
    """How Postfix or Dovecot reads it: cn=lookup, or the source's own account. `urls`: its own choice; none: the
    provider, or the source. ConfigError as `route_store`."""
    directory, coexist = settings.directory, settings.coexist
    assert directory is not None
    if coexist is None or not in_ad(settings):
        openldap_ = openldap_of(settings)
        return Directory(
            urls=urls or (openldap_.provider,),
            suffix=directory.target.suffix,
            bind=f"cn=lookup,ou={SERVICES},{directory.target.suffix}",
            password=Secret.from_reference(openldap_.lookup_password),
            words=openldap(ADDRESSES[MailSchema(directory.schema_)]),
            ca_file=openldap_.ca_file,
        )
    source = directory.source
    if source.bind is None or source.password is None:
        raise ConfigError(
            "Postfix and Dovecot need an account that may read Active Directory, with a password",
            about="directory.source.bind",
            advice="name one, and its password",
        )
    if source.tls == "insecure":
        raise ConfigError(
            "Postfix and Dovecot verify the certificates of domain controllers",
            about="directory.source.tls",
            advice='tls = "verify", with the ca_file that vouches for them',
        )
    return Directory(
        urls=urls or (source.url,),
        suffix=_base(settings),
        bind=source.bind,
        password=Secret.from_reference(source.password),
        words=_words(coexist.ad),
        ca_file=None if source.tls == "none" else source.ca_file or _AUTHORITIES,
    )


def second_side(settings: Settings, do: Do) -> list[Companion]:
    """What goes with each move where the old system's own directory is written, too; none otherwise."""
    second = settings.coexist.second if settings.coexist is not None else None
    if second is None or not second.write:
        return []
    server = ldap.Server(
        second.url,
        user=second.bind,
        secret=Secret.from_reference(second.password),
        plain=second.tls == "none",
        verify=second.tls == "verify",
        ca_file=str(second.ca_file) if second.ca_file else None,
    )
    return [SecondSide(SecondDirectory(server, second.base, second.attribute, second.match, do), second.values)]


def openldap_of(settings: Settings) -> OpenLdap:
    """`[stack.openldap]`. ConfigError: it is not there."""
    if settings.stack is None or settings.stack.openldap is None:
        raise ConfigError("it needs [stack.openldap]", about="mailferry.toml", advice="see docs/stack-openldap.md")
    return settings.stack.openldap


def _asked(settings: Settings) -> tuple[str, ...]:
    stack = settings.stack
    servers = (stack.postfix, stack.dovecot) if stack is not None else ()
    return tuple(url for one in servers if one is not None for url in one.directory)


def _base(settings: Settings) -> str:
    assert settings.directory is not None
    source = settings.directory.source
    if source.kind != "ad" or len(source.base) != 1:
        raise ConfigError(
            'routes in Active Directory need people from there, below one entry: directory.source.kind = "ad" and '
            "one directory.source.base",
            about="coexist.route_store",
            advice='base = "DC=acme,DC=example"',
        )
    return source.base[0]


def _words(own: RoutesInAd) -> Words:
    return active_directory(
        Attributes(own.route, own.store, own.fresh, own.outside, own.gate, own.accept, own.reject, own.send_as)
    )
