"""Names of one level as a target can hold them: a reversible escape, lengths as stored, numbers against collisions.

Does not know folders or policies. The escape is `=` and two capital hexadecimal digits per byte of UTF-8, as in
quoted-printable; `%` would be a wildcard of LIST (RFC 3501 §6.3.8) and Cyrus refuses it.

Invariant: `unescape(escape(name)) == name` for every text; an escaped level is never empty, `.` or `..`, and holds no
control character.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from unicodedata import normalize

from mailferry.errors import LocalProtocolError
from mailferry.model.folder import FolderLimits, Path

_HEX = re.compile("[0-9A-F]{2}")
_ESCAPED = re.compile("(?:=[0-9A-F]{2})+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MARK = 9  # "~" and 8 hexadecimal digits in place of what a shortened name lost
_ROOM = 40  # bytes that a level must have before a path is cut at its ancestors instead


def escape(name: str, forbidden: frozenset[str] = frozenset()) -> str:
    """A name without what is forbidden, control characters, blanks at its ends, a leading `~`, or the meaning of `.`
    and `..`; `=` itself is escaped where it would read as an escape; the empty name is `=`."""
    if name in ("", "="):
        return "=3D" if name else "="
    if name in (".", ".."):
        return "=2E" * len(name)
    last = len(name) - 1
    out: list[str] = []
    for index, char in enumerate(name):
        bad = (
            char in forbidden
            or _CONTROL.match(char) is not None
            or (index in (0, last) and char.isspace())
            or (index == 0 and char == "~")
            or (char == "=" and _HEX.match(name, index + 1) is not None)
        )
        out.append("".join(f"={byte:02X}" for byte in char.encode("utf-8", "surrogatepass")) if bad else char)
    return "".join(out)


def unescape(level: str) -> str:
    """The name that `escape` was given."""
    if level == "=":
        return ""
    return _ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace("=", "")).decode("utf-8", "surrogatepass"), level)


def stored(level: str) -> int:
    """Bytes that a level takes as stored: the greater of UTF-8 and modified UTF-7 (RFC 3501 §5.1.3)."""
    plain = len(level.encode("utf-8", "surrogatepass"))
    if level.isascii() and "&" not in level:
        return plain
    length = 0
    for run in re.findall(r"[\x20-\x7e]+|[^\x20-\x7e]+", level):
        if run.isascii() and run.isprintable():
            length += len(run) + run.count("&")
        else:
            length += 2 + (len(run.encode("utf-16-be", "surrogatepass")) * 8 + 5) // 6
    return max(plain, length)


class Levels:
    """One target's way with names."""

    def __init__(self, limits: FolderLimits) -> None:
        self.limits = limits
        self.forbidden = limits.forbidden | frozenset(limits.separator or "")
        if any(char in " =~-" or (char.isascii() and char.isalnum()) for char in self.forbidden):
            raise LocalProtocolError("a target forbids characters that every folder name needs")

    def key(self, path: Path) -> Path:
        """What two paths share if the target takes them for the same folder. INBOX has no case (RFC 3501 §5.1)."""
        if path and path[0].casefold() == "inbox":
            path = ("INBOX", *path[1:])
        if not self.limits.case_insensitive:
            return path
        return tuple(normalize("NFC", normalize("NFC", level).casefold()) for level in path)

    def path(self, labels: Path) -> Path:
        """Levels that a person named, as the target can hold them."""
        place: Path = ()
        for label in labels:
            place = self.below(place, label)
        return place

    def below(self, parent: Path, name: str) -> Path:
        """The place of a folder called `name` below `parent`; nearer to the root where the target is not so deep or
        has no room for the whole path."""
        above = frozenset(char for char in name if char > "\uffff") if self.limits.bmp_only else frozenset[str]()
        level = escape(name, self.forbidden | above)
        whole = "/".join((*parent, name))
        while parent and (
            (self.limits.max_depth is not None and len(parent) >= self.limits.max_depth)
            or (self._room(parent) < min(_ROOM, stored(level)))
        ):
            level = f"{parent[-1]} - {level}"
            parent = parent[:-1]
        return (*parent, self.fit(level, whole, parent))

    def fit(self, level: str, whole: str, parent: Path = ()) -> str:
        """A level shortened to the target's length; what is lost is replaced by a digest of `whole`."""
        room = max(self._room(parent), _MARK + 1)
        if stored(level) <= room:
            return level
        mark = "~" + blake2b((whole or level).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        while stored(level) > room - _MARK:
            level = level[:-1]
        return level.rstrip() + mark

    def numbered(self, level: str, number: int, parent: Path) -> str:
        """The level with a number behind it: ` (2)`, or `~2` where the target has no parentheses."""
        suffix = f"~{number}" if self.forbidden & {"(", ")"} else f" ({number})"
        room = max(self._room(parent), len(suffix) + 1)
        while stored(level + suffix) > room:
            level = level[:-1].rstrip()
        return level + suffix

    def _room(self, parent: Path) -> int:
        """Bytes for one more level below `parent`."""
        if self.limits.max_path is None:
            return self.limits.max_name
        used = sum(stored(level) + 1 for level in parent)
        return min(self.limits.max_name, self.limits.max_path - used)
