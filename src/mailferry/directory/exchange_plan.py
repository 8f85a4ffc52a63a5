"""People born on the open side → the mail users that Exchange shall have for them, and what stands in the way. Pure.

An account of Active Directory without mail becomes that person's mail user only if account name, given name and surname
are the same; the reviewer sees it. Invariants: an address, account or name that somebody has in Exchange is never taken
(a Finding says whose it is, and the person is left out); who has the mark already is not made again; nothing is planned
for who is gone, it is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from mailferry.config.settings import ExchangeSide
from mailferry.directory import addresses
from mailferry.directory.exchange_mark import mark, of_account, plain
from mailferry.directory.letters import one_line
from mailferry.model.recipient import Finding, Recipient, RecipientKind, Severity
from mailferry.wire import dn as dns

Texts = Mapping[str, tuple[str, ...]]

OPEN_ATTRIBUTES = (
    *("entryUUID", "uid", "cn", "displayName", "givenName", "sn", "mail", "mailLocalAddress"),
    *("mailAlternateAddress", "mailferryHidden", "title", "departmentNumber", "o", "telephoneNumber", "mobile"),
    *("roomNumber", "l"),
)
"""What is read of an entry of the open directory."""

_CARRIED = (  # Active Directory's name: ours
    *(("title", "title"), ("department", "departmentNumber"), ("company", "o"), ("mobile", "mobile")),
    *(("telephoneNumber", "telephoneNumber"), ("physicalDeliveryOfficeName", "roomNumber"), ("l", "l")),
)
MAIL_ATTRIBUTES = ("mail", "mailNickname", "proxyAddresses", "targetAddress", "msExchHideFromAddressLists")
PERSON_ATTRIBUTES = ("displayName", "givenName", "sn", *(name for name, _ in _CARRIED))
KEPT = (*MAIL_ATTRIBUTES, *PERSON_ATTRIBUTES)
"""What is kept in step once a mail user is there."""

_NOT_IN_ACCOUNT = re.compile(r'["/\\\[\]:;|=,+*?<>@\s]')  # sAMAccountName, MS-SAMR 3.1.1.6
_ACCOUNT_LENGTH, _NAME_LENGTH = 20, 64
_LIMITS = {"title": 128, "department": 64, "company": 64, "telephoneNumber": 64, "mobile": 64, "l": 128}
_LONG = 256


class How(Enum):
    """What is to be done for a person."""

    NEW = "new"  # make an account and a mail user
    ENABLE = "enable"  # make an account that is there a mail user
    UPDATE = "update"  # a mail user of ours differs


@dataclass(frozen=True, slots=True)
class OpenPerson:
    """An entry of the open directory that no sync brought. `values`: OPEN_ATTRIBUTES."""

    dn: str
    values: Texts

    def text(self, name: str) -> str:
        return next(iter(self.values.get(name, ())), "")


@dataclass(frozen=True, slots=True)
class Marked:
    """A mail user of ours in Exchange. `mark`: as it stands there. `values`: its attributes by Active Directory's
    names; None: not known."""

    mark: str
    dn: str
    values: Texts | None = None


@dataclass(slots=True)
class Exchange:
    """What stands there. Keys are folded. `holders`: address → (name, place); `accounts`: sAMAccountName → the
    recipient, or None where it is something else; `names`: of the entries in the container; `marked`: plain mark → who;
    `marks_of_others`: recipients whose mark attribute holds something else."""

    holders: dict[str, tuple[str, str]] = field(default_factory=dict)
    accounts: dict[str, Recipient | None] = field(default_factory=dict)
    principals: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    marked: dict[str, Marked] = field(default_factory=dict)
    marks_of_others: int = 0

    def add_marked(self, mark: str, dn: str, values: Texts | None = None) -> None:
        self.marked[plain(mark)[0]] = Marked(mark, dn, values)

    def add(self, one: Recipient, settings: ExchangeSide) -> None:
        """Take note of a recipient as read, whatever cleaning would say of it."""
        for address in (one.mail, *one.aliases, one.external_address):
            if address:
                self.holders.setdefault(addresses.key(address), (one.name, one.where))
        if one.account:
            self.accounts[one.account.casefold()] = one
        if one.principal:
            self.principals.add(one.principal.casefold())
        self.marks_of_others += bool(one.preferences.get(settings.mark))


@dataclass(frozen=True, slots=True)
class MailUser:
    """One mail user as it shall be. `dn`: in Active Directory ("": no container is set); `account`, `principal`: of a
    new one; `values`: Active Directory's attributes; `before`: the same now, of an update; `person`: whose entry
    it is made from; `why`: for the reviewer."""

    how: How
    mark: str
    dn: str
    name: str
    account: str
    principal: str
    values: Texts
    person: str
    why: str
    before: Texts = field(default_factory=dict)

    @property
    def mail(self) -> str:
        return self.values["mail"][0]

    @property
    def external(self) -> str:
        return self.values["targetAddress"][0].removeprefix("SMTP:")


@dataclass(slots=True)
class Plan:
    """`users`: what is to be done, by name. `same`: how many need nothing."""

    users: list[MailUser] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    same: int = 0


def plan(people: Iterable[OpenPerson], there: Exchange, settings: ExchangeSide, domains: tuple[str, ...]) -> Plan:
    """What Exchange needs. `settings.routing_domain` has to be set. `there` then knows what is planned, too."""
    done = Plan()
    if there.marks_of_others:
        message = f"{there.marks_of_others} recipients use {settings.mark} for something else: set `mark` to another"
        done.findings.append(Finding("mark-in-use", Severity.WARNING, "", settings.mark, message))
    alive = set()
    for person in sorted(people, key=lambda one: one.dn.casefold()):
        planning = _Planning(person, there, settings, domains, done)
        alive.add(planning.mark)
        planning.run()
    for gone in sorted(there.marked.keys() - alive):
        message = "a mail user of ours whose person is not on the open side any more; remove it if that is right"
        done.findings.append(Finding("person-gone", Severity.WARNING, gone, there.marked[gone].dn, message))
    done.users.sort(key=lambda one: (one.name.casefold(), one.mark))
    return done


class _Planning:
    """One person on the way."""

    def __init__(
        self, person: OpenPerson, there: Exchange, settings: ExchangeSide, domains: tuple[str, ...], done: Plan
    ) -> None:
        self.person, self.there, self.settings, self.domains, self.done = person, there, settings, domains, done
        self.mark = mark(person.text("entryUUID"))

    def find(self, code: str, severity: Severity, message: str, value: str = "") -> None:
        self.done.findings.append(Finding(code, severity, self.mark, self.person.dn, message, value))

    def run(self) -> None:
        values = self._mail_values()
        if values is None:
            return
        values = {**values, **self._person_values()}
        present = self.there.marked.get(self.mark)
        if present is not None:
            self._update(present, values)
            return
        for text in values["proxyAddresses"] + values["targetAddress"]:
            address = text.partition(":")[2]
            holder = self.there.holders.get(addresses.key(address))
            if holder is not None:
                message = f"{address} is an address of {holder[0]} ({holder[1]}) already; left out"
                self.find("address-taken", Severity.ERROR, message, address)
                return
        made = self._enable(values) or self._new(values)
        if made is None:
            return
        for text in values["proxyAddresses"] + values["targetAddress"]:
            self.there.holders[addresses.key(text.partition(":")[2])] = (made.name, self.person.dn)
        self.done.users.append(made)

    def _mail_values(self) -> dict[str, tuple[str, ...]] | None:
        """Its mail attributes, or None: it is left out, and a Finding says why."""
        mail, uid = self.person.text("mail"), self.person.text("uid")
        if fault := addresses.fault(mail):
            self.find("address-malformed", Severity.ERROR, f"the address is none: {fault}; left out", mail)
            return None
        if not mail.isascii():
            self.find("address-malformed", Severity.ERROR, "Exchange takes ASCII addresses only; left out", mail)
            return None
        if self._foreign(mail):
            message = "the address is in no domain of ours (`domains` of the settings); left out"
            self.find("domain-wrong", Severity.ERROR, message, mail)
            return None
        external = f"{uid}@{self.settings.routing_domain}"
        if not uid or not external.isascii() or addresses.fault(external):
            self.find("uid-unusable", Severity.ERROR, "its uid makes no routing address; left out", uid)
            return None
        return {
            "mail": (mail,),
            "mailNickname": (external.partition("@")[0],),
            "proxyAddresses": (f"SMTP:{mail}", *(f"smtp:{one}" for one in self._aliases(mail))),
            "targetAddress": (f"SMTP:{external}",),
            "msExchHideFromAddressLists": ("TRUE" if self.person.text("mailferryHidden") == "TRUE" else "FALSE",),
        }

    def _aliases(self, mail: str) -> Iterator[str]:
        known = {addresses.key(mail)}
        for text in (
            *self.person.values.get("mail", ()),
            *self.person.values.get("mailLocalAddress", ()),
            *self.person.values.get("mailAlternateAddress", ()),
        ):
            if addresses.key(text) in known or text.upper().startswith("IMCEAEX-"):
                continue
            known.add(addresses.key(text))
            if addresses.fault(text) or not text.isascii() or self._foreign(text):
                self.find("alias-left-out", Severity.WARNING, "the alias is no address of ours; left out", text)
            else:
                yield text

    def _foreign(self, address: str) -> bool:
        return bool(self.domains) and addresses.domain_of(address) not in self.domains

    def _person_values(self) -> dict[str, tuple[str, ...]]:
        shown = self.person.text("displayName") or self.person.text("cn")
        texts = {"displayName": shown, "givenName": self.person.text("givenName"), "sn": self.person.text("sn")}
        texts |= {name: self.person.text(ours) for name, ours in _CARRIED}
        kept: dict[str, tuple[str, ...]] = {}
        for name, text in texts.items():
            clean = one_line(text)[: _LIMITS.get(name, _NAME_LENGTH if name in ("givenName", "sn") else _LONG)].strip()
            if clean != text:
                self.find("text-changed", Severity.NOTE, f"{name} becomes {clean!r}: one short line that shows", text)
            if clean:
                kept[name] = (clean,)
        return kept

    def _update(self, present: Marked, values: dict[str, tuple[str, ...]]) -> None:
        if present.values is None:
            self.done.same += 1
            return
        have = present.values
        others = tuple(one for one in have.get("proxyAddresses", ()) if not is_smtp(one))
        values["proxyAddresses"] += others
        ours = MAIL_ATTRIBUTES if plain(present.mark)[1] else KEPT
        differing = [name for name in ours if _folded(name, have.get(name, ())) != _folded(name, values.get(name, ()))]
        if not differing:
            self.done.same += 1
            return
        for text in (*values["proxyAddresses"], *values["targetAddress"]):
            holder = self.there.holders.get(addresses.key(text.partition(":")[2])) if is_smtp(text) else None
            if holder is not None:
                message = f"{text.partition(':')[2]} is an address of {holder[0]} ({holder[1]}); it is not changed"
                self.find("address-taken", Severity.ERROR, message, text)
                return
        self.done.users.append(
            MailUser(
                How.UPDATE,
                present.mark,
                present.dn,
                next(iter(have.get("displayName", ())), present.dn),
                "",
                "",
                {name: values.get(name, ()) for name in ours},
                self.person.dn,
                f"differs: {', '.join(differing)}",
                {name: have.get(name, ()) for name in ours},
            )
        )

    def _enable(self, values: dict[str, tuple[str, ...]]) -> MailUser | None:
        """For an account that is surely the same person's."""
        one = self.there.accounts.get(self.person.text("uid").casefold())
        if one is None or one.kind is not RecipientKind.ACCOUNT:
            return None
        names = [(next(iter(one.details.get(key, ())), ""), self.person.text(key)) for key in ("givenName", "sn")]
        if not all(first and one_line(first).casefold() == one_line(second).casefold() for first, second in names):
            return None
        mail_only = {name: values[name] for name in MAIL_ATTRIBUTES}
        why = f"the account {one.account} has no mail; account name, given name and surname are the same"
        return MailUser(
            How.ENABLE,
            of_account(self.mark),
            one.where,
            one.name,
            one.account or "",
            "",
            mail_only,
            self.person.dn,
            why,
        )

    def _new(self, values: dict[str, tuple[str, ...]]) -> MailUser | None:
        uid, mail = self.person.text("uid"), values["mail"][0]
        account = _NOT_IN_ACCOUNT.sub("", uid)[:_ACCOUNT_LENGTH].rstrip(".")
        if not account or account.casefold() in self.there.accounts:
            message = f"the account name {account!r} is taken in Active Directory by somebody else; left out"
            self.find("account-taken", Severity.ERROR, message, uid)
            return None
        if mail.casefold() in self.there.principals:
            message = f"{mail} is a userPrincipalName in Active Directory; left out"
            self.find("account-taken", Severity.ERROR, message, mail)
            return None
        name = values.get("displayName", (uid,))[0][:_NAME_LENGTH].strip()
        if name.casefold() in self.there.names:
            name = f"{name[: _NAME_LENGTH - len(account) - 3]} ({account})"
        self.there.names.add(name.casefold())
        self.there.accounts[account.casefold()] = None
        self.there.principals.add(mail.casefold())
        dn = f"CN={dns.escape(name)},{self.settings.container}" if self.settings.container else ""
        why = "stands in the open directory only"
        return MailUser(How.NEW, self.mark, dn, name, account, mail, values, self.person.dn, why)


def is_smtp(proxy: str) -> bool:
    return proxy[:5].upper() == "SMTP:"


def _folded(name: str, values: Iterable[str]) -> frozenset[str]:
    """Values in a form that is equal for equal ones; of addresses only the prefix's case counts."""
    if name in ("proxyAddresses", "targetAddress"):
        pairs = [value.partition(":") for value in values]
        return frozenset(f"{prefix}:{addresses.key(address)}" for prefix, _, address in pairs)
    if name == "msExchHideFromAddressLists":
        return frozenset(value for value in values if value == "TRUE")
    return frozenset(values)
