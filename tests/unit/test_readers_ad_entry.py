"""An entry of Active Directory as a Recipient: what each attribute says, and what is told of those without sense."""

from __future__ import annotations

import uuid

import pytest

from mailferry.directory.readers.ad_entry import ATTRIBUTES, Around, identity, to_recipient
from mailferry.model.recipient import Finding, Forwarding, Recipient, RecipientKind
from mailferry.net.ldap_entry import Entry

GUID = uuid.UUID("8ea9d04f-5f3a-4b1c-9ad2-0123456789ab")
AROUND = Around(
    reference=lambda value: "ad:" + value.decode().partition(",")[0].removeprefix("CN="),
    quota=lambda value: 7 * 1024,
    members=lambda filter, base: ("ad:one",) if "good" in filter else "the server does not like it",
)


def read(**values: str | bytes | list[str]) -> tuple[Recipient | None, list[Finding]]:
    attrs: dict[str, tuple[bytes, ...]] = {"objectguid": (GUID.bytes_le,), "objectclass": (b"top", b"user")}
    for name, value in values.items():
        many = value if isinstance(value, list) else [value]
        attrs[name.lower()] = tuple(one if isinstance(one, bytes) else one.encode() for one in many)
    return to_recipient(Entry("CN=x,DC=acme", attrs), "CN=x,DC=acme", AROUND)


def recipient(**values: str | bytes | list[str]) -> Recipient:
    found, findings = read(**values)
    assert found is not None
    assert findings == []
    return found


def codes(**values: str | bytes | list[str]) -> list[str]:
    return [one.code for one in read(**values)[1]]


def test_identity_is_the_guid_whatever_the_name() -> None:
    assert recipient().id == f"ad:{GUID}"
    assert identity(Entry("CN=y", {"objectguid": (b"short",)})) is None


def test_without_a_guid_nothing_comes_but_a_finding() -> None:
    found, findings = read(objectGUID=b"short")
    assert found is None
    assert [one.code for one in findings] == ["value-unreadable"]


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        (1, RecipientKind.MAILBOX),
        (2, RecipientKind.MAILBOX),
        (4, RecipientKind.SHARED),
        (16, RecipientKind.ROOM),
        (32, RecipientKind.EQUIPMENT),
        (64, RecipientKind.CONTACT),
        (128, RecipientKind.MAIL_USER),
        (256, RecipientKind.GROUP),
        (1024, RecipientKind.GROUP),
        (2048, RecipientKind.DYNAMIC_GROUP),
        (4096, RecipientKind.PUBLIC_FOLDER),
        (65536, RecipientKind.ACCOUNT),
        (2097152, RecipientKind.ACCOUNT),
        (268435456, RecipientKind.GROUP),
        (2147483648, RecipientKind.MAIL_USER),
        (34359738368, RecipientKind.MAIL_USER),
    ],
)
def test_exchange_says_what_it_is(details: int, kind: RecipientKind) -> None:
    found, _ = read(msExchRecipientTypeDetails=str(details))
    assert found is not None
    assert found.kind is kind


@pytest.mark.parametrize("details", [8192, 16384, 8388608, 16777216, 536870912, 549755813888, 4398046511104])
def test_exchanges_own_mailboxes_are_named_and_left_out(details: int) -> None:
    found, findings = read(msExchRecipientTypeDetails=str(details), cn="SystemMailbox{1}")
    assert found is None
    assert [(one.code, one.value) for one in findings] == [("system-mailbox", "SystemMailbox{1}")]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"msExchRecipientDisplayType": "7"}, RecipientKind.ROOM),
        ({"msExchRecipientDisplayType": "1073741824"}, RecipientKind.MAILBOX),
        ({"msExchRecipientDisplayType": "-2147483642"}, RecipientKind.MAIL_USER),
        ({"msExchRecipientDisplayType": "6", "objectClass": ["top", "contact"]}, RecipientKind.CONTACT),
        ({"objectClass": ["top", "group"]}, RecipientKind.GROUP),
        ({"objectClass": ["top", "publicFolder"]}, RecipientKind.PUBLIC_FOLDER),
        ({"msExchMailboxGuid": GUID.bytes_le}, RecipientKind.MAILBOX),
        ({"targetAddress": "SMTP:a@b.example"}, RecipientKind.MAIL_USER),
        ({"mail": "a@b.example"}, RecipientKind.MAILBOX),
        ({}, RecipientKind.ACCOUNT),
    ],
)
def test_without_exchanges_word_the_rest_tells(values: dict[str, str], kind: RecipientKind) -> None:
    assert recipient(**values).kind is kind


def test_an_unknown_type_is_told_and_the_rest_tells() -> None:
    found, findings = read(msExchRecipientTypeDetails=str(1 << 60), mail="a@b.example")
    assert found is not None
    assert found.kind is RecipientKind.MAILBOX
    assert [one.code for one in findings] == ["value-unreadable"]


def test_addresses() -> None:
    proxies = ["smtp:b@x.example", "SMTP:a@x.example", "X500:/o=Old/cn=a", "sip:a@x.example", "smtp:A@x.example"]
    found = recipient(mail="a@x.example", legacyExchangeDN="/o=Acme/cn=a", proxyAddresses=proxies)
    assert found.mail == "a@x.example"
    assert found.aliases == ("b@x.example",)
    assert found.x500 == ("/o=Acme/cn=a", "/o=Old/cn=a")
    assert found.preferences["proxyAddresses"] == ("sip:a@x.example",)


def test_the_same_x500_address_comes_once() -> None:
    found = recipient(legacyExchangeDN="/o=Acme/cn=a", proxyAddresses=["x500:/O=ACME/CN=A"])
    assert found.x500 == ("/o=Acme/cn=a",)


def test_mail_that_differs_from_the_primary_becomes_an_alias() -> None:
    found, findings = read(mail="old@x.example", proxyAddresses=["SMTP:new@x.example"])
    assert found is not None
    assert (found.mail, found.aliases) == ("new@x.example", ("old@x.example",))
    assert [(one.code, one.value, one.proposal) for one in findings] == [
        ("primary-differs", "old@x.example", "new@x.example")
    ]


def test_of_two_primaries_the_one_that_mail_names_is_taken() -> None:
    found, findings = read(mail="b@x.example", proxyAddresses=["SMTP:a@x.example", "SMTP:b@x.example"])
    assert found is not None
    assert (found.mail, found.aliases) == ("b@x.example", ("a@x.example",))
    assert [one.code for one in findings] == ["primary-twice"]


def test_external_address() -> None:
    assert recipient(targetAddress="SMTP:a@b.example").external_address == "a@b.example"
    assert recipient(targetAddress="a@b.example").external_address == "a@b.example"
    found, findings = read(targetAddress="NOTES:a@b")
    assert found is not None
    assert found.external_address is None
    assert [one.code for one in findings] == ["external-address-kind"]


def test_account_state_and_times() -> None:
    found = recipient(
        userAccountControl="514",
        accountExpires="133484544000000000",
        pwdLastSet="133484544000000000",
        sAMAccountName="x",
    )
    assert not found.enabled
    assert found.expires == found.password_changed == 1703980800.0
    never = recipient(userAccountControl="512", accountExpires="9223372036854775807", pwdLastSet="0")
    assert (never.enabled, never.expires, never.password_changed) == (True, None, None)
    assert recipient(accountExpires="0").expires is None


def test_numbers_that_are_none_are_told() -> None:
    assert codes(accountExpires="soon") == ["value-unreadable"]
    assert codes(msExchMailboxGuid=b"short") == ["value-unreadable"]


def test_restrictions_delegates_and_owners_are_references() -> None:
    found = recipient(
        authOrig="CN=a,DC=x",
        dLMemSubmitPerms=["CN=g,DC=x", "CN=a,DC=x"],
        unauthOrig="CN=b,DC=x",
        publicDelegates="CN=c,DC=x",
        msExchDelegateListLink="CN=d,DC=x",
        managedBy="CN=e,DC=x",
        msExchCoManagedByLink="CN=f,DC=x",
        manager="CN=m,DC=x",
        msExchRequireAuthToSendTo="TRUE",
    )
    assert found.accept_from == ("ad:a", "ad:g")
    assert found.reject_from == ("ad:b",)
    assert found.send_on_behalf == ("ad:c",)
    assert found.full_access == ("ad:d",)
    assert found.owners == ("ad:e", "ad:f")
    assert found.manager == "ad:m"
    assert found.internal_only


def test_forwarding() -> None:
    inside = recipient(
        altRecipient="CN=a,DC=x", deliverAndRedirect="TRUE", msExchGenericForwardingAddress="smtp:o@x.example"
    )
    assert inside.forwarding == Forwarding("ad:a", keep_copy=True)
    outside = recipient(msExchGenericForwardingAddress="smtp:o@x.example")
    assert outside.forwarding == Forwarding("smtp:o@x.example", keep_copy=False)


def test_quota_of_the_mailbox_or_of_its_database() -> None:
    own = {"mDBUseDefaults": "FALSE", "mDBStorageQuota": "10", "mDBOverQuotaLimit": "20"}
    assert recipient(**own).quota == 20 * 1024
    assert recipient(**own, mDBOverHardQuotaLimit="30").quota == 30 * 1024
    assert recipient(**{**own, "mDBUseDefaults": "TRUE"}, homeMDB="CN=db").quota == 7 * 1024
    assert recipient(mDBUseDefaults="FALSE").quota is None


def test_dynamic_groups_have_their_members_or_a_finding() -> None:
    dynamic = {"objectClass": ["top", "msExchDynamicDistributionList"]}
    found = recipient(**dynamic, msExchDynamicDLFilter="(good=*)")
    assert (found.kind, found.members, found.member_filter) == (RecipientKind.DYNAMIC_GROUP, ("ad:one",), "(good=*)")
    assert codes(**dynamic, msExchDynamicDLFilter="(bad=*)") == ["dynamic-group-unresolved"]
    assert codes(**dynamic) == ["dynamic-group-unresolved"]


def test_moderation_is_told() -> None:
    assert codes(objectClass=["top", "group"], msExchEnableModeration="TRUE") == ["moderated"]


def test_the_address_book_comes_along() -> None:
    found = recipient(
        givenName="Ann",
        sn="Lee",
        department="Physics",
        telephoneNumber="1",
        otherTelephone=["2", "1"],
        streetAddress="Road 1",
        physicalDeliveryOfficeName="R 7",
        thumbnailPhoto=b"\xff\xd8\xff",
        msExchHideFromAddressLists="TRUE",
        extensionAttribute1="x",
    )
    assert found.details["departmentNumber"] == ("Physics",)
    assert found.details["telephoneNumber"] == ("1", "2")
    assert found.details["street"] == ("Road 1",)
    assert found.details["roomNumber"] == ("R 7",)
    assert found.photo == b"\xff\xd8\xff"
    assert found.hidden
    assert found.preferences["extensionAttribute1"] == ("x",)


def test_bytes_that_are_no_utf8_are_marked() -> None:
    assert recipient(displayName=b"M\xfcller").name == "M�ller"


def test_no_password_is_asked_for() -> None:
    asked = {name.lower() for name in ATTRIBUTES}
    assert not asked & {"unicodepwd", "userpassword", "ntpwdhistory", "supplementalcredentials", "*"}
