"""Where rules are read for a wave: a folder of exports, Exchange's EWS; and whom they name, in the directory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.fake_ews import FakeEws
from lab.fake_ews_store import FakeExchange
from lab.ldap_people import Text, person
from lab.openldap import WRITER_PASSWORD, OpenLdap
from mailferry.coexist.named import Named, resolved
from mailferry.coexist.people import People
from mailferry.config.accounts import parse_address
from mailferry.config.settings import Source
from mailferry.errors import AuthError, UserError
from mailferry.ledger.rows import FolderRow
from mailferry.model.account import EwsAccount
from mailferry.model.folder import SpecialUse
from mailferry.model.rule import Action, Audience, Condition, Deed, Forwarding, OutOfOffice, Predicate
from mailferry.net import ldap
from mailferry.net.ews_behaviour import read_behaviour
from mailferry.ops.rules import Options, convert_files
from mailferry.ops.rules_fetch import fetch
from mailferry.ops.wave_rules import Exports, folder_of, of_answers, of_ldap
from mailferry.secret import Secret
from mailferry.stack.openldap.settings import MailSchema

ANN = "ann@acme.example"


def rule(name: str, **more: object) -> dict[str, object]:
    return {"Name": name, "Priority": 1, "RuleIdentity": 1, "DeleteMessage": True, **more}


def written(folder: Path, name: str, *rows: dict[str, object]) -> None:
    (folder / name).write_text(json.dumps(rows))


def test_a_folder_of_exports(tmp_path: Path) -> None:
    written(tmp_path, f"{ANN}.json", rule("one", MailboxOwnerId="acme.example/Users/Ann Bell"))
    written(tmp_path, f"{ANN}.away.json", {"AutoReplyState": "Enabled", "InternalMessage": "x", "Identity": "Ann"})
    written(tmp_path, "all.json", rule("two", MailboxOwnerId="Ben"), rule("three", MailboxOwnerId="cara@acme.example"))
    (tmp_path / "dora@acme.example.json").write_bytes(b"\xff\xfe")  # PowerShell's file of nothing
    (tmp_path / "readme.txt").write_text("no export")
    exports = Exports(tmp_path, {"Ben": ("ben@acme.example", "b@acme.example")})
    ann = exports.of(["a.bell@acme.example", ANN.upper()])
    assert ann is not None and [one.name for one in ann.rules] == ["one"] and ann.out_of_office is not None
    ben, cara = exports.of(["ben@acme.example"]), exports.of(["cara@acme.example"])
    assert ben is not None and cara is not None and ben.rules[0].name == "two" and cara.rules[0].name == "three"
    dora = exports.of(["dora@acme.example"])
    assert dora is not None and dora.rules == (), "exported, and without rules"
    assert exports.of(["eve@acme.example"]) is None and exports.of(["ann bell"]) is None
    with pytest.raises(UserError, match="exported as those of"):
        exports.of([ANN, "cara@acme.example"])
    written(tmp_path, "broken.json", {"x": 1})
    with pytest.raises(UserError) as caught:
        Exports(tmp_path, {}).of([ANN])
    assert "broken.json" in caught.value.about
    with pytest.raises(UserError, match="cannot be read"):
        Exports(tmp_path / "nowhere", {}).of([ANN])


def row(
    path: tuple[str, ...], name: str | None, use: SpecialUse | None = None, excluded: str | None = None
) -> FolderRow:
    return FolderRow(path, "x", target_name=name, special_use=use, excluded=excluded or None)


ROWS = [
    row(("INBOX",), "INBOX", SpecialUse.INBOX),
    row(("INBOX", "Prüfung"), "INBOX/Pr&APw-fung"),
    row(("Gelöschte Elemente",), "Trash", SpecialUse.TRASH),
    row(("Kalender",), None, SpecialUse.CALENDAR, "carried by its own door"),
    row(("Old/new",), "Old_new"),
]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("Inbox\\prüfung", "INBOX/Prüfung"),
        ("Posteingang\\Prüfung", "INBOX/Prüfung"),
        ("INBOX", "INBOX"),
        ("inbox", "INBOX"),
        ("Gelöschte Elemente", "Trash"),
        ("Deleted Items", "Trash"),
        ("deleteditems", "Trash"),
        ("Old/new", "Old_new"),
        ("Kalender", None),
        ("Inbox\\Nowhere", None),
        ("AAMkAGI2TG93AAA=", None),
        ("", None),
    ],
)
def test_folders_are_those_of_the_copy(path: str, wanted: str | None) -> None:
    assert folder_of(ROWS, path) == wanted


@pytest.fixture
def exchange() -> Iterator[FakeEws]:
    store = FakeExchange()
    store.add(ANN, "pw")
    with FakeEws(store) as running:
        yield running


def ews(fake: FakeEws, password: str = "pw") -> EwsAccount:
    found = parse_address(fake.address(ANN), secret=Secret(password))
    assert isinstance(found, EwsAccount)
    return found


def test_what_exchange_itself_tells(exchange: FakeEws) -> None:
    mailbox = exchange.exchange.mailboxes[ANN]
    bills = mailbox.add_folder("Bills", parent=mailbox.known("inbox"))
    mailbox.away = "Enabled"
    mailbox.rules = (
        "<t:Rule><t:RuleId>x</t:RuleId><t:DisplayName>file</t:DisplayName><t:Priority>1</t:Priority>"
        "<t:IsEnabled>true</t:IsEnabled><t:Conditions><t:ContainsSubjectStrings><t:String>bill</t:String>"
        f'</t:ContainsSubjectStrings></t:Conditions><t:Actions><t:MoveToFolder><t:FolderId Id="{bills.id}"/>'
        '</t:MoveToFolder><t:CopyToFolder><t:DistinguishedFolderId Id="junkemail"/></t:CopyToFolder></t:Actions>'
        "</t:Rule>"
    )
    told = asyncio.run(read_behaviour(ews(exchange)))
    found = of_answers(ANN, told.rules, told.away, told.folders)
    assert found.out_of_office == OutOfOffice(True, "EWS", "", "", "away", "away", Audience.ALL)
    (one,) = found.rules
    assert one.conditions == (Predicate(Condition.SUBJECT, ("bill",)),)
    moves = (Deed(Action.MOVE, ("INBOX\\Bills",)), Deed(Action.COPY, ("junkemail",)))
    assert (one.name, one.actions, one.unknown) == ("file", moves, ())
    mailbox.rules, mailbox.away = "", "Disabled"
    told = asyncio.run(read_behaviour(ews(exchange)))
    found = of_answers(ANN, told.rules, told.away, told.folders)
    assert found.rules == () and found.out_of_office is not None and not found.out_of_office.enabled
    with pytest.raises(AuthError):
        asyncio.run(read_behaviour(ews(exchange, "wrong")))


def test_fetched_files_are_read_by_the_converter(exchange: FakeEws, tmp_path: Path) -> None:
    mailbox = exchange.exchange.mailboxes[ANN]
    bills = mailbox.add_folder("Bills", parent=mailbox.known("inbox"))
    mailbox.away = "Enabled"
    mailbox.rules = (
        "<t:Rule><t:RuleId>x</t:RuleId><t:DisplayName>file</t:DisplayName><t:Priority>1</t:Priority>"
        "<t:IsEnabled>true</t:IsEnabled><t:Actions><t:MoveToFolder>"
        f'<t:FolderId Id="{bills.id}"/></t:MoveToFolder></t:Actions></t:Rule>'
    )
    source = exchange.address(ANN).replace(f"{ANN}@", "")
    ben, ann = asyncio.run(fetch(source, Secret("pw"), [ANN, "ann.nobody@acme.example"], tmp_path))
    assert ben.error and not ben.files
    assert [path.name for path in ann.files] == [f"{ANN}.rules.xml", f"{ANN}.away.xml"]
    (done,) = convert_files(ann.files, tmp_path / "sieve", Options({}))
    assert done.owner == ANN and done.path is not None
    text = done.path.read_text()
    assert 'fileinto :create "INBOX/Bills"' in text and "vacation" in text


def test_whom_rules_name(own_openldap: OpenLdap) -> None:
    here, suffix = own_openldap, own_openldap.suffix
    for uid, more in (
        ("rann", {"mailferryX500": "/o=Acme/cn=Rann"}),
        ("rben", {"cn": "Same Name"}),
        ("rcara", {"cn": "Same Name"}),
    ):
        here.add(person(suffix, uid, **more))

    def group(name: str, *members: str, **more: list[str]) -> None:
        values = {
            "objectClass": ["groupOfNames", "mailferryGroup", "inetLocalMailRecipient", "mailferryRecipient"],
            "member": list(members),
            "mail": [f"{name}@acme.example"],
            "mailLocalAddress": [f"{name}@acme.example"],
            "mailferrySourceId": [f"ad:{name}"],
            "mailferryKind": ["group"],
            **more,
        }
        here.add(
            (f"cn={name},ou=groups,{suffix}", {key: [one.encode() for one in some] for key, some in values.items()})
        )

    one, two = (f"uid={uid},ou=people,{suffix}" for uid in ("rann", "rben"))
    group("inner", one, f"cn=outer,ou=groups,{suffix}")
    group("outer", two, f"cn=inner,ou=groups,{suffix}", mailferryExternalMember=["x@outside.example"])
    server = ldap.Server(here.url, user=here.settings.writer_dn, secret=Secret(WRITER_PASSWORD), plain=True)
    with ldap.Connection(server) as connection:
        found = resolved(
            People(connection, suffix),
            [
                "rann@acme.example",
                "zoe@outside.example",
                "/o=Acme/cn=Rann",
                "/o=Acme/cn=*",
                "rben",
                "Same Name",
                "outer",
            ],
        )
    assert found == {
        "rann@acme.example": Named("rann@acme.example", ("rann@acme.example",)),
        "zoe@outside.example": Named("zoe@outside.example", ("zoe@outside.example",)),
        "/o=Acme/cn=Rann": Named("rann@acme.example", ("rann@acme.example",)),
        "rben": Named("rben@acme.example", ("rben@acme.example",)),
        "outer": Named("outer@acme.example", ("rann@acme.example", "rben@acme.example", "x@outside.example")),
    }


def test_what_another_mail_server_has_in_its_directory(tmp_path: Path) -> None:
    with OpenLdap(mail_schema=MailSchema.QMAIL) as server:
        classes = ["inetOrgPerson", "qmailUser", "mailferryRecipient", "inetLocalMailRecipient"]
        more: dict[str, Text] = {"mailForwardingAddress": "x@y.example", "deliveryMode": ["nolocal", "reply"]}
        server.add(person(server.suffix, "qann", objectClass=classes, mailReplyText="Gone.", **more))
        server.add(person(server.suffix, "qben", objectClass=classes))
        secret = tmp_path / "password"
        secret.write_text(WRITER_PASSWORD)
        source = Source(
            kind="ldap",
            url=server.url,
            bind=server.settings.writer_dn,
            password=f"file:{secret}",
            base=(server.suffix,),
            tls="none",
        )
        ann, ben = of_ldap(source, ["a@b.example", "qann@acme.example"]), of_ldap(source, ["qben@acme.example"])
        assert ann is not None and ben is not None and of_ldap(source, ["nobody@acme.example"]) is None
        assert of_ldap(source, ["qann@acme.example", "qben@acme.example"]) is None, "of two, neither is it"
    assert ann.forwarding == Forwarding(("x@y.example",), False, f"uid=qann,ou=people,{server.suffix}")
    assert ann.out_of_office is not None and ann.out_of_office.enabled and ann.out_of_office.internal == "Gone."
    assert (ben.forwarding, ben.out_of_office, ben.rules) == (None, None, ())
