"""`mailferry directory sync` killed at every commit: the next run ends where an undisturbed one would have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.openldap import OpenLdap
from lab.samba import Samba
from tests.directories import Pair, group_of, ou_of

POINTS = (
    "intend:before:1",
    "intend:after:1",
    "confirm:before:1",
    "confirm:after:1",
    "commit:before:4",
    "commit:after:3",
)


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_continued(
    samba: Samba, own_openldap: OpenLdap, new_user: Callable[[], str], tmp_path: Path, point: str
) -> None:
    pair = Pair(samba, own_openldap, ou_of(samba, new_user()), tmp_path)
    names = [new_user() for _ in range(5)]
    dns = [samba.add_user(name, parent=pair.ou) for name in names]
    group = group_of(samba, pair.ou, f"G {names[0]}", dns[:3])
    pair.sync()
    first = pair.entries()
    samba.modify(dns[0], replace={"title": "Chief"})
    samba.modify(dns[1], replace={"msExchRecipientTypeDetails": "4"})
    samba.modify(group, replace={"displayName": f"H {names[0]}"}, delete={"member": dns[2]})
    samba.delete(dns[3])
    samba.add_user(new_user(), parent=pair.ou)
    killed = pair.cli("sync", crash=point)
    assert killed.returncode == -9, killed.stderr
    changed = pair.entries() != first
    assert changed == point.startswith("confirm")
    after = pair.cli("sync", "--json")
    assert after.returncode == 0, after.stderr
    assert pair.diff().diff.changes == ()
    assert len(pair.entries()) == 6
    with pair.place() as place:  # the killed run can be taken back, too
        killed_run = place.ledger.runs()[1].id
        last = place.ledger.runs()[2].id
    if changed:
        assert not pair.undo(killed_run).written.failed
    else:
        assert not pair.undo(last).written.failed
    assert pair.entries() == first
