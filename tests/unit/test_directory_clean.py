"""Cleaning: what is found, what comes of it, with and without decisions."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.directory import addresses
from mailferry.directory.clean import Cleaned, Policy, clean
from mailferry.directory.codes import CODES
from mailferry.directory.decisions import Action, Decision, Decisions
from mailferry.directory.judge import Outcome
from mailferry.model.recipient import Finding, Forwarding, Recipient, RecipientKind, Severity

NOW = 1_790_000_000.0
POLICY = Policy(NOW, frozenset({"acme.example"}))
K = RecipientKind
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)


def person(who: str = "max", kind: RecipientKind = K.MAILBOX, **more: Any) -> Recipient:
    values: dict[str, Any] = {
        "id": who,
        "kind": kind,
        "where": f"CN={who}",
        "name": f"{who.title()} Maier",
        "mail": f"{who}@acme.example",
        "details": {"sn": ("Maier",)},
    }
    return Recipient(**{**values, **more})


def group(who: str, *members: str, **more: Any) -> Recipient:
    return person(who, K.GROUP, name=who, members=members, details={}, **more)


def decided(*rows: tuple[str, str, str, Action, str]) -> Decisions:
    found = [
        Decision(code, who, value, action, new, "", line)
        for line, (code, who, value, action, new) in enumerate(rows, 2)
    ]
    return Decisions("d.csv", {one.key: one for one in found})


def run(*recipients: Recipient | Finding, decisions: Decisions | None = None, policy: Policy = POLICY) -> Cleaned:
    return clean(recipients, policy, decisions)


def codes(cleaned: Cleaned) -> list[tuple[str, str]]:
    return [(row.finding.code, row.finding.about) for row in cleaned.rows]


def by_id(cleaned: Cleaned) -> Mapping[str, Recipient]:
    return {one.id: one for one in cleaned.recipients}


def test_a_clean_recipient_is_the_same_object() -> None:
    maximum = person(
        aliases=("m@acme.example",), photo=JPEG, x500=("/o=A/ou=B/cn=max",), details={"sn": ("Maier",), "l": ("Köln",)}
    )
    cleaned = run(maximum)
    assert cleaned.recipients[0] is maximum
    assert cleaned.rows == ()


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("MÃ¼ller", "Müller", "encoding-broken"),
        ("РџРµС‚СЂРѕРІ Р®СЂРёР№", "Петров Юрий", "encoding-broken"),
        ("ÃƒÂ¼ber", "über", "encoding-broken"),
        ("Ïåòðîâ Þðèé", "Ïåòðîâ Þðèé", "encoding-suspected"),
        ("Åukasz Å»Ã³Å", "Åukasz Å»Ã³Å", "characters-lost"),
        ("M\ufffdller", "M\ufffdller", "characters-lost"),
        ("Max\0 Mai\x07er", "Max Maier", "control-characters"),
        ("Max \u202eMaier\u200b", "Max Maier", "control-characters"),
        ("Mu\u0308ller", "Müller", "unicode-form"),
        (" Max  Maier\u00a0", "Max Maier", "blanks"),
        ("Max\r\nMaier", "Max Maier", "blanks"),
        ("*)(objectClass=*", "*)(objectClass=*", "name-characters"),
        ("#1 Fan", "#1 Fan", "name-characters"),
    ],
)
def test_names(before: str, after: str, code: str) -> None:
    cleaned = run(person(name=before))
    assert (cleaned.recipients[0].name, codes(cleaned)) == (after, [(code, "max")])


@pytest.mark.parametrize(
    "name", ["Müller", "São Paulo", "Ångström", "Ærø", "Юрий Петров", "山田 太郎", "Âne", "Ýr Þóra", "محمد"]
)
def test_names_that_are_right(name: str) -> None:
    assert run(person(name=name)).rows == ()


def test_notes_keep_their_lines_and_long_values_are_cut() -> None:
    details = {
        "sn": ("A",),
        "info": ("one\r\n two \nthree",),
        "title": ("x" * 1_000_000,),
        "l": (" ",),
        "st": ("B", "B "),
    }
    cleaned = run(person(details=details))
    recipient = cleaned.recipients[0]
    assert recipient.details["info"] == ("one\ntwo\nthree",)
    assert recipient.details["title"] == ("x" * 1024,)
    assert "l" not in recipient.details
    assert recipient.details["st"] == ("B",)
    long = next(one for one in cleaned.findings if one.code == "value-too-long")
    assert long.value == "x" * 60 + "… (1000000 characters)"


@pytest.mark.parametrize(
    ("name", "given", "surname"),
    [
        ("Max Maier", "", "Maier"),
        ("Maier, Max", "", "Maier"),
        ("Dr. Ursula von der Leyen (EU)", "", "von der Leyen"),
        ("Петров Юрий Иванович", "", "Петров"),
        ("Юрий Петров", "", "Петров"),
        ("John Smith Jr.", "", "Smith"),
        ("Yamada Taro", "Taro", "Yamada"),
        ("Ana Maria López", "Ana Maria", "López"),
        ("Cher", "", "Cher"),
        ("山田太郎", "", "山田太郎"),
        ("Room 1", "", "Room"),
        ("007", "", "007"),
    ],
)
def test_a_missing_surname_is_proposed(name: str, given: str, surname: str) -> None:
    cleaned = run(person(name=name, details={"givenName": (given,)} if given else {}))
    assert cleaned.recipients[0].details["sn"] == (surname,)
    assert codes(cleaned) == [("surname-missing", "max")]


def test_a_missing_name_is_made_of_what_there_is() -> None:
    assert run(person(name="", details={"givenName": ("Max",), "sn": ("Maier",)})).recipients[0].name == "Max Maier"
    assert run(person(name=" ", mail="max.maier@acme.example")).recipients[0].name == "Maier"
    nameless = run(person(name="", details={}, mail="max.maier2@acme.example")).recipients[0]
    assert (nameless.name, nameless.details["sn"]) == ("Max Maier", ("Maier",))


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("Max <max@acme.example>", "max@acme.example", "address-untidy"),
        ("SMTP:max@acme.example; ", "max@acme.example", "address-untidy"),
        ("'max@acme.example'", "max@acme.example", "address-untidy"),
        ("\u200bmax@acme.example", "max@acme.example", "address-untidy"),
        ("max(at)acme.example", None, "address-malformed"),
        ("max@acme,example", None, "address-malformed"),
        ("max..maier@acme.example", None, "address-malformed"),
        ("max@@acme.example", None, "address-malformed"),
        ("max@", None, "address-malformed"),
        ("max@acme", None, "address-malformed"),
        ("max", None, "address-malformed"),
        ("x" * 65 + "@acme.example", None, "address-malformed"),
        ("max@-acme.example", None, "address-malformed"),
        ("größe@acme.example", "größe@acme.example", "address-international"),
        ("max@other.example", None, "domain-wrong"),
    ],
)
def test_primary_addresses(before: str, after: str | None, code: str) -> None:
    cleaned = run(person(mail=before))
    assert codes(cleaned) == [(code, "max")]
    assert [one.mail for one in cleaned.recipients] == ([] if after is None else [after])
    assert cleaned.left_out == (("max",) if after is None else ())


@given(st.one_of(st.text(), st.emails(), st.text("a@.,<> \"'()dot[]SMTP:", max_size=30)))
def test_proposals_are_addresses(text: str) -> None:
    for proposal in (addresses.tidy(text), addresses.guess(text)):
        assert proposal is None or addresses.fault(proposal) is None


@given(st.emails())
def test_what_others_call_an_address_is_one(text: str) -> None:
    local, _, _ = text.partition("@")
    assert addresses.fault(text) is None or len(local) > 64


def test_aliases() -> None:
    maximum = person(aliases=("MAX@acme.example", "m@acme.example", "M@ACME.EXAMPLE", "bad@", "m@old.example"))
    cleaned = run(maximum)
    assert cleaned.recipients[0].aliases == ("m@acme.example",)
    assert codes(cleaned) == [("alias-malformed", "max"), ("alias-domain-wrong", "max")]
    assert run(maximum, policy=Policy(NOW)).recipients[0].aliases == ("m@acme.example", "m@old.example")


def test_missing_addresses() -> None:
    cleaned = run(
        person("a", mail=None, principal="a@acme.example"),
        person("b", K.CONTACT, mail=None, details={"sn": ("B",), "mobile": ("1",)}),
        person("c", K.CONTACT, mail=None),
        person("d", K.ACCOUNT, mail=None),
        group("e", "a", mail=None),
    )
    wanted = [("address-missing", "a"), ("contact-without-address", "b"), ("address-missing", "c")]
    assert codes(cleaned)[:4] == [*wanted, ("group-without-address", "e")]
    assert cleaned.left_out == ("a", "c")
    proposed = run(
        person("a", mail=None, principal="a@acme.example"),
        decisions=decided(("address-missing", "a", "", Action.ACCEPT, "")),
    )
    assert proposed.recipients[0].mail == "a@acme.example"


def test_photos_numbers_and_x500() -> None:
    details = {"sn": ("A",), "mobile": ("+49 (30) 1/2", "+49 доб. 5"), "pager": ("keine",)}
    cleaned = run(
        person("a", photo=b"\x89PNG"),
        person("b", photo=JPEG + bytes(300_000)),
        person("c", details=details, x500=("/o=A/ou=B/cn=c", "X500:/o=A/ou=B/cn=d", "cn=no", "/O=a/OU=b/CN=C")),
    )
    a, b, c = cleaned.recipients
    assert (a.photo, b.photo) == (None, None)
    assert (c.details["mobile"], c.details["pager"]) == (("+49 (30) 1/2", "+49 . 5"), ("keine",))
    assert c.x500 == ("/o=A/ou=B/cn=c", "/o=A/ou=B/cn=d")
    assert sorted(codes(cleaned)) == [
        ("phone-characters", "c"),
        ("photo-not-jpeg", "a"),
        ("photo-too-large", "b"),
        ("x500-malformed", "c"),
        ("x500-untidy", "c"),
    ]


def test_accounts_that_cannot_log_in() -> None:
    cleaned = run(
        person("a", enabled=False),
        person("b", expires=NOW - 1),
        person("c", K.SHARED, enabled=False),
        person("d", expires=NOW + 1),
    )
    assert codes(cleaned) == [("account-disabled", "a"), ("account-expired", "b")]
    assert len(cleaned.recipients) == 4


def test_an_address_of_two_keeps_both_out_until_one_owner_is_decided() -> None:
    one, other = person("a", aliases=("info@acme.example",)), person("b", mail="INFO@acme.example")
    cleaned = run(one, other)
    assert codes(cleaned) == [("address-claimed-twice", "a"), ("address-claimed-twice", "b")]
    assert (cleaned.recipients, cleaned.left_out) == ((), ("a", "b"))
    assert [found.severity for found in cleaned.open] == [Severity.ERROR] * 2
    for row in (
        ("address-claimed-twice", "b", "INFO@acme.example", Action.KEEP, ""),
        ("address-claimed-twice", "a", "info@acme.example", Action.ACCEPT, ""),
    ):
        cleaned = run(one, other, decisions=decided(row))
        assert by_id(cleaned)["a"].aliases == ()
        assert by_id(cleaned)["b"].mail == "INFO@acme.example"
        assert cleaned.open == ()
    row = ("address-claimed-twice", "a", "info@acme.example", Action.KEEP, "")
    cleaned = run(one, other, decisions=decided(row))
    assert codes(cleaned)[2:] == [("address-missing", "b")]


def test_rejecting_a_claim_asks_no_more_and_a_mailbox_can_be_given_up() -> None:
    one, other = (person(who, mail="x@acme.example", mailbox_guid="1") for who in "ab")
    rows = [(f"{what}-claimed-twice", who, "*", Action.REJECT, "") for what in ("address", "mailbox") for who in "ab"]
    cleaned = run(one, other, decisions=decided(*rows))
    assert (cleaned.left_out, cleaned.open) == (("a", "b"), ())
    rows = [(f"{what}-claimed-twice", "b", "*", Action.ACCEPT, "") for what in ("address", "mailbox")]
    cleaned = run(one, dataclasses.replace(other, aliases=("b@acme.example",)), decisions=decided(*rows))
    assert [(who.mail, who.mailbox_guid) for who in cleaned.recipients] == [
        ("x@acme.example", "1"),
        ("b@acme.example", None),
    ]


def test_two_keepers_of_one_mailbox_address_are_no_decision() -> None:
    rows = [("address-claimed-twice", who, "x@acme.example", Action.KEEP, "") for who in "ab"]
    one, other = (person(who, mail="x@acme.example") for who in "ab")
    assert run(one, other, decisions=decided(*rows)).left_out == ("a", "b")
    contacts = (dataclasses.replace(each, kind=K.CONTACT) for each in (one, other))
    assert run(*contacts, decisions=decided(*rows)).left_out == ()


def test_contacts_may_share_addresses_by_one_decision_for_all() -> None:
    both = (contact("1", "Anna Müller", "am@x.example"), contact("2", "Mum", "AM@x.example"))
    assert run(*both).left_out == ("1", "2")
    cleaned = run(*both, decisions=decided(("address-claimed-twice", "*", "*", Action.KEEP, "")))
    assert (len(cleaned.recipients), cleaned.open) == (2, ())


def test_values_are_told_apart_as_ldap_does() -> None:
    details = {
        "sn": ("Maier",),
        "mobile": ("+49 30-1", "+49301", "+49 30 2"),
        "l": ("Köln", "KÖLN"),
        "o": ("A-B", "AB"),
    }
    wanted = {"sn": ("Maier",), "mobile": ("+49 30-1", "+49 30 2"), "l": ("Köln",), "o": ("A-B", "AB")}
    assert run(person(details=details)).recipients[0].details == wanted


def test_mailboxes_x500_and_ids_of_two() -> None:
    cleaned = run(
        person("a", mailbox_guid="1", x500=("/o=A/cn=1",)),
        person("b", mailbox_guid="1"),
        person("c", x500=("/O=A/CN=1",)),
        person("a", mail="z@acme.example"),
    )
    assert codes(cleaned) == [
        ("id-twice", "a"),
        ("x500-claimed-twice", "a"),
        ("x500-claimed-twice", "c"),
        ("mailbox-claimed-twice", "a"),
        ("mailbox-claimed-twice", "b"),
    ]
    assert cleaned.left_out == ("a", "b", "c")


def contact(who: str, name: str, mail: str | None = None, phone: str = "", **more: Any) -> Recipient:
    details = {"sn": (name.split()[-1],)} | ({"telephoneNumber": (phone,)} if phone else {})
    return person(who, K.CONTACT, name=name, mail=mail, where=f"f:{who}", details=details, **more)


def test_a_contact_twice_is_merged() -> None:
    cleaned = run(
        contact("1", "Max Müller", "mm@x.example", "1", photo=JPEG),
        contact("2", "Mueller, Max", "MM@x.example", "2", aliases=("max@y.example",)),
        contact("3", "Eve Müller", "eve@x.example"),
        group("g", "2", "1", "3"),
    )
    merged = by_id(cleaned)["1"]
    assert (merged.mail, merged.aliases, merged.photo) == ("mm@x.example", ("max@y.example",), JPEG)
    assert merged.details["telephoneNumber"] == ("1", "2")
    assert by_id(cleaned)["g"].members == ("1", "3")
    assert (codes(cleaned), cleaned.merged) == ([("duplicate", "2")], {"2": "1"})
    kept = run(
        contact("1", "Max Müller", "mm@x.example"),
        contact("2", "Max Müller", "mm@x.example"),
        decisions=decided(
            ("duplicate", "2", "Max Müller", Action.KEEP, ""),
            ("address-claimed-twice", "*", "mm@x.example", Action.KEEP, ""),
        ),
    )
    assert len(kept.recipients) == 2


def test_a_contact_for_one_of_ours_adds_nothing_to_him() -> None:
    maximum = person("max", x500=("/o=A/cn=1",))
    cleaned = run(
        contact("1", "Max Maier", "max@acme.example", "555", photo=JPEG, x500=("/O=A/CN=1", "/o=A/cn=2")), maximum
    )
    (merged,) = cleaned.recipients
    assert merged == dataclasses.replace(maximum, x500=("/o=A/cn=1", "/o=A/cn=2"))


@pytest.mark.parametrize(
    "other", ["Juri Petrow", "Петров Юрий", "Yuri PETROV", "Dr. Jurij Petrov (IT)", "Petrov, Yurii"]
)
def test_near_duplicates_are_told_and_merged_when_decided(other: str) -> None:
    one, two = (
        contact("1", "Юрий Петров", "p@x.example", "+7 495 1234567"),
        contact("2", other, None, "8 (495) 123-45-67"),
    )
    cleaned = run(one, two)
    assert ("duplicate-near", "2") in codes(cleaned)
    assert len(cleaned.recipients) == 2
    for action in (Action.ACCEPT, Action.MERGE):
        again = run(one, two, decisions=decided(("duplicate-near", "2", other, action, "1")))
        assert [who.id for who in again.recipients] == ["1"]


def test_the_same_name_alone_says_nothing() -> None:
    assert (
        run(contact("1", "Max Maier", "a@x.example", "11111"), contact("2", "Max Maier", "b@x.example", "22222")).rows
        == ()
    )


def test_references() -> None:
    cleaned = run(
        person(
            "a",
            manager="nobody",
            send_on_behalf=("smtp:B@acme.example",),
            forwarding=Forwarding("smtp:x@y.example", True),
        ),
        person("b", forwarding=Forwarding("nobody", False)),
        group("g", "a", "g", "nobody", "smtp:x@y.example", "smtp:not", "smtp:A@acme.example", accept_from=("nobody",)),
        group("h", "a", owners=("b",), accept_from=("b",), reject_from=("b",)),
    )
    assert codes(cleaned) == [
        ("reference-nobody", "a"),
        ("forwarding-lost", "b"),
        ("group-in-itself", "g"),
        ("reference-nobody", "g"),
        ("reference-nobody", "g"),
        ("reference-nobody", "g"),
        ("restriction-lost", "g"),
        ("reference-left-out", "a"),
        ("reference-left-out", "h"),
        ("reference-left-out", "h"),
        ("reference-left-out", "h"),
    ]
    a, h = cleaned.recipients
    assert (a.manager, a.send_on_behalf) == (None, ("smtp:b@acme.example",))
    assert (h.owners, h.accept_from, h.reject_from) == (("smtp:b@acme.example",),) * 3
    assert cleaned.left_out == ("b", "g")


def test_a_restriction_stays_though_all_it_names_are_left_out() -> None:
    cleaned = run(person("a", mail="bad@"), person("b"), group("g", "b", "a", accept_from=("a",)))
    (_, g) = cleaned.recipients
    assert (g.members, g.accept_from) == (("b",), ("a",))


def test_groups_in_circles_and_empty_ones() -> None:
    cleaned = run(
        group("a", "b"),
        group("b", "c", "x"),
        group("c", "a"),
        group("d", "a", "d2"),
        group("d2"),
        person("x"),
        group("e", "d"),
    )
    assert sorted(codes(cleaned)) == [
        ("group-empty", "d2"),
        ("group-loop", "a"),
        ("group-loop", "b"),
        ("group-loop", "c"),
    ]
    assert by_id(cleaned)["c"].members == ("a",)


def test_deep_nesting_and_many_of_one_kind_stay_quick() -> None:
    """A chain of 5,000 groups, 5,000 people with one telephone number, 5,000 contacts of one name."""
    chain = [group(f"g{number}", f"g{number + 1}") for number in range(5_000)]
    desk = [contact(f"p{number}", f"Name{number} X", f"{number}@x.example", "0123456789") for number in range(5_000)]
    same = [contact(f"s{number}", "Max Maier", f"s{number}@x.example", f"99{number:07}") for number in range(5_000)]
    started = time.process_time()
    cleaned = run(*chain, group("g5000", "p1"), *desk, *same)
    assert time.process_time() - started < 5
    assert cleaned.rows == ()


def test_decisions() -> None:
    bad = person(mail="max(at)acme.example")
    found = ("address-malformed", "max", "max(at)acme.example")
    assert run(bad, decisions=decided((*found, Action.ACCEPT, ""))).recipients[0].mail == "max@acme.example"
    assert run(bad, decisions=decided((*found, Action.KEEP, ""))).recipients[0].mail == "max(at)acme.example"
    assert (
        run(bad, decisions=decided((*found, Action.REPLACE, "m@acme.example"))).recipients[0].mail == "m@acme.example"
    )
    for action in (Action.REJECT, Action.LEAVE_OUT):
        cleaned = run(bad, decisions=decided((*found, action, "")))
        assert (cleaned.left_out, cleaned.open) == (("max",), ())
    again = run(bad, decisions=decided((*found, Action.REPLACE, "m@acme")))
    assert [(row.finding.value, row.outcome) for row in again.rows] == [
        ("max(at)acme.example", Outcome.CHANGED),
        ("m@acme", Outcome.OUT),
    ]
    out = run(person(), person("b"), decisions=decided(("*", "max", "", Action.LEAVE_OUT, "")))
    assert (out.left_out, out.rows) == (("max",), ())


def test_a_rejected_repair_is_not_made() -> None:
    cleaned = run(person(name=" Max"), decisions=decided(("blanks", "max", " Max", Action.REJECT, "")))
    assert cleaned.recipients[0].name == " Max"


def test_stale_and_unknown_decisions_are_told() -> None:
    rows = (("blanks", "max", "x", Action.KEEP, ""), ("nonsense", "max", "x", Action.KEEP, ""))
    cleaned = run(person(), decisions=decided(*rows, ("duplicate", "max", "", Action.MERGE, "gone")))
    assert [(row.finding.code, row.finding.where) for row in cleaned.rows] == [
        ("decision-stale", "d.csv:2"),
        ("decision-unknown", "d.csv:3"),
        ("decision-stale", "d.csv:4"),
    ]


def test_a_readers_finding_is_told_and_can_be_decided() -> None:
    broken = Finding("row-broken", Severity.ERROR, "", "f:3", "no", value='x"')
    assert run(broken).open == (broken,)
    assert run(broken, decisions=decided(("row-broken", "", 'x"', Action.KEEP, ""))).open == ()


texts = st.text("aAü Ã¼@.\0\u200b\ufffd,", max_size=12)
anybody = st.builds(
    Recipient,
    id=st.sampled_from("abcdef"),
    kind=st.sampled_from(RecipientKind),
    where=st.just("f:1"),
    name=texts,
    mail=st.none() | texts | st.sampled_from(["a@acme.example", "b@acme.example"]),
    aliases=st.lists(texts | st.just("a@acme.example"), max_size=2).map(tuple),
    x500=st.lists(texts, max_size=1).map(tuple),
    details=st.dictionaries(st.sampled_from(["sn", "mobile", "info"]), st.lists(texts, min_size=1).map(tuple)),
    photo=st.none() | st.binary(max_size=5),
    manager=st.none() | st.sampled_from("abcx"),
    members=st.lists(st.sampled_from([*"abcdefx", "smtp:a@acme.example", "smtp:"])).map(tuple),
    accept_from=st.lists(st.sampled_from("abx"), max_size=2).map(tuple),
    forwarding=st.none() | st.builds(Forwarding, st.sampled_from("abx"), st.booleans()),
)


@given(st.lists(anybody, max_size=6))
def test_anything_goes_in_and_what_comes_out_holds(recipients: list[Recipient]) -> None:
    cleaned = run(*recipients)
    ids = {one.id for one in cleaned.recipients}
    assert len(ids) == len(cleaned.recipients)
    assert ids | set(cleaned.left_out) | cleaned.merged.keys() == {one.id for one in recipients}
    assert all(one.code in CODES for one in cleaned.findings)
    claimed = [addresses.key(one) for who in cleaned.recipients for one in (who.mail, *who.aliases) if one]
    assert len(claimed) == len(set(claimed))
    for who in cleaned.recipients:
        assert all(addresses.fault(one) is None for one in (who.mail, *who.aliases) if one)
        assert all(value.strip() for values in who.details.values() for value in values)
        assert all(member in ids or member.startswith("smtp:") for member in who.members)
    again = clean(cleaned.recipients, POLICY)
    changed = {row.finding.code for row in again.rows if row.outcome is Outcome.CHANGED}
    assert changed <= {
        "reference-nobody",
        "reference-left-out",
    }  # after those left out before, whom a restriction names
