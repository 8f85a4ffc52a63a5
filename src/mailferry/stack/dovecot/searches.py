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
_ENABLED = "(!(mailferryEnabled=FALSE))"
_ROUTED = "(mailferryRoute=*)"


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
        f"{_here(store)}{_ENABLED}",
        ("=user=%{ldap:uid}",),
        passdb=True,
        bind=True,
    )


def send() -> Search:
    return Search(
        "send",
        "Who may hand in mail at Postfix: everybody with a mailbox, on either side. The directory checks the password.",
        f"{_ROUTED}{_ENABLED}",
        ("=user=%{ldap:uid}",),
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
        _ROUTED,
        (f"=uid={NOT_OPEN_HERE}",),
    )


def people(store: Store) -> Search:
    return Search(
        "people",
        "Where a mailbox is. For mailboxes that are not open yet as well, since Mailferry fills them.",
        _ROUTED,
        _mailbox(store),
        iterate=_here(store),
    )


def to_store() -> Search:
    return Search(
        "to-store",
        "Whose mailbox is on which store; the store checks the password.",
        "(mailferryRoute=local)(mailHost=*)",
        ("=user=%{ldap:uid}", "=place=%L{ldap:mailHost}", "=nopassword=y"),
        passdb=True,
    )


def to_exchange(user: str) -> Search:
    name = re.sub(r"{(.*?)}", lambda found: f"%{{ldap:{FIELDS[found[1]]}}}", user)
    return Search(
        "to-exchange",
        "Whose mailbox is on Exchange: also while they are parked. Exchange checks the password.",
        f"(|(mailferryRoute={EXCHANGE})(mailferryRoute=parked))",
        ("=user=%{ldap:uid}", f"=destuser={name}", f"=place={EXCHANGE}", "=nopassword=y"),
        passdb=True,
    )


def text(search: Search, settings: Settings) -> str:
    """The file of a search. It holds the password of cn=lookup."""
    directory = settings.directory
    name = f"(|(uid=%u)({directory.addresses}=%u))"
    kind = "pass" if search.passdb else "user"
    lines = [
        *(f"# {line}" for line in search.about.splitlines()),
        f"uris = {' '.join(directory.urls)}",
        f"dn = {directory.bind}",
        f'dnpass = "{directory.password.reveal()}"',
        *_tls(settings),
        *(_BIND if search.bind else []),
        f"base = {directory.suffix}",
        f"{kind}_filter = (&{name}{search.filter})",
        f"{kind}_attrs = {', '.join(search.fields)}",
        *([f"iterate_filter = (&{search.iterate})", "iterate_attrs = uid=user"] if search.iterate else []),
    ]
    return "\n".join(lines) + "\n"


def _here(store: Store) -> str:
    return f"(mailferryRoute=local)(mailHost={store.name})"


def _mailbox(store: Store) -> tuple[str, ...]:
    return (
        "=user=%{ldap:uid}",
        f"=uid={store.owner[0]}",
        f"=gid={store.owner[1]}",
        f"=home={store.mail_dir}/%{{ldap:uid}}",
        "=sieve_user_email=%{ldap:mail}",
        "mailferryQuota=quota_rule=*:bytes=%$",
    )


def _tls(settings: Settings) -> Iterator[str]:
    directory = settings.directory
    if directory.ca_file is None:
        return
    if any(url.startswith("ldap://") for url in directory.urls):
        yield "tls = yes"
    yield f"tls_ca_cert_file = {directory.ca_file}"
    yield "tls_require_cert = demand"
