"""What is rendered for OpenLDAP: stable, without secrets, and the schema in both forms."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner

from mailferry.cli.main import cli
from mailferry.errors import ConfigError
from mailferry.secret import Secret
from mailferry.stack.openldap import render, run
from mailferry.stack.openldap.definitions import FOLDER, to_ldif
from mailferry.stack.openldap.files import files
from mailferry.stack.openldap.settings import BindThrough, MailSchema, Readers, Role, Settings, Tls

PASSWORDS = ("admin-pw", "writer-pw", "replicator-pw", "lookup-pw")
SETTINGS = Settings(
    suffix="dc=acme,dc=example",
    config_dir=Path("/etc/ldap/slapd.d"),
    data_dir=Path("/var/lib/ldap/mailferry"),
    run_dir=Path("/run/slapd"),
    admin=Secret(PASSWORDS[0]),
    writer=Secret(PASSWORDS[1]),
    replicator=Secret(PASSWORDS[2]),
    lookup=Secret(PASSWORDS[3]),
    tls=Tls(Path("/etc/ldap/cert.pem"), Path("/etc/ldap/key.pem"), Path("/etc/ldap/ca.pem")),
    bind_through=BindThrough({"acme": ("ldaps://dc1", "ldaps://dc2")}, "acme", Path("/etc/ldap/ad.pem")),
)
REPLICA = replace(SETTINGS, role=Role.REPLICA, provider="ldap://ldap1.acme.example", replica_id=2)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.schema")), ids=lambda path: path.name)
def test_both_forms_of_the_schema_say_the_same(path: Path) -> None:
    """Failed? `python -m mailferry.stack.openldap.definitions` writes the LDIF again."""
    assert path.with_suffix(".ldif").read_bytes() == to_ldif(path.stem, path.read_text())


def test_numbers_and_names_of_the_schema_are_used_once() -> None:
    text = (FOLDER / "mailferry.schema").read_text()
    numbers, names = re.findall(r"\( (mailferry:[0-9.]+)", text), re.findall(r"NAME '(\w+)'", text)
    assert len(numbers) == len(names) == len(set(numbers)) == len({name.lower() for name in names}) > 20
    assert all(name.startswith("mailferry") for name in names)
    allowed = set(re.findall(r"mailferry[A-Z]\w+", text[text.index("objectclass (") :]))
    assert allowed == set(names), "every attribute belongs to a class"


def test_a_schema_file_with_a_strange_line_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.schema:2: ditcontentrule"):
        to_ldif("x", "# comment\nditcontentrule ( 1.2.3 )\n")


@pytest.mark.parametrize("settings", [SETTINGS, REPLICA], ids=["provider", "replica"])
def test_the_same_settings_give_the_same_files_and_no_secret(settings: Settings) -> None:
    once, again = list(files(settings)), list(files(settings))
    assert once == again
    for file in once:
        shown = [password for password in PASSWORDS if password.encode() in file.content.replace(b"\n ", b"")]
        assert shown == (["replicator-pw"] if settings is REPLICA and file.name == "config.ldif" else [])
        assert (file.mode == 0o600) == (b"ARGON2" in file.content)


def test_a_password_is_hashed_for_its_account() -> None:
    hashed = render.hashed(Secret("pässword"), "cn=a,dc=x")
    assert hashed.startswith("{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$")
    assert PasswordHasher().verify(hashed.removeprefix("{ARGON2}"), "pässword")
    assert hashed != render.hashed(Secret("pässword"), "cn=b,dc=x")


def test_what_a_replica_lacks_and_has() -> None:
    provider, replica = (render.config(one).replace(b"\n ", b"").decode() for one in (SETTINGS, REPLICA))
    overlays = [re.findall(r"^olcOverlay: \{\d\}(\w+)", one, re.MULTILINE) for one in (provider, replica)]
    assert overlays == [["syncprov", "unique", "constraint", "remoteauth", "ppolicy"], ["remoteauth", "ppolicy"]]
    assert "olcRemoteAuthStore: TRUE" in provider and "olcRemoteAuthStore: FALSE" in replica
    assert "olcSyncrepl" not in provider
    assert "rid=002 provider=ldap://ldap1.acme.example bindmethod=simple" in replica
    assert 'tls_cacert="/etc/ldap/ca.pem" tls_reqcert=demand starttls=critical' in replica
    plain = render.config(replace(REPLICA, tls=None, provider="ldaps://ldap1.acme.example"))
    assert b"starttls=critical" not in plain.replace(b"\n ", b"").split(b"olcSyncrepl")[1].split(b"\nolc")[0]


def test_qmail_brings_its_schema_and_its_index() -> None:
    text = render.config(replace(SETTINGS, mail_schema=MailSchema.QMAIL)).decode()
    assert text.index("dn: cn=qmail,cn=schema") < text.index("dn: cn=mailferry,cn=schema")
    assert "olcDbIndex: mailAlternateAddress eq" in text and "ldap:///?mailAlternateAddress?sub" in text
    assert "mailHost'" not in (FOLDER / "qmail.schema").read_text(), "misc.schema defines it"


def test_an_address_book_is_open_only_when_told() -> None:
    closed, opened = (
        render.config(replace(SETTINGS, readers=readers)).replace(b"\n ", b"").decode()
        for readers in (Readers.BOUND, Readers.ANONYMOUS)
    )
    assert "preferredLanguage by users read by * none" in closed
    assert "preferredLanguage by * read by * none" in opened


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"suffix": "acme.example"}, "dc= parts"),
        ({"role": Role.REPLICA}, "URL of its provider"),
        ({"data_dir": Path("/var/lib/my data")}, "no path with blanks"),
        ({"replicator": Secret('say "x"')}, "cannot hold a password"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(SETTINGS, **change)  # type: ignore[arg-type]


TOML = """
[directory.source]
url = "ldaps://dc1.acme.example"
[directory.target]
url = "ldap://ldap1.acme.example"
suffix = "dc=acme,dc=example"
[stack.openldap]
provider = "ldap://ldap1.acme.example"
admin_password = "env:STACK_PASSWORD"
replicator_password = "env:STACK_PASSWORD"
lookup_password = "env:STACK_PASSWORD"
sync_password = "env:STACK_PASSWORD"
certificate = "/etc/ldap/cert.pem"
key = "/etc/ldap/key.pem"
ca_file = "/etc/ldap/ca.pem"
"""


def test_the_command_writes_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_PASSWORD", "from-the-environment")
    settings = tmp_path / "mailferry.toml"
    settings.write_text(TOML)
    render_it = ["stack", "render", "openldap", "--config", str(settings), "--out", str(tmp_path / "out"), "--json"]

    def changed() -> set[str]:
        done = CliRunner().invoke(cli, render_it, standalone_mode=False)
        assert done.exception is None
        return {Path(one["path"]).name for one in json.loads(done.output)["files"] if one["changed"]}

    assert changed() == {
        *("README.md", "install.sh", "config.ldif", "first-entries.ldif", "slapd.default", "mailferry.schema")
    }
    assert changed() == set()
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    (tmp_path / "out" / "config.ldif").chmod(0o644)
    settings.write_text(TOML.replace("[directory.source]", '[directory]\nschema = "qmail"\n[directory.source]'))
    assert changed() == {"config.ldif", "qmail.schema"}
    assert (tmp_path / "out" / "config.ldif").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TOML.replace('key = "/etc/ldap/key.pem"\n', ""), "certificate, key and ca_file belong together"),
        (TOML.split("[stack.openldap]")[0], r"it needs \[directory\] and \[stack.openldap\]"),
        (TOML.replace("env:STACK_PASSWORD", "my secret", 1), "admin_password"),
    ],
)
def test_what_the_settings_lack_is_said(tmp_path: Path, text: str, words: str) -> None:
    settings = tmp_path / "mailferry.toml"
    settings.write_text(text)
    arguments = ["stack", "render", "openldap", "--config", str(settings), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert isinstance(done.exception, ConfigError)
    assert re.search(words, str(done.exception))
    assert "my secret" not in str(done.exception)
    assert not (tmp_path / "out" / "config.ldif").exists()


def test_what_is_no_configuration_of_slapd(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        run.place(tmp_path / "nowhere")
    (tmp_path / "cn=config").mkdir()
    (tmp_path / "cn=config.ldif").write_text("dn: cn=config\nolcPidFile: /nowhere/pid\n")
    with pytest.raises(ConfigError, match="0 mdb databases"):
        run.place(tmp_path)
    database = tmp_path / "cn=config" / "olcDatabase={2}mdb.ldif"
    database.write_text("dn: olcDatabase={2}mdb\nolcDatabase: {2}mdb\nolcDbDirectory: /nowhere/data\n")
    with pytest.raises(ConfigError, match="does not say olcsuffix"):
        run.place(tmp_path)
    database.write_text(database.read_text() + "olcSuffix: dc=x\n")
    here = run.place(tmp_path)
    assert (here.number, here.suffix, here.server_id, here.data_dir) == (2, "dc=x", 0, Path("/nowhere/data"))
    assert here.is_empty
    assert not here.is_running
