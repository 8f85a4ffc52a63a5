"""What an organisation is made of, counted: recipients, addresses, ties, and what to know before a move. Pure.

Reads nothing itself. Invariants: everything read is counted once, by kind, and the left-out too; a number that the
directory cannot give is not given, and `UNKNOWN` says so; every warning names how many it is about, and some of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mailferry.directory import addresses
from mailferry.directory.clean import Cleaned
from mailferry.directory.codes import CODES
from mailferry.directory.moving import Size, Suggestion, asleep, suggest
from mailferry.directory.sharing import GROUPS, MOVERS, Cluster, Sharing, clusters, expanded, ties
from mailferry.model.recipient import Recipient, RecipientKind, Severity

K = RecipientKind
EXPANSION_LIMIT = 1000
"""What Postfix's virtual_alias_expansion_limit is unless set."""
SHOWN = 5

UNKNOWN: tuple[tuple[str, str], ...] = (
    (
        "Who uses IMAP, POP3, Outlook or a telephone",
        "A directory says at most what somebody may use. Exchange's own logs say what they do use "
        "(IMAP4 and POP3 protocol logs, Get-MobileDevice, Get-CASMailbox).",
    ),
    (
        "Who may see single folders and calendars of others",
        "Folder permissions are in the mailboxes, not in the directory. The ties below are full access and sending on "
        "behalf only.",
    ),
    (
        "Who may send as somebody else",
        "Send As is in the access control lists of Active Directory, which are not read.",
    ),
    (
        "Rules, out-of-office texts, categories, contents of calendars",
        "They are in the mailboxes. A later step reads them through EWS or Graph.",
    ),
    ("What is in public folders", "The directory names only those with an address; IMAP and Graph show none."),
)
"""(what, why not): for the report, so that nobody takes silence for a no."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Something to know before the move. `about`: names of the first few of `count`."""

    code: str
    title: str
    text: str
    count: int
    about: tuple[str, ...]


@dataclass(slots=True)
class Survey:
    """Everything counted. `people`: id → recipient, cleaned. `kinds`: by kind, of those that come along; `read`: of all
    that was read. `largest`: (group, people it reaches, entries in it). `left_out`: (id, name, place, why).
    `findings`: (title, severity, how many) of cleaning."""

    people: Mapping[str, Recipient]
    sizes: Mapping[str, Size]
    read: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    features: dict[str, int] = field(default_factory=dict)
    domains: list[tuple[str, int, int, bool]] = field(default_factory=list)
    servers: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    largest: list[tuple[str, int, int]] = field(default_factory=list)
    left_out: list[tuple[str, str, str, str]] = field(default_factory=list)
    findings: list[tuple[str, str, int]] = field(default_factory=list)
    sharing: Sharing = field(default_factory=Sharing)
    clusters: list[Cluster] = field(default_factory=list)
    suggestion: Suggestion = field(default_factory=lambda: Suggestion((), {}, {}))
    advice: list[Advice] = field(default_factory=list)

    @property
    def movers(self) -> list[Recipient]:
        """Who has a mailbox here."""
        return [one for one in self.people.values() if one.kind in MOVERS]

    @property
    def shared_clusters(self) -> list[Cluster]:
        """Those of more than one mailbox, the largest first."""
        return [one for one in self.clusters if len(one.members) > 1]


Named = Mapping[str, tuple[str, str, str]]
"""Of all that was read: id → kind, name, place."""


def survey(
    read: Named,
    cleaned: Cleaned,
    domains: frozenset[str],
    sizes: Mapping[str, Size],
    now: float,
    wave_size: int | None = None,
) -> Survey:
    """Count, tie, suggest and warn. `read`: all that the reader gave; `domains`: the accepted ones (none: all are)."""
    people = {one.id: one for one in cleaned.recipients}
    found = Survey(people, sizes)
    found.read.update(kind for kind, _, _ in read.values())
    found.kinds.update(one.kind.value for one in people.values())
    found.features = {title: sum(map(test, people.values())) for title, test in _features(now)}
    nested = {who for one in people.values() if one.kind in GROUPS for who in one.members}
    found.features["groups within groups"] = sum(one.kind in GROUPS and one.id in nested for one in people.values())
    found.domains = _domains(people.values(), domains)
    for one in found.movers:
        found.servers.update(text.rpartition("cn=")[2] for text in one.preferences.get("msExchHomeServerName", ()))
        found.languages.update(one.preferences.get("msExchUserCulture", ()))
    reach = {one.id: len(expanded(one.id, people)) for one in people.values() if one.kind in GROUPS}
    ranked = sorted(reach.items(), key=lambda group: (-group[1], group[0]))
    found.largest = [(who, count, len(people[who].members)) for who, count in ranked[:10]]
    found.left_out = _left_out(read, cleaned)
    counts = Counter((row.finding.code, row.finding.severity) for row in cleaned.rows)
    found.findings = [(CODES[code][1], severity.value, count) for (code, severity), count in counts.most_common()]
    found.sharing = ties(people)
    found.clusters = clusters((one.id for one in found.movers), found.sharing.strong)
    found.suggestion = suggest(people, found.clusters, found.sharing.loose, sizes, now, wave_size)
    found.advice = list(_advice(found, cleaned, reach, domains, now))
    return found


def _features(now: float) -> Sequence[tuple[str, Callable[[Recipient], bool]]]:
    return (
        ("hidden from the address book", lambda one: one.hidden),
        ("accounts of people disabled", lambda one: one.kind is K.MAILBOX and not one.enabled),
        ("accounts of people expired", lambda one: one.kind is K.MAILBOX and bool(asleep(one, now)) and one.enabled),
        ("with X.500 addresses", lambda one: bool(one.x500)),
        ("with mail forwarded", lambda one: one.forwarding is not None),
        ("forwarded without a copy kept", lambda one: one.forwarding is not None and not one.forwarding.keep_copy),
        ("send restrictions", lambda one: bool(one.accept_from or one.reject_from or one.internal_only)),
        ("with a quota", lambda one: one.quota is not None and one.kind in MOVERS),
        ("with others sending on their behalf", lambda one: bool(one.send_on_behalf)),
        ("with others having full access", lambda one: bool(one.full_access)),
        ("with a photo", lambda one: one.photo is not None),
        ("with a manager", lambda one: one.manager is not None),
        ("with an external address", lambda one: one.external_address is not None),
        ("with an address beyond ASCII", _is_international),
    )


def _is_international(one: Recipient) -> bool:
    return any(not address.isascii() for address in (one.mail or "", *one.aliases))


def _domains(people: Iterable[Recipient], accepted: frozenset[str]) -> list[tuple[str, int, int, bool]]:
    """(domain, primary addresses, other addresses, whether it is ours), the most used first."""
    primary: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for one in people:
        if one.mail:
            primary[addresses.domain_of(one.mail)] += 1
        others.update(map(addresses.domain_of, one.aliases))
    every = sorted(primary.keys() | others.keys(), key=lambda name: (-primary[name] - others[name], name))
    return [(name, primary[name], others[name], not accepted or name in accepted) for name in every]


def _left_out(read: Named, cleaned: Cleaned) -> list[tuple[str, str, str, str]]:
    reasons: dict[str, str] = {}
    for row in cleaned.rows:
        if row.finding.severity is Severity.ERROR:
            reasons.setdefault(row.finding.about, row.finding.message)
    rows = []
    for who in cleaned.left_out:
        _, name, where = read.get(who, ("", who, ""))
        rows.append((who, name, where, reasons.get(who, "left out by a decision")))
    return rows


def _advice(
    found: Survey, cleaned: Cleaned, reach: Mapping[str, int], domains: frozenset[str], now: float
) -> Iterator[Advice]:
    people = found.people

    def about(code: str, title: str, text: str, who: Iterable[str]) -> Iterator[Advice]:
        names = list(who)
        if names:
            yield Advice(code, title, text, len(names), tuple(names[:SHOWN]))

    def those(test: Callable[[Recipient], bool]) -> list[str]:
        return [one.name for one in people.values() if test(one)]

    ews = (
        "Where they are in Exchange Online: EWS is off since October 2026, and for tenants that kept it ends on 1 April"
        " 2027; Graph does not show them. Bring them before, or from Exchange on premises."
    )
    yield from about(
        "public-folders", "Public folders with an address", ews, those(lambda one: one.kind is K.PUBLIC_FOLDER)
    )
    yield from about("archives", "Archive mailboxes", ews, those(lambda one: "msExchArchiveName" in one.preferences))
    yield from about(
        "left-out",
        "Recipients with an error",
        "They stay behind until somebody decides: run `mailferry directory clean` and answer in the decisions file.",
        (name or who for who, name, _, _ in found.left_out),
    )
    yield from about(
        "asleep",
        "Mailboxes of accounts that are disabled or have expired",
        "Nobody logs in to them. Decide for each: bring it, make it a shared mailbox, or leave it and keep a backup.",
        those(lambda one: bool(asleep(one, now))),
    )
    yield from about(
        "large-groups",
        f"Groups that reach more than {EXPANSION_LIMIT:,}",
        f"Postfix expands an address to {EXPANSION_LIMIT:,} recipients unless virtual_alias_expansion_limit is set "
        "above the largest group; without that their mail is deferred.",
        (
            f"{people[who].name} ({count:,})"
            for who, count in sorted(reach.items(), key=lambda one: -one[1])
            if count > EXPANSION_LIMIT
        ),
    )
    yield from about(
        "dynamic-groups",
        "Dynamic groups",
        "Their members are those that the filter finds; a change of somebody's department shows in the open directory "
        "at the next full comparison, not within seconds.",
        those(lambda one: one.kind is K.DYNAMIC_GROUP),
    )
    moderated = [row.finding for row in cleaned.rows if row.finding.code == "moderated"]
    yield from about(
        "moderated",
        "Moderated recipients",
        "Mail to them waits for somebody's consent in Exchange. Postfix has nothing like it: use a list manager.",
        (people[one.about].name if one.about in people else one.where for one in moderated),
    )
    yield from about(
        "restrictions",
        "Recipients that not everybody may send to",
        "The open side has to enforce it from the first day: the restriction comes along in the directory, and a "
        "policy of Postfix reads it.",
        those(lambda one: bool(one.accept_from or one.reject_from or one.internal_only)),
    )
    yield from about(
        "forward-outside",
        "Mail forwarded to the outside",
        "From the new servers such mail has another sender address than the envelope's domain allows: check SPF and "
        "DMARC, and whether the organisation wants it at all.",
        those(lambda one: one.forwarding is not None and one.forwarding.to.startswith("smtp:")),
    )
    if domains:
        yield from about(
            "foreign-domains",
            "Domains in addresses that are not in `domains`",
            "Add those that are yours to the settings; addresses in the others are left out of what comes along.",
            (
                f"{name} ({first + more:,})"
                for name, first, more, ours in found.domains
                if not ours and _own(name, found)
            ),
        )
    yield from about(
        "elsewhere",
        "Mailboxes that are elsewhere (mail users)",
        "Their accounts are here, their mailboxes are not. Those in Exchange Online (an external address of "
        "onmicrosoft.com) have to be moved from there.",
        those(lambda one: one.kind is K.MAIL_USER),
    )
    yield from about(
        "international",
        "Addresses beyond ASCII",
        "They work only between servers that know SMTPUTF8, and the open directory does not hold them as addresses.",
        those(_is_international),
    )
    yield from about(
        "no-x500",
        "Mailboxes without a legacyExchangeDN",
        "Replies to messages that they sent within Exchange will not find them.",
        those(lambda one: one.id.startswith("ad:") and one.kind in MOVERS and not one.x500),
    )
    yield from about(
        "wide-rights",
        "Rights given to large groups",
        "Everybody of the group may work in the mailbox; the survey does not tie them all together. See who does.",
        (f"{people[who].name}: {people[group].name} ({count:,})" for who, group, count in found.sharing.wide),
    )
    largest = found.clusters[0] if found.clusters else None
    if largest is not None and len(largest.members) > max(50, len(found.movers) // 10):
        yield from about(
            "large-cluster",
            "One cluster holds much of the organisation",
            f"{len(largest.members):,} mailboxes are tied together and would move in one wave. Often a few mailboxes "
            "tie the rest: move these last, or end rights that nobody uses.",
            (people[who].name for who, _, _ in largest.hubs),
        )
    yield from about(
        "not-opened",
        "Mailboxes that could not be opened",
        "Their size is not known, and they could not be copied either; the CSV file has the reasons.",
        (people[who].name for who, size in found.sizes.items() if size.failure and who in people),
    )


def _own(domain: str, found: Survey) -> bool:
    """Whether an address in that domain is one of our own recipients', not a contact's."""
    outside = (K.CONTACT, K.MAIL_USER)
    return any(
        addresses.domain_of(address) == domain
        for one in found.people.values()
        if one.kind not in outside
        for address in (one.mail or "", *one.aliases)
    )
