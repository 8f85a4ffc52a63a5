"""Rights go to people who are known, to nobody else."""

from __future__ import annotations

import pytest

from mailferry.plan.rights import map_rights

RIGHTS = {"alice": "lr", "bob": "lrs", "anyone": "l", "group:sales": "lr"}


@pytest.mark.parametrize(
    ("people", "same_names", "granted", "unknown"),
    [
        ({}, False, {}, ["alice", "anyone", "bob", "group:sales"]),
        ({"alice": "a.smith"}, False, {"a.smith": "lr"}, ["anyone", "bob", "group:sales"]),
        ({"alice": "a.smith"}, True, {"a.smith": "lr", "bob": "lrs", "anyone": "l", "group:sales": "lr"}, []),
        ({"alice": "one", "bob": "one"}, False, {"one": "lrs"}, ["anyone", "group:sales"]),
    ],
)
def test_rights_are_mapped(
    people: dict[str, str], same_names: bool, granted: dict[str, str], unknown: list[str]
) -> None:
    assert map_rights(RIGHTS, people, same_names) == (granted, unknown)
