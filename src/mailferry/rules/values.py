"""Values as exports spell them → values of the model: people, folders, sizes, times, HTML. Pure.

Invariant: what cannot be read for certain is None or stays as it was, never another value.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_ROUTED = re.compile(r'(?:"?(?P<name>[^"]*)"?\s*)?\[(?P<type>SMTP|EX|MAILTO):(?P<address>[^\]]*)\]', re.IGNORECASE)
_BYTES = re.compile(r"\(([\d,.\s\u00a0\u202f]+)bytes\)", re.IGNORECASE)
_JSON_DATE = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")
_DIGITS = re.compile(r"\d+")
_CLEAN_MAILBOX = re.compile(r"^[^\\]*:\\")


INBOXES = frozenset(
    (
        *("inbox", "posteingang", "boîte de réception", "bandeja de entrada", "posta in arrivo", "postvak in"),
        *("caixa de entrada", "skrzynka odbiorcza", "doručená pošta", "inkorgen", "inkorg", "indbakke", "innboks"),
        *("saapuneet", "входящие", "вхідні", "входящи", "gelen kutusu", "beérkezett üzenetek", "εισερχόμενα"),
        *(
            "受信トレイ",
            "收件箱",
            "收件匣",
            "받은 편지함",
            "ulazna pošta",
            "prejeto",
            "mesaje primite",
            "safata d'entrada",
        ),
    )
)
"""What Exchange calls the inbox in people's languages, where IMAP says INBOX to everybody; without case."""


def person(text: str) -> str:
    """`"Ann Bell" [SMTP:ann@acme.example]` → the address, `[EX:/o=…]` → the legacyExchangeDN; others as they are."""
    found = _ROUTED.fullmatch(text.strip())
    if found:
        return found["address"].strip() or (found["name"] or "").strip()
    return text.strip().removeprefix("smtp:").removeprefix("SMTP:")


def folder(text: str) -> str:
    """`ann@acme.example:\\Inbox\\Projects` → `Inbox\\Projects`; a name alone as it is."""
    return _CLEAN_MAILBOX.sub("", text.strip()).strip("\\")


def size(value: object) -> str | None:
    """Bytes as text, from a number or `10 KB (10,240 bytes)`. None: not a size."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = str(value)
    if found := _BYTES.search(text):
        return "".join(_DIGITS.findall(found[1]))
    return text if text.isdigit() else None


def time(value: str) -> str | None:
    """ISO 8601, with a zone where it says one, from that or `/Date(MILLISECONDS)/`. None: anything else, as a date that
    depends on the country."""
    text = value.strip()
    if found := _JSON_DATE.fullmatch(text):
        try:
            return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(found[1]))).isoformat()
        except OverflowError:
            return None
    when = naive(text)
    return None if when is None else when.isoformat()


def naive(text: str) -> datetime | None:
    """ISO 8601, also with Windows' seven digits of a second; its zone only where it says one."""
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
