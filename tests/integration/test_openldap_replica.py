"""Replicas, for real: from empty, changes, a provider that was away, a provider that was filled in bulk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import ldap
import pytest

from lab.ldap_people import as_ldif, as_modlist, person
from lab.openldap import LOOKUP_PASSWORD, OpenLdap


def attributes(server: OpenLdap, dn: str) -> dict[str, list[bytes]] | None:
    """What a server holds of an entry, passwords and operational attributes included; None: no such entry."""
    try:
        found: list[tuple[str, dict[str, list[bytes]]]] = server.connect().search_s(
            dn, ldap.SCOPE_BASE, attrlist=["*", "+"]
        )
    except ldap.NO_SUCH_OBJECT:
        return None
    return found[0][1]


def wait(what: Callable[[], bool], seconds: float = 20) -> float:
    """Wait until it is so; how long it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds
        time.sleep(0.005)
    return time.monotonic() - began


@pytest.fixture
def pair() -> Iterator[tuple[OpenLdap, OpenLdap]]:
    """A provider with 200 people, and a replica that starts empty."""
    with OpenLdap() as provider:
        provider.halt()
        provider.load(as_ldif(person(provider.suffix, f"first{number}")) for number in range(200))
        provider.start()
        with OpenLdap(provider=provider) as replica:
            yield provider, replica


def test_a_replica_follows(pair: tuple[OpenLdap, OpenLdap]) -> None:
    provider, replica = pair
    last = f"uid=first199,ou=people,{provider.suffix}"
    wait(lambda: attributes(replica, last) == attributes(provider, last))
    lookup = replica.connect(replica.settings.lookup_dn, LOOKUP_PASSWORD)  # accounts and passwords come along
    assert len(lookup.search_s(f"ou=people,{replica.suffix}", ldap.SCOPE_ONELEVEL)) == 200

    admin = provider.connect()
    entry = person(provider.suffix, "fresh")
    provider.add(entry)
    assert wait(lambda: attributes(replica, entry[0]) is not None) < 2
    admin.modify_s(entry[0], [(ldap.MOD_REPLACE, "mailferryRoute", [b"parked"])])
    assert wait(lambda: (attributes(replica, entry[0]) or {})["mailferryRoute"] == [b"parked"]) < 2
    admin.rename_s(entry[0], "uid=renamed")
    renamed = entry[0].replace("fresh", "renamed")
    wait(lambda: attributes(replica, renamed) is not None and attributes(replica, entry[0]) is None)
    admin.delete_s(renamed)
    wait(lambda: attributes(replica, renamed) is None)
    writing = replica.connect()
    writing.set_option(ldap.OPT_REFERRALS, 0)
    with pytest.raises(ldap.REFERRAL, match=f":{provider.port}"):
        writing.add_s(entry[0], as_modlist(entry))


def test_a_provider_that_was_away(pair: tuple[OpenLdap, OpenLdap]) -> None:
    """The replica answers meanwhile, and takes up what came later, single changes as well as a bulk load."""
    provider, replica = pair
    last = f"uid=first199,ou=people,{provider.suffix}"
    wait(lambda: attributes(replica, last) is not None)
    provider.connect().delete_s(last)
    provider.halt()
    assert attributes(replica, f"uid=first0,ou=people,{replica.suffix}") is not None
    provider.load(as_ldif(person(provider.suffix, f"second{number}")) for number in range(200))
    provider.start()
    wait(lambda: attributes(replica, f"uid=second199,ou=people,{replica.suffix}") is not None)
    wait(lambda: attributes(replica, last) is None)
    context = [attributes(server, provider.suffix) for server in (provider, replica)]
    assert context[0] is not None and context[1] is not None
    wait(lambda: attributes(provider, provider.suffix) == attributes(replica, provider.suffix))
    filter_all = (f"ou=people,{replica.suffix}", ldap.SCOPE_ONELEVEL, "(objectClass=*)", ["1.1"])
    assert len(replica.connect().search_s(*filter_all)) == len(provider.connect().search_s(*filter_all)) == 399

    replica.halt()
    provider.connect().modify_s(
        f"uid=first0,ou=people,{provider.suffix}", [(ldap.MOD_REPLACE, "title", [b"Head of all"])]
    )
    replica.start()
    wait(lambda: (attributes(replica, f"uid=first0,ou=people,{replica.suffix}") or {}).get("title") == [b"Head of all"])
