"""The package table of docs/design.md §3, enforced: who may import whom, and the first line every module owes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "mailferry"
BOTTOM = {"errors", "secret", "tasks", "config", "model"}
TABLE: dict[str, set[str]] = {
    "model": set(),
    "wire": {"model"},
    "net": {"wire"},
    "sources": {"net", "groupware"},
    "targets": {"net", "sources"},
    "plan": {"model"},
    "ledger": {"model"},
    "copy": {"plan", "sources", "targets", "ledger", "groupware"},
    "verify": {"plan", "sources", "targets", "ledger", "groupware"},
    "directory": {"net", "ledger"},
    "maillog": {"model", "ledger"},
    "stack": {"wire"},
    "coexist": {"directory", "stack"},
    "rules": {"wire", "groupware"},
    "groupware": {"wire"},
    "sharing": {"rules", "plan"},
    "waves": {"copy", "verify", "coexist", "rules", "sharing"},
    "ops": {"copy", "verify", "directory", "stack", "coexist", "waves", "rules", "sharing", "maillog"},
    "cli": {"ops"},
}
MODULES = sorted(ROOT.rglob("*.py"))


def allowed(package: str) -> set[str]:
    """What the table names for a package, and what those may import."""
    named = TABLE[package]
    return {package, *BOTTOM, *named, *(further for name in named for further in allowed(name))}


def imports(path: Path) -> set[str]:
    """Top packages of mailferry that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("mailferry.")}
    return found


each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


@each_module
def test_imports_follow_the_table(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if package in BOTTOM or package == "__init__":
        assert imports(path) <= BOTTOM
    else:
        assert imports(path) <= allowed(package)


@each_module
def test_sources_and_targets_are_apart_and_wire_opens_nothing(path: Path) -> None:
    relative = path.relative_to(ROOT)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    if relative.parts[0] == "targets":
        assert [name for name in modules if name.startswith("mailferry.sources")] in ([], ["mailferry.sources.base"])
    if relative.parts[0] == "sources":
        assert not [name for name in modules if name.startswith("mailferry.targets")]
    if relative.parts[0] in ("wire", "model", "plan"):
        assert not {"socket", "asyncio", "ssl", "subprocess"} & set(modules)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in ("time", "now")]
        assert not calls, "it looks at a clock"


@each_module
def test_every_module_says_what_it_does(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
