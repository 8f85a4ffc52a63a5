"""Active Directory as the only directory: our schema in it, routes written there, and Postfix and Dovecot asking it."""

from __future__ import annotations

import imaplib
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from lab import process
from lab.open_dovecot import OpenDovecot
from lab.postfix import DOMAIN, OPEN_DOMAIN, Postfix, open_side, settings_of
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.coexist import restrictions, routes
from mailferry.coexist.explain import explain
from mailferry.errors import ConfigError, SafetyStop, Temporary, UserError
from mailferry.net import ldap
from mailferry.secret import Secret
from mailferry.stack import ad_schema
from mailferry.stack.openldap.definitions import FOLDER
from mailferry.stack.postfix.settings import Directory, Endpoint, Route, Submission
from mailferry.stack.words import Attributes, active_directory
from mailferry.waves.people import read_everybody, read_one, tied_addresses

STORE = "store1"
WORDS = active_directory()


class Audit:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def audit(self, what: str, **data: Any) -> None:
        self.lines.append((what, data))


@dataclass
class Site:
    ad: Samba
    directory: Directory
    postfix: Postfix
    store: OpenDovecot
    people: routes.People
    audit: Audit
    submission: int

    def log(self) -> str:
        return f"{self.postfix.log()[-3000:]}\n{self.store.log()[-1500:]}"

    def set(self, address: str, route: Route, store: str | None = None) -> routes.Changed:
        return routes.set_route(self.people, self.audit, address, route, store, fresh_seconds=60)

    def attributes(self, dn: str) -> dict[str, list[bytes]]:
        names = [one.name for one in ad_schema.DEFINITIONS]
        ((_, values),) = self.ad.admin.search_s(dn, 0, attrlist=names)
        return dict(values)

    def inbox(self, uid: str) -> list[str]:
        folder = self.store.maildir(uid) / "new"
        return [path.read_text() for path in folder.iterdir()] if folder.exists() else []

    def answer(self, uid: str, sender: str, to: str) -> tuple[int, str]:
        """To a recipient, of somebody who hands in mail."""
        with smtplib.SMTP("127.0.0.1", self.submission, timeout=30) as client:
            client.ehlo("test.example")
            client.login(uid, PASSWORD)
            client.mail(sender)
            code, said = client.rcpt(to)
            return code, said.decode()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        ad = stack.enter_context(Samba())
        ad.extend(ad_schema.ldif(ad.base))
        directory = Directory((ad.tls_url,), ad.base, ad.reader_dn, Secret(PASSWORD), WORDS, ad.ca_file)
        store = OpenDovecot(directory, STORE)
        auth, port = process.free_port(), process.free_port()
        store.settings = replace(store.settings, sasl=Endpoint("127.0.0.1", auth))
        stack.enter_context(store)
        submission = Submission(f"127.0.0.1:{auth}", f"127.0.0.1:{port}", f"127.0.0.1:{process.free_port()}", 2)
        stores = {STORE: ("127.0.0.1", store.lmtp_port)}
        postfix = stack.enter_context(open_side(directory, ("127.0.0.1", 9), stores, submission=submission))
        server = ldap.Server(ad.tls_url, user=ad.admin_dn, secret=Secret(PASSWORD), ca_file=str(ad.ca_file))
        connection = stack.enter_context(ldap.Connection(server))
        people = routes.People(connection, ad.base, WORDS, OPEN_DOMAIN)
        yield Site(ad, directory, postfix, store, people, Audit(), port)


def test_the_schema_is_that_of_our_own_directory() -> None:
    ours = (FOLDER / "mailferry.schema").read_text()
    for one in ad_schema.DEFINITIONS:
        assert one.name == "mailferryMailHost" or f"mailferry:{one.number} NAME '{one.name}'" in ours
    assert "mailferry:1.16 " not in ours
    numbers = ad_schema.ARC.split(".")
    assert all(int(one) < 1 << 32 for one in numbers), "Active Directory keeps no larger ones"
    assert ad_schema.ldif("DC=acme,DC=example") == ad_schema.ldif("DC=acme,DC=example")


def test_a_route_there_and_back_leaves_nothing_behind(site: Site, new_user: Callable[[], str]) -> None:
    dn = site.ad.add_user(uid := new_user())
    address = f"{uid}@{DOMAIN}"
    assert site.attributes(dn) == {}
    before = routes.find(site.people, address)
    assert (before.route, before.store, before.implied) == ("exchange", "", True)
    assert site.set(address, Route.EXCHANGE).made is False
    assert site.set(address, Route.PARKED).made
    site.postfix.send(address, "while parked")
    assert site.set(address, Route.PARKED).made is False
    with pytest.raises(UserError, match="needs a store"):
        site.set(address, Route.LOCAL)
    with pytest.raises(SafetyStop, match="somebody else"):
        found = routes.find_id(site.people, before.id)
        routes.change(site.people, site.audit, found, Route.LOCAL, STORE, only_from=(Route.EXCHANGE,))
    (waiting,) = site.postfix.queue()
    assert waiting["recipients"][0]["address"] == address
    assert site.set(address, Route.LOCAL, STORE).made
    site.postfix.reload()
    site.postfix.run("postqueue", "-f")
    site.postfix.drained(60)
    assert len(site.inbox(uid)) == 1
    assert set(site.postfix.lookup(address, "ldap-routes.cf").split(",")) >= {"local", STORE}
    assert site.postfix.lookup(f"{uid}@{OPEN_DOMAIN}", "ldap-open.cf") == address
    assert site.set(address, Route.EXCHANGE).made
    assert site.attributes(dn).keys() == {"mailferryRouteFreshUntil"}
    assert site.postfix.lookup(address, "ldap-back-fresh.cf").startswith("451")
    assert routes.settle(site.people, site.audit, time.time() + 61) == [dn]
    assert site.attributes(dn) == {}
    assert site.postfix.lookup(address, "ldap-back.cf").startswith("550")
    made = [data for what, data in site.audit.lines if what == routes.SET and data["id"] == before.id]
    assert [one["after"]["route"] for one in made] == ["exchange", "parked", "parked", "local", "exchange"]


def test_a_change_that_somebody_else_has_made_is_seen(site: Site, new_user: Callable[[], str]) -> None:
    dn = site.ad.add_user(uid := new_user())
    seen = routes.find(site.people, f"{uid}@{DOMAIN}")
    site.ad.modify(dn, add={"mailferryRoute": "parked"})
    with pytest.raises(Temporary, match="somebody else"):
        routes.change(site.people, site.audit, seen, Route.PARKED)
    local = replace(routes.find(site.people, f"{uid}@{DOMAIN}"), fresh_until=5.0)
    with pytest.raises(Temporary, match="somebody else"):
        routes.change(site.people, site.audit, local, Route.LOCAL, STORE)


def test_nothing_is_written_until_that_is_switched_on(site: Site, new_user: Callable[[], str]) -> None:
    dn = site.ad.add_user(uid := new_user())
    shut = replace(site.people, forbidden="coexist.ad.write")
    with pytest.raises(ConfigError, match="may not write"):
        routes.set_route(shut, site.audit, f"{uid}@{DOMAIN}", Route.PARKED)
    with pytest.raises(ConfigError, match="may not write"):
        restrictions.set_outside(shut, site.audit, f"{uid}@{DOMAIN}", False)
    assert site.attributes(dn) == {}


def test_who_is_parked_is_so_at_every_controller(site: Site, new_user: Callable[[], str]) -> None:
    site.ad.add_user(uid := new_user())
    server = site.people.connection.server
    both = replace(site.people, others=(server, replace(server, url="ldap://127.0.0.1:9", plain=True)))
    with pytest.raises(Temporary, match=r"127\.0\.0\.1:9"):
        routes.set_route(both, site.audit, f"{uid}@{DOMAIN}", Route.PARKED)
    with pytest.raises(Temporary, match=r"127\.0\.0\.1:9"):  # though it is written by now
        routes.set_route(both, site.audit, f"{uid}@{DOMAIN}", Route.PARKED)
    assert routes.set_route(both, site.audit, f"{uid}@{DOMAIN}", Route.EXCHANGE).made, "back waits for nobody"
    alone = replace(both, others=(server,))
    assert routes.set_route(alone, site.audit, f"{uid}@{DOMAIN}", Route.PARKED).made


def test_whom_mail_goes_to(site: Site, new_user: Callable[[], str]) -> None:
    """Aliases, groups in groups, contacts, mail users, forwarding with and without a copy, as Exchange writes them."""
    here, there = {"mailferryRoute": "local", "mailferryMailHost": STORE}, {}  # type: ignore[var-annotated]
    uids = [new_user() for _ in range(6)]
    a, b, c, d, e, f = (f"{uid}@{DOMAIN}" for uid in uids)
    base = f"CN=Users,{site.ad.base}"
    contact = f"CN={uids[0]}-out,{base}"
    outside = {"mail": f"{uids[0]}@outside.example", "targetAddress": f"SMTP:{uids[0]}@outside.example"}
    proxies = [f"SMTP:{uids[0]}.contact@{DOMAIN}"]
    site.ad.add(contact, {"objectClass": "contact", "proxyAddresses": proxies, "displayName": "x", **outside})
    alias = [f"SMTP:{a}", f"smtp:{uids[0]}.old@{DOMAIN}"]
    dns = [
        site.ad.add_user(uids[0], **here, proxyAddresses=alias),
        site.ad.add_user(uids[1], **there),
        site.ad.add_user(uids[2], **here, altRecipient=contact, deliverAndRedirect="TRUE"),
        site.ad.add_user(uids[3], **here, msExchGenericForwardingAddress="smtp:x@outside.example"),
        site.ad.add_user(uids[4], **there, altRecipient=contact, deliverAndRedirect="FALSE"),
        site.ad.add_user(uids[5], mailferryRoute="parked", altRecipient=contact, deliverAndRedirect="TRUE"),
    ]
    groups = {}
    for name, members in (("in", dns[:2]), ("all", [contact]), ("none", [])):
        mail = f"{uids[0]}-{name}@{DOMAIN}"
        groups[name] = f"CN={uids[0]}-{name},{base}"
        values = {"objectClass": "group", "mail": mail, "proxyAddresses": f"SMTP:{mail}"}
        site.ad.add(groups[name], {**values, **({"member": members} if members else {})})
    site.ad.modify(groups["all"], add={"member": [groups["in"]]})

    def to(address: str) -> set[str]:
        found = {one for table in _ALIASES for one in _maps(site, table, address)}
        return {one for one in found if one != address}

    assert to(f"{uids[0]}.old@{DOMAIN}") == {a}
    assert to(f"{uids[0]}-all@{DOMAIN}") == {a, b, f"{uids[0]}@outside.example"}
    assert to(f"{uids[0]}.contact@{DOMAIN}") == {f"{uids[0]}@outside.example"}
    assert _maps(site, 1, c) == {c, f"{uids[0]}@outside.example"}
    assert _maps(site, 1, d) == {"x@outside.example"}
    assert _maps(site, 1, e) == set(), "Exchange forwards for its own"
    assert _maps(site, 1, f) == set(), "it may yet go back"
    assert site.postfix.lookup(f"{uids[0]}-none@{DOMAIN}", "ldap-empty-groups.cf").startswith("discard:")
    assert site.postfix.lookup(f"{uids[0]}-in@{DOMAIN}", "ldap-empty-groups.cf") == ""
    for known in (a, b, f"{uids[0]}-none@{DOMAIN}", f"{uids[0]}.contact@{DOMAIN}"):
        assert site.postfix.lookup(known, "ldap-recipients.cf")
    assert not site.postfix.lookup(f"administrator@{DOMAIN}", "ldap-recipients.cf")
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        site.postfix.send(f"nobody@{DOMAIN}", "x")
    settings = settings_of(site.postfix, site.directory, ("127.0.0.1", 9), {STORE: ("127.0.0.1", 1)})
    ends = {one.address: one.where for one in explain(site.people, settings, f"{uids[0]}-all@{DOMAIN}") if one.where}
    assert ends == {
        a: "store (127.0.0.1:1)",
        b: "exchange (127.0.0.1:9)",
        f"{uids[0]}@outside.example": "outside",
    }
    assert [one.where for one in explain(site.people, settings, c)][1:] == ["store (127.0.0.1:1)", "outside"]


def test_addresses_of_old_messages_are_exchanges_to_read(site: Site) -> None:
    old = f"IMCEAEX-_o=Acme_ou=x_cn=recipients_cn=alice@{DOMAIN}"
    legacy = f"regexp:{site.postfix.config_dir}/legacy.regexp"
    assert site.postfix.run("postmap", "-q", old, legacy).strip() == "exchange:[127.0.0.1]:9"
    assert not site.postfix.run("postmap", "-q", old.replace(DOMAIN, "other.example"), legacy, check=False)
    site.postfix.send(old, "an answer")
    (waiting,) = site.postfix.queue()
    assert waiting["recipients"][0]["address"] == old, "this site has no Exchange that would answer"
    site.postfix.run("postsuper", "-d", waiting["queue_id"])
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="no such address"):
        site.postfix.send(old, "back", port=site.postfix.exchange_port)


_ALIASES = range(5)


def _maps(site: Site, number: int, address: str) -> set[str]:
    """What one of the maps of virtual_alias_maps answers."""
    maps = _split(site.postfix.run("postconf", "-h", "virtual_alias_maps").strip())
    said = site.postfix.run("postmap", "-q", address, maps[number], check=False).strip()
    return set(filter(None, said.split(",")))


def _split(text: str) -> list[str]:
    """At commas that are in no braces."""
    found, depth = [""], 0
    for letter in text:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [one.strip() for one in found]


def test_people_log_in_with_the_passwords_of_active_directory(site: Site, new_user: Callable[[], str]) -> None:
    dn = site.ad.add_user(uid := new_user())
    address = f"{uid}@{DOMAIN}"

    def may(name: str, password: str = PASSWORD) -> bool:
        with imaplib.IMAP4("127.0.0.1", site.store.port) as client:
            try:
                return (client.login(name, password)[0], client.select("INBOX")[0]) == ("OK", "OK")
            except imaplib.IMAP4.error:
                return False

    assert not may(uid), "its mailbox is on Exchange"
    site.set(address, Route.LOCAL, STORE)
    assert may(uid) and may(uid.upper()) and may(address)
    assert not may(uid, "wrong") and not may(uid, "") and not may("*")
    assert (site.store.mail_dir / uid).is_dir() and not (site.store.mail_dir / uid.upper()).exists()
    site.ad.modify(dn, replace={"mailferryMailHost": "store2"})
    assert not may(uid), "its mail is on another store"
    site.ad.modify(dn, replace={"mailferryMailHost": STORE, "userAccountControl": "514"})
    assert not may(uid), "it is disabled"


def test_who_may_send(site: Site, new_user: Callable[[], str]) -> None:
    uids = boss, clerk, other = new_user(), new_user(), new_user()
    mails = {uid: f"{uid}@{DOMAIN}" for uid in uids}
    dns = {uid: site.ad.add_user(uid) for uid in uids}

    def may(uid: str, to: str, sender: str = "") -> int:
        return site.answer(uid, sender or mails[uid], to)[0]

    assert may(boss, mails[clerk]) == 250
    assert may(boss, mails[clerk], mails[other]) == 553, "with somebody else's address"
    site.ad.modify(dns[other], replace={"mailferrySendAs": [boss]})
    assert may(boss, mails[clerk], mails[other]) == 250, "who lets them"
    assert may(boss, "x@outside.example") == 250
    assert not restrictions.set_outside(site.people, site.audit, mails[boss], False).effective
    assert may(boss, "x@outside.example") == 554
    assert restrictions.set_outside(site.people, site.audit, mails[boss], True).effective
    group = f"CN={boss}-team,CN=Users,{site.ad.base}"
    site.ad.add(group, {"objectClass": "group", "member": [dns[boss]], "proxyAddresses": f"SMTP:{boss}-team@{DOMAIN}"})
    restrictions.set_outside(site.people, site.audit, f"{boss}-team@{DOMAIN}", False)
    assert may(boss, "x@outside.example") == 554 and may(clerk, "x@outside.example") == 250
    chosen, shunned = new_user(), new_user()
    site.ad.add_user(chosen, authOrig=[dns[clerk]], dLMemSubmitPerms=[group])
    site.ad.add_user(shunned, unauthOrig=[dns[clerk]])
    assert may(clerk, f"{chosen}@{DOMAIN}") == 450, "not known yet"
    found = restrictions.gates(site.people, site.audit, 2)
    assert sorted(found.given.values()) == [1, 2] and len(found.listed) == 2 and not found.without
    assert restrictions.gates(site.people, site.audit, 2) == restrictions.Gates({}, (), ())
    assert [may(uid, f"{chosen}@{DOMAIN}") for uid in uids] == [250, 250, 554]
    assert [may(uid, f"{shunned}@{DOMAIN}") for uid in uids] == [250, 554, 250]
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="only people of the organisation"):
        site.postfix.send(f"{chosen}@{DOMAIN}", "from outside")


def test_everybody_is_read_there_for_planning(site: Site, new_user: Callable[[], str]) -> None:
    one, helper, odd = new_user(), new_user(), new_user()
    dn = site.ad.add_user(helper)
    site.ad.add_user(one, publicDelegates=[dn])
    site.ad.add_user(f"{odd} x", cn=odd)
    site.set(f"{helper}@{DOMAIN}", Route.LOCAL, STORE)
    everybody = read_everybody(site.people)
    found, other = everybody.at(f"{one}@{DOMAIN}"), everybody.at(f"{helper}@{DOMAIN}")
    assert (found.uid, found.route, found.store) == (one, "exchange", "")
    assert (other.uid, other.route, other.store) == (helper, "local", STORE)
    assert found.recipient.send_on_behalf == (other.recipient.id,)
    assert everybody.at(f"{odd} x@{DOMAIN}").uid == "", "no name for a mailbox"
    same = read_one(site.people, other.recipient.id)
    assert (same.uid, same.route, same.recipient.mailbox_guid) == (helper, "local", other.recipient.mailbox_guid)
    assert f"{helper}@{DOMAIN}" in tied_addresses(site.people, found.recipient.id)
    assert f"{one}@{DOMAIN}" in tied_addresses(site.people, other.recipient.id)
    mine = routes.addresses(site.people, found.recipient.id)
    assert mine[0] == f"{one}@{DOMAIN}" and mine[1].startswith("IMCEAEX-_o=Acme")


def test_spare_attributes_do_without_a_schema_of_ours(site: Site, new_user: Callable[[], str]) -> None:
    names = [f"extensionAttribute{number}" for number in (10, 11, 12, 13)]
    people = replace(site.people, words=active_directory(Attributes(names[0], names[1], names[2], names[3], gate="")))
    dn = site.ad.add_user(uid := new_user())
    address = f"{uid}@{DOMAIN}"
    routes.set_route(people, site.audit, address, Route.PARKED, fresh_seconds=60)
    routes.set_route(people, site.audit, address, Route.LOCAL, STORE, fresh_seconds=60)
    found = routes.find(people, address)
    assert (found.route, found.store, found.implied) == ("local", STORE, False) and found.fresh_until
    assert not restrictions.set_outside(people, site.audit, address, False).effective
    assert restrictions.set_outside(people, site.audit, address, True).effective
    routes.set_route(people, site.audit, address, Route.EXCHANGE, fresh_seconds=60)
    assert routes.settle(people, site.audit, time.time() + 61) == [dn]
    ((_, values),) = site.ad.admin.search_s(dn, 0, attrlist=names)
    assert values == {} == site.attributes(dn)
    with pytest.raises(UserError, match="no attribute is named"):
        restrictions.gates(people, site.audit, 2)


def test_while_no_controller_answers_everybody_comes_again(site: Site, new_user: Callable[[], str]) -> None:
    """The last test here: the controller does not come back."""
    site.ad.add_user(uid := new_user(), mailferryRoute="local", mailferryMailHost=STORE)
    site.ad.halt()
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        site.postfix.send(f"{uid}@{DOMAIN}", "x")
    assert [code for code, _ in refused.value.recipients.values()] == [451]
    with smtplib.LMTP("127.0.0.1", site.store.settings.ports.lmtp) as client:
        client.ehlo("mx.acme.example")
        client.mail("someone@outside.example")
        assert 400 <= client.rcpt(f"{uid}@{DOMAIN}")[0] < 500
    with imaplib.IMAP4("127.0.0.1", site.store.port) as client, pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
        client.login(uid, PASSWORD)
