"""What is rendered for Radicale."""

from __future__ import annotations

from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path

import pytest

from mailferry.errors import ConfigError
from mailferry.secret import Secret
from mailferry.stack.postfix.settings import Directory
from mailferry.stack.radicale.files import files, people
from mailferry.stack.radicale.settings import Settings
from mailferry.stack.words import openldap

DIRECTORY = Directory(
    urls=("ldap://ldap1.acme.example",),
    suffix="dc=acme,dc=example",
    bind="cn=lookup,ou=services,dc=acme,dc=example",
    password=Secret("s3cret %"),
    words=openldap(),
    ca_file=Path("/etc/ssl/ca.pem"),
)
SETTINGS = Settings(
    "dav.acme.example", ("0.0.0.0:5232", "[::]:5232"), DIRECTORY, Path("/etc/ssl/dav.pem"), Path("/etc/ssl/dav.key")
)


def test_the_configuration_is_what_the_settings_say() -> None:
    rendered = {file.name: file for file in files(SETTINGS)}
    assert [*files(SETTINGS)] == [*files(SETTINGS)]
    config = ConfigParser(interpolation=None)
    config.read_string(rendered["config"].content.decode())
    assert config["auth"]["ldap_security"] == "starttls"
    assert config["auth"]["ldap_filter"].format("alice").count("alice") == 3
    assert (config["server"]["ssl"], config["server"]["hosts"]) == ("True", "0.0.0.0:5232, [::]:5232")
    assert rendered["lookup.secret"].content == b"s3cret %\n"
    assert rendered["lookup.secret"].mode == 0o640
    assert not any(b"s3cret" in file.content for name, file in rendered.items() if name != "lookup.secret")


def test_only_who_is_here_is_asked_for() -> None:
    assert "(mailferryRoute=local)" in people(SETTINGS)


@pytest.mark.parametrize("bad", ["dav acme", "dav\n[auth]", "dav;x", 'dav"'])
def test_nothing_breaks_out_of_its_file(bad: str) -> None:
    with pytest.raises(ConfigError):
        replace(SETTINGS, hostname=bad)
    with pytest.raises(ConfigError):
        replace(SETTINGS, data_dir=Path(bad))
    with pytest.raises(ConfigError):
        replace(SETTINGS, directory=replace(DIRECTORY, suffix="dc=x\n"))
