"""Checks one recipient by itself: names, texts, numbers, photo, addresses. Compares it with nobody.

Invariant: a recipient without a finding comes back as the same object; what comes back has no text that LDAP's
DirectoryString refuses (empty), no control character, no number that telephoneNumber refuses.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mailferry.directory import addresses, names
from mailferry.directory.codes import finding
from mailferry.directory.judge import Judge
from mailferry.model.recipient import Recipient, RecipientKind

PERSONS = frozenset({RecipientKind.MAILBOX, RecipientKind.MAIL_USER, RecipientKind.CONTACT, RecipientKind.ACCOUNT})
OURS = frozenset(RecipientKind) - {RecipientKind.CONTACT, RecipientKind.MAIL_USER, RecipientKind.ACCOUNT}
"""Kinds whose primary address must be in a domain of ours, where these are given."""

_LINES = frozenset({"description", "info", "street", "postalAddress"})
_PHONES = frozenset({"telephoneNumber", "mobile", "facsimileTelephoneNumber", "homePhone", "pager"})
_NO_PART_OF_NUMBER = {ord(" "): None, ord("-"): None}
_NO_PHONE = re.compile(r"[^0-9A-Za-z'()+,./:=? -]+")  # PrintableString, RFC 4517 §3.3.29
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_BLANK_RUN = re.compile(r"[ \t\xa0\u2000-\u200a\u202f\u3000]+")
_BREAKS = re.compile(r"\s*[\r\n\x0b\x0c\x85\u2028\u2029]+\s*")
_SUSPECT = re.compile(  # what a finding about a text may start from, beside blanks
    "[\x00-\x1f\x7f-\xa0\xad\u2000-\u200b\u200e\u200f\u2028-\u202f\u2060-\u2069\u3000\ufeff\ufffd\ud800-\udfff]"
    f"|{names.MARKS}|{names.HIGH}"
)
_ESCAPED = re.compile(r'[*\\<>=;"+]|^#')


@dataclass(frozen=True, slots=True)
class Policy:
    """What cleaning goes by. `accepted_domains`: lower case; none: any domain is right. `now`: seconds since the epoch.
    `text_limit`, `note_limit`: characters of a value, of a description; `photo_limit`: bytes."""

    now: float
    accepted_domains: frozenset[str] = frozenset()
    text_limit: int = 1024
    note_limit: int = 32768
    photo_limit: int = 250_000


def check(recipient: Recipient, policy: Policy, judge: Judge) -> Recipient:
    """The recipient with its own values put right as the judge rules."""
    one = _One(recipient, policy, judge)
    changes: dict[str, Any] = {
        "name": one.text("name", recipient.name),
        "details": one.details(),
        "photo": one.photo(),
        "x500": one.x500(),
    }
    changes["mail"], changes["aliases"] = one.addresses()
    if recipient.external_address is not None:
        changes["external_address"] = one.address(recipient.external_address, "address-malformed", None) or None
    changes["name"], changes["details"] = one.names(changes["name"], changes["details"], changes["mail"])
    one.account()
    real = {name: value for name, value in changes.items() if value != getattr(recipient, name)}
    return dataclasses.replace(recipient, **real) if real else recipient


def distinct(attribute: str, values: Sequence[str]) -> tuple[str, ...]:
    """Each value once, as LDAP compares: letter case aside, and for numbers also blanks and hyphens (RFC 4517 §4.2.11,
    §4.2.29)."""
    if len(values) < 2:
        return tuple(values)
    same = _NO_PART_OF_NUMBER if attribute in _PHONES else {}
    kept: dict[str, str] = {}
    for value in values:
        kept.setdefault(value.casefold().translate(same), value)
    return tuple(kept.values())


class _One:
    """One recipient under check."""

    def __init__(self, recipient: Recipient, policy: Policy, judge: Judge) -> None:
        self.recipient = recipient
        self.policy = policy
        self.judge = judge

    def rule(self, code: str, message: str, value: str = "", proposal: str | None = None) -> str:
        recipient = self.recipient
        return self.judge.rule(
            finding(code, recipient.where, message, about=recipient.id, value=value, proposal=proposal)
        )

    def text(self, attribute: str, value: str) -> str:
        """A text put right, "" where nothing is left of it."""
        if len(value) <= self.policy.text_limit and not _is_suspect(value):
            return value
        limit = self.policy.note_limit if attribute in _LINES else self.policy.text_limit
        if len(value) > limit:
            value = self._cut(attribute, value, limit)
        value = self._repaired(attribute, value)
        if "\ufffd" in value or names.is_damaged(value):
            message = f"{attribute} has lost characters on its way; the source may still have them"
            self.rule("characters-lost", message, value)
        right = names.suspected_cyrillic(value)
        if right is not None:
            value = self.rule("encoding-suspected", f"{attribute} may be Cyrillic read as Latin", value, right)
        return value if _HIDDEN.sub("", value).strip() else ""

    def _repaired(self, attribute: str, value: str) -> str:
        """Every certain repair, until none finds anything: what one puts right may show another what is wrong."""
        asked: set[tuple[str, str]] = set()
        before = None
        while value != before:
            before = value
            for code, what, right in (
                ("encoding-broken", "was read in the wrong encoding", names.unscramble(value) or value),
                ("control-characters", "has characters that do not show", _HIDDEN.sub("", value)),
                ("unicode-form", "has letters and their accents apart", unicodedata.normalize("NFC", value)),
                ("blanks", "has blanks or line breaks too many", _tidy(value, lines=attribute in _LINES)),
            ):
                if right != value and (code, value) not in asked:
                    asked.add((code, value))
                    value = self.rule(code, f"{attribute} {what}", value, right)
                    break
        return value

    def _cut(self, attribute: str, value: str, limit: int) -> str:
        """A value over the limit; the finding shows only its beginning, so a decision names that."""
        short = f"{value[:60]}… ({len(value)} characters)"
        cut = value[:limit]
        ruled = self.rule(
            "value-too-long",
            f"{attribute} is longer than {limit} characters",
            short,
            f"{cut[:60]}… ({limit} characters)",
        )
        if ruled == short:
            return value
        return cut if ruled == f"{cut[:60]}… ({limit} characters)" else ruled

    def details(self) -> Mapping[str, tuple[str, ...]]:
        old = self.recipient.details
        new: dict[str, tuple[str, ...]] = {}
        for attribute, values in old.items():
            kept = []
            for value in values:
                right = self.text(attribute, value)
                if attribute in _PHONES and right and _NO_PHONE.search(right):
                    number = _tidy(_NO_PHONE.sub(" ", right), lines=False)
                    right = self.rule("phone-characters", f"{attribute} is no telephone number", right, number)
                if right:
                    kept.append(right)
            if kept:
                new[attribute] = distinct(attribute, kept)
        return old if new == old else MappingProxyType(new)

    def names(
        self, name: str, details: Mapping[str, tuple[str, ...]], mail: str | None
    ) -> tuple[str, Mapping[str, tuple[str, ...]]]:
        """Display name and details, with a name and, for a person, a surname."""
        if not name:
            parts = " ".join((*details.get("givenName", ())[:1], *details.get("sn", ())[:1]))
            others = (value for one in ("o", *sorted(_PHONES)) for value in details.get(one, ()))
            guess = parts.strip() or names.name_from_address(mail or "") or self.recipient.account or mail
            name = self.rule("name-missing", "there is no display name", "", guess or next(others, None))
        if _ESCAPED.search(name):
            self.rule("name-characters", "the name has characters that DNs and filters must escape; they are", name)
        if self.recipient.kind in PERSONS and not details.get("sn"):
            given = next(iter(details.get("givenName", ())), "")
            right = self.rule("surname-missing", "there is no surname", "", names.surname(name, given) or name)
            if right:
                details = MappingProxyType({**details, "sn": (right,)})
        return name, details

    def photo(self) -> bytes | None:
        photo = self.recipient.photo
        if photo is None:
            return None
        size = f"{len(photo)} bytes"
        if not photo.startswith(b"\xff\xd8\xff"):
            return photo if self.rule("photo-not-jpeg", "the photo is no JPEG", size, "") else None
        if len(photo) > self.policy.photo_limit:
            message = f"the photo has more than {self.policy.photo_limit} bytes"
            return photo if self.rule("photo-too-large", message, size, "") else None
        return photo

    def addresses(self) -> tuple[str | None, tuple[str, ...]]:
        """Primary address and aliases: the syntax, then the domains, without doubles."""
        mail = self.recipient.mail
        if mail is not None:
            mail = self.address(mail, "address-malformed", None)
        aliases: list[str] = []
        for alias in self.recipient.aliases:
            right = self.address(alias, "alias-malformed", "")
            if right:
                aliases.append(right)
        if self.policy.accepted_domains and self.recipient.kind in OURS:
            aliases = [right for alias in aliases if (right := self._alias_domain(alias))]
            mail = self._domain(mail, aliases) if mail else mail
        others: dict[str, str] = {}
        for alias in aliases:
            others.setdefault(addresses.key(alias), alias)
        others.pop(addresses.key(mail or ""), None)
        return mail or None, tuple(others.values())

    def address(self, address: str, code: str, otherwise: str | None) -> str:
        """An address put right, "" where it goes. `otherwise`: the proposal where nothing can be guessed."""
        for _ in range(3):  # what a decision puts in its place is checked too
            why = addresses.fault(address)
            if why is None:
                if addresses.is_international(address):
                    self.rule("address-international", "servers without SMTPUTF8 cannot take mail for it", address)
                return address
            right = addresses.tidy(address)
            if right is not None:
                ruled = self.rule("address-untidy", why, address, right)
            else:
                ruled = self.rule(code, why, address, addresses.guess(address) or otherwise)
            if ruled in ("", address):
                return ruled
            address = ruled
        return address

    def _domain(self, mail: str, aliases: list[str]) -> str:
        accepted = self.policy.accepted_domains
        if addresses.domain_of(mail) in accepted or addresses.fault(mail) is not None:
            return mail
        proposal = next((alias for alias in aliases if addresses.domain_of(alias) in accepted), None)
        return self.rule("domain-wrong", f"{addresses.domain_of(mail)} is no accepted domain", mail, proposal)

    def _alias_domain(self, alias: str) -> str:
        domain = addresses.domain_of(alias)
        if domain in self.policy.accepted_domains or addresses.fault(alias) is not None:
            return alias
        return self.rule("alias-domain-wrong", f"{domain} is no accepted domain", alias, "")

    def x500(self) -> tuple[str, ...]:
        kept: list[str] = []
        for value in self.recipient.x500:
            right = value
            if not addresses.is_x500(value):
                tidy = addresses.tidy_x500(value)
                code = "x500-malformed" if tidy is None else "x500-untidy"
                right = self.rule(code, "it should read /o=…/ou=…/cn=…", value, tidy or "")
            if right and right.casefold() not in [one.casefold() for one in kept]:
                kept.append(right)
        return tuple(kept)

    def account(self) -> None:
        """A log-in that no longer works. Shared mailboxes and resources have none that should."""
        recipient = self.recipient
        if recipient.kind not in (RecipientKind.MAILBOX, RecipientKind.MAIL_USER, RecipientKind.ACCOUNT):
            return
        if not recipient.enabled:
            self.rule("account-disabled", "the account is disabled; it comes disabled")
        if recipient.expires is not None and recipient.expires <= self.policy.now:
            self.rule("account-expired", "the account has expired; it comes without log-in")


def _is_suspect(value: str) -> bool:
    """Whether a text needs the closer look; false for nearly all."""
    if "  " in value or value != value.strip():
        return True
    if value.isascii():
        return not value.isprintable()
    return _SUSPECT.search(value) is not None or not unicodedata.is_normalized("NFC", value)


def _tidy(value: str, *, lines: bool) -> str:
    """Blanks put right; line breaks kept (as `\\n`) where `lines`, else a blank each."""
    if not lines:
        return _BLANK_RUN.sub(" ", _BREAKS.sub(" ", value)).strip()
    rows = (_BLANK_RUN.sub(" ", row).strip() for row in re.split(r"\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]", value))
    return "\n".join(rows).strip()
