"""The Dovecot proxy, rendered by us and run for real: one host name for people on both sides."""

from __future__ import annotations

import base64
import imaplib
import poplib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import pytest

from lab import process
from lab.dovecot import Dovecot
from lab.ldap_people import Text, person
from lab.open_dovecot import MASTER, MASTER_PASSWORD, OpenDovecot, open_proxy
from lab.openldap import OpenLdap
from mailferry.stack.dovecot.settings import EXCHANGE, Backend

PASSWORD = process.PASSWORD


@dataclass(slots=True)
class Clients:
    """All that runs; people have the same password on both sides, as they do with bind-through."""

    directory: OpenLdap
    stores: dict[str, OpenDovecot]
    exchange: Dovecot
    proxy: OpenDovecot

    def add(self, uid: str, **more: Text) -> str:
        self.directory.add(person(self.directory.suffix, uid, **{"userPassword": PASSWORD, **more}))
        return uid

    def change(self, uid: str, **values: str) -> None:
        steps = [(2, name, [value.encode()]) for name, value in values.items()]
        self.directory.connect().modify_s(f"uid={uid},ou=people,{self.directory.suffix}", steps)

    def log(self) -> str:
        return self.proxy.log()

    def reaches(self, user: str) -> str:
        """Which server a log-in over TLS at the proxy ends at, by a folder that bears its name."""
        context = ssl.create_default_context(cafile=str(self.proxy.ca_file))
        with imaplib.IMAP4_SSL("localhost", self.proxy.tls_port, ssl_context=context) as client:
            client.login(user, PASSWORD)
            listed = b" ".join(one for one in client.list('""', "is-*")[1] if isinstance(one, bytes))
            return listed.rpartition(b"is-")[2].decode()


def mark(server: OpenDovecot | Dovecot, name: str, user: str) -> None:
    with imaplib.IMAP4("127.0.0.1", server.port) as client:
        if isinstance(server, Dovecot):
            client.login(user, PASSWORD)
        else:
            client.login(f"{user}*{MASTER}", MASTER_PASSWORD)
        client.create(f"is-{name}")


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    with ExitStack() as stack:
        directory = stack.enter_context(OpenLdap())
        stores = {name: stack.enter_context(OpenDovecot(directory, name)) for name in ("store1", "store2")}
        exchange = stack.enter_context(Dovecot(flavour="exchange"))
        proxy = stack.enter_context(open_proxy(directory, stores, exchange))
        yield Clients(directory, stores, exchange, proxy)


def everywhere(clients: Clients, uid: str) -> None:
    for name, store in clients.stores.items():
        mark(store, name, uid)
    mark(clients.exchange, EXCHANGE, f"{uid}@acme.example")


def test_one_host_name_through_a_move_and_back(clients: Clients) -> None:
    uid = clients.add("mover", mailLocalAddress=["mover@acme.example", "old.name@acme.example"])
    everywhere(clients, uid)
    assert clients.reaches(uid) == clients.reaches("Old.Name@acme.example") == EXCHANGE
    clients.change(uid, mailferryRoute="parked")
    assert clients.reaches(uid) == EXCHANGE, "until the switch they read where their mail is"
    clients.change(uid, mailferryRoute="local", mailHost="store1")
    assert clients.reaches(uid) == clients.reaches("old.name@acme.example") == "store1"
    clients.change(uid, mailHost="Store2")
    assert clients.reaches(uid) == "store2"
    clients.change(uid, mailferryRoute="parked")
    assert clients.reaches(uid) == EXCHANGE
    clients.change(uid, mailferryRoute="exchange")
    assert clients.reaches(uid) == EXCHANGE


@pytest.mark.parametrize("route", ["exchange", "local"])
def test_the_password_is_checked_where_the_mailbox_is(clients: Clients, route: str) -> None:
    uid = clients.add(f"guess-{route}", mailferryRoute=route, mailHost="store1")
    with imaplib.IMAP4("127.0.0.1", clients.proxy.port) as client:
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            client.login(uid, "wrong")
        client.login(uid, PASSWORD)


def test_an_open_session_stays_where_it_is_until_it_is_ended(clients: Clients) -> None:
    uid = clients.add("reader")
    everywhere(clients, uid)
    client = imaplib.IMAP4("127.0.0.1", clients.proxy.port)
    client.login(uid, PASSWORD)
    clients.change(uid, mailferryRoute="local", mailHost="store1")
    assert client.noop()[0] == "OK"
    assert "1 connections kicked" in clients.proxy.doveadm("proxy", "kick", uid)
    with pytest.raises(imaplib.IMAP4.abort):
        for _ in range(100):
            client.noop()
            time.sleep(0.05)
    client.shutdown()
    assert clients.reaches(uid) == "store1"


def test_pop3_and_managesieve_go_the_same_way(clients: Clients) -> None:
    uid = clients.add("others", mailferryRoute="local", mailHost="store2")
    pop3 = poplib.POP3("127.0.0.1", clients.proxy.pop3_port)
    pop3.user(f"{uid}@acme.example")
    assert pop3.pass_(PASSWORD).startswith(b"+OK")
    pop3.quit()
    with socket.create_connection(("127.0.0.1", clients.proxy.sieve_port), timeout=20) as connection:
        stream = connection.makefile("rwb")
        secret = base64.b64encode(f"\0{uid}\0{PASSWORD}".encode()).decode()
        stream.write(f'AUTHENTICATE "PLAIN" "{secret}"\r\nPUTSCRIPT "mine" "keep;"\r\nLOGOUT\r\n'.encode())
        stream.flush()
        said = stream.read()
    assert b"PUTSCRIPT completed" in said
    assert (clients.stores["store2"].mail_dir / uid / "sieve" / "mine.sieve").read_text() == "keep;"


def test_a_proxy_vouches_for_nobody_who_hands_in_mail(clients: Clients) -> None:
    """It takes any password, and leaves the judgement to a server that such a client never reaches."""
    uid = clients.add("spammer", mailferryRoute="local", mailHost="store1")
    told = clients.proxy.doveadm("auth", "test", "-x", "service=smtp", uid, PASSWORD, check=False)
    assert "auth failed" in told


@pytest.mark.parametrize(
    "more",
    [{"mailferryRoute": "local", "mailHost": "store9"}, {"mailferryRoute": "local"}, {"mailferryRoute": "nonsense"}],
    ids=["unknown store", "no store", "no route"],
)
def test_who_has_no_place_is_not_let_in(clients: Clients, more: dict[str, Text]) -> None:
    uid = clients.add(f"lost-{'-'.join(map(str, more.values()))}", **more)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        clients.reaches(uid)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        clients.reaches("nobody-at-all")


def test_a_server_with_another_certificate_is_not_given_a_password(clients: Clients) -> None:
    uid = clients.add("careful")
    settings = clients.proxy.settings
    assert settings.proxy is not None
    places = {EXCHANGE: Backend("ex1.acme.example", "127.0.0.1", clients.exchange.tls_port, 0)}
    with another(clients, places) as proxy, imaplib.IMAP4("127.0.0.1", proxy.port) as client:
        with pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
            client.login(uid, PASSWORD)
        assert "certificate" in proxy.log().lower()
    assert "Login: user=<careful>" not in clients.exchange.log()


def test_a_directory_that_is_away_is_no_wrong_password(own_openldap: OpenLdap, clients: Clients) -> None:
    own_openldap.add(person(own_openldap.suffix, "anna", userPassword=PASSWORD))
    with open_proxy(own_openldap, {}, clients.exchange) as proxy:
        own_openldap.halt()
        with imaplib.IMAP4("127.0.0.1", proxy.port) as client, pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
            client.login("anna", PASSWORD)


def test_a_store_may_pass_on_everybody_else(clients: Clients) -> None:
    """One host for everything, as a small organisation has it."""
    near, far = clients.add("near", mailferryRoute="local", mailHost="store1"), clients.add("far")
    mark(clients.exchange, EXCHANGE, f"{far}@acme.example")
    assert clients.proxy.settings.proxy is not None
    places = {EXCHANGE: clients.proxy.settings.proxy.places[EXCHANGE]}
    both = OpenDovecot(clients.directory, "store1")
    both.settings = replace(both.settings, proxy=replace(clients.proxy.settings.proxy, places=places))
    with both:
        for uid, name in ((near, "both"), (far, EXCHANGE)):
            mark(both, "both", uid)
            with imaplib.IMAP4("127.0.0.1", both.port) as client:
                client.login(uid, PASSWORD)
                assert client.list('""', "is-*")[1][0].endswith(f"is-{name}".encode())  # type: ignore[union-attr]
        for uid in (near, far):
            with imaplib.IMAP4("127.0.0.1", both.port) as client, pytest.raises(imaplib.IMAP4.error):
                client.login(uid, "wrong")


@contextmanager
def another(clients: Clients, places: dict[str, Backend]) -> Iterator[OpenDovecot]:
    """A proxy with other places."""
    made = open_proxy(clients.directory, clients.stores, clients.exchange)
    assert made.settings.proxy is not None
    made.settings = replace(made.settings, proxy=replace(made.settings.proxy, places=places))
    with made:
        yield made
