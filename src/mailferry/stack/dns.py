"""The DNS of a move: records of each domain as snippets of zone files, two views, three phases; and the steps between.

Pure text; asks no name server, changes no zone. Invariants: private routing domains stand in the internal view alone;
until everybody has moved, SPF names both sides and nothing takes autodiscover away from Exchange. Sources: RFC 5321
(MX), RFC 7208 (SPF), RFC 6376 (DKIM), RFC 7489 (DMARC), RFC 6186 and 8314 (SRV for IMAP and submission), RFC 5804
(sieve).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

SHORT_TTL, LONG_TTL, LONGEST_TTL = 300, 3600, 86400


class Phase(Enum):
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class View(Enum):
    EXTERNAL = "external"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Names:
    """Which hosts do what. `old_mx`: the MX of today; `mx`: our Postfix; `imap`: what clients connect to (None: none of
    ours); `exchange`: the relay that takes mail for Exchange, for the internal view. `addresses`: by view and host.
    `selector`: of the DKIM key. `relay`: the host that holds whole domains."""

    domains: tuple[str, ...]
    open_domain: str
    exchange_domain: str
    mx: str
    exchange: str
    old_mx: tuple[str, ...] = ()
    imap: str | None = None
    submission: bool = False
    relay: str | None = None
    selector: str = "mail"
    addresses: Mapping[View, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)


def zone(names: Names, domain: str, view: View, phase: Phase) -> str:
    """The records of one domain, as a snippet of a zone file."""
    ttl = LONG_TTL if phase is Phase.AFTER else SHORT_TTL
    lines = [f"; {domain}, {view.value} view, {phase.value} the move: by `mailferry stack dns`", f"$ORIGIN {domain}."]
    lines.append(f"$TTL {ttl}")
    lines += _mail(names, view, phase)
    lines += _policies(names, view, phase)
    lines += _clients(names, phase)
    if domain == names.domains[0]:
        lines += _hosts(names, view)
        if view is View.INTERNAL:
            lines += _routing(names)
    return "\n".join(lines) + "\n"


def _mail(names: Names, view: View, phase: Phase) -> Iterator[str]:
    yield "; Where mail comes in"
    if phase is Phase.BEFORE and view is View.EXTERNAL:
        if not names.old_mx:
            yield "; the MX records as they are, with this short TTL (stack.dns.old_mx would write them here)"
        for number, host in enumerate(names.old_mx, 1):
            yield f"@ MX {10 * number} {host}."
        return
    yield f"@ MX 10 {names.mx}."


def _policies(names: Names, view: View, phase: Phase) -> Iterator[str]:
    if view is View.INTERNAL:
        return
    yield "; Who may send for this domain; add the addresses of newsletters and the like"
    old = "" if phase is Phase.AFTER else "".join(f" a:{host}" for host in names.old_mx)
    yield f'@ TXT "v=spf1 mx a:{names.mx}{old} ~all"'
    yield "; DKIM: the public key of whatever signs outgoing mail (rspamd's dkim_signing, for example)"
    yield f';{names.selector}._domainkey TXT "v=DKIM1; k=rsa; p=PUT-THE-KEY-HERE"'
    if phase is Phase.AFTER:
        yield "; DMARC: only reports; p=quarantine once they show that all mail is signed. Keep a policy that stands"
    else:
        yield "; DMARC: only reports, since mail of both sides passes here. Keep a policy that stands already"
    yield f'_dmarc TXT "v=DMARC1; p=none; rua=mailto:postmaster@{names.domains[0]}"'


def _clients(names: Names, phase: Phase) -> Iterator[str]:
    if names.imap is None:
        return
    yield "; What clients look for; not offered in clear (`.`)"
    yield f"_imaps._tcp SRV 0 1 993 {names.imap}."
    yield "_imap._tcp SRV 0 0 0 ."
    yield f"_sieve._tcp SRV 0 1 4190 {names.imap}."
    if names.submission:
        yield f"_submissions._tcp SRV 0 1 465 {names.mx}."
        yield f"_submission._tcp SRV 0 1 587 {names.mx}."
    yield f"autoconfig CNAME {names.imap}."
    if phase is Phase.AFTER:
        yield "; autodiscover: take it away from Exchange once nobody is there any more"
    else:
        yield "; autodiscover stays with Exchange: Outlook of people who have not moved asks it"


def _hosts(names: Names, view: View) -> Iterator[str]:
    yield "; The hosts"
    known = names.addresses.get(view, {})
    hosts = (names.mx, names.relay, names.imap, *names.old_mx)
    for host in dict.fromkeys(one for one in hosts if one):
        if host not in known:
            yield f"; {host}: its {view.value} addresses are not in stack.dns.{view.value}"
        for address in known.get(host, ()):
            kind = "AAAA" if ipaddress.ip_address(address).version == 6 else "A"
            yield f"{host}. {kind} {address}"


def _routing(names: Names) -> Iterator[str]:
    yield "; The private routing domains: never in the external view"
    yield f"{names.open_domain}. MX 10 {names.mx}."
    if names.exchange.replace(".", "").isdigit() or ":" in names.exchange:
        yield f"; {names.exchange_domain}: an MX needs the name of the host that is {names.exchange}"
    else:
        yield f"{names.exchange_domain}. MX 10 {names.exchange}."


def plan(names: Names, phase: Phase) -> list[str]:
    """What to do, in order, as sentences."""
    domains = ", ".join(names.domains)
    steps = {
        Phase.BEFORE: [
            f"A week before: lower the TTL of all MX, A and autoconfig records of {domains} to {SHORT_TTL} s, and "
            f"change "
            "nothing else. The old TTL (often a day, look: `dig MX`) has to pass before anything below.",
            f"Add the address records of {names.mx} in both views, and a PTR record for each external address: other "
            "servers refuse mail from addresses without one.",
            "Extend SPF by the new host. Add the DKIM key before anything signs with it.",
            f"In the internal view add {names.open_domain} and {names.exchange_domain}; never in the external one.",
            f"Check from outside that {names.mx}:25 answers (`mailferry stack check postfix`), with a certificate.",
        ],
        Phase.DURING: [
            f"Point the MX of {domains} to {names.mx}: one domain after the other, the least important first. Look at "
            "Postfix's log, and at `mailferry route show` for people of both sides.",
            f"Senders that have the old MX still come to Exchange for {SHORT_TTL} s, and some for longer: Exchange has "
            "to go on taking mail for these domains until the end.",
            "Publish the SRV records and autoconfig when the first people move; autodiscover stays with Exchange.",
            "To go back: the MX of before. Both sides take mail for everybody, so nothing is lost on the way.",
        ],
        Phase.AFTER: [
            "When the last wave is done: close port 25 of the old hosts from outside, and look for a week who still "
            "tries.",
            f"Raise the TTLs to {LONG_TTL} s, and to {LONGEST_TTL} s a week later.",
            "Take the old hosts out of SPF. Tighten DMARC once its reports show that all mail is signed.",
            f"Remove {names.exchange_domain} from the internal view when nothing is sent to Exchange any more.",
        ],
    }
    return steps[phase]


def relay_plan(names: Names) -> list[str]:
    """The way to holding a whole domain, and back, as sentences."""
    relay = names.relay or names.mx
    return [
        f"A week before: `mailferry stack dns --phase before`: TTLs at {SHORT_TTL} s, {relay} with address and PTR.",
        f"The days before: `mailferry stack up relay` on {relay}, then `mailferry stack up postfix`. Mail passes "
        f"through.",
        f"A day before: point the MX of {', '.join(names.domains)} to {relay}. Mail still passes at once, to "
        f"wherever each "
        "route leads; so this step can be tested in peace, and taken back.",
        f"If the MX cannot be changed in time (an outage): let the firewall send port 25 of the old address to "
        f"{relay}.",
        "Shut port 25 of Exchange from outside; else senders with the old MX go on delivering there.",
        "The night: `mailferry relay on`. Everything is accepted and waits; `mailferry relay status` from now on, "
        "every "
        "five minutes (disk, age).",
        "Move: last delta, verification, routes. Nothing is delivered from outside meanwhile. Mail between "
        "Exchange's own "
        "people does not come here: stop their clients, or Exchange's transport service.",
        "Then `mailferry relay drain`: all that waits goes, in order, to where the routes now lead; and mail passes "
        "again.",
        f"Later: point the MX to {names.mx} for good; `mailferry stack down relay` when its log has been silent for "
        f"a week.",
        "To go back before the drain: set the routes back, then `mailferry relay drain`. Nothing is lost either way.",
    ]
