"""Both sides as one, for tests: slapd, our Postfix, two stores, and a Postfix with a store that poses as Exchange."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lab.dovecot import Dovecot
from lab.ldap_people import person
from lab.openldap import OpenLdap
from lab.postfix import DOMAIN, EXCHANGE_DOMAIN, OPEN_DOMAIN, ExchangeSide, Postfix, open_side
from lab.postfix import settings_of as settings_of

STORE, STORE2 = "store1", "store2"


@dataclass(slots=True)
class Sides:
    """What runs. Messages are told apart by their subject."""

    openldap: OpenLdap
    postfix: Postfix
    store: Dovecot
    store2: Dovecot
    exchange: ExchangeSide
    exchange_store: Dovecot

    def add(self, uid: str, route: str = "exchange", **more: str | list[str]) -> str:
        """A person with this route, who has a mailbox on Exchange, too, and an external address there unless the route
        is `exchange`; their address."""
        attributes = {"mailferryRoute": route, **({"mailHost": STORE} if route == "local" else {}), **more}
        self.openldap.add(person(self.openldap.suffix, uid, **attributes))
        address = f"{uid}@{DOMAIN}"
        target = None if route == "exchange" else f"{uid}@{OPEN_DOMAIN}"
        self.exchange.update(mailboxes=[address], targets={address: target})
        return address

    def group(self, name: str, members: list[str], **more: list[str]) -> str:
        """A group of these uids (or DNs); its address."""
        suffix = self.openldap.suffix
        dns = [one if "=" in one else f"uid={one},ou=people,{suffix}" for one in members]
        values = {
            "objectClass": ["groupOfNames", "mailferryGroup", "inetLocalMailRecipient", "mailferryRecipient"],
            "member": dns or [self.openldap.settings.nobody_dn],
            "mail": [f"{name}@{DOMAIN}"],
            "mailLocalAddress": [f"{name}@{DOMAIN}"],
            "mailferrySourceId": [f"ad:{name}"],
            "mailferryKind": ["group"],
            **more,
        }
        encoded = {key: [one.encode() for one in some] for key, some in values.items()}
        self.openldap.add((f"cn={name},ou=groups,{suffix}", encoded))
        return f"{name}@{DOMAIN}"

    def change(self, uid: str, **values: str | None) -> None:
        """Replace attributes of a person; None takes one away."""
        steps = [(2, name, None if value is None else [value.encode()]) for name, value in values.items()]
        self.openldap.connect().modify_s(f"uid={uid},ou=people,{self.openldap.suffix}", steps)

    def stored(self, dovecot: Dovecot, address: str) -> list[str]:
        """The subjects of somebody's INBOX in a store, in the order in which they came."""
        folder = dovecot.maildir(address) / "new"
        files = sorted(folder.iterdir(), key=_came) if folder.exists() else []
        return [re.search(r"^Subject: (.*)$", path.read_text(), re.MULTILINE)[1] for path in files]  # type: ignore[index]

    def wait(self, dovecot: Dovecot, address: str, subjects: list[str], seconds: float = 15) -> None:
        """Until just these messages are there, in this order."""
        deadline = time.monotonic() + seconds
        while (have := self.stored(dovecot, address)) != subjects:
            if time.monotonic() > deadline:
                raise AssertionError(f"{address} has {have}, not {subjects}\n{str(self.postfix.queue())[:2000]}")
            time.sleep(0.05)

    def log(self) -> str:
        """Of the open side's Postfix, which tests/conftest.py shows when a test has failed."""
        return self.postfix.log()

    def drain(self) -> None:
        """Until nothing is on its way on either side."""
        self.postfix.drained()
        self.exchange.postfix.drained()


def _came(path: object) -> tuple[int, int, int]:
    """Seconds, microseconds and pid of a Maildir name of Dovecot."""
    found = re.search(r"/(\d+)\.M(\d+)P(\d+)", str(path))
    assert found is not None
    return int(found[1]), int(found[2]), int(found[3])


@contextmanager
def sides() -> Iterator[Sides]:
    """Start all of them (4 s)."""
    with ExitStack() as stack:
        openldap = stack.enter_context(OpenLdap())
        store, store2 = (stack.enter_context(Dovecot(lmtp=True)) for _ in range(2))
        exchange_store = stack.enter_context(Dovecot(flavour="exchange", lmtp=True))
        exchange = stack.enter_context(ExchangeSide(("127.0.0.1", exchange_store.lmtp_port)))
        stores = {STORE: ("127.0.0.1", store.lmtp_port), STORE2: ("127.0.0.1", store2.lmtp_port)}
        postfix = stack.enter_context(open_side(openldap, ("127.0.0.1", exchange.postfix.port), stores))
        exchange.connector = ("127.0.0.1", postfix.exchange_port)
        exchange.update()
        yield Sides(openldap, postfix, store, store2, exchange, exchange_store)


__all__ = ["DOMAIN", "EXCHANGE_DOMAIN", "OPEN_DOMAIN", "STORE", "STORE2", "Sides", "settings_of", "sides"]
