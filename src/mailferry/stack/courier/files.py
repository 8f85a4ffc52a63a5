"""The files that make a host a Courier of ours: its configuration, a README, a script that installs it.

Pure: gives names and contents. The script may be run again and again; it keeps what it replaces and touches no mailbox.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from mailferry.stack.courier import render
from mailferry.stack.courier.settings import Settings
from mailferry.stack.file import File

_SERVICES = {"imap": "courier-imap", "imaps": "courier-imap-ssl", "pop3": "courier-pop", "pop3s": "courier-pop-ssl"}
PACKAGES = "courier-imap courier-pop courier-authlib-ldap"


def files(settings: Settings) -> Iterator[File]:
    """Everything for one host, README.md first."""
    rendered = list(render.files(settings))
    yield File("README.md", _readme(settings).encode())
    yield File("install.sh", _script(settings, rendered).encode(), 0o755)
    yield from rendered


def services(settings: Settings) -> list[str]:
    """What has to run, in order of starting."""
    tls = settings.certificate is not None
    ports = {"imap": settings.ports.imap, "imaps": tls and settings.ports.imaps}
    ports |= {"pop3": settings.ports.pop3, "pop3s": tls and settings.ports.pop3s}
    return ["courier-authdaemon", *(_SERVICES[name] for name, port in ports.items() if port)]


def _script(settings: Settings, rendered: Sequence[File]) -> str:
    puts = "\n".join(
        f"put {file.name} {shlex.quote(str(file.place))} {'root' if file.mode & 0o004 else 'courier'} {file.mode:04o}"
        for file in rendered
    )
    owner, place = settings.owner, settings.mail_dir
    needed = ""
    if settings.certificate is not None:
        name = settings.certificate
        needed = f'[ -s {name} ] || {{ echo "install.sh: {name} is missing" >&2; exit 1; }}\n'
    return f"""\
#!/bin/sh
# Makes this host a Courier for the store {settings.store}. Run it as root, as often as you like: what it replaces is
# kept beside it as *.before-TIME; mailboxes are not touched.
set -eu
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || {{ echo "install.sh: run it as root" >&2; exit 1; }}
for part in sbin/couriertcpd lib/courier/courier/courierpop3d lib/courier-authlib/libauthldap.so; do
    [ -e "/usr/$part" ] || {{ echo "install.sh: apt-get install {PACKAGES}" >&2; exit 1; }}
done
{needed}getent group {owner} > /dev/null || groupadd --system {owner}
getent passwd {owner} > /dev/null \\
    || useradd --system --gid {owner} --home-dir {place} --shell /usr/sbin/nologin {owner}
[ -d {place} ] || install -d -o {owner} -g {owner} -m 0750 {place}
stamp=$(date +%Y%m%d-%H%M%S)
put() {{
    ! cmp -s "$1" "$2" || return 0
    [ ! -e "$2" ] || cp -p "$2" "$2.before-$stamp"
    install -D -g "$3" -m "$4" "$1" "$2"
}}
{puts}
systemctl restart {" ".join(services(settings))}
"""


def _readme(settings: Settings) -> str:
    authority = ""
    if settings.directory.ca_file is not None:
        authority = f"\n3. `TLS_CACERT {settings.directory.ca_file}` in /etc/ldap/ldap.conf: authldaprc cannot say it."
    return f"""\
# Courier for the store {settings.store}

Rendered by `mailferry stack render courier`. The same settings give the same files.

1. On the host (Debian 12, Ubuntu 24.04): `apt-get install {PACKAGES}`. It excludes Dovecot's IMAP.
2. Copy this directory there, for root's eyes only: `authldaprc` holds the password of `cn=lookup`. Run
   `./install.sh`.{authority}

People log in with their `{settings.login}` and the password that slapd knows, and only those whose mail is here.
"""
