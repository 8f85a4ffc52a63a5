"""The PowerShell for Exchange, as far as it can be tested without PowerShell: quoting, form, what is planned."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.config.settings import ExchangeSide
from mailferry.directory import exchange_ldif, exchange_script
from mailferry.directory.exchange_mark import mark, marked, of_account, plain
from mailferry.directory.exchange_plan import Exchange, How, MailUser, OpenPerson, Plan, plan
from mailferry.directory.exchange_script import quote
from mailferry.directory.readers.ad_entry import Around, to_recipient
from mailferry.model.recipient import Recipient, RecipientKind
from mailferry.net.ldap_entry import Entry
from mailferry.wire import ldif

UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
SINGLE = "'\u2018\u2019\u201a\u201b"
"""What PowerShell's tokenizer takes for a single quote (System.Management.Automation, CharTraits.IsSingleQuote)."""

NASTY = (
    "O'Brien",
    "O\u2019Brien",
    "\u201aso\u2018",
    "$(Remove-Mailbox *)",
    "back`tick `0",
    'double "quotes" \u201cand\u201d',
    "a\0b",
    "two\r\nlines",
    "\u202egpj.exe",
    "\u2028",
    "'; Remove-Mailbox alice; '",
    "😀 山田 太郎",
    "\ud800 alone",
    "",
    " ",
    "#>",
    "@'",
)


def value_of(expression: str) -> str:
    """What PowerShell makes of `'…'`, or of `('…' + [char]0x… + …)`; AssertionError for anything else."""
    if expression.startswith("("):
        assert expression.endswith(")")
        expression = expression[1:-1]
    units: list[int] = []
    at = 0
    while True:
        character = re.compile(r"\[char\]0x([0-9A-F]{4})").match(expression, at)
        if character:
            assert at, "the first operand decides that + joins text"
            units.append(int(character[1], 16))
            at = character.end()
        else:
            assert expression[at] == "'"
            at += 1
            while not (expression[at] in SINGLE and expression[at + 1 : at + 2] not in tuple(SINGLE)):
                assert expression[at] not in "\r\n\0"
                at += expression[at] in SINGLE
                units += memoryview(expression[at].encode("utf-16-le")).cast("H")
                at += 1
            assert expression[at] == "'"
            at += 1
        if at == len(expression):
            return b"".join(unit.to_bytes(2, "little") for unit in units).decode("utf-16-le", "surrogatepass")
        assert expression[at : at + 3] == " + "
        at += 3


@pytest.mark.parametrize("text", NASTY)
def test_nasty_text_is_one_literal(text: str) -> None:
    assert value_of(quote(text)) == text


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from(SINGLE + '$`"\0\r\n\u202e'))))
def test_any_text_is_one_literal(text: str) -> None:
    quoted = quote(text)
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    assert value_of(quoted) == joined
    assert quoted.replace("\ufeff", "?").isprintable()


def test_a_reader_of_the_quoting_can_fail() -> None:
    with pytest.raises((AssertionError, IndexError)):
        value_of("'O'Brien'")
    with pytest.raises((AssertionError, IndexError)):
        value_of("'O\u2019Brien'")


def someone(uid: str = "alice", **more: str | tuple[str, ...]) -> OpenPerson:
    values: dict[str, tuple[str, ...]] = {
        "entryUUID": (UUID,),
        "uid": (uid,),
        "cn": (uid,),
        "mail": (f"{uid}@acme.example",),
    }
    values |= {name: (value,) if isinstance(value, str) else value for name, value in more.items()}
    return OpenPerson(f"uid={uid},ou=people,dc=acme,dc=example", values)


def planned(*people: OpenPerson, there: Exchange | None = None) -> Plan:
    settings = ExchangeSide(routing_domain="open.acme.example", container="OU=Open,DC=acme,DC=example")
    return plan(people, there or Exchange(), settings, ("acme.example", "acme-labs.example"))


def recipient(kind: RecipientKind, name: str, **more: object) -> Recipient:
    return Recipient(f"ad:{name}", kind, f"CN={name},DC=acme", name, **more)  # type: ignore[arg-type]


def only(plan: Plan) -> MailUser:
    (one,) = plan.users
    return one


def test_a_person_becomes_a_mail_user() -> None:
    person = someone(
        displayName="Alice Ångström",
        sn="Ångström",
        mailLocalAddress=("alice@acme.example", "al@acme-labs.example", "IMCEAEX-_o=x@acme.example", "al@gone.example"),
        mailferryHidden="TRUE",
        departmentNumber="Küche",
    )
    done = planned(person)
    one = only(done)
    assert (one.how, one.dn) == (How.NEW, "CN=Alice Ångström,OU=Open,DC=acme,DC=example")
    assert (one.account, one.principal, one.external) == ("alice", "alice@acme.example", "alice@open.acme.example")
    assert one.values["proxyAddresses"] == ("SMTP:alice@acme.example", "smtp:al@acme-labs.example")
    assert one.values["msExchHideFromAddressLists"] == ("TRUE",)
    assert one.values["department"] == ("Küche",)
    assert [(found.code, found.value) for found in done.findings] == [("alias-left-out", "al@gone.example")]


@pytest.mark.parametrize(
    ("person", "code"),
    [
        (someone(mail="alice"), "address-malformed"),
        (someone(mail="älice@acme.example"), "address-malformed"),
        (someone(mail="alice@gone.example"), "domain-wrong"),
        (someone(uid=""), "address-malformed"),
        (someone(uid="a b", mail="ab@acme.example"), "uid-unusable"),
    ],
)
def test_who_cannot_be_is_left_out_and_told(person: OpenPerson, code: str) -> None:
    done = planned(person)
    assert not done.users
    assert [found.code for found in done.findings] == [code]


def test_an_address_that_somebody_has_is_not_taken() -> None:
    there = Exchange()
    there.add(recipient(RecipientKind.CONTACT, "Alice", external_address="ALICE@acme.example"), ExchangeSide())
    done = planned(someone(), there=there)
    assert not done.users
    assert [found.code for found in done.findings] == ["address-taken"]


def test_two_people_of_the_open_side_do_not_share_an_address() -> None:
    done = planned(someone("alice"), someone("bob", mailLocalAddress="alice@acme.example", entryUUID=UUID[:-1] + "0"))
    assert [one.account for one in done.users] == ["alice"]
    assert [found.code for found in done.findings] == ["address-taken"]


@pytest.mark.parametrize(("surname", "how"), [("Klein", How.ENABLE), ("Gross", None)])
def test_an_account_is_enabled_only_for_the_same_person(surname: str, how: How | None) -> None:
    there = Exchange()
    details = {"givenName": ("Carol",), "sn": (surname,)}
    there.add(recipient(RecipientKind.ACCOUNT, "carol", account="carol", details=details), ExchangeSide())
    done = planned(someone("carol", givenName="Carol", sn="KLEIN"), there=there)
    assert [one.how for one in done.users] == ([how] if how else [])
    assert [found.code for found in done.findings] == ([] if how else ["account-taken"])


def test_equal_names_are_told_apart_and_long_ones_cut() -> None:
    twins = [someone(uid, displayName="Kim " + "x" * 80, entryUUID=UUID[:-1] + uid[-1]) for uid in ("kim1", "kim2")]
    done = planned(*twins)
    names = [one.name for one in done.users]
    assert len(set(names)) == 2 and all(len(name) <= 64 for name in names)
    assert names[1].endswith(" (kim2)") or names[0].endswith(" (kim2)")


def test_the_mark_has_one_form() -> None:
    assert marked(["Kostenstelle 7", mark(UUID.upper())]) == f"mailferry:{UUID}"
    assert plain(of_account(mark(UUID))) == (mark(UUID), True)
    assert marked([f"mailferry:{UUID} "]) is None


def test_a_mark_in_other_use_is_told() -> None:
    there = Exchange()
    settings = ExchangeSide()
    there.add(recipient(RecipientKind.MAILBOX, "x", preferences={"extensionAttribute15": ("7",)}), settings)
    assert [found.code for found in planned(there=there).findings] == ["mark-in-use"]


def test_the_scripts_are_for_windows_and_hold_only_quoted_data() -> None:
    name = "'; Remove-Mailbox * #\u2019"
    users = planned(someone(displayName=name)).users
    for text in (
        exchange_script.script(users, "extensionAttribute3", None),
        exchange_script.undo(users, "x", "OU=a'b"),
    ):
        assert text.startswith("\ufeff# Written by Mailferry")
        assert re.fullmatch(r"(?:[^\r\n]*\r\n)*", text)
        assert "SupportsShouldProcess" in text
        for line in text.split("\r\n"):
            if line.startswith(("  @{", "     Person")):
                line = re.sub(f"'(?:[^{SINGLE}]|[{SINGLE}]{{2}})*'", "''", line)
                assert "Remove-Mailbox" not in line
    assert "$MarkAttribute = 'CustomAttribute3'" in exchange_script.script(users, "extensionAttribute3", None)
    assert "$OrganizationalUnit = 'OU=a''b'" in exchange_script.undo(users, "x", "OU=a'b")
    assert f"Mark = 'mailferry:{UUID}'" in exchange_script.undo(users, "x", None)


def test_every_block_of_the_scripts_is_closed() -> None:
    users = planned(someone(displayName="{ ( [ 'x")).users
    for text in (exchange_script.script(users, "x", None), exchange_script.undo(users, "x", None)):
        bare = re.sub(r"(?m)#.*$", "", re.sub(f"'(?:[^{SINGLE}\r\n]|[{SINGLE}]{{2}})*'", "", text))
        for opening, closing in ("{}", "()", "[]"):
            assert bare.count(opening) == bare.count(closing)


def test_ldif_undoes_in_the_other_order_and_only_the_marked() -> None:
    people = [someone("alice"), someone("bob", entryUUID=UUID[:-1] + "0")]
    users = planned(*people).users
    undone = b"".join(exchange_ldif.undo(users, "extensionAttribute15")).decode()
    records = undone.strip().split("\n\n")[1:]
    assert [record.split("\n")[0] for record in records] == [
        *("dn: CN=bob,OU=Open,DC=acme,DC=example",) * 2,
        *("dn: CN=alice,OU=Open,DC=acme,DC=example",) * 2,
    ]
    assert records[2].split("\n")[1:] == [
        "changetype: modify",
        "delete: extensionAttribute15",
        f"extensionAttribute15: mailferry:{UUID}",
        "-",
    ]
    assert records[3].endswith("changetype: delete")


@given(st.lists(st.text(), min_size=4, max_size=4), st.sampled_from(["a", "b"]))
def test_ldif_says_what_was_planned_whatever_the_names(texts: list[str], uid: str) -> None:
    shown, given_name, title, department = texts
    person = someone(uid, displayName=shown, givenName=given_name, title=title, departmentNumber=department)
    one = only(planned(person))
    (record,) = ldif.parse(exchange_ldif.records([one], "extensionAttribute15"))
    assert isinstance(record, ldif.Record) and record.change == "add"
    assert record.dn.decode() == one.dn
    read: dict[str, tuple[str, ...]] = {}
    for value in record.values:
        read[value.name] = (*read.get(value.name, ()), value.data.decode())
    assert {name: read[name] for name in one.values} == one.values
    assert read["cn"] == (one.name,)
    assert all(text.isprintable() for some in one.values.values() for text in some)


@pytest.mark.parametrize(("kind", "known"), [("128", True), ("1", False)])
def test_a_reader_knows_them_until_they_have_a_mailbox(kind: str, known: bool) -> None:
    values = {
        "objectguid": (b"0123456789abcdef",),
        "objectclass": (b"user",),
        "mail": (b"alice@acme.example",),
        "msexchrecipienttypedetails": (kind.encode(),),
        "extensionattribute3": (mark(UUID).encode(),),
    }
    around = Around(lambda value: "", lambda value: None, lambda filter, base: ())
    found, findings = to_recipient(Entry("CN=x", values), "CN=x", around)
    assert (found is None) == known
    assert [(one.code, one.value) for one in findings] == ([("mail-user-of-ours", mark(UUID))] if known else [])
