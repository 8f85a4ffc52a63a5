"""The files that make a host an OpenLDAP server of ours: configuration, first entries, start-up settings, a script.

Pure: gives names and contents. The script may be run again and again: it puts a new configuration in the place of the
old one, which it keeps, and never touches a database that exists.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailferry.stack.file import File
from mailferry.stack.openldap import render
from mailferry.stack.openldap.definitions import FOLDER
from mailferry.stack.openldap.run import ENVIRONMENT
from mailferry.stack.openldap.settings import Role, Settings


@dataclass(frozen=True, slots=True)
class Host:
    """How a host runs slapd. `user`: whom it runs as, with a group of that name. `defaults`: the file that the
    distribution's start-up reads. `stop`, `start`: shell commands. `listen`: URLs besides the socket; None: the usual
    ones."""

    user: str = "openldap"
    defaults: Path = Path("/etc/default/slapd")
    stop: str = "systemctl stop slapd"
    start: str = "systemctl start slapd"
    listen: str | None = None


DEBIAN = Host()


def files(settings: Settings, host: Host = DEBIAN) -> Iterator[File]:
    """Everything for one host, README.md first."""
    yield File("README.md", _readme(settings, host).encode())
    yield File("install.sh", _script(settings, host).encode(), 0o755)
    yield File("config.ldif", render.config(settings), 0o600, settings.config_dir)
    if settings.role is Role.PROVIDER:
        yield File(_first_file(settings), render.first_entries(settings), 0o600)
    yield File("slapd.default", _defaults(settings, host).encode(), place=host.defaults)
    for name in render.own_schemas(settings):
        yield File(f"{name}.schema", (FOLDER / f"{name}.schema").read_bytes())


def _defaults(settings: Settings, host: Host) -> str:
    listen = host.listen or ("ldap:/// ldaps:///" if settings.tls else "ldap:///")
    exports = "".join(f"export {name}={value}\n" for name, value in ENVIRONMENT.items())
    return f"""\
# Rendered by `mailferry stack render openldap`; changes are lost at the next install.sh.
SLAPD_CONF={_path(settings.config_dir)}
SLAPD_USER={host.user}
SLAPD_GROUP={host.user}
SLAPD_PIDFILE={_path(settings.run_dir / "slapd.pid")}
SLAPD_SERVICES={shlex.quote(f"{listen} {settings.ldapi}")}
SLAPD_OPTIONS=
# Seconds that a log-in waits for a domain controller; without them one that is silent holds up everybody.
{exports}"""


def _script(settings: Settings, host: Host) -> str:
    first = _FIRST.format(user=host.user, server=settings.server_id, file=_first_file(settings))
    return f"""\
#!/bin/sh
# Makes this host an OpenLDAP {settings.role.value} for {settings.suffix}. Run it as root, as often as you like:
# the configuration is replaced and the old one kept beside it; a database that exists is not touched.
set -eu
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || {{ echo "install.sh: run it as root" >&2; exit 1; }}
config={_path(settings.config_dir)}
data={_path(settings.data_dir)}
run={_path(settings.run_dir)}
defaults={_path(host.defaults)}
PATH=$PATH:/usr/sbin
command -v slapadd > /dev/null || {{ echo "install.sh: apt-get install slapd" >&2; exit 1; }}
mkdir -p "$(dirname "$config")" "$(dirname "$data")" "$(dirname "$run")"
umask 027

# What can be refused is refused here, while the server still runs as before.
install -d -o {host.user} -g {host.user} -m 0750 "$data" "$run"
new=$(mktemp -d "$config.XXXXXX")
trap 'rm -rf "$new"' EXIT
slapadd -n 0 -F "$new" -l config.ldif
chown -R {host.user}:{host.user} "$new"
{first}
{host.stop}
stamp=$(date +%Y%m%d-%H%M%S)
[ ! -e "$config" ] || mv "$config" "$config.before-$stamp"
mv "$new" "$config"
if ! cmp -s slapd.default "$defaults"; then
    [ ! -e "$defaults" ] || cp -p "$defaults" "$defaults.before-$stamp"
    install -D -m 0644 slapd.default "$defaults"
fi
{host.start}
"""


_FIRST = """
# What an empty database begins with; it takes its place by one rename.
if [ ! -e "$data/data.mdb" ] && [ -e {file} ]; then
    aside=$(mktemp -d)
    trap 'rm -rf "$new" "$aside" "$data/loading"' EXIT
    rm -rf "$data/loading"
    install -d -o {user} -g {user} -m 0750 "$data/loading"
    sed "s|^olcDbDirectory:.*|olcDbDirectory: $data/loading|" config.ldif | slapadd -n 0 -F "$aside"
    chown -R {user}:{user} "$aside"
    setpriv --reuid {user} --regid {user} --init-groups slapadd -q -w -S {server} -n 1 -F "$aside" < {file}
    sync "$data/loading/data.mdb"
    mv "$data/loading/data.mdb" "$data/data.mdb"
fi
"""


def _first_file(settings: Settings) -> str:
    return "first-entries.ldif" if settings.role is Role.PROVIDER else "seed.ldif"


def _readme(settings: Settings, host: Host) -> str:
    provider = settings.role is Role.PROVIDER
    secret = "`config.ldif` and `first-entries.ldif` hold password hashes"
    then = "`mailferry directory sync` brings the people."
    if not provider:
        secret = "`config.ldif` holds the replicator's password in clear, since slapd has to send it"
        then = (
            f"It fetches what it lacks from {settings.provider}; compare `contextCSN` of the suffix on both.\n"
            "   Of tens of thousands of entries that takes minutes: then put the output of the provider's\n"
            f"   `slapcat -n 1 -F {settings.config_dir}` here as `seed.ldif` before the first install.sh."
        )
    certificate = "No certificate is configured: passwords travel in clear."
    if settings.tls is not None:
        tls = settings.tls
        certificate = (
            f"The certificate, its key and the authority have to be at `{tls.certificate}`, `{tls.key}` and\n"
            f"   `{tls.authority}`; the key with `chgrp {host.user}` and `chmod 640`."
        )
    first = "| first-entries.ldif | suffix, branches, service accounts, password policy; for an empty database only |\n"
    return f"""\
# OpenLDAP {settings.role.value} for {settings.suffix}

Rendered by `mailferry stack render openldap`. The same settings give the same files.

1. On the host (Debian 12, Ubuntu 24.04): `apt-get install slapd`.
2. Copy this directory there, for root's eyes only: {secret}.
3. {certificate}
4. `sudo ./install.sh`, now and after every new rendering. What it replaces is kept as `*.before-TIME`.
5. {then}

To go back: stop slapd, put the `before-` configuration back, start slapd. The database is in `{settings.data_dir}`;
back it up with `slapcat -n 1 -F {settings.config_dir}`, which may run at any time.

| file | what it is |
|---|---|
| install.sh | checks the configuration, puts it in place, starts slapd |
| config.ldif | cn=config, whole |
{first if provider else ""}\
| slapd.default | for {host.defaults}: where slapd listens, how long it waits for domain controllers |
| *.schema | our schemas in slapd.conf's form, for other servers; config.ldif has them already |
"""


def _path(path: Path) -> str:
    return shlex.quote(str(path))
