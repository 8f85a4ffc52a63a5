"""Groups that contain each other are written with the members of all of them."""

from __future__ import annotations

from mailferry.directory.circles import circles, flattened
from mailferry.model.recipient import Recipient, RecipientKind


def groups(**members: str) -> dict[str, Recipient]:
    """Groups by name, each with its members' ids."""
    return {
        name: Recipient(name, RecipientKind.GROUP, name, name, members=tuple(some.split()))
        for name, some in members.items()
    }


def test_a_circle_has_the_members_of_all() -> None:
    everyone = groups(a="alice b", b="bob c", c="a alice outer", outer="carl", leads_in="a dora")
    assert sorted(circles(everyone)) == [["a", "b", "c"]]
    assert flattened(everyone) == dict.fromkeys("abc", ("alice", "bob", "outer"))


def test_a_group_that_contains_itself() -> None:
    assert flattened(groups(a="a alice", b="bob a")) == {"a": ("alice",)}


def test_two_circles_of_which_one_leads_into_the_other() -> None:
    found = flattened(groups(a="b x", b="a c", c="d y", d="c"))
    assert found == {"a": ("x", "c"), "b": ("x", "c"), "c": ("y",), "d": ("y",)}


def test_no_circle() -> None:
    assert flattened(groups(a="b c", b="c x", c="y")) == {}
