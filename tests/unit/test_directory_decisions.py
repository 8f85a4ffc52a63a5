"""The decisions file: read, written, damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailferry.directory.codes import finding
from mailferry.directory.decisions import Action, add_open, read_decisions, spell, unspell
from mailferry.errors import Permanent, UserError

HEAD = "code,id,value,action,new,proposal,where,note\n"
FOUND = finding("blanks", "a.csv:3", "name has blanks", about="csv:1", value=" =A\tB ", proposal="A B")


@given(st.text())
def test_spelling_comes_back_and_shows(text: str) -> None:
    spelled = spell(text)
    assert unspell(spelled) == text
    assert spelled.isprintable()
    assert not spelled.startswith(("=", "+", "-", "@", " ")) and not spelled.endswith(" ")


def test_open_findings_are_added_once_and_decided_rows_stay(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    assert add_open(path, [FOUND, FOUND]) == 1
    assert path.read_text().splitlines()[1] == ("blanks,csv:1,\\x20=A\\x09B\\x20,,,A B,a.csv:3,name has blanks")
    path.write_text(path.read_text().replace(",,,A B,", ',replace,"A, B",A B,').replace("has blanks", "by Eve"))
    before = path.read_text()
    assert add_open(path, [FOUND]) == 0
    assert path.read_text() == before
    assert add_open(path, [finding("dn-invalid", "b:1", "no", value="x")]) == 1
    decision = read_decisions(path).about(FOUND)
    assert decision is not None
    assert (decision.action, decision.new, decision.note, decision.line) == (Action.REPLACE, "A, B", "name by Eve", 2)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["decisions.csv"]


def test_the_most_exact_decision_counts(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    rows = ["blanks,*,*,keep", "blanks,csv:1,*,reject", "blanks,*,\\x20=A\\x09B\\x20,leave-out"]
    path.write_text("\ufeffcode;id;value;action\n" + "\n".join(row.replace(",", ";") for row in rows))
    decisions = read_decisions(path)
    other = finding("blanks", "", "", about="csv:2", value=FOUND.value)
    third = finding("blanks", "", "", about="csv:2", value="x")
    found = [decisions.about(one) for one in (FOUND, other, third, finding("dn-invalid", "", ""))]
    assert [one and one.action for one in found] == [Action.REJECT, Action.LEAVE_OUT, Action.KEEP, None]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("code,id,value\n", 1, "the column action is missing"),
        (HEAD + "blanks,1,x,drop,,,,\n", 2, "'drop' is no action; there are accept, keep"),
        (HEAD + "\nblanks,1,x,keep,,,,\n,1,x,keep,,,,\n", 4, "the code is missing"),
        (HEAD + "blanks,1,x,keep,,,,\nblanks,1,x,accept,,,,\n", 3, "already decided in line 2"),
        (HEAD + 'blanks,1,"a\nb",keep,,,,\nblanks,1,"x,keep\n', 4, "not CSV"),
        (HEAD + "duplicate,1,x,merge,,,,\n", 2, "merge needs the id"),
        (HEAD + "duplicate,1,x,merge,1,,,\n", 2, "merge needs the id"),
        (HEAD + "*,1,x,keep,,,,\n", 2, "`*` as code"),
        (HEAD + "*,*,x,leave-out,,,,\n", 2, "`*` as code"),
    ],
)
def test_a_wrong_row_is_told_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_decisions(path)
    assert says in str(caught.value)
    assert caught.value.about == f"{path}:{line}"


def test_rows_without_an_action_wait(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(HEAD + "blanks,1,x,,,,,\n")
    assert list(read_decisions(path)) == []


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="No such file"):
        read_decisions(tmp_path / "none.csv")
    with pytest.raises(Permanent, match="cannot be written"):
        add_open(tmp_path / "none" / "decisions.csv", [FOUND])
    (tmp_path / "latin.csv").write_bytes(b"code,id,value,action\nblanks,\xfc,x,keep\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_decisions(tmp_path / "latin.csv")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text('kep,;"\n*\\x0=', max_size=60), st.booleans())
def test_junk_raises_nothing_but_our_errors(tmp_path: Path, junk: str, head: bool) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(HEAD * head + junk)
    try:
        read_decisions(path)
    except UserError as error:
        assert error.about.startswith(str(path))
