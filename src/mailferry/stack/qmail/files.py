"""The files that make a host a qmail of ours: what `render` gives, systemd's units, a README, a script that installs.

Pure: gives names and contents. The script may be run again and again: it keeps what it replaces, never touches the
queue or a mailbox, and brings no qmail.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from mailferry.stack.file import File
from mailferry.stack.qmail import render
from mailferry.stack.qmail.settings import Settings

UNIT = "mailferry-qmail"
ABOUT = {
    "qmail": "qmail-send and its helpers",
    "smtpd": "SMTP for everybody",
    "exchange": "SMTP for mail from Exchange",
}


def files(settings: Settings, *, systemd: bool = True) -> Iterator[File]:
    """Everything for one host, README.md first. `systemd`: with units, and put in force through them."""
    rendered = [*render.files(settings), *(_units(settings) if systemd else ())]
    yield File("README.md", _readme(settings).encode())
    yield File("install.sh", _script(settings, rendered, systemd=systemd).encode(), 0o755)
    yield from rendered


def start() -> str:
    """The shell command that starts all of it on a host with systemd."""
    return f"systemctl start {' '.join(f'{UNIT}-{name}' for name in render.SERVICES)} {UNIT}-apply.timer"


def stop() -> str:
    return f"systemctl stop {UNIT}-apply.timer {' '.join(f'{UNIT}-{name}' for name in reversed(render.SERVICES))}"


def trial(settings: Settings, run: Path) -> tuple[str, str]:
    """The commands that start and stop it without systemd; pids and logs are kept in `run`."""
    here = shlex.quote(str(run))
    begin, end = [f"mkdir -p {here}"], []
    for name in render.SERVICES:
        pid, script = run / f"{name}.pid", settings.places.programs / f"run-{name}"
        alive = f'kill -0 "$(cat {pid} 2> /dev/null)" 2> /dev/null'
        begin.append(f"{alive} || {{ setsid {script} > {run}/{name}.log 2>&1 < /dev/null & echo $! > {pid}; }}")
        end.append(f'! {alive} || kill "$(cat {pid})"')
    return "\n".join(begin), "\n".join(reversed(end))


def _units(settings: Settings) -> Iterator[File]:
    units, programs = settings.places.units, settings.places.programs
    for name in render.SERVICES:
        text = f"""\
# Rendered by `mailferry stack render qmail`.
[Unit]
Description={ABOUT[name]}
After=network-online.target

[Service]
ExecStart={programs}/run-{name}
Restart=always
KillMode={"mixed" if name == "qmail" else "process"}

[Install]
WantedBy=multi-user.target
"""
        yield File(f"{UNIT}-{name}.service", text.encode(), place=units / f"{UNIT}-{name}.service")
    service = f"""\
# Rendered by `mailferry stack render qmail`: brings the homes in step with the directory.
[Unit]
Description=.qmail files as the directory says

[Service]
Type=oneshot
ExecStart=mailferry stack apply --store {settings.store}
# some addresses could not be carried
SuccessExitStatus=1
"""
    timer = """\
# Rendered by `mailferry stack render qmail`.
[Timer]
OnBootSec=1min
OnUnitActiveSec=5min

[Install]
WantedBy=timers.target
"""
    yield File(f"{UNIT}-apply.service", service.encode(), place=units / f"{UNIT}-apply.service")
    yield File(f"{UNIT}-apply.timer", timer.encode(), place=units / f"{UNIT}-apply.timer")


def _script(settings: Settings, rendered: list[File], *, systemd: bool) -> str:
    places = settings.places
    puts = "\n".join(f"put {file.name} {shlex.quote(str(file.place))} {file.mode:04o}" for file in rendered)
    made = "\n".join(
        f"[ -d {path} ] || install -d -o {settings.owner if theirs else 'root'} "
        f"-g {settings.owner if theirs else 'root'} -m {'0750' if theirs else '0755'} {path}"
        for path, theirs in render.folders(settings)
    )
    units = " ".join(f"{UNIT}-{name}.service" for name in render.SERVICES)
    enabled = f"""
systemctl daemon-reload
systemctl enable --quiet {units} {UNIT}-apply.timer"""
    return f"""\
#!/bin/sh
# Makes this host the qmail for {settings.domains[0]}. Run it as root, as often as you like: what it replaces is kept
# beside it as *.before-TIME; queue and mailboxes are not touched.
set -eu
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || {{ echo "install.sh: run it as root" >&2; exit 1; }}
qmail={places.prefix} programs={places.programs}
[ -x $qmail/bin/qmail-send ] || {{ echo "install.sh: no qmail in $qmail: build notqmail, see README.md" >&2; exit 1; }}
command -v tcpserver > /dev/null || {{ echo "install.sh: apt-get install ucspi-tcp" >&2; exit 1; }}
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \\
    || {{ echo "install.sh: Python 3.11 or later is needed" >&2; exit 1; }}

# Who owns all mail.
getent group {settings.owner} > /dev/null || groupadd --system {settings.owner}
getent passwd {settings.owner} > /dev/null \\
    || useradd --system --gid {settings.owner} --home-dir {places.mail_dir} --shell /usr/sbin/nologin {settings.owner}
{made}
# The lines of users/assign that somebody has made before stay, in a file of their own.
if [ -e $qmail/users/assign ] && [ ! -e {places.state}/applied ] && [ ! -e $qmail/users/assign.local ]; then
    grep -v '^\\.$' $qmail/users/assign > $qmail/users/assign.local || true
fi

stamp=$(date +%Y%m%d-%H%M%S)
put() {{
    ! cmp -s "$1" "$2" || return 0
    [ ! -e "$2" ] || cp -p "$2" "$2.before-$stamp"
    install -D -m "$3" "$1" "$2"
}}
{puts}
$qmail/bin/qmail-newmrh
for name in smtpd exchange; do
    tcprules $programs/$name.cdb $programs/$name.tmp < $programs/$name.rules
    chmod 644 $programs/$name.cdb
done
{enabled if systemd else ""}
# Who is local is read anew (qmail-send(8)).
for pid in $(pgrep -x qmail-send || true); do
    [ "$(readlink /proc/$pid/exe)" != "$(readlink -f $qmail/bin/qmail-send)" ] || kill -HUP $pid
done
"""


def _readme(settings: Settings) -> str:
    places = settings.places
    return f"""\
# qmail for {" and ".join(settings.domains)}

Rendered by `mailferry stack render qmail`. The same settings give the same files.

1. On the host: a notqmail under `{places.prefix}` (see its INSTALL.md; it is not in Debian), and
   `apt-get install ucspi-tcp`.
2. Copy this directory there and run `./install.sh` as root. What it replaces is kept as `*.before-TIME`.
3. Mailferry with its settings has to be on this host too, since it writes who gets what:
   `mailferry stack apply --store {settings.store}` (a timer runs it every five minutes; a wave runs it for each
   person that it moves). Its settings are in /etc/mailferry/mailferry.toml.
4. Mail flows without Mailferry. While nothing has been compared with the directory for {settings.stale_seconds:.0f} s,
   recipients who are not known are put off (451) instead of refused.

| where | what |
|---|---|
| `{places.prefix}/control` | qmail's own settings, qmail-control(5) |
| `{places.prefix}/users/assign` | every address and its home, qmail-users(5); other lines belong into `assign.local` |
| `{places.state}/people/UID/.qmail` | where that person's mail goes, dot-qmail(5) |
| `{places.programs}/front` | refuses recipients that do not exist; one process for each connection |
| `{places.programs}/queue` | lists the queue for Mailferry, has it tried at once |
| `{places.programs}/answer`, `parked` | what a `.qmail` calls |
"""
