"""`python -m bench`: run the cases, write bench/results.json and docs/benchmarks.md.

With `--quick` everything is a tenth of its size, one round, and nothing is written but to the terminal.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import cases, directory, ews, ledger, measure, moves, pst, results, routing, workers
from bench.contenders import environment, mailferry
from bench.results import Row
from lab.install import install
from lab.process import binary, workspace

HERE = Path(__file__).resolve().parent
RESULTS, MACHINE, NOTES = HERE / "results.json", HERE / "machine.json", HERE / "notes.md"
PAGE = HERE.parent / "docs" / "benchmarks.md"
_WAVES = {
    "routing": routing.run,
    "parked": moves.parked,
    "states": moves.states,
    "workers": workers.run,
    "ledger": ledger.run,
    "ews": ews.decode,
    "pst": pst.reading,
}
"""What a cutover depends on, and what it costs to read from Exchange."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and run; 0 when done (goals missed are results, not errors), 1 when something broke."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, one round, writes no file")
    parser.add_argument(
        "--only", action="append", choices=[*cases.CASES, "directory", *_WAVES], default=[], help="only this case"
    )
    parser.add_argument("--rounds", type=int, help="rounds per case (default 3, or 1 with --quick)")
    parser.add_argument("--page", action="store_true", help="only write the page anew from results.json")
    options = parser.parse_args(argv)
    if options.page:
        _write_page()
        return 0
    install(bench=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and scratch files go
    rounds = options.rounds or (1 if options.quick else 3)
    run = time.strftime("%Y-%m-%d %H:%M")
    samples: cases.Samples = {}
    scratch = workspace("bench")
    bytecode = scratch / "bytecode"
    try:
        for number, case in enumerate(cases.chosen(options.only, options.quick)):
            place = scratch / f"case-{number}"
            place.mkdir(mode=0o755)
            samples |= cases.run(case, rounds, place, bytecode, os.cpu_count() or 1, _say)
        further: list[Row] = []
        if not options.only or "directory" in options.only:
            place = scratch / "directory"
            place.mkdir(mode=0o755)
            size = directory.QUICK_SIZE if options.quick else directory.SIZE
            further = directory.run(rounds, size, place, bytecode, run, _say)
        for name, case_of_waves in _WAVES.items():
            if not options.only or name in options.only:
                place = scratch / name
                place.mkdir(mode=0o755)
                further += case_of_waves(rounds, place, run, _say, quick=options.quick)
        startup = _startup(3 if options.quick else 15, bytecode)
    except measure.BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch)
    found = [*results.rows(samples, run), *further]
    if options.quick:
        print(results.page(found, _machine(), startup, ""))
        return 0
    old = [Row(**entry) for entry in json.loads(RESULTS.read_text())] if options.only and RESULTS.exists() else []
    _write(RESULTS, results.as_json(results.merged(old, found)))
    _write(MACHINE, {"machine": _machine(), "startup": startup})
    _write_page()
    print(f"bench: wrote {RESULTS} and {PAGE}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _write_page() -> None:
    found = [Row(**entry) for entry in json.loads(RESULTS.read_text())]
    about = json.loads(MACHINE.read_text())
    notes = NOTES.read_text() if NOTES.exists() else ""
    PAGE.write_text(results.page(found, about["machine"], about["startup"], notes))


def _machine() -> dict[str, str]:
    """What the figures depend on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cores": f"{os.cpu_count()}{f' ({model[1]})' if model else ''}",
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        "Python": platform.python_version(),
        "Dovecot": _first_line([binary("dovecot", "/usr/sbin/dovecot"), "--version"]),
        "OpenLDAP": _first_line(["dpkg-query", "-W", "-f", "${Version}", "slapd"]),
        "Samba": _first_line([binary("samba", "/usr/sbin/samba"), "--version"]),
        "mbsync": _first_line([binary("mbsync"), "--version"]),
    }


def _first_line(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def _startup(times: int, bytecode: Path) -> dict[str, float]:
    imports = "import mailferry.cli.copying, mailferry.ops.copying, mailferry.ledger.store, mailferry.targets.imap, "
    imports += "mailferry.sources.imap"
    return measure.startup(
        {
            "the Python interpreter, doing nothing": [sys.executable, "-c", "pass"],
            "`mailferry --version`": [mailferry(), "--version"],
            "importing what a copy imports": [sys.executable, "-c", imports],
            "`mbsync --version`": [binary("mbsync"), "--version"],
        },
        times,
        environment(bytecode),
    )


if __name__ == "__main__":
    raise SystemExit(main())
