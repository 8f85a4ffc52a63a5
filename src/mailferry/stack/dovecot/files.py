"""The files that make a host a Dovecot of ours: its configuration, a README, a script that installs it.

Pure: gives names and contents. The script may be run again and again: it checks what is new before it takes the place
of the old, which it keeps, and never touches a mailbox.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailferry.stack.dovecot import render, sieve
from mailferry.stack.dovecot.settings import MASTER, Settings, Store
from mailferry.stack.file import File

RELOAD = "systemctl reload-or-restart dovecot"
"""The shell command that puts a configuration in force on Debian and Ubuntu."""
ROTATE = Path("/etc/logrotate.d/mailferry-dovecot")
_PACKAGES = "dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-managesieved dovecot-sieve dovecot-ldap"


def check_command(config: Path) -> tuple[str, ...]:
    """The daemon's own checker, for files that stand in the directory `config`: silent and 0 if it is content."""
    return ("doveconf", "-n", "-c", str(config / "dovecot.conf"))


def files(settings: Settings, reload: str = RELOAD, rotate: Path = ROTATE) -> Iterator[File]:
    """Everything for one host, README.md first."""
    rendered = list(render.files(settings))
    if settings.log_file is not None:
        rendered.append(File("logrotate", _logrotate(settings).encode(), place=rotate))
    yield File("README.md", _readme(settings, rendered).encode())
    yield File("install.sh", _script(settings, rendered, reload).encode(), 0o755)
    yield from rendered


def _script(settings: Settings, rendered: Sequence[File], reload: str) -> str:
    scripts = " ".join(file.name for file in rendered if file.name in sieve.SCRIPTS)
    check = shlex.join(check_command(Path("NEW"))).replace("NEW", '"$PWD"')
    placed = "\n".join(
        f"put {file.name} {shlex.quote(str(file.place))} {'root' if file.mode & 0o004 else 'dovecot'} {file.mode:04o}"
        for file in rendered
        if file.place is not None
    )
    compiled = f'\nfor file in {scripts}; do\n    sievec -c "$config/dovecot.conf" "$config/$file"\ndone'
    if not scripts:
        compiled = ""
    return f"""\
#!/bin/sh
# Makes this host {_what(settings)}. Run it as root, as often as you like: what it
# replaces is kept as *.before-TIME; mailboxes are not touched.
set -eu
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || {{ echo "install.sh: run it as root" >&2; exit 1; }}
config={shlex.quote(str(settings.config_dir))}
PATH=$PATH:/usr/sbin
for part in imap pop3 lmtp managesieve modules/lib90_sieve_plugin.so modules/auth/libauthdb_ldap.so; do
    [ -e "/usr/lib/dovecot/$part" ] || {{ echo "install.sh: apt-get install {_PACKAGES}" >&2; exit 1; }}
done
case $(dovecot --version) in
    2.3.*) ;;
    *) echo "install.sh: these files are for Dovecot 2.3, this is $(dovecot --version)" >&2; exit 1 ;;
esac

# What can be refused is refused here, while the server still runs as before.
said=$({check} 2>&1 > /dev/null) || said=${{said:-refused}}
[ -z "$said" ] || {{ echo "$said" >&2; exit 1; }}
{_needed(settings)}{_owner(settings.store)}
stamp=$(date +%Y%m%d-%H%M%S)
mkdir -p "$config" {shlex.join(_folders(settings))}
# put FILE PLACE GROUP MODE: the old one is kept beside dovecot.conf.
put() {{
    cmp -s "$1" "$2" && return
    [ ! -e "$2" ] || cp -p "$2" "$config/${{2##*/}}.before-$stamp"
    install -D -g "$3" -m "$4" "$1" "$2"
}}
{placed}{compiled}
{reload}
"""


def _needed(settings: Settings) -> str:
    """Lines that look for the files which Dovecot reads and we do not bring."""
    wanted = [settings.certificate, settings.key, settings.proxy.ca_file if settings.proxy else None]
    names = shlex.join(str(path) for path in wanted if path is not None)
    if not names:
        return ""
    return f"""\
for file in {names}; do
    [ -s "$file" ] || {{ echo "install.sh: $file is missing" >&2; exit 1; }}
done
"""


def _what(settings: Settings) -> str:
    if settings.store is None:
        return "the Dovecot that log-ins go through"
    return f"the store {settings.store.name}"


def _folders(settings: Settings) -> list[str]:
    parts = [settings.base_dir.parent, settings.state_dir.parent]
    return [str(part) for part in dict.fromkeys(parts)] + ([str(settings.log_file.parent)] if settings.log_file else [])


def _owner(store: Store | None) -> str:
    """Lines that make the owner of all mail, if they have a name and are not there, and the place for it."""
    if store is None:
        return ""
    user, group = store.owner
    place = shlex.quote(str(store.mail_dir))
    make = f"""\
getent group {group} > /dev/null || groupadd --system {group}
getent passwd {user} > /dev/null || useradd --system --gid {group} --home-dir {place} --shell /usr/sbin/nologin {user}
"""
    return f"""
# Who owns all mail, and where it is.
{"" if user.isdigit() else make}[ -d {place} ] || install -d -o {user} -g {group} -m 0750 {place}
"""


def _logrotate(settings: Settings) -> str:
    pid = settings.base_dir / "master.pid"
    return f"""\
# Rendered by `mailferry stack render dovecot`. Dovecot's log, by week; the old ones are kept for `mailferry trace`.
{settings.log_file} {{
    weekly
    rotate 12
    compress
    delaycompress
    missingok
    notifempty
    sharedscripts
    postrotate
        [ ! -e {pid} ] || kill -s USR1 "$(cat {pid})"
    endscript
}}
"""


def _readme(settings: Settings, rendered: Sequence[File]) -> str:
    rows = "\n".join(f"| {file.name} | {_about(file)} |" for file in rendered)
    certificate = "No certificate is configured: passwords travel in clear."
    if settings.certificate is not None:
        certificate = (
            f"The certificate with its chain has to be in `{settings.certificate}`, its key in\n   `{settings.key}`; "
            "both may be for root's eyes only."
        )
    secret = f"those named `ldap-` hold the password of\n   `{settings.directory.bind}`"
    again = "Passwords are checked where the mailbox is."
    if settings.store is not None:
        again = f"Mail is in `{settings.store.mail_dir}/UID/Maildir`."
    return f"""\
# Dovecot 2.3: {_what(settings)}

Rendered by `mailferry stack render dovecot`. The same settings give the same files.

1. On the host (Debian 12, Ubuntu 24.04): `apt-get install {_PACKAGES}`.
2. Copy this directory there, for root's eyes only: {secret}.
3. {certificate}
4. `sudo ./install.sh`, now and after every new rendering. What it replaces is kept as `*.before-TIME`.

{again} Debian's own `conf.d` is not read any more.

To go back: copy the `before-` files over the new ones, `systemctl restart dovecot`.

To ask what Dovecot would do: `doveadm auth lookup alice` (a log-in), `doveadm user alice` (the mailbox).
{_master(settings.store)}
| file | what it is |
|---|---|
{rows}
"""


def _master(store: Store | None) -> str:
    if store is None or store.master is None:
        return ""
    return f"""
`{MASTER}` may open every mailbox, from {", ".join(store.master_networks)} alone: `doveadm auth test 'alice*{MASTER}'`.
"""


def _about(file: File) -> str:
    fixed = {
        "dovecot.conf": "the configuration",
        "masters": f"the password of `{MASTER}`, hashed",
        sieve.RULES: "the organisation's rules (`mailferry rules transport`), before a person's own filter",
        sieve.LEARN: "hands a message to rspamd",
    }
    first = file.content.decode().splitlines()[0].removeprefix("# ")
    return fixed.get(file.name) or first.replace("|", "\\|")
