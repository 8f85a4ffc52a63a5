"""The files that make a host a Radicale of ours: its configuration, its unit, a README, a script that installs it.

Pure: gives names and contents. The script may be run again and again; it keeps what it replaces as *.before-TIME and
never touches a collection. Source of the settings: Radicale's documentation of 3.9.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from mailferry.stack.file import File
from mailferry.stack.radicale.settings import ORGANISATION, VENV, VERSION, Settings

UNIT = Path("/etc/systemd/system/mailferry-radicale.service")
RELOAD = (
    "systemctl daemon-reload && systemctl enable --quiet mailferry-radicale && systemctl restart mailferry-radicale"
)
"""The shell command that puts a configuration in force."""
CHECK = "from radicale import config, rights; rights.load(config.load([('SCRATCH/config', False)]))"
"""Python that reads a configuration and its rights as Radicale does."""


def files(settings: Settings, reload: str = RELOAD, unit: Path | None = UNIT) -> Iterator[File]:
    """Everything for one host, README.md first. `unit`: None where systemd does not start it."""
    rendered = [
        File("config", _config(settings).encode(), place=settings.config_dir / "config"),
        File("rights", _rights(settings).encode(), place=settings.config_dir / "rights"),
        File("lookup.secret", f"{settings.directory.password.reveal()}\n".encode(), 0o640, settings.secret_file),
    ]
    if unit is not None:
        rendered.append(File("mailferry-radicale.service", _unit(settings).encode(), place=unit))
    yield File("README.md", _readme(settings).encode())
    yield File("install.sh", _script(settings, rendered, reload).encode(), 0o755)
    yield from rendered


def people(settings: Settings) -> str:
    """Who may log in, as a filter with `{0}` for the name: people whose mailbox is here, by uid or by any address, and
    the account that fills their collections. Before their switch, and after a rollback, people cannot."""
    words = settings.directory.words
    name = f"(|({words.uid}={{0}}){words.address('{0}')})"
    ours = f"(&(objectClass=uidObject)(uid={settings.admin})(uid={{0}}))"
    return f"(|(&{name}{words.fill('<local><enabled>')}){ours})"


def _config(settings: Settings) -> str:
    directory = settings.directory
    start_tls = directory.ca_file is not None and any(url.startswith("ldap://") for url in directory.urls)
    security = "tls" if any(url.startswith("ldaps://") for url in directory.urls) else "none"
    tls = f"ldap_security = {'starttls' if start_tls else security}\n"
    if directory.ca_file is not None:
        tls += f"ldap_ssl_ca_file = {directory.ca_file}\n"
    served = "ssl = False\n"
    if settings.certificate is not None and settings.key is not None:
        served = f"ssl = True\ncertificate = {settings.certificate}\nkey = {settings.key}\n"
    return f"""\
# Rendered by `mailferry stack render radicale`.
[server]
hosts = {", ".join(settings.listen)}
max_connections = 100
max_content_length = {2 * settings.most_bytes}
max_resource_size = {settings.most_bytes}
# A daily meeting without end, over a century.
max_vevent_rrule_occurrence = 40000
timeout = 60
{served}
[auth]
type = ldap
# A client asks many times in a minute; the directory hashes slowly on purpose.
cache_logins = True
cache_successful_logins_expiry = 60
cache_failed_logins_expiry = 10
delay = 1
realm = {settings.hostname}
ldap_uri = {" ".join(directory.urls)}
ldap_base = {directory.suffix}
ldap_reader_dn = {directory.bind}
ldap_secret_file = {settings.secret_file}
ldap_filter = {people(settings)}
# Whoever logs in with an address is called by the uid from then on.
ldap_user_attribute = {directory.words.uid}
{tls}
[rights]
type = from_file
file = {settings.config_dir}/rights

[storage]
filesystem_folder = {settings.data_dir}/collections
# Each new item is compared with all of its collection, by its UID; this way they need not be read.
use_mtime_and_size_for_item_cache = True

[web]
type = none

[logging]
level = warning
mask_passwords = True
"""


def _rights(settings: Settings) -> str:
    admin = re.escape(settings.admin)
    return f"""\
# Rendered by `mailferry stack render radicale`. The first section that matches decides; `{{user}}` is who logged in.

# Mailferry fills people's collections, and the organisation's address book.
[mailferry]
user = {admin}
collection = .*
permissions = RrWw

[root]
user = .+
collection =
permissions = R

# The directory as an address book: everybody reads it, nobody else writes it.
[organisation]
user = .+
collection = {ORGANISATION}(/[^/]+)?
permissions = Rr

[own]
user = .+
collection = {{user}}(/[^/]+)?
permissions = RrWw
"""


def _unit(settings: Settings) -> str:
    return f"""\
# Rendered by `mailferry stack render radicale`.
[Unit]
Description=CalDAV and CardDAV for the open side (Radicale)
After=network-online.target slapd.service
Wants=network-online.target

[Service]
User={settings.owner}
Group={settings.owner}
ExecStart={settings.python} -m radicale --config {settings.config_dir}/config
Restart=on-failure
UMask=0027
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ReadWritePaths={settings.data_dir}

[Install]
WantedBy=multi-user.target
"""


def _script(settings: Settings, rendered: list[File], reload: str) -> str:
    placed = "\n".join(
        f"put {file.name} {shlex.quote(str(file.place))} {file.mode:04o}" for file in rendered if file.place is not None
    )
    owner, home = settings.owner, shlex.quote(str(settings.data_dir))
    python, config = shlex.quote(str(settings.python)), shlex.quote(str(settings.config_dir))
    needed = [path for path in (settings.certificate, settings.key, settings.directory.ca_file) if path is not None]
    look = "".join(
        f'[ -s {shlex.quote(str(path))} ] || {{ echo "install.sh: {path} is missing" >&2; exit 1; }}\n'
        for path in needed
    )
    venv = ""
    if settings.python == VENV / "bin" / "python":
        venv = f"""\
python3 -c 'import ldap, venv' || {{ echo "install.sh: apt-get install python3-venv python3-ldap" >&2; exit 1; }}
[ -x {python} ] || python3 -m venv --system-site-packages {VENV}
{python} -c 'import radicale; assert radicale.VERSION == "{VERSION}"' 2> /dev/null \\
    || {VENV}/bin/pip install --quiet radicale=={VERSION}
"""
    return f"""\
#!/bin/sh
# Makes this host the CalDAV and CardDAV server of the open side. Run it as root, as often as you like: what it
# replaces is kept as *.before-TIME; collections are not touched.
set -eu
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || {{ echo "install.sh: run it as root" >&2; exit 1; }}
{look}{venv}{python} -c 'import radicale, ldap'
getent group {owner} > /dev/null || groupadd --system {owner}
getent passwd {owner} > /dev/null \\
    || useradd --system --gid {owner} --home-dir {home} --shell /usr/sbin/nologin {owner}
[ -d {home} ] || install -d -o {owner} -g {owner} -m 0750 {home}
config={config}
stamp=$(date +%Y%m%d-%H%M%S)
install -d -g {owner} -m 0750 "$config"
# put FILE PLACE MODE: the old one is kept beside it.
put() {{
    cmp -s "$1" "$2" && return
    [ ! -e "$2" ] || cp -p "$2" "$2.before-$stamp"
    install -D -g {owner} -m "$3" "$1" "$2"
}}
{placed}
{reload}
"""


def _readme(settings: Settings) -> str:
    certificate = "No certificate is configured: put a web server with one before it."
    if settings.certificate is not None:
        certificate = f"`{settings.certificate}` and `{settings.key}` have to be readable for `{settings.owner}`."
    return f"""\
# Radicale {VERSION}: calendars, tasks, notes and contacts

Rendered by `mailferry stack render radicale`. The same settings give the same files.

1. On the host (Debian 12, Ubuntu 24.04): `apt-get install python3-venv python3-ldap`.
2. Copy this directory there, for root's eyes only: `lookup.secret` is the password of `{settings.directory.bind}`.
3. {certificate}
4. `sudo ./install.sh`, now and after every new rendering. It makes `{VENV}` and fetches Radicale into it; what it
   replaces is kept as `*.before-TIME`.

People log in with their uid or any of their addresses, once their mailbox is here. Collections are files below
`{settings.data_dir}/collections`: back that up. `{settings.admin}` may write all of them, and only it may write the
organisation's address book, `/{ORGANISATION}/contacts/`.

To go back: copy the `before-` files over the new ones, `systemctl restart mailferry-radicale`.

| file | what it is |
|---|---|
| config | the configuration |
| rights | who may read and write what |
| lookup.secret | the password that Radicale reads the directory with |
| mailferry-radicale.service | its unit |
"""
