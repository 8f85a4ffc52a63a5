"""What Postfix asks the directory: the ldap: tables (ldap_table(5)) and what it makes of the answers (regexp_table(5)).

Text only. Invariants: each table answers one question, and can be asked alone (`postmap -q ADDRESS ldap:FILE`); a
directory that is away is a temporary error in every one of them, never "no"; a recipient without a route that makes
sense is `unrouted`, where mail waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailferry.stack.postfix.settings import Route, Settings

UNROUTED, PARKED = "unrouted", "parked"
"""Services of master.cf that do not run, since main.cf names them in defer_transports: mail for them is accepted and
waits. Postfix's own `retry:` would refuse it instead, also that for people who do not exist."""
PARKED_AT, NO_ROUTE, NO_STORE = "parked-until-the-route-changes", "no-route", "no-such-store"
"""Where these would deliver to: sockets that do not exist, which is a reason to wait. For `postqueue -f` runs them all
the same, and so does `-i` for the other recipients of a message (postconf(5), defer_transports); any other place would
then bounce what is parked. The queue's listing shows these words as the reason."""
DEFERRED = "deferred transport"
"""What it shows before anybody did that."""

_FORWARDED = "(mailferryForwardTo=*)"
_KEEPS, _REDIRECTS, _SENDS_ON = "(deliverAndRedirect=TRUE)", "(altRecipient=*)", "(msExchGenericForwardingAddress=*)"
_WHEN = f"(|<local>(&<not_exchange>(!{_KEEPS})))"
"""Of Exchange's attributes: who forwards on the open side; with a copy only once the mail comes there."""
PLAIN, LEGACY, LEGACY_BACK = "plain.regexp", "legacy.regexp", "legacy-back.regexp"


@dataclass(frozen=True, slots=True)
class Table:
    """One ldap: table. `about`: what it answers. `filter`: beside the address. `more`: further lines. `key`: the filter
    for what is asked about where that is no address. `<word>` in them is the directory's (stack/words.py)."""

    name: str
    about: str
    filter: str
    result: str
    answer: str = "%s"
    more: tuple[str, ...] = ()
    in_open_domain: bool = False
    about_sender: bool = False
    key: str = ""

    @property
    def file(self) -> str:
        return f"ldap-{self.name}.cf"


RECIPIENTS = Table("recipients", "Whether an address belongs to anybody.", "<recipient>", "<id>, mail")
ROUTES = Table(
    "routes",
    "Where mail for an address goes: route, store and kind, in one answer of any order.\n"
    "transports.regexp turns it into a transport.",
    "<deliverable>",
    "<route>, <store>, <kind>",
)
OPEN_ROUTES = Table(
    "open-routes",
    "The same for UID@ the open side's routing domain.",
    "<routed>",
    ROUTES.result,
    in_open_domain=True,
)
GROUPS = Table(
    "groups",
    "The primary addresses of all members of a group, groups in groups included.",
    "<group>",
    "<outside_members>",
    more=(
        "# Members are DNs; each is looked at in turn.",
        "special_result_attribute = member",
        "leaf_result_attribute = mail",
        "# Groups in each other. Circles are not written into the directory; deeper than this is a temporary error.",
        "recursion_limit = 50",
    ),
)
FORWARD_KEEP = Table(
    "forward-keep",
    "Forwarding that keeps a copy, of people of the open side. Exchange forwards for its own; what is parked may yet\n"
    "go there, so it waits as it is, and is forwarded when it is released into a store.",
    f"<local>{_FORWARDED}(mailferryKeepCopy=TRUE)",
    "mailferryForwardTo, mail",
)
FORWARD = Table(
    "forward",
    "Forwarding without a copy, of people who are not on Exchange. Nothing is parked of it, so nothing comes twice.",
    f"<not_exchange>{_FORWARDED}(!(mailferryKeepCopy=TRUE))",
    "mailferryForwardTo",
)
KEPT = Table("forward-keep", FORWARD_KEEP.about, f"<local>{_KEEPS}(|{_REDIRECTS}{_SENDS_ON})", "mail")
REDIRECT = Table(
    "forward-redirect",
    "Whom somebody forwards to who is in the directory, too, as a DN; for ldap-by-dn.cf.",
    f"{_REDIRECTS}{_WHEN}",
    "altRecipient",
)
BY_DN = Table("by-dn", "The primary address of an entry, by DN.", "", "mail", key="(distinguishedName=%s)")
SENT_ON = Table(
    "forward",
    "The address that somebody forwards to, as `smtp:ADDRESS`.",
    f"{_SENDS_ON}(!{_REDIRECTS}){_WHEN}",
    "msExchGenericForwardingAddress",
)
EMPTY = Table(
    "empty-groups",
    "Groups without members: nobody gets their mail, as in Exchange.",
    "<group>(!(member=*))",
    "<id>",
    "discard:this group has no members",
)
OUTSIDE = Table(
    "outside",
    "The address outside of contacts and mail users. Whoever has a route has a mailbox, and is none of these.",
    "(<external>=*)(!<routed>)(!<group>)",
    "<external>",
)
PRIMARY = Table(
    "primary",
    "The primary address for any other, such as those that old Exchange messages are answered to (IMCEAEX).",
    "<routed>",
    "mail",
)
OPEN = Table(
    "open",
    "The primary address for UID@ the open side's routing domain, which Exchange sends moved people's mail to.",
    "<routed>",
    "mail",
    in_open_domain=True,
)
FRESH = Table(
    "back-fresh",
    "From Exchange, for somebody whose route leads to Exchange since a short while: ask again later.",
    "<exchange>(<fresh>=*)",
    "<id>",
    "451 4.4.6 the route of this mailbox has just changed, try again later",
)
STABLE = Table(
    "back",
    "From Exchange, for somebody who has long been there: it would come back for ever.",
    "<exchange>(!(<fresh>=*))",
    "<id>",
    "550 5.4.6 this mailbox is on Exchange, which should have delivered it",
)
OPEN_FRESH = Table("open-back-fresh", FRESH.about, FRESH.filter, FRESH.result, FRESH.answer, in_open_domain=True)
OPEN_STABLE = Table("open-back", STABLE.about, STABLE.filter, STABLE.result, STABLE.answer, in_open_domain=True)
CHOSEN_ONLY = Table(
    "chosen-only",
    "From outside, for those who also take mail from certain addresses outside: the sender is looked at.",
    "(mailferryAcceptFromAddress=*)(!(mailferryInternalOnly=TRUE))",
    "mailferrySourceId",
    "chosen_senders",
)
CHOSEN = Table(
    "chosen",
    "Whether a sender outside is named by any recipient. (Postfix cannot ask about the pair.)",
    "",
    "mailferrySourceId",
    "OK",
    about_sender=True,
)
INSIDE_ONLY = Table(
    "inside-only",
    "From outside, for those who take mail from inside alone, or from certain people inside.",
    "<inside_only>",
    "<id>",
    "550 5.7.1 only people of the organisation may send to this address",
)

SENDERS = Table(
    "senders",
    "Who may send with an address: its owner, and those whom the owner lets send. Log-in names.",
    "(<uid>=*)",
    "<senders>",
)
NOT_OUTSIDE = Table(
    "not-outside",
    "Whether somebody (by log-in name) may not send to addresses outside.",
    "(<outside>=FALSE)",
    "<uid>",
    "inside_only",
    key="(<uid>=%s)",
)
PERSON = Table(
    "person", "The DN of somebody, by log-in name; for ldap-group-not-outside.cf.", "", "<own_dn>", key="(<uid>=%s)"
)
GROUP_NOT_OUTSIDE = Table(
    "group-not-outside",
    "Whether somebody (by DN) is in a group of which none may send outside.",
    "<group>(<outside>=FALSE)",
    "<id>",
    "inside_only",
    key="(member=%s)",
)

GATE_OF = Table(
    "gate-of",
    "Which gate checks who may send to somebody.",
    "(<gate>=*)",
    "<gate>",
    "gate%s",
)
NO_GATE = Table(
    "no-gate",
    "Who says who may send to them, and has no gate yet (`mailferry restrict gates` gives them one).",
    "<names_people>(!(<gate>=*))",
    "<id>",
    "450 4.7.1 who may send to this address is not known yet, try again later",
)


def gate(number: int) -> Table:
    """The table of one gate: a pair cannot be asked about, but the recipient of a gate is always the same."""
    return Table(
        f"gate{number}",
        f"Whether somebody (by log-in name) may send to the recipient whose gate is {number}.",
        "(!(<reject>=%s))(|(<accept>=%s)(!<names_some>))",
        "<gate>",
        "OK",
        key=f"(<gate>={number})",
    )


TABLES = (
    *(RECIPIENTS, ROUTES, OPEN_ROUTES, GROUPS, FORWARD_KEEP, FORWARD, OUTSIDE, PRIMARY, OPEN),
    *(FRESH, STABLE, OPEN_FRESH, OPEN_STABLE, INSIDE_ONLY, CHOSEN_ONLY, CHOSEN),
)
SUBMISSION = (SENDERS, NOT_OUTSIDE, PERSON, GROUP_NOT_OUTSIDE)
"""What is asked where people hand in mail, beside the gates."""
TABLES_AD = (
    *(RECIPIENTS, ROUTES, OPEN_ROUTES, EMPTY, GROUPS, KEPT, REDIRECT, BY_DN, SENT_ON, OUTSIDE, PRIMARY, OPEN),
    *(FRESH, STABLE, OPEN_FRESH, OPEN_STABLE, INSIDE_ONLY),
)
"""What is asked of Active Directory in their place. Senders outside are not told apart there."""
BACK = (FRESH, OPEN_FRESH, STABLE, OPEN_STABLE)
"""What is looked at before mail from Exchange is taken."""


def used(settings: Settings) -> tuple[Table, ...]:
    """The ldap: tables that these settings need."""
    some = TABLES_AD if settings.directory.words.ad else TABLES
    if settings.submission is None:
        return some
    gated = (GATE_OF, NO_GATE, *gates(settings)) if settings.directory.words.gate else ()
    return (*some, *SUBMISSION, *gated)


def gates(settings: Settings) -> list[Table]:
    """Those of the gates."""
    number = settings.submission.gates if settings.submission is not None else 0
    return [gate(one) for one in range(1, number + 1)]


def aliases(settings: Settings) -> list[str]:
    """virtual_alias_maps: the first that answers counts, and its answers are looked up again."""
    here = settings.config_dir

    def ldap(table: Table) -> str:
        return f"ldap:{here}/{table.file}"

    if not settings.directory.words.ad:
        return [ldap(one) for one in (GROUPS, FORWARD_KEEP, FORWARD, OUTSIDE, PRIMARY, OPEN)]
    plain = f"regexp:{here}/{PLAIN}"
    redirect = f"pipemap:{{ {ldap(REDIRECT)}, {ldap(BY_DN)} }}"
    sent_on = f"pipemap:{{ {ldap(SENT_ON)}, {plain} }}"
    return [
        ldap(GROUPS),
        f"unionmap:{{ {ldap(KEPT)}, {redirect}, {sent_on} }}",
        f"pipemap:{{ {ldap(OUTSIDE)}, {plain} }}",
        ldap(PRIMARY),
        ldap(OPEN),
    ]


def patterns(settings: Settings) -> Iterator[tuple[str, str]]:
    """Name and text of the files that Active Directory needs beside its ldap: tables."""
    yield PLAIN, "# The address in a value such as `SMTP:alice@acme.example`.\n/^smtp:(.*)$/\t$1\n"
    legacy = f"/^IMCEAEX-.*@({'|'.join(map(re.escape, settings.domains))})$/"
    about = "# Addresses that old Exchange messages are answered to: Exchange alone can read them, "
    yield LEGACY, f"{about}and sends on whoever has moved.\n{legacy}\t{relay(settings)}\n"
    yield LEGACY_BACK, f"{about}so what it hands on is nobody's.\n{legacy}\t550 5.1.1 no such address\n"


def relay(settings: Settings) -> str:
    """The way to Exchange, as transport:nexthop."""
    return f"exchange:[{settings.exchange.host}]:{settings.exchange.port}"


def text(table: Table, settings: Settings) -> str:
    """The file of a table. It holds the password of cn=lookup."""
    directory, words = settings.directory, settings.directory.words
    if table.in_open_domain:
        key, asked = "(<uid>=%u)", f"domain = {settings.open_domain}"
    else:
        key, asked = words.address("%s"), f"domain = {', '.join(settings.domains)}"
    if table.about_sender:
        key, asked = "(mailferryAcceptFromAddress=%s)", "# Any domain."
    if table.key:
        key, asked = table.key, "# What is asked about is no address."
    lines = [
        *(f"# {line}" for line in table.about.splitlines()),
        f"server_host = {' '.join(directory.urls)}",
        "version = 3",
        *_tls(settings),
        "bind = yes",
        f"bind_dn = {directory.bind}",
        f"bind_pw = {directory.password.reveal()}",
        "timeout = 10",
        f"search_base = {directory.suffix}",
        *(
            ["# Other domains are never asked about, so their mail flows while the directory is away."]
            if "=" in asked
            else []
        ),
        asked,
        f"query_filter = {_and(words.fill(key), words.fill(table.filter))}",
        f"result_attribute = {words.fill(table.result)}",
        *([] if table.answer == "%s" else [f"result_format = {table.answer}"]),
        *table.more,
        *([f"expansion_limit = {settings.expansion}"] if table is GROUPS else []),
    ]
    return "\n".join(lines) + "\n"


def transports(settings: Settings) -> str:
    """transports.regexp: from what ldap-routes.cf answers to transport:nexthop; what nothing matches waits."""
    to_exchange = relay(settings)
    lines = [
        "# What ldap-routes.cf answers (such as `local,store1.acme.example,mailbox`) -> transport:nexthop.",
        "# The first line that matches counts. Whoever is not in the directory does not come here.",
        f"{_has(Route.PARKED.value)}\t{PARKED}:unix:{PARKED_AT}",
        f"{_has(Route.EXCHANGE.value)}\t{to_exchange}",
        "",
        "# On the open side mailHost says which store.",
        f"if {_has(Route.LOCAL.value)}",
        *(
            f"{_has(name)}\tstore:inet:{_bracketed(store.host)}:{store.port}"
            for name, store in sorted(settings.stores.items())
        ),
        f"/./\t{UNROUTED}:unix:{NO_STORE}",
        "endif",
        "",
        "# What stays on Exchange without a route, such as public folders.",
        *(f"{_has(kind)}\t{to_exchange}" for kind in settings.directory.words.on_exchange),
        *(
            f"{_has(kind)}\tdiscard:this group has no members"  # with some it does not come here; as in Exchange
            for kind in settings.directory.words.nobody
        ),
        "",
        "# A route that makes no sense, or none: it waits. (Contacts are other addresses before they come here.)",
        f"/./\t{UNROUTED}:unix:{NO_ROUTE}",
    ]
    return "\n".join(lines) + "\n"


def _and(*filters: str) -> str:
    present = [one for one in filters if one]
    return present[0] if len(present) == 1 else f"(&{''.join(present)})"


def _has(word: str) -> str:
    return f"/(^|,){re.escape(word).replace('/', '[/]')}(,|$)/"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _tls(settings: Settings) -> Iterator[str]:
    directory = settings.directory
    if directory.ca_file is None:
        return
    if any(url.startswith("ldap://") for url in directory.urls):
        yield "start_tls = yes"
    yield f"tls_ca_cert_file = {directory.ca_file}"
    yield "tls_require_cert = yes"
