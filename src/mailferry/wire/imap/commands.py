"""Commands as bytes: quoting, literals, mailbox names, flags, APPEND. Does not send and makes no tags.

Sources: RFC 3501 §4.3, RFC 7888 (LITERAL+, LITERAL-), RFC 3516 (literal8).
"""

from __future__ import annotations

import re

from mailferry.errors import LocalProtocolError

MAX_COMMAND = 4000
"""Some servers (Exchange Online) refuse commands of more than 4 KB."""

_ATOM = re.compile(rb"[A-Za-z0-9.,:;/_+=&!#$@^~'|<>?`-]+")
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]{0,1000}")


def quote(text: bytes) -> bytes:
    """A quoted string. LocalProtocolError for what needs a literal: 8-bit bytes, CR, LF, NUL, 1,000 bytes."""
    if not _QUOTABLE.fullmatch(text):
        raise LocalProtocolError("a text that needs a literal was to be quoted")
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def can_quote(text: bytes) -> bool:
    return _QUOTABLE.fullmatch(text) is not None


def mailbox(name: bytes) -> bytes:
    """A mailbox name: an atom where it is one, else quoted; 8-bit bytes (UTF8=ACCEPT) may be quoted there, and CR, LF
    and NUL are in no name at all."""
    if _ATOM.fullmatch(name) and name.upper() != b"NIL":
        return name
    if re.search(rb"[\x00\r\n]", name):
        raise LocalProtocolError("a folder name with a line break or NUL reached the wire")
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def literal_head(size: int, *, sync: bool, binary: bool = False) -> bytes:
    """`{n}`, `{n+}` or `~{n+}` with its line end."""
    return b"%s{%d%s}\r\n" % (b"~" if binary else b"", size, b"" if sync else b"+")


def may_skip_sync(capabilities: frozenset[str], size: int) -> bool:
    """Whether a literal of that size needs no `+` from the server (RFC 7888; LITERAL- up to 4096 bytes)."""
    return "LITERAL+" in capabilities or (size <= 4096 and bool(capabilities & {"LITERAL-", "IMAP4REV2"}))
