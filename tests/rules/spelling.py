"""Rules as the three exports spell them, made from parts, so that tests read them back as a program would."""

from __future__ import annotations

import json
from typing import Any
from xml.sax.saxutils import escape

T, M = "http://schemas.microsoft.com/exchange/services/2006/types", "urn:m"


def powershell(properties: dict[str, Any], **more: Any) -> bytes:
    """One rule of `Get-InboxRule | ConvertTo-Json`; unset properties are there, as there."""
    unset: dict[str, Any] = {"BodyContainsWords": None, "ExceptIfFrom": [], "MarkAsRead": False, "MoveToFolder": None}
    rule = {"Name": "One", "Priority": 1, "Enabled": True, "InError": False, "RuleIdentity": 7}
    return json.dumps([{**rule, "MailboxOwnerId": "ann@acme.example", **unset, **properties, **more}]).encode()


def graph(conditions: dict[str, Any], exceptions: dict[str, Any], actions: dict[str, Any], **more: Any) -> bytes:
    """One messageRule of a collection."""
    rule = {"id": "AQ", "displayName": "One", "sequence": 1, "isEnabled": True, "hasError": False, "isReadOnly": False}
    parts = {"conditions": conditions or None, "exceptions": exceptions or None, "actions": actions}
    return json.dumps({"value": [{**rule, **parts, **more}]}).encode()


def ews(conditions: str, exceptions: str, actions: str, extra: str = "") -> bytes:
    """An answer to GetInboxRules with one rule; the parts are XML, in which bare & are mended."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?><m:GetInboxRulesResponse xmlns:m="{M}" xmlns:t="{T}"><m:InboxRules>'
        "<t:Rule><t:RuleId>x</t:RuleId><t:DisplayName>One</t:DisplayName><t:Priority>1</t:Priority>"
        f"<t:IsEnabled>true</t:IsEnabled><t:IsInError>false</t:IsInError>{extra}<t:Conditions>{conditions}"
        f"</t:Conditions><t:Exceptions>{exceptions}</t:Exceptions><t:Actions>{actions}</t:Actions></t:Rule>"
        "</m:InboxRules></m:GetInboxRulesResponse>"
    ).encode()


def element(name: str, inner: str) -> str:
    """An element of EWS; text that is not markup is escaped."""
    return f"<t:{name}>{inner if inner.startswith('<') else escape(inner)}</t:{name}>"
