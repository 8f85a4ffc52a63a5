"""References of Active Directory: extended DNs, large groups in parts as Microsoft's server gives them, whom we ask."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, cast

from mailferry.directory.readers.ad_references import References, split, whole
from mailferry.model.recipient import Forwarding, Recipient, RecipientKind
from mailferry.net.ldap import Connection, Entry
from mailferry.net.ldap_errors import Refused, Result

ONE, TWO, AWAY = (uuid.UUID(int=number) for number in (1, 2, 3))
AT_ONCE = 1500


def extended(key: uuid.UUID, dn: str) -> bytes:
    return f"<GUID={key}>;<SID=S-1-5-21-1-2-3-4>;{dn}".encode()


class Server:
    """Stands in for a connection: a group of `size` members, given 1500 at a time, and a few entries by GUID."""

    def __init__(self, size: int = 0, entries: dict[str, dict[str, tuple[bytes, ...]]] | None = None) -> None:
        self.members = tuple(f"CN=m{number}".encode() for number in range(size))
        self.entries = entries or {}
        self.asked: list[str] = []

    def part(self, first: int) -> dict[str, tuple[bytes, ...]]:
        if first >= len(self.members):
            return {}
        last = first + AT_ONCE - 1
        end = "*" if last >= len(self.members) - 1 else str(last)
        return {f"member;range={first}-{end}": self.members[first : last + 1]}

    def read(self, dn: str, attributes: Sequence[str] = (), controls: object = ()) -> Entry | None:
        self.asked.append(dn)
        if attributes and ";range=" in attributes[0]:
            return Entry("CN=g", self.part(int(attributes[0].partition("=")[2].partition("-")[0])))
        if dn == "CN=odd":
            raise Refused("no name", result=Result.INVALID_DN)
        found = self.entries.get(dn)
        return None if found is None else Entry(dn, found)


def references(server: Server, known: set[str], by_dn: dict[str, str]) -> References:
    return References(cast(Connection, server), "DC=acme", known, by_dn)


def recipient(**values: Any) -> Recipient:
    return Recipient("ad:x", RecipientKind.GROUP, "CN=x", "x", **values)


def test_an_extended_dn_is_taken_apart() -> None:
    assert split(extended(ONE, "CN=a,DC=x")) == (f"ad:{ONE}", "CN=a,DC=x")
    assert split(f"<GUID={ONE}>;CN=a;b".encode()) == (f"ad:{ONE}", "CN=a;b")
    assert split(b"CN=plain,DC=x") == (None, "CN=plain,DC=x")


def test_a_large_group_is_put_together() -> None:
    for size in (1, 1499, 1500, 1501, 3000, 4000):
        server = Server(size)
        entry = Entry("CN=g", {"cn": (b"g",), **server.part(0)})
        made = whole(cast(Connection, server), entry)
        assert made.attrs == {"cn": (b"g",), "member": server.members}
        assert len(server.asked) == (size - 1) // AT_ONCE


def test_a_group_that_shrinks_meanwhile_ends_where_it_ends() -> None:
    server = Server(1500)
    entry = Entry("CN=g", {"member;range=0-1499": server.members})
    assert whole(cast(Connection, server), entry).get("member") == server.members


def test_who_is_not_read_is_asked_about_once() -> None:
    entries = {
        f"<GUID={AWAY}>": {"mail": (b"old@x.example",), "proxyaddresses": (b"smtp:b@x.example", b"SMTP:a@x.example")}
    }
    server = Server(entries=entries)
    known = {f"ad:{ONE}"}
    some = references(server, known, {"cn=one,dc=x": f"ad:{ONE}"})
    values = [
        extended(ONE, "CN=one,DC=x"),
        extended(TWO, "CN=two,DC=x"),
        extended(AWAY, "CN=away,DC=x"),
        b"CN=One,DC=x",
    ]
    members = tuple(some.around.reference(value) for value in values)
    made = recipient(members=members, manager=members[2], forwarding=Forwarding(members[1], keep_copy=True))
    assert not some.is_settled(made)
    settled = some.settled(made)
    assert settled.members == (f"ad:{ONE}", "CN=two,DC=x", "smtp:a@x.example")
    assert settled.manager == "smtp:a@x.example"
    assert settled.forwarding == Forwarding("CN=two,DC=x", keep_copy=True)
    assert some.settled(made) == settled
    assert sorted(server.asked) == [f"<GUID={TWO}>", f"<GUID={AWAY}>"]


def test_who_is_read_later_needs_no_question() -> None:
    server, known, by_dn = Server(), set[str](), dict[str, str]()
    some = references(server, known, by_dn)
    made = recipient(
        members=(some.around.reference(extended(ONE, "CN=one")),), accept_from=(some.around.reference(b"CN=Two"),)
    )
    assert not some.is_settled(made)
    known.update((f"ad:{ONE}", f"ad:{TWO}"))
    by_dn["cn=two"] = f"ad:{TWO}"
    settled = some.settled(made)
    assert settled.members == (f"ad:{ONE}",)
    assert settled.accept_from == (f"ad:{TWO}",)
    assert some.is_settled(settled)
    assert server.asked == []


def test_names_that_the_server_does_not_take_stay() -> None:
    some = references(Server(), set(), {})
    assert some.settled(recipient(owners=("CN=odd", "smtp:a@x.example"))).owners == ("CN=odd", "smtp:a@x.example")


def test_the_default_of_a_database_is_read_once() -> None:
    server = Server(
        entries={f"<GUID={ONE}>": {"mdboverquotalimit": (b"10",)}, "CN=odd db": {"mdbstoragequota": (b"x",)}}
    )
    some = references(server, set(), {})
    for _ in range(2):
        assert some.around.quota(extended(ONE, "CN=db")) == 10 * 1024
    assert some.around.quota(b"CN=odd db") is None
    assert some.around.quota(b"CN=nowhere") is None
    assert server.asked == [f"<GUID={ONE}>", "CN=odd db", "CN=nowhere"]
