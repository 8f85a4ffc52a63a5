"""`mailferry sharing fetch`: what EWS says of folders and delegates becomes a file that `sharing convert` reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.fake_ews import FakeEws
from lab.fake_ews_store import FakeExchange
from mailferry.cli.sharing import sharing_command

ANN = "ann@acme.example"


def entry(user: str, level: str, more: str = "") -> str:
    whose = f"<t:UserId>{user}</t:UserId>"
    return f"<t:Permission>{whose}{more}<t:PermissionLevel>{level}</t:PermissionLevel></t:Permission>"


def test_folders_and_delegates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = FakeExchange()
    box = exchange.add(ANN, "pw")
    bob = "<t:PrimarySmtpAddress>bob@acme.example</t:PrimarySmtpAddress>"
    everybody = "<t:DistinguishedUser>Default</t:DistinguishedUser>"
    by_name = {one.distinguished or one.name: one for one in box.folders.values()}
    by_name["inbox"].permissions = f"<t:Permissions>{entry(everybody, 'None')}{entry(bob, 'Reviewer')}</t:Permissions>"
    by_name["calendar"].permissions = f"<t:Permissions>{entry(bob, 'Editor')}</t:Permissions>"
    box.delegates = (
        f"<m:DelegateUserResponseMessageType ResponseClass='Success'><m:DelegateUser><t:UserId>{bob}</t:UserId>"
        "<t:DelegatePermissions><t:CalendarFolderPermissionLevel>Editor</t:CalendarFolderPermissionLevel>"
        "</t:DelegatePermissions><t:ReceiveCopiesOfMeetingMessages>true</t:ReceiveCopiesOfMeetingMessages>"
        "<t:ViewPrivateItems>true</t:ViewPrivateItems></m:DelegateUser></m:DelegateUserResponseMessageType>"
    )
    with FakeEws(exchange) as fake:
        address = fake.address(ANN).replace(f"{ANN}@", "")
        monkeypatch.setenv("EWS_PASSWORD", "pw")
        argv = ["fetch", ANN, "--from", address, "--password", "env:EWS_PASSWORD", "-o", str(tmp_path)]
        done = CliRunner().invoke(sharing_command, argv, standalone_mode=False, catch_exceptions=False)
        assert done.return_value == 0, done.output
    file = tmp_path / f"{ANN}.sharing.json"
    told = CliRunner().invoke(
        sharing_command, ["convert", str(file), "--json"], standalone_mode=False, catch_exceptions=False
    )
    found = {(one["who"], one["access"], one["folder"]): one for one in json.loads(told.stdout)["entries"]}
    assert found["bob@acme.example", "folder", "INBOX"]["imap"] == "lr"
    assert not found["Default", "folder", "INBOX"]["carried"]
    calendar = found["bob@acme.example", "folder", "Calendar"]
    assert calendar["dav"] == "rw" and "private" not in str(calendar["notes"]) and "meeting" in str(calendar["notes"])
    assert found["bob@acme.example", "send on behalf", ""]["carried"]
    assert all(one["mailbox"] == ANN for one in found.values()) and len(found) == 4
