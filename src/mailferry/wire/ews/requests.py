"""EWS requests as bytes: SOAP 1.1 envelopes. Parses nothing.

Shapes after [MS-OXWSCORE], [MS-OXWSFOLD], [MS-OXWSSYNC], [MS-OXWSCVTID]. Invariant: whatever came from outside is
escaped; nothing here asks the server to send anything to anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

VERSION = "Exchange2013"
"""The schema asked for: 2013 and everything after it speak it."""

MAPI_TAGS = {
    "0x0e06": "SystemTime",  # PidTagMessageDeliveryTime
    "0x0e08": "Long",  # PidTagMessageSizeExtended
    "0x0fff": "Binary",  # PidTagEntryId
    "0x1081": "Integer",  # PidTagLastVerbExecuted
    "0x1090": "Integer",  # PidTagFlagStatus
    "0x007d": "String",  # PidTagTransportMessageHeaders
    "0x10f4": "Boolean",  # PidTagAttributeHidden
}
Field = str
"""`item:Subject`, `message:IsRead`, …, or an extended property: `0x1081`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder to look into: by its id, else by its distinguished name in a mailbox (SMTP address; "": the
    caller's)."""

    id: str = ""
    distinguished: str = ""
    mailbox: str = ""

    def xml(self) -> str:
        if self.id:
            return f"<t:FolderId Id={quoteattr(self.id)}/>"
        if not self.mailbox:
            return f"<t:DistinguishedFolderId Id={quoteattr(self.distinguished)}/>"
        whose = f"<t:Mailbox><t:EmailAddress>{escape(self.mailbox)}</t:EmailAddress></t:Mailbox>"
        return f"<t:DistinguishedFolderId Id={quoteattr(self.distinguished)}>{whose}</t:DistinguishedFolderId>"


def envelope(body: str, *, impersonate: str = "") -> bytes:
    """The whole request. `impersonate`: the SMTP address of the mailbox on whose behalf it is made."""
    acting = ""
    if impersonate:
        acting = (
            "<t:ExchangeImpersonation><t:ConnectingSID>"
            f"<t:PrimarySmtpAddress>{escape(impersonate)}</t:PrimarySmtpAddress>"
            "</t:ConnectingSID></t:ExchangeImpersonation>"
        )
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"'
        ' xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages">'
        f'<s:Header><t:RequestServerVersion Version="{VERSION}"/>{acting}</s:Header>'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def _field(name: Field) -> str:
    if name.startswith("0x"):
        return f'<t:ExtendedFieldURI PropertyTag="{name}" PropertyType="{MAPI_TAGS[name]}"/>'
    return f"<t:FieldURI FieldURI={quoteattr(name)}/>"


def _shape(kind: str, fields: Sequence[Field], extra: str = "", base: str = "IdOnly") -> str:
    asked = "".join(map(_field, fields))
    more = f"<t:AdditionalProperties>{asked}</t:AdditionalProperties>" if asked else ""
    return f"<m:{kind}><t:BaseShape>{base}</t:BaseShape>{extra}{more}</m:{kind}>"


def _ids(ids: Sequence[str]) -> str:
    return "<m:ItemIds>" + "".join(f"<t:ItemId Id={quoteattr(one)}/>" for one in ids) + "</m:ItemIds>"


def get_folders(places: Sequence[Place], fields: Sequence[Field] = ()) -> str:
    """GetFolder: one response message per place, in order."""
    wanted = "".join(one.xml() for one in places)
    return f"<m:GetFolder>{_shape('FolderShape', fields)}<m:FolderIds>{wanted}</m:FolderIds></m:GetFolder>"


def find_folders(below: Place, fields: Sequence[Field], *, deep: bool, offset: int = 0, most: int = 1000) -> str:
    """FindFolder. Public folders cannot be searched deep."""
    return (
        f'<m:FindFolder Traversal="{"Deep" if deep else "Shallow"}">{_shape("FolderShape", fields)}'
        f'<m:IndexedPageFolderView MaxEntriesReturned="{most}" Offset="{offset}" BasePoint="Beginning"/>'
        f"<m:ParentFolderIds>{below.xml()}</m:ParentFolderIds></m:FindFolder>"
    )


def sync_items(folder: Place, state: str, fields: Sequence[Field], most: int = 512) -> str:
    """SyncFolderItems: what changed since `state` ("": everything)."""
    since = f"<m:SyncState>{escape(state)}</m:SyncState>" if state else ""
    return (
        f"<m:SyncFolderItems>{_shape('ItemShape', fields)}<m:SyncFolderId>{folder.xml()}</m:SyncFolderId>{since}"
        f"<m:MaxChangesReturned>{most}</m:MaxChangesReturned><m:SyncScope>NormalItems</m:SyncScope></m:SyncFolderItems>"
    )


def find_items(folder: Place, fields: Sequence[Field], *, offset: int = 0, most: int = 1000) -> str:
    """FindItem, a page of everything in the folder."""
    return (
        f'<m:FindItem Traversal="Shallow">{_shape("ItemShape", fields)}'
        f'<m:IndexedPageItemView MaxEntriesReturned="{most}" Offset="{offset}" BasePoint="Beginning"/>'
        f"<m:ParentFolderIds>{folder.xml()}</m:ParentFolderIds></m:FindItem>"
    )


def get_items(
    ids: Sequence[str],
    fields: Sequence[Field],
    *,
    mime: bool = False,
    best_body: bool = False,
    base: Literal["IdOnly", "AllProperties"] = "IdOnly",
) -> str:
    """GetItem: one response message per id, in order. `best_body`: bodies as HTML where there is one. `base`: what
    comes beside the fields; the dictionaries of a contact can be had by AllProperties only, or key by key."""
    extra = f"<t:IncludeMimeContent>{'true' if mime else 'false'}</t:IncludeMimeContent>"
    if best_body:
        extra += "<t:BodyType>Best</t:BodyType>"
    shape = _shape("ItemShape", fields, extra, base)
    return f"<m:GetItem>{shape}{_ids(ids)}</m:GetItem>"


def get_attachments(ids: Sequence[str]) -> str:
    """GetAttachment: file attachments with their content, attached items with their MIME."""
    wanted = "".join(f"<t:AttachmentId Id={quoteattr(one)}/>" for one in ids)
    return (
        "<m:GetAttachment><m:AttachmentShape><t:IncludeMimeContent>true</t:IncludeMimeContent></m:AttachmentShape>"
        f"<m:AttachmentIds>{wanted}</m:AttachmentIds></m:GetAttachment>"
    )


def convert_ids(ids: Sequence[str], mailbox: str, *, archive: bool = False) -> str:
    """ConvertId: EWS ids to entry ids, in hexadecimal; of items that are gone too."""
    where = f"Mailbox={quoteattr(mailbox)}" + (' IsArchive="true"' if archive else "")
    wanted = "".join(f'<t:AlternateId Format="EwsId" Id={quoteattr(one)} {where}/>' for one in ids)
    return f'<m:ConvertId DestinationFormat="HexEntryId"><m:SourceIds>{wanted}</m:SourceIds></m:ConvertId>'


def server_time_zones(ids: Sequence[str]) -> str:
    """GetServerTimeZones, with the rules."""
    wanted = "".join(f"<t:Id>{escape(one)}</t:Id>" for one in ids)
    return f'<m:GetServerTimeZones ReturnFullTimeZoneData="true"><m:Ids>{wanted}</m:Ids></m:GetServerTimeZones>'


def inbox_rules(mailbox: str) -> str:
    return f"<m:GetInboxRules><m:MailboxSmtpAddress>{escape(mailbox)}</m:MailboxSmtpAddress></m:GetInboxRules>"


def oof_settings(mailbox: str) -> str:
    address = f"<t:Address>{escape(mailbox)}</t:Address>"
    return f"<m:GetUserOofSettingsRequest><t:Mailbox>{address}</t:Mailbox></m:GetUserOofSettingsRequest>"


def delegates(mailbox: str) -> str:
    whose = f"<m:Mailbox><t:EmailAddress>{escape(mailbox)}</t:EmailAddress></m:Mailbox>"
    return f'<m:GetDelegate IncludePermissions="true">{whose}</m:GetDelegate>'
