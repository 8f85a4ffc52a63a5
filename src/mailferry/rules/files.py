"""Exports as files → behaviours: JSON (PowerShell, Graph), CSV, CliXML, EWS answers. Reads what it is given.

Invariant: a file is read whole or refused with its name, and the line where that can be told.
"""

from __future__ import annotations

import re
from dataclasses import replace

from mailferry.errors import UserError
from mailferry.model.rule import Behaviour
from mailferry.rules import ews, graph, powershell
from mailferry.wire import exports

_ADVICE = "for example: Get-InboxRule -Mailbox ann | ConvertTo-Json -Depth 4 > ann.json"
_WHOLE = powershell.OTHERS | {"ruleidentity"}
"""What an object has that is read as a whole, whatever its own text is."""


def behaviours(name: str, content: bytes, owner: str | None = None) -> list[Behaviour]:
    """The mailboxes of one file. `owner`: whose it is where the file does not say; default the file's name. UserError:
    none of these formats."""
    text = exports.text(name, content, _ADVICE)
    whose = owner or re.sub(r"\.[^.]*$", "", name.rpartition("/")[2])
    start = text.lstrip()[:1]
    if start == "<":
        root = exports.xml(name, text, _ADVICE)
        if ews.is_answer(root):
            return [ews.behaviour(whose, name, root)]
        return _of_rows(name, list(exports.clixml(root, _WHOLE)), whose)
    if start in ("{", "["):
        rows = exports.json_rows(name, text, _ADVICE)
        if rows and all(graph.is_rule(row) or graph.is_settings(row) for row in rows):
            return [graph.behaviour(whose, ((f"{name}:{number}", row) for number, row in enumerate(rows, start=1)))]
        return _of_rows(name, rows, whose)
    return _of_rows(name, exports.csv_rows(name, text, _ADVICE), whose)


def _of_rows(name: str, rows: list[exports.Row], owner: str) -> list[Behaviour]:
    for number, row in enumerate(rows, start=1):
        if not powershell.is_row(row):
            raise UserError("neither a rule nor an automatic reply", about=f"{name}:{number}", advice=_ADVICE)
    found = powershell.behaviours((f"{name}:{number}", row) for number, row in enumerate(rows, start=1))
    return [one if one.owner != "the mailbox" else replace(one, owner=owner) for one in found]
