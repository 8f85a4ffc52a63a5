"""What changes in Active Directory is told: by DirSync, by uSNChanged, to administrators and to ordinary accounts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.directory.readers import Changes, ad_changes
from mailferry.directory.readers.ad import ActiveDirectory, Scope
from mailferry.errors import Temporary
from mailferry.model.recipient import Recipient
from mailferry.net.ldap import Server
from mailferry.secret import Secret
from tests.directories import group_of, ou_of


def reader_of(samba: Samba, *bases: str, user: str = "") -> ActiveDirectory:
    user = user or samba.reader_dn
    made = Server(samba.tls_url, user=user, secret=Secret(PASSWORD), ca_file=str(samba.ca_file), timeout=20)
    return ActiveDirectory(made, Scope(bases))


@dataclass
class Followed:
    """A reader with its cookie, one step at a time."""

    samba: Samba
    reader: ActiveDirectory
    ou: str
    cookie: bytes = b""

    def begin(self) -> None:
        self.cookie = self.reader.cookie()
        list(self.reader.read())

    def step(self) -> Changes:
        changes = self.reader.changes(self.cookie)
        self.cookie = changes.cookie or self.cookie
        return changes

    def one(self) -> Recipient:
        """The one recipient that changed."""
        changes = self.step()
        assert not changes.full_read
        (found,) = changes.changed
        assert isinstance(found, Recipient)
        return found

    def gone(self) -> tuple[str, ...]:
        """Who is gone; an account that must look who is missing is given 3 s."""
        deadline = time.monotonic() + 3
        while True:
            changes = self.step()
            assert not changes.full_read
            if changes.gone or time.monotonic() > deadline:
                return changes.gone
            time.sleep(0.05)


@pytest.fixture(params=["ordinary", "administrator", "ordinary by usn", "administrator by usn"])
def followed(
    samba: Samba, new_user: Callable[[], str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Followed]:
    if "usn" in request.param:
        monkeypatch.setattr(ad_changes, "_FLAGS", {})  # as if DirSync were refused
    ou = ou_of(samba, new_user())
    with reader_of(samba, ou, user=samba.admin_dn if "administrator" in request.param else "") as reader:
        yield Followed(samba, reader, ou)


def test_everything_that_happens_to_a_person(followed: Followed, new_user: Callable[[], str]) -> None:
    samba, account = followed.samba, new_user()
    inner = f"OU=inner,{followed.ou}"
    samba.add(inner, {"objectClass": "organizationalUnit"})
    followed.begin()
    assert followed.step().changed == ()
    dn = samba.add_user(account, parent=followed.ou)
    added = followed.one()
    assert (added.where, added.mail) == (dn, f"{account}@acme.example")
    samba.modify(dn, replace={"telephoneNumber": "1"}, add={"proxyAddresses": "smtp:x@acme.example"})
    changed = followed.one()
    assert changed.id == added.id
    assert (changed.details["telephoneNumber"], changed.aliases) == (("1",), ("x@acme.example",))
    samba.modify(dn, replace={"telephoneNumber": ()})
    assert "telephoneNumber" not in followed.one().details
    dn = samba.rename(dn, f"{account} (new, name)")
    renamed = followed.one()
    assert (renamed.id, renamed.where) == (added.id, dn)
    dn = samba.move(dn, inner)
    assert followed.one().where == dn
    samba.delete(dn)
    assert followed.gone() == (added.id,)
    assert followed.step() == Changes(cookie=followed.cookie)


def test_members_come_and_go(followed: Followed, new_user: Callable[[], str]) -> None:
    samba = followed.samba
    people = [samba.add_user(new_user(), parent=followed.ou) for _ in range(2)]
    group = group_of(samba, followed.ou, new_user(), people[:1])
    followed.begin()
    samba.modify(group, add={"member": people[1]})
    both = followed.one()
    assert both.where == group
    assert len(both.members) == 2
    samba.modify(group, delete={"member": people[0]})
    assert len(followed.one().members) == 1
    samba.modify(group, delete={"member": people[1]})
    assert followed.one().members == ()
    samba.modify(people[0], replace={"manager": people[1]})
    assert followed.one().manager in both.members


def test_who_leaves_the_scope_is_gone(followed: Followed, new_user: Callable[[], str]) -> None:
    samba = followed.samba
    elsewhere = ou_of(samba, new_user())
    dn = samba.add_user(new_user(), parent=followed.ou)
    group = group_of(samba, followed.ou, new_user())
    followed.begin()
    ids = {one.where: one.id for one in followed.reader.read() if isinstance(one, Recipient)}
    moved = samba.move(dn, elsewhere)
    assert followed.gone() == (ids[dn],)
    samba.move(moved, followed.ou)
    assert followed.one().id == ids[dn]
    samba.modify(group, replace={"mail": (), "proxyAddresses": (), "mailNickname": ()})
    assert followed.gone() == (ids[group],)


def test_many_changes_come_at_once(followed: Followed, new_user: Callable[[], str]) -> None:
    people = [followed.samba.add_user(new_user(), parent=followed.ou) for _ in range(3)]
    followed.begin()
    for number in range(4):
        for dn in people:
            followed.samba.modify(dn, replace={"title": str(number)})
    changes = followed.step()
    assert sorted(one.where for one in changes.changed) == sorted(people)
    assert all(one.details["title"] == ("3",) for one in changes.changed if isinstance(one, Recipient))


def test_what_is_not_read_does_not_come(followed: Followed, new_user: Callable[[], str]) -> None:
    dn = followed.samba.add_user(new_user(), parent=followed.ou)
    computer = f"CN=pc,{followed.ou}"
    followed.samba.add(computer, {"objectClass": "computer", "sAMAccountName": new_user() + "$"})
    followed.begin()
    followed.samba.modify(computer, replace={"displayName": "x"})
    assert followed.step().changed == ()
    assert len(followed.reader.ids()) == 1
    assert dn


@pytest.mark.parametrize("rest", [b"", b"garbage", b"MSDS" + b"\xff" * 100, b"x 5", b" -7"])
def test_a_cookie_that_makes_no_sense_wants_a_full_read(followed: Followed, rest: bytes) -> None:
    head = followed.reader.cookie().partition(b"\n")[0]
    for cookie in (rest, head + b"\n" + rest):
        if rest == b"" and b"usn" not in head and cookie:
            continue  # DirSync's beginning of all things: everything comes
        changes = followed.reader.changes(cookie)
        assert changes.full_read
        assert (changes.changed, changes.gone, changes.cookie) == ((), (), b"")


def test_a_cookie_of_another_scope_wants_a_full_read(samba: Samba, new_user: Callable[[], str]) -> None:
    one, two = ou_of(samba, new_user()), ou_of(samba, new_user())
    with reader_of(samba, one) as first, reader_of(samba, two) as second:
        assert "another" in second.changes(first.cookie()).full_read


def test_numbers_of_another_controller_want_a_full_read(samba: Samba, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ad_changes, "_FLAGS", {})
    with reader_of(samba) as reader:
        head, _, rest = reader.cookie().partition(b"\n")
        controller, _, number = rest.rpartition(b" ")
        assert "another domain controller" in reader.changes(head + b"\nCN=DC2 " + number).full_read
        ahead = str(int(number) + 1000).encode()
        assert "restored" in reader.changes(head + b"\n" + controller + b" " + ahead).full_read


def test_a_renamed_unit_is_told_when_only_a_part_is_read(samba: Samba, new_user: Callable[[], str]) -> None:
    ou = ou_of(samba, new_user())
    inner = f"OU=inner,{ou}"
    samba.add(inner, {"objectClass": "organizationalUnit"})
    samba.add_user(new_user(), parent=inner)
    with reader_of(samba, ou) as part, reader_of(samba) as whole:
        of_part, of_whole = part.cookie(), whole.cookie()
        samba.admin.rename_s(inner, "OU=other")
        assert "OU=other" in part.changes(of_part).full_read
        assert whole.changes(of_whole).full_read == ""
        samba.add(inner, {"objectClass": "organizationalUnit"})  # a new one is no renamed one
        assert part.changes(part.cookie()).full_read == ""


def test_the_controller_goes_away_and_comes_back(new_user: Callable[[], str]) -> None:
    with Samba() as samba:
        ou = ou_of(samba, new_user())
        with reader_of(samba, ou) as reader:
            cookie = reader.cookie()
            dn = samba.add_user(new_user(), parent=ou)
            samba._admin = None  # its connection ends with the server
            root, samba._own_root = samba.root, False
            samba.stop()
            with pytest.raises(Temporary):
                reader.changes(cookie)
            with pytest.raises(Temporary):
                reader.changes(cookie)
            samba.start()
            samba._own_root = True
            assert samba.root == root
            assert [one.where for one in reader.changes(cookie).changed] == [dn]
