"""Whose rights may be carried to whom (law 4). A name in the target is another person's unless something says so."""

from __future__ import annotations

from collections.abc import Mapping


def map_rights(
    rights: Mapping[str, str], people: Mapping[str, str], same_names: bool
) -> tuple[dict[str, str], list[str]]:
    """Rights by target identifier, and the source identifiers that nobody is known for.

    `people`: source user to target user, from the account list. `same_names`: a name that is not in it means the same
    person, group or `anyone` (RFC 4314 §2) on both sides. Rights of two who become one are joined.
    """
    granted: dict[str, str] = {}
    unknown = []
    for name, letters in rights.items():
        whose = people.get(name, name if same_names else None)
        if whose is None:
            unknown.append(name)
        else:
            granted[whose] = "".join(sorted({*granted.get(whose, ""), *letters}))
    return granted, sorted(unknown)
