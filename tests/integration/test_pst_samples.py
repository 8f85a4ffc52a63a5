"""Real PST and OST files: as libpff and readpst see them, and copied into a Maildir."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message as Parsed
from pathlib import Path
from typing import Any

import pytest

from lab.install import PST_SAMPLES
from lab.pst_file import STRING, Mail, PstWriter
from lab.pst_samples import FILES
from mailferry.model.account import PstAccount
from mailferry.model.message import Message
from mailferry.net.pst import PstMailbox
from tests.pst_reading import ours, theirs

FERRY = str(Path(sys.executable).with_name("mailferry"))
each_file = pytest.mark.parametrize("name", sorted(FILES))
CARRIED = {"enron.pst": 71, "mtnman1965@outlook.com.ost": 8, "pstextractortest@outlook.com.ost": 13}
CARRIED["pstextractortestpdf@outlook.com.ost"] = 2


@each_file
def test_every_item_is_as_libpff_sees_it(name: str) -> None:
    """Counts of every folder; subject, transport headers, text and attachments of all that libpff gives."""
    found, expected = ours(PST_SAMPLES / name), theirs(PST_SAMPLES / name)
    assert found.keys() == expected.keys()
    assert sum(map(len, found.values())) > 70
    for path, items in expected.items():
        assert len(found[path]) == len(items), path
        for mine, its in zip(found[path], items, strict=True):
            assert its is None or mine == its, path


@each_file
def test_counts_are_those_of_readpst(name: str, tmp_path: Path) -> None:
    """Which counts subfolders as items, and leaves out deleted ones and what it does not understand."""
    shown = subprocess.run(
        ["readpst", "-j0", "-o", tmp_path, PST_SAMPLES / name], check=True, capture_output=True, text=True
    ).stdout
    counts = {label: int(done) for label, done in re.findall(r'"(.+?)" - (\d+) items done', shown)}
    found = ours(PST_SAMPLES / name)
    compared = 0
    for path, items in found.items():
        if path[-1] in counts and path[0] in ("Inbox", "Sent Items", "lokay-m") and items:
            below = sum(1 for other in found if other[:-1] == path)
            assert counts[path[-1]] == len(items) + below, path
            compared += len(items)
    assert compared


@pytest.fixture(scope="module", params=sorted(FILES))
def copied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A sample's name, and a directory with `Maildir` and `ledger.db` after one copy of it."""
    place = tmp_path_factory.mktemp("pst")
    assert copy(request.param, place)[0] == 0
    yield request.param, place


def copy(name: str, place: Path) -> tuple[int, dict[str, Any]]:
    """Exit code, and what --json shows."""
    return ferry(f"pst:{PST_SAMPLES / name}", place)


def ferry(source: str, place: Path) -> tuple[int, dict[str, Any]]:
    command = [FERRY, "copy", source, f"maildir:{place / 'Maildir'}", "--ledger", str(place / "ledger.db"), "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, json.loads(done.stdout)


def test_each_item_is_accounted_for_and_a_second_run_copies_nothing(copied: tuple[str, Path]) -> None:
    name, place = copied
    before = {path: path.read_bytes() for path in messages(place)}
    assert len(before) == CARRIED[name]
    code, shown = copy(name, place)
    assert code == 0
    counts = shown["mailboxes"][0]["counts"]
    assert counts["copied"] == counts["failed"] == 0
    assert counts["there"] == CARRIED[name]
    assert counts["listed"] == CARRIED[name] + counts["excluded"]
    assert counts["listed"] == sum(map(len, ours(PST_SAMPLES / name).values()))
    assert {path: path.read_bytes() for path in messages(place)} == before


def messages(place: Path) -> list[Path]:
    return [path for path in (place / "Maildir").rglob("*") if path.is_file() and path.parent.name in ("cur", "new")]


def test_what_lies_in_the_maildir_has_every_header_and_attachment(copied: tuple[str, Path]) -> None:
    """Read by Python's own parser; compared with what libpff gave."""
    name, place = copied
    found: dict[str, list[Parsed]] = {}
    for path in messages(place):
        parsed = message_from_bytes(path.read_bytes())
        assert not [part.defects for part in parsed.walk() if part.defects], path
        assert parsed["Message-ID"]
        assert len(parsed.get_all("Subject", [])) == 1
        found.setdefault(" ".join(str(parsed["Subject"]).split()), []).append(parsed)
    compared = 0
    for items in theirs(PST_SAMPLES / name).values():
        for item in items:
            key = " ".join(item.subject.split()) if item else ""
            if item is None or key not in found or not item.attachments:
                continue
            wanted = sorted(digest for size, digest in item.attachments if size)
            assert any(wanted == sorted(digests(parsed)) for parsed in found[key]), key
            compared += 1
    assert compared or name.startswith("mtnman")


def digests(parsed: Parsed) -> list[str]:
    """Of the parts that are attachments."""
    parts = [part for part in parsed.walk() if part.get_content_disposition() is not None]
    data = [part.get_payload(decode=True) for part in parts]
    return [hashlib.sha256(one).hexdigest() for one in data if isinstance(one, bytes) and one]


def test_the_same_file_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    name = "pstextractortest@outlook.com.ost"
    moved = tmp_path / "moved.ost"
    moved.write_bytes((PST_SAMPLES / name).read_bytes())
    assert bodies(moved) == bodies(PST_SAMPLES / name)


def bodies(path: Path) -> dict[tuple[str, int, int], tuple[bytes, int]]:
    box = PstMailbox(PstAccount(str(path)))
    found = {}
    for folder in box.folders():
        opened = box.open(folder.name)
        for one in box.listing(opened).messages:
            item = box.message(one.uid)
            assert isinstance(item, Message)
            found[folder.name, opened.status.uidvalidity, one.uid] = b"".join(item.body.chunks()), item.flags
    box.close()
    return found


def test_another_file_of_that_name_is_a_safety_stop(tmp_path: Path) -> None:
    """Law 4: the ledger refuses a source that changed identity."""
    file = tmp_path / "person.ost"
    file.write_bytes((PST_SAMPLES / "pstextractortestpdf@outlook.com.ost").read_bytes())
    assert ferry(f"pst:{file}", tmp_path)[0] == 0
    file.write_bytes((PST_SAMPLES / "mtnman1965@outlook.com.ost").read_bytes())
    assert ferry(f"pst:{file}", tmp_path)[0] == 65
    assert len(messages(tmp_path)) == 2


def test_a_file_that_was_cut_off_is_copied_as_far_as_it_goes_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "cut.pst"
    whole = (PST_SAMPLES / "enron.pst").read_bytes()
    file.write_bytes(whole[: len(whole) * 9 // 10])
    code, shown = ferry(f"pst:{file}", tmp_path)
    counts = shown["mailboxes"][0]["counts"]
    assert code == 1
    assert counts["listed"] == counts["copied"] + counts["failed"]
    assert counts["copied"] == len(messages(tmp_path)) > 50
    assert 0 < counts["failed"] < 5
    assert counts["different"] == 7
    ledger = ["--ledger", str(tmp_path / "ledger.db"), "--json"]
    report = json.loads(subprocess.run([FERRY, "report", *ledger], check=True, capture_output=True).stdout)
    texts = [one["text"] for one in report["mailboxes"][0]["failures"] if one["reason"] == "damage"]
    assert len(texts) == 7
    assert all(text.startswith("the file is damaged; ") for text in texts)


def test_a_folder_of_files_with_their_owners(tmp_path: Path) -> None:
    """Each file is compared with the owner that its line names: a wrong one stops that file, and no other."""
    for name in ("mtnman1965", "pstextractortest"):
        (tmp_path / f"{name}.ost").symlink_to(PST_SAMPLES / f"{name}@outlook.com.ost")
    people = tmp_path / "people.csv"
    people.write_text(
        "source_user,target_user,owner\n"
        "mtnman1965,one,mtnman1965@outlook.com old@acme.example\n"
        "pstextractortest,two,somebody.else@acme.example\n"
    )
    command = [FERRY, "copy", f"pst:{tmp_path}/{{user}}.ost", f"maildir:{tmp_path}/{{user}}", "--accounts", str(people)]
    command += ["--ledger", str(tmp_path / "ledger.db")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "mailbox of somebody else than somebody.else@acme.example" in done.stderr
    assert "by pstextractortest@outlook.com" in done.stderr
    assert (tmp_path / "one").exists()
    assert not (tmp_path / "two").exists()
    command += ["--accept", "identity"]
    assert subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
    assert (tmp_path / "two").exists()


def test_several_files_of_one_person_go_into_one_mailbox(tmp_path: Path) -> None:
    """Each below a folder of its own; a file of somebody else stops, the others come; a second run copies nothing."""
    archives = tmp_path / "archives"
    archives.mkdir()
    for name, sender in (("anna-2019", "anna"), ("anna-2020", "anna"), ("stray", "ben")):
        writer = PstWriter(archives / f"{name}.pst", key=name.encode().ljust(16, b"k"))
        inbox, writer.sent = writer.folder("Inbox", inbox=True), writer.folder("Sent Items")
        header = f"From: {sender}@acme.example\r\n\r\n"
        for folder in (inbox, *[writer.sent] * 12):
            writer.add(folder, Mail({0x001A: (STRING, "IPM.Note"), 0x0037: (STRING, name), 0x007D: (STRING, header)}))
        writer.close()
    people = tmp_path / "map.csv"
    people.write_text(
        "source_user,target_user,owner\nanna-2019,anna,anna@acme.example\nanna-2020.pst,anna,anna@acme.example\n"
        "stray,anna,anna@acme.example\n"
    )

    def run() -> dict[str, Any]:
        command = [FERRY, "copy", f"pst:{archives}/", f"maildir:{tmp_path}/{{user}}", "--json"]
        command += ["--accounts", str(people), "--ledger", str(tmp_path / "l.db")]
        done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    shown = run()
    assert shown["counts"]["copied"] == 26
    assert [one["error"]["type"] for one in shown["mailboxes"] if one["error"]] == ["SafetyStop"]
    held = Counter(path.parent.parent.name for path in (tmp_path / "anna").rglob("cur/*"))
    assert {name.replace(" ", "").replace("&", ""): count for name, count in held.items()} == {
        ".anna-2019.Inbox": 1,
        ".anna-2019.SentItems": 12,
        ".anna-2020.Inbox": 1,
        ".anna-2020.SentItems": 12,
    }
    assert run()["counts"]["copied"] == 0


def test_x500_addresses_are_looked_up_in_a_file_of_people(tmp_path: Path) -> None:
    writer = PstWriter(tmp_path / "f.pst")
    inbox = writer.folder("Inbox", inbox=True)
    sender = {0x0C1A: (STRING, "Alice"), 0x0C1E: (STRING, "EX"), 0x0C1F: (STRING, "/O=ACME/OU=X/CN=ALICE")}
    writer.add(inbox, Mail({0x001A: (STRING, "IPM.Note"), **sender}))
    writer.close()
    people = tmp_path / "people.ldif"
    people.write_text(
        "dn: cn=Alice,dc=acme,dc=example\nobjectClass: user\ncn: Alice\nmail: alice@acme.example\n"
        "sAMAccountName: alice\nlegacyExchangeDN: /o=Acme/ou=X/cn=Alice\n"
    )
    assert ferry(f"pst:{tmp_path / 'f.pst'}?people={people}", tmp_path)[0] == 0
    (path,) = messages(tmp_path)
    assert message_from_bytes(path.read_bytes())["From"] == "Alice <alice@acme.example>"
