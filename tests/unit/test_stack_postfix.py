"""What is rendered for Postfix: stable, with secrets in the closed files alone, and what makes no sense refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailferry.errors import ConfigError
from mailferry.secret import Secret
from mailferry.stack.postfix import render, tables
from mailferry.stack.postfix.files import files
from mailferry.stack.postfix.settings import Directory, Endpoint, Settings, Submission
from mailferry.stack.words import Attributes, active_directory, openldap

DIRECTORY = Directory(
    urls=("ldap://ldap1.acme.example", "ldaps://ldap2.acme.example"),
    suffix="dc=acme,dc=example",
    bind="cn=lookup,ou=services,dc=acme,dc=example",
    password=Secret("lookup-pw"),
    ca_file=Path("/etc/ssl/ca.pem"),
)
SETTINGS = Settings(
    hostname="mx.acme.example",
    domains=("acme.example", "acme.test"),
    open_domain="open.acme.example",
    exchange_domain="exchange.acme.example",
    exchange=Endpoint("ex1.acme.example", 25),
    stores={"store1.acme.example": Endpoint("10.0.0.1", 24), "b": Endpoint("fe80::1", 24)},
    directory=DIRECTORY,
    exchange_networks=("10.1.0.0/16",),
)


def route(answer: str, settings: Settings = SETTINGS) -> str:
    """What transports.regexp makes of an answer of ldap-routes.cf, by the rules of regexp_table(5)."""
    inside = True
    for line in tables.transports(settings).splitlines():
        if line == "endif":
            inside = True
        elif found := re.match(r"(if )?/(.*)/(?:\t(.*))?$", line):
            matches = re.search(found[2], answer, re.IGNORECASE) is not None
            if found[1]:
                inside = matches
            elif inside and matches:
                return found[3]
    return ""


def test_the_same_settings_give_the_same_files() -> None:
    other_order = replace(SETTINGS, stores=dict(reversed(list(SETTINGS.stores.items()))))
    assert list(files(SETTINGS)) == list(files(other_order))


def test_the_password_is_in_the_tables_alone_which_are_closed() -> None:
    for file in files(SETTINGS):
        assert (b"lookup-pw" in file.content) == file.name.startswith("ldap-") == (file.mode == 0o640)
    assert "lookup-pw" not in repr(SETTINGS)


@pytest.mark.parametrize(
    ("answer", "transport"),
    [
        ("exchange,mailbox", "exchange:[ex1.acme.example]:25"),
        ("mailbox,exchange,store1.acme.example", "exchange:[ex1.acme.example]:25"),
        ("store1.acme.example,parked,mailbox", "parked:unix:parked-until-the-route-changes"),
        ("local,store1.acme.example,mailbox", "store:inet:10.0.0.1:24"),
        ("mailbox,STORE1.acme.example,Local", "store:inet:10.0.0.1:24"),
        ("b,mailbox,local", "store:inet:[fe80::1]:24"),
        ("local,mailbox", "unrouted:unix:no-such-store"),
        ("local,store1xacme.example,mailbox", "unrouted:unix:no-such-store"),
        ("local,my.store1.acme.example,mailbox", "unrouted:unix:no-such-store"),
        ("public-folder", "exchange:[ex1.acme.example]:25"),
        ("dynamic-group", "discard:this group has no members"),
        ("mail-user", "unrouted:unix:no-route"),
        ("nonsense,mailbox", "unrouted:unix:no-route"),
    ],
)
def test_what_becomes_of_an_answer_of_the_directory(answer: str, transport: str) -> None:
    assert route(answer) == transport


def test_each_table_asks_about_our_domains_and_its_own_alone() -> None:
    for table in tables.TABLES:
        text = tables.text(table, SETTINGS)
        domain = re.findall(r"^domain = (.*)$", text, re.MULTILINE)
        expected = ["open.acme.example"] if table.in_open_domain else ["acme.example, acme.test"]
        assert domain == ([] if table.about_sender else expected)
        query = re.findall(r"^query_filter = (.*)$", text, re.MULTILINE)[0]
        assert query.count("(") == query.count(")") and ("%s" in query) != ("%u" in query)
        assert "start_tls = yes" in text and "tls_require_cert = yes" in text


def test_the_schema_of_qmail_has_its_own_attribute() -> None:
    qmail = replace(SETTINGS, directory=replace(DIRECTORY, words=openldap("mailAlternateAddress")))
    assert "(mailAlternateAddress=%s)" in tables.text(tables.RECIPIENTS, qmail)


def test_every_service_that_main_cf_names_is_in_master_cf() -> None:
    services = re.findall(r"^(\S+) (?:inet|unix|unix-dgram) ", render.master(SETTINGS), re.MULTILINE)
    assert len(services) == len(set(services))
    named = re.findall(r"(\w+):(?:\[|unix:|inet:)", render.main(SETTINGS) + tables.transports(SETTINGS))
    assert {"exchange", "parked", "unrouted", "store"} == set(named) <= set(services)


def test_parameters_that_are_set_twice_are_a_mistake() -> None:
    names = re.findall(r"^(\w+) =", render.main(SETTINGS), re.MULTILINE)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "wrong",
    [
        {"domains": ()},
        {"open_domain": "acme.example"},
        {"open_domain": "exchange.acme.example"},
        {"hostname": "mx acme"},
        {"stores": {"parked": Endpoint("10.0.0.1", 24)}},
        {"stores": {"a,b": Endpoint("10.0.0.1", 24)}},
        {"exchange_networks": ("10.0.0.0/8, 0.0.0.0/0",)},
        {"listen": "25\n26 inet n - n - - smtpd"},
        {"config_dir": Path("/etc/post fix")},
        {"certificate": Path("/etc/$evil")},
        {"directory": replace(DIRECTORY, password=Secret("two\nlines"))},
        {"directory": replace(DIRECTORY, password=Secret(" blank"))},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(SETTINGS, **wrong)
    assert "lines" not in str(caught.value.about)


@pytest.mark.parametrize(("host", "port"), [("", 25), ("a b", 25), ("host", 0), ("host", 65536), ("[::1]", 25)])
def test_an_endpoint_that_makes_no_sense_is_refused(host: str, port: int) -> None:
    with pytest.raises(ConfigError):
        Endpoint(host, port)


@pytest.mark.parametrize("gate", ["mailferryGate", ""])
def test_active_directory_is_asked_in_its_own_words(gate: str) -> None:
    words = active_directory(Attributes(route="extensionAttribute10", gate=gate))
    people = replace(DIRECTORY, words=words)
    settings = replace(
        SETTINGS, directory=people, submission=Submission("/run/auth", "127.0.0.1:587", "127.0.0.1:465", 2)
    )
    rendered = {file.name: file.content.decode() for file in render.files(settings)}
    for name, text in rendered.items():
        assert not re.search(r"<\w+>", text), f"{name}: a word that nobody has said"
        assert not re.search(r"mailferry(Route\b|SourceId|Kind|Principal)", text), f"{name}: only our directory has it"
    assert "extensionAttribute10" in rendered["ldap-routes.cf"]
    named = set(re.findall(r"/etc/postfix/([\w.-]+)", rendered["main.cf"]))
    assert named <= rendered.keys() | {"main.cf"}
    assert ("ldap-gate1.cf" in rendered) == ("gate1 =" in rendered["main.cf"]) == bool(gate)
