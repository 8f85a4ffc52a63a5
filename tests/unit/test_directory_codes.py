"""Every finding has a row in docs/directory-cleaning.md, and every finding in the code has a code of the table."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from mailferry.directory.codes import CODES
from mailferry.directory.decisions import Action

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "directory-cleaning.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (error|warning|note) \|", PAGE, re.MULTILINE))


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained_with_its_severity(code: str) -> None:
    assert CODES[code][0].value == ROWS[code]


def test_the_page_explains_nothing_else() -> None:
    assert ROWS.keys() == CODES.keys()


@pytest.mark.parametrize("action", Action)
def test_every_action_is_explained(action: Action) -> None:
    assert f"\n| `{action.value}` | " in PAGE


def test_no_finding_has_a_code_of_its_own() -> None:
    """Findings about people on their way into the target; those of the way to Exchange are no matter of decisions."""
    used = set()
    for path in sorted((ROOT / "src" / "mailferry" / "directory").rglob("*.py")):
        if path.name.startswith("exchange_"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else name
            if isinstance(node, ast.Call) and name in ("finding", "Finding", "rule", "note", "find", "_suggest"):
                used |= {str(one.value) for one in node.args[:1] if isinstance(one, ast.Constant)}
    assert len(used) > 40
    assert used <= CODES.keys()
