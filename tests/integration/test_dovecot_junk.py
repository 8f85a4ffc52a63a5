"""Junk on a store, with Dovecot and rspamd from our renderers: what is marked is filed, what people move is learned."""

from __future__ import annotations

import imaplib
import re
import smtplib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.ldap_people import person
from lab.open_dovecot import OpenDovecot
from lab.openldap import OpenLdap
from lab.process import PASSWORD
from lab.rspamd import Rspamd
from mailferry.stack.dovecot.settings import Rspamd as Learner
from mailferry.stack.postfix.settings import Endpoint


@pytest.fixture(scope="module")
def rspamd() -> Iterator[Rspamd]:
    with Rspamd() as server:
        yield server


@pytest.fixture(scope="module")
def store(rspamd: Rspamd) -> Iterator[OpenDovecot]:
    host, _, port = rspamd.settings.controller.rpartition(":")
    with OpenLdap() as directory:
        here = {"mailferryRoute": "local", "mailHost": "store1", "userPassword": PASSWORD}
        directory.add(person(directory.suffix, "anna", **here))
        with OpenDovecot(directory, rspamd=Learner(Endpoint(host, int(port)))) as server:
            yield server


@contextmanager
def imap(store: OpenDovecot) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4("127.0.0.1", store.port) as client:
        client.login("anna", PASSWORD)
        yield client


def deliver(store: OpenDovecot, subject: str, header: str = "") -> None:
    message = f"From: someone@outside.example\r\nSubject: {subject}\r\nMessage-ID: <{subject}@outside.example>\r\n"
    with smtplib.LMTP("127.0.0.1", store.lmtp_port) as client:
        client.sendmail("someone@outside.example", "anna@acme.example", f"{message}{header}\r\ntext of {subject}\r\n")


def count(store: OpenDovecot, folder: str) -> int:
    with imap(store) as client:
        code, (number,) = client.select(folder, readonly=True)
        return int(number or b"0") if code == "OK" else 0


def asked(rspamd: Rspamd) -> list[str]:
    """The messages that the controller was told to learn, as its log has it. (It has no statistics to put them in.)"""
    return re.findall(r"rspamd_controller_learn_fin_task: \D*<(\w+)@outside", rspamd.log())


def test_what_is_marked_is_filed_and_what_is_moved_is_learned(store: OpenDovecot, rspamd: Rspamd) -> None:
    deliver(store, "wanted")
    deliver(store, "unwanted", "X-Spam: Yes\r\n")
    assert (count(store, "INBOX"), count(store, "Junk")) == (1, 1)
    with imap(store) as client:
        client.create("Trash")
        client.append("Junk", "", imaplib.Time2Internaldate(0), b"Subject: copied\r\n\r\nby Mailferry\r\n")
        client.select("Junk")
        client.uid("MOVE", "2", "Trash")
        assert asked(rspamd) == [], "neither a copy of a mailbox nor what goes into Trash teaches"
        client.uid("MOVE", "1", "INBOX")
        client.select("INBOX")
        client.uid("MOVE", "1", "Junk")
    deadline = time.monotonic() + 20
    while asked(rspamd) != ["unwanted", "wanted"]:
        assert time.monotonic() < deadline, rspamd.log()[-3000:]
        time.sleep(0.1)
    assert (count(store, "INBOX"), count(store, "Junk")) == (1, 1)

    rspamd.halt()
    deliver(store, "later")
    with imap(store) as client:
        client.select("INBOX")
        assert client.uid("MOVE", "1:*", "Junk")[0] == "OK", "a learner that is away stops nobody"
    assert count(store, "INBOX") == 0
