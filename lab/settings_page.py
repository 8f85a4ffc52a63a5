"""Writes docs/settings.md, the reference of mailferry.toml, from its models (`make docs`; a test compares)."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mailferry.config.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
_HEAD = """# Settings: mailferry.toml

Generated from the schema by `make docs`. The file is looked for in the current directory, then as
/etc/mailferry/mailferry.toml; `--config FILE` or MAILFERRY_CONFIG names another. Paths in it count from its own
directory. An unknown key is an error. docs/directory.md has a whole example.
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([_HEAD, *_table(Settings, "")])


def _table(model: type[BaseModel], path: str) -> Iterator[str]:
    rows, below = [], []
    for name, field in model.model_fields.items():
        key = field.alias or name
        inner = field.annotation if isinstance(field.annotation, type) else _model_in(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            below.append((inner, f"{path}.{key}".lstrip(".")))
        else:
            assert field.description, f"{path}.{key} has no description"
            rows.append(f"| `{key}` | {_kind(field)} | {_default(field)} | {field.description} |")
    yield f"## `[{path}]`" if path else "## At the top"
    yield ""
    if path and model.__doc__:
        yield from (model.__doc__, "")
    if rows:
        yield from ("| key | value | default | meaning |", "|---|---|---|---|", *rows, "")
    for inner, place in below:
        yield from _table(inner, place)


def _model_in(annotation: Any) -> Any:
    return next((one for one in get_args(annotation) if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _kind(field: FieldInfo) -> str:
    return _name(field.annotation)


def _name(annotation: Any) -> str:
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        return _name(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in arguments)
    if origin in (Union, types.UnionType):
        return _name(next(one for one in arguments if one is not type(None)))
    if origin is tuple:
        return "list of texts"
    if origin is dict:
        return "table of lists"
    return {bool: "true or false", int: "number", float: "number", Path: "path"}.get(annotation, "text")


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "(needed)"
    if field.default in (None, (), {}):
        return "none"
    if isinstance(field.default, tuple):
        return ", ".join(f"`{one}`" for one in field.default)
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
