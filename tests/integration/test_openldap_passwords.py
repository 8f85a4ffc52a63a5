"""Log-ins of people whose password Active Directory knows, for real: asked, captured, forgotten (decision 5)."""

from __future__ import annotations

import itertools
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import ldap
import pytest

from lab import process
from lab.ldap_people import person
from lab.openldap import WRITER_PASSWORD, OpenLdap
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.directory.passwords import forget
from mailferry.stack.openldap.settings import BindThrough
from tests.directories import Pair, ou_of, until

numbers = itertools.count()


@pytest.fixture(scope="module")
def ad() -> Iterator[Samba]:
    """A controller that may be stopped: its data stays."""
    root = process.workspace("samba")
    with Samba(root) as server:
        yield server
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def asking(ad: Samba) -> Iterator[OpenLdap]:
    """OpenLDAP that asks two controllers, the first of which is away, over StartTLS with a verified certificate."""
    controllers = (f"ldap://127.0.0.1:{process.free_port()}", ad.url)
    with OpenLdap(bind_through=BindThrough({"acme": controllers}, "acme", ad.ca_file)) as server:
        yield server


def newcomer(server: OpenLdap, ad: Samba, authority: str) -> tuple[str, str]:
    """A person on both sides: (DN here, DN there)."""
    uid = f"p{next(numbers)}"
    there = ad.add_user(uid)
    entry = person(
        server.suffix,
        uid,
        mailferryBindName=f"{uid}@acme.example",
        mailferryPasswordFrom=authority,
        mailferryPasswordChanged="20260101000000Z",
    )
    server.add(entry)
    return entry[0], there


def attempt(server: OpenLdap, dn: str, password: str = PASSWORD) -> str:
    """Log in; "" or the name of the error."""
    try:
        server.connect(dn, password)
    except ldap.LDAPError as error:
        return type(error).__name__
    return ""


def kept(server: OpenLdap, dn: str) -> bool:
    """Whether there is a hash of the person's password."""
    return "userPassword" in server.connect().search_s(dn, ldap.SCOPE_BASE)[0][1]


def test_who_has_not_moved_is_asked_there(asking: OpenLdap, ad: Samba) -> None:
    dn, there = newcomer(asking, ad, "source")
    assert attempt(asking, dn, "wrong") == "INVALID_CREDENTIALS"
    assert attempt(asking, dn) == ""
    assert not kept(asking, dn)
    with pytest.raises(ldap.CONSTRAINT_VIOLATION):
        asking.connect().modify_s(dn, [(ldap.MOD_REPLACE, "userPassword", [b"ours"])])
    ad.set_enabled(there, False)
    assert attempt(asking, dn) == "INVALID_CREDENTIALS"


def test_who_has_moved_is_captured_and_needs_the_source_no_more(asking: OpenLdap, ad: Samba) -> None:
    dn, _ = newcomer(asking, ad, "capture")
    stranger, _ = newcomer(asking, ad, "source")
    assert attempt(asking, dn, "wrong") == "INVALID_CREDENTIALS"
    assert not kept(asking, dn)
    assert attempt(asking, dn) == ""
    hashed = asking.connect().search_s(dn, ldap.SCOPE_BASE)[0][1]["userPassword"]
    assert [value.startswith(b"{ARGON2}$argon2") for value in hashed] == [True]
    ad.stop()
    try:
        assert attempt(asking, dn) == ""
        assert attempt(asking, dn, "wrong") == "INVALID_CREDENTIALS"
        assert attempt(asking, stranger) == "OPERATIONS_ERROR", "not called wrong, since nobody knows"
    finally:
        ad.start()
    assert attempt(asking, stranger) == ""
    asking.connect(dn, PASSWORD).passwd_s(dn, PASSWORD, "their-new-one")
    assert attempt(asking, dn, "their-new-one") == ""


def test_a_change_at_the_source_is_forgotten_and_captured_again(asking: OpenLdap, ad: Samba) -> None:
    dn, there = newcomer(asking, ad, "capture")
    assert attempt(asking, dn) == ""
    ad.set_password(there, "Fresh-Passw0rd")
    assert attempt(asking, dn) == "", "until the sync has seen it, the old one holds"
    writer = asking.connect(asking.settings.writer_dn, WRITER_PASSWORD)
    before = writer.search_s(dn, ldap.SCOPE_BASE)[0][1]
    after = {**before, "mailferryPasswordChanged": [b"20260201000000Z"]}
    change = [(ldap.MOD_REPLACE, "mailferryPasswordChanged", after["mailferryPasswordChanged"])]
    writer.modify_s(dn, [*change, *forget(before, after)])
    assert not kept(asking, dn)
    assert attempt(asking, dn) == "INVALID_CREDENTIALS"
    assert attempt(asking, dn, "Fresh-Passw0rd") == ""
    assert kept(asking, dn)


def test_the_sync_itself_brings_all_that_it_takes(asking: OpenLdap, ad: Samba, tmp_path: Path) -> None:
    """From a person in Active Directory to a captured password, and through a change of it, with nothing by hand but
    the one attribute that says that the person has moved."""
    uid = f"p{next(numbers)}"
    ou = ou_of(ad, "Synced")
    there = ad.add_user(uid, parent=ou)
    pair = Pair(ad, asking, ou, tmp_path)
    pair.sync()
    dn = f"uid={uid},ou=people,{asking.suffix}"
    assert attempt(asking, dn) == ""
    assert not kept(asking, dn)
    asking.connect().modify_s(dn, [(ldap.MOD_REPLACE, "mailferryPasswordFrom", [b"capture"])])
    assert attempt(asking, dn) == ""
    assert kept(asking, dn)
    time.sleep(1.1)  # mailferryPasswordChanged counts seconds
    with pair.following():
        ad.set_password(there, "Fresh-Passw0rd")
        until(lambda: not kept(asking, dn))
        assert attempt(asking, dn) == "INVALID_CREDENTIALS"
        assert attempt(asking, dn, "Fresh-Passw0rd") == ""
        assert kept(asking, dn)
        ad.set_enabled(there, False)
        until(lambda: not kept(asking, dn))
        assert attempt(asking, dn, "Fresh-Passw0rd") == "INVALID_CREDENTIALS"


def test_lock_out_counts_here_what_is_checked_here(asking: OpenLdap, ad: Samba) -> None:
    """Wrong passwords of people who have moved lock them for a while; those of others are the source's to count."""
    policy = f"cn=default,ou=policies,{asking.suffix}"
    asking.connect().modify_s(
        policy, [(ldap.MOD_REPLACE, "pwdMaxFailure", [b"3"]), (ldap.MOD_REPLACE, "pwdLockoutDuration", [b"2"])]
    )
    moved, _ = newcomer(asking, ad, "capture")
    other, _ = newcomer(asking, ad, "source")
    assert attempt(asking, moved) == ""
    for _ in range(3):
        assert attempt(asking, moved, "wrong") == attempt(asking, other, "wrong") == "INVALID_CREDENTIALS"
    assert attempt(asking, moved) == "INVALID_CREDENTIALS"
    assert attempt(asking, other) == ""
    deadline = time.monotonic() + 15
    while attempt(asking, moved):
        assert time.monotonic() < deadline, "the lock does not end"
        time.sleep(0.1)


def test_a_replica_asks_but_captures_nothing(asking: OpenLdap, ad: Samba) -> None:
    dn, _ = newcomer(asking, ad, "capture")
    with OpenLdap(provider=asking, bind_through=asking.settings.bind_through) as replica:
        deadline = time.monotonic() + 20
        while attempt(replica, dn):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not kept(replica, dn)
        assert not kept(asking, dn)
        assert attempt(asking, dn) == ""
        while not kept(replica, dn):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert attempt(replica, dn, "wrong") == "INVALID_CREDENTIALS"
        assert attempt(replica, dn) == ""


def test_a_controller_that_never_answers_holds_nobody_up_for_long() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"ldap://127.0.0.1:{silent.getsockname()[1]}"
        with OpenLdap(bind_through=BindThrough({"acme": (url,)}, "acme", None)) as server:
            entry = person(server.suffix, "waiting", mailferryBindName="x@y", mailferryPasswordFrom="source")
            server.add(entry)
            began = time.monotonic()
            assert attempt(server, entry[0]) == "OPERATIONS_ERROR"
            assert time.monotonic() - began < 8
