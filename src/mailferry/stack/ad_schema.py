"""Mailferry's attributes for Active Directory as LDIF, for ldifde or ldapmodify. Pure; extends nothing itself.

Names and last numbers are those of mailferry.schema. The arc is another: Active Directory keeps no number above 32 bits
in an OID, so the same UUID stands under Microsoft's arc for such (1.2.840.113556.1.8000.2554), cut as Microsoft's own
script cuts it. Source of the form: MS-ADSC, MS-ADTS 3.1.1.2. Invariant: fixed for ever, as Active Directory never
forgets a definition; only added to.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

UUID = "8e0ab036-298c-406c-96d3-de3097ea211d"
"""The one of mailferry.schema."""
_CUTS = ((0, 4), (4, 8), (9, 13), (14, 18), (19, 23), (24, 30), (30, 36))
ARC = ".".join(["1.2.840.113556.1.8000.2554", *(str(int(UUID[start:end], 16)) for start, end in _CUTS)])
CLASS = "mailferryRecipient"
_TEXT, _FLAG, _INTEGER, _TIME = ("2.5.5.12", 64), ("2.5.5.8", 1), ("2.5.5.9", 2), ("2.5.5.11", 24)
_CLASSES = ("User", "Group")
"""Whom the auxiliary class is added to; they hold our attributes from then on, also those that exist."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One attribute. `number`: below ARC. `syntax`: attributeSyntax and oMSyntax. `most`: characters."""

    name: str
    number: str
    about: str
    syntax: tuple[str, int]
    many: bool = False
    indexed: bool = False
    most: int = 0


DEFINITIONS = (
    Definition(
        "mailferryRoute",
        "1.10",
        "Where new mail goes: local or parked; without it, to Exchange",
        _TEXT,
        False,
        True,
        32,
    ),
    Definition("mailferryRouteFreshUntil", "1.15", "There while the route has just changed", _TIME, indexed=True),
    Definition("mailferryMailHost", "1.16", "The store that mail goes to whose route is local", _TEXT, most=255),
    Definition("mailferrySendOutside", "1.40", "FALSE: may not send outside; of a group: no member may", _FLAG),
    Definition("mailferryAcceptUid", "1.41", "Accounts that may send to this recipient", _TEXT, many=True, most=256),
    Definition("mailferryRejectUid", "1.42", "Accounts that may not", _TEXT, many=True, most=256),
    Definition(
        "mailferrySendAs", "1.44", "Accounts that may send as this recipient, beside itself", _TEXT, many=True, most=256
    ),
    Definition("mailferryGate", "1.43", "Number of the gate of Postfix before this recipient", _INTEGER, indexed=True),
)


def ldif(domain: str = "DC=X") -> bytes:
    """Change records. `domain`: the DN of the forest's root domain; `DC=X` is replaced by `ldifde -c`."""
    schema = f"CN=Schema,CN=Configuration,{domain}"
    steps = [
        *(_attribute(schema, one) for one in DEFINITIONS),
        _READ_AGAIN,
        _auxiliary(schema),
        _READ_AGAIN,
        *(
            f"dn: CN={name},{schema}\nchangetype: modify\nadd: auxiliaryClass\nauxiliaryClass: {CLASS}\n-\n"
            for name in _CLASSES
        ),
        _READ_AGAIN,
    ]
    return "\n".join(steps).encode()


_READ_AGAIN = "dn:\nchangetype: modify\nadd: schemaUpdateNow\nschemaUpdateNow: 1\n-\n"


def _attribute(schema: str, one: Definition) -> str:
    syntax, om_syntax = one.syntax
    return "".join(
        (
            f"dn: CN={one.name},{schema}\nchangetype: add\nobjectClass: attributeSchema\ncn: {one.name}\n",
            f"lDAPDisplayName: {one.name}\nadminDisplayName: {one.name}\nadminDescription: {one.about}\n",
            f"attributeID: {ARC}.{one.number}\nattributeSyntax: {syntax}\noMSyntax: {om_syntax}\n",
            f"isSingleValued: {'FALSE' if one.many else 'TRUE'}\nsearchFlags: {int(one.indexed)}\n",
            f"rangeLower: 0\nrangeUpper: {one.most}\n" if one.most else "",
            f"schemaIDGUID:: {_guid(one.number)}\n",
        )
    )


def _auxiliary(schema: str) -> str:
    return (
        f"dn: CN={CLASS},{schema}\nchangetype: add\nobjectClass: classSchema\ncn: {CLASS}\nlDAPDisplayName: {CLASS}\n"
        f"adminDisplayName: {CLASS}\nadminDescription: What Mailferry keeps of a recipient\n"
        f"governsID: {ARC}.3.1\nsubClassOf: top\nobjectClassCategory: 3\nrDNAttID: cn\n"
        + "".join(f"mayContain: {one.name}\n" for one in DEFINITIONS)
        + f"schemaIDGUID:: {_guid('3.1')}\n"
    )


def _guid(number: str) -> str:
    return base64.b64encode(uuid.uuid5(uuid.UUID(UUID), number).bytes_le).decode()


def rights(account: str, base: str) -> Iterator[str]:
    """Commands for Windows that let an account write these attributes of everybody below `base`, and nothing else."""
    for kind in ("user", "group"):
        for one in DEFINITIONS:
            yield f'dsacls "{base}" /I:S /G "{account}:RPWP;{one.name};{kind}"'
