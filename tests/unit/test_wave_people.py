"""Who is meant by a wave's plan, who would be separated, and who is not who they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mailferry.config.coexist import Coexist, Store
from mailferry.config.settings import Source
from mailferry.directory.sharing import Edge, Tie
from mailferry.errors import ConfigError, SafetyStop, UserError
from mailferry.ledger.rows import DirectoryAccount
from mailferry.model.recipient import Recipient, RecipientKind
from mailferry.model.wave import Move
from mailferry.ops.wave_people import Wanted, addresses_in, choose
from mailferry.ops.wave_plan import separated
from mailferry.waves.people import Everybody, Known, check_mapping, check_move, users_of

K = RecipientKind
CSV = Source(kind="csv", url="people.csv")
COEXIST = Coexist(source="imaps://ex.example", stores={"s1": Store(url="imaps://s1.example")})


def everybody(*some: Recipient, route: str = "exchange") -> Everybody:
    found = Everybody()
    for one in some:
        found.by_id[one.id] = Known(one, one.id.removeprefix("ad:"), route if one.kind not in (K.GROUP,) else "", "")
        for address in (one.mail or "", *one.aliases):
            found.by_address.setdefault(address.casefold(), []).append(one.id)
    return found


def person(name: str, kind: K = K.MAILBOX, **more: object) -> Recipient:
    one = Recipient(f"ad:{name}", kind, f"uid={name},ou=people,dc=x", name, mail=f"{name}@x.example")
    return replace(one, **more)  # type: ignore[arg-type]


def test_an_address_of_two_belongs_to_nobody() -> None:
    some = everybody(person("a", aliases=("info@x.example",)), person("b", aliases=("INFO@x.example",)))
    with pytest.raises(UserError, match="it belongs to uid=a,ou=people,dc=x and uid=b"):
        choose(Wanted(people=("info@x.example",)), some, CSV, {})


def test_everything_wrong_with_those_named_is_told_at_once() -> None:
    some = everybody(person("a"), person("g", K.GROUP), person("c", K.CONTACT))
    wanted = Wanted(people=("a@x.example", "nobody@x.example", "g@x.example", "c@x.example"))
    with pytest.raises(UserError) as caught:
        choose(wanted, some, CSV, {"ad:a": "first"})
    text = f"{caught.value.about}: {caught.value.message}"
    assert "a@x.example: is in the wave first already; nobody@x.example: nobody in the directory" in text
    assert "g@x.example: is a group; c@x.example: a contact has no mailbox" in text


def test_a_person_named_twice_comes_once() -> None:
    some = everybody(person("a", aliases=("aa@x.example",)))
    found = choose(Wanted(people=("a@x.example", "AA@x.example")), some, CSV, {})
    assert list(found.people) == ["ad:a"]


def test_groups_within_groups_that_contain_each_other() -> None:
    some = everybody(
        person("a"),
        person("off", enabled=False),
        person("g", K.GROUP, members=("ad:h", "smtp:x@else.example")),
        person("h", K.GROUP, members=("ad:g", "ad:a", "ad:off", "ad:gone")),
        person("empty", K.GROUP, members=("smtp:x@else.example",)),
    )
    found = choose(Wanted(groups=("g@x.example",)), some, CSV, {})
    assert list(found.people) == ["ad:a"]
    assert found.passed_over == [("off@x.example", "its account is disabled: decide whether it comes along")]
    with pytest.raises(UserError, match="reaches nobody with a mailbox"):
        choose(Wanted(groups=("empty@x.example",)), some, CSV, {})


def test_whoever_has_moved_is_passed_over_and_told() -> None:
    with pytest.raises(UserError, match="nobody who could move") as caught:
        choose(Wanted(everybody=True), everybody(person("a"), route="local"), CSV, {})
    assert "a@x.example its route is local, not exchange" in caught.value.advice


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"a@x.example\nb@x.example\n", ["a@x.example", "b@x.example"]),
        (b'\xef\xbb\xbfE-Mail;Name\r\n;\r\nSMTP:a@x.example;"M\xc3\xbcller; A"\r\n', ["a@x.example"]),
        ("Имя;Почта\r\nИван;a@x.example\r\n".encode("cp1251"), ["a@x.example"]),
        ("Name\tMail\nÄ\ta@x.example\n".encode("utf-16"), ["a@x.example"]),
        (b"name,mail\nx,Max <a@x.example>\n", ["a@x.example"]),
        (b"header only\n", []),
    ],
)
def test_a_list_of_addresses_in_whatever_form(tmp_path: Path, data: bytes, found: list[str]) -> None:
    (tmp_path / "list.csv").write_bytes(data)
    assert list(addresses_in(tmp_path / "list.csv")) == found


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "it is empty"), (b"mail\na@x.example\nx\n", "no address"), (b'mail\n"a@x.example\n', "line")],
)
def test_a_list_with_a_line_that_is_none_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "list.csv").write_bytes(data)
    if why == "line":  # a quotation mark that is never closed costs nothing
        assert list(addresses_in(tmp_path / "list.csv")) == ["a@x.example"]
        return
    with pytest.raises(UserError, match=why):
        list(addresses_in(tmp_path / "list.csv"))


def test_who_would_be_separated_and_from_whom() -> None:
    some = everybody(person("a"), person("b"), person("c"), person("d"))
    some.by_id["ad:d"] = replace(some.by_id["ad:d"], route="local")
    strong = [Edge("ad:a", f"ad:{other}", tie) for other in "bcd" for tie in (Tie.FULL_ACCESS, Tie.ON_BEHALF)]
    found = list(separated(some, strong, {"ad:a"}, {"ad:c": "later"}))
    assert [(one.other, one.where) for one in found] == [
        *[("b@x.example", "stays on Exchange")] * 2,
        *[("c@x.example", "in the wave later")] * 2,
    ]
    assert list(separated(some, strong, {"ad:a", "ad:b", "ad:c"}, {})) == []


def test_a_mapping_that_changed_stops() -> None:
    one = Known(person("a", mailbox_guid="AA-1"), "a", "exchange", "")
    row = DirectoryAccount("ad:a", "mailbox", "ACC", "aa-1", "a", "uid=a")
    check_mapping(one, row)
    check_mapping(one, None)
    for changed, why in (
        (row._replace(uid="b"), "its uid is a in the directory, b in the ledger"),
        (row._replace(mailbox_guid="aa-2"), "its mailbox is AA-1 in the directory, aa-2 in the ledger"),
        (row._replace(mailbox_guid=None), "its mailbox is AA-1 in the directory, none in the ledger"),
        (row._replace(gone=1.0), "is gone from the source directory"),
    ):
        with pytest.raises(SafetyStop, match=why):
            check_mapping(one, changed)
    move = Move(1, 1, "ad:a", "a@x.example", "a", "mailbox", "a@x.example", "a", "s1")
    check_move(COEXIST, move, one, row)
    with pytest.raises(SafetyStop, match="was planned as z, and is a now"):
        check_move(COEXIST, replace(move, uid="z"), one, row)
    with pytest.raises(SafetyStop, match="was planned for the account z, and would go to a now"):
        check_move(COEXIST, replace(move, target_user="z"), one, row)


def test_users_by_the_templates() -> None:
    settings = COEXIST.model_copy(update={"source_user": "ACME\\{account}", "target_user": "{uid}@{mail}"})
    assert users_of(settings, "u", "m@x", "acc") == ("ACME\\acc", "u@m@x")
    for wrong in ("{nobody}", "{mail", "{0}"):
        with pytest.raises(ConfigError, match="cannot be filled in"):
            users_of(COEXIST.model_copy(update={"source_user": wrong}), "u", "m", "a")
