"""A believable organisation on Exchange, as Active Directory holds it: Acme, of 50 to 40,000 people, always the same.

Gives plain data; `organisation_ldif` writes it for servers. Besides its `size` clean people it holds what belongs to
them (shared mailboxes, rooms, contacts, nested groups, delegates, forwarding) and dirt, of every kind in `Trouble`.
Invariant: one size and seed, one organisation; every piece of dirt is named in `Organisation.dirt`, and entries that
are not named there are clean.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import replace

from lab.names import Name, names
from lab.organisation_data import (
    DOMAINS,
    ROOT,
    Dirt,
    Entry,
    Organisation,
    Reference,
    Trouble,
    Value,
    mail_values,
    mailbox_guid,
)
from lab.organisation_dirt import SPOILERS, spoilt
from mailferry.model.recipient import RecipientKind

_OLD_LEGACY = "/o=Acme Ltd/ou=First Administrative Group/cn=Recipients/cn="

_SITES = (  # OU, city, country, area code
    ("Berlin", "Berlin", "DE", "+49 30 23125"),
    ("London", "London", "GB", "+44 20 7946"),
    ("Lyon", "Lyon", "FR", "+33 4 65 71"),
    ("Kraków", "Kraków", "PL", "+48 12 555"),
    ("Athens", "Αθήνα", "GR", "+30 210 555"),
    ("Shanghai", "上海", "CN", "+86 21 5550"),
)
_DEPARTMENTS = {
    "Operations": ("Purchasing", "Logistics", "Production", "Quality"),
    "Business": ("Sales", "Marketing", "Customer Service"),
    "Administration": ("Finance", "Human Resources", "Legal", "IT"),
    "Forschung & Entwicklung": ("Physik", "Werkstoffe", "Software"),
}
_TITLES = ("Assistant", "Engineer", "Specialist", "Sachbearbeiter", "Ingénieur", "Специалист", "Consultant", "Analyst")


def organisation(size: int, seed: int = 1) -> Organisation:
    """Acme with `size` clean people (up to 40,000)."""
    return _Builder(size, seed).build()


class _Builder:
    """Holds what is made so far; each step adds entries and dirt."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.chance = random.Random(f"organisation {size} {seed}")
        self.names = names(seed)
        self.entries: list[Entry] = []
        self.dirt: list[Dirt] = []
        self.people: list[Entry] = []
        self.departments: dict[str, list[str]] = {}
        self.taken: set[str] = set()

    def build(self) -> Organisation:
        for index in range(self.size):
            self._person(index)
        self._beside_people()
        self._groups()
        for number in range(1 + self.size // 1000):
            for trouble in SPOILERS:
                fresh = person(self, next(self.names), self.size + len(self.dirt))
                entry, dirt = spoilt(trouble, fresh, self.somebody(), number)
                self.add(entry)
                self.dirt.append(dirt)
        self._dirty_groups()
        return Organisation(self.size, self.seed, tuple(self.entries), tuple(self.dirt))

    def add(self, entry: Entry) -> Entry:
        self.entries.append(entry)
        return entry

    def somebody(self) -> Entry:
        """Any of the clean people."""
        return self.chance.choice(self.people)

    def account(self, name: Name) -> str:
        """First letter and surname, at most 20 characters (what sAMAccountName allows), numbered where taken."""
        stem = (name.ascii_given[:1] + name.ascii_surname)[:17]
        for number in itertools.count(1):
            account = stem if number == 1 else f"{stem}{number}"
            if account not in self.taken:
                break
        self.taken.add(account)
        return account

    def _person(self, index: int) -> None:
        """A person as an administrator of long standing has them: every fifth with more than the usual."""
        entry = person(self, next(self.names), index)
        values = dict(entry.values)
        if index % 5 == 1:
            values["thumbnailPhoto"] = (_photo(entry.account),)
        if index % 7 == 2:
            limit = 1024 * 1024 * (1 + index % 3)
            values["mDBUseDefaults"] = ("FALSE",)
            values["mDBStorageQuota"] = (str(limit),)
            values["mDBOverQuotaLimit"] = (str(limit * 11 // 10),)
            values["mDBOverHardQuotaLimit"] = (str(limit * 12 // 10),)
        if index % 40 == 13:
            values["msExchHideFromAddressLists"] = ("TRUE",)
        if index % 25 == 11:
            values["altRecipient"] = (Reference(self.somebody().account),)
            values["deliverAndRedirect"] = ("TRUE" if index % 50 == 11 else "FALSE",)
        if index % 60 == 47:
            values["msExchGenericForwardingAddress"] = (f"smtp:{entry.account}@elsewhere.example",)
            values["deliverAndRedirect"] = ("TRUE",)
        if index % 20 == 7:
            values["publicDelegates"] = tuple(Reference(self.people[index - back].account) for back in (2, 5))
        if index % 90 == 33:
            values["authOrig"] = (Reference(self.people[index - 1].account),)
        if index % 4 == 3:
            values["extensionAttribute1"] = (f"Kostenstelle {4000 + index % 37}",)
        if index % 3 == 0:
            values["proxyAddresses"] += (f"X500:{_OLD_LEGACY}{entry.account.upper()}",)
        self.people.append(self.add(replace(entry, values=values)))
        self.departments.setdefault(str(values["department"][0]), []).append(entry.account)

    def _beside_people(self) -> None:
        """Everything with an address that is not a person of the house."""
        for number in range(1 + self.size // 50):
            users = sorted({self.somebody().account for _ in range(4)})
            more = {
                "msExchDelegateListLink": tuple(map(Reference, users)),
                "publicDelegates": (Reference(users[0]),),
            }
            department = self.chance.choice(sorted(self.departments))
            name = f"{department} Team {number + 1}" if number else "Info"
            self._resource(RecipientKind.SHARED, "Shared", name, f"team{number}" if number else "info", more)
        for number in range(1 + self.size // 100):
            site = _SITES[number % len(_SITES)]
            name = f"Room {site[1]} {number + 1}"
            self._resource(
                RecipientKind.ROOM, "Resources", name, f"room{number + 1}", {"physicalDeliveryOfficeName": (name,)}
            )
        for number in range(1 + self.size // 200):
            self._resource(RecipientKind.EQUIPMENT, "Resources", f"Beamer № {number + 1}", f"equipment{number + 1}", {})
        for number in range(3 + self.size // 40):
            self._outsider(RecipientKind.CONTACT, next(self.names), number)
        for number in range(2 + self.size // 100):
            self._outsider(RecipientKind.MAIL_USER, next(self.names), number)
        for number in range(2):
            self.add(
                Entry(
                    f"svc-app{number + 1}",
                    RecipientKind.ACCOUNT,
                    "user",
                    f"Service {number + 1}",
                    f"OU=Service,{ROOT}",
                    {
                        "userPrincipalName": (f"svc-app{number + 1}@{DOMAINS[0]}",),
                        "displayName": (f"Service {number + 1}",),
                        "userAccountControl": ("66048",),
                    },
                )
            )
        folder = mail_values("suggestions", "Suggestions", 4096, 2, f"suggestions@{DOMAINS[0]}")
        self.add(
            Entry(
                "suggestions", RecipientKind.PUBLIC_FOLDER, "publicFolder", "Suggestions", f"OU=Shared,{ROOT}", folder
            )
        )

    def _resource(
        self, kind: RecipientKind, unit: str, name: str, account: str, more: Mapping[str, tuple[Value, ...]]
    ) -> None:
        """A mailbox without a person: its account is disabled, as Exchange makes it."""
        details, display = {
            RecipientKind.SHARED: (4, 0),
            RecipientKind.ROOM: (16, -2147481850),
            RecipientKind.EQUIPMENT: (32, -2147481594),
        }[kind]
        values = mail_values(account, name, details, display, f"{account}@{DOMAINS[0]}") | {
            "userPrincipalName": (f"{account}@{DOMAINS[0]}",),
            "userAccountControl": ("514",),
            "msExchMailboxGuid": (mailbox_guid(account),),
            **more,
        }
        self.add(Entry(account, kind, "user", name, f"OU={unit},{ROOT}", values))

    def _outsider(self, kind: RecipientKind, name: Name, number: int) -> None:
        """A contact, or an account whose mailbox is elsewhere (targetAddress)."""
        account = self.account(name)
        outside = f"{name.ascii_given}.{name.ascii_surname}@partner{number % 7}.example"
        own = {
            "sn": (name.surname,),
            "givenName": (name.given,),
            "targetAddress": (f"SMTP:{outside}",),
            "company": (f"Partner {number % 7}",),
            "telephoneNumber": (f"+1 212 555 {number % 10000:04}",),
        }
        if kind is RecipientKind.CONTACT:
            values = mail_values(account, name.shown, 64, 6, outside) | own
            self.add(Entry(account, kind, "contact", name.shown, f"OU=Contacts,{ROOT}", values))
            return
        values = mail_values(account, name.shown, 128, 6, f"{name.ascii_given}.{name.ascii_surname}@{DOMAINS[0]}") | own
        values |= {"userPrincipalName": (f"{account}@{DOMAINS[0]}",), "userAccountControl": ("512",)}
        self.add(Entry(account, kind, "user", name.shown, f"OU=External,{ROOT}", values))

    def group(self, account: str, name: str, members: list[str], **more: tuple[Value, ...]) -> Entry:
        values = mail_values(account, name, 256, 1, f"{account}@{DOMAINS[0]}") | {"groupType": ("8",)} | more
        if members:
            values["member"] = tuple(map(Reference, dict.fromkeys(members)))
        return self.add(Entry(account, RecipientKind.GROUP, "group", name, f"OU=Groups,{ROOT}", values))

    def _groups(self) -> None:
        """Departments in divisions in `all`, projects with restrictions, one very large group, a dynamic one."""
        divisions = []
        for division, departments in _DEPARTMENTS.items():
            below = []
            for department in departments:
                members = self.departments.get(department, [])
                account = "dep-" + "".join(letter for letter in department.lower() if letter.isalpha())
                if members:
                    below.append(self.group(account, department, members, managedBy=(Reference(members[0]),)).account)
            account = "div-" + division.split()[0].lower()
            divisions.append(self.group(account, division, below).account)
        boss = Reference(self.people[0].account)
        everybody = self.group("all", "Everybody", divisions, authOrig=(boss,), managedBy=(boss,)).account
        outsiders = [entry.account for entry in self.entries if entry.kind is RecipientKind.CONTACT]
        for number in range(2 + self.size // 100):
            members = [self.somebody().account for _ in range(3 + number % 12)] + outsiders[number : number + 2]
            owners = (Reference(members[0]),)
            more: dict[str, tuple[Value, ...]] = {
                "managedBy": owners,
                "msExchCoManagedByLink": (Reference(members[1]),),
            }
            if number % 3 == 0:
                more["dLMemSubmitPerms"] = (Reference(f"project{number + 1}"),)
            if number % 3 == 1:
                more["unauthOrig"] = (Reference(self.somebody().account),)
                more["msExchRequireAuthToSendTo"] = ("TRUE",)
            if number % 8 == 5:
                more["msExchHideFromAddressLists"] = ("TRUE",)
                more["hideDLMembership"] = ("TRUE",)
            if number % 8 == 1:
                more |= {"msExchEnableModeration": ("TRUE",), "msExchModeratedByLink": owners}
            self.group(f"project{number + 1}", f"Projekt {number + 1} – Ü", members, **more)
        security = {"groupType": ("-2147483640",), "msExchRecipientTypeDetails": ("1024",)}
        self.group("sec-finance", "Finance (security)", self.departments.get("Finance", []), **security)
        readers = [entry.account for entry in self.people[:5000]] if self.size > 1500 else [self.people[1].account]
        self.group("newsletter", "Newsletter readers", readers)
        values = mail_values("sales-dynamic", "Sales, automatic", 2048, 3, f"sales-dynamic@{DOMAINS[0]}") | {
            "msExchDynamicDLFilter": ("(&(objectClass=user)(mailNickname=*)(department=Sales))",),
            "msExchDynamicDLBaseDN": (ROOT,),
            "managedBy": (Reference(everybody),),
        }
        self.add(
            Entry(
                "sales-dynamic",
                RecipientKind.DYNAMIC_GROUP,
                "msExchDynamicDistributionList",
                "Sales, automatic",
                f"OU=Groups,{ROOT}",
                values,
            )
        )

    def _dirty_groups(self) -> None:
        self.group("empty", "Nobody yet", [])
        self.dirt.append(Dirt(Trouble.GROUP_EMPTY, "empty"))
        self.group("loop-a", "Loop A", ["loop-b", self.people[0].account])
        self.group("loop-b", "Loop B", ["loop-c"])
        self.group("loop-c", "Loop C", ["loop-a", self.people[1].account])
        self.group("loop-self", "Loop of one", ["loop-self"])
        self.dirt += [Dirt(Trouble.GROUP_LOOP, account) for account in ("loop-a", "loop-b", "loop-c", "loop-self")]


def person(builder: _Builder, name: Name, index: int) -> Entry:
    """A person with a mailbox, an alias in each domain and all that an address book shows."""
    account = builder.account(name)
    site = _SITES[index % len(_SITES)]
    division = sorted(_DEPARTMENTS)[index % len(_DEPARTMENTS)]
    department = builder.chance.choice(_DEPARTMENTS[division])
    local = f"{name.ascii_given}.{name.ascii_surname}"
    mail = f"{local}@{DOMAINS[index % 10 == 9]}"
    boss = builder.people[index // 8].account if index else None
    values = mail_values(account, name.shown, 1, 1073741824, mail)
    values["proxyAddresses"] += tuple(f"smtp:{local}@{domain}" for domain in DOMAINS if f"{local}@{domain}" != mail)
    values["proxyAddresses"] += (f"smtp:{account}@{DOMAINS[0]}",)
    values |= {
        "sn": (name.surname,),
        "givenName": (name.given,),
        "userPrincipalName": (f"{account}@{DOMAINS[0]}",),
        "userAccountControl": ("512",),
        "msExchMailboxGuid": (mailbox_guid(account),),
        "msExchHomeServerName": (f"/o=Acme/ou=Servers/cn=EX{1 + index % 4}",),
        "department": (department,),
        "company": ("Acme",),
        "title": (builder.chance.choice(_TITLES),),
        "physicalDeliveryOfficeName": (f"{index % 5 + 1}.{index % 30 + 1:02}",),
        "l": (site[1],),
        "c": (site[2],),
        "telephoneNumber": (f"{site[3]} {index:05}",),
        "employeeNumber": (str(10000 + index),),
    }
    if index % 2:
        values["mobile"] = (f"+49 152 5550{index:05}",)
    if boss:
        values["manager"] = (Reference(boss),)
    return Entry(account, RecipientKind.MAILBOX, "user", name.shown, f"OU={site[0]},OU=People,{ROOT}", values)


def _photo(account: str) -> bytes:
    """A JPEG of one grey point, with a comment that makes it this person's own."""

    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content

    one_code = bytes([1, *[0] * 15, 0])  # a Huffman table: the bit 0 means 0
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xFE, account.encode() * 40),
            segment(0xDB, bytes([0, *[1] * 64])),
            segment(0xC0, bytes([8, 0, 1, 0, 1, 1, 1, 0x11, 0])),
            segment(0xC4, b"\x00" + one_code),
            segment(0xC4, b"\x10" + one_code),
            segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
            b"\x3f\xff\xd9",
        ]
    )
