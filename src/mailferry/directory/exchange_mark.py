"""The mark by which a mail user in Exchange is known as somebody of the open side. Pure.

`mailferry:` and the entryUUID of the open directory's entry; with `:account` behind it where the account was there
before us. Whoever carries it is in the open directory already, so no reader brings it back as one more person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PREFIX, _ACCOUNT = "mailferry:", ":account"
_MARK = re.compile(r"mailferry:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?::account)?")


def mark(uuid: str) -> str:
    """The mark of a mail user that is made whole from the entry with this entryUUID."""
    return _PREFIX + uuid.lower()


def of_account(mark: str) -> str:
    """The mark where only an account's mail attributes are ours."""
    return mark + _ACCOUNT


def plain(mark: str) -> tuple[str, bool]:
    """A mark as `mark` made it, and whether it is that of an account."""
    return mark.removesuffix(_ACCOUNT), mark.endswith(_ACCOUNT)


def marked(texts: Iterable[str]) -> str | None:
    """The mark among the values of custom attributes, if there is one."""
    return next((text for text in texts if _MARK.fullmatch(text)), None)
