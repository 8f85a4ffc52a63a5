"""A person's LDAP attributes (qmail-ldap, Sun and Netscape Messaging Server) → a mailbox's behaviour. Pure.

Sources: qmail-ldap's QLDAPINSTALL (deliveryMode, mailForwardingAddress, mailReplyText), Sun Java System Schema
Reference (mailDeliveryOption, mailAutoReply…, vacationStartDate). Invariant: a delivery mode that is not known, or a
program, makes a rule for a human, since nobody knows what becomes of the mail then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mailferry.model.rule import Behaviour, Forwarding, OutOfOffice, Rule
from mailferry.rules import values
from mailferry.wire.html import plain

ATTRIBUTES = (
    *("mail", "deliveryMode", "mailDeliveryOption", "mailForwardingAddress", "mailReplyText", "vacationInfo"),
    *("mailAutoReplyText", "mailAutoReplyTextInternal", "mailAutoReplyMode", "vacationStartDate", "vacationEndDate"),
    *("deliveryProgramPath", "mailProgramDeliveryInfo"),
)
"""What has to be read of an entry."""
_NO_COPY = frozenset({"nolocal", "forwardonly"})
_REPLY = frozenset({"reply", "autoreply", "echo"})
_KNOWN = _NO_COPY | _REPLY | {"noforward", "noprogram", "normal", "localdelivery", "mailbox", "forward", "local"}
_TIME = re.compile(r"(\d{14})(?:\.\d+)?Z")


def behaviour(owner: str, origin: str, entry: Mapping[str, Sequence[str]]) -> Behaviour:
    """What the mailbox of one entry does. `entry`: attribute, in any case, → values."""
    given = {name.lower(): [one for one in texts if one.strip()] for name, texts in entry.items()}

    def first(*names: str) -> str:
        return next((given[name][0] for name in names if given.get(name)), "")

    modes = {one.strip().lower() for name in ("deliverymode", "maildeliveryoption") for one in given.get(name, ())}
    forwarding = None
    to = tuple(values.person(one.strip().removeprefix("&")) for one in given.get("mailforwardingaddress", ()))
    sun = {one.strip().lower() for one in given.get("maildeliveryoption", ())}
    if to and "noforward" not in modes and (not sun or "forward" in sun):
        keeps = "mailbox" in sun if sun else not modes & _NO_COPY
        forwarding = Forwarding(to, keeps, origin)
    away = None
    outside = first("mailreplytext", "mailautoreplytext", "vacationinfo")
    inside = first("mailautoreplytextinternal") or outside
    if outside or inside:
        start, end = (_time(first(name)) for name in ("vacationstartdate", "vacationenddate"))
        enabled = bool(modes & _REPLY) and first("mailautoreplymode").lower() != "none"
        away = OutOfOffice(enabled, origin, start, end, plain(inside), plain(outside))
    strange = [f"the delivery mode {one}" for one in sorted(modes - _KNOWN)]
    programs = (*given.get("deliveryprogrampath", ()), *given.get("mailprogramdeliveryinfo", ()))
    strange += [] if "noprogram" in modes else [f"the program {one}" for one in programs]
    rules = tuple(Rule(one[:1].upper() + one[1:], 0, origin, unknown=(one,)) for one in strange)
    return Behaviour(owner, rules, away, forwarding=forwarding)


def _time(text: str) -> str:
    """GeneralizedTime in UTC as ISO 8601; others as they are, which is then no time."""
    found = _TIME.fullmatch(text.strip())
    try:
        return datetime.strptime(found[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC).isoformat() if found else text
    except ValueError:
        return text
