"""Parked mail waits, and is released in order, exactly once, on either side; routes are changed with a record."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lab.openldap import WRITER_PASSWORD
from lab.process import workspace
from mailferry.cli.route import route_command
from mailferry.coexist import parking, routes
from mailferry.coexist.explain import explain
from mailferry.coexist.queues import queue_of
from mailferry.errors import SafetyStop, Temporary, UserError
from mailferry.ledger import open_ledger
from mailferry.ledger.store import Ledger
from mailferry.net import ldap
from mailferry.ops import route as ops
from mailferry.secret import Secret
from mailferry.stack.postfix.settings import Route
from tests.mail_flow import DOMAIN, OPEN_DOMAIN, STORE, STORE2, Sides, settings_of, sides


@pytest.fixture(scope="module")
def both() -> Iterator[Sides]:
    with sides() as running:
        yield running


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    db = open_ledger(str(tmp_path / "ledger.db"))
    yield db
    db.close()


@pytest.fixture
def place(both: Sides, ledger: Ledger) -> Iterator[ops.Place]:
    here = both.openldap
    server = ldap.Server(here.url, user=here.settings.writer_dn, secret=Secret(WRITER_PASSWORD), plain=True)
    stores = {STORE: ("127.0.0.1", both.store.lmtp_port), STORE2: ("127.0.0.1", both.store2.lmtp_port)}
    settings = settings_of(both.postfix, here, ("127.0.0.1", both.exchange.postfix.port), stores)
    with ldap.Connection(server) as connection:
        people = routes.People(connection, here.suffix, open_domain=OPEN_DOMAIN)
        yield ops.Place(settings, people, ledger, mta(both), 24.0)


def mta(both: Sides) -> parking.Mta:
    own = ("-c", str(both.postfix.config_dir))
    return parking.Mta(("postqueue", *own), ("postfix", *own, "reload"), ("postsuper", *own))


def park(both: Sides, place: ops.Place, address: str, subjects: list[str]) -> None:
    """Park somebody, and send them these; return when all wait."""
    ops.change(place, address, Route.PARKED, None, dry_run=False)
    forget(place)
    for subject in subjects:
        both.postfix.send(address, subject)
    waits_for(place, address, len(subjects))


def waiting(place: ops.Place, address: str) -> list[parking.Waiting]:
    return asyncio.run(queue_of(place.mta).waiting(address))


def forget(place: ops.Place) -> None:
    asyncio.run(queue_of(place.mta).forget(""))


def waits_for(place: ops.Place, address: str, count: int) -> None:
    """Return when so many messages are parked."""
    deadline = time.monotonic() + 15
    while [parking.is_parked(one) for one in waiting(place, address)] != [True] * count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("to", [Route.LOCAL, Route.EXCHANGE])
def test_parked_mail_is_released_in_order_on_either_side(
    both: Sides, place: ops.Place, new_user: Callable[[], str], to: Route
) -> None:
    address = both.add(new_user())
    subjects = [f"number {n:02}" for n in range(20)]
    park(both, place, address, subjects)
    store = both.store if to is Route.LOCAL else both.exchange_store
    other = both.exchange_store if to is Route.LOCAL else both.store
    assert both.stored(store, address) == both.stored(other, address) == []
    with pytest.raises(SafetyStop, match="still parked"):
        ops.release(place, address)
    ops.change(place, address, to, STORE if to is Route.LOCAL else None, dry_run=False)
    released = ops.release(place, address)
    assert len(released.tried) == 20 and released.left == ()
    have = both.stored(store, address)
    if to is Route.EXCHANGE:  # which delivers in an order of its own
        both.exchange.postfix.drained()
        have = sorted(both.stored(store, address))
        sent = re.findall(r" (\w+): to=<" + address + ">.*status=sent", both.postfix.log())
        assert tuple(sent) == released.tried
    assert have == subjects
    assert both.stored(other, address) == []
    assert ops.release(place, address) == parking.Released((), ())


def test_only_the_one_who_is_parked_is_released(both: Sides, place: ops.Place, new_user: Callable[[], str]) -> None:
    address, neighbour = both.add(new_user()), both.add(new_user())
    park(both, place, address, ["mine"])
    park(both, place, neighbour, ["theirs"])
    both.postfix.send([address, neighbour], "for both")
    waits_for(place, address, 2)
    ops.change(place, address, Route.LOCAL, STORE, dry_run=False)
    ops.release(place, address)
    both.wait(both.store, address, ["mine", "for both"])
    waits_for(place, neighbour, 2)
    ops.change(place, neighbour, Route.LOCAL, STORE2, dry_run=False)
    assert len(ops.release(place, neighbour).tried) == 2
    both.wait(both.store2, neighbour, ["theirs", "for both"])


def test_somebody_flushes_the_queue_while_mail_is_parked(
    both: Sides, place: ops.Place, new_user: Callable[[], str]
) -> None:
    uid = new_user()
    address, nowhere = both.add(uid), both.add(new_user(), "local", mailHost="no.such.store")
    both.postfix.send(nowhere, "no store")
    park(both, place, address, ["one", "two"])
    waits_for(place, nowhere, 1)
    both.postfix.run("postqueue", "-f")
    deadline = time.monotonic() + 15
    while not all("No such file" in one.why for one in waiting(place, address)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    waits_for(place, address, 2)
    waits_for(place, nowhere, 1)
    assert "status=bounced" not in "".join(line for line in both.postfix.log().splitlines() if uid in line)
    ops.change(place, address, Route.LOCAL, STORE, dry_run=False)
    assert ops.release(place, address).left == ()
    both.wait(both.store, address, ["one", "two"])
    ops.change(place, nowhere, Route.LOCAL, STORE, dry_run=False)
    assert ops.release(place, nowhere).left == ()
    both.wait(both.store, nowhere, ["no store"])


def test_a_route_flips_while_mail_pours_in(both: Sides, place: ops.Place, new_user: Callable[[], str]) -> None:
    address = both.add(new_user())
    sent: list[str] = []
    stop = threading.Event()

    def pour() -> None:
        while not stop.is_set():
            subject = f"poured {len(sent):04}"
            both.postfix.send(address, subject, port=both.postfix.port)
            sent.append(subject)
            time.sleep(0.02)

    sender = threading.Thread(target=pour)
    sender.start()
    time.sleep(0.5)
    ops.change(place, address, Route.PARKED, None, dry_run=False)
    forget(place)
    time.sleep(0.7)
    ops.change(place, address, Route.LOCAL, STORE, dry_run=False)
    ops.release(place, address)
    time.sleep(0.5)
    stop.set()
    sender.join()
    both.drain()
    old, new = both.stored(both.exchange_store, address), both.stored(both.store, address)
    assert sorted([*old, *new]) == sent, "each one once"
    assert old and new and max(old) < min(new)


def test_mail_that_the_store_does_not_take_now_stays_in_the_queue(
    both: Sides, place: ops.Place, new_user: Callable[[], str]
) -> None:
    address = both.add(new_user())
    park(both, place, address, ["patient"])
    both.store2.halt()
    try:
        ops.change(place, address, Route.LOCAL, STORE2, dry_run=False)
        released = ops.release(place, address)
        assert len(released.left) == 1 and "refused" in released.left[0].why
    finally:
        both.store2.start()
    again = ops.release(place, address)
    assert (again.tried, again.left) == (released.tried, ())
    both.wait(both.store2, address, ["patient"])


def test_a_change_is_recorded_before_and_after_and_may_be_repeated(
    both: Sides, place: ops.Place, ledger: Ledger, new_user: Callable[[], str]
) -> None:
    uid = new_user()
    address = both.add(uid)
    dry = ops.change(place, address, Route.LOCAL, STORE, dry_run=True)
    assert not dry.made and routes.find(place.people, address).route == "exchange" and ledger.events() == []
    made = ops.change(place, address.upper(), Route.LOCAL, STORE, dry_run=False)
    assert made.made and routes.find(place.people, f"{uid}@{OPEN_DOMAIN}") == made.after
    assert not ops.change(place, address, Route.LOCAL, STORE, dry_run=False).made
    events = [(one.what, one.data["before"]["route"], one.data["after"]["route"]) for one in ledger.events()]
    assert events == [
        (routes.INTENDED, "exchange", "local"),
        (routes.SET, "exchange", "local"),
        (routes.SET, "local", "local"),
    ]


def test_two_who_change_a_route_at_once(both: Sides, place: ops.Place, new_user: Callable[[], str]) -> None:
    uid = new_user()
    address = both.add(uid)
    search = place.people.connection.search

    def late(*arguments: Any, **more: Any) -> list[ldap.Entry]:
        found = list(search(*arguments, **more))
        both.change(uid, mailferryRoute="parked")  # by somebody else, between reading and writing
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.people.connection, "search", late)
        with pytest.raises(Temporary, match="somebody else"):
            ops.change(place, address, Route.LOCAL, STORE, dry_run=False)
    assert [one.what for one in place.ledger.events()] == [routes.INTENDED], "it was not made"
    assert routes.find(place.people, address).store == ""
    assert ops.change(place, address, Route.LOCAL, STORE, dry_run=False).before.route == "parked"


def test_what_is_parked_is_forwarded_once_wherever_it_goes(
    both: Sides, place: ops.Place, new_user: Callable[[], str]
) -> None:
    """With a copy: not before it is known where it goes, as Exchange would forward it again. Without: at once."""
    friend = both.add(new_user(), "local", mailHost=STORE2)
    moves, returns, leaves = (
        both.add(new_user(), mailferryForwardTo=friend, mailferryKeepCopy=keep) for keep in ("TRUE", "TRUE", "FALSE")
    )
    park(both, place, moves, ["moves 1", "moves 2"])
    park(both, place, returns, ["returns"])
    park(both, place, leaves, [])
    both.postfix.send(leaves, "leaves")
    both.wait(both.store2, friend, ["leaves"])
    ops.change(place, moves, Route.LOCAL, STORE, dry_run=False)
    ops.change(place, returns, Route.EXCHANGE, None, dry_run=False)
    assert ops.release(place, moves).left == ops.release(place, returns).left == ()
    both.wait(both.exchange_store, returns, ["returns"])
    deadline = time.monotonic() + 15
    while sorted(both.stored(both.store2, friend)) != ["leaves", "moves 1", "moves 2"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    both.drain()
    assert sorted(both.stored(both.store, moves)) == ["moves 1", "moves 2"]
    assert sorted(both.stored(both.store2, friend)) == ["leaves", "moves 1", "moves 2"]


def test_the_directory_goes_away_while_mail_waits(both: Sides, place: ops.Place, new_user: Callable[[], str]) -> None:
    address = both.add(new_user())
    park(both, place, address, ["still here"])
    both.openldap.halt()
    try:
        forget(place)
        both.postfix.run("postqueue", "-i", waiting(place, address)[0].id)
        deadline = time.monotonic() + 15
        while not any(one.why and not parking.is_parked(one) for one in waiting(place, address)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        both.openldap.start()
    both.change(address.partition("@")[0], mailferryRoute="local", mailHost=STORE)
    forget(place)
    assert asyncio.run(queue_of(place.mta).release(address)).left == ()
    both.wait(both.store, address, ["still here"])


def test_a_change_that_makes_no_sense_is_refused(both: Sides, place: ops.Place, new_user: Callable[[], str]) -> None:
    address = both.add(new_user())
    for wrong in (f"nobody@{DOMAIN}", "no address", both.group(new_user(), [address.partition("@")[0]])):
        with pytest.raises(UserError):
            ops.change(place, wrong, Route.PARKED, None, dry_run=False)
    with pytest.raises(UserError, match="store"):
        ops.change(place, address, Route.LOCAL, None, dry_run=False)
    with pytest.raises(UserError, match="no such store"):
        ops.change(place, address, Route.LOCAL, "typo", dry_run=False)
    assert routes.find(place.people, address).route == "exchange"


def test_a_route_is_fresh_until_it_has_settled(both: Sides, place: ops.Place, new_user: Callable[[], str]) -> None:
    address = both.add(new_user(), "local")
    changed = ops.change(place, address, Route.EXCHANGE, None, dry_run=False)
    until = changed.after.fresh_until
    assert until is not None and 23 * 3600 < until - time.time() <= 24 * 3600
    assert both.postfix.lookup(address, "ldap-back-fresh.cf").startswith("451 4.4.6")
    assert changed.after.dn not in routes.settle(place.people, place.ledger, until - 1)
    assert changed.after.dn in routes.settle(place.people, place.ledger, until)
    assert both.postfix.lookup(address, "ldap-back-fresh.cf") == ""
    assert both.postfix.lookup(address, "ldap-back.cf").startswith("550 5.4.6")


def test_show_says_what_postfix_does(both: Sides, place: ops.Place, new_user: Callable[[], str]) -> None:
    uids = [new_user() for _ in range(5)]
    old = f"{uids[0]}.old@{DOMAIN}"
    both.add(uids[0], "local", mailLocalAddress=[f"{uids[0]}@{DOMAIN}", old])
    both.add(uids[1])
    both.add(uids[2], "parked")
    both.add(uids[3], "local", mailHost="typo")
    both.add(uids[4], "local", mailferryForwardTo="x@elsewhere.example", mailferryKeepCopy="TRUE")
    group = both.group(new_user(), uids, mailferryExternalMember=["y@elsewhere.example"])
    steps = explain(place.people, place.settings, group)
    etc = both.postfix.config_dir
    table = f"pipemap:{{ ldap:{etc}/ldap-routes.cf, regexp:{etc}/transports.regexp }}"
    ends = {step.address: step.where.partition(" ")[0] for step in steps if step.where}
    for uid in uids:
        address = f"{uid}@{DOMAIN}"
        said = both.postfix.run("postmap", "-q", address, table).partition(":")[0]
        assert ends.pop(address) == said
    assert ends == {"x@elsewhere.example": "outside", "y@elsewhere.example": "outside"}
    assert [step.where for step in explain(place.people, place.settings, old)][-1].startswith("store")
    assert [step.where for step in explain(place.people, place.settings, f"nobody@{DOMAIN}")] == ["550"]
    back = explain(place.people, place.settings, f"{uids[1]}@{OPEN_DOMAIN}")
    assert all(step.from_exchange.startswith("550") for step in back)


def test_the_command_line(both: Sides, new_user: Callable[[], str]) -> None:
    uid = new_user()
    address = both.add(uid)
    folder = workspace("route")
    own = f"-c {both.postfix.config_dir}"
    (folder / "writer").write_text(WRITER_PASSWORD)
    (folder / "mailferry.toml").write_text(f"""
ledger = "{folder}/ledger.db"
[directory.source]
url = "ldap://127.0.0.1:9"
[directory.mapping]
domains = ["{DOMAIN}"]
[directory.exchange]
routing_domain = "{OPEN_DOMAIN}"
[directory.target]
url = "{both.openldap.url}"
suffix = "{both.openldap.suffix}"
bind = "{both.openldap.settings.writer_dn}"
password = "file:{folder}/writer"
tls = "none"
[stack.openldap]
provider = "{both.openldap.url}"
admin_password = "file:{folder}/writer"
sync_password = "file:{folder}/writer"
replicator_password = "file:{folder}/writer"
lookup_password = "file:{folder}/writer"
[stack.postfix]
hostname = "mx.acme.example"
exchange = "127.0.0.1:{both.exchange.postfix.port}"
exchange_domain = "exchange.acme.example"
exchange_networks = ["127.0.0.0/8"]
postqueue = "postqueue {own}"
reload = "postfix {own} reload"
[stack.postfix.stores]
{STORE} = "127.0.0.1:{both.store.lmtp_port}"
""")

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(
            route_command, [*arguments, "--config", str(folder / "mailferry.toml")], standalone_mode=False
        )
        assert done.exception is None, done.output
        assert (done.return_value or 0) == code, done.output
        return done.output

    assert f"{address}: mailferryRoute is exchange -> exchange (127.0.0.1:" in run("show", address)
    assert "would change from exchange to parked" in run("set", address, "parked", "--dry-run")
    assert "changed from exchange to parked" in run("set", address, "parked")
    assert "unchanged, parked" in run("set", address, "parked")
    both.postfix.reload()
    both.postfix.send(address, "by hand")
    assert "Next: mailferry route release" in run("set", address, "local", "--store", STORE)
    shown = json.loads(run("release", address, "--json"))
    assert (len(shown["tried"]), shown["left"]) == (1, [])
    both.wait(both.store, address, ["by hand"])
    assert "0 routes are stable now" in run("settle")
    assert "550" in run("show", f"nobody@{DOMAIN}", code=1)
