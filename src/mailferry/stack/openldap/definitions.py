"""Our schema files: each `NAME.schema` (slapd.conf's form) is written by hand, its `NAME.ldif` (cn=config's) made here.

Converts, and finds the files; checks no definitions (slapd does). `python -m mailferry.stack.openldap.definitions`
writes the LDIF files again; a test compares. Source of both forms: slapd.conf(5), slapd-config(5).
"""

from __future__ import annotations

from pathlib import Path

from mailferry.wire import ldif

FOLDER = Path(__file__).parent / "schema"
_KEYWORDS = {
    "objectidentifier": "olcObjectIdentifier",
    "attributetype": "olcAttributeTypes",
    "objectclass": "olcObjectClasses",
}


def to_ldif(name: str, schema: str) -> bytes:
    """The entry cn=NAME,cn=schema,cn=config with the definitions of a schema file. ValueError: no sense in a line."""
    definitions: list[tuple[str, str]] = []
    for number, line in enumerate(schema.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace() and definitions:
            keyword, text = definitions.pop()
            definitions.append((keyword, f"{text} {line.strip()}"))
            continue
        keyword, _, rest = line.partition(" ")
        if keyword not in _KEYWORDS:
            raise ValueError(f"{name}.schema:{number}: {keyword} is not understood")
        definitions.append((_KEYWORDS[keyword], rest.strip()))
    values = {"objectClass": [b"olcSchemaConfig"], "cn": [name.encode()]}
    for keyword in _KEYWORDS.values():
        values[keyword] = [text.encode() for kind, text in definitions if kind == keyword]
    return ldif.emit(f"cn={name},cn=schema,cn=config", values)


def main() -> None:
    for path in sorted(FOLDER.glob("*.schema")):
        path.with_suffix(".ldif").write_bytes(to_ldif(path.stem, path.read_text()))


if __name__ == "__main__":
    main()
