"""Events, contacts, lists, tasks and notes for the fake Exchange, as the published schema writes them.

A FAKE: elements stand in the fields of `FakeItem` as they would in an answer of EWS; times are UTC with wall-clock
times beside, as Exchange 2013 and later give them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from lab.fake_ews_store import RECEIVED, Attachment, FakeItem, element, stamp
from lab.fake_ews_zones import definition

_IANA = {
    "W. Europe Standard Time": "Europe/Berlin",
    "Eastern Standard Time": "America/New_York",
    "India Standard Time": "Asia/Kolkata",
}


def _common(kind: str, item_class: str, subject: str, body: str, html: str) -> FakeItem:
    shown = f'<t:Body BodyType="{"HTML" if html else "Text"}">{escape(html or body)}</t:Body>'
    return FakeItem(
        kind,
        {
            "item:ItemClass": element("ItemClass", item_class),
            "item:Subject": element("Subject", subject),
            "item:Sensitivity": element("Sensitivity", "Normal"),
            "item:Body": shown,
            "item:Importance": element("Importance", "Normal"),
            "item:DateTimeCreated": element("DateTimeCreated", stamp(RECEIVED)),
            "item:LastModifiedTime": element("LastModifiedTime", stamp(RECEIVED)),
            "item:TextBody": f'<t:TextBody BodyType="Text">{escape(body)}</t:TextBody>',
        },
    )


def mailbox(name: str, address: str, routing: str = "SMTP") -> str:
    """Somebody, as a Mailbox element."""
    inner = element("Name", name) + element("EmailAddress", address) + element("RoutingType", routing)
    return f"<t:Mailbox>{inner}</t:Mailbox>"


def event(
    uid: str,
    subject: str,
    start: datetime,
    minutes: int = 60,
    *,
    zone: str = "W. Europe Standard Time",
    custom_zone: str = "",
    body: str = "",
    html: str = "",
    attendees: Sequence[tuple[str, str, str]] = (),
    organizer: tuple[str, str] | None = None,
    recurrence: str = "",
    deleted: Sequence[datetime] = (),
    changed: Sequence[tuple[datetime, FakeItem]] = (),
    attachments: Sequence[Attachment] = (),
    exception: bool = False,
    fields: Mapping[str, str] | None = None,
) -> FakeItem:
    """`start`, `deleted` and the originals of `changed` are wall-clock times of `zone`. `custom_zone`: the zone's id
    and name in place of its own. `attendees`: name, address, response. `recurrence`: pattern and range as XML.
    `fields`: what to add or replace, by FieldURI; "" takes a field away."""
    item = _common("CalendarItem", "IPM.Appointment", subject, body, html)
    end = start + timedelta(minutes=minutes)
    kind = "Exception" if exception else "RecurringMaster" if recurrence else "Single"
    item.fields |= {
        "calendar:UID": element("UID", uid),
        "calendar:Start": element("Start", _utc(start, zone)),
        "calendar:End": element("End", _utc(end, zone)),
        "calendar:IsAllDayEvent": element("IsAllDayEvent", False),
        "calendar:LegacyFreeBusyStatus": element("LegacyFreeBusyStatus", "Busy"),
        "calendar:IsMeeting": element("IsMeeting", bool(attendees)),
        "calendar:IsCancelled": element("IsCancelled", False),
        "calendar:CalendarItemType": element("CalendarItemType", kind),
        "calendar:MyResponseType": element("MyResponseType", "Organizer" if organizer is None else "Accept"),
        "calendar:AppointmentSequenceNumber": element("AppointmentSequenceNumber", 0),
        "calendar:StartTimeZone": definition(custom_zone or zone, "StartTimeZone", custom_zone or None, zone),
        "calendar:EndTimeZone": definition(custom_zone or zone, "EndTimeZone", custom_zone or None, zone),
        "calendar:StartWallClock": element("StartWallClock", start.isoformat()),
        "calendar:EndWallClock": element("EndWallClock", end.isoformat()),
        "calendar:StartTimeZoneId": element("StartTimeZoneId", custom_zone or zone),
        "calendar:EndTimeZoneId": element("EndTimeZoneId", custom_zone or zone),
        "calendar:IsOrganizer": element("IsOrganizer", organizer is None),
    }
    if organizer is not None or attendees:
        item.fields["calendar:Organizer"] = (
            f"<t:Organizer>{mailbox(*(organizer or ('Me', 'me@acme.example')))}</t:Organizer>"
        )
    if attendees:
        shown = "".join(
            f"<t:Attendee>{mailbox(name, address)}{element('ResponseType', response)}</t:Attendee>"
            for name, address, response in attendees
        )
        item.fields["calendar:RequiredAttendees"] = f"<t:RequiredAttendees>{shown}</t:RequiredAttendees>"
    if recurrence:
        item.fields["calendar:Recurrence"] = f"<t:Recurrence>{recurrence}</t:Recurrence>"
    if deleted:
        gone = "".join(
            f"<t:DeletedOccurrence>{element('Start', _utc(one, zone))}</t:DeletedOccurrence>" for one in deleted
        )
        item.fields["calendar:DeletedOccurrences"] = f"<t:DeletedOccurrences>{gone}</t:DeletedOccurrences>"
    item.modified = [(one, _utc(original, zone)) for original, one in changed]
    item.attachments = list(attachments)
    item.fields |= fields or {}
    item.fields = {uri: xml for uri, xml in item.fields.items() if xml}
    return item


def _utc(local: datetime, zone: str) -> str:
    return stamp(local.replace(tzinfo=ZoneInfo(_IANA.get(zone, "UTC"))))


def contact(name: str, address: str = "", *, fields: Mapping[str, str] | None = None, photo: bytes = b"") -> FakeItem:
    """`fields`: further elements by FieldURI."""
    given, _, family = name.partition(" ")
    item = _common("Contact", "IPM.Contact", name, "", "")
    item.fields |= {
        "contacts:FileAs": element("FileAs", f"{family}, {given}"),
        "contacts:DisplayName": element("DisplayName", name),
        "contacts:GivenName": element("GivenName", given),
        "contacts:Surname": element("Surname", family),
    }
    if address:
        entry = f'<t:Entry Key="EmailAddress1" Name="{escape(name)}" RoutingType="SMTP">{escape(address)}</t:Entry>'
        item.fields["contacts:EmailAddresses"] = f"<t:EmailAddresses>{entry}</t:EmailAddresses>"
    item.fields |= fields or {}
    if photo:
        item.attachments = [Attachment("ContactPicture.jpg", photo, "image/jpeg", photo=True)]
        item.fields["contacts:HasPicture"] = element("HasPicture", True)
    return item


def distribution_list(name: str, members: Sequence[tuple[str, str, str]]) -> FakeItem:
    """`members`: name, address, routing type."""
    item = _common("DistributionList", "IPM.DistList", name, "", "")
    shown = "".join(f'<t:Member Key="{number}">{mailbox(*one)}</t:Member>' for number, one in enumerate(members))
    item.fields |= {
        "contacts:DisplayName": element("DisplayName", name),
        "contacts:FileAs": element("FileAs", name),
        "distributionlist:Members": f"<t:Members>{shown}</t:Members>",
    }
    return item


def task(subject: str, *, due: str = "", done: int = 0, status: str = "NotStarted", recurrence: str = "") -> FakeItem:
    """`due`: an instant, as Exchange keeps days."""
    item = _common("Task", "IPM.Task", subject, "what is to do", "")
    item.fields |= {
        "task:IsComplete": element("IsComplete", done == 100),
        "task:IsRecurring": element("IsRecurring", bool(recurrence)),
        "task:PercentComplete": element("PercentComplete", done),
        "task:Status": element("Status", status),
    }
    if due:
        item.fields["task:DueDate"] = element("DueDate", due)
    if recurrence:
        item.fields["task:Recurrence"] = f"<t:Recurrence>{recurrence}</t:Recurrence>"
    return item


def note(subject: str, body: str) -> FakeItem:
    """EWS shows sticky notes as messages."""
    item = _common("Message", "IPM.StickyNote", subject, body, "")
    item.fields["message:IsRead"] = element("IsRead", True)
    return item
