"""Recipients as LDAP entries, in both schemas."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailferry.directory.entries import MANAGED, Around, Entry, imceaex, make_entry
from mailferry.directory.mapping import Placed
from mailferry.model.recipient import Finding, Forwarding, Recipient, RecipientKind

DNS = {"ad:2": "uid=bob,ou=people,dc=x", "ad:3": "uid=carl,ou=people,dc=x"}
MAILS = {"ad:2": "bob@acme.example"}
AROUND = Around(dn_of=DNS.get, mail_of=MAILS.get, nobody="cn=nobody,dc=x", main_domain="acme.example")
ALICE = Recipient(
    "ad:1",
    RecipientKind.MAILBOX,
    "CN=Alice",
    "Alice  Li",
    account="alice",
    principal="alice@acme.example",
    mail="Alice@labs.example",
    aliases=("a@acme.example", "alice@LABS.example"),
    x500=("/o=Acme/cn=alice",),
)
LEGACY = "/o=First Organization/ou=Exchange (FYDIBOHF23SPDLT)/cn=Recipients/cn=User.a@b_c"


def made(recipient: Recipient, around: Around = AROUND, dn: str = "uid=alice,ou=people,dc=x") -> Entry:
    entry, findings = make_entry(Placed(recipient, "alice", dn), around)
    assert not findings
    return entry


def found(recipient: Recipient) -> tuple[Entry, list[Finding]]:
    return make_entry(Placed(recipient, "alice", "uid=alice,ou=people,dc=x"), AROUND)


def group(**more: object) -> Recipient:
    one = Recipient("ad:9", RecipientKind.GROUP, "CN=G", "G", mail="g@acme.example")
    return replace(one, **more)  # type: ignore[arg-type]


def texts(entry: Entry, name: str) -> list[str]:
    return [one.decode() for one in entry.attributes.get(name, ())]


def test_a_person() -> None:
    entry = made(ALICE)
    assert {name: texts(entry, name) for name in entry.attributes} == {
        "objectClass": ["inetOrgPerson", "inetLocalMailRecipient", "mailferryRecipient"],
        "cn": ["Alice Li"],
        "sn": ["Alice Li"],
        "displayName": ["Alice Li"],
        "uid": ["alice"],
        "mailferrySourceId": ["ad:1"],
        "mailferryKind": ["mailbox"],
        "mailferryPrincipal": ["alice@acme.example"],
        "mailferryX500": ["/o=Acme/cn=alice"],
        "mail": ["Alice@labs.example"],
        "mailLocalAddress": [
            "Alice@labs.example",
            "a@acme.example",
            "IMCEAEX-_o=Acme_cn=alice@acme.example",
            "IMCEAEX-_o=Acme_cn=alice@labs.example",
        ],
        "mailferryRoute": ["exchange"],
        "mailferryEnabled": ["TRUE"],
        "mailferryPasswordFrom": ["source"],
        "mailferryBindName": ["alice@acme.example"],
    }


def test_who_has_no_principal_binds_by_dn() -> None:
    assert texts(made(replace(ALICE, principal=None)), "mailferryBindName") == [ALICE.where]


def test_in_the_schema_of_qmail() -> None:
    one = replace(ALICE, quota=1000, forwarding=Forwarding("ad:2", keep_copy=False), mail_host="store1")
    entry = made(one, replace(AROUND, qmail=True))
    assert texts(entry, "objectClass") == ["inetOrgPerson", "qmailUser", "mailferryRecipient"]
    assert "a@acme.example" in texts(entry, "mailAlternateAddress")
    assert texts(entry, "mailQuotaSize") == texts(entry, "mailferryQuota") == ["1000"]
    assert texts(entry, "mailForwardingAddress") == ["bob@acme.example"]
    assert texts(entry, "deliveryMode") == ["nolocal"]
    assert texts(entry, "accountStatus") == ["active"]
    assert texts(entry, "mailHost") == ["store1"]
    assert "mailLocalAddress" not in entry.attributes
    off = made(
        replace(one, enabled=False, forwarding=Forwarding("smtp:x@y.example", True)), replace(AROUND, qmail=True)
    )
    assert texts(off, "accountStatus") == ["noaccess"]
    assert texts(off, "mailForwardingAddress") == ["x@y.example"]
    assert texts(off, "deliveryMode") == []


@pytest.mark.parametrize(
    ("address", "encoded"),
    [
        ("/O=ACME/CN=x-1", "IMCEAEX-_O=ACME_CN=x-1@d"),
        (
            LEGACY,
            "IMCEAEX-_o=First+20Organization_ou=Exchange+20+28FYDIBOHF23SPDLT+29_cn=Recipients_cn=User+2Ea+40b+5Fc@d",
        ),
        ("/cn=ä+", "IMCEAEX-_cn=+C3+A4+2B@d"),
    ],
)
def test_x500_in_smtp(address: str, encoded: str) -> None:
    assert imceaex(address, "d") == encoded


def test_what_the_address_book_shows() -> None:
    details = {
        "sn": ("Li",),
        "telephoneNumber": ("+49 30 1", "+49  30 1", "☎ 5#6"),
        "employeeNumber": ("7", "8"),
        "description": ("d",),
        "info": ("line one\r\nline two",),
        "title": (" ", ""),
        "unknown": ("x",),
    }
    photo = b"\xff\xd8\xff\xe0rest"
    entry, findings = found(replace(ALICE, details=details, photo=photo, hidden=True, manager="ad:3", expires=0.0))
    assert texts(entry, "sn") == ["Li"]
    assert texts(entry, "telephoneNumber") == ["+49 30 1", "5 6"]
    assert texts(entry, "employeeNumber") == ["7"]
    assert texts(entry, "description") == ["d", "line one line two"]
    assert texts(entry, "manager") == ["uid=carl,ou=people,dc=x"]
    assert texts(entry, "mailferryHidden") == ["TRUE"]
    assert texts(entry, "mailferryExpires") == ["19700101000000Z"]
    assert entry.attributes["jpegPhoto"] == (photo,)
    assert "title" not in entry.attributes
    assert set(entry.attributes) <= set(MANAGED)
    assert [one.code for one in findings] == ["phone-characters"]


def test_no_photo_that_slapd_would_refuse() -> None:
    entry, findings = found(replace(ALICE, photo=b"\x89PNG"))
    assert "jpegPhoto" not in entry.attributes
    assert [one.code for one in findings] == ["photo-not-jpeg"]


def test_a_group() -> None:
    one = group(
        members=("ad:2", "smtp:x@out.example", "ad:3", "ad:2"),
        owners=("ad:3",),
        accept_from=("ad:2", "smtp:boss@out.example"),
        internal_only=True,
        aliases=("g2@acme.example",),
    )
    entry = made(one, dn="cn=G,ou=groups,dc=x")
    assert texts(entry, "objectClass") == [
        "groupOfNames",
        "mailferryGroup",
        "inetLocalMailRecipient",
        "mailferryRecipient",
    ]
    assert texts(entry, "member") == [DNS["ad:2"], DNS["ad:3"]]
    assert texts(entry, "mailferryExternalMember") == ["x@out.example"]
    assert texts(entry, "owner") == [DNS["ad:3"]]
    assert texts(entry, "mailferryAcceptFrom") == [DNS["ad:2"]]
    assert texts(entry, "mailferryAcceptFromAddress") == ["boss@out.example"]
    assert texts(entry, "mailferryInternalOnly") == ["TRUE"]
    assert not {"sn", "uid", "mailferryEnabled", "mailferryRoute"} & set(entry.attributes)


def test_an_empty_group_has_a_placeholder_and_a_restriction_stays_one() -> None:
    entry, findings = found(group(members=("ad:gone",), accept_from=("ad:gone",)))
    assert texts(entry, "member") == ["cn=nobody,dc=x"]
    assert texts(entry, "mailferryAcceptFrom") == ["cn=nobody,dc=x"]
    assert [one.code for one in findings] == ["reference-lost", "reference-lost"]


def test_a_contact_without_log_in() -> None:
    one = Recipient("ad:5", RecipientKind.CONTACT, "CN=C", "C", mail="c@out.example", external_address="c@out.example")
    entry = made(one, dn="cn=C,ou=contacts,dc=x")
    assert texts(entry, "mailferryExternalAddress") == ["c@out.example"]
    assert not {"uid", "mailferryPasswordFrom", "mailferryRoute"} & set(entry.attributes)
    assert texts(entry, "sn") == ["C"]


def test_the_entry_holds_what_its_name_says() -> None:
    entry = made(replace(ALICE, name="王伟"), dn="cn=王伟 (alice)+uid=alice,ou=people,dc=x")
    assert texts(entry, "cn") == ["王伟", "王伟 (alice)"]
    assert texts(entry, "uid") == ["alice"]


def test_addresses_beyond_ascii_are_told() -> None:
    entry, findings = found(replace(ALICE, aliases=("ü@acme.example",)))
    assert "ü@acme.example" not in texts(entry, "mailLocalAddress")
    assert [one.code for one in findings] == ["value-not-ascii"]


def test_two_moments_of_one_second_differ() -> None:
    one, other = (made(replace(ALICE, password_changed=1.5e9 + part)) for part in (0.25, 0.5))
    assert texts(one, "mailferryPasswordChanged") == ["20170714024000.250000Z"]
    assert texts(other, "mailferryPasswordChanged") == ["20170714024000.500000Z"]


def test_a_time_beyond_all_calendars() -> None:
    assert texts(made(replace(ALICE, expires=1e20)), "mailferryExpires") == ["99991231235959Z"]
