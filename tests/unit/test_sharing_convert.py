"""Permissions as Exchange exports them, in every spelling, and what becomes of each right and role."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import sharing_page
from mailferry.errors import UserError
from mailferry.model.permission import Access, Everybody, Permission
from mailferry.rules.names import Rating
from mailferry.sharing import ews
from mailferry.sharing.convert import Converted, convert, convert_all
from mailferry.sharing.names import BUSY, FULL, RIGHTS, ROLES
from mailferry.sharing.powershell import permissions

E, A, M = Rating.EXACT, Rating.APPROXIMATE, Rating.MANUAL
CLIXML = """<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">{}</Objs>"""


def made(folder: str, *rights: str, user: str | Everybody = "bob@acme.example", **more: bool) -> Converted:
    return convert(Permission("ann@acme.example", user, Access.FOLDER, "f:1", folder, rights, **more))


@pytest.mark.parametrize(
    ("role", "letters", "rating"),
    [
        ("Owner", "lrswikxtea", E),
        ("PublishingEditor", "lrswikte", E),
        ("Editor", "lrswite", E),
        ("PublishingAuthor", "lrik", A),
        ("Author", "lri", A),
        ("NonEditingAuthor", "lri", A),
        ("Reviewer", "lr", E),
        ("Contributor", "li", E),
        ("ReadItems", "r", E),
        ("CreateItems", "i", E),
        ("FolderVisible", "l", E),
        ("CreateSubfolders", "k", E),
        ("EditAllItems", "sw", A),
        ("DeleteAllItems", "te", E),
        ("FolderOwner", "xa", E),
    ],
)
def test_each_role_and_right_on_a_folder_of_messages(role: str, letters: str, rating: Rating) -> None:
    one = made("Inbox\\Projects", role)
    assert one.carried and one.rating is rating and sorted(one.rights) == sorted(letters), one
    assert bool(one.notes) == (rating is A)
    assert made("Inbox\\Projects", role.lower()).rights == one.rights


def test_every_role_and_right_of_the_table_is_one_of_these_or_gives_nothing() -> None:
    nothing = [name for name in (*ROLES, *RIGHTS, *BUSY) if not made("Projects", name).carried]
    assert sorted(nothing) == sorted(["None", "EditOwnedItems", "DeleteOwnedItems", "FolderContact", *BUSY])
    assert made("Projects", "None").rating is E
    assert all(made("Projects", name).rating is M for name in nothing if name != "None")


@given(st.sets(st.sampled_from(sorted({*ROLES, *RIGHTS, *BUSY})), min_size=1))
def test_nobody_gets_more_than_they_had(words: set[str]) -> None:
    rights = {right for word in words for right in ROLES.get(word, (word,))}
    one = made("Projects", *sorted(words))
    for letter in one.rights:
        assert any(letter in RIGHTS[right].letters for right in rights & RIGHTS.keys())
    more = made("Calendar", *sorted(words), private=True)
    assert ("r" in more.dav) <= ("ReadItems" in rights)
    assert ("w" in more.dav) <= ({"EditAllItems", "DeleteAllItems", "CreateItems"} <= rights)


@pytest.mark.parametrize(
    ("rights", "dav", "rating", "note"),
    [
        (("Reviewer",), "r", M, "private items"),
        (("Editor",), "rw", M, "private items"),
        (("Author",), "r", M, "reads only"),
        (("AvailabilityOnly",), "", M, "busy"),
        (("LimitedDetails",), "", M, "subject and place"),
        (("Contributor",), "", M, "without reading"),
    ],
)
def test_calendars_and_address_books(rights: tuple[str, ...], dav: str, rating: Rating, note: str) -> None:
    for folder in ("Calendar", "Kalender", "Contacts\\Clients", "Tasks"):
        one = made(folder, *rights)
        assert (one.dav, one.rights, one.rating) == (dav, "", rating) and note in " ".join(one.notes)
    assert "private" not in " ".join(made("Calendar", "Editor", private=True).notes)
    assert "meeting requests" in " ".join(made("Calendar", "Editor", private=True, delegate=True).notes)


def test_what_is_left_to_a_human_gives_nothing() -> None:
    for one in (
        made("Projects", "Reviewer", "SomethingNew"),
        made("Projects", "System.Collections.ObjectModel.Collection`1[Rights]"),
        made("Projects", "Reviewer", user=Everybody.DEFAULT),
        made("Projects", "Reviewer", user=Everybody.ANONYMOUS),
        made("Projects", "Reviewer", user="NT User:S-1-5-21-1-2-3-1104"),
        made("Notes", "Editor"),
        convert(Permission("a", "b", Access.FULL, "f:1", rights=("ReadPermission",))),
    ):
        assert one.rating is M and not one.carried and not one.rights and not one.dav and one.notes


def test_what_is_nothing_at_all_is_said_to_be_nothing() -> None:
    for one in (
        made("Calendar", "AvailabilityOnly", user=Everybody.DEFAULT),
        made("Inbox", "None", user=Everybody.ANONYMOUS),
        made("Top of Information Store", "Reviewer"),
        convert(Permission("a", "NT AUTHORITY\\SELF", Access.FULL, "f:1", rights=("FullAccess",))),
        convert(Permission("a", "ACME\\Admins", Access.FULL, "f:1", rights=("FullAccess",), inherited=True)),
    ):
        assert one.rating is E and not one.carried and one.notes


def test_what_is_denied_is_not_given() -> None:
    yes = Permission("A@acme.example", "b", Access.FULL, "f:1", rights=("FullAccess",))
    no = Permission("a@acme.example", "b", Access.FULL, "f:2", rights=("FullAccess",), denied=True)
    assert [one.rights for one in convert_all([yes])] == [FULL]
    assert [(one.carried, one.rating) for one in convert_all([yes, no])] == [(False, M), (False, E)]


def folder_permission(**more: object) -> dict[str, object]:
    return {"FolderName": "Projects", "User": "bob@acme.example", "AccessRights": ["Reviewer"], **more}


@pytest.mark.parametrize(
    ("row", "mailbox", "folder"),
    [
        ({}, "ann", "Projects"),
        ({"Identity": "ann@acme.example:\\Inbox\\Projects"}, "ann@acme.example", "Inbox\\Projects"),
        ({"Mailbox": "carl", "FolderPath": "/Inbox/Projects"}, "carl", "Inbox\\Projects"),
        ({"Identity": "Bob Bell", "MailboxOwner": "carl"}, "carl", "Projects"),
    ],
)
def test_whose_folder_it_is(row: dict[str, object], mailbox: str, folder: str) -> None:
    content = json.dumps(folder_permission(**row)).encode("utf-16")
    (one,) = permissions("some/where/ann.json", content)
    assert (one.mailbox, one.folder, one.user, one.rights) == (mailbox, folder, "bob@acme.example", ("Reviewer",))


@pytest.mark.parametrize(
    ("user", "who"),
    [
        ("Default", Everybody.DEFAULT),
        ({"UserType": "Anonymous", "DisplayName": "Anonym"}, Everybody.ANONYMOUS),
        ({"UserType": {"Value": "Internal"}, "DisplayName": "Bob", "ADRecipient": None}, "Bob"),
        (
            {"DisplayName": "Bob", "ADRecipient": {"PrimarySmtpAddress": {"Address": "bob@acme.example"}}},
            "bob@acme.example",
        ),
        ({"DisplayName": "B", "RecipientPrincipal": {"PrimarySmtpAddress": "bob@acme.example"}}, "bob@acme.example"),
    ],
)
def test_who_it_is_for(user: object, who: str | Everybody) -> None:
    (one,) = permissions("ann.json", json.dumps(folder_permission(User=user)).encode())
    assert one.user == who


def test_csv_with_lists_in_every_shape() -> None:
    head = "Mailbox,FolderPath,User,AccessRights,SharingPermissionFlags\r\n"
    lines = [
        'ann,\\Calendar,bob,{Editor},"Delegate, CanViewPrivateItems"',
        'ann,\\Inbox,bob,"ReadItems, FolderVisible",',
    ]
    one, two = permissions("x.csv", (head + "\r\n".join(lines)).encode())
    assert one.rights == ("Editor",) and one.delegate and one.private
    assert two.rights == ("ReadItems", "FolderVisible") and not two.delegate


def test_clixml() -> None:
    user = (
        '<Obj N="User" RefId="1"><ToString>Bob Bell</ToString><Props><S N="DisplayName">Bob Bell</S>'
        '<Obj N="ADRecipient" RefId="2"><ToString>acme.example/Users/Bob</ToString><Props>'
        '<S N="PrimarySmtpAddress">bob@acme.example</S></Props></Obj></Props></Obj>'
    )
    rights = '<Obj N="AccessRights" RefId="3"><LST><S>Editor</S></LST></Obj>'
    row = f'<Obj RefId="0"><ToString>Bob Bell</ToString><Props>{user}{rights}<S N="FolderName">Inbox</S></Props></Obj>'
    (one,) = permissions("ann.xml", CLIXML.format(row).encode())
    assert (one.user, one.rights, one.folder) == ("bob@acme.example", ("Editor",), "Inbox")


def test_mailboxes_and_senders() -> None:
    rows = [
        {
            "Identity": "acme.example/Users/Team",
            "User": "ACME\\bob",
            "AccessRights": ["FullAccess"],
            "Deny": "False",
            "IsInherited": True,
        },
        {"Identity": "team", "Trustee": "bob@acme.example", "AccessRights": "SendAs", "AccessControlType": "Deny"},
        {"Identity": "team", "User": "ACME\\bob", "ExtendedRights": ["Send-As"], "Deny": False},
        {"Identity": "team", "User": "ACME\\bob", "ExtendedRights": None, "AccessRights": ["GenericAll"]},
        {"PrimarySmtpAddress": "team@acme.example", "GrantSendOnBehalfTo": ["acme.example/Users/Bob", "Carl"]},
    ]
    found = permissions("x.json", json.dumps(rows).encode())
    assert [(one.mailbox, one.user, one.access, one.denied, one.inherited) for one in found] == [
        ("acme.example/Users/Team", "ACME\\bob", Access.FULL, False, True),
        ("team", "bob@acme.example", Access.SEND_AS, True, False),
        ("team", "ACME\\bob", Access.SEND_AS, False, False),
        ("team@acme.example", "acme.example/Users/Bob", Access.ON_BEHALF, False, False),
        ("team@acme.example", "Carl", Access.ON_BEHALF, False, False),
    ]


def test_another_export_is_refused_with_its_line() -> None:
    with pytest.raises(UserError, match="no permission") as caught:
        permissions("x.json", b'[{"Name": "a rule", "MoveToFolder": "x"}]')
    assert caught.value.about == "x.json:1"


def test_the_page_is_the_code() -> None:
    assert sharing_page.PAGE.read_text(encoding="utf-8") == sharing_page.page()


def test_ews() -> None:
    types = "http://schemas.microsoft.com/exchange/services/2006/types"
    answer = ElementTree.fromstring(f"""<t:Folder xmlns:t="{types}"><t:PermissionSet><t:Permissions>
        <t:Permission><t:UserId><t:DistinguishedUser>Default</t:DistinguishedUser></t:UserId>
            <t:PermissionLevel>None</t:PermissionLevel></t:Permission>
        <t:Permission><t:UserId><t:SID>S-1</t:SID><t:PrimarySmtpAddress>bob@acme.example</t:PrimarySmtpAddress></t:UserId>
            <t:CanCreateItems>true</t:CanCreateItems><t:IsFolderVisible>true</t:IsFolderVisible>
            <t:EditItems>Owned</t:EditItems><t:DeleteItems>All</t:DeleteItems><t:ReadItems>FullDetails</t:ReadItems>
            <t:PermissionLevel>Custom</t:PermissionLevel></t:Permission>
        </t:Permissions></t:PermissionSet></t:Folder>""")
    none, one = ews.folder("ann", "Projects", answer)
    assert none.user is Everybody.DEFAULT and none.rights == ("None",)
    assert one.user == "bob@acme.example"
    assert set(one.rights) == {
        "CreateItems",
        "FolderVisible",
        "EditOwnedItems",
        "DeleteOwnedItems",
        "DeleteAllItems",
        "ReadItems",
    }
    answer = ElementTree.fromstring(f"""<m xmlns:t="{types}" xmlns:m="m"><m:DelegateUser>
        <t:UserId><t:PrimarySmtpAddress>bob@acme.example</t:PrimarySmtpAddress></t:UserId>
        <t:DelegatePermissions><t:CalendarFolderPermissionLevel>Editor</t:CalendarFolderPermissionLevel>
            <t:InboxFolderPermissionLevel>Reviewer</t:InboxFolderPermissionLevel></t:DelegatePermissions>
        <t:ReceiveCopiesOfMeetingMessages>true</t:ReceiveCopiesOfMeetingMessages>
        <t:ViewPrivateItems>false</t:ViewPrivateItems></m:DelegateUser></m>""")
    behalf, calendar, inbox = ews.delegates("ann", answer)
    assert behalf.access is Access.ON_BEHALF and calendar.delegate and not inbox.delegate
    assert [(one.folder, one.rights) for one in (calendar, inbox)] == [
        ("Calendar", ("Editor",)),
        ("Inbox", ("Reviewer",)),
    ]
