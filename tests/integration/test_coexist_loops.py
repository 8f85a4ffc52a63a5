"""Mail between both sides as they really are: Active Directory (Samba) and what a sync makes of it in OpenLDAP, our
Postfix, an Exchange that looks everybody up. Whatever is out of step, a message comes once, is refused once, or waits.
"""

from __future__ import annotations

import json
import os
import shutil
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from lab.dovecot import Dovecot
from lab.exchange import Exchange
from lab.ldap_people import person
from lab.openldap import ADMIN_PASSWORD, OpenLdap
from lab.postfix import DOMAIN, EXCHANGE_DOMAIN, OPEN_DOMAIN, Postfix, open_side
from lab.process import PASSWORD, workspace
from lab.samba import Samba
from mailferry.coexist import routes
from mailferry.coexist.contradiction import compare
from mailferry.coexist.target_address import TargetAddresses
from mailferry.directory.entries import imceaex
from mailferry.ledger import open_ledger
from mailferry.ledger.store import Ledger
from mailferry.net import ldap
from mailferry.secret import Secret
from mailferry.stack.postfix.settings import Route
from tests.directories import Pair, group_of, ou_of

STORE = "store1"
MOST_HOPS = 7
"""Received headers of the longest way there is: Exchange, open side, Exchange again, its store."""


@dataclass(slots=True)
class Both:
    """What runs. People are made in Active Directory, and come to the open side by a sync."""

    ad: Samba
    openldap: OpenLdap
    postfix: Postfix
    store: Dovecot
    exchange: Exchange
    pair: Pair
    people: routes.People
    ledger: Ledger

    def add(self, uid: str, **attributes: str | list[str]) -> str:
        """Somebody with a mailbox on Exchange; their DN there. Not synced."""
        return self.ad.add_user(uid, parent=self.pair.ou, **attributes)

    def move(self, *uids: str, route: Route = Route.LOCAL, target: bool = True, fresh: float = 60.0) -> None:
        """Change routes, and the external addresses in Active Directory with them."""
        for uid in uids:
            there = routes.find(self.people, f"{uid}@{DOMAIN}")
            store = STORE if route is Route.LOCAL else None
            routes.set_route(self.people, self.ledger, there.mail, route, store, fresh_seconds=fresh)
            if target and route is Route.EXCHANGE:
                self.target.restore(there.id)
            elif target:
                self.target.park(there.id, f"{uid}@{OPEN_DOMAIN}")
        self.postfix.reload()

    @property
    def target(self) -> TargetAddresses:
        server = ldap.Server(
            self.ad.tls_url, user=self.ad.admin_dn, secret=Secret(PASSWORD), ca_file=str(self.ad.ca_file)
        )
        return TargetAddresses((server,), lambda work: work(self.ledger))

    def send(self, side: Postfix, to: str | list[str], text: str, sender: str) -> None:
        """Hand in a message on one side."""
        self.postfix.send(to, text, sender=f"{sender}@{DOMAIN}", port=side.port)

    def drain(self, seconds: float = 30.0) -> None:
        """Until nothing is on its way on either side, looking again and again: mail passes from one to the other."""
        deadline, empty = time.monotonic() + seconds, 0
        while empty < 4:
            waiting = [*self.postfix.queue(), *self.exchange.postfix.queue()]
            empty = 0 if waiting else empty + 1
            assert time.monotonic() < deadline, str(waiting)[:2000]
            time.sleep(0.05)

    def got(self, uid: str) -> tuple[list[str], list[str]]:
        """The subjects that somebody has on Exchange and on the open side, sorted. AssertionError for a message that
        went in circles."""
        on = []
        for dovecot in (self.exchange.store, self.store):
            messages = list(messages_of(dovecot, f"{uid}@{DOMAIN}"))
            for one in messages:
                assert len(one.get_all("Received", [])) <= MOST_HOPS, one.as_string()[:4000]
            on.append(sorted(str(one["Subject"]) for one in messages))
        return on[0], on[1]

    def log(self) -> str:
        return f"{self.exchange.log()[-1500:]}\n{self.postfix.log()[-1500:]}"


def messages_of(dovecot: Dovecot, user: str) -> Iterator[Message]:
    folder = dovecot.maildir(user) / "new"
    for path in folder.iterdir() if folder.exists() else ():
        yield message_from_bytes(path.read_bytes())


SETTINGS = f'[directory.exchange]\nrouting_domain = "{OPEN_DOMAIN}"'
BOUNCE = "Undelivered Mail Returned to Sender"


@pytest.fixture(scope="module")
def both(samba: Samba) -> Iterator[Both]:
    with ExitStack() as stack:
        openldap = stack.enter_context(OpenLdap())
        store = stack.enter_context(Dovecot(lmtp=True))
        exchange = stack.enter_context(Exchange(samba))
        stores = {STORE: ("127.0.0.1", store.lmtp_port)}
        postfix = stack.enter_context(open_side(openldap, ("127.0.0.1", exchange.postfix.port), stores))
        exchange.connect(("127.0.0.1", postfix.exchange_port))
        folder: Path = workspace("loops")
        stack.callback(shutil.rmtree, folder)
        pair = Pair(samba, openldap, ou_of(samba, f"loops{folder.name}"), folder)
        pair.configure(SETTINGS)
        server = ldap.Server(openldap.url, user=openldap.admin_dn, secret=Secret(ADMIN_PASSWORD), plain=True)
        connection = stack.enter_context(ldap.Connection(server))
        people = routes.People(connection, openldap.suffix, open_domain=OPEN_DOMAIN)
        ledger = open_ledger(folder / "routes.db")
        stack.callback(ledger.close)
        yield Both(samba, openldap, postfix, store, exchange, pair, people, ledger)


@pytest.fixture(autouse=True)
def nothing_left(both: Both) -> Iterator[None]:
    """A test leaves no mail, and no settings of its own, to the next."""
    yield
    both.pair.configure(SETTINGS)
    for side in (both.postfix, both.exchange.postfix):
        side.run("postsuper", "-d", "ALL", check=False)


def refused(both: Both, address: str) -> str:
    """What the door of the open side says."""
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        both.postfix.send(address, "never")
    code, text = caught.value.recipients[address]
    return f"{code} {text.decode()}"


def test_all_directions(both: Both, new_user: Callable[[], str]) -> None:
    stayed, moved, parked = (new_user() for _ in range(3))
    for uid in (stayed, moved, parked):
        both.add(uid)
    both.pair.sync()
    both.move(moved)
    both.move(parked, route=Route.PARKED)
    to = [f"{uid}@{DOMAIN}" for uid in (stayed, moved, parked)]
    both.send(both.exchange.postfix, to, "by one who stayed", stayed)
    both.send(both.postfix, to, "by one who moved", moved)
    both.postfix.send(to, "from outside")
    deadline = time.monotonic() + 20
    while len(both.postfix.queue()) != 3 or both.exchange.postfix.queue():
        assert time.monotonic() < deadline, both.postfix.queue()
        time.sleep(0.05)
    both.pair.sync()  # which takes no notice of what a wave does
    everything = ["by one who moved", "by one who stayed", "from outside"]
    assert (both.got(stayed), both.got(moved), both.got(parked)) == ((everything, []), ([], everything), ([], []))
    both.move(parked)
    time.sleep(0.2)
    for one in both.postfix.queue():
        both.postfix.run("postqueue", "-i", one["queue_id"])
    both.drain()
    assert both.got(parked) == ([], everything)


def test_nobody_is_told_once_and_by_the_open_side_alone(both: Both, new_user: Callable[[], str]) -> None:
    stayed, moved = new_user(), new_user()
    both.add(stayed), both.add(moved)
    both.pair.sync()
    both.move(moved)
    for address in (f"nobody@{DOMAIN}", f"nobody@{OPEN_DOMAIN}", f"nobody@{EXCHANGE_DOMAIN}"):
        assert refused(both, address).startswith("550 5.1.1")
    for number, domain in enumerate((DOMAIN, OPEN_DOMAIN), 1):
        both.send(both.exchange.postfix, f"nobody@{domain}", "to nobody", stayed)
        both.drain()
        assert both.got(stayed)[0] == [BOUNCE] * number
    bounces = list(messages_of(both.exchange.store, f"{stayed}@{DOMAIN}"))
    assert all("5.1.1" in one.as_string() for one in bounces)
    both.send(both.exchange.postfix, f"nobody@{DOMAIN}", "to nobody", moved)  # an auto-reply, sent in another's name
    both.drain()
    assert both.got(moved) == ([], [BOUNCE])


def test_old_exchange_addresses_find_people_on_both_sides(both: Both, new_user: Callable[[], str]) -> None:
    stayed, moved = new_user(), new_user()
    former = f"/o=Acme/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn={moved}-old"
    both.add(stayed)
    both.add(moved, proxyAddresses=[f"SMTP:{moved}@{DOMAIN}", f"X500:{former}"])
    both.pair.sync()
    both.move(moved)
    recent = "/o=Acme/ou=First Administrative Group/cn=Recipients/cn="
    for side, who in ((both.exchange.postfix, "exchange"), (both.postfix, "open")):
        for uid in (stayed, moved):
            both.send(side, imceaex(recent + uid, DOMAIN), f"from {who}", stayed)
            both.send(side, imceaex(recent + uid, DOMAIN).upper(), f"in capitals from {who}", stayed)
        both.send(side, imceaex(former, DOMAIN), f"to an X500 from {who}", stayed)
    both.drain()
    plain = ["from exchange", "from open", "in capitals from exchange", "in capitals from open"]
    assert both.got(stayed) == (plain, [])
    assert both.got(moved) == ([], sorted([*plain, "to an X500 from exchange", "to an X500 from open"]))


def test_groups_reach_their_members_on_both_sides_once(both: Both, new_user: Callable[[], str]) -> None:
    stayed, moved, sender, name = (new_user() for _ in range(4))
    dns = [both.add(uid) for uid in (stayed, moved)]
    both.add(sender)
    inner = group_of(both.ad, both.pair.ou, f"{name}i", [dns[1]])
    outer = group_of(both.ad, both.pair.ou, name, [*dns, inner])
    both.pair.sync()
    both.move(moved)
    late = group_of(both.ad, both.pair.ou, f"{name}l", [*dns, outer])  # not synced yet: Exchange's alone
    for side, who in ((both.exchange.postfix, "exchange"), (both.postfix, "open")):
        both.send(side, f"{name}@{DOMAIN}", f"to both from {who}", sender)
        both.send(side, [f"{name}@{DOMAIN}", f"{moved}@{DOMAIN}", f"{name}i@{DOMAIN}"], f"thrice from {who}", sender)
    both.send(both.exchange.postfix, f"{name}l@{DOMAIN}", "to one of Exchange's", sender)
    assert refused(both, f"{name}l@{DOMAIN}").startswith("550 5.1.1")
    both.ad.delete(late)
    both.ad.delete(outer)  # and now it is the open side's alone
    both.send(both.exchange.postfix, f"{name}@{DOMAIN}", "to one of the open side's", sender)
    both.drain()
    expected = sorted(
        [
            *(f"{what} from {who}" for what in ("to both", "thrice") for who in ("exchange", "open")),
            *("to one of Exchange's", "to one of the open side's"),
        ]
    )
    assert (both.got(stayed), both.got(moved), both.got(sender)) == ((expected, []), ([], expected), ([], []))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("third_moved", [True, False])
def test_old_forwarding_of_a_moved_person(
    both: Both, new_user: Callable[[], str], keep: bool, third_moved: bool
) -> None:
    moved, third, sender = (new_user() for _ in range(3))
    to = both.add(third)
    both.add(moved, altRecipient=to, deliverAndRedirect="TRUE" if keep else "FALSE")
    both.add(sender)
    both.pair.sync()
    both.move(moved, *([third] if third_moved else []))
    both.send(both.exchange.postfix, f"{moved}@{DOMAIN}", "from exchange", sender)
    both.send(both.postfix, f"{moved}@{DOMAIN}", "from open", sender)
    both.drain()
    everything = ["from exchange", "from open"]
    assert both.got(moved) == ([], everything if keep else [])
    assert both.got(third) == (([], everything) if third_moved else (everything, []))
    assert both.got(sender) == ([], [])


@pytest.mark.parametrize("keep", [True, False])
def test_forwarding_to_oneself_on_the_open_side(both: Both, new_user: Callable[[], str], keep: bool) -> None:
    """Instead of an external address (`mailferry wave script NAME forward`), and brought over by a sync."""
    moved, sender = new_user(), new_user()
    both.add(
        moved,
        msExchGenericForwardingAddress=f"smtp:{moved}@{OPEN_DOMAIN}",
        deliverAndRedirect="TRUE" if keep else "FALSE",
    )
    both.add(sender)
    both.pair.sync()
    both.move(moved, target=False)
    both.send(both.exchange.postfix, f"{moved}@{DOMAIN}", "from exchange", sender)
    both.send(both.postfix, f"{moved}@{DOMAIN}", "from open", sender)
    both.drain()
    assert both.got(moved) == (["from exchange"] if keep else [], ["from exchange", "from open"])
    assert both.got(sender) == ([], [])


def test_two_who_forward_to_each_other(both: Both, new_user: Callable[[], str]) -> None:
    """A mistake of people, on two systems: one report to the sender, and no endless copies."""
    moved, stayed, sender = (new_user() for _ in range(3))
    first = both.add(moved)
    second = both.add(stayed, altRecipient=first, deliverAndRedirect="FALSE")
    both.ad.modify(first, replace={"altRecipient": second, "deliverAndRedirect": "FALSE"})
    both.add(sender)
    both.pair.sync()
    both.move(moved)
    both.send(both.exchange.postfix, f"{moved}@{DOMAIN}", "round and round", sender)
    both.drain()
    assert both.got(sender) == ([BOUNCE], [])
    assert (both.got(moved), both.got(stayed)) == (([], []), ([], []))


def test_an_external_address_that_should_be_gone(both: Both, new_user: Callable[[], str]) -> None:
    """The route says Exchange, Exchange says the open side: 451 while that may be replication, then one report."""
    back, sender = new_user(), new_user()
    dn = both.add(back)
    both.add(sender)
    both.pair.sync()
    both.move(back)
    both.move(back, route=Route.EXCHANGE, target=False)
    both.send(both.exchange.postfix, f"{back}@{DOMAIN}", "from exchange", sender)
    both.send(both.postfix, f"{back}@{DOMAIN}", "from open", sender)
    deadline = time.monotonic() + 20
    while not (
        (waiting := both.exchange.postfix.queue())
        and len(waiting) == 2
        and all("451 4.4.6" in one["recipients"][0].get("delay_reason", "") for one in waiting)
        and not both.postfix.queue()
    ):
        assert time.monotonic() < deadline, waiting
        time.sleep(0.1)
    assert both.got(sender) == ([], [])
    both.ad.modify(dn, replace={"targetAddress": ()})
    both.send(both.exchange.postfix, f"{back}@{DOMAIN}", "corrected", sender)
    assert any(f"uid={back}," in one for one in routes.settle(both.people, both.ledger, time.time() + 3600))
    both.drain()
    assert both.got(back) == (["corrected"], []) and both.got(sender) == ([BOUNCE, BOUNCE], [])


def test_an_external_address_that_is_missing(both: Both, new_user: Callable[[], str]) -> None:
    """Mail between Exchange users goes into the old mailbox, where a sweep finds it; nobody else's goes there."""
    moved, sender = new_user(), new_user()
    both.add(moved), both.add(sender)
    both.pair.sync()
    both.move(moved, target=False)
    both.send(both.exchange.postfix, f"{moved}@{DOMAIN}", "from exchange", sender)
    both.send(both.postfix, f"{moved}@{DOMAIN}", "from open", sender)
    both.drain()
    assert both.got(moved) == (["from exchange"], ["from open"]) and both.got(sender) == ([], [])


def test_a_person_who_went_back(both: Both, new_user: Callable[[], str]) -> None:
    back, sender = new_user(), new_user()
    both.add(back, targetAddress="smtp:fax.gateway@partner.example")
    both.ad.modify(f"CN={back},{both.pair.ou}", replace={"targetAddress": ()})
    both.add(sender)
    both.pair.sync()
    both.move(back)
    both.move(back, route=Route.EXCHANGE)
    both.send(both.exchange.postfix, f"{back}@{DOMAIN}", "from exchange", sender)
    both.send(both.postfix, f"{back}@{DOMAIN}", "from open", sender)
    both.drain()
    assert both.got(back) == (["from exchange", "from open"], []) and both.got(sender) == ([], [])


@pytest.mark.parametrize("moved", [True, False])
def test_two_addresses_of_one_person_are_one_mailbox(both: Both, new_user: Callable[[], str], moved: bool) -> None:
    uid, sender = new_user(), new_user()
    both.add(uid, proxyAddresses=[f"SMTP:{uid}@{DOMAIN}", f"smtp:{uid}.second@{DOMAIN}"])
    both.add(sender)
    both.pair.sync()
    if moved:
        both.move(uid)
    two = [f"{uid}@{DOMAIN}", f"{uid}.Second@{DOMAIN}"]
    for side, who in ((both.exchange.postfix, "exchange"), (both.postfix, "open")):
        both.send(side, two, f"to both from {who}", sender)
        both.send(side, two[1], f"to the second from {who}", sender)
    both.drain()
    everything = sorted(f"to {what} from {who}" for what in ("both", "the second") for who in ("exchange", "open"))
    assert both.got(uid) == (([], everything) if moved else (everything, []))


@pytest.fixture
def shown(both: Both) -> Callable[[str], tuple[str, str]]:
    """What `route show` says of a uid: what Exchange does with mail, and the warnings, each in one text."""

    def show(uid: str) -> tuple[str, str]:
        there, unlike = both.target.find(f"{uid}@{DOMAIN}")
        side = compare(both.people, there, f"{uid}@{DOMAIN}", unlike)
        return side.inside, "; ".join(side.warnings)

    return show


def test_both_sides_are_explained_and_contradictions_told(
    both: Both, new_user: Callable[[], str], shown: Callable[[str], tuple[str, str]]
) -> None:
    """The same states as above, whose outcome with real mail is known."""
    stayed, moved, late, back, third = (new_user() for _ in range(5))
    dns = {uid: both.add(uid) for uid in (stayed, moved, late, back)}
    dns[third] = both.add(third, altRecipient=dns[stayed])
    group_of(both.ad, both.pair.ou, f"{stayed}g", [dns[stayed]])
    both.pair.sync()
    both.move(moved, back)
    both.move(late, target=False)
    both.move(back, route=Route.EXCHANGE, target=False)
    assert shown(stayed) == ("into the mailbox on Exchange", "")
    assert shown(moved) == (f"to the open side: targetAddress is {moved}@{OPEN_DOMAIN}", "")
    assert shown(third) == (f"Exchange forwards it to {stayed}@{DOMAIN}, without a copy", "")
    assert shown(f"{stayed}g") == ("Exchange sends it to the group's members, one by one", "")
    assert shown("nobody") == ("Exchange does not know it, and passes it on to the open side", "")
    assert "goes into the old mailbox" in shown(late)[1]
    assert "Exchange sends its mail back" in shown(back)[1]
    unsynced = new_user()
    both.add(unsynced)
    assert "run directory sync" in shown(unsynced)[1]
    both.ad.modify(dns[late], replace={"targetAddress": f"SMTP:{moved}@{OPEN_DOMAIN}"})
    assert f"{moved}@{OPEN_DOMAIN}, which is somebody else: uid={moved}," in shown(late)[1]
    both.ad.modify(dns[late], replace={"targetAddress": f"SMTP:gone@{OPEN_DOMAIN}"})
    assert "which is nobody's" in shown(late)[1]
    both.ad.modify(dns[late], replace={"targetAddress": "SMTP:x@partner.example"})
    assert "elsewhere (x@partner.example)" in shown(late)[1]
    both.ad.modify(dns[stayed], replace={"msExchMailboxGuid": (), "homeMDB": ()})
    assert shown(stayed)[0].startswith("nowhere") and "has no mailbox for it" in shown(stayed)[1]
    both.ad.modify(
        dns[moved], replace={"proxyAddresses": f"SMTP:{moved}.new@{DOMAIN}", "mail": f"{moved}.new@{DOMAIN}"}
    )
    both.ad.modify(dns[third], add={"proxyAddresses": f"smtp:{moved}@{DOMAIN}"})
    assert "which is somebody else" in shown(moved)[1]
    both.ad.delete(dns[back])
    assert "does not know it: its mail is refused" in shown(back)[1]


def test_route_show_tells_both_sides(both: Both, new_user: Callable[[], str]) -> None:
    uid = new_user()
    both.add(uid)
    both.pair.sync()
    both.move(uid, target=False)
    both.pair.configure(
        f"""
        [directory.exchange]
        routing_domain = "{OPEN_DOMAIN}"
        [stack.openldap]
        provider = "{both.openldap.url}"
        admin_password = "env:LOOPS"
        replicator_password = "env:LOOPS"
        lookup_password = "env:LOOPS"
        sync_password = "env:LOOPS"
        [stack.postfix]
        hostname = "mx1.acme.example"
        exchange = "127.0.0.1:{both.exchange.postfix.port}"
        exchange_domain = "{EXCHANGE_DOMAIN}"
        exchange_networks = ["127.0.0.0/8"]
        [stack.postfix.stores]
        "{STORE}" = "127.0.0.1:{both.store.lmtp_port}"
        """
    )
    done = run_route(both, "show", f"{uid}@{DOMAIN}")
    assert f"{uid}@{DOMAIN}: mailferryRoute is local" in done.stdout, done.stderr
    assert "sent by a user of Exchange: into the mailbox on Exchange" in done.stdout
    assert "warning: it is on the open side, and mail from Exchange's users goes into the old mailbox" in done.stderr
    assert done.returncode == 1
    both.move(uid)
    told = json.loads(run_route(both, "show", f"{uid}@{DOMAIN}", "--json").stdout)
    where = f"to the open side: targetAddress is {uid}@{OPEN_DOMAIN}"
    assert told["inside_exchange"] == {"inside": where, "known": True, "warnings": []}
    text = both.pair.config.read_text()
    both.pair.config.write_text(text.replace(both.ad.tls_url, "ldaps://127.0.0.1:9"))
    done = run_route(both, "show", f"{uid}@{DOMAIN}")
    assert (
        "sent by a user of Exchange: not known: 127.0.0.1:9: the host refused" in done.stdout and done.returncode == 0
    )


def run_route(both: Both, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from mailferry.cli.main import main; main()", "route", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "MAILFERRY_CONFIG": str(both.pair.config), "LOOPS": "x"},
        timeout=60,
        check=False,
    )


def test_somebody_born_on_the_open_side(both: Both, new_user: Callable[[], str]) -> None:
    """No sync brought them: no id of a source. In Exchange they are a mail user, by `directory exchange-script`."""
    born, sender = new_user(), new_user()
    both.add(sender)
    both.pair.sync()
    address = f"{born}@{DOMAIN}"
    dn, values = person(both.openldap.suffix, born, mailferryRoute="local", mailHost=STORE)
    del values["mailferrySourceId"], values["mailferryKind"]
    both.openldap.add((dn, values))
    both.send(both.exchange.postfix, address, "unknown to Exchange", sender)
    both.drain()
    account = {"objectClass": "user", "sAMAccountName": born, "userAccountControl": "514", "mail": address}
    routing = {"proxyAddresses": f"SMTP:{address}", "targetAddress": f"SMTP:{born}@{OPEN_DOMAIN}"}
    both.ad.add(f"CN={born},{both.pair.ou}", {**account, **routing, "msExchRecipientTypeDetails": "128"})
    both.send(both.exchange.postfix, address, "a mail user", sender)
    both.send(both.postfix, address, "from open", sender)
    both.drain()
    assert both.got(born) == ([], ["a mail user", "from open", "unknown to Exchange"])
    assert both.got(sender) == ([], [])
