"""From a real Active Directory through reader and cleaning: all of Acme's dirt is found, and nobody else is blamed."""

from __future__ import annotations

import time
from collections import defaultdict

import pytest

from lab.organisation import organisation
from lab.organisation_data import DOMAINS, Organisation, Trouble
from lab.organisation_ldif import distinguished_names
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.directory.clean import Cleaned, Policy, clean
from mailferry.directory.readers.ad import ActiveDirectory
from mailferry.net.ldap import Server
from mailferry.secret import Secret
from mailferry.wire import dn as places

CODES = {
    Trouble.ADDRESS_MISSING: "address-missing",
    Trouble.ADDRESS_MALFORMED: "address-malformed",
    Trouble.ADDRESS_TWICE: "address-claimed-twice",
    Trouble.DOMAIN_WRONG: "domain-wrong",
    Trouble.PRIMARY_DIFFERS: "primary-differs",
    Trouble.PRIMARY_TWICE: "primary-twice",
    Trouble.DUPLICATE: "duplicate-near",
    Trouble.NEAR_DUPLICATE: "duplicate-near",
    Trouble.CONTACT_OF_OURS: "duplicate",
    Trouble.NO_SURNAME: "surname-missing",
    Trouble.CONTROL_CHARACTER: "control-characters",
    Trouble.TRAILING_SPACE: "blanks",
    Trouble.SPECIAL_NAME: "name-characters",
    Trouble.MIXED_ENCODING: "encoding-broken",
    Trouble.DISABLED: "account-disabled",
    Trouble.EXPIRED: "account-expired",
    Trouble.OTHER_NETWORK: "external-address-kind",
    Trouble.SYSTEM_MAILBOX: "system-mailbox",
    Trouble.GROUP_LOOP: "group-loop",
    Trouble.GROUP_EMPTY: "group-empty",
}
TRUE_OF_CLEAN_ONES = {"reference-left-out", "moderated"}
"""What cleaning rightly says of clean entries: they mention those who stay out, or a moderator."""


@pytest.fixture(scope="module")
def acme() -> Organisation:
    return organisation(50)


@pytest.fixture(scope="module")
def cleaned(samba_acme: Samba) -> Cleaned:
    server = Server(
        samba_acme.tls_url, user=samba_acme.reader_dn, secret=Secret(PASSWORD), ca_file=str(samba_acme.ca_file)
    )
    with ActiveDirectory(server) as reader:
        return clean(reader.read(), Policy(time.time(), frozenset(DOMAINS)))


def codes_by_account(cleaned: Cleaned, acme: Organisation) -> dict[str, set[str]]:
    accounts = {places.parse(place): account for account, place in distinguished_names(acme).items()}
    found = defaultdict(set)
    for one in cleaned.findings:
        account = accounts.get(places.parse(one.where))
        if account is not None:
            found[account].add(one.code)
    return found


@pytest.mark.parametrize("trouble", list(Trouble))
def test_dirt_is_found(trouble: Trouble, cleaned: Cleaned, acme: Organisation) -> None:
    found = codes_by_account(cleaned, acme)
    pieces = [dirt for dirt in acme.dirt if dirt.trouble is trouble]
    assert pieces
    for dirt in pieces:
        wanted = "group-in-itself" if dirt.account == "loop-self" else CODES[trouble]
        assert wanted in found[dirt.account] | found[dirt.other], dirt


def test_nobody_else_is_blamed(cleaned: Cleaned, acme: Organisation) -> None:
    dirty = {account for dirt in acme.dirt for account in (dirt.account, dirt.other)}
    people = {entry.account for entry in acme.people}
    blamed = {account: codes - TRUE_OF_CLEAN_ONES for account, codes in codes_by_account(cleaned, acme).items()}
    assert {account: codes for account, codes in blamed.items() if codes and account in people - dirty} == {}
