"""What is rendered for Dovecot: stable, with secrets in the closed files alone, and what makes no sense refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailferry.errors import ConfigError
from mailferry.secret import Secret
from mailferry.stack.dovecot import proxy, render, searches
from mailferry.stack.dovecot.files import files
from mailferry.stack.dovecot.settings import EXCHANGE, Backend, Proxy, Rspamd, Settings, Store
from mailferry.stack.file import File
from mailferry.stack.postfix.settings import Directory, Endpoint

DIRECTORY = Directory(
    urls=("ldap://ldap1.acme.example", "ldaps://ldap2.acme.example"),
    suffix="dc=acme,dc=example",
    bind="cn=lookup,ou=services,dc=acme,dc=example",
    password=Secret("lookup-pw"),
    ca_file=Path("/etc/ssl/ca.pem"),
)
STORE = Store("store1.acme.example", Endpoint("mx1.acme.example", 25), master=Secret("master-pw"))
PROXY = Proxy(
    {
        "store1.acme.example": Backend("store1.acme.example", "10.2.0.1", sieve=4190),
        "store2.acme.example": Backend("store2.acme.example", "fe80::1", pop3=0),
        EXCHANGE: Backend("ex1.acme.example"),
    }
)
SETTINGS = Settings(
    "imap.acme.example", DIRECTORY, STORE, certificate=Path("/etc/ssl/imap.pem"), key=Path("/etc/ssl/imap.key")
)
FRONT = replace(SETTINGS, store=None, proxy=PROXY)
BOTH = replace(SETTINGS, proxy=PROXY, sasl=Path("/var/spool/postfix/private/auth"))
ALL = pytest.mark.parametrize("settings", [SETTINGS, FRONT, BOTH], ids=["store", "proxy", "both"])


def found(settings: Settings, name: str) -> str:
    return next(file.content.decode() for file in files(settings) if file.name == name)


@ALL
def test_the_same_settings_give_the_same_files(settings: Settings) -> None:
    other = settings
    if settings.proxy is not None:
        turned = dict(reversed(list(settings.proxy.places.items())))
        other = replace(settings, proxy=replace(settings.proxy, places=turned))
    assert list(files(settings)) == list(files(other))


@ALL
def test_passwords_are_in_closed_files_alone(settings: Settings) -> None:
    for file in files(settings):
        assert (b"lookup-pw" in file.content) == file.name.startswith("ldap-")
        assert b"master-pw" not in file.content, "a hash alone"
        if b"lookup-pw" in file.content or b"ARGON2ID" in file.content:
            assert file.mode == 0o640
    assert "-pw" not in repr(settings)


@ALL
def test_every_file_that_is_named_is_there_and_goes_to_its_place(settings: Settings) -> None:
    placed = {str(file.place): file for file in files(settings) if file.place is not None}
    named = set(re.findall(r"(?<!<)/etc/dovecot/[\w.-]+", render.conf(settings)))
    named -= {"/etc/dovecot/dovecot.conf"}
    assert named == placed.keys() - {"/etc/dovecot/dovecot.conf"}
    script = found(settings, "install.sh")
    for place, file in placed.items():
        assert f"put {file.name} {place} " in script


def test_a_user_who_may_open_everything_comes_from_certain_networks_alone() -> None:
    assert re.fullmatch(
        r"mailferry:\{ARGON2ID\}\$argon2id\$\S+::::::allow_nets=127.0.0.0/8,::1 userdb_quota_rule2=\*:bytes=0\n",
        render.masters(STORE),
    )
    without = replace(SETTINGS, store=replace(STORE, master=None))
    assert "masters" not in {file.name for file in files(without)}
    assert "master" not in render.conf(without)


def test_what_a_log_in_is_passed_on_to() -> None:
    assert proxy.places(PROXY).splitlines()[1:] == [
        "imap/exchange:::::::nopassword=y proxy=y host=ex1.acme.example port=993 ssl=yes",
        "pop3/exchange:::::::nopassword=y proxy=y host=ex1.acme.example port=995 ssl=yes",
        "imap/store1.acme.example:::::::nopassword=y proxy=y host=store1.acme.example port=993 hostip=10.2.0.1 ssl=yes",
        "pop3/store1.acme.example:::::::nopassword=y proxy=y host=store1.acme.example port=995 hostip=10.2.0.1 ssl=yes",
        "sieve/store1.acme.example:::::::nopassword=y proxy=y host=store1.acme.example port=4190 hostip=10.2.0.1 "
        "starttls=yes",
        "imap/store2.acme.example:::::::nopassword=y proxy=y host=store2.acme.example port=993 hostip=fe80::1 ssl=yes",
    ]


def test_a_proxy_without_exchange_asks_for_stores_alone() -> None:
    names = [one.name for one in searches.searches(replace(FRONT, proxy=Proxy({"s": Backend("s")})))]
    assert names == ["to-store"]


@pytest.mark.parametrize(
    ("user", "made"),
    [
        ("{mail}", "%{ldap:mail}"),
        ("{principal}", "%{ldap:mailferryPrincipal}"),
        ("ACME\\{uid}", "ACME\\%{ldap:uid}"),
    ],
)
def test_exchanges_name_for_a_person(user: str, made: str) -> None:
    text = searches.text(searches.to_exchange(user), FRONT)
    assert f"=destuser={made}, " in text


def test_rspamd_is_off_until_it_is_named() -> None:
    assert "imapsieve" not in render.conf(SETTINGS)
    learning = replace(SETTINGS, store=replace(STORE, rspamd=Rspamd(Endpoint("10.3.0.1", 11334), "Spam")))
    text = render.conf(learning)
    assert "imapsieve_mailbox1_name = Spam" in text
    assert "mailbox Spam {\n    special_use = \\Junk" in text
    assert 'fileinto :create "Spam"' in found(learning, "spam-to-junk.sieve")
    assert "rspamc -h 10.3.0.1:11334" in found(learning, "rspamd-learn")
    assert "sievec" in found(learning, "install.sh") and "sievec" not in found(SETTINGS, "install.sh")


def test_a_log_of_its_own_is_rotated() -> None:
    logged = replace(SETTINGS, log_file=Path("/var/log/dovecot/mail.log"))
    rotated = next(file for file in files(logged) if file.name == "logrotate")
    assert rotated.place == Path("/etc/logrotate.d/mailferry-dovecot")
    assert rotated.content.startswith(b"# Rendered") and b"/run/dovecot/master.pid" in rotated.content
    assert not any(file.name == "logrotate" for file in files(SETTINGS))


def test_without_a_certificate_it_says_so() -> None:
    bare = replace(SETTINGS, certificate=None, key=None)
    assert "ssl = no" in render.conf(bare)
    assert "passwords travel in clear" in found(bare, "README.md")


@pytest.mark.parametrize(
    "changes",
    [
        {"store": None},
        {"hostname": "two words"},
        {"certificate": None},
        {"store": replace(STORE, name="a)(uid=*")},
        {"store": replace(STORE, mail_dir=Path("/srv/100%"))},
        {"store": replace(STORE, owner=("vmail;rm", "vmail"))},
        {"store": replace(STORE, master_networks=("10.0.0.0/99",))},
        {"store": replace(STORE, trusted=("everywhere",))},
        {"proxy": Proxy({"Store": Backend("s")})},
        {"proxy": Proxy({"s": Backend("s", "nowhere")})},
        {"proxy": Proxy({"s": Backend("s t")})},
        {"proxy": Proxy({}, exchange_user="{account}")},
        {"proxy": Proxy({}, exchange_user="{mail} x")},
        {"directory": replace(DIRECTORY, password=Secret('say "x"'))},
        {"directory": replace(DIRECTORY, suffix="dc=acme\ndc=example")},
        {"config_dir": Path("/etc/dove cot")},
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(SETTINGS, **changes)


def test_the_readme_tells_of_each_file() -> None:
    readme = found(BOTH, "README.md")
    rest: list[File] = [file for file in files(BOTH) if file.name not in ("README.md", "install.sh")]
    assert all(f"| {file.name} | " in readme for file in rest)
