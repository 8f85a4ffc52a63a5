"""A Postfix instance of its own that holds the mail of whole domains: main.cf, master.cf, tables, kit. Pure.

It stands beside the Postfix between both sides (postmulti(1)) and asks the same directory who exists; the answer is 451
while that is away. What it does with accepted mail says one file, `relay-state`, which `mailferry relay` writes:

    hold     everything waits, whatever anybody flushes
    drain    it waits until `relay drain` has a message tried, in order
    pass     it goes on at once to the Postfix between both sides (and so it is after installing)

Invariant: mail is either refused at the door (unknown, directory away: 451, disk nearly full: 452), or waits, or goes
to the Postfix between both sides; this instance never decides where a person's mail goes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from mailferry.errors import ConfigError
from mailferry.stack.file import File
from mailferry.stack.postfix import render, tables
from mailferry.stack.postfix.files import rotation, script
from mailferry.stack.postfix.settings import Endpoint, Settings

NAME = "postfix-relay"
STATE = "relay-state"
HELD_AT = "held-until-relay-drain"
"""Where held mail would be delivered to: a socket that does not exist, as for parked mail (tables.py)."""
_TABLES = (tables.RECIPIENTS, tables.INSIDE_ONLY, tables.CHOSEN_ONLY, tables.CHOSEN)


class State(Enum):
    HOLD = "hold"
    DRAIN = "drain"
    PASS = "pass"


@dataclass(frozen=True, slots=True)
class Relay:
    """One instance. `base`: the settings of the Postfix between both sides with this instance's domains, listener and
    directories. `to`: that Postfix's listener for everybody. `min_free`: bytes on the disk below which nothing more is
    accepted."""

    base: Settings
    to: Endpoint
    min_free: int

    def __post_init__(self) -> None:
        if self.min_free < 2 * self.base.message_size:
            raise ConfigError(
                "the disk has to keep room for two messages of the largest size", about="stack.relay.min_free_mb"
            )

    @property
    def state_file(self) -> Path:
        return self.base.config_dir / STATE


def state(relay: Relay, wanted: State) -> str:
    """The file `relay-state`: a transport_maps table (texthash) for everything."""
    host = f"[{relay.to.host}]:{relay.to.port}"
    nexthop = {State.HOLD: f"held:unix:{HELD_AT}", State.DRAIN: f"drain:{host}", State.PASS: f"relay:{host}"}
    return f"# {wanted.value}: written by `mailferry relay`, which is to be used to change it.\n*\t{nexthop[wanted]}\n"


def state_of(text: str) -> State:
    """Which state such a file says. ConfigError: none."""
    for one in State:
        if text.startswith(f"# {one.value}:"):
            return one
    raise ConfigError("it was not written by `mailferry relay`", about=STATE)


def files(relay: Relay, reload: str) -> Iterator[File]:
    """The kit. `reload`: the shell command that starts the instance, or puts a new configuration in force."""
    base, here = relay.base, relay.base.config_dir
    rendered = [
        File("main.cf", main(relay).encode(), place=here / "main.cf"),
        File("master.cf", master(relay).encode(), place=here / "master.cf"),
        *rotation(base, "relay"),
        *(File(table.file, tables.text(table, base).encode(), 0o640, here / table.file) for table in _TABLES),
    ]
    # before the first start the mail passes: an instance that nobody has switched on keeps nothing back
    first = shlex.quote(state(relay, State.PASS))
    before = f'[ -e "$config/{STATE}" ] || printf %s {first} > "$config/{STATE}"'
    yield File("README.md", _readme(relay).encode())
    yield File("install.sh", script(base, rendered, reload, before=before).encode(), 0o755)
    yield from rendered
    yield File("mailferry-relay-status.service", _SERVICE.encode())
    yield File("mailferry-relay-status.timer", _TIMER.encode())


def main(relay: Relay) -> str:
    """main.cf."""
    base = relay.base
    here = base.config_dir
    return f"""\
# Rendered by `mailferry stack render relay`; changes are lost at the next rendering.
compatibility_level = 3.6
multi_instance_name = {NAME}
multi_instance_group = relay
multi_instance_enable = yes
myhostname = {base.hostname}
myorigin = {base.domains[0]}
queue_directory = {base.queue_dir}
data_directory = {base.data_dir}
{render.log(base)}\
mynetworks =
inet_interfaces = all
biff = no
message_size_limit = {base.message_size}
recipient_delimiter =

# --- Whose mail is held
mydestination =
alias_maps =
local_recipient_maps =
local_transport = error:5.1.1 nobody has a mailbox on this host
relay_domains = {" ".join(base.domains)}
# Whom there is says the directory alone; while it is away the answer is 451, and senders come again.
relay_recipient_maps = ldap:{here}/{tables.RECIPIENTS.file}
unknown_relay_recipient_reject_code = 550

# --- What becomes of it: relay-state, written by `mailferry relay on|drain|off`
transport_maps = texthash:{here}/{STATE}
defer_transports = held drain
# Below so many free bytes the answer is 452, and senders come again.
queue_minfree = {relay.min_free}
maximal_queue_lifetime = {base.queue_days}d
bounce_queue_lifetime = {base.queue_days}d
delay_warning_time = 0h
enable_long_queue_ids = yes

# --- Who may hand in mail
smtpd_helo_required = yes
disable_vrfy_command = yes
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions =
    reject_unauth_destination,
    reject_unlisted_recipient,
    check_recipient_access ldap:{here}/{tables.INSIDE_ONLY.file},
    check_recipient_access ldap:{here}/{tables.CHOSEN_ONLY.file}
smtpd_restriction_classes = chosen_senders
chosen_senders = check_sender_access ldap:{here}/{tables.CHOSEN.file}, reject
{render.milter(base)}{render.names(base)}{render.tls(base)}"""


def master(relay: Relay) -> str:
    """master.cf."""
    return f"""\
# Rendered by `mailferry stack render relay`; changes are lost at the next rendering.
# service  type  private unpriv chroot wakeup maxproc command
{relay.base.listen} inet n - n - - smtpd
# In defer_transports: tried by `mailferry relay drain` alone. `held` finds no server if somebody flushes the queue.
held unix - - n - - lmtp
drain unix - - n - - smtp

{render.SERVICES}"""


def _readme(relay: Relay) -> str:
    base = relay.base
    return f"""\
# Relay: the mail of {", ".join(base.domains)} held in one place

Rendered by `mailferry stack render relay`. A Postfix instance of its own (`{NAME}`), which listens on `{base.listen}`,
keeps its queue in `{base.queue_dir}`, and hands mail on to the Postfix between both sides at
`{relay.to.host}:{relay.to.port}`, which has to trust this host (`own_networks`). See docs/relay.md.

1. On the host: `apt-get install postfix postfix-ldap`. Room for a night of mail in `{base.queue_dir}`.
2. Copy this directory there, for root's eyes only: the `ldap-` files hold the password of `cn=lookup`.
3. `sudo ./install.sh`. Mail passes at once until `mailferry relay on`.
4. Install the kit of the Postfix between both sides again (`mailferry stack render postfix`): its main.cf names this
   instance, so that both are started together.
5. Watch it: copy mailferry-relay-status.* to /etc/systemd/system and enable the timer; a failed unit is the alarm (or
   run `mailferry relay status` from your monitoring: exit code 1).

| file | what it is |
|---|---|
| main.cf, master.cf | the instance |
| ldap-*.cf | who exists, who may send to whom |
| relay-state | not in here: made by the first install.sh, then written by `mailferry relay on`, `drain`, `off` |
| mailferry-relay-status.* | systemd units that look every five minutes |
"""


_SERVICE = """\
# Rendered by `mailferry stack render relay`. Fails when the relay's disk, age or listener is beyond its limits.
[Unit]
Description=Looks at the mail that Mailferry's relay holds

[Service]
Type=oneshot
ExecStart=/usr/bin/env mailferry relay status
"""
_TIMER = """\
# Rendered by `mailferry stack render relay`.
[Unit]
Description=Looks at the mail that Mailferry's relay holds, every five minutes

[Timer]
OnBootSec=2min
OnUnitActiveSec=5min

[Install]
WantedBy=timers.target
"""


def based_on(settings: Settings, domains: tuple[str, ...], listen: str, folders: tuple[Path, Path, Path]) -> Settings:
    """The settings of the Postfix between both sides, as the relay needs them. `folders`: config, queue, data."""
    unknown = [one for one in domains if one not in settings.domains]
    if unknown:
        raise ConfigError("it is no domain of the organisation", about=unknown[0])
    config, queue, data = folders
    return replace(
        settings,
        domains=domains or settings.domains,
        listen=listen,
        config_dir=config,
        queue_dir=queue,
        data_dir=data,
        log_file=settings.log_file and settings.log_file.with_name(f"{NAME}.log"),
    )
