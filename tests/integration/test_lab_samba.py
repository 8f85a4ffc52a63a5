"""The lab's Active Directory: it is let in to as told, holds Acme as it was made, and changes as the helpers say."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import ldap
import pytest
from ldap.dn import str2dn

from lab import process
from lab.organisation import organisation
from lab.organisation_data import Entry, Reference
from lab.organisation_ldif import distinguished_names
from lab.process import PASSWORD
from lab.samba import Samba


def verified(url: str, samba: Samba) -> ldap.ldapobject.LDAPObject:
    """A connection that trusts no certificate but those that the controller's CA file vouches for."""
    link = ldap.initialize(url)
    link.set_option(ldap.OPT_X_TLS_CACERTFILE, str(samba.ca_file))
    link.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
    link.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
    return link


@pytest.fixture
def unit(samba: Samba) -> Iterator[str]:
    """An organisational unit for one test."""
    dn = f"OU=lab test,{samba.base}"
    samba.add(dn, {"objectClass": "organizationalUnit"})
    yield dn
    found = [below for below, _ in samba.admin.search_s(dn, ldap.SCOPE_SUBTREE, attrlist=["cn"])]
    for below in sorted(found, key=lambda below: -len(str2dn(below))):
        samba.delete(below)


def test_the_reader_is_let_in_over_verified_tls(samba: Samba) -> None:
    over_tls = verified(samba.tls_url, samba)
    over_tls.simple_bind_s(samba.reader_dn, PASSWORD)
    upgraded = verified(samba.url, samba)
    upgraded.start_tls_s()
    upgraded.simple_bind_s(samba.reader_principal, PASSWORD)
    for link in (over_tls, upgraded):
        assert link.search_s(samba.admin_dn, ldap.SCOPE_BASE, attrlist=["sAMAccountName"])
        with pytest.raises(ldap.INSUFFICIENT_ACCESS):
            link.modify_s(samba.admin_dn, [(ldap.MOD_REPLACE, "description", [b"x"])])


def test_a_wrong_password_is_told_as_active_directory_tells_it(samba: Samba) -> None:
    with pytest.raises(ldap.INVALID_CREDENTIALS, match="data 52e"):
        verified(samba.tls_url, samba).simple_bind_s(samba.reader_dn, "wrong")


def test_kerberos(samba: Samba, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in samba.kerberos().items():
        monkeypatch.setenv(name, value)
    link = ldap.initialize(samba.url)
    link.set_option(ldap.OPT_X_SASL_NOCANON, 1)
    link.sasl_gssapi_bind_s()
    assert link.search_s(samba.base, ldap.SCOPE_BASE, attrlist=["objectGUID"])[0][1]["objectGUID"]


def test_acme_stands_in_it_as_it_was_made(samba_acme: Samba) -> None:
    acme = organisation(50)
    places = distinguished_names(acme)

    def octets(entry: Entry, name: str) -> set[bytes]:
        values = [places[value.account] if isinstance(value, Reference) else value for value in entry.values[name]]
        return {value if isinstance(value, bytes) else value.encode() for value in values}

    for entry in acme.entries:
        found = samba_acme.admin.search_s(places[entry.account], ldap.SCOPE_BASE)[0][1]
        assert found["cn"] == [entry.name.encode()]
        for name in entry.values:
            assert {plain(value) for value in found.get(name, [])} == {plain(value) for value in octets(entry, name)}, (
                entry.account,
                name,
            )


def plain(value: bytes) -> bytes:
    """A DN without its escapes, which may be written in more than one way."""
    return value.replace(b"\\", b"")


def test_people_log_in_unless_disabled(samba_acme: Samba) -> None:
    acme = organisation(50)
    places = distinguished_names(acme)
    verified(samba_acme.tls_url, samba_acme).simple_bind_s(places[acme.people[7].account], PASSWORD)
    with pytest.raises(ldap.INVALID_CREDENTIALS, match=r"data (52e|533)"):
        verified(samba_acme.tls_url, samba_acme).simple_bind_s(places["info"], PASSWORD)


def test_changes(samba: Samba, unit: str) -> None:
    anna = samba.add_user("lab-anna", parent=unit, cn="Anna, born B")
    bert = samba.add_user("lab-bert", parent=unit, manager=anna, authOrig=[anna], altRecipient=anna)
    group = f"CN=lab group,{unit}"
    samba.add(group, {"objectClass": "group", "sAMAccountName": "lab-group", "member": [anna, bert]})
    anna = samba.rename(anna, "Anna (C) *")
    assert anna == samba.dn("lab-anna")
    samba.add(f"OU=below,{unit}", {"objectClass": "organizationalUnit"})
    anna = samba.move(anna, f"OU=below,{unit}")
    assert anna == samba.dn("lab-anna")
    found = samba.search("(sAMAccountName=lab-bert)")[0][1]
    assert found["manager"] == found["authOrig"] == found["altRecipient"] == [anna.encode()]
    samba.set_password(bert, "another")
    verified(samba.tls_url, samba).simple_bind_s(bert, "another")
    samba.set_enabled(bert, False)
    with pytest.raises(ldap.INVALID_CREDENTIALS, match="data 533"):
        verified(samba.tls_url, samba).simple_bind_s(bert, "another")
    samba.modify(bert, replace={"title": "Chief", "mail": ()}, add={"proxyAddresses": ["smtp:b@acme.example"]})
    samba.delete(anna)
    found = samba.search("(sAMAccountName=lab-bert)")[0][1]
    assert not {"manager", "authOrig", "altRecipient", "mail"} & set(found)
    assert found["title"] == [b"Chief"]
    assert len(found["proxyAddresses"]) == 2
    assert samba.search("(cn=lab group)", ["member"])[0][1]["member"] == [bert.encode()]


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory that other users can reach (tmp_path is closed to them)."""
    path = process.workspace("samba-test")
    yield path
    shutil.rmtree(path)


def test_two_stand_side_by_side_and_data_outlives_a_stop(samba: Samba, root: Path) -> None:
    with Samba(root) as second:
        assert second.address != samba.address
        second.add_user("stays")
        address, pid = second.address, second.pid
        second.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        second.start()
        assert second.address == address
        assert second.dn("stays")
        os.kill(second.pid, signal.SIGKILL)
    assert not process.session_pids(pid)
