"""What the fake Exchange answers: one function per EWS operation, over `fake_ews_store`. No HTTP.

A FAKE: answers follow the published schema (types.xsd, messages.xsd) and the documented behaviour of each operation, as
far as Mailferry and exchangelib use them; paging, sync states, shapes and refusals are those of the documentation.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from lxml import etree

from lab.fake_ews_store import FakeExchange, FakeFolder, FakeItem, FakeMailbox, element, entry_of

TYPES = "http://schemas.microsoft.com/exchange/services/2006/types"
MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"
T, M = f"{{{TYPES}}}", f"{{{MESSAGES}}}"
Element = etree._Element

_ITEM = (
    "MimeContent ItemId ParentFolderId ItemClass Subject Sensitivity Body Attachments DateTimeReceived Size Categories "
    "Importance InReplyTo IsSubmitted IsDraft IsFromMe IsResend IsUnmodified InternetMessageHeaders DateTimeSent "
    "DateTimeCreated ResponseObjects ReminderDueBy ReminderIsSet ReminderNextTime ReminderMinutesBeforeStart DisplayCc "
    "DisplayTo DisplayBcc HasAttachments ExtendedProperty Culture EffectiveRights LastModifiedName LastModifiedTime "
    "IsAssociated TextBody"
)
_OF_KIND = {
    "Message": "Sender ToRecipients CcRecipients BccRecipients From InternetMessageId IsRead References ReplyTo",
    "CalendarItem": "UID RecurrenceId DateTimeStamp Start End OriginalStart IsAllDayEvent LegacyFreeBusyStatus "
    "Location When IsMeeting IsCancelled IsRecurring MeetingRequestWasSent IsResponseRequested CalendarItemType "
    "MyResponseType Organizer RequiredAttendees OptionalAttendees Resources Duration TimeZone AppointmentReplyTime "
    "AppointmentSequenceNumber AppointmentState Recurrence FirstOccurrence LastOccurrence ModifiedOccurrences "
    "DeletedOccurrences StartTimeZone EndTimeZone AllowNewTimeProposal IsOnlineMeeting StartWallClock EndWallClock "
    "StartTimeZoneId EndTimeZoneId JoinOnlineMeetingUrl IsOrganizer",
    "Contact": "FileAs FileAsMapping DisplayName GivenName Initials MiddleName Nickname CompleteName CompanyName "
    "EmailAddresses PhysicalAddresses PhoneNumbers AssistantName Birthday BusinessHomePage Children Companies "
    "ContactSource Department Generation ImAddresses JobTitle Manager Mileage OfficeLocation PostalAddressIndex "
    "Profession SpouseName Surname WeddingAnniversary HasPicture PhoneticFullName PhoneticFirstName PhoneticLastName",
    "DistributionList": "DisplayName FileAs ContactSource Members",
    "Task": "ActualWork AssignedTime BillingInformation ChangeCount Companies CompleteDate Contacts DelegationState "
    "Delegator DueDate IsAssignmentEditable IsComplete IsRecurring IsTeamTask Mileage Owner PercentComplete Recurrence "
    "StartDate Status StatusDescription TotalWork",
    "Item": "",
}


def _order(kind: str) -> dict[str, int]:
    return {name: place for place, name in enumerate(f"{_ITEM} {_OF_KIND.get(kind, _OF_KIND['Message'])}".split())}


_PAGES = {"sync": 512, "find": 1000}
"""What Exchange gives at most at once."""


@dataclass(frozen=True)
class Refused(Exception):
    """An operation, or one of its parts, is answered with an error."""

    code: str
    text: str = ""
    values: tuple[tuple[str, str], ...] = ()


@dataclass
class Caller:
    """Who asks, and as whom."""

    exchange: FakeExchange
    login: str
    acting: str = ""

    def mailbox(self, address: str = "") -> FakeMailbox:
        """The mailbox of an address, or the caller's. Refused: no such, or no right."""
        wanted = address or self.acting or self.login
        found = self.exchange.mailboxes.get(wanted.lower())
        if found is None:
            raise Refused("ErrorNonExistentMailbox", "No mailbox with such guid.")
        self.may(found)
        return found

    def may(self, mailbox: FakeMailbox) -> None:
        own = (self.acting or self.login).lower()
        if mailbox.address.lower() != own and self.login not in mailbox.full_access:
            raise Refused("ErrorAccessDenied", "Access is denied. Check credentials and try again.")

    def folder(self, place: Element) -> tuple[FakeMailbox, FakeFolder]:
        """The folder that a FolderId or DistinguishedFolderId names."""
        wanted = place.get("Id", "")
        if place.tag == f"{T}FolderId":
            for mailbox in self.exchange.everywhere():
                if wanted in mailbox.folders:
                    if mailbox is not self.exchange.public:
                        self.may(mailbox)
                    return mailbox, mailbox.folders[wanted]
            raise Refused("ErrorFolderNotFound", "The specified folder could not be found in the store.")
        if wanted == "publicfoldersroot":
            if self.exchange.public is None:
                raise Refused("ErrorNoPublicFolderReplicaAvailable", "There are no public folder servers available.")
            return self.exchange.public, self.exchange.public.known("msgfolderroot")
        home: FakeMailbox | None = self.mailbox(place.findtext(f"{T}Mailbox/{T}EmailAddress") or "")
        name = wanted
        if wanted.startswith("archive") and home is not None:
            home, name = home.archive, wanted.removeprefix("archive")
        found = [one for one in home.folders.values() if one.distinguished == name] if home is not None else []
        if home is None or not found:
            raise Refused("ErrorFolderNotFound", "The specified folder could not be found in the store.")
        return home, found[0]

    def item(self, item_id: str) -> FakeItem:
        for mailbox in self.exchange.everywhere():
            found = mailbox.by_id.get(item_id)
            if found is not None:
                if mailbox is not self.exchange.public:
                    self.may(mailbox)
                if found.refuses:
                    raise Refused(found.refuses, "The fake was told to refuse this one.")
                return found
        raise Refused("ErrorItemNotFound", "The specified object was not found in the store.")


def refusal(code: str, text: str, values: Sequence[tuple[str, str]] = ()) -> str:
    more = "".join(f'<t:Value Name="{name}">{escape(value)}</t:Value>' for name, value in values)
    xml = f"<m:MessageXml>{more}</m:MessageXml>" if more else ""
    return (
        f"<m:MessageText>{escape(text)}</m:MessageText><m:ResponseCode>{code}</m:ResponseCode>"
        f"<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>{xml}"
    )


_DONE = "<m:ResponseCode>NoError</m:ResponseCode>"


def _answer(operation: str, parts: Sequence[Callable[[], str]]) -> str:
    shown = []
    for part in parts:
        try:
            inner, how = _DONE + part(), "Success"
        except Refused as refused:
            inner, how = refusal(refused.code, refused.text, refused.values), "Error"
        shown.append(f'<m:{operation}ResponseMessage ResponseClass="{how}">{inner}</m:{operation}ResponseMessage>')
    return f"<m:{operation}Response><m:ResponseMessages>{''.join(shown)}</m:ResponseMessages></m:{operation}Response>"


# Shapes


@dataclass(frozen=True)
class _Shape:
    everything: bool
    fields: frozenset[str]
    tags: frozenset[str]
    mime: bool


def _shape(request: Element, name: str) -> _Shape:
    shape = request.find(f"{M}{name}")
    if shape is None:
        raise Refused("ErrorSchemaValidation", f"The request failed schema validation: no {name}.")
    base = shape.findtext(f"{T}BaseShape")
    fields = {one.get("FieldURI", "") for one in shape.iter(f"{T}FieldURI")}
    for one in shape.iter(f"{T}IndexedFieldURI"):  # contacts:EmailAddress, …:Street: of contacts:EmailAddresses, …
        name = ":".join(one.get("FieldURI", "").split(":")[:2])
        fields |= {f"{name}es", f"{name}s"}
    tags = {one.get("PropertyTag", "").lower() for one in shape.iter(f"{T}ExtendedFieldURI")}
    mime = shape.findtext(f"{T}IncludeMimeContent") == "true" or "item:MimeContent" in fields
    return _Shape(base != "IdOnly", frozenset(fields), frozenset(tags), mime)


def _extended(values: dict[str, tuple[str, str]], tags: frozenset[str]) -> str:
    return "".join(
        f'<t:ExtendedProperty><t:ExtendedFieldURI PropertyTag="{_exchange_tag(tag)}" PropertyType="{kind}"/>'
        f"<t:Value>{escape(value)}</t:Value></t:ExtendedProperty>"
        for tag, (kind, value) in values.items()
        if _exchange_tag(tag) in {_exchange_tag(one) for one in tags}
    )


def _exchange_tag(tag: str) -> str:
    """As Exchange writes it, without leading zeros."""
    return f"0x{int(tag, 16):x}"


def folder_xml(mailbox: FakeMailbox, folder: FakeFolder, shape: _Shape) -> str:
    kind = {"IPF.Appointment": "CalendarFolder", "IPF.Contact": "ContactsFolder", "IPF.Task": "TasksFolder"}.get(
        folder.folder_class, "Folder"
    )
    children = sum(1 for one in mailbox.folders.values() if one.parent == folder.id)
    unread = sum(1 for one in folder.items.values() if "false" in one.fields.get("message:IsRead", ""))
    fields = {
        "folder:ParentFolderId": f'<t:ParentFolderId Id="{folder.parent}" ChangeKey="AQ=="/>' if folder.parent else "",
        "folder:FolderClass": element("FolderClass", folder.folder_class) if folder.folder_class else "",
        "folder:DisplayName": element("DisplayName", folder.name),
        "folder:TotalCount": element("TotalCount", len(folder.items)),
        "folder:ChildFolderCount": element("ChildFolderCount", children),
        "folder:EffectiveRights": "<t:EffectiveRights>"
        + "".join(
            element(name, True)
            for name in ("CreateAssociated", "CreateContents", "CreateHierarchy", "Delete", "Modify", "Read")
        )
        + "</t:EffectiveRights>",
        "folder:DistinguishedFolderId": element("DistinguishedFolderId", folder.distinguished)
        if folder.distinguished
        else "",
        "folder:PermissionSet": f"<t:PermissionSet>{folder.permissions}</t:PermissionSet>"
        if folder.permissions
        else "",
        "folder:UnreadCount": element("UnreadCount", unread) if kind in ("Folder", "TasksFolder") else "",
    }
    extended = {"0x0fff": ("Binary", base64.b64encode(folder.entry_id).decode())}
    extended["0x0e08"] = ("Long", str(sum(len(one.mime) for one in folder.items.values())))
    extended["0x10f4"] = ("Boolean", str(folder.hidden).lower())
    inner = f'<t:FolderId Id="{folder.id}" ChangeKey="AQ=="/>'
    for uri in fields:
        if uri == "folder:EffectiveRights":
            inner += _extended(extended, shape.tags)
        if shape.everything or uri in shape.fields:
            inner += fields[uri]
    return f"<t:{kind}>{inner}</t:{kind}>"


def item_xml(item: FakeItem, shape: _Shape) -> str:
    order = _order(item.kind)
    parts = {"ItemId": f'<t:ItemId Id="{item.id}" ChangeKey="{item.change_key}"/>'}
    if shape.mime and item.mime:
        parts["MimeContent"] = (
            f'<t:MimeContent CharacterSet="UTF-8">{base64.b64encode(item.mime).decode()}</t:MimeContent>'
        )
    fields = dict(item.fields)
    if item.attachments:
        fields["item:Attachments"] = _attachments(item)
        fields["item:HasAttachments"] = element("HasAttachments", True)
    if item.modified:
        fields["calendar:ModifiedOccurrences"] = _modified(item)
    for uri, xml in fields.items():
        if shape.everything or uri in shape.fields:
            parts[uri.partition(":")[2]] = xml
    extended = _extended(item.extended, shape.tags)
    if extended:
        parts["ExtendedProperty"] = extended
    inner = "".join(parts[name] for name in sorted(parts, key=lambda name: order.get(name, 999)))
    return f"<t:{item.kind}>{inner}</t:{item.kind}>"


def _attachments(item: FakeItem) -> str:
    shown = "".join(
        f'<t:FileAttachment><t:AttachmentId Id="{escape(one.id)}"/>{element("Name", one.name)}'
        f"{element('ContentType', one.content_type)}{element('Size', len(one.content))}"
        f"{element('IsInline', False)}{element('IsContactPhoto', one.photo)}</t:FileAttachment>"
        for one in item.attachments
    )
    return f"<t:Attachments>{shown}</t:Attachments>"


def _modified(item: FakeItem) -> str:
    shown = "".join(
        f'<t:Occurrence><t:ItemId Id="{one.id}" ChangeKey="{one.change_key}"/>{one.fields["calendar:Start"]}'
        f"{one.fields['calendar:End']}{element('OriginalStart', original)}</t:Occurrence>"
        for one, original in item.modified
    )
    return f"<t:ModifiedOccurrences>{shown}</t:ModifiedOccurrences>"


# Operations


def get_folder(caller: Caller, request: Element) -> str:
    shape = _shape(request, "FolderShape")

    def one(place: Element) -> str:
        mailbox, folder = caller.folder(place)
        return f"<m:Folders>{folder_xml(mailbox, folder, shape)}</m:Folders>"

    return _answer("GetFolder", [lambda place=place: one(place) for place in request.find(f"{M}FolderIds")])  # type: ignore[misc,union-attr]


def find_folder(caller: Caller, request: Element) -> str:
    shape = _shape(request, "FolderShape")

    def one(place: Element) -> str:
        mailbox, top = caller.folder(place)
        deep = request.get("Traversal") == "Deep"
        if deep and mailbox is caller.exchange.public:
            raise Refused("ErrorInvalidOperation", "A deep traversal of public folders is not supported.")
        found = _below(mailbox, top, deep)
        offset, most = _page(request, "IndexedPageFolderView", "FolderView")
        page = found[offset : offset + most]
        shown = "".join(folder_xml(mailbox, folder, shape) for folder in page)
        return f"<m:RootFolder {_paging(offset, page, found)}><t:Folders>{shown}</t:Folders></m:RootFolder>"

    return _answer("FindFolder", [lambda place=place: one(place) for place in request.find(f"{M}ParentFolderIds")])  # type: ignore[misc,union-attr]


def _below(mailbox: FakeMailbox, top: FakeFolder, deep: bool) -> list[FakeFolder]:
    children = [one for one in mailbox.folders.values() if one.parent == top.id]
    return [*children, *(more for one in children for more in _below(mailbox, one, True))] if deep else children


def _page(request: Element, *names: str) -> tuple[int, int]:
    for name in names:
        view = request.find(f"{M}{name}")
        if view is not None:
            return int(view.get("Offset", "0")), min(_PAGES["find"], int(view.get("MaxEntriesReturned", "1000")))
    return 0, _PAGES["find"]


def _paging(offset: int, page: Sequence[object], whole: Sequence[object]) -> str:
    after = offset + len(page)
    last = str(after >= len(whole)).lower()
    return f'IndexedPagingOffset="{after}" TotalItemsInView="{len(whole)}" IncludesLastItemInRange="{last}"'


def find_item(caller: Caller, request: Element) -> str:
    shape = _shape(request, "ItemShape")

    def one(place: Element) -> str:
        _, folder = caller.folder(place)
        found = list(folder.items.values())
        offset, most = _page(request, "IndexedPageItemView")
        page = found[offset : offset + most]
        shown = "".join(item_xml(item, shape) for item in page)
        return f"<m:RootFolder {_paging(offset, page, found)}><t:Items>{shown}</t:Items></m:RootFolder>"

    return _answer("FindItem", [lambda place=place: one(place) for place in request.find(f"{M}ParentFolderIds")])  # type: ignore[misc,union-attr]


def sync_folder_items(caller: Caller, request: Element) -> str:
    shape = _shape(request, "ItemShape")

    def part() -> str:
        place = request.find(f"{M}SyncFolderId")
        assert place is not None
        _, folder = caller.folder(place[0])
        state = request.findtext(f"{M}SyncState") or ""
        base, at = _state(state, folder) if state else (0, 0)
        most = min(_PAGES["sync"], int(request.findtext(f"{M}MaxChangesReturned") or "100"))
        what: dict[str, set[str]] = {}
        end = at
        for kind, item_id in folder.log[at:]:
            if item_id not in what and len(what) >= most:
                break
            what.setdefault(item_id, set()).add(kind)
            end += 1
        shown = "".join(_change(folder, item_id, kinds, base, shape) for item_id, kinds in what.items())
        last = end >= len(folder.log)
        new = base64.b64encode(f"{folder.id}|{end if last else base}|{end}".encode()).decode()
        return (
            f"<m:SyncState>{new}</m:SyncState><m:IncludesLastItemInRange>{str(last).lower()}"
            f"</m:IncludesLastItemInRange><m:Changes>{shown}</m:Changes>"
        )

    return _answer("SyncFolderItems", [part])


def _state(state: str, folder: FakeFolder) -> tuple[int, int]:
    try:
        whose, base, at = base64.b64decode(state).decode().split("|")
    except ValueError:
        whose, base, at = "", "0", "0"
    if whose != folder.id:
        raise Refused("ErrorInvalidSyncStateData", "Synchronization state data is corrupt or otherwise invalid.")
    return int(base), int(at)


def _change(folder: FakeFolder, item_id: str, kinds: set[str], base: int, shape: _Shape) -> str:
    before = any(known == item_id for _, known in folder.log[:base])
    item = folder.items.get(item_id)
    if item is None:
        return f'<t:Delete><t:ItemId Id="{item_id}" ChangeKey="AQ=="/></t:Delete>' if before else ""
    if not before:
        return f"<t:Create>{item_xml(item, shape)}</t:Create>"
    if kinds == {"read"}:
        shown = item.fields["message:IsRead"]
        return f'<t:ReadFlagChange><t:ItemId Id="{item.id}" ChangeKey="{item.change_key}"/>{shown}</t:ReadFlagChange>'
    return f"<t:Update>{item_xml(item, shape)}</t:Update>"


def get_item(caller: Caller, request: Element) -> str:
    shape = _shape(request, "ItemShape")
    ids = [one.get("Id", "") for one in request.iter(f"{T}ItemId", f"{T}OccurrenceItemId")]
    return _answer(
        "GetItem",
        [lambda name=name: f"<m:Items>{item_xml(caller.item(name), shape)}</m:Items>" for name in ids],  # type: ignore[misc]
    )


def get_attachment(caller: Caller, request: Element) -> str:
    def one(name: str) -> str:
        found = [at for at in caller.item(name.rpartition("-")[0]).attachments if at.id == name]
        if not found:
            raise Refused("ErrorAttachmentNotFound", "The attachment was not found.")
        return (
            f'<m:Attachments><t:FileAttachment><t:AttachmentId Id="{escape(name)}"/>{element("Name", found[0].name)}'
            f"{element('ContentType', found[0].content_type)}"
            f"<t:Content>{base64.b64encode(found[0].content).decode()}</t:Content></t:FileAttachment></m:Attachments>"
        )

    ids = [one.get("Id", "") for one in request.iter(f"{T}AttachmentId")]
    return _answer("GetAttachment", [lambda name=name: one(name) for name in ids])  # type: ignore[misc]


def convert_id(caller: Caller, request: Element) -> str:
    def one(source: Element) -> str:
        entry = entry_of(source.get("Id", ""))
        if not entry:
            raise Refused("ErrorInvalidIdMalformed", "Id is malformed.")
        return (
            f'<m:AlternateId xsi:type="t:AlternateIdType" Format="HexEntryId" Id="{entry.hex().upper()}"'
            f' Mailbox="{escape(source.get("Mailbox", ""))}"/>'
        )

    sources = list(request.iter(f"{T}AlternateId"))
    return _answer("ConvertId", [lambda source=source: one(source) for source in sources])  # type: ignore[misc]


def get_inbox_rules(caller: Caller, request: Element) -> str:
    mailbox = caller.mailbox(request.findtext(f"{M}MailboxSmtpAddress") or "")
    rules = f"<m:InboxRules>{mailbox.rules}</m:InboxRules>" if mailbox.rules else ""
    return (
        f'<m:GetInboxRulesResponse ResponseClass="Success">{_DONE}<m:OutlookRuleBlobExists>false'
        f"</m:OutlookRuleBlobExists>{rules}</m:GetInboxRulesResponse>"
    )


def get_user_oof_settings(caller: Caller, request: Element) -> str:
    mailbox = caller.mailbox(request.findtext(f"{T}Mailbox/{T}Address") or "")
    return (
        f'<m:GetUserOofSettingsResponse><m:ResponseMessage ResponseClass="Success">{_DONE}</m:ResponseMessage>'
        f"<t:OofSettings><t:OofState>{mailbox.away}</t:OofState><t:ExternalAudience>All</t:ExternalAudience>"
        "<t:InternalReply><t:Message>away</t:Message></t:InternalReply>"
        "<t:ExternalReply><t:Message>away</t:Message></t:ExternalReply></t:OofSettings>"
        "<m:AllowExternalOof>All</m:AllowExternalOof></m:GetUserOofSettingsResponse>"
    )


def get_delegate(caller: Caller, request: Element) -> str:
    mailbox = caller.mailbox(request.findtext(f"{M}Mailbox/{T}EmailAddress") or "")
    shown = f"<m:ResponseMessages>{mailbox.delegates}</m:ResponseMessages>" if mailbox.delegates else ""
    deliver = "<m:DeliverMeetingRequests>DelegatesAndMe</m:DeliverMeetingRequests>"
    return f'<m:GetDelegateResponse ResponseClass="Success">{_DONE}{shown}{deliver}</m:GetDelegateResponse>'


def resolve_names(caller: Caller, request: Element) -> str:
    def part() -> str:
        raise Refused("ErrorNameResolutionNoResults", "No results were found.")

    return _answer("ResolveNames", [part])


def get_server_time_zones(caller: Caller, request: Element) -> str:
    from lab.fake_ews_zones import ZONES

    ids = {one.text for one in request.iter(f"{T}Id")}
    shown = "".join(xml for name, xml in ZONES.items() if not ids or name in ids)
    return _answer("GetServerTimeZones", [lambda: f"<m:TimeZoneDefinitions>{shown}</m:TimeZoneDefinitions>"])


OPERATIONS: dict[str, Callable[[Caller, Element], str]] = {
    "ConvertId": convert_id,
    "FindFolder": find_folder,
    "FindItem": find_item,
    "GetAttachment": get_attachment,
    "GetDelegate": get_delegate,
    "GetFolder": get_folder,
    "GetInboxRules": get_inbox_rules,
    "GetItem": get_item,
    "GetServerTimeZones": get_server_time_zones,
    "GetUserOofSettingsRequest": get_user_oof_settings,
    "ResolveNames": resolve_names,
    "SyncFolderItems": sync_folder_items,
}


def answer(exchange: FakeExchange, login: str, envelope: Element) -> tuple[int, str]:
    """HTTP status and the SOAP envelope."""
    body = envelope.find("{http://schemas.xmlsoap.org/soap/envelope/}Body")
    request = body[0] if body is not None and len(body) else None
    try:
        if request is None or etree.QName(request).localname not in OPERATIONS:
            raise Refused("ErrorInvalidRequest", "The request is invalid.")
        acting = _acting(exchange, login, envelope)
        shown = OPERATIONS[etree.QName(request).localname](Caller(exchange, login, acting), request)
        return 200, soap(exchange, shown)
    except Refused as refused:
        return 500, soap(exchange, fault(refused))


def _acting(exchange: FakeExchange, login: str, envelope: Element) -> str:
    who = envelope.find(f".//{T}ExchangeImpersonation/{T}ConnectingSID")
    if who is None or not len(who):
        return ""
    if login not in exchange.impersonators:
        raise Refused(
            "ErrorImpersonateUserDenied", "The account does not have permission to impersonate the requested user."
        )
    return (who[0].text or "").lower()


def fault(refused: Refused) -> str:
    values = "".join(f'<t:Value Name="{name}">{escape(value)}</t:Value>' for name, value in refused.values)
    more = f'<t:MessageXml xmlns:t="{TYPES}">{values}</t:MessageXml>' if values else ""
    errors = "http://schemas.microsoft.com/exchange/services/2006/errors"
    return (
        f'<s:Fault><faultcode xmlns:a="{TYPES}">a:{refused.code}</faultcode>'
        f'<faultstring xml:lang="en-US">{escape(refused.text)}</faultstring><detail>'
        f'<e:ResponseCode xmlns:e="{errors}">{refused.code}</e:ResponseCode>'
        f'<e:Message xmlns:e="{errors}">{escape(refused.text)}</e:Message>{more}</detail></s:Fault>'
    )


def soap(exchange: FakeExchange, body: str) -> str:
    major, minor, build, revision = exchange.version
    prefix = re.sub(r"\s+", " ", '<?xml version="1.0" encoding="utf-8"?>')
    return (
        f'{prefix}<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        f' xmlns:t="{TYPES}" xmlns:m="{MESSAGES}"><s:Header><h:ServerVersionInfo MajorVersion="{major}"'
        f' MinorVersion="{minor}" MajorBuildNumber="{build}" MinorBuildNumber="{revision}"'
        f' Version="V2017_07_11" xmlns:h="{TYPES}"/></s:Header><s:Body>{body}</s:Body></s:Envelope>'
    )
