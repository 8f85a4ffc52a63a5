"""Contacts, distribution lists, tasks and notes of EWS → the model. Asks for nothing.

Source: [MS-OXWSCONT] §2.2.4, [MS-OXWSDLIST] §2.2.4, [MS-OXWSTASK] §2.2.4.
"""

from __future__ import annotations

from datetime import timedelta

from mailferry.model.groupware import UTC, Contact, ContactList, Moment, Note, Party, Postal, Task
from mailferry.wire.ews import values
from mailferry.wire.ews.answers import Element, T, text, yes
from mailferry.wire.ews.mail import instant

_COMMON = (
    "item:ItemClass",
    "item:Subject",
    "item:Body",
    "item:TextBody",
    "item:Attachments",
    "item:Categories",
    "item:Sensitivity",
    "item:Importance",
    "item:DateTimeCreated",
    "item:LastModifiedTime",
)
_PHONES = {
    "AssistantPhone": "assistant",
    "BusinessFax": "fax-work",
    "BusinessPhone": "work",
    "BusinessPhone2": "work",
    "Callback": "callback",
    "CarPhone": "car",
    "CompanyMainPhone": "company",
    "HomeFax": "fax-home",
    "HomePhone": "home",
    "HomePhone2": "home",
    "Isdn": "isdn",
    "MobilePhone": "mobile",
    "OtherFax": "other",
    "OtherTelephone": "other",
    "Pager": "pager",
    "PrimaryPhone": "primary",
    "RadioPhone": "radio",
    "Telex": "telex",
    "TtyTddPhone": "tty",
}
_POSTAL = {"Business": "work", "Home": "home", "Other": "other"}

CONTACT_FIELDS = ("item:TextBody", "contacts:UserSMIMECertificate")
"""Beside AllProperties, which hold the rest."""

TASK_FIELDS = (
    *_COMMON,
    "item:ReminderIsSet",
    "item:ReminderDueBy",
    "task:ActualWork",
    "task:CompleteDate",
    "task:DueDate",
    "task:Owner",
    "task:PercentComplete",
    "task:Recurrence",
    "task:StartDate",
    "task:Status",
    "task:TotalWork",
)
NOTE_FIELDS = _COMMON

_STATUS = {
    "NotStarted": "not-started",
    "InProgress": "in-progress",
    "Completed": "completed",
    "WaitingOnOthers": "waiting",
    "Deferred": "deferred",
}


def contact(item: Element, uid: str) -> Contact:
    """Without photo and attachments."""
    losses: list[str] = []
    complete = item.find(f"{T}CompleteName")
    prefix = text(complete, "Title") if complete is not None else ""
    suffix = text(item, "Generation") or (text(complete, "Suffix") if complete is not None else "")
    given, family = text(item, "GivenName"), text(item, "Surname")
    name = text(item, "DisplayName") or " ".join(one for one in (given, family) if one) or text(item, "CompanyName")
    related = [
        ("spouse", text(item, "SpouseName")),
        ("manager", text(item, "Manager")),
        ("assistant", text(item, "AssistantName")),
        *(("child", one.text or "") for one in item.iterfind(f"{T}Children/{T}String")),
    ]
    page = text(item, "BusinessHomePage")
    return Contact(
        uid=uid,
        name=name or text(item, "FileAs"),
        given=given,
        middle=text(item, "MiddleName"),
        family=family,
        prefix=prefix,
        suffix=suffix,
        nickname=text(item, "Nickname"),
        initials=text(item, "Initials"),
        file_as=text(item, "FileAs"),
        phonetic=(text(item, "PhoneticFirstName"), text(item, "PhoneticLastName")),
        company=text(item, "CompanyName"),
        department=text(item, "Department"),
        title=text(item, "JobTitle"),
        profession=text(item, "Profession"),
        office=text(item, "OfficeLocation"),
        mails=_mails(item, losses),
        phones=tuple(
            (_PHONES.get(one.get("Key", ""), "other"), one.text)
            for one in item.iterfind(f"{T}PhoneNumbers/{T}Entry")
            if one.text
        ),
        postal=tuple(_postal(one) for one in item.iterfind(f"{T}PhysicalAddresses/{T}Entry") if _has_text(one)),
        links=(("work", page),) if page else (),
        im=tuple(one.text for one in item.iterfind(f"{T}ImAddresses/{T}Entry") if one.text),
        related=tuple(one for one in related if one[1]),
        birthday=values.day(text(item, "Birthday")),
        anniversary=values.day(text(item, "WeddingAnniversary")),
        notes=values.body(item),
        certificates=tuple(values.octets(item, "UserSMIMECertificate")),
        categories=values.categories(item),
        sensitivity=values.sensitivity(item),
        modified=instant(text(item, "LastModifiedTime")),
        losses=tuple(losses),
    )


def _has_text(entry: Element) -> bool:
    return any(one.text for one in entry)


def _mails(item: Element, losses: list[str]) -> tuple[Party, ...]:
    found = []
    for one in item.iterfind(f"{T}EmailAddresses/{T}Entry"):
        if one.text:
            address = values.smtp(one.text, one.get("RoutingType", ""), losses)
            found.append(Party(one.get("Name", ""), address))
    return tuple(one for one in found if one.address)


def _postal(entry: Element) -> Postal:
    return Postal(
        _POSTAL.get(entry.get("Key", ""), "other"),
        text(entry, "Street"),
        text(entry, "City"),
        text(entry, "State"),
        text(entry, "PostalCode"),
        text(entry, "CountryOrRegion"),
    )


def contact_list(item: Element, uid: str) -> ContactList:
    """Members that cannot be told by an SMTP address keep their name, with a loss."""
    losses: list[str] = []
    members = []
    for one in item.iterfind(f"{T}Members/{T}Member/{T}Mailbox"):
        who = values.party(one, losses)
        if who is not None:
            members.append(who)
    return ContactList(
        uid=uid,
        name=text(item, "DisplayName") or text(item, "Subject"),
        members=tuple(members),
        notes=values.body(item),
        categories=values.categories(item),
        modified=instant(text(item, "LastModifiedTime")),
        losses=tuple(losses),
    )


def task(item: Element, uid: str) -> Task:
    """Without attachments."""
    done, reminder = text(item, "PercentComplete"), instant(text(item, "ReminderDueBy"))
    losses = []
    pattern = item.find(f"{T}Recurrence")
    repeats = values.recurrence(pattern)
    if pattern is not None and repeats is None:
        losses.append("it recurs by a pattern that EWS does not tell")
    return Task(
        uid=uid,
        subject=text(item, "Subject"),
        text=values.body(item),
        start=values.day(text(item, "StartDate")),
        due=values.day(text(item, "DueDate")),
        completed=instant(text(item, "CompleteDate")),
        status=_STATUS.get(text(item, "Status"), "not-started"),
        done=_percent(done),
        importance=values.importance(item),
        sensitivity=values.sensitivity(item),
        categories=values.categories(item),
        reminder=Moment(reminder.replace(tzinfo=None), UTC)
        if reminder is not None and yes(item, "ReminderIsSet")
        else None,
        owner=text(item, "Owner"),
        work=_work(text(item, "TotalWork")),
        spent=_work(text(item, "ActualWork")),
        recurrence=repeats,
        created=instant(text(item, "DateTimeCreated")),
        modified=instant(text(item, "LastModifiedTime")),
        losses=tuple(losses),
    )


def _percent(value: str) -> int:
    try:
        return min(100, max(0, round(float(value))))
    except (ValueError, OverflowError):
        return 0


def _work(value: str) -> timedelta | None:
    return timedelta(minutes=int(value)) if value.isdigit() and int(value) else None


def note(item: Element, uid: str) -> Note:
    return Note(
        uid=uid,
        subject=text(item, "Subject"),
        text=values.body(item),
        categories=values.categories(item),
        modified=instant(text(item, "LastModifiedTime")),
    )
