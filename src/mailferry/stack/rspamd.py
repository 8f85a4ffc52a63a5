"""What one rspamd of ours is to be, and its kit: files for local.d, a README, install.sh. Pure; `[stack.rspamd]`.

rspamd looks at mail as Postfix's milter, while the sender still waits: what it refuses is the sender's to report, so
nothing that was accepted is ever thrown away. Everything else stays as Debian's package has it. Source of the settings:
rspamd's documentation of options, workers, actions, antivirus and milter_headers.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailferry.errors import ConfigError
from mailferry.stack.file import File, Kit

RELOAD = "systemctl reload-or-restart rspamd"


@dataclass(frozen=True, slots=True)
class Settings:
    """`milter`, `controller`: ADDRESS:PORT. `reject`, `mark`: the scores from which mail is refused, or gets
    `X-Spam: Yes`. `clamav`: HOST:PORT or a socket's path of clamd; None: no virus scanner. `own_networks`: mail from
    there is our own. `config_dir`: where local.d is."""

    milter: str
    controller: str
    reject: float
    mark: float
    clamav: str | None = None
    own_networks: tuple[str, ...] = ()
    config_dir: Path = Path("/etc/rspamd")

    def __post_init__(self) -> None:
        if not 0 < self.mark < self.reject:
            raise ConfigError("mail is marked from a lower score than it is refused", about="stack.rspamd.mark_score")
        for text in (self.milter, self.controller, self.clamav or "", str(self.config_dir), *self.own_networks):
            if any(one.isspace() or one in "\"'\\;{}$" for one in text):
                raise ConfigError("rspamd takes no such value", about=text)


def kit(settings: Settings, reload: str = RELOAD) -> Kit:
    """Everything for one host."""
    rendered = tuple(files(settings))
    made = (
        File("README.md", _readme(settings, rendered).encode()),
        File("install.sh", _script(settings, rendered, reload).encode(), 0o755),
        *rendered,
    )
    return Kit("rspamd", made, "systemctl start rspamd", "systemctl stop rspamd")


def files(settings: Settings) -> Iterator[File]:
    """The files below local.d, which rspamd merges into its own."""
    networks = ", ".join(f'"{one}"' for one in settings.own_networks)
    texts = {
        "worker-proxy.inc": f"""\
# Postfix's milter; it looks at the mail itself, without further processes.
bind_socket = "{settings.milter}";
milter = yes;
upstream "local" {{
  default = yes;
  self_scan = yes;
}}
""",
        "worker-normal.inc": "# The proxy looks at the mail.\nenabled = false;\n",
        "worker-controller.inc": f"""\
# Statistics, and where Dovecot's Sieve lets it learn.
bind_socket = "{settings.controller}";
""",
        "options.inc": f"# Whose mail is our own.\nlocal_addrs = [{networks}];\n",
        "actions.conf": f"""\
# Refused while the sender waits; or marked with `X-Spam: Yes`, which the stores put into Junk. Mail is not put off:
# greylisting would delay everybody's first message.
reject = {settings.reject:g};
add_header = {settings.mark:g};
greylist = null;
""",
        "greylist.conf": "enabled = false;\n",
        "milter_headers.conf": """\
# What is written into each message that is taken.
use = ["x-spam-status", "authentication-results"];
skip_local = false;
""",
        "antivirus.conf": _antivirus(settings),
        "force_actions.conf": _AWAY if settings.clamav is not None else "# Nothing is forced.\nrules {}\n",
    }
    for name, text in texts.items():
        yield File(f"local.d/{name}", text.encode(), place=settings.config_dir / "local.d" / name)


def _antivirus(settings: Settings) -> str:
    if settings.clamav is None:
        return "# No virus scanner is configured (stack.rspamd.clamav).\nenabled = false;\n"
    return f"""\
# ClamAV: mail with a virus is refused.
clamav {{
  type = "clamav";
  servers = "{settings.clamav}";
  symbol = "CLAM_VIRUS";
  action = "reject";
  message = '${{SCANNER}}: virus found: "${{VIRUS}}"';
  scan_mime_parts = true;
  max_size = 50000000;
}}
"""


_AWAY = """\
# While clamd does not answer mail is put off (4xx), never taken unseen.
rules {
  CLAMAV_AWAY {
    action = "soft reject";
    expression = "CLAM_VIRUS_FAIL";
    message = "the virus scanner is away, try again later";
  }
}
"""


def _script(settings: Settings, rendered: tuple[File, ...], reload: str) -> str:
    names = " ".join(file.name for file in rendered)
    return f"""\
#!/bin/sh
# Puts these files into rspamd's local.d. Run it as root, as often as you like: what it replaces is kept beside it as
# *.before-TIME.
set -eu
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || {{ echo "install.sh: run it as root" >&2; exit 1; }}
config={shlex.quote(str(settings.config_dir))}
command -v rspamadm > /dev/null || {{ echo "install.sh: apt-get install rspamd" >&2; exit 1; }}
rspamadm --var="LOCAL_CONFDIR=$PWD" configtest > /dev/null
stamp=$(date +%Y%m%d-%H%M%S)
mkdir -p "$config/local.d"
for file in {names}; do
    cmp -s "$file" "$config/$file" && continue
    [ ! -e "$config/$file" ] || cp -p "$config/$file" "$config/$file.before-$stamp"
    install -m 0644 "$file" "$config/$file"
done
{reload}
"""


def _readme(settings: Settings, rendered: tuple[File, ...]) -> str:
    rows = "\n".join(
        f"| {file.name} | {file.content.decode().splitlines()[0].removeprefix('# ')} |" for file in rendered
    )
    clamav = "No virus scanner is configured."
    if settings.clamav is not None:
        clamav = f"`apt-get install clamav-daemon`; clamd has to answer at `{settings.clamav}`."
    return f"""\
# rspamd

Rendered by `mailferry stack render rspamd`. The same settings give the same files. Not tested with ClamAV.

1. On the host: `apt-get install rspamd` (and `redis-server`, if it is to learn).
2. {clamav}
3. `sudo ./install.sh`, now and after every new rendering. What it replaces is kept as `*.before-TIME`.
4. Install Postfix's kit again: its main.cf names the milter at `{settings.milter}`.

| file | what it is |
|---|---|
{rows}
"""
