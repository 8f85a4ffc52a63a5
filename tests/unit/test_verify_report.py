"""The report: escaped, self-contained, well-formed, adding up, and the same in HTML and JSON, at any size."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mailferry.errors import Permanent, UserError
from mailferry.ledger import open_ledger
from mailferry.ledger.owner import owner_text
from mailferry.ledger.rows import FolderRow, Intent, Kind
from mailferry.ledger.store import Ledger
from mailferry.model.message import Reason
from mailferry.verify.compare import Difference, Finding, FolderCounts
from mailferry.verify.record import finding_dict
from mailferry.verify.report import ROWS, SHOWN, file_name, person, report_data, shown, write_report

HOSTILE = "<script>alert('x')</script>\u202egpj.\"&\x1b[31m"
VOID = {"meta", "link", "br", "rect", "line"}


class Checker(HTMLParser):
    """Balanced tags, nothing fetched, nothing run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe", "object", "base", "form")
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "src"
            if name == "href":
                self.links.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check(page: Path) -> Checker:
    source = page.read_text(encoding="utf-8")
    assert not re.search(r"@import|url\(|https?:", source)
    checker = Checker()
    checker.feed(source)
    checker.close()
    assert checker.open == []
    for link in checker.links:
        assert (page.parent / link).resolve().is_file(), link
    return checker


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


def fill(ledger: Ledger, user: str, *, failed: int = 1, folder: str = "INBOX", run_id: int | None = None) -> None:
    """A mailbox with one copied message and some that failed."""
    mailbox = ledger.mailbox(f"imap://{user}@old.example:993", f"imap://{user}@new.example:993")
    lease = ledger.acquire(mailbox.id, owner_text(), 60)
    with ledger.transaction():
        pass_id = ledger.begin_pass(lease, "copy", run_id)
        row = FolderRow((folder,), folder, target_path=(folder,), target_name=folder, listed=1 + failed, adopted=True)
        folder_id = ledger.put_folder(lease, row)
        ledger.intend(lease, folder_id, pass_id, [Intent(1, 0, (), 1_700_000_000, 5_000, b"d" * 20)], 1)
        ledger.confirm(lease, folder_id, [(1, 1)])
        for uid in range(2, 2 + failed):
            ledger.fail(lease, folder_id, uid, Reason.TOO_LARGE, f"552 {folder} too large")
        counts = {"listed": 1 + failed, "copied": 1, "there": 0, "excluded": 0, "failed": failed}
        ledger.end_pass(lease, pass_id, "done", counts, 5_000)
    ledger.release(lease)


def test_a_hostile_name_is_only_text(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, HOSTILE, folder=HOSTILE)
    index = write_report(ledger, tmp_path / "report")
    pages = [index, *(tmp_path / "report" / "mailbox").iterdir()]
    assert len(pages) == 2
    for page in pages:
        text = "".join(check(page).text)
        assert "<script>alert('x')</script>\\u202egpj.\"&\\u001b[31m" in text
        assert "\u202e" not in text
        assert "\x1b" not in text


def test_json_says_the_same_and_adds_up(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, "anna")
    fill(ledger, "boris", failed=0)
    write_report(ledger, tmp_path)
    written = json.loads((tmp_path / "report.json").read_text())
    told = report_data(ledger)
    told["generated"] = written["generated"]
    assert written == json.loads(json.dumps(told))
    assert written["summary"]["numbers"] == {
        "listed": 3, "copied": 2, "there": 0, "excluded": 0, "failed": 1, "since": 0, "missing": 0,
    }  # fmt: skip
    assert written["summary"]["adds_up"] is True
    assert written["summary"]["scores"]["not verified"] == 2
    assert written["mailboxes"][0]["failures"] == [
        {
            "kind": "failed", "reason": "too-large", "text": "552 INBOX too large", "folder": ["INBOX"], "uid": 2,
            "target_uid": None, "date": None, "size": None,
        }
    ]  # fmt: skip


def test_numbers_that_do_not_add_up_are_shown(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, "anna")
    mailbox = ledger.mailboxes()[0]
    lease = ledger.acquire(mailbox.id, owner_text(), 60)
    pass_id = ledger.begin_pass(lease, "copy")
    ledger.end_pass(lease, pass_id, "done", {"listed": 9, "copied": 1, "failed": 1}, 0)
    index = write_report(ledger, tmp_path)
    assert "The numbers do not add up" in "".join(check(index).text)
    assert report_data(ledger)["summary"]["adds_up"] is False


def test_many_failures_are_cut_in_the_page_and_complete_in_json(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, "anna", failed=5_000)
    write_report(ledger, tmp_path)
    (page,) = (tmp_path / "mailbox").iterdir()
    source = page.read_text()
    assert f"The first {SHOWN} of 5,000" in source
    assert source.count("552 INBOX too large") == SHOWN
    assert len(json.loads((tmp_path / "report.json").read_text())["mailboxes"][0]["failures"]) == 5_000


def test_many_mailboxes_go_into_lists(ledger: Ledger, tmp_path: Path) -> None:
    for number in range(ROWS + 1):
        fill(ledger, f"user{number:04}", failed=int(number == 7))
    index = write_report(ledger, tmp_path)
    checked = check(index)
    assert {"list-0001.html", "list-0002.html"} <= set(checked.links)
    linked = [link for name in ("list-0001.html", "list-0002.html") for link in check(tmp_path / name).links]
    assert len([link for link in linked if link.startswith("mailbox/")]) == ROWS + 1


def test_the_report_of_a_run_has_only_its_mailboxes(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, "anna")
    run = ledger.begin_run("copy boris")
    fill(ledger, "boris", run_id=run)
    data = report_data(ledger, run)
    assert [one["source"] for one in data["mailboxes"]] == ["imap://boris@old.example:993"]
    assert data["run"]["command"] == "copy boris"
    check(write_report(ledger, tmp_path, run))
    with pytest.raises(UserError, match="no run 99"):
        write_report(ledger, tmp_path, 99)


def test_differences_of_the_copy_are_shown(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, "anna", failed=0)
    mailbox = ledger.mailboxes()[0]
    lease = ledger.acquire(mailbox.id, owner_text(), 60)
    ledger.fail(lease, 1, 1, Reason.KEYWORDS, "the target cannot hold: work", Kind.DIFFERENCE)
    ledger.fail(lease, 1, None, Reason.ACL, "no rights here (of anna)", Kind.DIFFERENCE)
    ledger.fail(lease, None, None, Reason.SAFETY, "the whole mailbox smells")
    write_report(ledger, tmp_path)
    (page,) = (tmp_path / "mailbox").iterdir()
    text = "".join(check(page).text)
    assert "the target cannot hold: work" in text
    assert "2023-11-14 22:13" in text
    assert "no rights here (of anna)" in text
    assert "the whole mailbox smells" in text


def test_an_empty_ledger_has_a_report(ledger: Ledger, tmp_path: Path) -> None:
    assert "nothing in the ledger" in "".join(check(write_report(ledger, tmp_path)).text)


def test_a_place_that_cannot_be_written_is_named(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent, match="cannot be written"):
        write_report(ledger, tmp_path / "file" / "report")


@pytest.mark.parametrize(
    "key", ["imap://../../etc/passwd@h:1", "maildir:/var/mail/\0x", "memory:" + "ü" * 500, "imap://@"]
)
def test_file_names_are_safe(key: str) -> None:
    assert re.fullmatch(r"000007[a-z0-9-]*\.html", file_name(7, key))
    assert len(file_name(7, key)) < 60


def test_keys_as_people_read_them() -> None:
    assert person("imap://anna@acme.example@old.example:993") == ("anna@acme.example", "old.example:993")
    assert person("maildir:/home/anna/Maildir") == ("/home/anna/Maildir", "maildir")
    assert shown("Übung 日本") == "Übung 日本"
    assert shown("a\ud800b") == "a\\ud800b"


def test_jinja2_is_imported_only_to_write() -> None:
    code = "import sys, mailferry.verify.report; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def finding(kind: Difference, **more: object) -> dict[str, object]:
    return finding_dict(Finding(kind, f"text of {kind.value}", **more))  # type: ignore[arg-type]


def test_every_difference_can_be_shown(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, "anna")
    findings = [finding(kind) for kind in Difference] + [
        finding(kind, source_uid=1, date=0, size=1) for kind in Difference
    ]
    counts = FolderCounts(listed=2, copied=1, failed=1, missing=1).as_dict()
    folder = {"source": ["New"], "findings": [finding(Difference.FOLDER_UNKNOWN)]}
    tally = {kind.value: 3 for kind in Difference}
    here = {"counts": counts, "tally": tally, "findings": findings}
    whole = {**here, "content": "full", "share": 1.0, "findings": [], "unknown_folders": [folder]}
    ledger.put_verification(1, "Poor", here, folder_id=1)
    ledger.put_verification(1, "Poor", whole)
    index = write_report(ledger, tmp_path)
    (page,) = (tmp_path / "mailbox").iterdir()
    text = "".join(check(page).text)
    for kind in set(Difference) - {Difference.FAILED, Difference.FOLDER_FAILED, Difference.NAMED}:
        assert f"text of {kind.value}" in text, kind
    assert "1 of them is not in the new mailbox now" in text
    assert "Some mailboxes must not be switched over yet" in "".join(check(index).text)
    assert report_data(ledger)["summary"]["score"] == "Poor"
    fill(ledger, "boris")  # not verified: the worst that was found stays
    assert report_data(ledger)["summary"]["score"] == "Poor"


def test_a_verification_before_the_last_pass_is_no_score(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, "anna")
    whole = {"counts": FolderCounts(listed=2, copied=2).as_dict(), "tally": {}, "findings": [], "unknown_folders": []}
    ledger.put_verification(1, "Perfect", {**whole, "content": "none", "share": 0.0})
    assert report_data(ledger)["summary"]["score"] == "Perfect"
    lease = ledger.acquire(1, owner_text(), 60)
    pass_id = ledger.begin_pass(lease, "copy")
    ledger.end_pass(lease, pass_id, "done", {"listed": 2, "copied": 0, "there": 1, "failed": 1}, 0)
    data = report_data(ledger)
    assert (data["mailboxes"][0]["score"], data["summary"]["score"]) == (None, None)
    assert data["mailboxes"][0]["numbers"]["copied"] == 1  # by an earlier pass of ours, not there before
    index = write_report(ledger, tmp_path)
    assert "1 of 1 mailboxes has not been verified" in " ".join("".join(check(index).text).split())
