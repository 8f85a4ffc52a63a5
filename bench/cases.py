"""The cases of the bench, and how one is run: rounds in which the contenders take turns, phase by phase.

Invariant: in each phase of a round every contender meets the source in the same state, and after each full copy and
each delta what it brought is counted, outside the time taken; a wrong count ends the bench.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import mailboxes, measure
from bench.contenders import DOVEADM, FLOOR, MBSYNC, OURS, OURS_MAILDIR, Contender, Work, environment
from bench.delay import delayed
from bench.measure import BenchError, Usage
from bench.results import Phase
from lab.dovecot import Dovecot, Flavour

NOTHING_TIMES = 3
"""Nothing-to-do passes per round: they are short, so more of them are taken."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is copied, between which servers. `big` is the size of one more message, 0 for none."""

    name: str
    contenders: Sequence[Contender]
    mailboxes: int = 1
    messages: int = 2000
    source: Flavour = "open"
    round_trip_ms: float = 0.0
    big: int = 0
    phases: Sequence[Phase] = (Phase.FULL, Phase.NOTHING, Phase.DELTA)


CASES = {
    "one": Case("one mailbox", (OURS, OURS_MAILDIR, MBSYNC, DOVEADM, FLOOR)),
    "far": Case("one mailbox, 40 ms away", (OURS, MBSYNC, DOVEADM, FLOOR), round_trip_ms=40),
    "ten": Case("ten mailboxes", (OURS, MBSYNC, DOVEADM, FLOOR), mailboxes=10, messages=500),
    "plain": Case("one mailbox, plain IMAP4rev1 source", (OURS, MBSYNC, DOVEADM, FLOOR), source="exchange"),
    "big": Case(
        "a message of 200 MB", (OURS, OURS_MAILDIR, MBSYNC, DOVEADM, FLOOR), big=200_000_000, phases=(Phase.FULL,)
    ),
}

Samples = dict[tuple[str, Phase, str], list[Usage]]
"""By case, phase and contender."""


@dataclass(slots=True)
class _Running:
    """A case whose servers run. `users` are the source's mailboxes."""

    case: Case
    source: Dovecot
    target: Dovecot
    source_port: int
    target_port: int
    place: Path
    cores: int
    env: Mapping[str, str]
    say: Callable[[str], None]
    users: list[str] = field(default_factory=list)
    samples: Samples = field(default_factory=dict)


def run(case: Case, rounds: int, place: Path, bytecode: Path, cores: int, say: Callable[[str], None]) -> Samples:
    """Run one case. `place` is an empty directory that other users can enter, `bytecode` as for `environment`; `say`
    gets a line about each thing done.

    Nothing is deleted in the meantime: the file system would pay for it in the runs that follow (ext4 shuns inodes
    that were freed a short time ago, and looks for others at length).
    """
    with ExitStack() as stack:
        source = stack.enter_context(Dovecot(place / "source", case.source))
        target = stack.enter_context(Dovecot(place / "target", "open"))
        ports = [source.port, target.port]
        if case.round_trip_ms:
            ports = [stack.enter_context(delayed(port, case.round_trip_ms)) for port in ports]
        running = _Running(case, source, target, ports[0], ports[1], place, cores, environment(bytecode), say)
        _fill(running)
        _warm_up(running)
        for number in range(rounds):
            _round(running, number)
        return running.samples


def _fill(running: _Running) -> None:
    case = running.case
    messages = size = 0
    for number in range(case.mailboxes):
        user = f"s{number}"
        if case.big:
            mailboxes.make_big(running.source, user, case.big)
            messages, size = messages + 21, size + case.big
        else:
            written = mailboxes.make(running.source, user, number + 1, case.messages)
            messages, size = messages + written.messages, size + written.bytes
        running.users.append(user)
    running.say(f"{case.name}: {case.mailboxes} mailboxes, {messages} messages, {size / 1e6:.0f} MB")


def _warm_up(running: _Running) -> None:
    """Every contender copies a small mailbox twice, so that programs, bytecode and servers are all in memory."""
    mailboxes.make(running.source, "warm", 99, 40)
    for index, one in enumerate(running.case.contenders):
        work = _work(running, "warm", index, ["warm"])
        for _ in range(2 if one.deltas else 1):
            _run(running, one, work)


def _round(running: _Running, number: int) -> None:
    case = running.case
    turn = number % len(case.contenders)
    contenders = [*case.contenders[turn:], *case.contenders[:turn]]
    works = {one.name: _work(running, str(number), index, running.users) for index, one in enumerate(case.contenders)}
    later = [one for one in contenders if one.deltas]
    for one in contenders:
        _take(running, Phase.FULL, one, works[one.name])
    _check(running, contenders, works, deleted=0)
    if Phase.NOTHING in case.phases:
        for _ in range(NOTHING_TIMES):
            for one in later:
                _take(running, Phase.NOTHING, one, works[one.name])
    if Phase.DELTA in case.phases:
        changes = [mailboxes.change(running.source, user, 1000 + number) for user in running.users]
        for one in later:
            _take(running, Phase.DELTA, one, works[one.name])
        _check(running, later, works, deleted=sum(change.deleted for change in changes))


def _work(running: _Running, name: str, index: int, users: Sequence[str]) -> Work:
    place = running.place / f"{name}-{index}"
    place.mkdir()
    return Work(
        running.source,
        running.target,
        running.source_port,
        running.target_port,
        users,
        f"r{name}-{index}",
        place,
    )


def _run(running: _Running, contender: Contender, work: Work) -> Usage:
    return measure.run(contender.commands(work), work.place / "log", at_once=running.cores, env=running.env)


def _take(running: _Running, phase: Phase, contender: Contender, work: Work) -> None:
    usage = _run(running, contender, work)
    running.samples.setdefault((running.case.name, phase, contender.name), []).append(usage)
    running.say(
        f"{running.case.name}, {phase.value}: {contender.name} {usage.wall:.2f} s, "
        f"CPU {usage.cpu:.2f} s, {usage.peak_mb:.0f} MB"
    )


def _check(running: _Running, contenders: Sequence[Contender], works: dict[str, Work], deleted: int) -> None:
    """Raise BenchError unless each contender's targets hold as many messages, and as many flagged, as the source."""
    wanted = [mailboxes.held(running.source, user) for user in running.users]
    messages, flagged = sum(one.messages for one in wanted), sum(one.flagged for one in wanted)
    for one in contenders:
        come = [works[one.name].held(user) for user in running.users]
        kept = 0 if one.mirrors else deleted
        have = sum(each.messages for each in come), sum(each.flagged for each in come)
        if have != (messages + kept, flagged):
            raise BenchError(f"{one.name}: the source has {messages} (+ {kept}), {flagged} flagged, the target {have}")


def chosen(only: Sequence[str], quick: bool) -> Iterator[Case]:
    """The cases to run; small ones with `quick`."""
    for key, case in CASES.items():
        if not only or key in only:
            yield replace(case, messages=case.messages // 10, big=case.big // 10) if quick else case
