"""What Get-MailboxFolderPermission and its like export (rows of properties) → permissions. Pure.

Cmdlets: Get-MailboxFolderPermission, Get-MailboxPermission, Get-RecipientPermission, Get-ADPermission, and of
Get-Mailbox the list GrantSendOnBehalfTo; the properties of a row tell which. Invariant: an entry whose rights were
lost on the way (Export-Csv writes the type of a list) stands there with what is written, which nobody takes for a
right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mailferry.errors import UserError
from mailferry.model.permission import Access, Everybody, Permission
from mailferry.rules import values
from mailferry.wire import exports

ADVICE = "docs/sharing.md shows how to export permissions"
WHOLE = frozenset(
    (
        *("accessrights", "extendedrights", "grantsendonbehalfto", "adrecipient", "recipientprincipal"),
        *("primarysmtpaddress", "permission"),
    )
)
_MAILBOX = ("mailbox", "mailboxidentity", "mailboxowner", "primarysmtpaddress")
_FOLDER = ("folderpath", "folder", "foldername")
_SLASH = "\uf8ff"
"""What Get-MailboxFolderStatistics writes for a slash within a name."""
_SPLIT = re.compile(r"[,;|]\s*")
_FLAGS = {"1": ("Delegate",), "2": ("CanViewPrivateItems",), "3": ("Delegate", "CanViewPrivateItems")}


def permissions(name: str, content: bytes, mailbox: str | None = None) -> list[Permission]:
    """All entries of a file. `mailbox`: whose it is where the file does not say; default the file's name. UserError:
    none of these formats, or a row of something else."""
    whose = mailbox or re.sub(r"\.[^.]*$", "", name.rpartition("/")[2])
    found = []
    for number, row in enumerate(exports.rows(name, content, ADVICE, WHOLE), start=1):
        found += _row(f"{name}:{number}", {key.lower(): value for key, value in row.items()}, whose)
    return found


def _row(origin: str, row: exports.Row, whose: str) -> list[Permission]:
    if "grantsendonbehalfto" in row:
        owner = _first(row, (*_MAILBOX, "identity")) or whose
        return [Permission(owner, one, Access.ON_BEHALF, origin) for one in _users(row["grantsendonbehalfto"])]
    if "trustee" in row or "extendedrights" in row:
        return list(_sending(origin, row, whose))
    if "accessrights" not in row or "user" not in row:
        raise UserError("it is no permission", about=origin, advice=ADVICE)
    rights = _words(row["accessrights"])
    user = _user(row["user"])
    if any(name in row for name in (*_FOLDER, "sharingpermissionflags")):
        owner, folder = _place(row, whose)
        flags = _flags(row.get("sharingpermissionflags"))
        delegate, private = "Delegate" in flags, "CanViewPrivateItems" in flags
        return [Permission(owner, user, Access.FOLDER, origin, folder, rights, delegate=delegate, private=private)]
    owner = _first(row, (*_MAILBOX, "identity")) or whose
    denied, inherited = _yes(row.get("deny")), _yes(row.get("isinherited"))
    return [Permission(owner, user, Access.FULL, origin, rights=rights, denied=denied, inherited=inherited)]


def _sending(origin: str, row: exports.Row, whose: str) -> Iterator[Permission]:
    """Of Get-RecipientPermission (Trustee), and of Get-ADPermission (ExtendedRights), which tells much else."""
    rights = _words(row.get("extendedrights")) + _words(row.get("accessrights"))
    if not any(one.replace("-", "").lower() == "sendas" for one in rights):
        return
    owner = _first(row, (*_MAILBOX, "identity")) or whose
    denied = _yes(row.get("deny")) or _text(row.get("accesscontroltype")).lower() == "deny"
    user = _user(row.get("trustee", row.get("user")))
    yield Permission(owner, user, Access.SEND_AS, origin, denied=denied, inherited=_yes(row.get("isinherited")))


def _place(row: exports.Row, whose: str) -> tuple[str, str]:
    """Whose folder, and which: `ann@acme.example:\\Inbox\\Projects` says both."""
    owner, folder = _first(row, _MAILBOX), _first(row, _FOLDER)
    identity = _text(row.get("identity"))
    if ":\\" in identity:
        before, _, path = identity.partition(":\\")
        owner, folder = owner or before, path if "folderpath" not in row else folder
    path = folder.replace("/", "\\") if folder.startswith("/") else folder
    return owner or whose, values.folder(path).replace(_SLASH, "/")


def _users(value: Any) -> list[str | Everybody]:
    many = value if isinstance(value, list | tuple) else _SPLIT.split(value) if isinstance(value, str) else [value]
    return [_user(one) for one in many if one]


def _user(value: Any) -> str | Everybody:
    """Whom an entry is for: the address, where the export has one, else the name."""
    if isinstance(value, Mapping):
        parts = {str(name).lower(): part for name, part in value.items()}
        for name in ("adrecipient", "recipientprincipal"):
            if isinstance(parts.get(name), Mapping) and (address := _text(parts[name])):
                return address
        kind = _text(parts.get("usertype"))
        text = kind if kind in ("Default", "Anonymous") else _text(value)
    else:
        text = values.person(_text(value))
    return next((one for one in Everybody if one.value.lower() == text.lower()), text)


def _words(value: Any) -> tuple[str, ...]:
    many = value if isinstance(value, list | tuple) else [value]
    texts = [_text(one).strip("{}") for one in many]
    return tuple(word.strip() for text in texts for word in _SPLIT.split(text) if word.strip())


def _flags(value: Any) -> tuple[str, ...]:
    words = _words(value)
    return _FLAGS.get(words[0], words) if words else ()


def _yes(value: Any) -> bool:
    return _text(value).lower() == "true"


def _first(row: exports.Row, names: Iterable[str]) -> str:
    return next((text for name in names if (text := _text(row.get(name)))), "")


def _text(value: Any) -> str:
    """A value's text; of an object the part that says who or what it is."""
    if value is None:
        return ""
    if not isinstance(value, Mapping):
        return str(value).strip()
    parts = {str(name).lower(): part for name, part in value.items()}
    for name in ("address", "primarysmtpaddress", "permission", "value", "displayname", "distinguishedname", "name"):
        if found := _text(parts.get(name)):
            return found
    return ""
