"""What Dovecot asks the directory: a file for each question (doc.dovecot.org/2.3: LDAP).

Text only. Invariants: a person is known by uid or by any of their addresses, and is called by the uid from then on; a
directory that is away is a temporary error in every one of them, never "no"; each file holds the password of cn=lookup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailferry.stack.dovecot.settings import EXCHANGE, FIELDS, Proxy, Settings, Store

NOT_OPEN_HERE = "this-mailbox-is-not-open-here"
"""A "user of the system" that nobody is: Dovecot then cannot deliver for now, and says so with these words."""
_BIND = (
    "auth_bind = yes",
    "# In processes of their own, many at once: a domain controller that is slow holds up those alone who need it.",
    "blocking = yes",
)
LDAPRC = "ldaprc"
"""Options of the LDAP library (ldap.conf(5)) for Active Directory."""
_QUOTA = "<quota>=quota_rule=*:bytes=%$"
_USER = "=user=<user>"


@dataclass(frozen=True, slots=True)
class Search:
    """One file. `about`: what it answers. `filter`: beside the name. `passdb`: whether it is asked for log-ins, and if
    so whether the directory checks the password (`bind`). `fields`: what is made of an entry."""

    name: str
    about: str
    filter: str
    fields: tuple[str, ...]
    passdb: bool = False
    bind: bool = False
    iterate: str = ""

    @property
    def file(self) -> str:
        return f"ldap-{self.name}.conf.ext"


def searches(settings: Settings) -> Iterator[Search]:
    """All that this host asks."""
    if settings.store is not None:
        yield log_in(settings.store)
        yield delivery(settings.store)
        yield elsewhere()
        yield people(settings.store)
    if settings.proxy is not None:
        yield from passed_on(settings.proxy)
    if settings.sasl is not None:
        yield send()


def passed_on(proxy: Proxy) -> Iterator[Search]:
    """What a proxy asks, in this order."""
    yield to_store()
    if EXCHANGE in proxy.places:
        yield to_exchange(proxy.exchange_user)


def log_in(store: Store) -> Search:
    return Search(
        "log-in",
        "Who may log in here: people whose mail goes to this store. Before their switch, and after a rollback, they\n"
        "cannot. The directory checks the password, and asks Active Directory where that is who knows it.",
        f"{_here(store)}<enabled>",
        (_USER,),
        passdb=True,
        bind=True,
    )


def send() -> Search:
    return Search(
        "send",
        "Who may hand in mail at Postfix: everybody with a mailbox, on either side. The directory checks the password.",
        "<routed><enabled>",
        (_USER,),
        passdb=True,
        bind=True,
    )


def delivery(store: Store) -> Search:
    return Search(
        "delivery",
        "Whom mail is taken for: everybody whose mail goes to this store.",
        _here(store),
        _mailbox(store),
    )


def elsewhere() -> Search:
    return Search(
        "elsewhere",
        "Mail for anybody else of the organisation was on its way while their route changed: it is put off (451), and\n"
        "Postfix asks anew where it goes. This is said by a user of the system that does not exist.",
        "<routed>",
        (f"=uid={NOT_OPEN_HERE}",),
    )


def people(store: Store) -> Search:
    return Search(
        "people",
        "Where a mailbox is. For mailboxes that are not open yet as well, since Mailferry fills them.",
        "<routed>",
        _mailbox(store),
        iterate=_here(store),
    )


def to_store() -> Search:
    return Search(
        "to-store",
        "Whose mailbox is on which store; the store checks the password.",
        "<local>(<store>=*)",
        (_USER, "=place=%L{ldap:<store>}", "=nopassword=y"),
        passdb=True,
    )


def to_exchange(user: str) -> Search:
    name = re.sub(r"{(.*?)}", lambda found: f"%{{ldap:{FIELDS[found[1]]}}}", user)
    return Search(
        "to-exchange",
        "Whose mailbox is on Exchange: also while they are parked. Exchange checks the password.",
        "(|<exchange>(<route>=parked))",
        (_USER, f"=destuser={name}", f"=place={EXCHANGE}", "=nopassword=y"),
        passdb=True,
    )


def text(search: Search, settings: Settings) -> str:
    """The file of a search. It holds the password of cn=lookup."""
    directory, words = settings.directory, settings.directory.words
    name = f"(|({words.uid}=%u){words.address('%u')})"
    some = [one for one in search.fields if words.quota or one is not _QUOTA]
    kind = "pass" if search.passdb else "user"
    lines = [
        *(f"# {line}" for line in search.about.splitlines()),
        f"uris = {' '.join(directory.urls)}",
        f"dn = {directory.bind}",
        f'dnpass = "{directory.password.reveal()}"',
        *_tls(settings),
        *(_BIND if search.bind else []),
        f"base = {directory.suffix}",
        f"{kind}_filter = (&{name}{words.fill(search.filter)})",
        f"{kind}_attrs = {words.fill(', '.join(some))}",
    ]
    if search.iterate:
        lines += [f"iterate_filter = (&{words.fill(search.iterate)})", f"iterate_attrs = {words.uid}=user"]
    if words.ad:
        lines += [
            "# The domain's other partitions, which every search is referred to, are nothing to look at.",
            f"ldaprc_path = {settings.config_dir}/{LDAPRC}",
        ]
    return "\n".join(lines) + "\n"


def _here(store: Store) -> str:
    return f"<local>(<store>={store.name})"


def _mailbox(store: Store) -> tuple[str, ...]:
    return (
        _USER,
        f"=uid={store.owner[0]}",
        f"=gid={store.owner[1]}",
        f"=home={store.mail_dir}/<user>",
        "=sieve_user_email=%{ldap:mail}",
        _QUOTA,
    )


def _tls(settings: Settings) -> Iterator[str]:
    directory = settings.directory
    if directory.ca_file is None:
        return
    if any(url.startswith("ldap://") for url in directory.urls):
        yield "tls = yes"
    yield f"tls_ca_cert_file = {directory.ca_file}"
    yield "tls_require_cert = demand"
