"""Who knows a person's password, and when the hash kept here has to go. Pure; sees no password.

`source`: the source is asked at every log-in, nothing is kept. `capture`: it is asked until one log-in has succeeded,
whose password is then kept here as a hash. `here`: the source is asked no more. The rule that slapd follows is in
docs/decisions/0005-passwords.md. Invariant: a hash taken from the source never outlives that password there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FROM, BIND_NAME, CHANGED, ENABLED = (
    *("mailferryPasswordFrom", "mailferryBindName"),
    *("mailferryPasswordChanged", "mailferryEnabled"),
)
SOURCE, CAPTURE, HERE = "source", "capture", "here"

Attributes = Mapping[str, Sequence[bytes]]
Modification = tuple[int, str, list[bytes]]

REPLACE = 2
"""RFC 4511 §4.6: without values, the attribute goes, if it is there."""


def forget(before: Attributes, after: Attributes) -> list[Modification]:
    """What to add to the modification that makes `after` of `before` (attributes of one entry, by the names above):
    the removal of its userPassword, when the source's password has changed, when the account was disabled, or when
    the source is in charge again; else nothing. The next log-in asks the source, and captures again."""
    if _one(before, FROM) not in (CAPTURE, HERE) or _one(after, FROM) == HERE:
        return []
    changed = any(_one(before, name) != _one(after, name) for name in (FROM, CHANGED, ENABLED))
    return [(REPLACE, "userPassword", [])] if changed else []


def _one(attributes: Attributes, name: str) -> str:
    values = attributes.get(name, ())
    return values[0].decode().lower() if values else ""
