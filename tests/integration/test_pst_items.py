"""Events, contacts, tasks and notes of real OST files: counted against libpff, into files and into a real Radicale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pypff
import pytest
import vobject  # type: ignore[import-untyped]

from lab.install import PST_SAMPLES
from lab.process import PASSWORD
from lab.radicale import Radicale
from mailferry.groupware import from_ical
from mailferry.model.groupware import Event, Frequency, Recurrence

FERRY = str(Path(sys.executable).with_name("mailferry"))
PEOPLE = ("mtnman1965@outlook.com", "pstextractortest@outlook.com", "pstextractortestpdf@outlook.com")
KINDS = ("ipf.appointment", "ipf.contact", "ipf.task", "ipf.stickynote")


def ferry(place: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [FERRY, "copy", *arguments, "--ledger", str(place / "ledger.db"), "--json"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "MAILFERRY_TARGET_PASSWORD": PASSWORD},
    )
    assert done.returncode in (0, 1), done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def libpff_counts(name: str) -> Counter[str]:
    """Folder → items, of what libpff shows as folders of items in the person's part of the file."""
    file = pypff.file()
    file.open(str(PST_SAMPLES / f"{name}.ost"))
    found: Counter[str] = Counter()

    def walk(folder: Any) -> None:
        for one in folder.sub_folders:
            if one.number_of_sub_messages:
                found[one.name] += one.number_of_sub_messages
            walk(one)

    walk(file.get_root_folder())
    file.close()
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All OST files exported to directories, one for each person, by one run."""
    place = tmp_path_factory.mktemp("items")
    (place / "people.csv").write_text("source_user\n" + "".join(f"{one}\n" for one in PEOPLE))
    shown = export(place)
    assert shown["counts"]["failed"] == 0
    assert shown["counts"]["copied"] == shown["counts"]["listed"] == 177 + 169 + 160
    return place


def export(place: Path) -> dict[str, Any]:
    return ferry(
        place, f"pst:{PST_SAMPLES}/{{user}}.ost", f"ics:{place}/{{user}}", "--accounts", str(place / "people.csv")
    )


def files(place: Path, person: str) -> dict[str, int]:
    """Shown name of each collection → items in it."""
    found = {}
    for one in (place / person).iterdir():
        count = sum(file.suffix in (".ics", ".vcf") for file in one.iterdir())
        if count:
            found[(one / "displayname").read_text().rpartition(" / ")[2]] = count
    return found


@pytest.mark.parametrize("person", PEOPLE)
def test_counts_are_those_of_libpff(exported: Path, person: str) -> None:
    counts = libpff_counts(person)
    found = files(exported, person)
    assert found
    assert found == {name: counts[name] for name in found}
    for name in ("Calendar", "Contacts", "Tasks", "Notes", "United States holidays"):
        assert found.get(name, 0) == counts[name], name


def test_every_file_is_what_calendar_servers_read(exported: Path) -> None:
    for path in [*exported.rglob("*.ics"), *exported.rglob("*.vcf")]:
        vobject.readOne(path.read_text(encoding="utf-8"))


def test_a_series_is_the_one_that_was_made(exported: Path) -> None:
    """Its subject says in words how it recurs."""
    found = [
        item
        for path in (exported / PEOPLE[1] / "calendar").glob("*.ics")
        for item in from_ical.items(path.read_bytes())
        if isinstance(item, Event) and item.subject == "repeats every monday for 10 weeks"
    ]
    assert [one.recurrence for one in found] == [Recurrence(Frequency.WEEKLY, weekdays=(0,), count=10)]


def test_a_second_run_copies_nothing_and_the_files_are_a_source(exported: Path) -> None:
    shown = export(exported)
    assert shown["counts"]["copied"] == 0
    person = exported / PEOPLE[0]
    shown = ferry(exported, f"ics:{person}", f"ics:{exported / 'again'}")
    assert shown["counts"]["copied"] == 177
    first = {path.name: path.read_bytes() for path in person.rglob("*") if path.suffix in (".ics", ".vcf")}
    again = {
        path.name: path.read_bytes() for path in (exported / "again").rglob("*") if path.suffix in (".ics", ".vcf")
    }
    assert again == first


def test_into_a_real_server(exported: Path, tmp_path: Path) -> None:
    """Every item of every file is in its owner's collections, once, after two runs."""
    (tmp_path / "people.csv").write_text(
        "source_user,target_user\n" + "".join(f"{one},{one.partition('@')[0]}\n" for one in PEOPLE)
    )
    with Radicale() as server:
        for person in PEOPLE:
            server.add(person.partition("@")[0])
        for copied in (177 + 169 + 160, 0):
            to = f"dav://{{user}}@127.0.0.1:{server.port}?tls=none"
            shown = ferry(tmp_path, f"pst:{PST_SAMPLES}/{{user}}.ost", to, "--accounts", str(tmp_path / "people.csv"))
            assert (shown["counts"]["copied"], shown["counts"]["failed"]) == (copied, 0)
        for person in PEOPLE:
            held = len(server.items(person.partition("@")[0]))
            assert held == sum(files(exported, person).values()), person
