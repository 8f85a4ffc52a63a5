"""What LDAP attributes of other mail servers say becomes what they did: forwarding, copies, replies."""

from __future__ import annotations

import pytest

from mailferry.model.rule import Audience, Forwarding, OutOfOffice
from mailferry.rules.convert import convert
from mailferry.rules.ldap_attributes import behaviour
from mailferry.rules.names import Rating
from mailferry.rules.predicates import Owner

OWNER = Owner(("ann@acme.example",), lambda text: (text,), lambda text: text, lambda path: path, ("acme.example",))
TO = {"mailForwardingAddress": ["&x@y.example", "z@y.example"]}
BOTH = ("x@y.example", "z@y.example")


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        (TO, Forwarding(BOTH, True, "dn")),
        ({**TO, "deliveryMode": ["nolocal"]}, Forwarding(BOTH, False, "dn")),
        ({**TO, "DELIVERYMODE": ["ForwardOnly"]}, Forwarding(BOTH, False, "dn")),
        ({**TO, "deliveryMode": ["noforward"]}, None),
        ({**TO, "mailDeliveryOption": ["forward"]}, Forwarding(BOTH, False, "dn")),
        ({**TO, "mailDeliveryOption": ["mailbox", "forward"]}, Forwarding(BOTH, True, "dn")),
        ({**TO, "mailDeliveryOption": ["mailbox"]}, None),
        ({}, None),
    ],
)
def test_forwarding_with_and_without_a_copy(entry: dict[str, list[str]], wanted: Forwarding | None) -> None:
    found = behaviour("ann@acme.example", "dn", entry)
    assert found.forwarding == wanted
    text = convert(found, OWNER).text
    if wanted is not None:
        assert text.count("redirect :copy") == 2 and ("discard" in text) is not wanted.keep_copy


def test_replies_with_their_times_and_two_texts() -> None:
    qmail = behaviour("ann@acme.example", "dn", {"mailReplyText": ["Gone.\n"], "deliveryMode": ["reply"]})
    assert qmail.out_of_office == OutOfOffice(True, "dn", "", "", "Gone.", "Gone.", Audience.ALL)
    kept = behaviour("ann@acme.example", "dn", {"mailReplyText": ["Gone."], "deliveryMode": ["normal"]})
    assert kept.out_of_office is not None and not kept.out_of_office.enabled
    sun = behaviour(
        "ann@acme.example",
        "dn",
        {
            "mailDeliveryOption": ["mailbox", "autoreply"],
            "mailAutoReplyText": ["Out."],
            "mailAutoReplyTextInternal": ["In."],
            "vacationStartDate": ["20260101083000Z"],
            "vacationEndDate": ["soon"],
        },
    ).out_of_office
    assert sun == OutOfOffice(True, "dn", "2026-01-01T08:30:00+00:00", "soon", "In.", "Out.")
    (part,) = convert(behaviour("a", "dn", {"mailReplyText": ["x"], "vacationEndDate": ["soon"]}), OWNER).parts
    assert part.rating is Rating.MANUAL and "soon is not a time" in part.notes


def test_a_delivery_mode_that_nobody_knows_is_left_to_a_human() -> None:
    entry = {"deliveryMode": ["odd", "normal"], "deliveryProgramPath": ["/usr/bin/procmail"]}
    found = convert(behaviour("ann@acme.example", "dn", entry), OWNER)
    assert found.text == "" and [part.rating for part in found.parts] == [Rating.MANUAL] * 2
    assert "the delivery mode odd is not known to Mailferry" in found.parts[0].notes
    assert "the program /usr/bin/procmail is not known to Mailferry" in found.parts[1].notes
    assert behaviour("a", "dn", {**entry, "deliveryMode": ["noprogram"]}).rules == ()
