"""What Exchange adds to Active Directory's schema, as far as Mailferry reads or writes it.

Object identifiers are Exchange's own where they are published (shared knowledge, MS-OXOABK); the rest stand under the
arc that Microsoft gives to scripts (1.2.840.113556.1.8000.2554), since only the names matter to LDAP. Text
only; whoever loads it decides how.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

_EXCHANGE = "1.2.840.113556.1.4.7000.102"
_OLD = "1.2.840.113556.1.2"
_OWN = "1.2.840.113556.1.8000.2554.4711"

_TEXT, _DN, _OR_NAME, _FLAG, _INTEGER, _LARGE, _OCTETS, _SID = (
    ("2.5.5.12", 64),
    ("2.5.5.1", 127),
    ("2.5.5.7", 127),
    ("2.5.5.8", 1),
    ("2.5.5.9", 2),
    ("2.5.5.16", 65),
    ("2.5.5.10", 4),
    ("2.5.5.17", 4),
)
_OBJECT_CLASSES = {  # oMObjectClass: which kind of object name oMSyntax 127 is
    "2.5.5.1": bytes.fromhex("2b0c0287731c00854a"),
    "2.5.5.7": bytes.fromhex("56060102050b1d"),
}

_ATTRIBUTES: tuple[tuple[str, str, tuple[str, int], bool], ...] = (  # name, OID, (syntax, oMSyntax), many values
    ("targetAddress", f"{_OLD}.352", _TEXT, False),
    ("mailNickname", f"{_OLD}.447", _TEXT, False),
    ("homeMDB", f"{_OLD}.244", _DN, False),
    ("altRecipient", f"{_OLD}.126", _DN, False),
    ("deliverAndRedirect", f"{_OLD}.190", _FLAG, False),
    ("publicDelegates", f"{_OLD}.241", _DN, True),
    ("authOrig", f"{_OLD}.129", _OR_NAME, True),
    ("unauthOrig", f"{_OLD}.221", _OR_NAME, True),
    ("dLMemSubmitPerms", f"{_OLD}.144", _OR_NAME, True),
    ("dLMemRejectPerms", f"{_OWN}.1", _OR_NAME, True),
    ("extensionAttribute1", f"{_OLD}.423", _TEXT, False),
    *((f"extensionAttribute{number}", f"{_OWN}.{200 + number}", _TEXT, False) for number in range(2, 16)),
    ("hideDLMembership", f"{_OWN}.13", _FLAG, False),
    ("msExchEnableModeration", f"{_OWN}.14", _FLAG, False),
    ("msExchModeratedByLink", f"{_OWN}.15", _DN, True),
    ("mDBUseDefaults", f"{_OWN}.2", _FLAG, False),
    ("mDBStorageQuota", f"{_OWN}.3", _INTEGER, False),
    ("mDBOverQuotaLimit", f"{_OWN}.4", _INTEGER, False),
    ("mDBOverHardQuotaLimit", f"{_OWN}.5", _INTEGER, False),
    ("msExchHideFromAddressLists", f"{_EXCHANGE}.73", _FLAG, False),
    ("msExchHomeServerName", f"{_EXCHANGE}.47", _TEXT, False),
    ("msExchMailboxGuid", f"{_EXCHANGE}.11058", _OCTETS, False),
    ("msExchMasterAccountSid", f"{_EXCHANGE}.81", _SID, False),
    ("msExchRecipientTypeDetails", f"{_EXCHANGE}.50855", _LARGE, False),
    ("msExchRecipientDisplayType", f"{_EXCHANGE}.50730", _INTEGER, False),
    ("msExchUserCulture", f"{_EXCHANGE}.50773", _TEXT, False),
    ("msExchRequireAuthToSendTo", f"{_OWN}.6", _FLAG, False),
    ("msExchDelegateListLink", f"{_OWN}.7", _DN, True),
    ("msExchCoManagedByLink", f"{_OWN}.8", _DN, True),
    ("msExchGenericForwardingAddress", f"{_OWN}.9", _TEXT, False),
    ("msExchDynamicDLFilter", f"{_OWN}.10", _TEXT, False),
    ("msExchDynamicDLBaseDN", f"{_OWN}.11", _DN, False),
    ("msExchRemoteRecipientType", f"{_OWN}.12", _LARGE, False),
    ("mailHost", "2.16.840.1.113730.3.1.18", _TEXT, False),
)

_LINKS = {  # linkID: a value goes when its target is deleted. Exchange's own numbers, without the back links
    "homeMDB": 32,
    "altRecipient": 126,
    "publicDelegates": 14,
    "authOrig": 110,
    "dLMemSubmitPerms": 112,
    "unauthOrig": 114,
    "dLMemRejectPerms": 116,
    "msExchDelegateListLink": 3102,
    "msExchCoManagedByLink": 3104,
    "msExchModeratedByLink": 3106,
}

_READABLE = (  # for everybody who is logged in, as of the classes that Exchange brings
    "D:(A;;RPWPCRCCDCLCLORCWOWDSDDTSW;;;DA)(A;;RPWPCRCCDCLCLORCWOWDSDDTSW;;;SY)(A;;RPLCLORC;;;AU)"
)
_CLASSES = (  # of their own in Exchange: all of mailRecipient's attributes, and some of a group's
    ("msExchDynamicDistributionList", f"{_OWN}.101", ("managedBy",)),
    ("publicFolder", f"{_OWN}.102", ()),
)


def schema_ldif(domain_dn: str) -> Iterator[str]:
    """LDIF change records in three steps: attributes, what mailRecipient may hold, new classes.

    Each step needs the schema to be read again after the one before it.
    """
    schema = f"CN=Schema,CN=Configuration,{domain_dn}"
    yield "\n".join(_attribute(schema, *attribute) for attribute in _ATTRIBUTES)
    may = "".join(f"mayContain: {name}\n" for name, *_ in _ATTRIBUTES)
    yield f"dn: CN=Mail-Recipient,{schema}\nchangetype: modify\nadd: mayContain\n{may}-\n"
    yield "\n".join(_class(schema, *definition) for definition in _CLASSES)


def _attribute(schema: str, name: str, oid: str, syntax: tuple[str, int], many: bool) -> str:
    ldap_syntax, om_syntax = syntax
    kind = _OBJECT_CLASSES.get(ldap_syntax)
    object_class = f"oMObjectClass:: {base64.b64encode(kind).decode()}\n" if kind else ""
    link = f"linkID: {_LINKS[name]}\n" if name in _LINKS else ""
    return (
        f"dn: CN={name},{schema}\nchangetype: add\nobjectClass: attributeSchema\ncn: {name}\n"
        f"lDAPDisplayName: {name}\nattributeID: {oid}\nattributeSyntax: {ldap_syntax}\noMSyntax: {om_syntax}\n"
        f"{object_class}{link}isSingleValued: {'FALSE' if many else 'TRUE'}\nsearchFlags: 0\n"
    )


def _class(schema: str, name: str, oid: str, may: tuple[str, ...]) -> str:
    return (
        f"dn: CN={name},{schema}\nchangetype: add\nobjectClass: classSchema\ncn: {name}\nlDAPDisplayName: {name}\n"
        f"governsID: {oid}\nsubClassOf: top\nobjectClassCategory: 1\nrDNAttID: cn\nsystemOnly: FALSE\n"
        f"defaultSecurityDescriptor: {_READABLE}\n"
        "auxiliaryClass: mailRecipient\npossSuperiors: organizationalUnit\npossSuperiors: container\n"
        + "".join(f"mayContain: {attribute}\n" for attribute in ("displayName", "mail", "proxyAddresses", *may))
    )
