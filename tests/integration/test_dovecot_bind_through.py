"""Log-ins at a store with the password that Active Directory knows (decision 5), through real servers."""

from __future__ import annotations

import imaplib
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import ldap
import pytest

from lab import process
from lab.ldap_people import person
from lab.open_dovecot import OpenDovecot
from lab.openldap import OpenLdap
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.stack.openldap.settings import BindThrough


@pytest.fixture(scope="module")
def ad() -> Iterator[Samba]:
    """A controller that may be stopped: its data stays."""
    root = process.workspace("samba")
    with Samba(root) as server:
        yield server
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def directory(ad: Samba) -> Iterator[OpenLdap]:
    with OpenLdap(bind_through=BindThrough({"acme": (ad.url,)}, "acme", ad.ca_file)) as server:
        yield server


@pytest.fixture(scope="module")
def store(directory: OpenLdap) -> Iterator[OpenDovecot]:
    with OpenDovecot(directory) as server:
        yield server


def add(directory: OpenLdap, ad: Samba, uid: str, authority: str) -> None:
    ad.add_user(uid)
    moved = {"mailferryRoute": "local", "mailHost": "store1"}
    known = {"mailferryBindName": f"{uid}@acme.example", "mailferryPasswordFrom": authority}
    directory.add(person(directory.suffix, uid, **moved, **known))


def log_in(store: OpenDovecot, user: str, password: str = PASSWORD) -> str:
    """The code of a refusal; "" when it is let in."""
    with imaplib.IMAP4("127.0.0.1", store.port) as client:
        try:
            client.login(user, password)
        except imaplib.IMAP4.error as error:
            return str(error).partition("[")[2].partition("]")[0]
    return ""


def test_active_directory_is_asked_or_was_once(directory: OpenLdap, ad: Samba, store: OpenDovecot) -> None:
    add(directory, ad, "asked", "source")
    add(directory, ad, "captured", "capture")
    for uid in ("asked", "captured"):
        assert log_in(store, uid, "wrong") == "AUTHENTICATIONFAILED"
        assert log_in(store, f"{uid}@acme.example") == ""
    kept = directory.connect().search_s(directory.suffix, ldap.SCOPE_SUBTREE, "(userPassword=*)", ["uid"])
    assert [values["uid"] for dn, values in kept if dn.startswith("uid=")] == [[b"captured"]]
    ad.stop()
    assert log_in(store, "captured") == ""
    assert log_in(store, "captured", "wrong") == "AUTHENTICATIONFAILED"
    assert log_in(store, "asked") == "UNAVAILABLE", "not called wrong, since nobody knows"


def test_a_silent_controller_holds_up_nobody_else() -> None:
    """Log-ins that wait for it do not stand before those that OpenLDAP answers itself."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen(100)
        url = f"ldap://127.0.0.1:{silent.getsockname()[1]}"
        through = BindThrough({"acme": (url,)}, "acme", None, start_tls=False)
        with OpenLdap(bind_through=through) as directory, OpenDovecot(directory) as store:
            here = {"mailferryRoute": "local", "mailHost": "store1"}
            known = {"mailferryBindName": "asked@acme.example", "mailferryPasswordFrom": "source"}
            directory.add(person(directory.suffix, "asked", **here, **known))
            directory.add(person(directory.suffix, "own", **here, userPassword=PASSWORD))
            assert log_in(store, "own") == ""
            with ThreadPoolExecutor(6) as pool:
                waiting = [pool.submit(log_in, store, "asked") for _ in range(6)]
                time.sleep(0.5)
                began = time.monotonic()
                assert log_in(store, "own") == ""
                assert time.monotonic() - began < 2
                assert not any(one.done() for one in waiting), "they were before"
                assert {one.result() for one in waiting} == {"UNAVAILABLE"}
