"""Active Directory as the only directory: our schema in it, and Postfix asks it where somebody's mail goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from lab.dovecot import Dovecot
from lab.postfix import DOMAIN, Postfix, open_side
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.secret import Secret
from mailferry.stack import ad_schema
from mailferry.stack.postfix.settings import Directory
from mailferry.stack.words import active_directory

STORE = "store1"
WORDS = active_directory()


class Audit:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def audit(self, what: str, **data: object) -> None:
        self.lines.append((what, data))


@dataclass
class Site:
    ad: Samba
    postfix: Postfix
    store: Dovecot
    exchange_store: Dovecot

    def log(self) -> str:
        return self.postfix.log()

    def route(self, address: str) -> str:
        return self.postfix.lookup(address, "ldap-routes.cf")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        ad = stack.enter_context(Samba())
        ad.extend(ad_schema.ldif(ad.base))
        store = stack.enter_context(Dovecot(lmtp=True))
        exchange_store = stack.enter_context(Dovecot(lmtp=True))
        directory = Directory((ad.url,), ad.base, ad.reader_dn, Secret(PASSWORD), WORDS)
        postfix = stack.enter_context(open_side(directory, ("127.0.0.1", 9), {STORE: ("127.0.0.1", store.lmtp_port)}))
        yield Site(ad, postfix, store, exchange_store)


def test_postfix_routes_somebody_by_active_directory(site: Site) -> None:
    dn = site.ad.add_user("alice")
    assert "user" in site.route(f"alice@{DOMAIN}").split(",")
    site.ad.modify(dn, replace={"mailferryRoute": "local", "mailferryMailHost": STORE})
    assert {"local", STORE} <= set(site.route(f"alice@{DOMAIN}").split(","))
