"""The header block of a rebuilt message: the fields it travelled with where they were kept, else made from properties.

Invariant: each field that a message needs stands in the block once; none of the fields that describe MIME structure
does, since they describe a structure that is gone.
"""

from __future__ import annotations

import hashlib
import re
from binascii import b2a_base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial

from mailferry.errors import ItemError
from mailferry.wire.mapi import tags
from mailferry.wire.mapi.addresses import flat_entries, imceaex
from mailferry.wire.mapi.item import Bag, Item
from mailferry.wire.mapi.values import Value, epoch
from mailferry.wire.mime import headers as mime

Resolve = Callable[[str], str | None]
"""The SMTP address of an X.500 name (legacyExchangeDN, without case), None where the directory does not know it."""

Invite = Callable[[Item, "Making"], tuple[str, bytes] | None]
"""Method and bytes of a calendar part; None where there is to be none."""

_Make = Callable[[], bytes]
"""Makes a whole field with its line end."""

_FIELD = re.compile(r"(?P<name>[\x21-\x39\x3b-\x7e]+)[ \t]*:(?P<value>.*(?:\n[ \t].*)*)")
_STRUCTURE = re.compile(r"content-|mime-version$|lines$|x-ms-tnef-correlator$|status$|x-status$|x-uid$|x-keywords$")
_TO, _CC, _BCC = 1, 2, 3
_SHOWN = ((_TO, "To", tags.DISPLAY_TO), (_CC, "Cc", tags.DISPLAY_CC), (_BCC, "Bcc", tags.DISPLAY_BCC))
NOBODY = "<unknown@mailferry.invalid>"
_TWICE = (
    (tags.SENDER_EMAIL_ADDRESS, tags.SENDER_SMTP_ADDRESS),
    (tags.SENT_REPRESENTING_EMAIL_ADDRESS, tags.SENT_REPRESENTING_SMTP_ADDRESS),
    (tags.RECEIVED_BY_EMAIL_ADDRESS, tags.RECEIVED_BY_SMTP_ADDRESS),
    (tags.RECEIVED_REPRESENTING_EMAIL_ADDRESS, tags.RECEIVED_REPRESENTING_SMTP_ADDRESS),
    (tags.CREATOR_EMAIL_ADDRESS, tags.CREATOR_SMTP_ADDRESS),
    (tags.LAST_MODIFIER_EMAIL_ADDRESS, tags.LAST_MODIFIER_SMTP_ADDRESS),
)
_IMPORTANCE = {0: ("low", "5"), 2: ("high", "1")}
_SENSITIVITY = {1: "Personal", 2: "Private", 3: "Company-Confidential"}


@dataclass(slots=True)
class Making:
    """What is shared while one message is rebuilt. `domain`: for addresses that only Exchange knows. `differences`:
    what was lost on the way, as sentences without content of the message. `invite`: makes the calendar part of a
    meeting message; None: it gets none."""

    resolve: Resolve = lambda name: None
    domain: str = "exchange.invalid"
    differences: list[str] = field(default_factory=list)
    invite: Invite | None = None

    def lost(self, what: str) -> None:
        if what not in self.differences:
            self.differences.append(what)

    def get(self, bag: Bag, tag: int) -> Value | None:
        """The property; one that cannot be read counts as not there, and is named."""
        try:
            return bag.get(tag)
        except ItemError as error:
            self.lost(f"property {tag:#06x} could not be read: {error.message}")
            return None

    def text(self, bag: Bag, *wanted: int) -> str:
        """The first of these properties that holds text."""
        for tag in wanted:
            value = self.get(bag, tag)
            if isinstance(value, str) and value.strip():
                return value
        return ""

    def number(self, bag: Bag, tag: int) -> int | None:
        value = self.get(bag, tag)
        return value if isinstance(value, int) else None


def header_fields(making: Making, item: Item) -> Iterator[bytes]:
    """Every field but those of MIME structure, each with its line end."""
    bag = item.properties
    making = replace(making, resolve=_resolving(making, bag))
    kept = list(transport_fields(making.text(bag, tags.TRANSPORT_MESSAGE_HEADERS)))
    there = {name.casefold() for name, _ in kept}
    for _, line in kept:
        yield line
    for name, make in _made(making, item):
        if name.casefold() not in there:
            yield make()


def _resolving(making: Making, bag: Bag) -> Resolve:
    """Looks first at what the message itself tells: newer ones name some people by both kinds of address."""

    @cache
    def known() -> dict[str, str]:
        pairs = ((making.text(bag, name), making.text(bag, smtp)) for name, smtp in _TWICE)
        return {name.casefold(): smtp for name, smtp in pairs if name and "@" in smtp}

    return lambda name: known().get(name) or making.resolve(name)


def transport_fields(text: str) -> Iterator[tuple[str, bytes]]:
    """Names and whole fields of a kept header block, up to its end; what describes MIME structure is left out."""
    block = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").lstrip("\n").partition("\n\n")[0]
    for found in _FIELD.finditer(block):
        name = found["name"]
        if not _STRUCTURE.match(name.casefold()):
            lines = [
                f"{name}:{_ascii(line)}" if not number else _ascii(line) for number, line in _value(found["value"])
            ]
            yield name, b"".join(line.encode("ascii", "replace") + b"\r\n" for line in lines)


def _value(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a field's value, numbered; empty ones after the first would end the block."""
    return ((number, line) for number, line in enumerate(text.split("\n")) if not number or line.strip())


def _ascii(line: str) -> str:
    """A line that was received with raw characters beyond ASCII, with its words encoded."""
    if line.isascii():
        return line
    return re.sub(r"[^ \t]*[^\x00-\x7f](?:[^ \t]|[ \t]+(?=[^ \t]*[^\x00-\x7f]))*", _encoded_run, line)


def _encoded_run(found: re.Match[str]) -> str:
    return mime.encoded_words(mime.cleaned(found[0])).replace(" ", "\r\n ")


def _made(making: Making, item: Item) -> Iterator[tuple[str, _Make]]:
    """What the properties tell, field by field: name, and what makes it where it is wanted."""
    bag = item.properties
    when = making.number(bag, tags.CLIENT_SUBMIT_TIME) or making.number(bag, tags.MESSAGE_DELIVERY_TIME)
    when = when or making.number(bag, tags.CREATION_TIME)
    if when is not None:
        yield "Date", lambda: mime.field("Date", mime.date(epoch(when)))
    yield from _people(making, item)
    yield "Subject", lambda: mime.field("Subject", subject(making, bag))
    yield "Message-ID", lambda: mime.field("Message-ID", message_id(making, item))
    for name, tag in (("In-Reply-To", tags.IN_REPLY_TO_ID), ("References", tags.INTERNET_REFERENCES)):
        if value := making.text(bag, tag):
            yield name, partial(mime.field, name, value)
    yield from _colours(making, item)


def _people(making: Making, item: Item) -> Iterator[tuple[str, _Make]]:
    bag = item.properties
    author = _author(making, bag, tags.SENT_REPRESENTING_NAME, tags.SENT_REPRESENTING_ADDRESS_TYPE)
    sender = _author(making, bag, tags.SENDER_NAME, tags.SENDER_ADDRESS_TYPE)
    if not _address(author):
        author = sender or author  # who is only named is shown as who sent it
    if author:
        yield "From", partial(mime.listed, "From", [author])
        if _address(sender) not in ("", _address(author)):
            yield "Sender", partial(mime.listed, "Sender", [sender])
    else:
        yield "From", partial(mime.listed, "From", [NOBODY])
    if making.get(bag, tags.READ_RECEIPT_REQUESTED) is True and _address(author):
        yield "Disposition-Notification-To", partial(mime.listed, "Disposition-Notification-To", [author])
    entries = making.get(bag, tags.REPLY_RECIPIENT_ENTRIES)
    if isinstance(entries, bytes):
        answers = [(shown, smtp_address(making, kind, address)) for shown, kind, address in flat_entries(entries)]
        if any(address for _, address in answers):
            yield "Reply-To", partial(mime.listed, "Reply-To", [mime.mailbox(*one) for one in answers if one[1]])
    people: dict[int, list[str]] = {_TO: [], _CC: [], _BCC: []}
    try:
        for recipient in item.recipients():
            kind = (making.number(recipient, tags.RECIPIENT_TYPE) or 0) & 0xF
            if kind in people:
                people[kind].append(_recipient(making, recipient))
    except ItemError as error:
        making.lost(f"recipients could not be read: {error.message}")
    for kind, name, shown in _SHOWN:
        listed = people[kind]
        if not any(people.values()):
            listed = [mime.mailbox(one.strip(), "") for one in making.text(bag, shown).split(";") if one.strip()]
        if listed:
            yield name, partial(mime.listed, name, listed)


def _author(making: Making, bag: Bag, name: int, kind: int) -> str:
    """Sender or represented sender: the three properties stand in a row."""
    smtp = tags.SENDER_SMTP_ADDRESS if name == tags.SENDER_NAME else tags.SENT_REPRESENTING_SMTP_ADDRESS
    shown = making.text(bag, name)
    address = making.text(bag, smtp) or smtp_address(making, making.text(bag, kind), making.text(bag, kind + 1))
    return mime.mailbox(shown, address) if shown or address else ""


def _address(shown: str) -> str:
    """The address in what `mime.mailbox` gives, to compare; empty for a name alone."""
    return shown.rpartition("<")[2].casefold() if shown.endswith(">") else ""


def _recipient(making: Making, bag: Bag) -> str:
    shown = making.text(bag, tags.DISPLAY_NAME)
    address = making.text(bag, tags.SMTP_ADDRESS) or smtp_address(
        making, making.text(bag, tags.ADDRESS_TYPE), making.text(bag, tags.EMAIL_ADDRESS)
    )
    return mime.mailbox(shown.strip("'\""), address)


def smtp_address(making: Making, kind: str, address: str) -> str:
    """An address of any type for SMTP: as it is, looked up, or encapsulated so that Exchange knows it again."""
    address = address.strip()
    if not address:
        return ""
    if address.startswith("/") and kind.upper() != "SMTP":
        return making.resolve(address.casefold()) or imceaex(address, making.domain)
    return address if "@" in address else ""


def subject(making: Making, bag: Bag) -> str:
    """Without the two characters that tell where the prefix ends ([MS-PST] §2.5.3.1.1.1)."""
    value = making.text(bag, tags.SUBJECT, tags.NORMALIZED_SUBJECT)
    return value[2:] if value.startswith("\x01") else value


def message_id(making: Making, item: Item) -> str:
    """The message's own, else one that is the same at every reading."""
    own = making.text(item.properties, tags.INTERNET_MESSAGE_ID).strip()
    return own or f"<{token(item, 'id')}@mailferry.invalid>"


def token(item: Item, purpose: str) -> str:
    """Text that only this item and purpose give, the same at every reading."""
    return hashlib.sha256(item.key + purpose.encode()).hexdigest()[:32]


def _colours(making: Making, item: Item) -> Iterator[tuple[str, _Make]]:
    """What colours a message: importance, sensitivity, thread, categories."""
    bag = item.properties
    if importance := _IMPORTANCE.get(making.number(bag, tags.IMPORTANCE) or 1):
        yield "Importance", partial(mime.field, "Importance", importance[0])
        yield "X-Priority", partial(mime.field, "X-Priority", importance[1])
    if sensitivity := _SENSITIVITY.get(making.number(bag, tags.SENSITIVITY) or 0):
        yield "Sensitivity", partial(mime.field, "Sensitivity", sensitivity)
    if topic := making.text(bag, tags.CONVERSATION_TOPIC):
        yield "Thread-Topic", partial(mime.field, "Thread-Topic", topic)
    index = making.get(bag, tags.CONVERSATION_INDEX)
    if isinstance(index, bytes) and index:
        yield "Thread-Index", lambda: mime.field("Thread-Index", b2a_base64(index[:400], newline=False).decode())
    if item.categories:
        yield "Keywords", lambda: mime.field("Keywords", ", ".join(item.categories))
