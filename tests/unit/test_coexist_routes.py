"""Releases against a queue that a script plays, and answers of the directory that make no sense."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mailferry.coexist import parking, routes
from mailferry.coexist.parking import Mta, Queue
from mailferry.errors import ConfigError, IntegrityError, RemoteProtocolError, Temporary, UserError
from mailferry.net.ldap_entry import Entry

ADDRESS = "alice@acme.example"


def queued(number: int, why: str = "deferred transport", address: str = ADDRESS) -> dict[str, object]:
    recipient = {"address": address, **({"delay_reason": why} if why else {})}
    others = {"address": "bob@acme.example", "delay_reason": "deferred transport"}
    return {
        "queue_name": "deferred",
        "queue_id": f"4jXX{number:03}",
        "arrival_time": 1000 + number // 2,
        "message_size": 9,
        "recipients": [others, recipient],
    }


def played(folder: Path, *records: object) -> Mta:
    """A postqueue whose queue is a directory of files; `-i` takes a message out of it, and says so in `tried`."""
    (folder / "queue").mkdir()
    for number, record in enumerate(records):
        name = record["queue_id"] if isinstance(record, dict) else f"raw{number}"
        (folder / "queue" / name).write_text((record if isinstance(record, str) else json.dumps(record)) + "\n")
    script = folder / "postqueue"
    script.write_text(f"""#!/bin/sh
cd {folder}/queue
case $1 in
    -j) cat ./* 2> /dev/null; exit 0 ;;
    -i) echo "$2" >> ../tried; grep -q "keep" "$2" || rm "$2" ;;
esac
""")
    script.chmod(0o755)
    return Mta((str(script),), ("true",))


def test_what_waits_is_listed_oldest_first(tmp_path: Path) -> None:
    mta = played(
        tmp_path, queued(3), queued(2), queued(7, address="carol@acme.example"), queued(0, address="ALICE@acme.example")
    )
    assert [one.id for one in asyncio.run(Queue(mta).waiting(ADDRESS))] == ["4jXX000", "4jXX002", "4jXX003"]


def test_a_release_takes_them_one_after_the_other(tmp_path: Path) -> None:
    mta = played(tmp_path, *(queued(number) for number in (5, 1, 4)), queued(2, address="carol@acme.example"))
    released = asyncio.run(Queue(mta).release(ADDRESS))
    assert released == parking.Released(("4jXX001", "4jXX004", "4jXX005"), ())
    assert (tmp_path / "tried").read_text().split() == list(released.tried)


def test_a_release_tries_again_what_was_parked_once_more(tmp_path: Path) -> None:
    mta = played(tmp_path, queued(1, "connect to mx[parked-until-the-route-changes]: No such file (keep)"))
    released = asyncio.run(Queue(mta).release(ADDRESS, seconds=0.3))
    assert [one.id for one in released.left] == ["4jXX001"] and released.tried == ("4jXX001",)


def test_a_release_leaves_to_postfix_what_the_other_side_refuses(tmp_path: Path) -> None:
    mta = played(tmp_path, queued(1, "connect to store1: Connection refused (keep)"), queued(2))
    released = asyncio.run(Queue(mta).release(ADDRESS))
    assert [one.id for one in released.left] == ["4jXX001"]
    assert (tmp_path / "tried").read_text().split() == ["4jXX001", "4jXX002"], "each one once"


def test_what_is_on_its_way_is_waited_for_and_what_rests_is_not(tmp_path: Path) -> None:
    mta = played(
        tmp_path, {**queued(1, ""), "queue_name": "hold"}, queued(2), {**queued(3, ""), "queue_name": "active"}
    )

    async def quiet() -> bool:
        queue = Queue(mta)
        waits = asyncio.ensure_future(queue.quiet(ADDRESS))
        await asyncio.sleep(0.3)
        before = waits.done()
        (tmp_path / "queue" / "4jXX003").write_text(json.dumps(queued(3)) + "\n")
        await asyncio.wait_for(waits, 5)
        return before

    assert not asyncio.run(quiet()), "one was being delivered"
    with pytest.raises(Temporary, match="being delivered"):
        (tmp_path / "queue" / "4jXX003").write_text(json.dumps({**queued(3, ""), "queue_name": "incoming"}) + "\n")
        asyncio.run(Queue(mta).quiet(ADDRESS, 0.2))
    assert asyncio.run(Queue(mta).waiting(ADDRESS))[0].why == "on hold"


def test_without_a_command_to_reload_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "FORGOTTEN_SECONDS", 0.4)
    started = time.monotonic()
    asyncio.run(Queue(Mta()).forget())
    assert time.monotonic() - started >= 0.4


def test_many_who_ask_at_once_share_listings_and_reloads_that_begin_after_they_asked(tmp_path: Path) -> None:
    script = tmp_path / "count"
    script.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/calls\nsleep 0.2\n")
    script.chmod(0o755)

    async def many() -> list[int]:
        queue = Queue(Mta((str(script),), (str(script),)))
        counts = []
        for ask in (queue.listing, queue.forget):
            (tmp_path / "calls").write_text("")
            first = [asyncio.ensure_future(ask()) for _ in range(5)]
            while not (tmp_path / "calls").read_text():
                await asyncio.sleep(0.01)
            await asyncio.gather(*first, *(ask() for _ in range(5)))
            counts.append(len((tmp_path / "calls").read_text().split()))
        return counts

    assert asyncio.run(many()) == [2, 2], "one for the first five, one for those who asked while it ran"


@pytest.mark.parametrize("line", ["not JSON", '{"queue_id": "-d ALL", "recipients": []}', "{}"])
def test_a_listing_that_makes_no_sense_is_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(RemoteProtocolError, match="not a line of a queue"):
        asyncio.run(Queue(played(tmp_path, line)).waiting(ADDRESS))


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    blank = tmp_path / "blank"
    blank.write_text("")
    blank.chmod(0o755)
    with pytest.raises(Temporary, match="did not run"):
        asyncio.run(Queue(Mta((str(blank),))).waiting(ADDRESS))
    with pytest.raises(Temporary, match="ended with 3: mail system is down"):
        asyncio.run(Queue(Mta(reload=("sh", "-c", "echo mail system is down >&2; exit 3"))).forget())


@pytest.mark.parametrize(
    "command", [("postfx", "reload"), ("/etc/passwd",), ("sh", "-c", "postfx reload"), ("sh", "-c", "/etc/passwd")]
)
def test_a_program_that_is_not_there_is_named_with_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(parking, "FORGOTTEN_SECONDS", 0.4)
    queue = Queue(Mta((str(tmp_path),), command))
    with pytest.raises(ConfigError, match=r"postfx|/etc/passwd") as raised:
        asyncio.run(queue.forget())
    assert raised.value.about == shlex.join(command) and "[[coexist.queues]]" in raised.value.advice
    started = time.monotonic()
    asyncio.run(queue.forget_or_wait())
    assert time.monotonic() - started >= 0.4


def test_a_check_finds_what_is_missing_and_runs_nothing_else(tmp_path: Path) -> None:
    mta = played(tmp_path)
    touch = ("touch", str(tmp_path / "touched"))
    asyncio.run(Queue(replace(mta, reload=touch, postsuper=touch)).check())
    assert not (tmp_path / "touched").exists()
    for wrong in (replace(mta, reload=("postfx",)), replace(mta, postsuper=("postfx",)), Mta(("postfx",), touch)):
        with pytest.raises(ConfigError, match="postfx"):
            asyncio.run(Queue(wrong).check())


class Answers:
    """A directory that gives the same entries to every search, and remembers the filters."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = entries
        self.filters: list[str] = []

    def search(self, base: str, filter: str, attributes: object) -> list[Entry]:
        self.filters.append(filter)
        return list(self.entries)


def people(answers: Answers) -> routes.People:
    return routes.People(answers, "dc=acme,dc=example", open_domain="open.acme.example")  # type: ignore[arg-type]


def test_an_address_cannot_say_what_is_searched() -> None:
    answers = Answers(Entry("uid=a"))
    routes.find(people(answers), "*)(uid=*@acme.example")
    routes.find(people(answers), "al*ce@OPEN.acme.example")
    assert answers.filters == [
        "(mailLocalAddress=\\2a\\29\\28uid\\3d\\2a\\40acme\\2eexample)",
        "(&(uid=al\\2ace)(mailferryRoute=*))",
    ]


def test_nobody_two_and_no_address() -> None:
    with pytest.raises(UserError, match="nobody"):
        routes.find(people(Answers()), ADDRESS)
    with pytest.raises(IntegrityError, match="uid=a and to uid=b"):
        routes.find(people(Answers(Entry("uid=a"), Entry("uid=b"))), ADDRESS)
    for wrong in ("alice", "@acme.example", "alice@"):
        with pytest.raises(UserError, match="not an address"):
            routes.find(people(Answers()), wrong)


def test_a_mark_that_is_no_time_is_named() -> None:
    with pytest.raises(IntegrityError, match="soon"):
        routes.find(people(Answers(Entry("uid=a", {"mailferryroutefreshuntil": (b"soon",)}))), ADDRESS)
