"""Acme, half on Exchange and half on the open side, all of it running: for whole-wave tests, the demo and the bench.

Active Directory (Samba), OpenLDAP filled by `mailferry directory sync`, the Postfix between both sides and two stores,
an "Exchange" (Postfix and Dovecot), mailboxes with mail, and a mailferry.toml that drives the command line on them.
Decides nothing about waves. Invariant: everything is below `root`, and ends with the `with` block.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ldap

from lab import acme_ad, corpus, maildir
from lab.dovecot import Dovecot
from lab.exchange import Exchange
from lab.open_dovecot import MASTER, MASTER_PASSWORD, OpenDovecot
from lab.openldap import LOOKUP_PASSWORD, WRITER_PASSWORD, OpenLdap
from lab.organisation import organisation
from lab.organisation_data import DOMAINS, Trouble
from lab.organisation_ldif import organisation_snapshot
from lab.postfix import EXCHANGE_DOMAIN, OPEN_DOMAIN, Postfix
from lab.process import PASSWORD, LabError
from lab.proxy import TcpProxy
from lab.qmail import OWNER, Qmail, queue_settings
from lab.qmail import settings as qmail_settings
from lab.samba import Samba
from mailferry.config.settings import read_settings
from mailferry.ops.stack import postfix_settings
from mailferry.stack.file import File
from mailferry.stack.postfix.render import files

STORES = ("store1.acme.example", "store2.acme.example")
LANGUAGES: tuple[corpus.Language, ...] = ("en", "de", "ru")
OUTSIDE = "127.0.0.2"
"""An address of nobody in the organisation: messages from there come from outside."""
MAILFERRY = str(Path(sys.executable).with_name("mailferry"))

_QUICK = b"queue_run_delay = 3s\nminimal_backoff_time = 3s\nmaximal_backoff_time = 10s\n"
_LIMITED = ("mailferryInternalOnly", "mailferryAcceptFrom", "mailferryAcceptFromAddress", "mailferryRejectFrom")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a mailbox. `account`: the one in Active Directory; `source_id`: as Mailferry knows them. `plain`:
    takes mail from everybody, is not forwarded, and both sides agree on the address: whoever writes to them reaches
    their mailbox and no other."""

    uid: str
    mail: str
    account: str
    source_id: str
    dn: str
    plain: bool


@dataclass(slots=True)
class Acme:
    """What runs. `source` stands before Exchange's IMAP, to break it. `people` and `groups` as the directory has them
    after its first sync; `groups`: address → uids of members, of groups that anybody may write to and whose members
    are all plain. `directory`: None where Active Directory is the only one. `stopped`: when the open Postfix was
    (seconds since the epoch). A qmail is both the `postfix`
    and the store."""

    root: Path
    ad: Samba
    directory: OpenLdap | None
    stores: Mapping[str, OpenDovecot | Qmail]
    exchange: Exchange
    source: TcpProxy
    postfix: Postfix | Qmail
    stopped: list[float] = field(default_factory=list)
    people: tuple[Person, ...] = ()
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def openldap(self) -> OpenLdap:
        """The open directory, where there is one."""
        assert self.directory is not None
        return self.directory

    @property
    def config(self) -> Path:
        return self.root / "mailferry.toml"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.db"

    def log(self) -> str:
        """Of the open side's Postfix, which tests/conftest.py shows when a test has failed."""
        return self.postfix.log()

    def command(self, *arguments: str) -> list[str]:
        """The command line, with this organisation's settings."""
        return [MAILFERRY, *arguments, "--config", str(self.config)]

    def ferry(self, *arguments: str, codes: Iterable[int] = (0,), seconds: float = 300) -> str:
        """Run the command line; its standard output. LabError with its words for any other exit code than `codes`."""
        done = subprocess.run(
            self.command(*arguments), check=False, capture_output=True, text=True, timeout=seconds, env=os.environ
        )
        if done.returncode not in codes:
            raise LabError(f"mailferry {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def read(self, size: int = 50) -> None:
        """Know the people that the directory has, of an organisation of this size."""
        if self.directory is None:
            known = acme_ad.people(self.ad, size)
            self.people = tuple(Person(uid, mail, uid, id_, dn, plain) for uid, mail, id_, dn, plain in known)
            self.groups = acme_ad.groups(self.ad, {one.dn.lower(): one.uid for one in self.people if one.plain})
            return
        dirt = organisation(size).dirt
        odd = {one.account for one in dirt if one.trouble is Trouble.PRIMARY_DIFFERS} | {one.other for one in dirt}
        self.people, self.groups = _read(self.openldap, odd)

    def person(self, uid: str) -> Person:
        return next(one for one in self.people if one.uid == uid)

    def routes(self) -> dict[str, str]:
        """uid → route, as the directory has them now. ldap.LDAPError while it is away."""
        return {uid: route for uid, (route, _) in self.placed().items()}

    def placed(self) -> dict[str, tuple[str, str]]:
        """uid → route and store, as the directory has them now."""
        if self.directory is None:
            return acme_ad.placed(self.ad)
        connection = self.openldap.connect()
        try:
            found = connection.search_s(
                self.openldap.suffix, ldap.SCOPE_SUBTREE, "(mailferryRoute=*)", ["uid", "mailferryRoute", "mailHost"]
            )
        finally:
            connection.unbind_s()
        return {_text(one, "uid"): (_text(one, "mailferryRoute"), _text(one, "mailHost")) for _, one in found}

    def restart_postfix(self) -> None:
        """As `postfix stop` and `postfix start`: whatever is just being handed on is cut off, and handed on again."""
        self.stopped.append(time.time())
        self.postfix.halt()
        self.postfix.start()

    def drained(self, seconds: float = 120.0) -> None:
        """Wait until no message is on its way on either side. LabError with the queues otherwise.

        What was being delivered at a `postfix reload` is looked at again after 60 s; where all have it, nobody waits.
        Exchange resolves anew what it has diverted and the open side puts off (451).
        """
        deadline = time.monotonic() + seconds
        empty = 0
        resubmitted = 0.0
        while empty < 3:  # from one queue a message may pass into the other
            queued = [*self.postfix.queue(), *(diverted := self.exchange.postfix.queue())]
            waiting = [one for one in queued if one["recipients"]]
            if diverted and time.monotonic() > resubmitted + 5:
                self.exchange.resubmit()
                resubmitted = time.monotonic()
            empty = 0 if waiting else empty + 1
            if waiting and time.monotonic() > deadline:
                raise LabError(f"still queued: {str(waiting[:5])[:3000]}")
            time.sleep(0.2)

    def seed(self, people: Iterable[Person], messages: int = 30, *, scale: float = 0.05) -> None:
        """Fill mailboxes on Exchange: with what each of them has sent, in three languages."""
        for number, one in enumerate(people, start=1):
            language = LANGUAGES[number % len(LANGUAGES)]
            folders = corpus.mailbox(number, messages, language, scale=scale, big=False, odd=False, owner=one.mail)
            maildir.seed(self.exchange.store, one.mail, folders)


@contextmanager
def acme(
    root: Path,
    *,
    size: int = 50,
    more: str = "",
    synced: bool = True,
    only_ad: bool = False,
    qmail: bool = False,
) -> Iterator[Acme]:
    """Start everything, and bring the people into OpenLDAP, unless that is left to the caller (`synced`, then `read`).
    `more`: further lines of mailferry.toml's [coexist]. `only_ad`: there is no OpenLDAP. `qmail`: one host with qmail
    and Maildirs instead of Postfix and two Dovecots."""
    with ExitStack() as stack:
        ad = stack.enter_context(Samba(root / "ad", content=organisation_snapshot(size)))
        openldap = None if only_ad else stack.enter_context(OpenLdap(root / "ldap"))
        read = openldap or acme_ad.prepare(ad)
        stores: dict[str, OpenDovecot | Qmail]
        postfix: Postfix | Qmail
        if qmail:
            postfix = Qmail(root / "qmail", root / "mailferry.toml", STORES[0])
            stores = {STORES[0]: postfix}
        else:
            stores = {name: stack.enter_context(OpenDovecot(read, name, root / name)) for name in STORES}
            postfix = Postfix("postfix", lambda here: _rendered(here, root / "mailferry.toml"), root / "postfix")
        store = Dovecot(root / "exchange-store", "exchange", lmtp=True)
        exchange = Exchange(ad, ("127.0.0.1", postfix.exchange_port), store=store, root=root / "exchange")
        stack.enter_context(exchange)
        source = stack.enter_context(TcpProxy(store.port))
        running = Acme(root, ad, openldap, stores, exchange, source, postfix)
        _write_settings(running, more)
        stack.enter_context(postfix)
        if synced:
            if openldap is not None:
                running.ferry("directory", "sync", codes=(0, 1))  # 1: some are left out
            if isinstance(postfix, Qmail):
                running.ferry("stack", "apply", "--root", str(postfix.host), codes=(0, 1))
            running.read(size)
        yield running


def _rendered(here: Postfix, config: Path) -> Iterator[File]:
    """The Postfix that mailferry.toml describes, in a place of its own, without DNS and quick to try again."""
    settings = postfix_settings(read_settings(config))
    places = {name: getattr(here, name) for name in ("config_dir", "queue_dir", "data_dir", "log_file")}
    for file in files(replace(settings, **places, dns=False)):
        yield replace(file, content=file.content + _QUICK) if file.name == "main.cf" else file


def _write_settings(here: Acme, more: str) -> None:
    secrets = {
        "ad": PASSWORD,
        "writer": WRITER_PASSWORD,
        "lookup": LOOKUP_PASSWORD,
        "mail": PASSWORD,
        "store": MASTER_PASSWORD,
    }
    for name, secret in secrets.items():
        path = here.root / f"password.{name}"
        path.touch(0o600)
        path.write_text(secret)
    stores = "".join(_store(here, name) for name in here.stores)
    here.config.write_text(
        f"""\
ledger = "{here.ledger}"
[directory]
decisions = "{here.root}/decisions.csv"
[directory.source]
url = "{here.ad.tls_url}"
bind = "{here.ad.reader_principal}"
password = "file:{here.root}/password.ad"
base = "{here.ad.base}"
ca_file = "{here.ad.ca_file}"
{_target(here)}
[directory.mapping]
domains = {json.dumps(DOMAINS)}
[directory.exchange]
routing_domain = "{OPEN_DOMAIN}"

{_mx(here)}
[coexist]
write_target_address = true
route_store = "{"ad" if here.directory is None else "openldap"}"
source = "imap://127.0.0.1:{here.source.port}?tls=none"
source_password = "file:{here.root}/password.mail"
{more}
[trace]
logs = {json.dumps([str(one.log_file) for one in (here.postfix, *here.stores.values())])}
[coexist.ad]
write = true
[coexist.exchange]
bind = "{here.ad.admin_dn}"
password = "file:{here.root}/password.ad"
{stores}
{_queue(here)}
""",
        encoding="utf-8",
    )


def _mx(here: Acme) -> str:
    """What takes the organisation's mail."""
    if isinstance(here.postfix, Qmail):
        return qmail_settings(here.postfix, ("127.0.0.1", here.exchange.postfix.port), EXCHANGE_DOMAIN)
    mx = f"-c {here.postfix.config_dir}"
    lmtp = "".join(
        f'"{name}" = "127.0.0.1:{store.lmtp_port}"\n'
        for name, store in here.stores.items()
        if isinstance(store, OpenDovecot)
    )
    return f"""\
[stack.postfix]
hostname = "mx.acme.example"
exchange = "127.0.0.1:{here.exchange.postfix.port}"
exchange_domain = "{EXCHANGE_DOMAIN}"
exchange_networks = ["127.0.0.0/8"]
own_networks = ["127.0.0.1/32"]
listen = "127.0.0.1:{here.postfix.port}"
listen_exchange = "127.0.0.1:{here.postfix.exchange_port}"
postqueue = "postqueue {mx}"
reload = "postfix {mx} reload"
[stack.postfix.stores]
{lmtp}"""


def _store(here: Acme, name: str) -> str:
    """How waves reach its mailboxes."""
    store = here.stores[name]
    if isinstance(store, Qmail):
        where = f"maildir:{store.mail_dir}/{{user}}/Maildir?flavour=courier&owner={OWNER}"
        return f'[coexist.stores."{name}"]\nurl = "{where}"\n'
    return f"""
[coexist.stores."{name}"]
url = "imaps://127.0.0.1:{store.tls_port}?admin={MASTER}&ca={store.ca_file}"
password = "file:{here.root}/password.store"
"""


def _queue(here: Acme) -> str:
    if isinstance(here.postfix, Qmail):
        return queue_settings(here.postfix, MAILFERRY)
    mx = f"-c {here.postfix.config_dir}"
    return f"""\
[[coexist.queues]]
name = "mx"
postqueue = "postqueue {mx}"
postsuper = "postsuper {mx}"
reload = "postfix {mx} reload"
smtp = "127.0.0.1:{here.postfix.port}"
"""


def _target(here: Acme) -> str:
    if here.directory is None:
        return ""
    return f"""\
[directory.target]
url = "{here.openldap.url}"
suffix = "{here.openldap.suffix}"
bind = "{here.openldap.settings.writer_dn}"
password = "file:{here.root}/password.writer"
ca_file = "{here.openldap.ca_file}"
[stack.openldap]
provider = "{here.openldap.url}"
admin_password = "file:{here.root}/password.writer"
sync_password = "file:{here.root}/password.writer"
replicator_password = "file:{here.root}/password.writer"
lookup_password = "file:{here.root}/password.lookup"
"""


def _read(openldap: OpenLdap, odd: Collection[str]) -> tuple[tuple[Person, ...], dict[str, frozenset[str]]]:
    """People with a mailbox, and the groups that anybody may write to. `odd`: accounts that are not plain."""
    found = openldap.connect().search_s(openldap.suffix, ldap.SCOPE_SUBTREE, "(mailferrySourceId=*)", ["*"])
    entries: dict[str, dict[str, list[bytes]]] = {dn.lower(): values for dn, values in found}
    people = tuple(
        Person(
            uid=_text(values, "uid"),
            mail=_text(values, "mail").lower(),
            account=_text(values, "uid"),
            source_id=_text(values, "mailferrySourceId"),
            dn=dn,
            plain=_text(values, "uid") not in odd
            and not any(name in values for name in (*_LIMITED, "mailferryForwardTo")),
        )
        for dn, values in found
        if "mailferryRoute" in values and _text(values, "mailferryKind") == "mailbox"
    )
    by_dn = {one.dn.lower(): one for one in people}
    groups = {}
    for values in entries.values():
        if _text(values, "mailferryKind") != "group" or any(name in values for name in _LIMITED):
            continue
        members = _leaves(values, entries, depth=10)
        if members and all(dn in by_dn and by_dn[dn].plain for dn in members):
            groups[_text(values, "mail").lower()] = frozenset(by_dn[dn].uid for dn in members)
    return people, groups


def _leaves(group: dict[str, list[bytes]], entries: Mapping[str, dict[str, list[bytes]]], depth: int) -> set[str]:
    """The DNs of members that are no groups; one that is not in the directory makes a DN that nobody has."""
    found = {one.decode() for one in group.get("mailferryExternalMember", [])}
    for value in group.get("member", []):
        dn = value.decode().lower()
        values: Mapping[str, Any] = entries.get(dn, {})
        if "member" in values and depth:
            found |= _leaves(dict(values), entries, depth - 1)
        else:
            found.add(dn)
    return found


def _text(values: Mapping[str, list[bytes]], name: str) -> str:
    return values.get(name, [b""])[0].decode()
