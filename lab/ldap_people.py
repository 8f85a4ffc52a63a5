"""Entries of people as the directory sync writes them, for tests of servers that hold them."""

from __future__ import annotations

from mailferry.wire import ldif

Entry = tuple[str, dict[str, list[bytes]]]
Text = str | list[str]


def person(suffix: str, uid: str, **more: Text) -> Entry:
    """(DN, attributes) of a person with the address UID@acme.example; `more` replaces or adds attributes."""
    address = f"{uid}@acme.example"
    values: dict[str, Text] = {
        "objectClass": ["inetOrgPerson", "inetLocalMailRecipient", "mailferryRecipient"],
        "uid": uid,
        "cn": "Alice Archer",
        "givenName": "Alice",
        "sn": "Archer",
        "mail": address,
        "mailLocalAddress": address,
        "mailferrySourceId": f"ad:{uid}",
        "mailferryKind": "mailbox",
        "mailferryRoute": "exchange",
        **more,
    }
    lists = {name: [some] if isinstance(some, str) else some for name, some in values.items()}
    return f"uid={uid},ou=people,{suffix}", {name: [one.encode() for one in some] for name, some in lists.items()}


def as_ldif(entry: Entry) -> bytes:
    return ldif.emit(*entry)


def as_modlist(entry: Entry) -> list[tuple[str, list[bytes]]]:
    """What python-ldap's add_s takes."""
    return list(entry[1].items())
