"""Who becomes whom: a recipient of the source → uid and DN in the target, by rules and a file of exceptions. Pure.

Does not read the source, nor look whether the target has such an entry already. Invariants: a uid once given stays,
and is never given to anybody else; an identity (account name or mailbox) that changed hands is a SafetyStop; names
cannot break out of a DN.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from mailferry.config.settings import Branches, Rules
from mailferry.directory.exceptions import NO_EXCEPTIONS, Exceptions, Override
from mailferry.directory.letters import as_uid, one_line
from mailferry.errors import ConfigError, SafetyStop
from mailferry.ledger.rows import DirectoryAccount
from mailferry.model.recipient import Finding, Recipient, RecipientKind, Severity
from mailferry.wire import dn as names

GROUPS = frozenset((RecipientKind.GROUP, RecipientKind.DYNAMIC_GROUP))
PERSON_LIKE = frozenset(RecipientKind) - GROUPS - {RecipientKind.CONTACT}
_BRANCH = {
    RecipientKind.SHARED: "shared",
    RecipientKind.PUBLIC_FOLDER: "shared",
    RecipientKind.ROOM: "resources",
    RecipientKind.EQUIPMENT: "resources",
    RecipientKind.CONTACT: "contacts",
    RecipientKind.GROUP: "groups",
    RecipientKind.DYNAMIC_GROUP: "groups",
}  # all others: people
_FIELDS = frozenset(
    ("account", "mail_local", "mail_domain", "mail", "principal_local", "givenName", "sn", "name", "employeeNumber")
)
_RDN = re.compile(r"([A-Za-z][A-Za-z0-9-]*)=(.+)")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Placed:
    """A recipient with its place in the target."""

    recipient: Recipient
    uid: str
    dn: str


@dataclass(slots=True)
class Register:
    """Whose is what, from the ledger, kept up to date by `place`. Keys of `by_uid`, `by_dn` and `by_account` are
    folded; a recipient that is gone keeps its uid and account here, not its DN."""

    by_id: dict[str, DirectoryAccount] = field(default_factory=dict)
    by_uid: dict[str, str] = field(default_factory=dict)
    by_dn: dict[str, str] = field(default_factory=dict)
    by_account: dict[str, str] = field(default_factory=dict)

    def put(self, row: DirectoryAccount) -> None:
        self.forget(row.source_id)
        self.by_id[row.source_id] = row
        self.by_uid[row.uid.casefold()] = row.source_id
        if row.gone is None:
            self.by_dn[dn_key(row.dn)] = row.source_id
        if row.account:
            self.by_account[row.account.casefold()] = row.source_id

    def forget(self, source_id: str) -> None:
        old = self.by_id.pop(source_id, None)
        if old is None:
            return
        keys = ((self.by_uid, old.uid.casefold()), (self.by_dn, dn_key(old.dn)))
        for index, key in (*keys, (self.by_account, (old.account or "").casefold())):
            if index.get(key) == source_id:
                del index[key]


@dataclass(slots=True)
class Placing:
    """What `place` found. `rows`: those of the ledger that are new or different."""

    placed: dict[str, Placed] = field(default_factory=dict)
    rows: list[DirectoryAccount] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    excluded: list[Recipient] = field(default_factory=list)


def register_of(rows: Iterable[DirectoryAccount]) -> Register:
    register = Register()
    for row in rows:
        register.put(row)
    return register


def place(
    recipients: Iterable[Recipient],
    register: Register,
    rules: Rules,
    suffix: str,
    branches: Branches,
    exceptions: Exceptions = NO_EXCEPTIONS,
) -> Placing:
    """Give each recipient its uid and DN; `register` then knows the new ones. All or some of the recipients.

    SafetyStop if an identity changed; `register` is then left as it was. ConfigError for a template that makes no
    sense.
    """
    check_rules(rules)
    done = Placing()
    coming: list[tuple[Recipient, Override | None]] = []
    alive = set()
    for recipient in recipients:
        alive.add(recipient.id)
        override = exceptions.of(recipient)
        if _excluded(recipient, rules, override):
            done.excluded.append(recipient)
        else:
            coming.append((recipient, override))
    coming.sort(key=lambda one: (one[0].id not in register.by_id, one[0].id))
    replaced = _identities(coming, register, alive)
    for former in replaced:
        register.forget(former)
    wanted = {recipient.id: _uid(recipient, override, register, rules) for recipient, override in coming}
    claims: dict[str, list[str]] = {}
    for source_id, uid in wanted.items():
        if uid is not None:
            claims.setdefault(uid.casefold(), []).append(source_id)
    for recipient, override in coming:
        uid = wanted[recipient.id]
        fault = _uid_fault(recipient, uid, claims, register)
        if uid is None or fault is not None:
            done.findings.append(fault or _no_uid(recipient))
            continue
        dn, note = _dn(recipient, uid, override, register, rules, suffix, branches)
        if dn is None:
            done.findings.append(note or _no_uid(recipient))
            continue
        if note is not None:
            done.findings.append(note)
        old = register.by_id.get(recipient.id)
        guid = recipient.mailbox_guid or (old.mailbox_guid if old else None)
        row = DirectoryAccount(recipient.id, recipient.kind.value, recipient.account, guid, uid, dn)
        if row != old:
            register.put(row)
            done.rows.append(row)
        done.placed[recipient.id] = Placed(recipient, uid, dn)
    return done


def check_rules(rules: Rules) -> None:
    """ConfigError for templates with unknown fields, or RDNs that are none."""
    for key, text in (("person_dn", rules.person_dn), ("group_dn", rules.group_dn), ("contact_dn", rules.contact_dn)):
        if not _RDN.fullmatch(text):
            raise ConfigError(f"not of the form cn={{name}}: {text}", about=f"directory.mapping.{key}")
        _check_template(key, text, _FIELDS | {"uid"})
    _check_template("uid", rules.uid, _FIELDS)


def _check_template(key: str, text: str, known: frozenset[str]) -> None:
    unknown = set(re.findall(r"\{([^}]*)\}", text)) - known
    if unknown or "{" not in text or text.count("{") != text.count("}"):
        what = f"unknown field {{{min(unknown)}}}" if unknown else "it names no field, or its braces do not match"
        advice = f"known: {', '.join(sorted(known))}"
        raise ConfigError(f"{what} in {text!r}", about=f"directory.mapping.{key}", advice=advice)


def _excluded(recipient: Recipient, rules: Rules, override: Override | None) -> bool:
    if override is not None and (override.exclude or override.uid or override.dn):
        return override.exclude
    mailless = recipient.kind == RecipientKind.ACCOUNT or (recipient.mail is None and recipient.kind in GROUPS)
    if mailless and not rules.accounts_without_mail:
        return True
    if not rules.exclude:
        return False
    texts = [recipient.id, recipient.where, recipient.account or "", recipient.mail or "", *recipient.aliases]
    return any(fnmatch.fnmatch(text.casefold(), one.casefold()) for one in rules.exclude for text in texts if text)


def _identities(coming: list[tuple[Recipient, Override | None]], register: Register, alive: Set[str]) -> list[str]:
    """The former ids that exceptions give up. SafetyStop for account names or mailboxes that changed hands; a name
    may go over from one that is `alive`, whose own id still says who it is, and to one with a uid by exception."""
    replaced, stops = [], []
    for recipient, override in coming:
        agreed = override.replaces.casefold() if override else ""
        old = register.by_id.get(recipient.id)
        if old is not None and old.mailbox_guid and recipient.mailbox_guid:
            before, now = old.mailbox_guid.casefold(), recipient.mailbox_guid.casefold()
            if before != now and agreed != before:
                stops.append(f"{recipient.where} has another mailbox: it is {now}, the ledger knows {before}")
        other = register.by_account.get((recipient.account or "").casefold())
        if other is None or other == recipient.id or recipient.kind not in PERSON_LIKE:
            continue
        if agreed == other.casefold():
            replaced.append(other)
        elif other not in alive and not (override and override.uid):
            stops.append(f"{recipient.where} has the account name {recipient.account}, which was that of {other}")
    if stops:
        more = f" (and {len(stops) - _SHOWN} more)" if len(stops) > _SHOWN else ""
        raise SafetyStop(
            "; ".join(stops[:_SHOWN]) + more,
            about="the source",
            advice="if it is the same person, say so in the file of exceptions: the new id in `who`, the former id "
            "or mailbox GUID in `replaces`; if it is another person, give them another uid there",
        )
    return replaced


def _uid(recipient: Recipient, override: Override | None, register: Register, rules: Rules) -> str | None:
    if override is not None and override.uid:
        return override.uid
    old = register.by_id.get(recipient.id)
    if old is not None:
        return old.uid
    if recipient.kind not in PERSON_LIKE:  # not a log-in name: only has to be one's own
        return as_uid(recipient.account or "") or (recipient.mail or "").casefold() or as_uid(recipient.name) or None
    values = _values(recipient)
    for template in rules.uid.split("|"):
        if (text := _fill(template.strip(), values)) is not None and (uid := as_uid(text)):
            return uid
    return None


def _values(recipient: Recipient) -> dict[str, str]:
    local, _, domain = (recipient.mail or "").partition("@")

    def detail(name: str) -> str:
        return next(iter(recipient.details.get(name, ())), "")

    return {
        "account": recipient.account or "",
        "mail": recipient.mail or "",
        "mail_local": local,
        "mail_domain": domain,
        "principal_local": (recipient.principal or "").partition("@")[0],
        "givenName": detail("givenName"),
        "sn": detail("sn"),
        "employeeNumber": detail("employeeNumber"),
        "name": recipient.name,
    }


def _fill(template: str, values: Mapping[str, str]) -> str | None:
    """The template with its fields put in; None where one of them is empty."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        text = one_line(values[match[1]])
        missing = missing or not text
        return text

    text = re.sub(r"\{(\w+)\}", value, template)
    return None if missing else text


def _no_uid(recipient: Recipient) -> Finding:
    message = "the rules give no uid: every template lacks something; name one in the file of exceptions"
    return Finding("uid-missing", Severity.ERROR, recipient.id, recipient.where, message)


def _uid_fault(
    recipient: Recipient, uid: str | None, claims: Mapping[str, list[str]], register: Register
) -> Finding | None:
    """A finding if somebody else has this uid or wants it as much."""
    if uid is None:
        return None
    owner = register.by_uid.get(uid.casefold())
    if owner == recipient.id:
        return None
    rivals = [owner] if owner is not None else [one for one in claims[uid.casefold()] if one != recipient.id]
    if not rivals:
        return None
    message = f"the uid {uid} is also that of {rivals[0]}; give one of them another in the file of exceptions"
    return Finding("uid-claimed-twice", Severity.ERROR, recipient.id, recipient.where, message, uid)


def _dn(
    recipient: Recipient,
    uid: str,
    override: Override | None,
    register: Register,
    rules: Rules,
    suffix: str,
    branches: Branches,
) -> tuple[str | None, Finding | None]:
    """The DN, and a finding where it is not the one the rules give."""
    under = f"{getattr(branches, branch_of(recipient.kind))},{suffix}"
    if override is not None and override.dn:
        own = override.dn if dn_key(override.dn).endswith("," + dn_key(suffix)) else f"{override.dn},{under}"
        taken = register.by_dn.get(dn_key(own), recipient.id)
        if taken == recipient.id:
            return own, None
        message = f"the entry {own}, which the file of exceptions names, is that of {taken}"
        return None, Finding("dn-claimed-twice", Severity.ERROR, recipient.id, recipient.where, message, own)
    template = {"groups": rules.group_dn, "contacts": rules.contact_dn}.get(branch_of(recipient.kind), rules.person_dn)
    kind, _, text = template.partition("=")
    value = names.short(_fill(text, {**_values(recipient), "uid": uid}) or uid)
    plain, told_apart = (f"{kind}={names.escape(one)},{under}" for one in (value, f"{value} ({uid})"))
    old = register.by_id.get(recipient.id)
    if old is not None and old.gone is None and dn_key(old.dn) == dn_key(told_apart):
        return told_apart, None
    taken = register.by_dn.get(dn_key(plain), recipient.id)
    if taken == recipient.id:
        return plain, None
    message = f"{taken} has the same name; this entry becomes {told_apart}"
    return told_apart, Finding("name-twice", Severity.NOTE, recipient.id, recipient.where, message, value)


def branch_of(kind: RecipientKind) -> str:
    """The branch (a field of `settings.Branches`) for a kind."""
    return _BRANCH.get(kind, "people")


def dn_key(text: str) -> str:
    """A DN in a form that is equal for equal names, whatever the case and the way of escaping."""
    if "\\" not in text and '"' not in text and "  " not in text and ", " not in text:
        return text.casefold()
    parsed = names.parse(text)
    return names.join(tuple(tuple((kind, one_line(value)) for kind, value in rdn) for rdn in parsed)).casefold()


def gone(register: Register, source_ids: Iterable[str], now: float) -> list[DirectoryAccount]:
    """The rows of recipients that the source no longer has, marked so; their uids stay theirs."""
    rows = []
    for source_id in source_ids:
        old = register.by_id.get(source_id)
        if old is not None and old.gone is None:
            row = old._replace(gone=now)
            register.put(row)
            rows.append(row)
    return rows
