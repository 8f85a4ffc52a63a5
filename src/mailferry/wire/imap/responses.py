"""Gives meaning to one split response: values in, one event out. Does not frame and keeps no state.

Invariant: a response that we know but which does not have its shape raises RemoteProtocolError; one that we do not
know is `Unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mailferry.errors import RemoteProtocolError
from mailferry.wire.imap import dates, events, flags, sets
from mailferry.wire.imap.events import Code, Event, Streamed
from mailferry.wire.imap.tokens import Value

MAX_TEXT = 300
_CODE = re.compile(rb"\[([^\s\]]+)(?: ((?:[^\]\"]|\"(?:[^\"\\]|\\.)*\")*))?\] ?")
_WORD = re.compile(rb"[^\s()]+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_NUMBERED = frozenset({"UIDVALIDITY", "UIDNEXT", "UNSEEN", "HIGHESTMODSEQ"})


def show(text: bytes) -> str:
    """Words of a server, fit for a terminal and a log: one line, at most 300 characters."""
    shown = text.decode("utf-8", "replace") if not text.isascii() else text.decode("ascii")
    return _UNPRINTABLE.sub(" ", shown[: MAX_TEXT * 2]).strip()[:MAX_TEXT]


def resp_text(raw: bytes) -> tuple[Code | None, str]:
    """resp-text (RFC 3501 §9): an optional code in brackets, then words. An unreadable code counts as words."""
    match = _CODE.match(raw) if raw[:1] == b"[" else None
    if match is None:
        return None, show(raw)
    return _code(match[1].decode("latin-1").upper(), match[2] or b""), show(raw[match.end() :])


def _code(name: str, rest: bytes) -> Code:
    atoms = tuple(word.decode("latin-1") for word in _WORD.findall(rest))
    if name in _NUMBERED and len(atoms) == 1:
        return Code(name, number=_number(rest))
    if name == "APPENDUID" and len(atoms) == 2:
        return Code(name, number=_number(atoms[0].encode("latin-1")), uids=sets.parse(atoms[1].encode("latin-1")))
    if name == "COPYUID" and len(atoms) == 3:
        number, source, target = (atom.encode("latin-1") for atom in atoms)
        return Code(name, number=_number(number), source_uids=sets.parse(source), uids=sets.parse(target))
    if name == "MODIFIED" and len(atoms) == 1:
        return Code(name, uids=sets.parse(atoms[0].encode("latin-1")))
    return Code(name, atoms=atoms)


def interpret(values: list[Value]) -> Event:
    """One untagged response, without its `*`, as an event. Status responses are not among them."""
    if not values or not isinstance(values[0], bytes):
        raise _malformed("untagged response")
    name = values[0].upper()
    if name.isdigit() and len(values) > 1 and isinstance(values[1], bytes):
        number, kind = _number(values[0]), values[1].upper()
        if kind == b"FETCH":
            return _fetch(number, values[2:])
        if kind == b"EXISTS":
            return events.Exists(number)
        if kind == b"RECENT":
            return events.Recent(number)
        if kind == b"EXPUNGE":
            return events.Expunge(number)
        return events.Unknown(show(kind))
    reader = _READERS.get(name)
    if reader is None:
        return events.Unknown(show(name))
    try:
        return reader(values[1:])
    except (IndexError, TypeError, AttributeError, ValueError) as error:
        raise _malformed(show(name)) from error


def _fetch(seq: int, values: list[Value]) -> events.Fetch:
    if len(values) != 1 or not isinstance(values[0], list) or len(values[0]) % 2:
        raise _malformed("FETCH")
    items = values[0]
    fetch = events.Fetch(seq)
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, bytes):
            raise _malformed("FETCH")
        item = key.upper()
        if item == b"UID":
            fetch = fetch._replace(uid=_number(value))
        elif item == b"FLAGS":
            bits, keywords = flags.parse(b" ".join(_flat(value)))
            fetch = fetch._replace(flags=bits, keywords=keywords)
        elif item == b"INTERNALDATE":
            fetch = fetch._replace(internal_date=dates.parse(value) if isinstance(value, bytes) else None)
        elif item == b"RFC822.SIZE":
            fetch = fetch._replace(size=_number(value))
        elif item == b"MODSEQ":
            fetch = fetch._replace(modseq=_number(_flat(value)[0]) if value else None)
        elif item in (b"BODY[]", b"RFC822", b"BINARY[]"):
            fetch = fetch._replace(body=_content(value))
        elif item.startswith(b"BODY[HEADER") or item == b"RFC822.HEADER":
            fetch = fetch._replace(header=_content(value))
    return fetch


def _content(value: Value) -> bytes | Streamed | None:
    if value is None or isinstance(value, bytes | Streamed):
        return value
    raise _malformed("FETCH")


def _number(value: Value) -> int:
    """At most 63 bits (RFC 9051 number64)."""
    if not isinstance(value, bytes) or not value.isdigit() or len(value) > 19:
        raise RemoteProtocolError("the server sent something else where a number belongs")
    number = int(value)
    if number >= 1 << 63:
        raise RemoteProtocolError("the server sent a number beyond 63 bits")
    return number


def _flat(value: Value) -> list[bytes]:
    if not isinstance(value, list) or not all(isinstance(word, bytes) for word in value):
        raise _malformed("list")
    return value


def _string(value: Value) -> bytes:
    """An astring; the unquoted word NIL is a name like any other where no NIL is possible."""
    if value is None:
        return b"NIL"
    if not isinstance(value, bytes):
        raise _malformed("string")
    return value


def _upper(words: list[bytes]) -> frozenset[str]:
    return frozenset(word.decode("latin-1").upper() for word in words)


def _text(value: Value) -> str:
    return _string(value).decode("utf-8", "replace")


def _separator(value: Value) -> str | None:
    return None if value is None else _string(value).decode("latin-1")[:1] or None


def _malformed(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"the server sent a malformed response: {what}")


def _list(values: list[Value], lsub: bool = False) -> Event:
    childinfo: frozenset[str] = frozenset()
    if len(values) > 3 and isinstance(values[3], list):
        extended = values[3]
        for key, value in zip(extended[::2], extended[1::2], strict=False):
            if isinstance(key, bytes) and key.upper() == b"CHILDINFO":
                childinfo = _upper(_flat(value))
    return events.Listed(_string(values[2]), _separator(values[1]), _upper(_flat(values[0])), lsub, childinfo)


def _lsub(values: list[Value]) -> Event:
    return _list(values, lsub=True)


def _status(values: list[Value]) -> Event:
    items = values[1]
    numbers = {
        _text(key).upper(): _number(value)
        for key, value in zip(items[::2], items[1::2], strict=True)
        if isinstance(value, bytes) and value.isdigit()
    }
    return events.Status(_string(values[0]), numbers)


def _search(values: list[Value]) -> Event:
    modseq = None
    if values and isinstance(values[-1], list):  # RFC 7162 §3.1.5
        modseq = _number(values.pop()[1])
    return events.Search(tuple((number, number) for number in map(_number, values)), modseq=modseq)


def _esearch(values: list[Value]) -> Event:
    tag = None
    if values and isinstance(values[0], list):
        tag = _flat(values.pop(0))[1]
    words = [value for value in values if not (isinstance(value, bytes) and value.upper() == b"UID")]
    found = {key.upper(): value for key, value in zip(words[::2], words[1::2], strict=True)}
    count, modseq = found.get(b"COUNT"), found.get(b"MODSEQ")
    return events.Search(
        sets.parse(found[b"ALL"]) if b"ALL" in found else (),
        tag=tag,
        count=None if count is None else _number(count),
        modseq=None if modseq is None else _number(modseq),
    )


def _namespace(values: list[Value]) -> Event:
    def pairs(value: Value) -> tuple[tuple[bytes, str | None], ...]:
        return tuple((_string(entry[0]), _separator(entry[1])) for entry in value or ())

    return events.Namespaces(pairs(values[0]), pairs(values[1]), pairs(values[2]))


def _vanished(values: list[Value]) -> Event:
    earlier = isinstance(values[0], list)
    return events.Vanished(sets.parse(_string(values[1 if earlier else 0])), earlier)


def _flags(values: list[Value]) -> Event:
    bits, keywords = flags.parse(b" ".join(_flat(values[0])))
    return events.Flags(bits, keywords)


def _acl(values: list[Value]) -> Event:
    pairs = values[1:]
    return events.Acl(
        _string(values[0]), {_text(key): _text(value) for key, value in zip(pairs[::2], pairs[1::2], strict=True)}
    )


def _quota(values: list[Value]) -> Event:
    words = values[1] if len(values) > 1 else []  # Courier leaves an empty list out
    resources = {
        _text(words[at]).upper(): (_number(words[at + 1]), _number(words[at + 2])) for at in range(0, len(words), 3)
    }
    return events.Quota(_string(values[0]), resources)


def _metadata(values: list[Value]) -> Event:
    entries: dict[str, bytes | None] = {}
    if isinstance(values[1], list):
        for key, value in zip(values[1][::2], values[1][1::2], strict=True):
            entries[_text(key)] = _value(value)
    else:  # unsolicited: names only, RFC 5464 §4.4.2
        entries = {_text(entry): None for entry in values[1:]}
    return events.Metadata(_string(values[0]), entries)


def _annotation(values: list[Value]) -> Event:
    """draft-daboo-imap-annotatemore-05: name, entry, (attribute value …), entry, …"""
    entries: dict[str, bytes | None] = {}
    for entry, attributes in zip(values[1::2], values[2::2], strict=True):
        for attribute, value in zip(attributes[::2], attributes[1::2], strict=True):
            scope = {b"value.priv": "/private", b"value.shared": "/shared"}.get(_string(attribute).lower())
            if scope is not None:
                entries[scope + _text(entry)] = _value(value)
    return events.Metadata(_string(values[0]), entries)


def _value(value: Value) -> bytes | None:
    return None if value is None else _string(value)


def _id(values: list[Value]) -> Event:
    pairs = values[0] or []
    return events.Id(
        {
            _text(key).lower(): show(_string(value))
            for key, value in zip(pairs[::2], pairs[1::2], strict=True)
            if value is not None
        }
    )


_READERS: dict[bytes, Callable[[list[Value]], Event]] = {
    b"LIST": _list,
    b"LSUB": _lsub,
    b"STATUS": _status,
    b"SEARCH": _search,
    b"ESEARCH": _esearch,
    b"CAPABILITY": lambda values: events.Capability(_upper(_flat(values))),
    b"ENABLED": lambda values: events.Enabled(_upper(_flat(values))),
    b"NAMESPACE": _namespace,
    b"VANISHED": _vanished,
    b"FLAGS": _flags,
    b"ACL": _acl,
    b"MYRIGHTS": lambda values: events.MyRights(_string(values[0]), _text(values[1])),
    b"QUOTA": _quota,
    b"QUOTAROOT": lambda values: events.QuotaRoot(_string(values[0]), tuple(map(_string, values[1:]))),
    b"METADATA": _metadata,
    b"ANNOTATION": _annotation,
    b"ID": _id,
}
