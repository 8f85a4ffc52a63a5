"""From mailferry.toml to the directory that holds routes: who reads it, who writes it, and what may not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mailferry.config.settings import Settings
from mailferry.errors import ConfigError
from mailferry.ops import ad_schema
from mailferry.ops.route_store import in_ad, lookup, route_store, second_side
from mailferry.stack.words import OPENLDAP, active_directory


def settings(folder: Path, **ad: Any) -> Settings:
    """Active Directory as the only directory; `ad`: of `[directory.source]`, or `write`."""
    (folder / "secret").write_text("secret")
    secret = f"file:{folder}/secret"
    source = {
        "url": "ldaps://dc1",
        "bind": "reader@acme.example",
        "password": secret,
        "base": "OU=Acme,DC=acme,DC=example",
        **{name: value for name, value in ad.items() if name != "write"},
    }
    return Settings.model_validate(
        {
            "directory": {"source": source, "exchange": {"routing_domain": "open.acme.example"}},
            "stack": {
                "postfix": {
                    "hostname": "mx",
                    "exchange": "ex1:25",
                    "exchange_domain": "exchange.acme.example",
                    "exchange_networks": ["10.0.0.0/8"],
                    "stores": {"store1": "s1:24"},
                    "directory": ["ldaps://dc2", "ldaps://dc1"],
                }
            },
            "coexist": {
                "source": "imaps://ex1",
                "stores": {"store1": {"url": "imaps://s1"}},
                "route_store": "ad",
                "ad": {"write": ad.get("write", True)},
                "exchange": {"bind": "writer@acme.example", "password": secret, "controllers": ["ldaps://dc3"]},
            },
        }
    )


def test_the_writer_writes_one_controller_and_looks_at_all(tmp_path: Path) -> None:
    found = route_store(settings(tmp_path))
    assert (found.server.url, found.server.user, found.forbidden) == ("ldaps://dc1", "writer@acme.example", "")
    assert [one.url for one in found.others] == ["ldaps://dc2", "ldaps://dc3"]
    assert (found.suffix, found.open_domain) == ("OU=Acme,DC=acme,DC=example", "open.acme.example")
    assert found.words == active_directory()


def test_nobody_has_the_writers_password_until_it_is_switched_on(tmp_path: Path) -> None:
    found = route_store(settings(tmp_path, write=False))
    assert (found.server.user, found.forbidden) == ("reader@acme.example", "coexist.ad.write")


def test_postfix_reads_as_the_source_does(tmp_path: Path) -> None:
    found = lookup(settings(tmp_path), ("ldaps://dc2",))
    assert (found.urls, found.bind, found.ca_file) == (
        ("ldaps://dc2",),
        "reader@acme.example",
        Path("/etc/ssl/certs/ca-certificates.crt"),
    )
    assert lookup(settings(tmp_path, ca_file="/ca.pem"), ()).ca_file == Path("/ca.pem")
    assert lookup(settings(tmp_path, tls="none"), ()).ca_file is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "ldap"}, "people from there"),
        ({"base": ["DC=a", "DC=b"]}, "below one entry"),
        ({"tls": "insecure"}, "verify the certificates"),
        ({"bind": None, "kerberos": True}, "with a password"),
    ],
)
def test_what_cannot_be(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        lookup(settings(tmp_path, **wrong), ())


def test_without_an_open_directory_what_fills_it_says_so(tmp_path: Path) -> None:
    made = settings(tmp_path)
    assert made.directory is not None and in_ad(made)
    with pytest.raises(ConfigError, match="no open directory"):
        _ = made.directory.target


def test_openldap_is_the_default() -> None:
    source = {"url": "people.csv", "kind": "csv"}
    target = {"url": "ldap://ldap1", "suffix": "dc=acme,dc=example"}
    made = Settings.model_validate({"directory": {"source": source, "target": target}})
    found = route_store(made)
    assert (found.server.url, found.suffix, found.words, found.others) == (
        target["url"],
        target["suffix"],
        OPENLDAP,
        (),
    )
    assert second_side(made, lambda work: None) == []


def test_what_an_administrator_is_given(tmp_path: Path) -> None:
    paths = ad_schema.write(settings(tmp_path), tmp_path / "out")
    texts = {path.name: path.read_text() for path in paths}
    assert "dn: CN=mailferryRoute,CN=Schema,CN=Configuration,DC=acme,DC=example\n" in texts["mailferry-schema.ldf"]
    assert (
        'dsacls "OU=Acme,DC=acme,DC=example" /I:S /G "writer@acme.example:RPWP;mailferryRoute;user"'
        in texts["rights.cmd"]
    )
    assert "DC=acme,DC=example" in texts["README.md"]
