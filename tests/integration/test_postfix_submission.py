"""People hand in mail: logged in by Dovecot, with their own addresses alone, and not outside where they may not."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import process
from lab.dovecot import Dovecot
from lab.ldap_people import person
from lab.openldap import WRITER_PASSWORD, OpenLdap
from lab.postfix import DOMAIN, OPEN_DOMAIN, Postfix, open_side
from mailferry.coexist import restrictions, routes
from mailferry.ledger import open_ledger
from mailferry.net import ldap
from mailferry.secret import Secret
from mailferry.stack.postfix.settings import Submission
from tests.mail_flow import STORE


@dataclass
class Side:
    openldap: OpenLdap
    postfix: Postfix
    store: Dovecot
    port: int

    def add(self, uid: str, **more: Any) -> str:
        self.openldap.add(person(self.openldap.suffix, uid, mailferryRoute="local", mailHost=STORE, **more))
        return f"{uid}@{DOMAIN}"

    def set(self, dn: str, name: str, value: str) -> None:
        self.openldap.connect().modify_s(f"{dn},{self.openldap.suffix}", [(2, name, [value.encode()])])

    def answer(self, uid: str | None, sender: str, to: str, *, whole: bool = False) -> tuple[int, str]:
        """The answer to a recipient, or to the whole message."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.ehlo("test.example")
            if uid is not None:
                client.login(uid, process.PASSWORD)
            client.mail(sender)
            code, said = client.rcpt(to)
            if whole and code == 250:
                code, said = client.data(f"From: {sender}\r\nTo: {to}\r\nSubject: by {uid}\r\n\r\n.")
            return code, said.decode()


@pytest.fixture(scope="module")
def side() -> Iterator[Side]:
    with ExitStack() as stack:
        auth, port = process.free_port(), process.free_port()
        openldap = stack.enter_context(OpenLdap())
        listener = f"service auth {{\n  inet_listener {{\n    address = 127.0.0.1\n    port = {auth}\n  }}\n}}\n"
        store = stack.enter_context(Dovecot(lmtp=True, settings=listener))
        submission = Submission(f"127.0.0.1:{auth}", f"127.0.0.1:{port}", f"127.0.0.1:{process.free_port()}")
        stores = {STORE: ("127.0.0.1", store.lmtp_port)}
        postfix = stack.enter_context(open_side(openldap, ("127.0.0.1", 9), stores, submission=submission))
        yield Side(openldap, postfix, store, port)


def test_everybody_sends_as_themselves_alone(side: Side, new_user: Callable[[], str]) -> None:
    alice, bob, team, desk = (new_user() for _ in range(4))
    old = f"{alice}.old@{DOMAIN}"
    a = side.add(alice, mailLocalAddress=[f"{alice}@{DOMAIN}", old])
    b = side.add(bob)
    t = side.add(team, mailferrySender=[alice])
    d = side.add(desk, mailferrySendAs=[alice])
    for own in (a, old, t, d):
        assert side.answer(alice, own, b, whole=True)[0] == 250
    assert side.answer(alice.upper(), a.upper(), b)[0] == 250
    for uid, sender in ((alice, b), (bob, a), (bob, t), (bob, d), (alice, f"nobody@{DOMAIN}"), (team, a)):
        code, said = side.answer(uid, sender, b)
        assert code == 553 and "5.7.1" in said, (uid, sender)
    assert side.answer(None, a, b)[0] == 554, "not logged in"
    side.postfix.drained()
    folder = side.store.maildir(b) / "new"
    assert len(list(folder.iterdir())) == 4


def test_a_wrong_password_hands_in_nothing(side: Side, new_user: Callable[[], str]) -> None:
    side.add(uid := new_user())
    with smtplib.SMTP("127.0.0.1", side.port, timeout=30) as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login(uid, "wrong")


def test_who_may_not_send_outside(side: Side, new_user: Callable[[], str]) -> None:
    own, member, free = new_user(), new_user(), new_user()
    addresses = {uid: side.add(uid) for uid in (own, member, free)}
    suffix = side.openldap.suffix
    name = new_user()
    group = {
        "objectClass": ["groupOfNames", "mailferryGroup", "mailferryRecipient"],
        "member": [f"uid={member},ou=people,{suffix}"],
        "mailferrySourceId": [f"ad:{name}"],
        "mailferryKind": ["group"],
        "mailferrySendOutside": ["FALSE"],
    }
    encoded = {key: [one.encode() for one in some] for key, some in group.items()}
    side.openldap.add((f"cn={name},ou=groups,{suffix}", encoded))
    side.set(f"uid={own},ou=people", "mailferrySendOutside", "FALSE")
    outside, inside = "x@elsewhere.example", addresses[free]
    assert side.answer(free, addresses[free], outside)[0] == 250
    for uid in (own, member):
        assert side.answer(uid, addresses[uid], outside)[0] == 554
        assert side.answer(uid, addresses[uid], inside)[0] == 250
    side.set(f"uid={own},ou=people", "mailferrySendOutside", "TRUE")
    assert side.answer(own, addresses[own], outside)[0] == 250


def test_recipients_say_who_may_send_to_them(side: Side, new_user: Callable[[], str], tmp_path: Path) -> None:
    boss, clerk, other = new_user(), new_user(), new_user()
    suffix = side.openldap.suffix
    addresses = {uid: side.add(uid) for uid in (boss, clerk, other)}
    some = [f"uid={boss},ou=people,{suffix}"]
    chosen = side.add(new_user(), mailferryAcceptFrom=some, mailferryAcceptUid=[boss])
    second = side.add(new_user(), mailferryAcceptFrom=some, mailferryAcceptUid=[clerk])
    shunned = side.add(new_user(), mailferryRejectFrom=some, mailferryRejectUid=[boss])
    nobodys = side.add(new_user(), mailferryAcceptFrom=[side.openldap.settings.nobody_dn])

    def may(uid: str, to: str) -> int:
        return side.answer(uid, addresses[uid], to)[0]

    assert may(boss, chosen) == may(clerk, chosen) == 450, "not known yet"
    server = ldap.Server(
        side.openldap.url, user=side.openldap.settings.writer_dn, secret=Secret(WRITER_PASSWORD), plain=True
    )
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    with closing(ledger), ldap.Connection(server) as connection:
        people = routes.People(connection, suffix, open_domain=OPEN_DOMAIN)
        assert restrictions.gates(people, ledger, 0).without == restrictions.gates(people, ledger, 0).without != ()
        assert len(restrictions.gates(people, ledger, 50, dry_run=True).given) == 4
        found = restrictions.gates(people, ledger, 50)
        assert sorted(found.given.values()) == [1, 2, 3, 4] and found.without == ()
        assert restrictions.gates(people, ledger, 50) == restrictions.Gates({}, (), ())
        assert [may(uid, chosen) for uid in (boss, clerk, other)] == [250, 554, 554]
        assert [may(uid, second) for uid in (boss, clerk, other)] == [554, 250, 554], "each has its own"
        assert [may(uid, shunned) for uid in (boss, clerk, other)] == [554, 250, 250]
        assert [may(uid, nobodys) for uid in (boss, clerk, other)] == [554] * 3
        assert may(boss, addresses[other]) == 250
        connection.modify(
            f"uid={chosen.partition('@')[0]},ou=people,{suffix}",
            [ldap.Change("replace", "mailferryAcceptFrom"), ldap.Change("replace", "mailferryAcceptUid")],
        )
        assert len(restrictions.gates(people, ledger, 50).taken) == 1
        assert may(clerk, chosen) == 250
        small = restrictions.gates(people, ledger, 2)
        assert len(small.without) == 1, "of three"


def test_restrictions_are_shown_set_and_recorded(side: Side, new_user: Callable[[], str], tmp_path: Path) -> None:
    uid, inner, outer = new_user(), new_user(), new_user()
    address, suffix = side.add(uid), side.openldap.suffix
    for name, member in ((inner, f"uid={uid},ou=people"), (outer, f"cn={inner},ou=groups")):
        values = {
            "objectClass": ["groupOfNames", "mailferryGroup", "inetLocalMailRecipient", "mailferryRecipient"],
            "member": [f"{member},{suffix}"],
            "mailLocalAddress": [f"{name}@{DOMAIN}"],
            "mailferrySourceId": [f"ad:{name}"],
            "mailferryKind": ["group"],
        }
        encoded = {key: [one.encode() for one in some] for key, some in values.items()}
        side.openldap.add((f"cn={name},ou=groups,{suffix}", encoded))
    server = ldap.Server(
        side.openldap.url, user=side.openldap.settings.writer_dn, secret=Secret(WRITER_PASSWORD), plain=True
    )
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    with closing(ledger), ldap.Connection(server) as connection:
        people = routes.People(connection, suffix, open_domain=OPEN_DOMAIN)
        assert restrictions.restriction(people, address).effective
        assert restrictions.set_outside(people, ledger, f"{outer}@{DOMAIN}", False, dry_run=True).outside
        found = restrictions.set_outside(people, ledger, f"{outer}@{DOMAIN}", False)
        assert (found.outside, found.unmarked) == (False, (f"cn={inner},ou=groups,{suffix}",))
        assert side.answer(uid, address, "x@elsewhere.example")[0] == 250, "as it says: not of groups within it"
        assert restrictions.set_outside(people, ledger, f"{inner}@{DOMAIN}", False).unmarked == ()
        assert side.answer(uid, address, "x@elsewhere.example")[0] == 554
        assert restrictions.restriction(people, address).by_groups == (f"cn={inner},ou=groups,{suffix}",)
        restrictions.set_outside(people, ledger, f"{inner}@{DOMAIN}", True)
        assert side.answer(uid, address, "x@elsewhere.example")[0] == 250
        assert [one.what for one in ledger.events()] == [restrictions.INTENDED, restrictions.SET] * 3


def test_recipients_are_looked_at_while_the_sender_is_there(side: Side, new_user: Callable[[], str]) -> None:
    a = side.add(alice := new_user())
    assert side.answer(alice, a, f"nobody@{DOMAIN}")[0] == 550
    assert side.answer(alice, a, f"nobody@{OPEN_DOMAIN}")[0] == 550
    side.openldap.halt()
    try:
        assert side.answer(alice, a, f"other@{DOMAIN}")[0] == 451, "never 550, and never as somebody else"
        assert side.answer(alice, f"other@{DOMAIN}", a)[0] == 451
    finally:
        side.openldap.start()
