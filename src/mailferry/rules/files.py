"""Exports as files → behaviours: JSON (PowerShell, Graph), CSV, CliXML, EWS answers. Reads what it is given.

Invariant: a file is read whole or refused with its name, and the line where that can be told; no entity of an XML file
is ever expanded.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from mailferry.errors import UserError
from mailferry.model.rule import Behaviour
from mailferry.rules import ews, graph, powershell

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_ADVICE = "for example: Get-InboxRule -Mailbox ann | ConvertTo-Json -Depth 4 > ann.json"
_DEEPEST = 100


def behaviours(name: str, content: bytes, owner: str | None = None) -> list[Behaviour]:
    """The mailboxes of one file. `owner`: whose it is where the file does not say; default the file's name. UserError:
    none of these formats."""
    text = _text(name, content)
    whose = owner or re.sub(r"\.[^.]*$", "", name.rpartition("/")[2])
    start = text.lstrip()[:1]
    if start == "<":
        root = _xml(name, text)
        if ews.is_answer(root):
            return [ews.behaviour(whose, name, root)]
        return _of_rows(name, list(_clixml(root)), whose)
    if start in ("{", "["):
        return _json(name, text, whose)
    return _of_rows(name, _csv(name, text), whose)


def _of_rows(name: str, rows: list[Mapping[str, Any]], owner: str) -> list[Behaviour]:
    for number, row in enumerate(rows, start=1):
        if not powershell.is_row(row):
            raise UserError("neither a rule nor an automatic reply", about=f"{name}:{number}", advice=_ADVICE)
    found = powershell.behaviours((f"{name}:{number}", row) for number, row in enumerate(rows, start=1))
    return [one if one.owner != "the mailbox" else _owned(one, owner) for one in found]


def _owned(one: Behaviour, owner: str) -> Behaviour:
    return Behaviour(owner, one.rules, one.out_of_office, one.junk)


def _text(name: str, content: bytes) -> str:
    """UTF-8, or UTF-16 with its mark, as Windows PowerShell writes it."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"neither UTF-8 nor UTF-16: {error.reason}", about=name, advice=_ADVICE) from error
    if not text.strip():
        raise UserError("it is empty", about=name, advice=_ADVICE)
    return text


def _json(name: str, text: str, owner: str) -> list[Behaviour]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON: {error}", about=name, advice=_ADVICE) from error
    if isinstance(document, dict) and isinstance(document.get("value"), list):
        document = document["value"]
    rows = document if isinstance(document, list) else [document]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError("a rule is an object", about=f"{name}:{number}", advice=_ADVICE)
    if rows and all(graph.is_rule(row) or graph.is_settings(row) for row in rows):
        return [graph.behaviour(owner, ((f"{name}:{number}", row) for number, row in enumerate(rows, start=1)))]
    return _of_rows(name, rows, owner)


def _csv(name: str, text: str) -> list[Mapping[str, Any]]:
    text = re.sub(r"^#TYPE[^\n]*\n", "", text)
    head = text.partition("\n")[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""), strict=True, delimiter=";" if head.count(";") > head.count(",") else ","
    )
    rows: list[Mapping[str, Any]] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise UserError("not as many fields as the first line has", about=f"{name}:{reader.line_num}")
            rows.append({key: _listed(value) for key, value in row.items()})
    except csv.Error as error:
        raise UserError(f"not CSV: {error}", about=f"{name}:{reader.line_num + 1}", advice=_ADVICE) from error
    if not rows:
        raise UserError("neither JSON, XML nor CSV with rules", about=name, advice=_ADVICE)
    return rows


def _listed(value: str) -> Any:
    """`{a, b}`, as formatted output shows a list; other cells as they are."""
    if value.startswith("{") and value.endswith("}"):
        return [one.strip() for one in value[1:-1].split(", ") if one.strip()]
    return value


def _xml(name: str, text: str) -> ElementTree.Element:
    """The tree. UserError for what is not well-formed, nested absurdly, or declares entities."""
    depth = 0

    def declared(*_: object) -> None:
        raise UserError("it declares a document type, which no export does", about=name)

    def begin(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise UserError(f"nested deeper than {_DEEPEST}", about=name)

    def end(*_: object) -> None:
        nonlocal depth
        depth -= 1

    encoded = re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1).lstrip().encode("utf-8", "replace")
    checker = expat.ParserCreate("utf-8")
    checker.StartDoctypeDeclHandler = declared
    checker.StartElementHandler, checker.EndElementHandler = begin, end
    try:
        checker.Parse(encoded, True)
        return ElementTree.fromstring(encoded)
    except (expat.ExpatError, ElementTree.ParseError) as error:
        raise UserError(f"not XML: {error}", about=name, advice=_ADVICE) from error


def _clixml(root: ElementTree.Element) -> Iterator[Mapping[str, Any]]:
    """The top objects of Export-Clixml's file ([MS-PSRP] §2.2.5)."""
    for element in root:
        value = _value(element)
        for one in value if isinstance(value, list) else [value]:
            yield one if isinstance(one, dict) else {}


def _value(element: ElementTree.Element) -> Any:
    """A serialised value: a list, an object as its properties, or text."""
    kind = str(element.tag).rpartition("}")[2]
    if kind == "Nil":
        return None
    if kind == "B":
        return (element.text or "").strip().lower() == "true"
    if kind != "Obj":
        return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), element.text or "")
    parts = {str(one.tag).rpartition("}")[2]: one for one in element}
    for name in ("LST", "IE", "STK", "QUE"):
        if name in parts:
            return [_value(one) for one in parts[name]]
    properties = {
        str(one.get("N")): _value(one)
        for name in ("Props", "MS")
        if name in parts
        for one in parts[name]
        if one.get("N")
    }
    shown = parts.get("ToString")
    if shown is not None and not {"ruleidentity", "autoreplystate"} & {name.lower() for name in properties}:
        text = _value(shown)
        if not properties or not isinstance(text, str) or not text.startswith(("System.", "Microsoft.")):
            return text
    return properties
