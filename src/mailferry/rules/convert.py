"""A mailbox's rules, out-of-office and junk lists → one Sieve script, with what became of each. Pure.

Order as in Exchange: forwarding of all mail (which needs no mailbox), junk, out-of-office (which replies whatever the
rules do), then the rules. Invariants: a rule
stands in the script whole, or as a comment that says what its owner has to do; nothing is guessed; the same input
gives the same script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mailferry.errors import Permanent
from mailferry.model.rule import Action, Audience, Behaviour, Deed, Forwarding, Junk, OutOfOffice, Rule
from mailferry.rules.names import ACTIONS, CONDITIONS, Rating, Shape
from mailferry.rules.predicates import Owner, Said, current, moment, test_of
from mailferry.wire import sieve
from mailferry.wire.sieve import Command, Comment, Tag, all_of, any_of, not_

LOSING = frozenset({Action.DELETE, Action.PERMANENT_DELETE})
"""Actions beside which no other may be left out: a message would be gone without what was to happen to it."""
FILING = frozenset({Action.COPY, Action.MOVE, Action.DELETE})
MARKING = frozenset({Action.MARK_READ, Action.PIN, Action.CATEGORIES, Action.IMPORTANCE})
"""Sieve marks what is filed from then on (RFC 5232 §5), Exchange the message wherever it lies by then."""
DAYS = 7
"""Between two out-of-office replies to one sender; Exchange replies once in all."""

_FLAGS = frozenset({"imap4flags"})
_COPY = frozenset({"copy"})
_KEYWORD = re.compile(r"[^A-Za-z0-9_.\-]+")


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of one rule, of the out-of-office, or of the junk lists. `notes`: each difference, or what to do, in
    a sentence. `active`: whether the script does it (disabled ones stand there as comments)."""

    name: str
    origin: str
    rating: Rating
    notes: tuple[str, ...] = ()
    active: bool = True
    commands: tuple[Command, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """`text`: the script, "" where it would do nothing. `parts` in its order. `owner`: as the export calls them."""

    text: str
    parts: tuple[Converted, ...]
    owner: str = ""


def mentioned(behaviour: Behaviour) -> tuple[str, ...]:
    """Everybody whom its rules name, as the export does: for `Owner.people` and `Owner.reach`."""
    found = list(behaviour.forwarding.to) if behaviour.forwarding else []
    for rule in behaviour.rules:
        for test in (*rule.conditions, *rule.exceptions):
            found += test.values if CONDITIONS[test.what].shape is Shape.PEOPLE else ()
        for deed in rule.actions:
            found += deed.values if ACTIONS[deed.what].shape is Shape.PEOPLE else ()
    return tuple(dict.fromkeys(found))


def convert(behaviour: Behaviour, owner: Owner) -> Script:
    """The script of one mailbox."""
    parts: list[Converted] = []
    room = _Room(owner.redirects)
    if behaviour.forwarding is not None:
        parts.append(_offered(_forwarding(behaviour.forwarding, owner, room), owner))
    if behaviour.junk.safe or behaviour.junk.blocked or behaviour.junk.only_safe:
        parts.append(_offered(_junk(behaviour.junk, owner, behaviour.owner), owner))
    away = behaviour.out_of_office
    if away is not None and (away.enabled or away.internal.strip() or away.external.strip()):
        parts.append(_offered(_out_of_office(away, owner), owner))
    for rule in sorted(behaviour.rules, key=lambda one: one.order):
        parts.append(_rule(rule, owner, room))
    return Script(_written(behaviour.owner, parts), tuple(parts), behaviour.owner)


def pieces(script: Script, most: int) -> list[str]:
    """The script as scripts of at most `most` bytes each, which do the same one after the other. Permanent: one rule
    alone is larger than that."""
    found: list[list[Converted]] = [[]]
    size = 0
    for part in script.parts:
        own = len(_text(script.owner, [part]).encode())
        if own > most:
            advice = "it stays in Exchange alone: shorten it there, or raise the server's limit"
            raise Permanent(f"{part.name} is a script of {own} bytes, and the server takes {most}", advice=advice)
        if found[-1] and size + own > most:
            found.append([])
            size = 0
        found[-1].append(part)
        size += own
    return [text for one in found if (text := _written(script.owner, one))]


def _written(owner: str, parts: Sequence[Converted]) -> str:
    return _text(owner, parts) if any(part.active and part.commands for part in parts) else ""


def _text(owner: str, parts: Sequence[Converted]) -> str:
    shown: list[Command | Comment] = [Comment(f"Made by Mailferry from the rules of {owner} in Exchange.")]
    for part in parts:
        shown.append(Comment(_remark(part)))
        if part.active:
            shown += part.commands
        elif part.commands:
            shown.append(Comment(sieve.body(part.commands)))
    return sieve.script(shown)


def _remark(part: Converted) -> str:
    """What stands above a part; Roundcube shows the name between the brackets."""
    state = part.rating.value if part.active else "not active"
    notes = "".join(f"\n  {note}" for note in part.notes)
    return f"\nrule:[{part.name}]\n{part.origin}: {state}{notes}"


@dataclass(slots=True)
class _Room:
    """What is left over by the rules before. `stopped`: names of rules that would have stopped, and are not there.
    `filed`: of those that put messages into folders and let rules go on."""

    redirects: int
    stopped: list[str] = field(default_factory=list)
    filed: list[str] = field(default_factory=list)


def _rule(rule: Rule, owner: Owner, room: _Room) -> Converted:
    said = Said()
    conditions = [test_of(one, owner, said) for one in rule.conditions]
    exceptions = [test_of(one, owner, said) for one in rule.exceptions]
    tests = [one for one in conditions if one is not None]
    kept_out = [one for one in exceptions if one is not None]
    for part in rule.unknown:
        said.note(Rating.MANUAL, f"{part} is not known to Mailferry")
    if not rule.actions:
        said.note(Rating.MANUAL, "it does nothing")
    used = room.redirects
    commands, lost = _actions(rule.actions, owner, said, room)
    if lost and (any(one.what in LOSING for one in rule.actions) or not commands):
        said.note(Rating.MANUAL, "without that, the rest of the rule would do harm" if commands else "nothing is left")
    elif lost:
        said.note(Rating.APPROXIMATE, "the rest of the rule works")
    if kept_out:
        tests.append(not_(any_of(kept_out)))
    body = (Command("if", test=all_of(tests), block=tuple(commands)),) if tests else tuple(commands)
    if missing := _missing(body, owner):
        said.note(Rating.MANUAL, missing)
    stops = any(one.what is Action.STOP for one in rule.actions)
    if not rule.enabled or rule.error or said.rating is Rating.MANUAL:
        room.redirects = used
        if rule.enabled and not rule.error and stops:
            room.stopped.append(rule.name)
        why = (
            [f"Exchange did not run it: {rule.error}"] if rule.error else [] if rule.enabled else ["it is switched off"]
        )
        active = rule.enabled and not rule.error
        kept = () if active or said.rating is Rating.MANUAL else body
        return Converted(rule.name, rule.origin, said.rating, (*why, *said.notes), active, kept)
    if room.stopped:
        said.note(Rating.APPROXIMATE, f"{room.stopped[0]} would have stopped before it, and is not carried over")
    does = {one.what for one in rule.actions}
    if room.filed and does & MARKING:
        said.note(Rating.APPROXIMATE, f"it marks nothing that a rule before it has filed already, as {room.filed[0]}")
    if does & FILING and not stops:
        room.filed.append(rule.name)
    return Converted(rule.name, rule.origin, said.rating, tuple(said.notes), commands=body)


def _actions(deeds: Sequence[Deed], owner: Owner, said: Said, room: _Room) -> tuple[list[Command], bool]:
    """The commands in an order in which each sees what it should; whether something could not be said."""
    commands: list[Command] = []
    lost = False
    for deed in sorted(deeds, key=lambda one: _ORDER.index(one.what)):
        row = ACTIONS[deed.what]
        if row.rating is Rating.MANUAL:
            said.notes.append(f"{deed.what.value}: {row.note}")
            lost = True
            continue
        made = _MAKE[deed.what](deed, owner, said, room)
        if made is None:
            lost = True
            continue
        if row.rating is Rating.APPROXIMATE:
            said.note(Rating.APPROXIMATE, f"{deed.what.value}: {row.note}")
        commands += made
    return commands, lost


def _flag(*flags: str) -> list[Command]:
    return [Command("addflag", (flags[0] if len(flags) == 1 else flags,), _FLAGS)]


def _filed(deed: Deed, owner: Owner, said: Said, *, copy: bool) -> list[Command] | None:
    name = owner.folder(deed.values[0]) if deed.values else None
    if name is None:
        folder = deed.values[0] if deed.values else "(none)"
        said.notes.append(f"{deed.what.value}: the folder {folder} did not come over; make it, and the rule anew")
        return None
    create, needs = _create(owner)
    tags = (*((Tag(":copy"),) if copy else ()), *create)
    return [Command("fileinto", (*tags, name), needs | (_COPY if copy else frozenset()))]


def _create(owner: Owner) -> tuple[tuple[Tag, ...], frozenset[str]]:
    """`:create` where the server has it (RFC 5490): else a folder that is away sends the message to the inbox."""
    if owner.extensions is None or "mailbox" in owner.extensions:
        return (Tag(":create"),), frozenset({"fileinto", "mailbox"})
    return (), frozenset({"fileinto"})


def _delete(deed: Deed, owner: Owner, said: Said, room: _Room) -> list[Command]:
    create, needs = _create(owner)
    special: tuple[Tag | str, ...] = ()
    if owner.extensions is not None and "special-use" in owner.extensions:
        special, needs = (Tag(":specialuse"), "\\Trash"), needs | {"special-use"}
    return [Command("fileinto", (*special, *create, owner.trash), needs)]


def _redirect(deed: Deed, owner: Owner, said: Said, room: _Room) -> list[Command] | None:
    outward = _outward(deed.values, owner, said, deed.what.value)
    if outward is None:
        return None
    if len(outward) > room.redirects:
        said.notes.append(f"{deed.what.value}: the server passes a message on to {owner.redirects} addresses at most")
        return None
    room.redirects -= len(outward)
    return [Command("redirect", (Tag(":copy"), one), _COPY) for one in outward]


def _outward(values: Sequence[str], owner: Owner, said: Said, what: str) -> list[str] | None:
    """Where mail is passed on to; None with a note where somebody is not known."""
    found: dict[str, None] = {}
    for value in values:
        address = owner.reach(value)
        if address is None:
            said.note(Rating.MANUAL, f"{what}: nobody here is {value}")
            return None
        found[address] = None
    mine = {one.lower() for one in owner.me}
    outward = [one for one in found if one.lower() not in mine]
    if len(outward) < len(found):
        said.note(Rating.APPROXIMATE, f"{what}: not to its own mailbox, where it is already")
    return outward


def _categories(deed: Deed, owner: Owner, said: Said, room: _Room) -> list[Command] | None:
    words = []
    for value in deed.values:
        word = _KEYWORD.sub("_", value).strip("_")
        if not word:
            said.notes.append(f"{deed.what.value}: {value} cannot be written as a keyword")
            return None
        if word != value:
            said.note(Rating.APPROXIMATE, f"{deed.what.value}: {value} is called {word}")
        words.append(word)
    return _flag(*words) if words else None


def _importance(deed: Deed, owner: Owner, said: Said, room: _Room) -> list[Command] | None:
    value = deed.values[0].lower() if deed.values else ""
    if value not in ("low", "normal", "high") or owner.extensions is None or "editheader" not in owner.extensions:
        said.notes.append(f"{deed.what.value}: the server does not change headers")
        return None
    needs = frozenset({"editheader"})
    remove = [Command("deleteheader", (name,), needs) for name in ("importance", "x-priority")]
    return [*remove, Command("addheader", ("Importance", value), needs)]


def _reply(deed: Deed, owner: Owner, said: Said, room: _Room) -> list[Command] | None:
    if not deed.values or not deed.values[0].strip():
        said.notes.append(f"{deed.what.value}: the export does not hold its text")
        return None
    return [_vacation(deed.values[0], owner, 1, "reply")]


def _vacation(text: str, owner: Owner, days: int, handle: str) -> Command:
    me = (Tag(":addresses"), owner.me) if owner.me else ()
    return Command("vacation", (Tag(":days"), days, Tag(":handle"), handle, *me, text), frozenset({"vacation"}))


_Make = Callable[[Deed, Owner, Said, _Room], "list[Command] | None"]
_MAKE: Mapping[Action, _Make] = {
    Action.MARK_READ: lambda deed, owner, said, room: _flag("\\Seen"),
    Action.PIN: lambda deed, owner, said, room: _flag("\\Flagged"),
    Action.CATEGORIES: _categories,
    Action.IMPORTANCE: _importance,
    Action.REPLY: _reply,
    Action.REDIRECT: _redirect,
    Action.FORWARD: _redirect,
    Action.COPY: lambda deed, owner, said, room: _filed(deed, owner, said, copy=True),
    Action.MOVE: lambda deed, owner, said, room: _filed(deed, owner, said, copy=False),
    Action.DELETE: _delete,
    Action.PERMANENT_DELETE: lambda deed, owner, said, room: [Command("discard")],
    Action.STOP: lambda deed, owner, said, room: [Command("stop")],
}
_ORDER = (
    *(Action.MARK_READ, Action.PIN, Action.CATEGORIES, Action.IMPORTANCE, Action.REPLY, Action.REDIRECT),
    *(Action.FORWARD, Action.FORWARD_ATTACHED, Action.SMS, Action.COPY, Action.MOVE, Action.DELETE),
    *(Action.PERMANENT_DELETE, Action.STOP),
)
"""Flags come before what files the message with them; `stop` is the last."""


def _forwarding(one: Forwarding, owner: Owner, room: _Room) -> Converted:
    """Before all rules; without a copy kept the mailbox never sees the message."""
    name = "Forwarding"
    said = Said()
    outward = _outward(one.to, owner, said, name)
    if outward is not None and len(outward) > room.redirects:
        said.note(Rating.MANUAL, f"the server passes a message on to {owner.redirects} addresses at most")
    if said.rating is Rating.MANUAL or not outward:
        return Converted(name, one.origin, Rating.MANUAL, tuple(said.notes))
    room.redirects -= len(outward)
    commands = [Command("redirect", (Tag(":copy"), address), _COPY) for address in outward]
    if not one.keep_copy:
        commands += [Command("discard"), Command("stop")]
    return Converted(name, one.origin, said.rating, tuple(said.notes), commands=tuple(commands))


def _out_of_office(one: OutOfOffice, owner: Owner) -> Converted:
    name = "Out of office"
    said = Said()
    tests = []
    for relation, value in (("ge", one.start), ("le", one.end)):
        if value:
            when = moment(value, said)
            if when is not None:
                tests.append(current(relation, when))
    inside, outside = one.internal.strip(), one.external.strip() if one.audience is not Audience.NONE else ""
    if one.audience is Audience.KNOWN and outside:
        said.note(Rating.APPROXIMATE, "nobody outside gets a reply: Sieve does not know who is among the contacts")
        outside = ""
    if outside != inside and not owner.domains:
        said.note(Rating.MANUAL, "which domains are inside is not known: inside and outside get different texts")
    said.note(Rating.APPROXIMATE, f"a sender gets a reply every {DAYS} days, as plain text, not once in all")
    if not inside and not outside:
        said.note(Rating.MANUAL, "there is no text")
    if one.declines:
        said.note(Rating.APPROXIMATE, "invitations for that time are not declined by themselves")
    notes = () if one.enabled else ("it is switched off",)
    if said.rating is Rating.MANUAL:
        return Converted(name, one.origin, said.rating, (*notes, *said.notes), one.enabled)
    if inside == outside:
        commands = [_vacation(inside, owner, DAYS, "out-of-office")]
    else:
        from_inside = sieve.Test("address", (Tag(":domain"), Tag(":is"), "from", owner.domains))
        commands = []
        for test, text, handle in ((from_inside, inside, "inside"), (not_(from_inside), outside, "outside")):
            if text:
                reply = _vacation(text, owner, DAYS, f"out-of-office-{handle}")
                commands.append(Command("if", test=test, block=(reply,)))
    if tests:
        commands = [Command("if", test=all_of(tests), block=tuple(commands))]
    return Converted(name, one.origin, said.rating, (*notes, *said.notes), one.enabled, tuple(commands))


def _junk(junk: Junk, owner: Owner, origin: str) -> Converted:
    """Blocked senders into Junk; where only safe ones are trusted, everybody else. Who is safe can only be kept from
    that: what a filter before says stays."""
    said = Said()
    blocked, safe = _senders(junk.blocked), _senders(junk.safe)
    if safe:
        said.note(
            Rating.APPROXIMATE, f"{len(junk.safe)} safe senders: a spam filter before the mailbox does not know them"
        )
    if junk.contacts and (blocked or junk.only_safe):
        rating = Rating.MANUAL if junk.only_safe else Rating.APPROXIMATE
        said.note(rating, "senders among the contacts are not known to Sieve, so that nobody is safe for that reason")
    test = not_(any_of(safe)) if junk.only_safe else any_of(blocked)
    if safe and not junk.only_safe:
        test = all_of([test, not_(any_of(safe))])
    create, needs = _create(owner)
    block = (Command("fileinto", (*create, owner.junk), needs), Command("stop"))
    commands = (Command("if", test=test, block=block),) if blocked or junk.only_safe else ()
    if said.rating is Rating.MANUAL or not junk.enabled:
        notes = tuple(said.notes) if junk.enabled else ("it is switched off", *said.notes)
        kept = () if said.rating is Rating.MANUAL else commands
        return Converted("Junk", origin, said.rating, notes, junk.enabled, kept)
    return Converted("Junk", origin, said.rating, tuple(said.notes), commands=commands)


def _senders(values: Sequence[str]) -> list[sieve.Test]:
    """Addresses, and domains as `example.com` or `@example.com`."""
    addresses = tuple(dict.fromkeys(one.strip().lower() for one in values if "@" in one.strip()[1:]))
    rest = (one.strip().lstrip("@").lower() for one in values if "@" not in one.strip()[1:])
    domains = tuple(dict.fromkeys(one for one in rest if one))
    tests = []
    if addresses:
        tests.append(sieve.Test("address", (Tag(":is"), "from", addresses)))
    if domains:
        tests.append(sieve.Test("address", (Tag(":domain"), Tag(":is"), "from", domains)))
    return tests


def _offered(part: Converted, owner: Owner) -> Converted:
    """The part, or, where it needs what the server does not have, only its name."""
    missing = _missing(part.commands, owner)
    if not missing:
        return part
    return Converted(part.name, part.origin, Rating.MANUAL, (missing, *part.notes), part.active)


def _missing(commands: Sequence[Command], owner: Owner) -> str:
    """What the server lacks for these, in a sentence; "": nothing."""
    missing = sorted(sieve.needs_of(commands) - owner.extensions) if owner.extensions is not None else []
    return f"the server does not offer {', '.join(missing)}" if missing else ""
