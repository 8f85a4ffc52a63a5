"""From Active Directory to OpenLDAP: full, changed, stopped, taken back; real Samba, real slapd with a replica."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import ldap
import pytest

from lab.openldap import LOOKUP_PASSWORD, WRITER_PASSWORD, OpenLdap
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.directory import sync as syncing
from mailferry.directory import writer
from mailferry.directory.diff import Operation
from mailferry.errors import Busy, Permanent, SafetyStop, Temporary, UserError
from mailferry.ledger import directory as records
from mailferry.ledger.rows import ChangeState, DirectoryAccount
from mailferry.ops import directory
from mailferry.stack.openldap.settings import MailSchema
from mailferry.wire import ldif
from tests.directories import TARGET_VARIABLE, Pair, group_of, ou_of, until


@pytest.fixture
def pair(samba: Samba, own_openldap: OpenLdap, new_user: Callable[[], str], tmp_path: Path) -> Iterator[Pair]:
    yield Pair(samba, own_openldap, ou_of(samba, new_user()), tmp_path)


@pytest.fixture
def names(new_user: Callable[[], str]) -> list[str]:
    """Account names of this test only."""
    return [new_user() for _ in range(3)]


def people(pair: Pair, names: list[str]) -> list[str]:
    return [pair.ad.add_user(name, parent=pair.ou, title="Engineer") for name in names]


def operations(step: object) -> list[str]:
    return sorted(one.operation.value for one in step.diff.changes)  # type: ignore[attr-defined]


def test_everything_comes_also_to_the_replica(pair: Pair, names: list[str], new_user: Callable[[], str]) -> None:
    first, second, third = people(pair, names)
    shared = pair.ad.add_user(new_user(), parent=pair.ou, msExchRecipientTypeDetails="4", userAccountControl="514")
    pair.ad.add_user(new_user(), parent=pair.ou, msExchRecipientTypeDetails="16", userAccountControl="514", cn="Room 1")
    inner = group_of(pair.ad, pair.ou, f"Inner {names[0]}", [second])
    group_of(pair.ad, pair.ou, f"Outer {names[0]}", [first, inner], managedBy=third)
    group_of(pair.ad, pair.ou, f"Empty {names[0]}")
    mail = f"{names[0]}@out.example"
    contact = {
        "objectClass": "contact",
        "displayName": "Zoë (Out, side)",
        "mail": mail,
        "targetAddress": f"SMTP:{mail}",
    }
    pair.ad.add(f"CN=Zoe {names[0]},{pair.ou}", {**contact, "proxyAddresses": f"SMTP:{mail}", "mailNickname": "z"})
    pair.ad.modify(first, replace={"manager": third, "c": "DE", "info": "on Tuesdays", "description": "builds ships"})
    with OpenLdap(provider=pair.target) as replica:
        _, step = pair.sync()
        assert step.written is not None and not step.written.failed
        assert operations(step) == ["add"] * 9
        here = pair.entries()
        until(lambda: pair.entries(server=replica) == here)
    assert len(here) == 9
    person = pair.entry(f"uid={names[0]},ou=people")
    assert person["manager"] == {f"uid={names[2]},ou=people,{pair.target.suffix}".encode()}
    assert person["title"] == {b"Engineer"}
    assert (person["c"], person["description"]) == ({b"DE"}, {b"on Tuesdays", b"builds ships"})
    legacy = f"IMCEAEX-_o=Acme_ou=First+20Administrative+20Group_cn=Recipients_cn={names[0]}@acme.example"
    assert person["mailLocalAddress"] == {f"{names[0]}@acme.example".encode(), legacy.encode()}
    outer = pair.entry(f"cn=Outer {names[0]},ou=groups")
    assert outer["member"] == {
        f"uid={names[0]},ou=people,{pair.target.suffix}".encode(),
        f"cn=Inner {names[0]},ou=groups,{pair.target.suffix}".encode(),
    }
    assert outer["owner"] == person["manager"]
    assert pair.entry(f"cn=Empty {names[0]},ou=groups")["member"] == {pair.target.settings.nobody_dn.encode()}
    assert any(dn.endswith(f",ou=shared,{pair.target.suffix}") for dn in here), shared
    assert any(dn.endswith(f",ou=resources,{pair.target.suffix}") for dn in here)
    (outside,) = [dn for dn in here if dn.endswith(f",ou=contacts,{pair.target.suffix}")]
    assert here[outside]["cn"] == {"Zoë (Out, side)".encode()}
    _, again = pair.sync()
    assert again.diff.changes == ()


def test_a_full_comparison_finds_every_change(pair: Pair, names: list[str], new_user: Callable[[], str]) -> None:
    first, second, third = people(pair, names)
    group = group_of(pair.ad, pair.ou, f"G {names[0]}", [first, second])
    pair.sync()
    pair.ad.modify(first, replace={"title": "Chief", "telephoneNumber": "+49 1"})
    elsewhere = f"OU=Elsewhere,{pair.ou}"
    pair.ad.add(elsewhere, {"objectClass": "organizationalUnit"})
    pair.ad.move(pair.ad.rename(second, "Renamed"), elsewhere)
    pair.ad.modify(group, replace={"displayName": f"H {names[0]}"}, delete={"member": [first]})
    pair.ad.modify(pair.ad.dn(names[1]), replace={"msExchRecipientTypeDetails": "4"})
    pair.ad.delete(third)
    pair.ad.add_user(new := new_user(), parent=elsewhere)
    _, step = pair.sync()
    assert step.written is not None and not step.written.failed
    assert set(operations(step)) == {"add", "delete", "modify", "rename"}
    assert {dn.partition(",dc=")[0] for dn in pair.entries()} == {
        f"uid={names[0]},ou=people",
        f"uid={names[1]},ou=shared",
        f"uid={new},ou=people",
        f"cn=H {names[0]},ou=groups",
    }
    assert pair.entry(f"uid={names[0]},ou=people")["title"] == {b"Chief"}
    renamed = pair.entry(f"cn=H {names[0]},ou=groups")
    assert renamed["member"] == {f"uid={names[1]},ou=shared,{pair.target.suffix}".encode()}
    assert renamed["cn"] == {f"H {names[0]}".encode()}
    assert pair.sync()[1].diff.changes == ()


def test_an_address_goes_from_one_to_another(pair: Pair, names: list[str]) -> None:
    first, second, _ = people(pair, names)
    pair.sync()
    for dn, mail in (
        (first, "swap@acme.example"),
        (second, f"{names[0]}@acme.example"),
        (first, f"{names[1]}@acme.example"),
    ):
        pair.ad.modify(dn, replace={"mail": mail, "proxyAddresses": f"SMTP:{mail}"})
    _, step = pair.sync()
    assert step.written is not None and not step.written.failed
    assert pair.entry(f"uid={names[0]},ou=people")["mail"] == {f"{names[1]}@acme.example".encode()}
    assert pair.entry(f"uid={names[1]},ou=people")["mail"] == {f"{names[0]}@acme.example".encode()}


def test_what_is_the_targets_stays(pair: Pair, names: list[str]) -> None:
    people(pair, names)
    foreign = f"uid={names[1]},ou=people,{pair.target.suffix}"
    link = pair.target.connect()
    theirs = {"objectClass": [b"inetOrgPerson"], "cn": [b"x"], "sn": [b"x"], "uid": [names[1].encode()]}
    link.add_s(foreign, list(theirs.items()))
    _, step = pair.sync()
    assert [one.code for one in step.planned.findings if one.severity.value == "error"] == ["target-taken"]
    own = f"uid={names[0]},ou=people,{pair.target.suffix}"
    changes = {"mailferryRoute": b"local", "mailHost": b"store1", "title": b"Changed", "preferredLanguage": b"de"}
    link.modify_s(own, [(ldap.MOD_REPLACE, name, [value]) for name, value in changes.items()])
    _, again = pair.sync()
    assert [(one.dn, list(one.after)) for one in again.diff.changes] == [(own, ["title"])]
    entry = pair.entries()[own]
    assert (entry["mailferryRoute"], entry["mailHost"], entry["title"], entry["preferredLanguage"]) == (
        {b"local"},
        {b"store1"},
        {b"Engineer"},
        {b"de"},
    )
    assert pair.entries(f"(uid={names[1]})")[foreign] == {name: set(values) for name, values in theirs.items()}
    link.unbind_s()


def test_names_that_would_break_out(pair: Pair, names: list[str]) -> None:
    hostile = "*)(uid=*)\\,cn=admin"
    mail = f"{names[0]}@out.example"
    values = {"objectClass": "contact", "displayName": hostile, "mail": mail, "targetAddress": f"SMTP:{mail}"}
    pair.ad.add(f"CN={names[0]},{pair.ou}", {**values, "mailNickname": "h", "proxyAddresses": f"SMTP:{mail}"})
    pair.ad.add_user(names[1], parent=pair.ou, displayName='#a;b<c>=+"d ')
    _, step = pair.sync()
    assert step.written is not None and not step.written.failed
    (contact,) = [one for one in pair.entries().values() if one["mailferryKind"] == {b"contact"}]
    assert contact["cn"] == {hostile.encode()}
    assert pair.sync()[1].diff.changes == ()


def test_the_brake(pair: Pair, names: list[str]) -> None:
    first, second, third = people(pair, names)
    pair.configure("[directory.brake]\npercent = 0\nentries = 2")
    pair.sync()
    before = pair.entries()
    for dn in (first, second):
        pair.ad.modify(dn, replace={"title": "Chief"})
    pair.ad.delete(third)
    with pytest.raises(SafetyStop, match=r"3 of 3 entries .* 2 modify, 0 rename, 1 delete.*stops at 2") as caught:
        pair.sync()
    assert "--allow-changes 3" in caught.value.advice
    assert pair.entries() == before
    assert "no change; the target: 3 of 3 entries would be changed" in pair.cli("status").stdout.splitlines()[-1]
    assert len(pair.diff().diff.changes) == 3
    pair.sync(allowed=3)
    assert len(pair.entries()) == 2


def test_an_empty_source_empties_nothing(pair: Pair, names: list[str]) -> None:
    for dn in people(pair, names):
        pair.ad.add_user(dn.partition(",")[0][3:] + "x", parent=pair.ou)
    pair.sync()
    before = pair.entries()
    pair.configure('exclude = ["*"]')
    with pytest.raises(SafetyStop, match="gives nobody"):
        pair.sync(allowed=1000)
    assert pair.entries() == before


def test_somebody_else_under_the_same_account(pair: Pair, names: list[str]) -> None:
    first, *_ = people(pair, names)
    pair.sync()
    before = pair.entries()
    pair.ad.delete(first)
    pair.ad.add_user(names[0], parent=pair.ou)
    with pytest.raises(SafetyStop, match=f"account name {names[0]}, which was that of ad:"):
        pair.sync()
    assert pair.entries() == before
    old = next(one for one in _accounts(pair) if one.uid == names[0])
    (pair.folder / "exceptions.csv").write_text(f"who,replaces\n{names[0]},{old.source_id}\n")
    pair.configure('exceptions = "exceptions.csv"')
    _, step = pair.sync()
    assert step.written is not None and not step.written.failed
    assert set(pair.entries()) == set(before)


def _accounts(pair: Pair) -> list[DirectoryAccount]:
    with pair.place() as place:
        return records.accounts(place.ledger, place.directory.id)


def test_a_bad_sync_is_taken_back(pair: Pair, names: list[str], new_user: Callable[[], str]) -> None:
    first, second, third = people(pair, names)
    group = group_of(pair.ad, pair.ou, f"G {names[0]}", [first, second])
    pair.sync()
    before = pair.entries()
    pair.ad.modify(first, replace={"title": "Wrong"})
    pair.ad.modify(second, replace={"msExchRecipientTypeDetails": "4", "title": "Wrong"})
    pair.ad.modify(group, replace={"displayName": "Wrong", "info": "wrong"})
    pair.ad.delete(third)
    pair.ad.add_user(new_user(), parent=pair.ou)
    bad, step = pair.sync()
    after = pair.entries()
    assert len(step.diff.changes) >= 6
    undone = pair.undo(bad, dry_run=True)
    assert pair.entries() == after
    undone = pair.undo(bad)
    assert (undone.kept, undone.written.failed) == ([], [])
    assert pair.entries() == before
    with pair.place() as place:
        assert {one.state for one in records.changes(place.ledger, place.directory.id, bad)} == {ChangeState.UNDONE}
    with pytest.raises(UserError, match="taken back already"):
        pair.undo(bad)
    pair.sync()
    assert pair.entries() == after


def test_taking_back_leaves_what_others_changed_since(pair: Pair, names: list[str]) -> None:
    first, second, _ = people(pair, names)
    pair.sync()
    for dn in (first, second):
        pair.ad.modify(dn, replace={"title": "Wrong"})
    bad, _ = pair.sync()
    link = pair.target.connect()
    own = f"uid={names[0]},ou=people,{pair.target.suffix}"
    link.modify_s(own, [(ldap.MOD_REPLACE, "title", [b"By hand"])])
    link.unbind_s()
    undone = pair.undo(bad)
    assert [dn for dn, _ in undone.kept] == [own]
    assert undone.written.done == 1
    assert pair.entry(f"uid={names[0]},ou=people")["title"] == {b"By hand"}
    assert pair.entry(f"uid={names[1]},ou=people")["title"] == {b"Engineer"}


def test_a_target_that_refuses_everything_is_asked_no_longer(
    pair: Pair, new_user: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dns = people(pair, [new_user() for _ in range(21)])
    pair.sync()
    for dn in dns:
        pair.ad.modify(dn, replace={"title": "Chief"})
    writer_dn, lookup_dn = pair.target.settings.writer_dn, pair.target.settings.lookup_dn
    pair.config.write_text(pair.config.read_text().replace(writer_dn, lookup_dn))
    monkeypatch.setenv(TARGET_VARIABLE, LOOKUP_PASSWORD)
    with pytest.raises(Permanent, match="refuses every change"):
        pair.sync(allowed=21)
    pair.configure()
    monkeypatch.setenv(TARGET_VARIABLE, WRITER_PASSWORD)
    assert operations(pair.sync(allowed=21)[1]) == ["modify"] * 21


def test_a_refused_entry_does_not_stop_the_others(pair: Pair, names: list[str]) -> None:
    people(pair, names)
    link = pair.target.connect()
    taken = f"{names[0]}@acme.example".encode()
    values = {"objectClass": [b"inetOrgPerson"], "cn": [b"x"], "sn": [b"x"], "mail": [taken]}
    link.add_s(f"cn=x,ou=people,{pair.target.suffix}", list(values.items()))
    link.unbind_s()
    run_id, step = pair.sync()
    assert step.written is not None
    assert [dn for dn, _ in step.written.failed] == [f"uid={names[0]},ou=people,{pair.target.suffix}"]
    assert len(pair.entries()) == 2
    with pair.place() as place:
        states = [(one.state, one.error) for one in records.changes(place.ledger, place.directory.id, run_id)]
    assert [error is not None for state, error in states if state is ChangeState.FAILED] == [True]
    shown = pair.cli("sync").stdout
    assert f"\n  failed: uid={names[0]},ou=people,{pair.target.suffix}: the value breaks a constraint" in shown
    assert "“non-unique”: another entry there has this value" in shown


def test_one_process_at_a_time(pair: Pair, names: list[str]) -> None:
    people(pair, names)
    with pair.place() as place, records.held(place.ledger, place.directory.id), pytest.raises(Busy):
        pair.sync()
    pair.sync()


def test_a_target_that_is_away(pair: Pair, names: list[str]) -> None:
    people(pair, names)
    pair.target.halt()
    with pytest.raises(Temporary):
        pair.sync()
    pair.target.start()
    pair.sync()
    assert len(pair.entries()) == 3


def test_a_captured_password_goes_with_the_sources(pair: Pair, names: list[str]) -> None:
    first, *_ = people(pair, names)
    pair.sync()
    own = f"uid={names[0]},ou=people,{pair.target.suffix}"
    link = pair.target.connect()
    link.modify_s(own, [(ldap.MOD_REPLACE, "mailferryPasswordFrom", [b"capture"])])
    link.modify_s(own, [(ldap.MOD_REPLACE, "userPassword", [b"kept-of-it"])])
    link.unbind_s()
    pair.ad.modify(first, replace={"title": "Chief"})
    pair.sync()
    assert "userPassword" in pair.entries()[own]
    pair.ad.set_password(first, PASSWORD + "-new1")
    run_id, _ = pair.sync()
    assert "userPassword" not in pair.entries()[own]
    with pair.place() as place:
        assert all(
            "userPassword" not in {**one.before, **one.after}
            for one in records.changes(place.ledger, place.directory.id, run_id)
        )


def test_from_the_command_line(pair: Pair, names: list[str]) -> None:
    people(pair, names)
    diff = pair.cli("diff")
    assert diff.returncode == 1, diff.stderr
    assert f"add uid={names[0]},ou=people,{pair.target.suffix}\n  + objectClass: inetOrgPerson" in diff.stdout
    assert not pair.entries()
    document = json.loads(pair.cli("diff", "--json").stdout)
    assert (document["add"], [one["operation"] for one in document["changes"]]) == (3, ["add"] * 3)
    assert document["changes"][0]["after"]["sn"]
    done = pair.cli("sync")
    assert (done.returncode, done.stderr) == (0, "")
    assert "run 1: 3 recipients, 0 entries; 3 add" in done.stdout
    assert pair.cli("diff").returncode == 0
    status = json.loads(pair.cli("status", "--json").stdout)
    assert status["runs"][0]["changes"] == {"add": {"done": 3}}
    assert "3 add" in pair.cli("status").stdout
    listed = pair.cli("accounts").stdout.splitlines()
    assert listed[0] == "source_user,target_user"
    assert set(listed[1:]) == {f"{name},{name}" for name in names}
    dry = pair.cli("undo", "1", "--dry-run")
    assert "would be taken back: 3, stays: 0" in dry.stdout
    assert len(pair.entries()) == 3
    assert pair.cli("undo", "1").returncode == 0
    assert not pair.entries()
    assert "run 1: it is taken back already" in pair.cli("undo", "1").stderr
    assert pair.cli("undo", "77").returncode == 64
    assert PASSWORD not in diff.stdout + done.stdout + json.dumps(status)


def test_undo_leaves_an_entry_to_which_somebody_has_added(pair: Pair, names: list[str]) -> None:
    people(pair, names)
    run_id, _ = pair.sync()
    own = f"uid={names[0]},ou=people,{pair.target.suffix}"
    pair.target.connect().modify_s(own, [(ldap.MOD_ADD, "preferredLanguage", [b"de"])])
    done = pair.cli("undo", str(run_id))
    assert done.returncode == 1
    assert f"stays: {own}: somebody changed the entry since" in done.stdout
    assert list(pair.entries()) == [own]


def test_sync_names_the_first_who_are_left_out_and_counts_the_others(pair: Pair, new_user: Callable[[], str]) -> None:
    for name in [new_user() for _ in range(5)]:
        bad = f"{name}@@acme.example"
        pair.ad.add_user(name, parent=pair.ou, mail=bad, proxyAddresses=f"SMTP:{bad}")
    done = pair.cli("sync")
    assert done.returncode == 1
    assert done.stderr.count("left out:") == 3
    assert done.stderr.endswith("  … and 2 more findings\n")
    assert "5 left out (see `mailferry directory clean`)" in done.stdout


def test_who_has_an_open_error_keeps_the_entry_until_somebody_decides(pair: Pair, names: list[str]) -> None:
    first, *_ = people(pair, names)
    text = pair.config.read_text()
    pair.config.write_text(text.replace("[directory.source]", '[directory]\ndecisions = "d.csv"\n[directory.source]'))
    pair.sync()
    pair.ad.modify(first, replace={"mail": "two@@acme.example", "proxyAddresses": "SMTP:two@@acme.example"})
    result = pair.cli("clean")
    assert result.returncode == 1
    assert "address-malformed" in result.stdout
    _, step = pair.sync()
    assert step.diff.changes == ()
    assert len(step.planned.cleaned.left_out) == 1
    file = pair.folder / "d.csv"
    header, row = file.read_text().splitlines()
    columns = header.split(",")
    cells = row.split(",")
    cells[columns.index("action")] = "leave-out"
    file.write_text(f"{header}\n{','.join(cells)}\n")
    _, step = pair.sync()
    assert [one.operation for one in step.diff.changes] == [Operation.DELETE]


@pytest.fixture
def in_bulk(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings with a bulk load, whose commands halt and start the lab's slapd; the commands that were given."""
    given: list[str] = []

    def command(line: str) -> None:
        given.append(line)
        pair.target.halt() if line == "stop" else pair.target.start()

    monkeypatch.setattr(directory, "command", command)
    monkeypatch.setattr(syncing, "BULK_FROM", 1)
    bulk = f'bulk = "{pair.target.settings.config_dir}"\nbulk_stop = "stop"\nbulk_start = "start"\n'
    pair.config.write_text(pair.config.read_text().replace("[directory.follow]", f"{bulk}[directory.follow]"))
    return given


def test_a_first_load_through_slapadd(pair: Pair, names: list[str], in_bulk: list[str]) -> None:
    first, second, third = people(pair, names)
    group_of(pair.ad, pair.ou, f"G {names[0]}", [first, second])
    run_id, step = pair.sync()
    assert step.written is not None and step.written.done == 4
    assert in_bulk == ["stop", "start"]
    assert len(pair.entries()) == 4
    pair.ad.modify(third, replace={"title": "Chief"})
    _, again = pair.sync()
    assert [one.operation for one in again.diff.changes] == [Operation.MODIFY]
    assert in_bulk == ["stop", "start"]
    with pair.place() as place:
        assert {one.state for one in records.changes(place.ledger, place.directory.id, run_id)} == {ChangeState.DONE}


def test_what_slapadd_refuses_goes_over_ldap(
    pair: Pair, names: list[str], in_bulk: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    people(pair, names)
    true = ldif.emit
    monkeypatch.setattr(writer, "emit", lambda dn, values: true(dn, {**values, "noSuchAttribute": (b"x",)}))
    run_id, step = pair.sync()
    assert step.written is not None and step.written.done == 3
    assert len(pair.entries()) == 3
    with pair.place() as place:
        states = [one.state for one in records.changes(place.ledger, place.directory.id, run_id)]
    assert states == [ChangeState.FAILED] * 3 + [ChangeState.DONE] * 3


def test_a_slapd_that_a_killed_load_left_stopped(pair: Pair, names: list[str], in_bulk: list[str]) -> None:
    people(pair, names)
    pair.target.halt()
    pair.sync()
    assert in_bulk == ["start", "stop", "start"]
    assert len(pair.entries()) == 3


def test_a_run_without_changes_looks_at_nothing_until_anything_changes(pair: Pair, names: list[str]) -> None:
    first, _, third = people(pair, names)
    pair.sync()
    assert pair.sync()[1].same is None
    quick = pair.sync()[1]
    assert quick.same is not None
    assert (quick.diff.changes, quick.diff.wanted) == ((), 3)
    assert pair.sync(full=True)[1].same is None
    pair.ad.modify(first, replace={"title": "Chief"})
    assert operations(pair.sync()[1]) == ["modify"]

    def quiet() -> None:
        """In step again, and known to be."""
        until(lambda: pair.sync()[1].same is not None)

    quiet()
    link = pair.target.connect()
    link.modify_s(f"uid={names[1]},ou=people,{pair.target.suffix}", [(ldap.MOD_REPLACE, "title", [b"By hand"])])
    link.unbind_s()
    assert operations(pair.sync()[1]) == ["modify"]
    quiet()
    pair.ad.delete(third)
    assert operations(pair.sync()[1]) == ["delete"]
    quiet()
    pair.configure('exceptions = "exceptions.csv"')
    (pair.folder / "exceptions.csv").write_text(f"who,exclude\n{names[1]},yes\n")
    assert operations(pair.sync()[1]) == ["delete"]
    quiet()
    (pair.folder / "exceptions.csv").write_text("who,exclude\n")
    assert operations(pair.sync()[1]) == ["add"]
    quiet()
    with pair.following():
        pair.ad.modify(first, replace={"title": "Again"})
        until(lambda: pair.entry(f"uid={names[0]},ou=people").get("title") == {b"Again"})
    assert pair.sync()[1].same is None


def test_an_address_book_in_a_file(own_openldap: OpenLdap, samba: Samba, tmp_path: Path) -> None:
    pair = Pair(samba, own_openldap, "OU=unused", tmp_path)
    text = pair.config.read_text()
    start, end = text.index("[directory.source]"), text.index("[directory.target]")
    pair.config.write_text(f'{text[:start]}[directory.source]\nkind = "csv"\nurl = "gal.csv"\n{text[end:]}')
    book = tmp_path / "gal.csv"
    book.write_text(
        "First Name,Last Name,E-mail Address,Business Phone\n"
        'Zoë,"Li, van",zoe@out.example,+49 30 1\nMax,Öz,max@out.example,\nEve,Doe,,\n',
        encoding="utf-8",
    )
    _, step = pair.sync()
    assert step.written is not None and not step.written.failed
    assert {tuple(one["mail"]) for one in pair.entries().values()} == {(b"zoe@out.example",), (b"max@out.example",)}
    book.write_text(book.read_text(encoding="utf-8").replace("+49 30 1", "+49 30 2"), encoding="utf-8")
    assert operations(pair.sync()[1]) == ["modify"]
    refused = pair.cli("sync", "--follow")
    assert refused.returncode == 64
    assert "a file cannot be followed" in refused.stderr


def test_in_the_schema_of_qmail(samba: Samba, new_user: Callable[[], str], names: list[str], tmp_path: Path) -> None:
    with OpenLdap(mail_schema=MailSchema.QMAIL) as target:
        pair = Pair(samba, target, ou_of(samba, new_user()), tmp_path)
        text = pair.config.read_text()
        pair.config.write_text(text.replace("[directory.source]", '[directory]\nschema = "qmail"\n[directory.source]'))
        first, second, third = people(pair, names)
        samba.modify(third, replace={"altRecipient": first, "mDBUseDefaults": "FALSE", "mDBOverQuotaLimit": "1024"})
        group_of(samba, pair.ou, f"G {names[0]}", [first])
        _, step = pair.sync()
        assert step.written is not None and not step.written.failed
        person = pair.entry(f"uid={names[2]},ou=people")
        assert b"qmailUser" in person["objectClass"]
        assert person["mailForwardingAddress"] == {f"{names[0]}@acme.example".encode()}
        for dn, mail in ((first, "swap"), (second, names[0]), (first, names[1])):  # qmailUser must have an address
            mail = f"{mail}@acme.example"
            samba.modify(dn, replace={"mail": mail, "proxyAddresses": f"SMTP:{mail}"})
        _, step = pair.sync()
        assert step.written is not None and not step.written.failed
        assert pair.entry(f"uid={names[0]},ou=people")["mail"] == {f"{names[1]}@acme.example".encode()}
        assert pair.sync()[1].diff.changes == ()


@pytest.mark.parametrize("schema", ["inet", "qmail"])
def test_a_whole_organisation_with_its_dirt(samba_acme: Samba, tmp_path: Path, schema: str) -> None:
    """Nothing of Acme's is refused by slapd, and a second look finds nothing to do."""
    with OpenLdap(mail_schema=MailSchema(schema)) as target:
        pair = Pair(samba_acme, target, samba_acme.base, tmp_path)
        text = pair.config.read_text().replace('"acme.example"]', '"acme.example", "acme-labs.example"]')
        pair.config.write_text(
            text.replace("[directory.source]", f'[directory]\nschema = "{schema}"\n[directory.source]')
        )
        run_id, step = pair.sync()
        assert step.written is not None and not step.written.failed
        assert len(pair.entries()) == step.diff.wanted > 90
        assert pair.sync()[1].diff.changes == ()
        assert pair.undo(run_id).written.done == step.diff.wanted
        assert not pair.entries()
