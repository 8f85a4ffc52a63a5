"""`mailferry directory sync` killed at every commit: the next run ends where an undisturbed one would have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.openldap import OpenLdap
from lab.samba import Samba
from mailferry.ledger import directory as records
from mailferry.ledger.rows import ChangeState
from tests.directories import Pair, group_of, ou_of, until

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
        done = [
            run_id
            for run_id in (last, killed_run)
            if any(one.state is ChangeState.DONE for one in records.changes(place.ledger, place.directory.id, run_id))
        ]
    assert (killed_run in done) == changed
    for run_id in done:
        undone = pair.undo(run_id)
        assert (undone.kept, undone.written.failed) == ([], [])
    assert pair.entries() == first


def test_killed_in_the_middle_of_a_batch(samba_acme: Samba, own_openldap: OpenLdap, tmp_path: Path) -> None:
    """SIGKILL while entries are being added, at whatever instruction; some are there that the ledger calls unknown."""
    pair = Pair(samba_acme, own_openldap, samba_acme.base, tmp_path)
    with pair.started("sync") as process:
        until(lambda: len(pair.entries()) > 5)
        process.kill()
        process.wait()
    there = len(pair.entries())
    _, step = pair.sync()
    assert step.diff.present == there
    assert step.written is not None and not step.written.failed
    assert len(pair.entries()) == step.diff.wanted
    assert pair.diff().diff.changes == ()
    with pair.place() as place:
        first = place.ledger.runs()[0].id
    assert pair.undo(first).written.done == there
    assert len(pair.entries()) == step.diff.wanted - there
