"""Where things are, as the settings of several servers say it: the directory, HOST:PORT, paths. Opens nothing."""

from __future__ import annotations

from pathlib import Path

from mailferry.config.settings import DirectorySettings
from mailferry.config.stack import OpenLdap
from mailferry.secret import Secret
from mailferry.stack.openldap.render import ADDRESSES
from mailferry.stack.openldap.settings import SERVICES, MailSchema
from mailferry.stack.postfix.settings import Directory, Endpoint
from mailferry.stack.words import openldap as openldap_words


def lookup(directory: DirectorySettings, openldap: OpenLdap, urls: tuple[str, ...]) -> Directory:
    """How a server reads the open directory, as cn=lookup. `urls`: its own choice; none: the provider."""
    return Directory(
        urls=urls or (openldap.provider,),
        suffix=directory.target.suffix,
        bind=f"cn=lookup,ou={SERVICES},{directory.target.suffix}",
        password=Secret.from_reference(openldap.lookup_password),
        words=openldap_words(ADDRESSES[MailSchema(directory.schema_)]),
        ca_file=openldap.ca_file,
    )


def endpoint(text: str) -> Endpoint:
    """HOST:PORT, an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    return Endpoint(host.strip("[]"), int(port))


def under(root: Path, path: Path) -> Path:
    """The same path below a directory."""
    return root / path.relative_to("/")
