"""An entry of any LDAP server as a Recipient, by the map of attributes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mailferry.directory.readers.ldap_map import Around, Names, identity, names, to_recipient
from mailferry.errors import ConfigError
from mailferry.model.recipient import Finding, Forwarding, Recipient, RecipientKind
from mailferry.net.ldap_entry import Entry

UUID = "2c6a65a4-7acb-1041-8a6d-4f3ac7c9c7c5"
AROUND = Around(
    reference=lambda dn: "ldap:" + dn.partition(",")[0],
    members=lambda base, scope, filter: ("ldap:found",) if scope == "sub" else f"{scope} is no scope",
)
QMAIL = ["inetOrgPerson", "qmailUser"]


def read(wanted: Names | None = None, **values: str | bytes | list[str]) -> tuple[Recipient | None, list[Finding]]:
    attrs: dict[str, tuple[bytes, ...]] = {"entryuuid": (UUID.encode(),)}
    for name, value in values.items():
        many = value if isinstance(value, list) else [value]
        attrs[name.lower()] = tuple(one if isinstance(one, bytes) else one.encode() for one in many)
    return to_recipient(Entry("uid=x,dc=acme", attrs), wanted or Names(), AROUND)


def recipient(wanted: Names | None = None, **values: str | bytes | list[str]) -> Recipient:
    found, findings = read(wanted, **values)
    assert found is not None
    assert findings == []
    return found


def test_a_university_person_of_qmail_ldap() -> None:
    found = recipient(
        objectClass=QMAIL,
        uid="ann",
        cn="Ann Lee",
        sn="Lee",
        mail="ann@uni.example",
        mailAlternateAddress=["a.lee@uni.example", "ann@uni.example"],
        mailHost="store3.uni.example",
        mailForwardingAddress="ann@home.example",
        mailReplyText="Back on Monday",
        deliveryMode="reply",
        mailQuotaSize="50000000",
        jpegPhoto=b"\xff\xd8",
    )
    assert found.id == f"ldap:{UUID}"
    assert found.kind is RecipientKind.MAILBOX
    assert (found.mail, found.aliases) == ("ann@uni.example", ("a.lee@uni.example",))
    assert found.mail_host == "store3.uni.example"
    assert found.forwarding == Forwarding("smtp:ann@home.example", keep_copy=True)
    assert found.quota == 50_000_000
    assert found.preferences["mailReplyText"] == ("Back on Monday",)
    assert found.details["sn"] == ("Lee",)
    assert found.photo == b"\xff\xd8"


@pytest.mark.parametrize(
    ("mode", "forwarding"),
    [
        (["nolocal"], Forwarding("smtp:o@x.example", keep_copy=False)),
        (["noforward"], None),
        (["forward"], Forwarding("smtp:o@x.example", keep_copy=False)),
        (["forward", "mailbox"], Forwarding("smtp:o@x.example", keep_copy=True)),
    ],
)
def test_delivery_modes(mode: list[str], forwarding: Forwarding | None) -> None:
    found = recipient(objectClass=QMAIL, uid="x", mailForwardingAddress="&o@x.example", deliveryMode=mode)
    assert found.forwarding == forwarding


def test_of_several_forwardings_the_first_is_taken_and_all_are_kept() -> None:
    found, findings = read(uid="x", mail="x@x.example", mailForwardingAddress=["a@x.example", "b@x.example"])
    assert found is not None
    assert found.forwarding == Forwarding("smtp:a@x.example", keep_copy=True)
    assert found.preferences["mailForwardingAddress"] == ("a@x.example", "b@x.example")
    assert [one.code for one in findings] == ["forwarding-several"]


@pytest.mark.parametrize(
    ("status", "enabled"), [("active", True), ("noaccess", True), ("disabled", False), ("deleted", False)]
)
def test_account_status(status: str, enabled: bool) -> None:
    assert recipient(uid="x", mail="x@x.example", accountStatus=status).enabled is enabled


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"uid": "x", "mail": "x@x.example"}, RecipientKind.MAILBOX),
        ({"uid": "x"}, RecipientKind.ACCOUNT),
        ({"cn": "x", "mail": "x@x.example"}, RecipientKind.CONTACT),
        ({"uid": "x", "mailRoutingAddress": "x@else.example"}, RecipientKind.MAIL_USER),
        ({"objectClass": "groupOfNames", "cn": "g"}, RecipientKind.GROUP),
        ({"objectClass": "rfc822MailGroup", "cn": "g", "mail": "g@x.example"}, RecipientKind.GROUP),
        ({"objectClass": "groupOfURLs", "memberURL": "ldap:///dc=x??sub?(a=b)"}, RecipientKind.DYNAMIC_GROUP),
    ],
)
def test_kinds(values: dict[str, Any], kind: RecipientKind) -> None:
    assert recipient(**values).kind is kind


def test_a_group_has_members_by_name_and_by_address() -> None:
    found = recipient(
        objectClass=["groupOfUniqueNames", "mailGroup"],
        cn="g",
        mail="g@x.example",
        uniqueMember=["uid=a,dc=x", "uid=b,dc=x"],
        mgrpRFC822MailMember="out@else.example",
        mgrpAllowedBroadcaster=["mailto:a@x.example", "uid=b,dc=x"],
        owner="uid=o,dc=x",
    )
    assert found.members == ("ldap:uid=a", "ldap:uid=b", "smtp:out@else.example")
    assert found.accept_from == ("smtp:a@x.example", "ldap:uid=b")
    assert found.owners == ("ldap:uid=o",)
    assert found.account is None


def test_a_dynamic_group_is_resolved_or_told() -> None:
    found = recipient(objectClass="groupOfURLs", memberURL="ldap:///dc=x?cn?sub?(ou=Physics)")
    assert (found.members, found.member_filter) == (("ldap:found",), "(ou=Physics)")
    for url in ("ldap:///dc=x??near?(ou=Physics)", "nonsense"):
        _, findings = read(objectClass="groupOfURLs", memberURL=url)
        assert [one.code for one in findings] == ["dynamic-group-unresolved"]


@pytest.mark.parametrize(
    ("text", "quota"), [("1000", 1000), ("1000S", 1000), ("1000S,5C", 1000), (" 7 ", 7), ("much", None), ("10M", None)]
)
def test_quotas(text: str, quota: int | None) -> None:
    found, findings = read(uid="x", mailQuotaSize=text)
    assert found is not None
    assert found.quota == quota
    assert [one.code for one in findings] == ([] if quota else ["value-unreadable"])


def test_what_is_no_recipient_is_told() -> None:
    found, findings = read(cn="A printer")
    assert found is None
    assert [one.code for one in findings] == ["entry-not-recipient"]


def test_identities() -> None:
    assert identity(Entry("x", {"nsuniqueid": (b"66446001-1DD211B2-66225011-2EE211DB",)}), Names()) == (
        "ldap:66446001-1dd211b2-66225011-2ee211db"
    )
    guid = bytes(range(240, 256))
    assert identity(Entry("x", {"guid": (guid,)}), Names()) == "ldap:f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff"
    found, findings = to_recipient(Entry("x", {"uid": (b"x",)}), Names(), AROUND)
    assert found is None
    assert [one.code for one in findings] == ["value-unreadable"]


def test_the_map_can_be_changed() -> None:
    ours = names({"mail": ("uniMail",), "carried": ("uniSignature",)})
    found = recipient(ours, uid="x", uniMail="x@uni.example", uniSignature="-- \nX")
    assert found.mail == "x@uni.example"
    assert found.preferences == {"uniSignature": ("-- \nX",)}
    assert {"uniMail", "uniSignature", "entryUUID"} <= set(ours.attributes())
    assert "userPassword" not in ours.attributes()
    with pytest.raises(ConfigError, match="no field mial"):
        names({"mial": ("x",)})


def test_the_page_names_every_field_and_attribute() -> None:
    page = (Path(__file__).parents[2] / "docs" / "servers" / "ldap.md").read_text(encoding="utf-8")
    for one in fields(Names):
        assert f"`{one.name}`" in page
        assert all(name in page for name in getattr(Names(), one.name))
