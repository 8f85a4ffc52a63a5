"""Mail users of the open side as LDIF change records for Active Directory, and the records that undo them. Pure.

For ldifde and ldapmodify. New accounts are disabled and have no password. Invariant: an undo record touches nobody who
does not carry the mark of the person it is about: its first step takes the mark away, and fails where it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailferry.directory.exchange_plan import MAIL_ATTRIBUTES, How, MailUser
from mailferry.wire import ldif

_DISABLED = "546"  # normal account, disabled, password not required (MS-ADTS 2.2.16)
_FIXED = {
    "msExchRecipientDisplayType": "6",
    "msExchRecipientTypeDetails": "128",
    "mAPIRecipient": "FALSE",  # UseMapiRichTextFormat Never
}
"""What makes a mail user one for Exchange (MS-OXOABK 2.2.3.11; Get-Recipient's RecipientTypeDetails)."""


def records(users: list[MailUser], mark_attribute: str) -> Iterator[bytes]:
    """The change records, in order."""
    yield ldif.HEADER
    for one in users:
        if one.how is How.NEW:
            yield ldif.emit(one.dn, _octets(_new(one, mark_attribute)))
        elif one.how is How.ENABLE:
            values = {**{name: one.values[name] for name in MAIL_ATTRIBUTES}, **_fixed(), mark_attribute: (one.mark,)}
            yield ldif.emit_modification(one.dn, [("add", name, _bytes(found)) for name, found in values.items()])
        else:
            yield ldif.emit_modification(one.dn, _replaced(one.values, one.before))


def undo(users: list[MailUser], mark_attribute: str) -> Iterator[bytes]:
    """The change records that take all of that back, the last first."""
    yield ldif.HEADER
    for one in reversed(users):
        guard = ("delete", mark_attribute, (one.mark.encode(),))
        if one.how is How.UPDATE:
            again = ("add", mark_attribute, (one.mark.encode(),))
            yield ldif.emit_modification(one.dn, [guard, again, *_replaced(one.before, one.values)])
        elif one.how is How.ENABLE:
            names = (*MAIL_ATTRIBUTES, *_FIXED)
            yield ldif.emit_modification(one.dn, [guard, *(("replace", name, ()) for name in names)])
        else:
            yield ldif.emit_modification(one.dn, [guard])
            yield ldif.emit(one.dn, {"changetype": [b"delete"]})


def _new(one: MailUser, mark_attribute: str) -> Mapping[str, tuple[str, ...]]:
    return {
        "changetype": ("add",),
        "objectClass": ("user",),
        "cn": (one.name,),
        "sAMAccountName": (one.account,),
        "userPrincipalName": (one.principal,),
        "userAccountControl": (_DISABLED,),
        **one.values,
        **_fixed(),
        mark_attribute: (one.mark,),
    }


def _fixed() -> dict[str, tuple[str, ...]]:
    return {name: (value,) for name, value in _FIXED.items()}


def _replaced(
    wanted: Mapping[str, tuple[str, ...]], present: Mapping[str, tuple[str, ...]]
) -> list[tuple[str, str, tuple[bytes, ...]]]:
    different = [name for name in wanted if wanted.get(name, ()) != present.get(name, ())]
    return [("replace", name, _bytes(wanted.get(name, ()))) for name in different]


def _octets(values: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[bytes, ...]]:
    return {name: _bytes(found) for name, found in values.items()}


def _bytes(values: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(value.encode() for value in values)
