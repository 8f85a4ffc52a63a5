"""The DNS of a move: what stands in which view and phase."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mailferry.stack.dns import Names, Phase, View, plan, relay_plan, zone

NAMES = Names(
    domains=("acme.example", "acme.test"),
    open_domain="open.acme.example",
    exchange_domain="exchange.acme.example",
    mx="mx1.acme.example",
    exchange="ex1.acme.example",
    old_mx=("ex1.acme.example", "backup.acme.example"),
    imap="imap.acme.example",
    submission=True,
    addresses={
        View.EXTERNAL: {"mx1.acme.example": ("203.0.113.5", "2001:db8::5")},
        View.INTERNAL: {"mx1.acme.example": ("10.1.0.5",), "imap.acme.example": ("10.1.0.6",)},
    },
)
_RECORD = re.compile(r"^(\S+) (A|AAAA|MX|TXT|SRV|CNAME) (.+)$")


def records(domain: str, view: View, phase: Phase, names: Names = NAMES) -> list[tuple[str, str, str]]:
    found = []
    for line in zone(names, domain, view, phase).splitlines():
        if not line.startswith((";", "$")):
            match = _RECORD.match(line)
            assert match is not None, line
            found.append((match[1], match[2], match[3]))
    return found


def values(kind: str, view: View, phase: Phase) -> list[str]:
    return [value for _, found, value in records("acme.example", view, phase) if found == kind]


def test_the_mx_stays_until_the_move_and_has_a_short_ttl_before_it() -> None:
    before = ["10 ex1.acme.example.", "20 backup.acme.example."]
    assert values("MX", View.EXTERNAL, Phase.BEFORE) == before
    for phase in (Phase.DURING, Phase.AFTER):
        assert values("MX", View.EXTERNAL, phase) == ["10 mx1.acme.example."]
    ttls = [re.findall(r"^\$TTL (\d+)", zone(NAMES, "acme.test", View.EXTERNAL, one), re.MULTILINE) for one in Phase]
    assert ttls == [["300"], ["300"], ["3600"]]


def test_private_routing_domains_are_inside_alone() -> None:
    for phase in Phase:
        for domain in NAMES.domains:
            text = "".join(" ".join(one) for one in records(domain, View.EXTERNAL, phase))
            assert "open.acme.example" not in text and "exchange.acme.example" not in text
            assert "10.1.0." not in text
    inside = records("acme.example", View.INTERNAL, Phase.DURING)
    assert ("open.acme.example.", "MX", "10 mx1.acme.example.") in inside
    assert ("exchange.acme.example.", "MX", "10 ex1.acme.example.") in inside
    assert ("mx1.acme.example.", "A", "10.1.0.5") in inside


def test_each_host_has_its_kind_of_address_once() -> None:
    outside = records("acme.example", View.EXTERNAL, Phase.DURING)
    assert ("mx1.acme.example.", "A", "203.0.113.5") in outside
    assert ("mx1.acme.example.", "AAAA", "2001:db8::5") in outside
    other = records("acme.test", View.EXTERNAL, Phase.DURING)
    assert not [one for one in other if one[1] in ("A", "AAAA")]
    assert "imap.acme.example: its external addresses are not in" in zone(
        NAMES, "acme.example", View.EXTERNAL, Phase.DURING
    )


def test_spf_names_both_sides_until_the_end() -> None:
    spf = {phase: values("TXT", View.EXTERNAL, phase)[0] for phase in Phase}
    assert "a:ex1.acme.example" in spf[Phase.BEFORE] and "a:mx1.acme.example" in spf[Phase.BEFORE]
    assert "a:ex1.acme.example" in spf[Phase.DURING]
    assert "ex1" not in spf[Phase.AFTER]


def test_what_clients_look_for() -> None:
    found = {name: value for name, kind, value in records("acme.test", View.EXTERNAL, Phase.DURING) if kind == "SRV"}
    assert found["_imaps._tcp"] == "0 1 993 imap.acme.example."
    assert found["_submissions._tcp"] == "0 1 465 mx1.acme.example."
    assert found["_imap._tcp"] == "0 0 0 ."
    without = replace(NAMES, imap=None, submission=False)
    assert not [one for one in records("acme.test", View.EXTERNAL, Phase.DURING, without) if one[1] == "SRV"]


@pytest.mark.parametrize("phase", list(Phase))
def test_plans_name_the_hosts(phase: Phase) -> None:
    assert all(step.endswith(".") for step in plan(NAMES, phase))
    assert "relay.acme.example" in "".join(relay_plan(replace(NAMES, relay="relay.acme.example")))


def test_an_exchange_without_a_name_has_no_mx() -> None:
    text = zone(replace(NAMES, exchange="10.1.0.9"), "acme.example", View.INTERNAL, Phase.DURING)
    assert "MX 10 10.1.0.9" not in text and "an MX needs the name of the host" in text
