"""Ids for entries of files that have none: the same from one export to the next, as far as the file allows; and what
refers to them.

Invariant: no id is given twice by one `Ids`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

from mailferry.directory.codes import finding
from mailferry.model.recipient import Finding, Recipient

_REFERENCES = ("members", "owners", "accept_from", "reject_from", "send_on_behalf", "full_access")


def digest(*parts: str) -> str:
    """A key out of what an entry says, 16 hexadecimal digits; case and blanks do not count."""
    text = "\0".join(" ".join(part.casefold().split()) for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def with_references(recipient: Recipient, right: Callable[[str], str]) -> Recipient:
    """The recipient with each of its references changed by `right`."""
    changes: dict[str, Any] = {
        name: tuple(map(right, values)) for name in _REFERENCES if (values := getattr(recipient, name))
    }
    if recipient.manager is not None:
        changes["manager"] = right(recipient.manager)
    if recipient.forwarding is not None:
        changes["forwarding"] = dataclasses.replace(recipient.forwarding, to=right(recipient.forwarding.to))
    return dataclasses.replace(recipient, **changes) if changes else recipient


class Ids:
    """The ids of one file. `prefix`: `csv:`, `ldif:` or `vcard:`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.given: dict[str, int] = {}

    def give(self, own: str, key: str, where: str) -> tuple[str, list[Finding]]:
        """An id: `own` (the source's, with its prefix) if not "", else made of `key`; and a note where a second entry
        has the same one."""
        wanted = own or self.prefix + key
        number = self.given[wanted] = self.given.get(wanted, 0) + 1
        if number == 1:
            return wanted, []
        name = f"{wanted}#{number}"
        self.given.setdefault(name, 1)
        message = f"the {number}. entry with the key {wanted}; its id holds while the order of the file does"
        return name, [finding("id-unsteady", where, message, about=name, value=wanted)]
