"""The diff against a target in memory that refuses what OpenLDAP refuses: a DN or an address that is taken."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.config.settings import Brake
from mailferry.directory.diff import UNIQUE, Change, Diff, Operation, brake, compare, shown
from mailferry.directory.entries import Entry
from mailferry.directory.mapping import dn_key
from mailferry.errors import SafetyStop
from mailferry.wire import dn as names


def entry(dn: str, **values: str | tuple[str, ...]) -> Entry:
    several = {name: (value,) if isinstance(value, str) else value for name, value in values.items()}
    return Entry(dn, {name: tuple(one.encode() for one in some) for name, some in several.items()})


class Target:
    """Entries by DN, with the constraints of slapd and its overlay unique."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.by_dn = {dn_key(one.dn): (source_id, dict(one.attributes)) for source_id, one in entries.items()}

    def make(self, change: Change) -> None:
        key = dn_key(change.dn)
        if change.operation == Operation.ADD:
            assert key not in self.by_dn
            self.by_dn[key] = (change.source_id, dict(change.after))
        elif change.operation == Operation.DELETE:
            assert self.by_dn.pop(key)[0] == change.source_id
        elif change.operation == Operation.RENAME:
            assert change.new_dn is not None
            assert dn_key(change.new_dn) not in self.by_dn
            source_id, attributes = self.by_dn.pop(key)
            (((kind, value),), *_) = names.parse(change.new_dn)
            self.by_dn[dn_key(change.new_dn)] = (source_id, attributes | {kind: (value.encode(),)})
        else:
            source_id, attributes = self.by_dn[key]
            assert source_id == change.source_id
            (((kind, value),), *_) = names.parse(change.dn)
            assert value.encode() in change.after.get(kind, (value.encode(),)), "naming violation"
            for name, before in change.before.items():
                assert set(attributes.get(name, ())) == set(before)
            attributes.update(change.after)
        self.check()

    def check(self) -> None:
        for name in UNIQUE:
            held = [one.lower() for _, values in self.by_dn.values() for one in values.get(name, ())]
            assert len(held) == len(set(held)), f"{name} twice"
        assert all(values.get("mail", ("x",)) for _, values in self.by_dn.values()), "an entry lost its address"

    def state(self) -> dict[str, tuple[str, dict[str, frozenset[bytes]]]]:
        return {
            source_id: (dn, {name: frozenset(some) for name, some in values.items() if some})
            for dn, (source_id, values) in self.by_dn.items()
        }


def apply(present: Mapping[str, Entry], found: Diff) -> Target:
    target = Target(present)
    for change in found.changes:
        target.make(change)
    return target


_ids = st.sampled_from([f"ad:{n}" for n in range(5)])
_local = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def populations(draw: st.DrawFn) -> dict[str, Entry]:
    """A few entries; DNs and addresses are each used once, of a small stock, so that they change hands often."""
    uids = draw(st.permutations(["a", "b", "c", "d", "e"]))
    addresses = draw(st.permutations(["u", "v", "w", "x", "y"]))
    more = draw(st.permutations(["A", "B", "C", "D", "E"]))
    found = {}
    for number, source_id in enumerate(draw(st.lists(_ids, unique=True))):
        branch = draw(st.sampled_from(["people", "shared"]))
        mail = f"{addresses[number]}@x"
        aliases = (mail, f"{more[number]}@x") if draw(st.booleans()) else (mail,)
        found[source_id] = entry(
            f"uid={uids[number]},ou={branch},dc=x",
            objectClass="inetOrgPerson",
            mailferrySourceId=source_id,
            uid=uids[number],
            mail=mail,
            mailLocalAddress=aliases,
            title=draw(_local),
        )
    return found


@given(populations(), populations())
def test_every_order_of_steps_is_possible_and_ends_in_what_is_wanted(
    present: dict[str, Entry], wanted: dict[str, Entry]
) -> None:
    if present and not wanted:
        with pytest.raises(SafetyStop, match="gives nobody"):
            compare(wanted, present.items())
        return
    target = apply(present, compare(wanted, present.items()))
    assert target.state() == Target(wanted).state()
    again = {
        source_id: Entry(dn, {name: tuple(some) for name, some in values.items()})
        for source_id, (dn, values) in target.state().items()
    }
    assert compare(wanted, again.items()).changes == ()


@given(populations(), populations(), st.integers(0, 20))
def test_an_interrupted_run_is_continued_by_comparing_again(
    present: dict[str, Entry], wanted: dict[str, Entry], stop: int
) -> None:
    if not wanted:
        return
    target = Target(present)
    for change in compare(wanted, present.items()).changes[:stop]:
        target.make(change)
    left = {
        source_id: Entry(dn, {name: tuple(some) for name, some in values.items()})
        for source_id, (dn, values) in target.state().items()
    }
    assert apply(left, compare(wanted, left.items())).state() == Target(wanted).state()


def test_only_managed_attributes_that_the_target_does_not_own_change() -> None:
    present = {
        "ad:1": entry("uid=a,dc=x", title="old", mailferryRoute="local", pager="1", x="theirs", userPassword="h")
    }
    wanted = {"ad:1": entry("uid=a,dc=x", title="new", mailferryRoute="exchange")}
    (change,) = compare(wanted, present.items(), owned=("mailferryroute",)).changes
    assert change.before == {"title": (b"old",), "pager": (b"1",)}
    assert change.after == {"title": (b"new",), "pager": ()}


def test_classes_of_others_stay() -> None:
    present = {"ad:1": entry("uid=a,dc=x", objectClass=("inetOrgPerson", "posixAccount", "qmailUser"))}
    wanted = {"ad:1": entry("uid=a,dc=x", objectClass=("inetOrgPerson", "inetLocalMailRecipient"))}
    (change,) = compare(wanted, present.items()).changes
    assert change.after["objectClass"] == (b"inetOrgPerson", b"inetLocalMailRecipient", b"posixAccount")
    same = {"ad:1": entry("uid=a,dc=x", objectClass=("inetOrgPerson", "posixAccount"))}
    assert compare({"ad:1": entry("uid=a,dc=x", objectClass="inetOrgPerson")}, same.items()).changes == ()


def test_dns_are_equal_however_they_are_written() -> None:
    present = {"ad:1": entry("cn=G\\2C x,dc=x", member=("UID=a, dc=x", "uid=B,dc=x"))}
    wanted = {"ad:1": entry("cn=g\\, X,dc=x", member=("uid=b,dc=x", "uid=a,dc=x"))}
    assert compare(wanted, present.items()).changes == ()


def test_who_has_an_open_error_keeps_the_entry() -> None:
    present = {"ad:1": entry("uid=a,dc=x"), "ad:2": entry("uid=b,dc=x")}
    found = compare({"ad:2": present["ad:2"]}, present.items(), keep={"ad:1"})
    assert found.changes == ()
    assert compare({"ad:2": present["ad:2"]}, present.items()).count(Operation.DELETE) == 1


def test_an_entry_of_somebody_else_is_not_touched() -> None:
    wanted = {"ad:1": entry("uid=a,dc=x"), "ad:2": entry("uid=b,dc=x"), "ad:3": entry("uid=c,dc=x")}
    present = {"ad:3": entry("uid=d,dc=x", title="x")}
    found = compare(wanted, present.items(), foreign={"uid=a,dc=x", "uid=c,dc=x"})
    assert set(found.foreign) == {("ad:1", "uid=a,dc=x"), ("ad:3", "uid=c,dc=x")}
    assert [(one.operation, one.source_id) for one in found.changes] == [(Operation.ADD, "ad:2")]


def test_a_kept_password_is_forgotten_when_the_source_has_a_new_one() -> None:
    old = entry("uid=a,dc=x", mailferryPasswordChanged="20260101000000Z", mailferryPasswordFrom="capture")
    new = entry("uid=a,dc=x", mailferryPasswordChanged="20260102000000Z", mailferryPasswordFrom="source")
    owned = ("mailferryPasswordFrom",)
    (change,) = compare({"ad:1": new}, {"ad:1": old}.items(), owned=owned).changes
    assert change.forget
    here = entry("uid=a,dc=x", mailferryPasswordChanged="20260101000000Z", mailferryPasswordFrom="here")
    (change,) = compare({"ad:1": new}, {"ad:1": here}.items(), owned=owned).changes
    assert not change.forget


def _modified(count: int, of: int) -> Diff:
    changes = [Change(Operation.MODIFY, f"ad:{n}", f"uid={n}", {}, {}) for n in range(count)]
    return Diff((*changes, *changes), of, of)  # two steps each


@pytest.mark.parametrize(
    ("count", "of", "stops"), [(20, 100, False), (21, 100, True), (50, 1000, False), (51, 1000, True), (0, 0, False)]
)
def test_the_brake_is_the_larger_of_share_and_number(count: int, of: int, stops: bool) -> None:
    found = _modified(count, of)
    if not stops:
        brake(found, Brake())
        return
    with pytest.raises(SafetyStop, match=rf"{count} of {of} entries .*0 add, {count} modify") as caught:
        brake(found, Brake())
    assert f"--allow-changes {count}" in caught.value.advice
    brake(found, Brake(), count)
    with pytest.raises(SafetyStop):
        brake(found, Brake(), count - 1)


def test_additions_are_free() -> None:
    brake(Diff(tuple(Change(Operation.ADD, f"ad:{n}", f"uid={n}", {}, {}) for n in range(1000)), 1000, 0), Brake())


def test_small_steps_add_up_before_the_brake() -> None:
    brake(_modified(5, 5), Brake(), total=100, before=15)
    with pytest.raises(SafetyStop, match="16 were lately"):
        brake(_modified(5, 5), Brake(), total=100, before=16)


def test_shown_for_people() -> None:
    present = {"ad:1": entry("uid=a,dc=x", title="old", uid="a"), "ad:2": entry("uid=b,dc=x", title="t\n\x1b[2J")}
    wanted = {"ad:1": entry("uid=c,dc=x", title="new", uid="c")}
    text = list(shown(compare(wanted, present.items())))
    assert text == [
        "delete uid=b,dc=x",
        "  - title: t\\x0a\\x1b[2J",
        "rename uid=a,dc=x → uid=c,dc=x",
        "modify uid=c,dc=x",
        "  - title: old",
        "  + title: new",
    ]
