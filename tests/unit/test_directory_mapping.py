"""Who becomes whom: uids, DNs, exceptions, identities that change hands, and names that try to break out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.config.settings import Branches, Rules
from mailferry.directory.exceptions import NO_EXCEPTIONS, Exceptions, read_exceptions
from mailferry.directory.letters import as_uid, one_line
from mailferry.directory.mapping import Placing, Register, dn_key, gone, place, register_of
from mailferry.errors import ConfigError, SafetyStop, UserError
from mailferry.ledger.rows import DirectoryAccount
from mailferry.model.recipient import Recipient, RecipientKind, Severity
from mailferry.wire import dn as names

SUFFIX = "dc=acme,dc=example"


def person(number: int = 1, account: str | None = "alice", **more: object) -> Recipient:
    one = Recipient(f"ad:{number}", RecipientKind.MAILBOX, f"CN={number}", "Alice Ålund", account)
    return replace(one, **{"mail": f"alice{number}@acme.example", **more})  # type: ignore[arg-type]


def contact(number: int, name: str, mail: str) -> Recipient:
    return Recipient(f"ad:{number}", RecipientKind.CONTACT, f"CN={number}", name, mail=mail)


def mapped(
    *recipients: Recipient,
    register: Register | None = None,
    exceptions: Exceptions = NO_EXCEPTIONS,
    **rules: object,
) -> Placing:
    made = Rules.model_validate(rules)
    return place(recipients, Register() if register is None else register, made, SUFFIX, Branches(), exceptions)


def uids(done: Placing) -> dict[str, str]:
    return {source_id: one.uid for source_id, one in done.placed.items()}


def test_rules_give_uid_and_dn() -> None:
    done = mapped(
        person(1, "Alice"),
        person(2, None, mail="Bob.Öhm@acme.example"),
        replace(person(3, "room1"), kind=RecipientKind.ROOM),
        replace(person(4, "sales"), kind=RecipientKind.SHARED),
        contact(5, "Carl, Jr.", "carl@x.example"),
        Recipient("ad:6", RecipientKind.GROUP, "CN=6", "All + everyone", "all", mail="all@acme.example"),
    )
    assert {one.dn for one in done.placed.values()} == {
        "uid=alice,ou=people,dc=acme,dc=example",
        "uid=bob.oehm,ou=people,dc=acme,dc=example",
        "uid=room1,ou=resources,dc=acme,dc=example",
        "uid=sales,ou=shared,dc=acme,dc=example",
        "cn=Carl\\, Jr.,ou=contacts,dc=acme,dc=example",
        "cn=All \\+ everyone,ou=groups,dc=acme,dc=example",
    }
    assert {row.source_id for row in done.rows} == {f"ad:{n}" for n in range(1, 7)}


def test_templates_fall_back_and_may_name_any_form() -> None:
    one = person(1, None, details={"givenName": ("Jürgen",), "sn": ("Groß",)})
    done = mapped(one, uid="{employeeNumber}|{givenName}.{sn}", person_dn="cn={name} <{mail}>")
    assert done.placed["ad:1"].uid == "juergen.gross"
    assert done.placed["ad:1"].dn == "cn=Alice Ålund \\<alice1@acme.example\\>,ou=people,dc=acme,dc=example"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"uid": "{surname}"}, "unknown field {surname}"),
        ({"uid": "fixed"}, "names no field"),
        ({"uid": "{sn"}, "braces do not match"),
        ({"person_dn": "{uid}"}, "not of the form"),
        ({"group_dn": "cn={nobody}"}, "unknown field {nobody}"),
    ],
)
def test_senseless_templates(rules: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        place([person()], Register(), Rules.model_validate(rules), SUFFIX, Branches())


def test_without_any_uid_a_finding() -> None:
    done = mapped(person(1, None, mail=None))
    assert not done.placed
    assert [(one.code, one.severity, one.about) for one in done.findings] == [("uid-missing", Severity.ERROR, "ad:1")]


def test_two_who_want_one_uid_both_wait() -> None:
    done = mapped(person(1), person(2), person(3, "carl"))
    assert uids(done) == {"ad:3": "carl"}
    assert [(one.code, one.about) for one in done.findings] == [
        ("uid-claimed-twice", "ad:1"),
        ("uid-claimed-twice", "ad:2"),
    ]


def test_who_has_a_uid_keeps_it() -> None:
    register = Register()
    assert uids(mapped(person(1), register=register)) == {"ad:1": "alice"}
    again = mapped(person(1, "renamed"), register=register)
    assert uids(again) == {"ad:1": "alice"}
    assert [row.account for row in again.rows] == ["renamed"]
    assert not mapped(person(1, "renamed"), register=register).rows
    later = mapped(person(1, "renamed"), person(2, "alice"), register=register)
    assert uids(later) == {"ad:1": "alice"}
    assert [one.about for one in later.findings] == ["ad:2"]


def test_the_ledger_gives_the_register_back() -> None:
    first = Register()
    rows = mapped(person(1), contact(2, "Carl", "c@x"), register=first).rows
    assert not mapped(person(1), contact(2, "Carl", "c@x"), register=register_of(rows)).rows


def test_a_gone_person_keeps_the_uid() -> None:
    register = Register()
    mapped(person(1), register=register)
    (row,) = gone(register, ["ad:1", "ad:unknown"], 5.0)
    assert row.gone == 5.0
    assert not gone(register, ["ad:1"], 6.0)
    done = mapped(person(2, "other", mail="alice@acme.example"), register=register, uid="{mail_local}")
    assert [one.code for one in done.findings] == ["uid-claimed-twice"]
    (back,) = mapped(person(1), register=register).rows
    assert back.gone is None


def test_an_account_name_in_other_hands_stops() -> None:
    register = Register()
    mapped(person(1), register=register)
    with pytest.raises(SafetyStop, match="account name ALICE, which was that of ad:1"):
        mapped(person(2, "ALICE"), register=register)
    assert list(register.by_id) == ["ad:1"]


def test_another_person_with_a_former_account_name_gets_the_uid_of_the_exceptions(tmp_path: Path) -> None:
    register = Register()
    mapped(person(1), register=register)
    file = tmp_path / "exceptions.csv"
    file.write_text("who;uid;dn;exclude;replaces\nad:2;a.smith;;;\n")  # as spreadsheets write it in much of Europe
    done = mapped(person(2), register=register, exceptions=read_exceptions(file))
    assert uids(done) == {"ad:2": "a.smith"}
    assert uids(mapped(person(2), register=register)) == {"ad:2": "a.smith"}


def test_a_name_goes_over_from_somebody_alive() -> None:
    register = Register()
    mapped(person(1), register=register)
    done = mapped(person(1, "alice.old"), person(2, "alice"), register=register, uid="{account}")
    assert uids(done) == {"ad:1": "alice"}
    assert [one.code for one in done.findings] == ["uid-claimed-twice"]


def test_another_mailbox_stops() -> None:
    register = Register()
    mapped(person(1), register=register)
    mapped(person(1, mailbox_guid="AAAA"), register=register)
    mapped(person(1, mailbox_guid="aaaa"), register=register)
    mapped(person(1), register=register)
    with pytest.raises(SafetyStop, match="another mailbox: it is bbbb, the ledger knows aaaa") as caught:
        mapped(person(1, mailbox_guid="BBBB"), register=register)
    assert "replaces" in caught.value.advice


def test_exceptions(tmp_path: Path) -> None:
    file = tmp_path / "exceptions.csv"
    file.write_text(
        "\ufeffwho,uid,dn,exclude,replaces\n"
        'ad:1,boss,"cn=The Boss",,\n'
        "CARL,,,yes,\n"
        "new@acme.example,dora,,no,ad:old\n"
        "rebuilt,,,,AAAA\n"
    )
    exceptions = read_exceptions(file)
    register = register_of(
        [
            DirectoryAccount("ad:old", "mailbox", "dora", None, "dora", "uid=dora,ou=people,dc=acme,dc=example"),
            DirectoryAccount("ad:5", "mailbox", "rebuilt", "aaaa", "rebuilt", "uid=rebuilt,ou=people,dc=acme"),
        ]
    )
    done = mapped(
        person(1),
        person(3, "carl"),
        person(4, "dora", mail="NEW@acme.example"),
        person(5, "rebuilt", mailbox_guid="bbbb"),
        register=register,
        exceptions=exceptions,
    )
    assert uids(done) == {"ad:1": "boss", "ad:4": "dora", "ad:5": "rebuilt"}
    assert done.placed["ad:1"].dn == "cn=The Boss,ou=people,dc=acme,dc=example"
    assert [one.id for one in done.excluded] == ["ad:3"]
    assert "ad:old" not in register.by_id
    stale = exceptions.stale([person(1), person(4, "dora", mail="NEW@acme.example"), person(5, "rebuilt")])
    assert [(one.code, one.where, one.value) for one in stale] == [("exception-stale", f"{file}:3", "carl")]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("who,uid,name\n", 1, "unknown column 'name'"),
        ("uid,dn\n", 1, "the column who is missing"),
        ("who,uid\n,x\n", 2, "who is empty"),
        ("who,uid\na,x\nb,Ä b\n", 3, "not a uid"),
        ("who,uid\na,x\nb,x\n", 3, "uid x stands in line 2"),
        ("who,uid\na,x\nA,y\n", 3, "who a stands in line 2"),
        ("who,dn\na,nonsense\n", 2, "not a distinguished name"),
        ("who,exclude\na,perhaps\n", 2, "exclude is yes or no"),
        ("who,uid\na,x,y\n", 2, "more fields than columns"),
        ('who,uid\na,"x\n', 2, "not CSV"),
    ],
)
def test_faulty_exceptions_name_the_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = tmp_path / "e.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_exceptions(file)
    assert caught.value.about == f"{file}:{line}"


def test_exclusions() -> None:
    done = mapped(
        person(1, "svc-backup"),
        person(2, "bob"),
        person(3, "eve", aliases=("EVE@old.example",)),
        replace(person(4, "plain"), kind=RecipientKind.ACCOUNT),
        Recipient("ad:5", RecipientKind.GROUP, "CN=5", "security only", "sec"),
        exclude=["svc-*", "*@old.example"],
    )
    assert uids(done) == {"ad:2": "bob"}
    assert len(done.excluded) == 4
    kept = mapped(replace(person(4, "plain"), kind=RecipientKind.ACCOUNT), accounts_without_mail=True)
    assert uids(kept) == {"ad:4": "plain"}


def test_namesakes_are_told_apart_and_stay_so() -> None:
    register = Register()
    two = (contact(1, "Anna Li", "a@x.example"), contact(2, "anna  li", "b@x.example"))
    done = mapped(*two, register=register)
    assert [done.placed[one].dn for one in ("ad:1", "ad:2")] == [
        "cn=Anna Li,ou=contacts,dc=acme,dc=example",
        "cn=anna li (b@x.example),ou=contacts,dc=acme,dc=example",
    ]
    assert [one.code for one in done.findings] == ["name-twice"]
    gone(register, ["ad:1"], 1.0)
    assert not mapped(two[1], register=register).rows


@given(st.text(max_size=30))
def test_no_name_breaks_out_of_its_dn(name: str) -> None:
    done = mapped(contact(1, name, "a@x.example"))
    parsed = names.parse(done.placed["ad:1"].dn)
    assert parsed[1:] == names.parse("ou=contacts,dc=acme,dc=example")
    assert parsed[0] == (("cn", one_line(name) or "a@x.example"),)


@given(st.text(max_size=80))
def test_a_uid_is_plain_and_settled(text: str) -> None:
    uid = as_uid(text)
    assert set(uid) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-+@")
    assert len(uid) <= 64
    assert as_uid(uid) == uid
    assert uid == "" or (uid[0].isalnum() and uid[-1].isalnum())


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("Jürgen Groß", "juergen.gross"),
        ("Юлия Щукина", "yuliya.shchukina"),
        ("Łukasz Żółć", "lukasz.zolc"),
        ("O'Brien-Smith", "obrien-smith"),
        ("José  Núñez ", "jose.nunez"),
        ("Ελένη", "eleni"),
        ("İbrahim", "ibrahim"),
        ("王伟", ""),
        ("*)(uid=*\\,\0", "uid"),
    ],
)
def test_names_as_uids(text: str, uid: str) -> None:
    assert as_uid(text) == uid


def test_dn_keys() -> None:
    assert dn_key("CN=A\\, b , OU=x") == dn_key("cn=a\\2C  B,ou=X")
    assert dn_key("cn=a\\,b") != dn_key("cn=a,b=c")
