"""The lab's organisation is what it says: always the same, with every kind of dirt, and clean apart from that."""

from __future__ import annotations

from collections import Counter

import pytest

from lab.organisation import organisation
from lab.organisation_data import Organisation, Reference, Trouble
from lab.organisation_ldif import distinguished_names
from mailferry.model.recipient import RecipientKind


@pytest.fixture(scope="module", params=[50, 3000])
def acme(request: pytest.FixtureRequest) -> Organisation:
    size: int = request.param
    return organisation(size)


def test_it_is_the_same_every_time_and_another_for_another_seed(acme: Organisation) -> None:
    assert organisation(acme.size) == acme
    assert organisation(acme.size, 2).entries != acme.entries


def test_it_has_everything(acme: Organisation) -> None:
    assert len(acme.people) == acme.size
    assert {entry.kind for entry in acme.entries} == set(RecipientKind)
    assert {dirt.trouble for dirt in acme.dirt} == set(Trouble)
    first = {entry.name[0] for entry in acme.people}
    for start, end in ("Αω", "Ая", "一龥"):  # Greek, Cyrillic, Chinese
        assert any(start <= sign <= end for sign in first)
    seen = {name for entry in acme.entries for name in entry.values}
    assert {"thumbnailPhoto", "altRecipient", "publicDelegates", "authOrig", "unauthOrig", "mDBStorageQuota"} <= seen
    assert {"msExchHideFromAddressLists", "dLMemSubmitPerms", "msExchDelegateListLink", "manager"} <= seen
    biggest = max(len(entry.values.get("member", ())) for entry in acme.entries)
    assert biggest > 1500 or acme.size == 50


def test_accounts_and_places_are_unique_and_references_lead_somewhere(acme: Organisation) -> None:
    accounts = [entry.account for entry in acme.entries]
    assert len(set(accounts)) == len(accounts)
    places = {place.casefold() for place in distinguished_names(acme).values()}
    assert len(places) == len(accounts)
    mentioned = {
        value.account
        for entry in acme.entries
        for values in entry.values.values()
        for value in values
        if isinstance(value, Reference)
    }
    assert mentioned <= set(accounts)


def test_an_address_is_claimed_twice_only_where_the_dirt_says_so(acme: Organisation) -> None:
    claims = Counter(
        address
        for entry in acme.entries
        for address in {
            str(value)[5:].lower()
            for value in entry.values.get("proxyAddresses", ())
            if str(value).lower().startswith("smtp:")
        }
    )
    twice = (Trouble.ADDRESS_TWICE, Trouble.CONTACT_OF_OURS)
    told = {dirt.value.lower() for dirt in acme.dirt if dirt.trouble in twice}
    assert {address for address, count in claims.items() if count > 1} == told


def test_control_characters_and_spaces_only_where_the_dirt_says_so(acme: Organisation) -> None:
    told = {
        dirt.account
        for dirt in acme.dirt
        if dirt.trouble in (Trouble.CONTROL_CHARACTER, Trouble.TRAILING_SPACE, Trouble.SPECIAL_NAME)
    }
    found = {
        entry.account
        for entry in acme.entries
        for values in entry.values.values()
        for value in values
        if isinstance(value, str) and (not value.isprintable() or value != value.strip())
    }
    assert found <= told
    assert {dirt.account for dirt in acme.dirt if dirt.trouble is Trouble.CONTROL_CHARACTER} <= found
    assert {dirt.account for dirt in acme.dirt if dirt.trouble is Trouble.TRAILING_SPACE} <= found
