"""The PowerShell for a step of a wave, as far as it can be tested without PowerShell: form, quoting, who gets what."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.coexist.wave_script import Person, Step, Way, ldif_files, person_files, prepare_files, readme
from mailferry.stack.file import File
from mailferry.wire import ldif

GUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
SINGLE = "'\u2018\u2019\u201a\u201b"
"""What PowerShell's tokenizer takes for a single quote."""
LITERAL = re.compile(f"'(?:[^{SINGLE}\r\n]|[{SINGLE}]{{2}})*'")
NASTY = "'; Remove-Mailbox * #\u2019 $(Stop-Computer) `n"
PEOPLE = [step for step in Step if step is not Step.PREPARE]


def someone(**more: str) -> Person:
    values = {
        "id": f"ad:{GUID}",
        "mail": "alice@acme.example",
        "dn": "CN=Alice,DC=acme,DC=example",
        "ours": "SMTP:alice@open.acme.example",
        "before": "",
    }
    return Person(**(values | more))


def way() -> Way:
    return Way(
        ("acme.example", "acme-labs.example"), "open.acme.example", "exchange.acme.example", "mx1.acme.example", 25
    )


def both(step: Step, *people: Person, wave: str = "first") -> tuple[str, str]:
    """The script and its undo."""
    found = list(
        prepare_files(wave, way()) if step is Step.PREPARE else person_files(step, wave, people or (someone(),))
    )
    assert [one.name for one in found] == [f"{step.value}.ps1", f"{step.value}-undo.ps1"]
    first, second = (one.content.decode() for one in found)
    return first, second


def rows(script: str) -> list[dict[str, str]]:
    """The people of a script: their literals as they stand."""
    body = script.partition("$People = @(\r\n")[2].partition("\r\n)\r\n")[0]
    lines = [line for line in body.split("\r\n") if line]
    found = []
    for line in lines:
        assert re.fullmatch(r"  @\{ .* \}", line)
        found.append(dict(re.findall(rf"(\w+) = (\(.*?\)|{LITERAL.pattern})", line)))
    return found


@pytest.mark.parametrize("step", list(Step))
def test_scripts_are_for_windows_and_can_be_tried_without_effect(step: Step) -> None:
    for text in both(step):
        assert text.startswith("\ufeff# Written by Mailferry")
        assert re.fullmatch(r"(?:[^\r\n]*\r\n)*", text)
        assert "#{" not in text, "everything is put in"
        assert "SupportsShouldProcess = $true" in text and "$PSCmdlet.ShouldProcess(" in text
        assert "Start-Transcript" in text and text.index("Start-Transcript") < text.index("Stop-Transcript")
        assert text.index("\r\nparam(") < text.index("$Step = ") < text.index("Set-StrictMode")
        assert all(len(line) <= 320 for line in text.split("\r\n"))


@pytest.mark.parametrize("step", list(Step))
def test_every_block_is_closed(step: Step) -> None:
    for text in both(step, someone(mail="{ ( [ 'x")):
        bare = re.sub(r'"(?:[^"\r\n])*"', '""', LITERAL.sub("''", re.sub(r"(?m)^\s*#.*$", "", text)))
        for opening, closing in ("{}", "()", "[]"):
            assert bare.count(opening) == bare.count(closing)


@pytest.mark.parametrize("step", list(Step))
def test_nothing_is_changed_before_it_was_asked_for(step: Step) -> None:
    """Each command that changes something stands behind a ShouldProcess of its object."""
    changes = re.compile(
        r"^\s*(?:\$null = )?(?:Set|New|Remove|Enable|Disable|Connect|Update)-(?!StrictMode|Content)\w+"
    )
    for text in both(step):
        lines = text.split("\r\n")
        asked = False
        for line in lines:
            if re.match(r" *foreach \(\$(Person|Domain|New) in", line):
                asked = False
            asked = asked or "ShouldProcess(" in line
            assert asked or not changes.match(line), line


@pytest.mark.parametrize("step", PEOPLE)
@pytest.mark.parametrize("field", ["mail", "ours", "before"])
def test_nasty_text_stays_data(step: Step, field: str) -> None:
    for text in both(step, someone(**{field: NASTY}), wave=f"{NASTY}\nStop-Computer"):
        code = LITERAL.sub("''", re.sub(r"(?m)^\ufeff?\s*#.*$", "", text))
        assert "Remove-Mailbox" not in code and "Stop-Computer" not in code


@given(st.text(), st.text(), st.sampled_from(PEOPLE))
def test_any_text_is_one_row(mail: str, before: str, step: Step) -> None:
    for text in both(step, someone(mail=mail, before=before), someone(), wave=mail):
        assert len(rows(text)) == 2
        assert rows(text)[1]["Guid"] == f"'{GUID}'"
        assert "\r" not in text.replace("\r\n", "") and "\n" not in text.replace("\r\n", "")
        assert text.split("\r\n")[0].startswith("\ufeff#") and text.split("\r\n")[1].startswith("#")


def test_the_undo_of_an_external_address_is_its_mirror() -> None:
    one = someone(before="SMTP:old@partner.example")
    park, unpark = both(Step.PARK, one)
    back, again = both(Step.ROLLBACK, one)
    ours, before = f"'{one.ours}'", f"'{one.before}'"
    assert [(row["From"], row["To"]) for row in rows(park) + rows(again)] == [(before, ours)] * 2
    assert [(row["From"], row["To"]) for row in rows(unpark) + rows(back)] == [(ours, before)] * 2
    assert [row["To"] for row in rows(both(Step.FORWARD, one)[0])] == ["'alice@open.acme.example'"]


def test_what_is_prepared() -> None:
    script, undo = both(Step.PREPARE)
    for text in (script, undo):
        assert "$OpenDomain = 'open.acme.example'\r\n" in text
        assert "$SharedDomains = @('acme.example', 'acme-labs.example')\r\n" in text
        assert "@{ Domain = 'exchange.acme.example'; Type = 'Authoritative' }" in text
    assert script.index("New-SendConnector") < script.index("Set-AcceptedDomain")
    assert undo.index("Set-AcceptedDomain") < undo.index("Remove-SendConnector"), "no domain is shared without a way"


def test_ldif_changes_only_what_was_read() -> None:
    people = [someone(), someone(dn="CN=Bob,DC=acme", before="SMTP:bob@partner.example")]
    park, unpark = ldif_files(Step.PARK, people)
    assert (park.name, unpark.name) == ("park.ldif", "park-undo.ldif")
    assert steps(park) == [
        ("CN=Alice,DC=acme,DC=example", [("add", "SMTP:alice@open.acme.example")]),
        ("CN=Bob,DC=acme", [("delete", "SMTP:bob@partner.example"), ("add", "SMTP:alice@open.acme.example")]),
    ]
    assert steps(unpark) == [
        ("CN=Alice,DC=acme,DC=example", [("delete", "SMTP:alice@open.acme.example")]),
        ("CN=Bob,DC=acme", [("delete", "SMTP:alice@open.acme.example"), ("add", "SMTP:bob@partner.example")]),
    ]
    back, again = ldif_files(Step.ROLLBACK, people)
    assert (back.content, again.content) == (unpark.content, park.content)


def steps(file: File) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each record's DN, and its steps with their values."""
    found = []
    for record in file.content.decode().split("\n\n")[1:]:
        lines = [line for line in record.split("\n") if line and line not in ("changetype: modify", "-")]
        if not lines:
            continue
        pairs = zip(lines[1::2], lines[2::2], strict=True)
        found.append((lines[0][4:], [(how.partition(":")[0], value.partition(": ")[2]) for how, value in pairs]))
    return found


@given(st.text(min_size=1), st.text(min_size=1))
def test_ldif_holds_any_text(dn: str, before: str) -> None:
    one = someone(dn=f"CN={dn}", before=before)
    park, _ = ldif_files(Step.PARK, [one])
    (record,) = ldif.parse([park.content])
    assert isinstance(record, ldif.Record)
    assert record.dn.decode("utf-8", "surrogateescape") == one.dn


def test_the_readme_names_who_is_left_out_and_warns() -> None:
    text = readme(Step.FINISH, "first", ["finish.ps1", "finish-undo.ps1"], [("bob@acme.example", "is swept")])
    page = text.content.decode()
    assert "bob@acme.example: is swept" in page and "**The undo connects the OLD mailbox" in page
    assert ".\\finish.ps1 -DomainController dc1.acme.example -WhatIf" in page
