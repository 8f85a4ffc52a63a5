"""`[coexist]` of `mailferry.toml`: how waves reach both sides, and how much they may do at once. Opens nothing.

Invariant: passwords stand in it by reference only. Every field has a description, of which docs/settings.md is made.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mailferry.config.exchange import ExchangeAccess
from mailferry.config.fields import Domain, Reference, Table, Text
from mailferry.config.groupware import Groupware
from mailferry.config.route_store import RoutesInAd, Second
from mailferry.config.rules import RulesSettings
from mailferry.config.stack import Server
from mailferry.config.waves import Events, Letters


class Store(Table):
    """One open store, as the people's mailboxes are filled over IMAP. The table's name is its `mailHost`."""

    url: Text = Field(
        description="Its address without a user (docs/addresses.md), such as `imaps://store1.acme.example?admin=svc`."
    )
    password: Reference | None = Field(default=None, description="Where the password for it is.")
    sieve: Text | None = Field(
        default=None,
        description="Its ManageSieve address (docs/rules-upload.md), such as `sieve://store1.acme.example?admin=svc`. "
        "Default: the host of `url` at port 4190, with STARTTLS unless `url` says `tls=none`, and the same log-in. "
        "`none`: it has no Sieve, and people's rules do not go there.",
    )
    free: Text | None = Field(
        default=None,
        description="The command that tells the bytes free on its disk, a number last, for `wave rehearse`: "
        "`ssh store1 df --block-size=1 --output=avail /srv/mail`.",
    )


class Queue(Table):
    """One Postfix or qmail (`stack.flavour`) that takes mail for people: all of them have to forget a route before
    anything is copied."""

    name: Text = Field(description="Its name for people.")
    postqueue: Text = Field(default="postqueue", description="The command that lists its queue: `ssh mx1 postqueue`.")
    postsuper: Text = Field(default="postsuper", description="The one that removes a probe message from it.")
    reload: Text | None = Field(
        default=None,
        description="The one that makes it forget routes: `ssh mx1 postfix reload`. Without it, 31 seconds are waited.",
    )
    queue: Text | None = Field(
        default=None, description="qmail only: the command that reaches its queue. Default: `stack.qmail.queue`."
    )
    apply: Text | None = Field(
        default=None, description="qmail only: the one that writes routes there. Default: `stack.qmail.apply`."
    )
    smtp: Server | None = Field(
        default=None,
        description="HOST:PORT of its listener, to which a probe message is sent once somebody is parked. It has to "
        "take mail for everybody from this host (`own_networks`). Without it: no probe here.",
    )


class Coexist(Table):
    """Waves: people who move from Exchange to the open side while mail keeps coming."""

    source: Text = Field(
        description="Exchange's IMAP address without a user (docs/addresses.md), such as "
        "`imaps://ex1.acme.example?admin=svc`."
    )
    source_password: Reference | None = Field(default=None, description="Where the password for it is.")
    source_user: Text = Field(
        default="{mail}", description="Whom Exchange knows a person as: of `{mail}`, `{uid}`, `{account}`."
    )
    target_user: Text = Field(default="{uid}", description="Whom the stores know a person as: of the same fields.")
    stores: dict[Domain, Store] = Field(min_length=1, description="See `[coexist.stores]`.")
    queues: tuple[Queue, ...] = Field(
        default=(),
        description="See `[[coexist.queues]]`. Default: the one of `[stack.postfix]` or "
        "`[stack.qmail]`, without a probe.",
    )
    probe: bool = Field(
        default=True,
        description="Whether a probe message has to be seen waiting before a parked person's mailbox is copied.",
    )
    probe_from: Text = Field(
        default="mailferry-probe@{domain}",
        description="Its sender; a number is added to the local part. `{domain}`: the organisation's main domain.",
    )
    probe_seconds: float = Field(
        default=30.0, gt=0, description="How long it may take until it is seen; mail waits meanwhile."
    )
    exchange_smtp: Server | None = Field(
        default=None,
        description="HOST:PORT of Exchange's listener: a probe is then sent from there, too, and has to come to a "
        "queue. Only where the external address (targetAddress) is set while somebody is parked.",
    )
    write_target_address: bool = Field(
        default=False, description="Whether Mailferry sets targetAddress in Active Directory itself while parking."
    )
    route_store: Literal["openldap", "ad"] = Field(
        default="openldap",
        description="Where routes are kept: `openldap`: in the directory of `[directory.target]`; `ad`: in Active "
        "Directory itself, which is then the only directory.",
    )
    ad: RoutesInAd = Field(default=RoutesInAd(), description="See `[coexist.ad]`.")
    second: Second | None = Field(default=None, description="See `[coexist.second]`.")
    exchange: ExchangeAccess = Field(default=ExchangeAccess(), description="See `[coexist.exchange]`.")
    together: int = Field(
        default=8,
        ge=1,
        description="People who are parked at the same time by one run. With a `reload` for each queue, more of them "
        "only wait for each other; without, more of them share the 31 seconds.",
    )
    connections: int = Field(default=16, ge=1, description="Connections to one server at once.")
    lanes: int = Field(default=2, ge=1, description="Connections for one mailbox and side at once.")
    workers: int | None = Field(default=None, ge=1, description="Processes. Default: one for each core.")
    longest_park: float = Field(
        default=1800.0,
        gt=0,
        description="Seconds after which somebody whose mailbox is not yet caught up and verified goes back to "
        "Exchange, with all mail that waits; the wave tells why.",
    )
    sweep_hours: float = Field(
        default=72.0, ge=0, description="Hours after a switch in which late messages are fetched by `wave sweep`."
    )
    content: Literal["full", "sample", "none"] = Field(
        default="sample",
        description="How much of a parked mailbox is read again to verify it: every message, `share` of each folder, "
        "or only what listings show.",
    )
    share: float = Field(default=0.05, gt=0, le=1, description="How much of it a sample is.")
    blackout: tuple[Text, ...] = Field(
        default=(),
        description='Hours, by this machine\'s clock, in which nobody new is parked: `"Mon-Fri 08:00-18:00"`, '
        '`"22:00-06:00"`, `"2026-12-24..2027-01-02"`. Whoever is parked goes on.',
    )
    groupware: Groupware | None = Field(default=None, description="See `[coexist.groupware]`.")
    rules: RulesSettings | None = Field(default=None, description="See `[coexist.rules]`.")
    events: Events | None = Field(default=None, description="See `[coexist.events]`.")
    letters: Letters | None = Field(default=None, description="See `[coexist.letters]`.")
