"""Well-known folders by name and by announcement."""

from __future__ import annotations

from pathlib import Path as File
from unicodedata import normalize

import pytest

from mailferry.model.folder import Folder, FolderStatus, SpecialUse
from mailferry.plan.names import OTHERS, OUTLOOK
from mailferry.plan.wellknown import folded, special_use_by_name, special_uses

PAGE = File(__file__).parents[2] / "docs" / "folders.md"
ALWAYS = {
    *(SpecialUse.SENT, SpecialUse.DRAFTS, SpecialUse.TRASH, SpecialUse.JUNK, SpecialUse.OUTBOX, SpecialUse.CALENDAR),
    *(SpecialUse.CONTACTS, SpecialUse.TASKS, SpecialUse.NOTES, SpecialUse.JOURNAL, SpecialUse.SYNC_ISSUES),
    *(SpecialUse.CONFLICTS, SpecialUse.LOCAL_FAILURES, SpecialUse.SERVER_FAILURES),
}


def folder(label: str, use: SpecialUse | None = None, messages: int = 0) -> Folder:
    return Folder(tuple(label.split("/")), label, use, status=FolderStatus(1, messages + 1, messages))


def found(*folders: Folder | str) -> dict[str, SpecialUse]:
    uses = special_uses([folder(one) if isinstance(one, str) else one for one in folders])
    return {"/".join(path): use for path, use in uses.by_path.items()}


def test_the_brief_list_of_languages_is_covered() -> None:
    wanted = "en de fr es it pt-PT pt-BR nl sv da nb fi pl cs sk hu ro bg ru uk el tr he ar ja zh-Hans zh-Hant ko"
    assert {*wanted.split(), "et", "lv", "lt", "sl", "hr"} <= set(OUTLOOK)
    for language, names in OUTLOOK.items():
        assert set(names) >= ALWAYS, language


def test_no_name_stands_for_two_uses() -> None:
    uses: dict[str, set[SpecialUse]] = {}
    for names in (*OUTLOOK.values(), OTHERS):
        for use, alternatives in names.items():
            for name in alternatives:
                assert name == name.strip() == normalize("NFC", name) != "", name
                uses.setdefault(folded(name), set()).add(use)
    assert [name for name, several in uses.items() if len(several) > 1] == []


@pytest.mark.parametrize("language", OUTLOOK)
def test_an_exchange_mailbox_in_every_language(language: str) -> None:
    names = {use: alternatives[0] for use, alternatives in OUTLOOK[language].items()}
    parts = (SpecialUse.CONFLICTS, SpecialUse.LOCAL_FAILURES, SpecialUse.SERVER_FAILURES)
    labels = {use: f"{names[SpecialUse.SYNC_ISSUES]}/{name}" if use in parts else name for use, name in names.items()}
    expected = {label: use for use, label in labels.items()} | {"INBOX": SpecialUse.INBOX}
    assert found("INBOX", *labels.values()) == expected
    spelled = [normalize("NFD", label.upper()) for label in labels.values()]
    assert set(found("INBOX", *spelled).values()) == set(expected.values())


@pytest.mark.parametrize(
    ("label", "below_inbox", "use"),
    [
        ("inbox", False, SpecialUse.INBOX),
        ("Sent", False, SpecialUse.SENT),
        ("sent items", False, SpecialUse.SENT),
        ("Papierkorb", False, SpecialUse.TRASH),
        ("\u200eالمسودات", False, SpecialUse.DRAFTS),
        ("Work/Sent", False, None),
        ("INBOX/Sent", False, None),
        ("INBOX/Sent", True, SpecialUse.SENT),
        ("INBOX/Work/Sent", True, None),
        ("[Gmail]/Spam", False, SpecialUse.JUNK),
        ("[Google Mail]/Bin", False, SpecialUse.TRASH),
        ("Conflicts", False, None),
        ("Work/Conflicts", False, None),
        ("Sync Issues/Conflicts", False, SpecialUse.CONFLICTS),
        ("INBOX/Sync Issues/Server Failures", True, SpecialUse.SERVER_FAILURES),
        ("Sent to Bob", False, None),
    ],
)
def test_where_a_name_counts(label: str, below_inbox: bool, use: SpecialUse | None) -> None:
    assert special_use_by_name(tuple(label.split("/")), below_inbox=below_inbox) is use


def test_an_announced_folder_wins_over_a_name() -> None:
    assert found(folder("Sent", messages=9), folder("Ausgang", SpecialUse.SENT)) == {"Ausgang": SpecialUse.SENT}
    assert found(folder("Sent", SpecialUse.ARCHIVE)) == {"Sent": SpecialUse.ARCHIVE}


def test_two_folders_for_one_use() -> None:
    assert found(folder("Sent", messages=1), folder("Sent Items", messages=2)) == {"Sent Items": SpecialUse.SENT}
    assert found("Sent", "Sent Items") == {"Sent": SpecialUse.SENT}
    uses = special_uses([folder("a", SpecialUse.JUNK), folder("b", SpecialUse.JUNK), folder("Spam")])
    assert uses.by_path == {("a",): SpecialUse.JUNK}
    assert [note.split(":")[0] for note in uses.notes] == ["b", "Spam"]


def test_a_folder_of_mail_called_notes_is_not_kept_away() -> None:
    uses = special_uses([folder("INBOX"), folder("Sent"), folder("Notes", messages=5)])
    assert ("Notes",) not in uses.by_path
    assert uses.notes == ("Notes: named like NOTES, but not in an Exchange mailbox; ordinary",)


def test_the_mailboxs_own_language_decides_what_is_kept_away() -> None:
    mailbox = ("INBOX", "Sent Items", "Deleted Items", "Calendar", "Contacts", "Drafts")
    uses = found(*mailbox, folder("Agenda", messages=99))
    assert uses["Calendar"] is SpecialUse.CALENDAR
    assert "Agenda" not in uses


def test_files_is_a_phantom_only_while_it_is_empty() -> None:
    exchange = ("INBOX", "Calendar", "Contacts")
    assert found(*exchange, "Files")["Files"] is SpecialUse.FILES
    assert "Files" not in found(*exchange, folder("Files", messages=1))
    assert "Files" not in found("INBOX", "Files")


def test_servers_that_keep_all_below_inbox() -> None:
    assert found("INBOX", "INBOX/Sent", "INBOX/Work/Sent")["INBOX/Sent"] is SpecialUse.SENT
    assert "INBOX/Sent" not in found("INBOX", "INBOX/Sent", "Work")


def test_the_page_lists_every_language() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = (SpecialUse.SENT, SpecialUse.DRAFTS, SpecialUse.TRASH, SpecialUse.JUNK, SpecialUse.CALENDAR)
    rows = [
        f"| {language} | " + " | ".join(", ".join(names[use]) for use in shown) + " |"
        for language, names in OUTLOOK.items()
    ]
    missing = [row for row in rows if row not in text]
    assert not missing, "put these rows into docs/folders.md:\n" + "\n".join(missing)
