"""Values of Graph's JSON: what is of another type than expected is as if it were missing. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeVar

T = TypeVar("T")
Json = Mapping[str, Any]


def obj(value: Any) -> Json:
    """An object; empty for anything else."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """A list; empty for anything else."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """A text; "" for anything else."""
    return value if isinstance(value, str) else ""


def texts(value: Any) -> tuple[str, ...]:
    """The texts of a list that are not empty."""
    return tuple(one for one in listed(value) if isinstance(one, str) and one)


def number(value: Any) -> int | None:
    """A whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def clock(value: Any) -> datetime | None:
    """The wall-clock time of a dateTimeTimeZone or a DateTimeOffset (seven digits of a second), naive."""
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text(value)).removesuffix("Z"))
    except ValueError:
        return None
    return found.replace(tzinfo=None)


def instant(value: Any) -> datetime | None:
    """A DateTimeOffset, which Graph gives in UTC."""
    found = clock(value)
    return None if found is None else found.replace(tzinfo=UTC)


def day(value: Any) -> date | None:
    """An Edm.Date."""
    try:
        return date.fromisoformat(text(value)[:10])
    except ValueError:
        return None


def named(names: Mapping[str, T], value: Any, default: T) -> T:
    """What a name stands for, whatever its case."""
    return names.get(text(value).lower(), default)


def enum(kind: Callable[[str], T], value: Any, default: T) -> T:
    """The member of an enum of ours whose value a name is, whatever its case."""
    try:
        return kind(text(value).lower())
    except ValueError:
        return default
