"""Rows of properties out of what PowerShell exports: JSON, CSV, CliXML. Knows no cmdlet.

Invariant: a file is read whole or refused with its name, and the line where that can be told; no entity of an XML file
is ever expanded.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Set
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from mailferry.errors import UserError

Row = Mapping[str, Any]

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DEEPEST = 100


def rows(name: str, content: bytes, advice: str, whole: Set[str]) -> list[Row]:
    """The rows of a file. `advice`: how to make a right one; `whole`: properties (small letters) of which an object of
    CliXML has one if it is to be a row and not the text that it is shown as. UserError: none of these formats."""
    given = text(name, content, advice)
    start = given.lstrip()[:1]
    if start == "<":
        return list(clixml(xml(name, given, advice), whole))
    return json_rows(name, given, advice) if start in ("{", "[") else csv_rows(name, given, advice)


def text(name: str, content: bytes, advice: str) -> str:
    """UTF-8, or UTF-16 with its mark, as Windows PowerShell writes it."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        unicode = "export it anew with -Encoding UTF8, or save it as UTF-8"
        raise UserError(f"neither UTF-8 nor UTF-16: {error.reason}", about=name, advice=unicode) from error
    if not text.strip():
        raise UserError("it is empty", about=name, advice=advice)
    return text


def json_rows(name: str, text: str, advice: str) -> list[Row]:
    """Objects: one, a list, or a list as the `value` of one (Graph)."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON: {error}", about=name, advice=advice) from error
    if isinstance(document, dict) and isinstance(document.get("value"), list):
        document = document["value"]
    found = document if isinstance(document, list) else [document]
    for number, row in enumerate(found, start=1):
        if not isinstance(row, dict):
            raise UserError("a row is an object", about=f"{name}:{number}", advice=advice)
    return found


def csv_rows(name: str, text: str, advice: str) -> list[Row]:
    """As Export-Csv writes them, with `,` or `;`."""
    text = re.sub(r"^#TYPE[^\n]*\n", "", text)
    head = text.partition("\n")[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""), strict=True, delimiter=";" if head.count(";") > head.count(",") else ","
    )
    found: list[Row] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise UserError("not as many fields as the first line has", about=f"{name}:{reader.line_num}")
            found.append({key: _listed(value) for key, value in row.items()})
    except csv.Error as error:
        raise UserError(f"not CSV: {error}", about=f"{name}:{reader.line_num + 1}", advice=advice) from error
    if not found:
        raise UserError("neither JSON, XML nor CSV with rows", about=name, advice=advice)
    return found


def _listed(value: str) -> Any:
    """`{a, b}`, as formatted output shows a list; other cells as they are."""
    if value.startswith("{") and value.endswith("}"):
        return [one.strip() for one in value[1:-1].split(", ") if one.strip()]
    return value


def xml(name: str, text: str, advice: str) -> ElementTree.Element:
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
        raise UserError(f"not XML: {error}", about=name, advice=advice) from error


def clixml(root: ElementTree.Element, whole: Set[str]) -> Iterator[Row]:
    """The top objects of Export-Clixml's file ([MS-PSRP] §2.2.5)."""
    for element in root:
        value = _value(element, whole)
        for one in value if isinstance(value, list) else [value]:
            yield one if isinstance(one, dict) else {}


def _value(element: ElementTree.Element, whole: Set[str]) -> Any:
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
            return [_value(one, whole) for one in parts[name]]
    properties = {
        str(one.get("N")): _value(one, whole)
        for name in ("Props", "MS")
        if name in parts
        for one in parts[name]
        if one.get("N")
    }
    shown = parts.get("ToString")
    if shown is not None and whole.isdisjoint(name.lower() for name in properties):
        text = _value(shown, whole)
        if not properties or not isinstance(text, str) or not text.startswith(("System.", "Microsoft.")):
            return text
    return properties
