"""The files that make a host the Postfix between both sides: its configuration, a README, a script that installs it.

Pure: gives names and contents. The script may be run again and again: it checks what is new before it takes the place
of the old, which it keeps, and never touches the queue.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from mailferry.stack.file import File
from mailferry.stack.postfix import render
from mailferry.stack.postfix.settings import Settings

RELOAD = "systemctl reload-or-restart postfix"
"""The shell command that puts a configuration in force on Debian and Ubuntu."""


def files(settings: Settings, reload: str = RELOAD) -> Iterator[File]:
    """Everything for one host, README.md first."""
    rendered = [*render.files(settings), *rotation(settings, "postfix")]
    yield File("README.md", _readme(settings, rendered).encode())
    yield File("install.sh", script(settings, rendered, reload).encode(), 0o755)
    yield from rendered


def rotation(settings: Settings, name: str) -> Iterator[File]:
    """logrotate(8)'s file, where this instance writes a log of its own; Postfix opens it anew at a reload."""
    if settings.log_file is None:
        return
    text = f"""\
# Rendered by `mailferry stack render`: keeps half a year of Postfix's log, which `mailferry trace` reads, too.
{settings.log_file} {{
    weekly
    rotate 26
    compress
    delaycompress
    missingok
    notifempty
    nocreate
    postrotate
        postfix -c {shlex.quote(str(settings.config_dir))} reload > /dev/null 2>&1 || true
    endscript
}}
"""
    yield File(f"logrotate-{name}", text.encode(), place=settings.logrotate_dir / f"mailferry-{name}")


def script(settings: Settings, rendered: list[File], reload: str, *, before: str = ":") -> str:
    """install.sh of one instance. `before`: a shell command that is run before the configuration is put in force."""
    names = " ".join(file.name for file in rendered if file.place == settings.config_dir / file.name)
    puts = "\n".join(
        f"put {file.name} {shlex.quote(str(file.place))} {'postfix' if file.mode == 0o640 else 'root'} {file.mode:04o}"
        for file in rendered
    )
    data = shlex.quote(str(settings.data_dir))
    folders = [settings.queue_dir, *([settings.log_file.parent] if settings.log_file else [])]
    return f"""\
#!/bin/sh
# Makes this host the Postfix for {settings.domains[0]}. Run it as root, as often as you like: what it replaces is kept
# beside it as *.before-TIME; the queue is not touched.
set -eu
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || {{ echo "install.sh: run it as root" >&2; exit 1; }}
config={shlex.quote(str(settings.config_dir))}
PATH=$PATH:/usr/sbin
command -v postconf > /dev/null || {{ echo "install.sh: apt-get install postfix postfix-ldap" >&2; exit 1; }}

# What can be refused is refused here, while the server still runs as before.
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
cp {names} "$new"
sed "s|$config/|$new/|g" main.cf > "$new/main.cf"
postconf -c "$new" -m | grep -qx ldap || {{ echo "install.sh: apt-get install postfix-ldap" >&2; exit 1; }}
said=$({{ postconf -n -c "$new" && postconf -M -c "$new"; }} 2>&1 > /dev/null) || said=${{said:-refused}}
[ -z "$said" ] || {{ echo "$said" >&2; exit 1; }}

stamp=$(date +%Y%m%d-%H%M%S)
mkdir -p "$config" {shlex.join(map(str, folders))}
[ -d {data} ] || install -d -o postfix -m 0700 {data}
put() {{
    ! cmp -s "$1" "$2" || return 0
    [ ! -e "$2" ] || cp -p "$2" "$2.before-$stamp"
    install -D -g "$3" -m "$4" "$1" "$2"
}}
{puts}
{before}
postfix -c "$config" check
{reload}
"""


def _readme(settings: Settings, rendered: list[File]) -> str:
    rows = "\n".join(f"| {file.name} | {_about(file)} |" for file in rendered)
    certificate = "No certificate is configured: nobody can send here over TLS."
    if settings.certificate is not None:
        certificate = f"Certificate, chain and key have to be in `{settings.certificate}`, for root's eyes only."
    return f"""\
# Postfix for {" and ".join(settings.domains)}

Rendered by `mailferry stack render postfix`. The same settings give the same files.

1. On the host (Debian 12, Ubuntu 24.04): `apt-get install postfix postfix-ldap`, "No configuration".
2. Copy this directory there, for root's eyes only: the `ldap-` files hold the password of
   `{settings.directory.bind}`.
3. {certificate}
4. `sudo ./install.sh`, now and after every new rendering. What it replaces is kept as `*.before-TIME`.
5. A timer: `mailferry route settle`, hourly, where Mailferry runs.

To go back: copy the `before-` files over the new ones, `systemctl reload postfix`.

To ask what Postfix would do: `postmap -q alice@{settings.domains[0]} ldap:{settings.config_dir}/ldap-routes.cf`.

| file | what it is |
|---|---|
{rows}
"""


def _about(file: File) -> str:
    fixed = {"main.cf": "the parameters", "master.cf": "listeners and transports"}
    first = file.content.decode().splitlines()[0].removeprefix("# ")
    return fixed.get(file.name) or first.replace("|", "\\|")
