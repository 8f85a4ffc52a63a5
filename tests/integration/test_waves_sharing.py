"""Rights between people who move: they wait for the second one's wave, and go when one of them goes home."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailferry.ledger import permissions
from mailferry.model.permission import Access, Grant
from tests.mail_flow import Sides, sides
from tests.waves import WaveLab


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


@pytest.fixture
def lab(both: Sides, tmp_path: Path) -> WaveLab:
    lab = WaveLab(both, tmp_path)
    lab.settings(target_user="{mail}")
    return lab


def grants(lab: WaveLab, *pairs: tuple[str, str, Access, str, str]) -> None:
    """What `sharing plan` notes: owner, person, access, folder, rights."""
    wanted = [
        Grant(f"ad:{_uid(owner)}", f"ad:{_uid(person)}", access, folder, rights, "", "file:1")
        for owner, person, access, folder, rights in pairs
    ]
    with lab.ledger() as ledger:
        permissions.plan(ledger, wanted, lambda _: False, dry_run=False)


def states(lab: WaveLab) -> list[str]:
    with lab.ledger() as ledger:
        return [f"{one.state.value}: {one.why}".strip(": ") for one in permissions.grants(ledger)]


def acl(lab: WaveLab, address: str, folder: str = "") -> dict[str, str]:
    """What Dovecot's own file says: person → rights by name."""
    path = lab.sides.store.maildir(address) / folder / "dovecot-acl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {who.removeprefix("user="): rights for who, _, rights in (line.partition(" ") for line in lines)}


def senders(lab: WaveLab, address: str) -> list[str]:
    found = lab.sides.openldap.connect().search_s(
        lab.sides.openldap.suffix, 2, f"(mail={address})", ["mailferrySendAs"]
    )
    return [one.decode() for one in found[0][1].get("mailferrySendAs", [])]


def _uid(address: str) -> str:
    return address.partition("@")[0]


def test_a_right_waits_for_the_second_wave_and_goes_home_with_its_person(
    both: Sides, lab: WaveLab, new_user: Callable[[], str]
) -> None:
    ann, bob, cat, dan = (lab.person(new_user()) for _ in range(4))
    grants(
        lab,
        (ann, bob, Access.FOLDER, "Sent Items", "lr"),
        (ann, bob, Access.SEND_AS, "", ""),
        (ann, cat, Access.FULL, "", "lrs"),
        (cat, dan, Access.FOLDER, "Inbox", "lr"),
    )
    lab.wave("first", [ann])
    lab.wave("second", [bob])
    lab.wave("third", [cat, dan])
    assert lab.run("cutover", "first").code == 0
    assert acl(lab, ann) == {} and acl(lab, ann, ".Sent") == {} and senders(lab, ann) == []
    waits = f"waiting: {bob} on Exchange"
    assert states(lab) == [waits, waits, f"waiting: {cat} on Exchange", "wanted"]

    assert lab.run("cutover", "second").code == 0
    assert acl(lab, ann, ".Sent") == {bob: "lr"} and acl(lab, ann) == {}, "as the copy has named the folder"
    assert senders(lab, ann) == [_uid(bob)]
    assert states(lab) == ["applied", "applied", f"waiting: {cat} on Exchange", "wanted"]

    assert lab.run("cutover", "third").code == 0
    assert acl(lab, ann, ".Sent") == {bob: "lr", cat: "lrs"} and acl(lab, ann) == {cat: "lrs"}
    assert acl(lab, cat) == {dan: "lr"}, "who goes together, has it at once"
    assert states(lab) == ["applied"] * 4

    assert lab.run("rollback", "second").code == 0
    assert acl(lab, ann, ".Sent") == {cat: "lrs"} and senders(lab, ann) == []
    gone = f"withdrawn: {bob} on Exchange"
    assert states(lab) == [gone, gone, "applied", "applied"]
    assert lab.run("rollback", "third", "--only", cat).code == 0
    assert acl(lab, cat) == {} and acl(lab, ann) == {}
    assert acl(lab, ann, ".Sent") == {}
