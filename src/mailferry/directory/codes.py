"""Every finding that reading, cleaning and placing people can have: its code, severity and title. Decides nothing.

`docs/directory-cleaning.md` explains each; a test compares. Invariant: a code means one thing for ever, because
decisions files name it.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailferry.model.recipient import Finding, Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

CODES: Mapping[str, tuple[Severity, str]] = {
    # reading
    "file-read-as": (_N, "How a file was read"),
    "column-unknown": (_N, "Column that is not read"),
    "row-broken": (_E, "Row that cannot be read"),
    "row-long": (_E, "Row with more fields than columns"),
    "row-short": (_W, "Row with fewer fields than columns"),
    "row-empty": (_N, "Row without a name or address"),
    "encoding-mixed": (_W, "Bytes of another encoding"),
    "ldif-record": (_E, "LDIF record that cannot be read"),
    "ldif-value": (_W, "LDIF value that cannot be read"),
    "ldif-form": (_N, "LDIF that is not quite right"),
    "ldif-change": (_W, "LDIF change record"),
    "entry-not-recipient": (_N, "Entry that is no recipient"),
    "dn-invalid": (_W, "Not a distinguished name"),
    "value-unreadable": (_W, "Value that makes no sense"),
    "card-broken": (_E, "vCard that cannot be read"),
    "card-line": (_W, "vCard line that cannot be read"),
    "id-unsteady": (_N, "No steady identity in the file"),
    # reading a server
    "system-mailbox": (_N, "Mailbox of Exchange's own"),
    "mail-user-of-ours": (_N, "Mail user of somebody on the open side"),
    "primary-twice": (_W, "Two primary addresses"),
    "primary-differs": (_W, "Address that is not the primary one"),
    "external-address-kind": (_W, "External address that is not SMTP"),
    "dynamic-group-unresolved": (_W, "Dynamic group without members"),
    "moderated": (_W, "Group with a moderator"),
    "forwarding-several": (_W, "Forwarding to several addresses"),
    "referral-not-followed": (_W, "Part of the directory on another server"),
    # names and texts
    "encoding-broken": (_W, "UTF-8 read as another encoding"),
    "encoding-suspected": (_N, "Perhaps another encoding"),
    "characters-lost": (_N, "Characters lost earlier"),
    "control-characters": (_W, "Characters that do not show"),
    "blanks": (_W, "Blanks too many"),
    "unicode-form": (_W, "Letters in decomposed form"),
    "value-too-long": (_W, "Value too long"),
    "name-missing": (_W, "No display name"),
    "surname-missing": (_W, "No surname"),
    "name-characters": (_N, "Characters that DNs and filters escape"),
    "phone-characters": (_W, "Characters that no telephone number has"),
    "photo-not-jpeg": (_W, "Photo that is no JPEG"),
    "photo-too-large": (_W, "Photo too large"),
    # addresses
    "address-missing": (_E, "No address"),
    "contact-without-address": (_N, "Contact without address"),
    "group-without-address": (_N, "Group without address"),
    "address-untidy": (_W, "Address with things around it"),
    "address-malformed": (_E, "Not an address"),
    "address-international": (_N, "Address beyond ASCII"),
    "alias-malformed": (_W, "Alias that is no address"),
    "domain-wrong": (_E, "Primary address in a foreign domain"),
    "alias-domain-wrong": (_W, "Alias in a foreign domain"),
    "x500-untidy": (_W, "X.500 address with things around it"),
    "x500-malformed": (_W, "Not an X.500 address"),
    # one person, several persons
    "id-twice": (_E, "Same identity twice"),
    "duplicate": (_W, "Same person twice"),
    "duplicate-near": (_N, "Perhaps the same person twice"),
    "address-claimed-twice": (_E, "Address of two recipients"),
    "x500-claimed-twice": (_E, "X.500 address of two recipients"),
    "mailbox-claimed-twice": (_E, "Mailbox of two recipients"),
    "account-disabled": (_W, "Account disabled"),
    "account-expired": (_W, "Account expired"),
    # references
    "reference-nobody": (_W, "Reference to nobody"),
    "reference-left-out": (_W, "Reference to somebody left out"),
    "restriction-lost": (_E, "Send restriction with nobody left"),
    "forwarding-lost": (_E, "Forwarding to nobody"),
    "group-in-itself": (_W, "Group that is its own member"),
    "group-loop": (_W, "Groups that contain each other"),
    "group-empty": (_N, "Group without members"),
    # finding a place in the target
    "uid-missing": (_E, "No uid"),
    "uid-claimed-twice": (_E, "uid of two recipients"),
    "dn-claimed-twice": (_E, "DN of two recipients"),
    "target-taken": (_E, "Place in the target taken"),
    "name-twice": (_N, "Same name twice"),
    "value-not-ascii": (_W, "Value that must be ASCII"),
    "reference-lost": (_N, "Reference without entry in the target"),
    # decisions
    "decision-stale": (_N, "Decision that nothing asks for"),
    "exception-stale": (_N, "Exception that fits nobody"),
    "decision-unknown": (_W, "Decision about an unknown finding"),
}


def finding(
    code: str, where: str, message: str, *, about: str = "", value: str = "", proposal: str | None = None
) -> Finding:
    """A finding of that code, with the severity that the table gives it."""
    return Finding(code, CODES[code][0], about, where, message, value, proposal)
