"""Following: each kind of change of Active Directory arrives, and nothing that goes wrong meanwhile loses one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ldap
import pytest

from lab.openldap import OpenLdap
from lab.samba import Samba
from mailferry.directory.follow import Follower
from mailferry.directory.readers import Changes
from mailferry.directory.readers.ad import ActiveDirectory
from mailferry.errors import SafetyStop, Temporary
from mailferry.ledger import directory as records
from mailferry.ledger.rows import ChangeState
from mailferry.net.ldap import Connection
from mailferry.ops import directory
from tests.directories import Pair, group_of, ou_of, until


@pytest.fixture
def pair(samba: Samba, own_openldap: OpenLdap, new_user: Callable[[], str], tmp_path: Path) -> Iterator[Pair]:
    yield Pair(samba, own_openldap, ou_of(samba, new_user()), tmp_path)


@pytest.fixture
def names(new_user: Callable[[], str]) -> list[str]:
    return [new_user() for _ in range(4)]


def test_every_kind_of_change_within_two_seconds(pair: Pair, names: list[str]) -> None:
    first, second, third, _ = names
    ad, suffix = pair.ad, pair.target.suffix
    dns = [ad.add_user(name, parent=pair.ou) for name in (first, second)]
    group = group_of(ad, pair.ou, f"G {first}", dns)
    elsewhere = f"OU=Elsewhere,{pair.ou}"
    ad.add(elsewhere, {"objectClass": "organizationalUnit"})

    def person(name: str) -> str:
        return f"uid={name},ou=people,{suffix}"

    def members() -> set[bytes]:
        return next((one["member"] for dn, one in pair.entries().items() if ",ou=groups," in dn), set())

    with pair.following():
        spent = []
        ad.modify(dns[0], replace={"title": "Chief"})
        spent.append(until(lambda: pair.entries()[person(first)].get("title") == {b"Chief"}))
        new = ad.add_user(third, parent=pair.ou, manager=dns[0])
        spent.append(until(lambda: person(third) in pair.entries()))
        assert pair.entries()[person(third)]["manager"] == {person(first).encode()}
        ad.modify(group, add={"member": new})
        spent.append(until(lambda: person(third).encode() in members()))
        ad.modify(group, delete={"member": dns[0]})
        spent.append(until(lambda: person(first).encode() not in members()))
        moved = ad.move(ad.rename(dns[0], f"Other {first}"), elsewhere)
        ad.modify(moved, replace={"displayName": "Other"})
        spent.append(until(lambda: pair.entries()[person(first)].get("cn") == {b"Other"}))
        ad.modify(dns[1], replace={"msExchRecipientTypeDetails": "4"})  # the group names it by its new DN at once
        spent.append(until(lambda: f"uid={second},ou=shared,{suffix}".encode() in members()))
        ad.modify(group, replace={"displayName": f"H {first}"})
        spent.append(until(lambda: f"cn=H {first},ou=groups,{suffix}" in pair.entries()))
        ad.delete(new)
        gone = until(lambda: person(third) not in pair.entries() and person(third).encode() not in members())
        assert max(spent) < 2, spent
        assert gone < 20  # an ordinary account may not see deleted objects
    assert pair.sync()[1].diff.changes == ()


def test_an_address_that_two_claim_for_a_while(pair: Pair, names: list[str]) -> None:
    first, second, *_ = names
    one, other = (pair.ad.add_user(name, parent=pair.ou) for name in (first, second))
    with pair.following():
        pair.ad.modify(other, add={"proxyAddresses": f"smtp:{first}@acme.example"})
        pair.ad.modify(other, replace={"title": "Later"})
        until(lambda: any(step.planned.cleaned.open for step in pair.steps))
        pair.ad.modify(one, replace={"mail": f"n{first}@acme.example", "proxyAddresses": f"SMTP:n{first}@acme.example"})
        until(lambda: pair.entry(f"uid={second},ou=people").get("title") == {b"Later"})
        assert f"{first}@acme.example".encode() in pair.entry(f"uid={second},ou=people")["mailLocalAddress"]
    assert pair.sync()[1].diff.changes == ()


def test_a_target_that_goes_away_and_comes_back(pair: Pair, names: list[str]) -> None:
    dn = pair.ad.add_user(names[0], parent=pair.ou)
    with pair.following():
        pair.target.halt()
        pair.ad.modify(dn, replace={"title": "Meanwhile"})
        with pair.place() as place:
            until(lambda: any(run.summary.get("trouble") for run in place.ledger.runs()))
        pair.target.start()
        until(lambda: pair.entry(f"uid={names[0]},ou=people").get("title") == {b"Meanwhile"})
        pair.ad.modify(dn, replace={"title": "After"})
        until(lambda: pair.entry(f"uid={names[0]},ou=people").get("title") == {b"After"})


def test_a_source_that_goes_away_and_comes_back(pair: Pair, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    dn = pair.ad.add_user(names[0], parent=pair.ou)
    true, refusals = ActiveDirectory.changes, iter(range(3))

    def away(self: ActiveDirectory, cookie: bytes) -> Changes:
        if next(refusals, None) is not None:
            raise Temporary("the source is away", retry_after=0.1)
        return true(self, cookie)

    monkeypatch.setattr(ActiveDirectory, "changes", away)
    with pair.following():
        pair.ad.modify(dn, replace={"title": "After"})
        until(lambda: pair.entry(f"uid={names[0]},ou=people").get("title") == {b"After"})
    assert next(refusals, None) is None


def test_everything_is_compared_once_a_day(pair: Pair, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pair.ad.add_user(names[0], parent=pair.ou, title="Engineer")
    monkeypatch.setattr(Follower, "_next_reconciliation", lambda self: time.time() + 1)
    own = f"uid={names[0]},ou=people,{pair.target.suffix}"
    with pair.following():
        link = pair.target.connect()
        link.modify_s(own, [(ldap.MOD_REPLACE, "title", [b"By hand"])])
        link.unbind_s()
        until(lambda: pair.entries()[own]["title"] == {b"Engineer"})


def test_many_small_steps_stop_at_the_brake(pair: Pair, names: list[str]) -> None:
    pair.configure("[directory.brake]\npercent = 0\nentries = 2")
    dns = [pair.ad.add_user(name, parent=pair.ou) for name in names]

    def changed() -> int:
        return sum(one.get("title") == {b"X"} for one in pair.entries().values())

    with pytest.raises(SafetyStop, match="and 2 were lately"), pair.following():
        for number, dn in enumerate(dns[:2], 1):
            pair.ad.modify(dn, replace={"title": "X"})
            until(lambda number=number: changed() == number)  # type: ignore[misc]
        pair.ad.modify(dns[2], replace={"title": "X"})
        with pair.place() as place:
            until(lambda: place.ledger.runs()[-1].ended is not None)
    assert changed() == 2
    pair.sync(allowed=1)
    assert changed() == 3


def test_a_cookie_that_the_source_refuses(pair: Pair, names: list[str]) -> None:
    """The follower's own loop, step by step."""
    dn = pair.ad.add_user(names[0], parent=pair.ou)
    with pair.place() as place, directory.running(place, ["test"]) as run_id:
        world = directory.world_of(place)
        server = directory.server_of(place.settings.target)
        with directory.reader_of(place.settings.source) as reader:
            follower = Follower(
                world,
                place.ledger,
                place.directory,
                run_id,
                reader,  # type: ignore[arg-type]
                lambda: Connection(server),
                lambda *_: None,
                lambda step, seconds: pair.steps.append(step),
            )
            follower.full()
            good = follower.cookie
            assert good
            assert not follower.delta()
            pair.ad.modify(dn, replace={"title": "Unseen"})
            follower.cookie = good[:8] + b"\xff" * 40
            assert follower.delta()
            assert records.bind(place.ledger, place.directory.source_key, place.directory.target_key).cookie == good
            follower.full()
            follower.close()
    assert pair.entry(f"uid={names[0]},ou=people")["title"] == {b"Unseen"}


@pytest.mark.parametrize("moment", range(4))
def test_control_c_and_a_stop_of_the_service_end_it_at_once_at_any_moment(
    pair: Pair, names: list[str], moment: int
) -> None:
    pair.ad.add_user(names[0], parent=pair.ou)
    with pair.started("sync", "--follow") as process:
        until(lambda: len(pair.entries()) == 1)
        time.sleep(0.13 * moment)
        process.send_signal(signal.SIGTERM if moment % 2 else signal.SIGINT)
        assert process.wait(10) == 130
    with pair.place() as place:
        assert place.ledger.runs()[-1].ended is not None
    pair.sync()


def test_a_killed_follower_loses_nothing(pair: Pair, names: list[str]) -> None:
    """Stopped after the source was asked and before the target was written, the change comes with the next start."""
    dn = pair.ad.add_user(names[0], parent=pair.ou)
    pair.sync()
    pair.ad.modify(dn, replace={"title": "Late"})
    killed = pair.cli("sync", "--follow", crash="intend:before:1")
    assert killed.returncode == -9
    assert pair.entry(f"uid={names[0]},ou=people").get("title") is None
    with pair.following():
        assert pair.entry(f"uid={names[0]},ou=people")["title"] == {b"Late"}
    with pair.place() as place:
        last = place.ledger.runs()[-1].id
        assert [one.state for one in records.changes(place.ledger, place.directory.id, last)] == [ChangeState.DONE]


def test_groups_that_contain_each_other_have_the_members_of_all(pair: Pair, names: list[str]) -> None:
    """Also when the circle closes, grows and opens while changes are followed; never a circle in the target."""
    people = [pair.ad.add_user(name, parent=pair.ou) for name in names[:3]]
    one = group_of(pair.ad, pair.ou, f"One {names[0]}", [people[0]])
    two = group_of(pair.ad, pair.ou, f"Two {names[0]}", [people[1], one])
    here = {name: f"uid={name},ou=people,{pair.target.suffix}".encode() for name in names[:3]}
    first, second = f"cn=One {names[0]},ou=groups", f"cn=Two {names[0]},ou=groups"

    def both(*some: str) -> bool:
        members = {here[name] for name in some}
        return pair.entry(first)["member"] == members == pair.entry(second)["member"]

    with pair.following():
        pair.ad.modify(one, add={"member": two})
        until(lambda: both(names[0], names[1]))
        pair.ad.modify(one, add={"member": people[2]})
        until(lambda: both(*names[:3]))
        pair.ad.modify(two, delete={"member": one})
        until(lambda: pair.entry(second)["member"] == {here[names[1]]})
        assert pair.entry(first)["member"] == {
            here[names[0]],
            here[names[2]],
            f"{second},{pair.target.suffix}".encode(),
        }
        pair.ad.modify(two, add={"member": one})
        until(lambda: both(*names[:3]))
    assert pair.sync()[1].diff.changes == ()


def test_who_may_send_for_somebody_follows_the_groups(pair: Pair, names: list[str]) -> None:
    people = [pair.ad.add_user(name, parent=pair.ou) for name in names[:3]]
    inner = group_of(pair.ad, pair.ou, f"Inner {names[0]}", [people[1]])
    outer = group_of(pair.ad, pair.ou, f"Outer {names[0]}", [inner])
    pair.ad.modify(people[0], add={"publicDelegates": outer})

    def senders() -> set[bytes]:
        return pair.entry(f"uid={names[0]},ou=people").get("mailferrySender", set())

    with pair.following():
        assert senders() == {names[1].encode()}
        pair.ad.modify(inner, add={"member": people[2]})
        until(lambda: senders() == {names[1].encode(), names[2].encode()})
        pair.ad.modify(inner, delete={"member": people[1]})
        until(lambda: senders() == {names[2].encode()})
    assert pair.sync()[1].diff.changes == ()
