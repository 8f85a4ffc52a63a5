"""Transport rules → files: the use case behind `mailferry rules transport`. Needs no settings and no server.

Invariant: files are written whole, and only below the output directory; nothing is put in force.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mailferry.errors import UserError
from mailferry.ops.files import read_export, table, write
from mailferry.rules import transport
from mailferry.rules.transport import Done, Site
from mailferry.wire import exports

SCRIPT, REPORT, MAIN = "transport.sieve", "transport.csv", "main.cf"
_ADVICE = "for example: Get-TransportRule | ConvertTo-Json -Depth 4 > transport.json"
_WHOLE = frozenset(("rulesubtype", "stopruleprocessing", "senderaddresslocation"))


def convert_files(files: Sequence[Path], output: Path | None, site: Site, place: Path) -> Done:
    """Read all files, convert, and write into `output`; None: nothing is written. `place`: where Postfix's tables will
    lie. UserError names a file, or its row, that is no transport rule."""
    rows = [
        (f"{path}:{number}", row)
        for path in files
        for number, row in enumerate(exports.rows(str(path), read_export(path), _ADVICE, _WHOLE), start=1)
    ]
    for origin, row in rows:
        if not transport.is_row(row):
            raise UserError("it is no transport rule", about=origin, advice=_ADVICE)
    done = transport.convert(rows, site)
    if output is not None:
        _write(done, output, place)
    return done


def _write(done: Done, output: Path, place: Path) -> None:
    head = ("name", "origin", "rating", "where", "active", "what to know or do")
    lines = [
        (one.name, one.origin, one.rating.value, one.place, "yes" if one.active else "no", "; ".join(one.notes))
        for one in done.parts
    ]
    write(output / REPORT, table(head, lines))
    if done.script:
        write(output / SCRIPT, done.script.encode())
    if done.main_cf:
        told = "# For Postfix, from Exchange's transport rules: to be added to main.cf.\n"
        text = "".join(f"{name} = {value.format(dir=place)}\n" for name, value in done.main_cf.items())
        write(output / MAIN, (told + text).encode())
    for name, entries in done.tables.items():
        write(output / name, "".join(f"{line}\n" for line in entries).encode())
