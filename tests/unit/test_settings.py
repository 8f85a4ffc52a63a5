"""mailferry.toml: what is read, and how errors name file, line and key; the reference page is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import settings_page
from mailferry.config.settings import Authority, Brake, Follow, Source, directory_settings, read_settings
from mailferry.directory.exceptions import read_exceptions
from mailferry.errors import ConfigError
from mailferry.ops.directory import opened

GOOD = """
ledger = "postgresql:///mailferry"
[directory]
schema = "qmail"
decisions = "decisions.csv"
[directory.source]
url = "ldaps://dc1.acme.example"
bind = "reader@acme.example"
password = "file:/etc/mailferry/reader"
[directory.target]
url = "ldapi://"
suffix = "dc=acme,dc=example"
branches = { people = "ou=staff" }
[directory.mapping]
domains = ["ACME.example"]
exceptions = "sub/exceptions.csv"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mailferry.toml"
    path.write_text(text)
    return path


def test_a_whole_file(tmp_path: Path) -> None:
    whole, one = directory_settings(written(tmp_path, GOOD))
    assert whole.ledger == "postgresql:///mailferry"
    assert (one.schema_, one.source.kind, one.mapping.domains) == ("qmail", "ad", ("acme.example",))
    assert (one.target.branches.people, one.target.branches.groups) == ("ou=staff", "ou=groups")
    assert one.decisions == tmp_path / "decisions.csv"
    assert one.mapping.exceptions == tmp_path / "sub/exceptions.csv"
    assert (one.brake.percent, one.brake.entries) == (5.0, 20)


def test_a_source_has_one_base_or_several_and_names_of_its_own(tmp_path: Path) -> None:
    def source(lines: str) -> Source:
        return directory_settings(
            written(tmp_path, GOOD.replace("[directory.target]", f"{lines}\n[directory.target]"))
        )[1].source

    assert source('base = "OU=a,DC=x"').base == ("OU=a,DC=x",)
    assert source('base = ["OU=a,DC=x", "OU=b,DC=x"]').base == ("OU=a,DC=x", "OU=b,DC=x")
    assert source('kind = "ldap"\nnames.mail = ["uniMail"]').names == {"mail": ("uniMail",)}
    with pytest.raises(ConfigError, match="base"):
        source('base = ["nonsense"]')


def test_files_as_sources_count_from_the_settings(tmp_path: Path) -> None:
    text = GOOD.replace('url = "ldaps://dc1.acme.example"', 'kind = "csv"\nurl = "gal.csv"')
    assert directory_settings(written(tmp_path, text))[1].source.url == str(tmp_path / "gal.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('schema = "qmail"', 'schema = "x"', r"directory\.schema: Input should be 'inet' or 'qmail'"),
        ('schema = "qmail"', "scheme = 1", r"directory\.scheme: no such setting"),
        ('suffix = "dc=acme,dc=example"', "", r"directory\.target\.suffix: it is needed"),
        ('"file:/etc/mailferry/reader"', '"hunter2"', r"directory\.source\.password: it is not of the right form"),
        ("[directory.mapping]", "[directory.brake]\npercent = 101\n[directory.mapping]", r"directory\.brake\.percent"),
        ("[directory.mapping]", '[directory.mapping]\nexclude = "svc-*"', r"exclude: a list is wanted, such as"),
        ("ou=staff", "ou=staff,DC=acme,dc=example", r"target: branches are relative to the suffix: ou=staff,DC="),
        ("ou=staff", "staff", r"branches\.people: it is not of the right form"),
        ('url = "ldapi://"', 'url = "ldapi://"\nbulk_stop = "x"', "bulk_stop and bulk_start go together"),
        ("[directory.mapping]", '[directory.follow]\nreconcile_at = "24:00"\n[directory.mapping]', "reconcile_at"),
    ],
)
def test_errors_name_the_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        read_settings(path)
    assert caught.value.about == str(path)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_errors_name_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a = 1\nb = \n")
    with pytest.raises(ConfigError, match="not TOML") as caught:
        read_settings(path)
    assert caught.value.about == f"{path}:2"


def test_no_file_and_no_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_settings(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match="no \\[directory\\] section"):
        directory_settings(written(tmp_path, ""))


def _example(kind: str) -> str:
    """The first block of that kind on the page for administrators."""
    text = (settings_page.PAGE.parent / "directory.md").read_text(encoding="utf-8")
    return text.partition(f"```{kind}\n")[2].partition("```")[0]


def test_the_example_is_right_and_names_every_table(tmp_path: Path) -> None:
    text = _example("toml")
    _, one = directory_settings(written(tmp_path, text))
    assert (one.brake, one.authority, one.follow) == (Brake(), Authority(), Follow())  # it shows the defaults
    for table in ("source", "target", "mapping", "brake", "authority", "follow"):
        assert f"[directory.{table}]" in text


def test_the_example_of_exceptions_is_right(tmp_path: Path) -> None:
    file = tmp_path / "exceptions.csv"
    file.write_text(_example("csv"))
    assert len(read_exceptions(file).by_who) == 4


def test_the_reference_page_is_up_to_date() -> None:
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page(), "run `make docs`"


def test_the_target_cannot_own_what_nobody_writes(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + '[directory.authority]\ntarget = ["description", "titel"]\n')
    with pytest.raises(ConfigError, match="does not write titel"), opened(path, str(tmp_path / "l.db"), str):
        raise AssertionError("it was opened")
