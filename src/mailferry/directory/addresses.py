"""SMTP and X.500 addresses as text: what is one, what could be made one. Asks no server and no DNS.

Invariant: what `tidy` or `guess` gives back is an address by `fault`.
"""

from __future__ import annotations

import re

_ATOM = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+)*"
)
_COMMON = re.compile(
    r"(?=.{1,64}@)[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?=.{1,255}$)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_QUOTED = re.compile(r'"(?:[\x20!#-\[\]-~\u0080-\U0010ffff]|\\[\x20-~])*"')
_LABEL = re.compile(r"(?!-)[A-Za-z0-9\u0080-\U0010ffff-]{1,63}(?<!-)")
_PREFIX = re.compile(r"(?i)(?:(?:mailto|smtp|internet|e-?mail)\s*:\s*)+")
_ANGLE = re.compile(r"[^<>]*<([^<>]*)>\s*")
_AT = re.compile(r"(?i)\s*(?:\(at\)|\[at\]|\{at\}| at )\s*")
_DOT = re.compile(r"(?i)\s*(?:\(dot\)|\[dot\]|\(punkt\)| dot )\s*")
_X500_PREFIX = re.compile(r"(?i)^(?:x500|ex)\s*:\s*")
_X500 = re.compile(r"/[A-Za-z0-9-]+=[^/\x00-\x1f]*(?:/[A-Za-z0-9-]+=[^/\x00-\x1f]*)+")


def fault(address: str) -> str | None:
    """Why text is no mailbox address of RFC 5321 §4.1.2 with RFC 6531's letters; None if it is one.

    Stricter in two points: a domain needs a dot, and address literals (`user@[192.0.2.1]`) are no directory's
    addresses.
    """
    if _COMMON.fullmatch(address):
        return None
    local, at, domain = address.rpartition("@")
    if not at:
        return "no @ in it"
    if not local:
        return "nothing before the @"
    if not domain:
        return "nothing behind the @"
    if not _ATOM.fullmatch(local) and not _QUOTED.fullmatch(local):
        return "more than one @" if "@" in local else f"the part before the @ is not allowed: {_culprit(local)}"
    if not address.isprintable():
        return "a character that does not show"
    if len(local.encode("utf-8", "replace")) > 64:
        return "more than 64 bytes before the @"
    if len(domain.encode("utf-8", "replace")) > 255:
        return "more than 255 bytes behind the @"
    if "." not in domain:
        return "the domain has no dot"
    wrong = next((label for label in domain.split(".") if not _LABEL.fullmatch(label)), None)
    if wrong is not None:
        return f"the domain has a part that is not allowed: {wrong!r}"
    return None


def _culprit(local: str) -> str:
    if local.startswith(".") or local.endswith(".") or ".." in local:
        return "a dot at the wrong place"
    return next((repr(one) for one in local if not _ATOM.fullmatch(one) and one != "."), "a quotation mark")


def is_international(address: str) -> bool:
    """Whether delivery needs SMTPUTF8 (RFC 6531): something beyond ASCII in it."""
    return not address.isascii()


def tidy(text: str) -> str | None:
    """The one address that is surely meant: `Max <max@a.example>`, `SMTP:max@a.example;`, blanks around. None: none."""
    found = text.strip(" \t\r\n\xa0\u200b\ufeff,;")
    angle = _ANGLE.fullmatch(found)
    found = (angle[1] if angle else found).strip(" \t\xa0'\"")
    found = _PREFIX.sub("", found, count=1) if _PREFIX.match(found) else found
    found = found.strip(" \t\xa0<>,;'\"").rstrip(".")
    return found if fault(found) is None else None


def guess(text: str) -> str | None:
    """An address that may be meant; for a human to accept: blanks inside, `(at)`, a comma for a dot, two dots, an
    umlaut's spelling is left alone."""
    found = _DOT.sub(".", _AT.sub("@", text))
    found = re.sub(r"[\s\x00-\x1f\x7f\xa0\u200b]+", "", found)
    local, at, domain = found.rpartition("@")
    domain = re.sub(r"[.,;:]+", ".", domain).strip(".")
    local = re.sub(r"\.{2,}", ".", local.replace(",", ".").rstrip("@")).strip(".")
    return tidy(f"{local}{at}{domain}")


def key(address: str) -> str:
    """What two spellings of one address share. Local parts are compared without case, as Exchange does."""
    return address.casefold()


def domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()


def is_x500(text: str) -> bool:
    """Whether text is a legacyExchangeDN: `/o=…/ou=…/cn=…`, at least two levels."""
    return _X500.fullmatch(text) is not None


def tidy_x500(text: str) -> str | None:
    """The X.500 address that is surely meant: without `X500:` or blanks around. None: none."""
    found = _X500_PREFIX.sub("", text.strip()).strip()
    return found if is_x500(found) else None
