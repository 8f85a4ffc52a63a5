"""Our Postfix between real stores and one posing as Exchange: each route, groups, aliases, refusals, no loops."""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Callable, Iterator

import pytest

from tests.mail_flow import DOMAIN, EXCHANGE_DOMAIN, OPEN_DOMAIN, STORE2, Sides, sides

IMCEAEX = (
    "IMCEAEX-_O=ACME_OU=EXCHANGE+20ADMINISTRATIVE+20GROUP+20+28FYDIBOHF23SPDLT+29_CN=RECIPIENTS_CN="
    "0123456789ABCDEF0123456789ABCDEF-{}@acme.example"
)


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


def refused(
    both: Sides, address: str, *, port: int | None = None, sender: str = "a@outside.example"
) -> tuple[int, str]:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        both.postfix.send(address, "never", port=port, sender=sender)
    code, text = caught.value.recipients[address]
    return code, text.decode()


def test_each_route_leads_where_it_says(both: Sides, new_user: Callable[[], str]) -> None:
    on_exchange, here, there, parked = (new_user() for _ in range(4))
    addresses = [
        both.add(on_exchange),
        both.add(here, "local"),
        both.add(there, "local", mailHost=STORE2),
        both.add(parked, "parked", mailHost=STORE2),
    ]
    both.postfix.send(addresses, "one for all")
    both.wait(both.exchange_store, addresses[0], ["one for all"])
    both.wait(both.store, addresses[1], ["one for all"])
    both.wait(both.store2, addresses[2], ["one for all"])
    waits = [one for one in both.postfix.queue() if one["recipients"][0]["address"] == addresses[3]]
    assert [one["address"] for one in waits[0]["recipients"]] == [addresses[3]], "the others do not wait with it"
    both.change(parked, mailferryRoute="local")
    both.postfix.reload()
    both.postfix.run("postqueue", "-i", waits[0]["queue_id"])
    both.wait(both.store2, addresses[3], ["one for all"])
    both.drain()


def test_mail_between_the_sides_in_all_four_directions(both: Sides, new_user: Callable[[], str]) -> None:
    moved, stayed = new_user(), new_user()
    to_moved, to_stayed = both.add(moved, "local"), both.add(stayed)
    for port, who in ((both.postfix.port, "open"), (both.exchange.postfix.port, "exchange")):
        both.postfix.send(to_moved, f"{who} to moved", port=port)
        both.postfix.send(to_stayed, f"{who} to stayed", port=port)
        both.drain()
    both.wait(both.store, to_moved, ["open to moved", "exchange to moved"])
    both.wait(both.exchange_store, to_stayed, ["open to stayed", "exchange to stayed"])
    assert both.stored(both.exchange_store, to_moved) == both.stored(both.store, to_stayed) == []


def test_who_does_not_exist_is_refused_at_the_door(both: Sides) -> None:
    for port in (both.postfix.port, both.postfix.exchange_port):
        for address in (f"nobody@{DOMAIN}", f"nobody@{OPEN_DOMAIN}"):
            code, text = refused(both, address, port=port)
            assert code == 550 and "5.1.1" in text
    assert refused(both, f"x@{EXCHANGE_DOMAIN}")[0] == 550, "the routing domains are not for the world"
    assert refused(both, "x@elsewhere.example")[0] == 554, "no open relay"
    assert refused(both, "x@elsewhere.example", port=both.postfix.exchange_port)[0] == 554


def test_nothing_from_exchange_goes_back_to_it(both: Sides, new_user: Callable[[], str]) -> None:
    uid = new_user()
    address = both.add(uid)
    port = both.postfix.exchange_port
    for one in (address, f"{uid}@{OPEN_DOMAIN}"):
        assert refused(both, one, port=port) == (550, refused(both, one, port=port)[1])
        assert "5.4.6" in refused(both, one, port=port)[1]
    both.change(uid, mailferryRouteFreshUntil="20361122120000Z")
    for one in (address, f"{uid}@{OPEN_DOMAIN}"):
        code, text = refused(both, one, port=port)
        assert code == 451 and "4.4.6" in text
    assert refused(both, f"{uid}@{EXCHANGE_DOMAIN}", port=port)[0] == 550


def test_an_external_address_that_is_wrong_ends_at_the_first_return(both: Sides, new_user: Callable[[], str]) -> None:
    uid = new_user()
    address = both.add(uid)
    both.exchange.update(targets={address: f"{uid}@{OPEN_DOMAIN}"})  # Exchange sends it here, the route says Exchange
    both.postfix.send(address, "round and round")
    both.drain()
    assert both.exchange.log().count(f"to=<{uid}@{OPEN_DOMAIN}>") == 1
    assert "5.4.6" in both.exchange.log()
    assert both.stored(both.store, address) == both.stored(both.exchange_store, address) == []


def test_a_group_across_both_sides(both: Sides, new_user: Callable[[], str]) -> None:
    moved, stayed, twice = new_user(), new_user(), new_user()
    people = [both.add(moved, "local"), both.add(stayed), both.add(twice, "local")]
    inner = both.group(new_user(), [twice, stayed])
    outer = both.group(new_user(), [moved, twice, f"cn={inner.partition('@')[0]},ou=groups,{both.openldap.suffix}"])
    both.postfix.send([outer, inner], "to all")
    both.postfix.send(outer, "from Exchange", port=both.postfix.exchange_port)
    both.drain()
    for address, store in zip(people, (both.store, both.exchange_store, both.store), strict=True):
        assert sorted(both.stored(store, address)) == ["from Exchange", "to all"]


def test_a_group_without_members_gets_nothing_and_bounces_nothing(both: Sides, new_user: Callable[[], str]) -> None:
    both.postfix.send(both.group(new_user(), []), "into the void")
    both.drain()
    assert "status=sent (this group has no members)" in both.postfix.log()


def test_a_group_larger_than_postfix_likes_by_itself(both: Sides, new_user: Callable[[], str]) -> None:
    address = both.add(new_user(), "local")
    # more than virtual_alias_expansion_limit's default; addresses that bounce without a connection
    outside = [f"m{n}@{OPEN_DOMAIN}" for n in range(1100)]
    big = both.group(new_user(), [address.partition("@")[0]], mailferryExternalMember=outside)
    both.postfix.send(big, "to very many")
    both.wait(both.store, address, ["to very many"])
    assert "nrcpt=1101 (queue active)" in both.postfix.log()
    both.drain()


def test_groups_in_a_circle_are_put_off_soon(both: Sides, new_user: Callable[[], str]) -> None:
    one, two, uid = new_user(), new_user(), new_user()
    address = both.add(uid, "local")
    below = f"ou=groups,{both.openldap.suffix}"
    first = both.group(one, [uid, f"cn={two},{below}"])
    both.group(two, [uid, f"cn={one},{below}"])
    began = time.monotonic()
    with pytest.raises(smtplib.SMTPDataError) as caught:
        both.postfix.send(first, "round and round")
    assert caught.value.smtp_code == 451 and time.monotonic() - began < 10
    assert both.stored(both.store, address) == []


def test_aliases_and_replies_to_old_exchange_messages_arrive(both: Sides, new_user: Callable[[], str]) -> None:
    uid = new_user()
    address, old = f"{uid}@{DOMAIN}", IMCEAEX.format(uid.upper())
    assert len(old) > 120
    both.add(uid, "local", mailLocalAddress=[address, f"{uid}.alias@{DOMAIN}", old])
    both.postfix.send(old, "reply")
    both.wait(both.store, address, ["reply"])
    both.postfix.send(f"{uid.upper()}.Alias@ACME.example", "alias", port=both.postfix.exchange_port)
    both.wait(both.store, address, ["reply", "alias"])


def test_forwarding_of_people_who_moved(both: Sides, new_user: Callable[[], str]) -> None:
    keeps, leaves, target, stays = (new_user() for _ in range(4))
    to = both.add(target, "local", mailHost=STORE2)
    kept = both.add(keeps, "local", mailferryForwardTo=to, mailferryKeepCopy="TRUE")
    left = both.add(leaves, "local", mailferryForwardTo=to)
    stayed = both.add(stays, mailferryForwardTo=to, mailferryKeepCopy="TRUE")
    both.postfix.send(kept, "kept")
    both.wait(both.store2, to, ["kept"])
    both.wait(both.store, kept, ["kept"])
    both.postfix.send(left, "left")
    both.wait(both.store2, to, ["kept", "left"])
    both.postfix.send(stayed, "stayed")
    both.wait(both.exchange_store, stayed, ["stayed"])
    both.drain()
    assert both.stored(both.store, left) == []
    assert both.stored(both.store2, to) == ["kept", "left"], "Exchange forwards for those who are there"


def test_who_is_gone_by_the_time_of_delivery_bounces(both: Sides, new_user: Callable[[], str]) -> None:
    address = both.add(new_user(), "local", mailferryForwardTo=f"gone-{new_user()}@{DOMAIN}")
    both.postfix.send(address, "to nobody")
    both.drain()
    assert re.search(f"orig_to=<{address}>.*dsn=5.1.1, status=bounced .no such address", both.postfix.log())


def test_who_may_send_to_a_restricted_group(both: Sides, new_user: Callable[[], str]) -> None:
    address = both.add(new_user(), "local")
    uid = address.partition("@")[0]
    inside = both.group(new_user(), [uid], mailferryInternalOnly=["TRUE"])
    chosen = both.group(new_user(), [uid], mailferryAcceptFromAddress=["friend@partner.example"])
    assert refused(both, inside)[0] == 550
    assert refused(both, chosen)[0] == 554
    both.postfix.send(chosen, "from a friend", sender="friend@partner.example")
    both.wait(both.store, address, ["from a friend"])
    both.postfix.send(inside, "from inside", port=both.postfix.exchange_port)
    both.wait(both.store, address, ["from a friend", "from inside"])


def test_a_route_that_makes_no_sense_waits(both: Sides, new_user: Callable[[], str]) -> None:
    uid = new_user()
    address = both.add(uid, "local", mailHost="no.such.store")
    both.postfix.send(address, "patience")
    deadline = time.monotonic() + 10
    while not (waits := [one for one in both.postfix.queue() if address in str(one) and "deferred t" in str(one)]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    both.change(uid, mailHost=STORE2)
    both.postfix.reload()
    both.postfix.run("postqueue", "-i", waits[0]["queue_id"])
    both.wait(both.store2, address, ["patience"])


def test_a_directory_that_is_away_is_no_reason_to_refuse_anybody(both: Sides, new_user: Callable[[], str]) -> None:
    address = both.add(new_user(), "local")
    both.openldap.halt()
    try:
        for one in (address, f"nobody@{DOMAIN}"):
            for port in (both.postfix.port, both.postfix.exchange_port):
                assert refused(both, one, port=port)[0] == 451
    finally:
        both.openldap.start()
    both.postfix.send(address, "back again")
    both.wait(both.store, address, ["back again"])
