"""Every condition, exception and action in all spellings: read, converted, compiled and run by Pigeonhole itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab import rules_page
from mailferry.errors import UserError
from mailferry.model.rule import (
    Action,
    Audience,
    Behaviour,
    Condition,
    Deed,
    Forwarding,
    Junk,
    OutOfOffice,
    Predicate,
    Rule,
)
from mailferry.ops.rules import merged
from mailferry.rules.convert import Script, convert
from mailferry.rules.files import behaviours
from mailferry.rules.names import ACTIONS, CONDITIONS, Rating, Shape
from mailferry.rules.predicates import Owner
from tests.rules import spelling
from tests.rules.cases import ACTS, BOSS, CASES, MANUAL, ME, Act, Case
from tests.rules.pigeonhole import compiles, deeds, replies

HIT = ["store message in folder: INBOX/Hit"]
MISS = ["store message in folder: INBOX"]
OWNER = Owner(
    me=(ME, "a.bell@acme.example"),
    people=lambda text: ("b@acme.example", "c@acme.example") if text == "staff" else (text,) if "@" in text else None,
    reach=lambda text: "staff@acme.example" if text == "staff" else text if "@" in text else None,
    folder=lambda path: path.replace("\\", "/").replace("Inbox", "INBOX") if path.startswith("Inbox") else None,
    domains=("acme.example",),
)
_WORDS = (
    "fileinto reject envelope encoded-character vacation subaddress comparator-i;ascii-numeric relational regex "
    "imap4flags copy include variables body enotify environment mailbox date index ihave duplicate mime foreverypart "
    "extracttext"
)
DEFAULT = frozenset(_WORDS.split())
"""What Pigeonhole has by itself."""
MOVE = Deed(Action.MOVE, ("Inbox\\Hit",))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that sieve-test can read after it has become somebody else."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o777)
        yield path


def one_rule(content: bytes, name: str = "ann@acme.example.json") -> Rule:
    found = behaviours(name, content)
    assert [len(one.rules) for one in found] == [1]
    assert found[0].owner == ME
    return found[0].rules[0]


def script_of(*rules: Rule, owner: Owner = OWNER, **more: object) -> Script:
    return convert(replace(Behaviour(ME, rules), **more), owner)  # type: ignore[arg-type]


SPELLED = [(case, how) for case in CASES for how in ("powershell", "graph", "ews") if getattr(case, how) is not None]


def spelled(case: Case, how: str, *, exception: bool) -> Rule:
    """The case as one export has it, read; it moves to Inbox\\Hit."""
    if how == "powershell":
        assert case.powershell is not None
        prefix = "ExceptIf" if exception else ""
        given = {f"{prefix}{name}": value for name, value in case.powershell.items()}
        return one_rule(spelling.powershell({**given, "MoveToFolder": f"{ME}:\\Inbox\\Hit"}))
    if how == "graph":
        tests = {CONDITIONS[case.what].graph: case.graph}
        none: dict[str, Any] = {}
        return one_rule(
            spelling.graph(*((none, tests) if exception else (tests, none)), {"moveToFolder": "Inbox\\Hit"})
        )
    inner = spelling.element(case.what.value, case.ews)
    folder = '<t:MoveToFolder><t:FolderId Id="Inbox\\Hit"/></t:MoveToFolder>'
    return one_rule(spelling.ews(*(("", inner) if exception else (inner, "")), folder), f"{ME}.xml")


@pytest.mark.parametrize("exception", [False, True], ids=["condition", "exception"])
@pytest.mark.parametrize(("case", "how"), SPELLED, ids=[f"{c.what.value}-{c.values[:1]}-{h}" for c, h in SPELLED])
def test_each_condition_and_exception_in_each_spelling(case: Case, how: str, exception: bool, place: Path) -> None:
    rule = spelled(case, how, exception=exception)
    tests = rule.exceptions if exception else rule.conditions
    assert (tests, rule.actions, rule.unknown) == ((Predicate(case.what, case.values),), (MOVE,), ())
    script = script_of(rule)
    assert script.parts[0].rating is CONDITIONS[case.what].rating
    fits, other = deeds(script.text, case.fits, place), deeds(script.text, case.other, place)
    assert (fits, other) == ((MISS, HIT) if exception else (HIT, MISS))


def test_the_table_is_whole() -> None:
    """Every condition, as a condition and as an exception, and every action, in all spellings that have it."""
    assert {case.what for case in CASES} | set(MANUAL) | {Condition.DATES} == set(Condition)
    assert {act.what for act in ACTS} == set(Action)
    assert len(SPELLED) * 2 + len(ACTED) >= 150
    every: list[Case | Act] = [*CASES, *ACTS]
    for what in {one.what for one in every}:
        cases = [(one.powershell, one.graph, one.ews) for one in every if one.what is what]
        row = CONDITIONS[what] if isinstance(what, Condition) else ACTIONS[what]
        spelled_in = [any(case[number] for case in cases) for number in range(3)]
        assert spelled_in == [bool(row.powershell), bool(row.graph), what is not Action.PIN], what
    manual = {what for what, row in CONDITIONS.items() if row.rating is Rating.MANUAL}
    assert manual == set(MANUAL)


@pytest.mark.parametrize("exception", [False, True], ids=["condition", "exception"])
@pytest.mark.parametrize("what", MANUAL, ids=lambda what: str(what.value))
def test_what_cannot_be_said_is_left_to_a_human(what: Condition, exception: bool) -> None:
    properties, value, inner = MANUAL[what]
    element = spelling.element(what.value, inner)
    tests = ("", element) if exception else (element, "")
    rules = [one_rule(spelling.ews(*tests, "<t:Delete>true</t:Delete>"), f"{ME}.xml")]
    if properties is not None:
        given = {f"ExceptIf{name}" if exception else name: one for name, one in properties.items()}
        rules.append(one_rule(spelling.powershell({**given, "DeleteMessage": True})))
    if value is not None:
        part: dict[str, Any] = {CONDITIONS[what].graph: value}
        rules.append(one_rule(spelling.graph({} if exception else part, part if exception else {}, {"delete": True})))
    for rule in rules:
        script = script_of(rule)
        assert script.text == ""
        assert script.parts[0].rating is Rating.MANUAL
        assert CONDITIONS[what].note in script.parts[0].notes[0]


@pytest.mark.parametrize("exception", [False, True], ids=["condition", "exception"])
@pytest.mark.parametrize(
    ("start", "end", "hit"),
    [
        *(("2020-01-01T00:00:00+02:00", "", True), ("", "2020-01-01T00:00:00Z", False)),
        *(("2020-01-01T00:00:00", "2090-01-01T00:00:00", True), ("2090-01-01T00:00:00+05:30", "", False)),
    ],
)
def test_a_range_of_dates(start: str, end: str, hit: bool, exception: bool, place: Path) -> None:
    prefix = "ExceptIf" if exception else ""
    given = {f"{prefix}ReceivedAfterDate": start, f"{prefix}ReceivedBeforeDate": end, "MoveToFolder": "Inbox\\Hit"}
    range_ = f"<t:StartDateTime>{start}</t:StartDateTime><t:EndDateTime>{end}</t:EndDateTime>"
    element = spelling.element("WithinDateRange", range_)
    folder = '<t:MoveToFolder><t:FolderId Id="Inbox\\Hit"/></t:MoveToFolder>'
    for rule in (
        one_rule(spelling.powershell(given)),
        one_rule(spelling.ews(*(("", element) if exception else (element, "")), folder), f"{ME}.xml"),
    ):
        assert [one.what for one in (rule.exceptions if exception else rule.conditions)] == [Condition.DATES]
        assert deeds(script_of(rule).text, {}, place) == (HIT if hit is not exception else MISS)


def test_powershell_s_dates_as_json_has_them_and_those_that_depend_on_the_country() -> None:
    rule = one_rule(spelling.powershell({"ReceivedAfterDate": "/Date(1577836800000)/", "MoveToFolder": "Inbox\\Hit"}))
    assert rule.conditions == (Predicate(Condition.DATES, ("2020-01-01T00:00:00+00:00", "")),)
    rule = one_rule(spelling.powershell({"ReceivedAfterDate": "3/4/2020", "MoveToFolder": "Inbox\\Hit"}))
    assert rule.unknown == ("ReceivedAfterDate",)
    assert script_of(rule).parts[0].rating is Rating.MANUAL


# Actions

ACTED = [(act, how) for act in ACTS for how in ("powershell", "graph", "ews") if getattr(act, how)]


@pytest.mark.parametrize(("act", "how"), ACTED, ids=[f"{a.what.value}-{h}" for a, h in ACTED])
def test_each_action_in_each_spelling(act: Act, how: str, place: Path) -> None:
    if how == "powershell":
        rule = one_rule(spelling.powershell(act.powershell or {}))
    elif how == "graph":
        rule = one_rule(spelling.graph({}, {}, {ACTIONS[act.what].graph: act.graph}))
    else:
        rule = one_rule(spelling.ews("", "", spelling.element(act.what.value, act.ews)), f"{ME}.xml")
    assert (rule.actions, rule.unknown) == ((Deed(act.what, act.values),), ())
    script = script_of(rule, owner=replace(OWNER, extensions=DEFAULT | {"editheader"}))
    if not act.done:
        assert (script.text, script.parts[0].rating) == ("", Rating.MANUAL)
        return
    assert script.parts[0].rating is ACTIONS[act.what].rating
    assert [line.lower() for line in deeds(script.text, {}, place)] == [line.lower() for line in act.done]


def test_a_reply_whose_text_is_known(place: Path) -> None:
    script = script_of(Rule("One", 1, "here", actions=(Deed(Action.REPLY, ("Thank you.",)),)))
    assert script.parts[0].rating is ACTIONS[Action.REPLY].rating
    assert replies(script.text, {}, place) == ["Thank you."]


def test_importance_where_the_server_changes_headers() -> None:
    rule = Rule("One", 1, "here", actions=(Deed(Action.IMPORTANCE, ("High",)),))
    offered = replace(OWNER, extensions=frozenset({"editheader"}))
    assert 'addheader "Importance" "high";' in script_of(rule, owner=offered).text
    assert script_of(rule).parts[0].rating is Rating.MANUAL


# Rules beside each other


def test_rules_run_in_their_order_and_stop(place: Path) -> None:
    stop = Rule("a", 2, "x", (Predicate(Condition.SUBJECT, ("a",)),), actions=(MOVE, Deed(Action.STOP)))
    later = Rule("b", 3, "x", actions=(Deed(Action.MOVE, ("Inbox\\Later",)),))
    first = Rule("c", 1, "x", actions=(Deed(Action.MARK_READ),))
    text = script_of(later, stop, first).text
    assert deeds(text, {"Subject": "a"}, place) == [*HIT, "+ add IMAP flags: \\seen"]
    assert deeds(text, {"Subject": "b"}, place)[0] == "store message in folder: INBOX/Later"


def test_after_a_rule_that_would_have_stopped_all_are_doubtful() -> None:
    lost = Rule("lost", 1, "x", actions=(Deed(Action.SMS, ("1",)), Deed(Action.DELETE), Deed(Action.STOP)))
    script = script_of(lost, Rule("next", 2, "x", actions=(MOVE,)))
    assert [part.rating for part in script.parts] == [Rating.MANUAL, Rating.APPROXIMATE]
    assert "lost would have stopped" in script.parts[1].notes[0]


def test_marks_come_too_late_for_what_a_rule_before_has_filed(place: Path) -> None:
    """Exchange marks the message wherever it lies by then; a stop leaves nothing to be marked."""
    read = Rule("read", 2, "x", actions=(Deed(Action.MARK_READ),))
    script = script_of(Rule("file", 1, "x", actions=(MOVE,)), read)
    assert deeds(script.text, {}, place) == HIT
    assert [part.rating for part in script.parts] == [Rating.EXACT, Rating.APPROXIMATE]
    assert "filed already, as file" in script.parts[1].notes[0]
    stopped = script_of(Rule("file", 1, "x", actions=(MOVE, Deed(Action.STOP))), read)
    assert [part.rating for part in stopped.parts] == [Rating.EXACT, Rating.EXACT]


def test_nothing_is_deleted_that_was_to_be_passed_on() -> None:
    script = script_of(Rule("x", 1, "x", actions=(Deed(Action.FORWARD_ATTACHED, (BOSS,)), Deed(Action.DELETE))))
    assert (script.text, script.parts[0].rating) == ("", Rating.MANUAL)
    script = script_of(Rule("x", 1, "x", actions=(Deed(Action.FORWARD_ATTACHED, (BOSS,)), MOVE)))
    assert script.parts[0].rating is Rating.APPROXIMATE
    assert "fileinto" in script.text


def test_a_disabled_rule_stays_as_a_comment_and_a_broken_one_is_named(place: Path) -> None:
    rules = (
        Rule("off", 1, "x", actions=(MOVE,), enabled=False),
        Rule("broken", 2, "x", actions=(MOVE,), error="MapiError"),
        Rule("on", 3, "x", actions=(Deed(Action.MARK_READ),)),
    )
    script = script_of(*rules)
    assert [part.active for part in script.parts] == [False, False, True]
    assert '# fileinto :create "INBOX/Hit";' in script.text
    assert "Exchange did not run it: MapiError" in script.text
    assert deeds(script.text, {}, place)[0] == MISS[0]


def test_who_and_what_is_not_known_is_named_and_a_group_is_its_members() -> None:
    script = script_of(
        Rule("x", 1, "x", (Predicate(Condition.FROM, ("staff",)),), actions=(MOVE,)),
        Rule("y", 2, "x", (Predicate(Condition.FROM, ("/o=Acme/cn=Gone",)),), actions=(MOVE,)),
        Rule("z", 3, "x", actions=(Deed(Action.MOVE, ("Elsewhere",)),)),
    )
    assert '["b@acme.example", "c@acme.example"]' in script.text
    assert [part.rating for part in script.parts] == [Rating.APPROXIMATE, Rating.MANUAL, Rating.MANUAL]
    assert "nobody here is /o=Acme/cn=Gone" in script.parts[1].notes[0]
    assert "the folder Elsewhere did not come over" in script.parts[2].notes[0]


def test_no_more_redirects_than_the_server_makes(place: Path) -> None:
    script = script_of(*(Rule(str(n), n, "x", actions=(Deed(Action.REDIRECT, (f"{n}@y.example",)),)) for n in range(6)))
    assert [part.rating for part in script.parts] == [Rating.EXACT] * 4 + [Rating.MANUAL] * 2
    assert len([line for line in deeds(script.text, {}, place) if line.startswith("redirect")]) == 4


def test_a_server_without_an_extension() -> None:
    bare = replace(OWNER, extensions=frozenset({"fileinto"}))
    script = script_of(
        Rule("x", 1, "x", actions=(MOVE,)),
        Rule("y", 2, "x", actions=(Deed(Action.COPY, ("Inbox\\Hit",)), Deed(Action.STOP))),
        Rule("z", 3, "x", actions=(MOVE,)),
        owner=bare,
    )
    assert [part.rating for part in script.parts] == [Rating.EXACT, Rating.MANUAL, Rating.APPROXIMATE]
    assert script.parts[1].notes == ("the server does not offer copy",)


# Out of office, junk

AWAY = OutOfOffice(True, "x", "2020-01-01T00:00:00+00:00", "2090-01-01T00:00:00+00:00", "Inside.", "Outside.")


@pytest.mark.parametrize(("sender", "text"), [("zoe@outside.example", "Outside."), (BOSS, "Inside.")])
def test_out_of_office_inside_and_outside(place: Path, sender: str, text: str) -> None:
    script = script_of(out_of_office=AWAY)
    assert deeds(script.text, {"From": sender}, place) == ["send vacation message:", *MISS]
    handle = {"Inside.": "inside", "Outside.": "outside"}[text]
    assert f'"out-of-office-{handle}"' in script.text


@pytest.mark.parametrize(
    "change",
    [{"end": "2021-01-01T00:00:00+00:00"}, {"enabled": False}, {"start": "2089-01-01T00:00:00+00:00"}],
)
def test_nobody_is_away_before_or_after(place: Path, change: dict[str, object]) -> None:
    text = script_of(out_of_office=replace(AWAY, **change)).text  # type: ignore[arg-type]
    assert deeds(text or "keep;", {}, place) == MISS


def test_an_absence_that_is_switched_off_keeps_its_text_and_one_without_text_is_nothing(place: Path) -> None:
    off = replace(AWAY, enabled=False, declines=True)
    script = script_of(Rule("x", 1, "x", actions=(MOVE,)), out_of_office=off)
    assert [part.active for part in script.parts] == [False, True]
    assert '"Outside."' in script.text and replies(script.text, {}, place) == []
    assert "invitations for that time are not declined by themselves" in script.parts[0].notes
    assert script_of(out_of_office=replace(off, internal="", external=" ")).parts == ()


def test_out_of_office_for_the_inside_alone(place: Path) -> None:
    for audience in (Audience.NONE, Audience.KNOWN):
        text = script_of(out_of_office=replace(AWAY, audience=audience)).text
        assert deeds(text, {}, place) == MISS
        assert deeds(text, {"From": BOSS}, place)[0] == "send vacation message:"


def test_out_of_office_as_powershell_and_graph_say_it() -> None:
    html = "<html><head><style>p{}</style></head><body><p>Away &amp; gone.</p><p>Ann</p></body></html>"
    row: dict[str, Any] = {
        "Identity": ME,
        "AutoReplyState": 2,
        "StartTime": "2020-01-01T00:00:00",
        "EndTime": "2090-01-01T00:00:00",
    }
    row |= {"InternalMessage": html, "ExternalMessage": "Outside.", "ExternalAudience": 2}
    row |= {"DeclineEventsForScheduledOOF": True}
    (found,) = behaviours("x.json", json.dumps(row).encode())
    said = replace(AWAY, start="2020-01-01T00:00:00", end="2090-01-01T00:00:00", declines=True)
    said = replace(said, origin="x.json:1")
    assert found.out_of_office == replace(said, internal="Away & gone.\n\nAnn")
    assert "2020-01-01T00:00:00 says no time zone, and is taken for UTC" in script_of(out_of_office=said).parts[0].notes
    graph: dict[str, Any] = {"status": "scheduled", "externalAudience": "all", "internalReplyMessage": "Inside."}
    graph |= {"scheduledStartDateTime": {"dateTime": "2020-01-01T01:00:00.0000000", "timeZone": "Europe/Berlin"}}
    graph |= {"scheduledEndDateTime": {"dateTime": "2090-01-01T00:00:00", "timeZone": "UTC"}}
    graph |= {"externalReplyMessage": "Outside."}
    (found,) = behaviours(f"{ME}.json", json.dumps({"automaticRepliesSetting": graph}).encode())
    away = found.out_of_office
    assert away is not None
    assert (away.start, away.internal, away.enabled) == ("2020-01-01T01:00:00+01:00", "Inside.", True)
    graph["scheduledStartDateTime"]["timeZone"] = "W. Europe Standard Time"
    graph["scheduledEndDateTime"]["timeZone"] = "Middle of Nowhere Time"
    (found,) = behaviours(f"{ME}.json", json.dumps({"automaticRepliesSetting": graph}).encode())
    away = found.out_of_office
    assert away is not None and away.start == "2020-01-01T01:00:00+01:00"
    (part,) = script_of(out_of_office=away).parts
    assert part.rating is Rating.MANUAL and "2090-01-01T00:00:00 Middle of Nowhere Time is not a time" in part.notes


TRUSTED = {"TrustedSendersAndDomains": ["boss@x.example"], "BlockedSendersAndDomains": ["spam.example"]}


@pytest.mark.parametrize(
    ("more", "rating", "filed"),
    [
        ({}, Rating.APPROXIMATE, ["no@spam.example"]),
        ({"Enabled": False}, Rating.APPROXIMATE, []),
        ({"ContactsTrusted": True}, Rating.APPROXIMATE, ["no@spam.example"]),
        ({"TrustedListsOnly": True}, Rating.APPROXIMATE, ["no@spam.example", "any@y.example"]),
        ({"TrustedListsOnly": True, "ContactsTrusted": True}, Rating.MANUAL, []),
    ],
)
def test_junk_lists_as_powershell_has_them(
    place: Path, more: dict[str, bool], rating: Rating, filed: list[str]
) -> None:
    row = {"Identity": ME, "Enabled": True, "TrustedListsOnly": False, "ContactsTrusted": False} | TRUSTED | more
    (found,) = behaviours("x.json", json.dumps(row).encode())
    script = convert(found, OWNER)
    assert script.parts[0].rating is rating
    for sender in ("no@spam.example", "any@y.example", "boss@x.example"):
        wanted = ["store message in folder: Junk"] if sender in filed else MISS
        assert deeds(script.text or "keep;", {"From": sender}, place) == wanted


@pytest.mark.parametrize("keeps", [True, False])
def test_forwarding_of_all_mail_as_get_mailbox_has_it(place: Path, keeps: bool) -> None:
    row = {"PrimarySmtpAddress": ME, "ForwardingAddress": None, "ForwardingSmtpAddress": "smtp:x@y.example"}
    (found,) = behaviours("x.json", json.dumps({**row, "DeliverToMailboxAndForward": keeps}).encode())
    assert found.owner == ME
    done = deeds(convert(found, OWNER).text, {}, place)
    assert done == ["redirect message to: <x@y.example>", *(MISS if keeps else ["discard"])]


def test_blocked_senders_go_to_junk_unless_they_are_safe(place: Path) -> None:
    text = script_of(junk=Junk(("ann@spam.example",), ("@spam.example", "bad@x.example"))).text
    assert deeds(text, {"From": "any@spam.example"}, place) == ["store message in folder: Junk"]
    assert deeds(text, {"From": "BAD@x.example"}, place) == ["store message in folder: Junk"]
    for sender in ("ann@spam.example", "good@x.example"):
        assert deeds(text, {"From": sender}, place) == MISS


# Any text in any field

LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1, max_size=40).filter(
    lambda text: bool(text.strip())
)
ANY = st.text(max_size=200).filter(lambda text: bool(text.strip()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=ANY, words=LINE, folder=ANY, reply=ANY)
def test_any_text_compiles(place: Path, name: str, words: str, folder: str, reply: str) -> None:
    """In every field that a rule has."""
    texts = [what for what, row in CONDITIONS.items() if row.shape is Shape.TEXTS and row.rating is not Rating.MANUAL]
    rule = Rule(
        name,
        1,
        name,
        (*(Predicate(what, (words,)) for what in texts if what is not Condition.ITEM_CLASSES),),
        (Predicate(Condition.FROM, (words + "@x.example",)), Predicate(Condition.HEADER, ("X-A: " + words,))),
        actions=(
            Deed(Action.MOVE, ("Inbox" + folder,)),
            Deed(Action.REPLY, (reply,)),
            Deed(Action.CATEGORIES, (words,)),
        ),
    )
    rule = replace(rule, conditions=tuple(one for one in rule.conditions if one.what is not Condition.HEADER))
    text = script_of(rule, replace(rule, order=2, enabled=False)).text
    if text:
        compiles(text, place)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30))
def test_any_text_means_the_same(place: Path, words: str) -> None:
    text = script_of(Rule("x", 1, "x", (Predicate(Condition.SUBJECT, (words,)),), actions=(MOVE,))).text
    assert deeds(text, {"Subject": f"a {words} b"}, place) == HIT
    assert deeds(text, {"Subject": "%%%%" if "%" not in words else "####"}, place) == MISS


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=500))
def test_any_text_is_answered_as_it_is(place: Path, reply: str) -> None:
    if wanted := reply.strip():
        text = script_of(out_of_office=replace(AWAY, internal=reply, external=reply)).text
        assert replies(text, {}, place) == [wanted]


def test_100_kb_of_text(place: Path) -> None:
    long = "".join(f'Line {n} with "quotes", \\ and ü\n.\n..\ntext:\n' for n in range(3000)).strip()
    assert len(long) > 100_000
    assert replies(script_of(out_of_office=replace(AWAY, internal=long, external=long)).text, {}, place) == [long]
    word = 'x"\\' * 35_000
    text = script_of(Rule(word, 1, word, (Predicate(Condition.BODY, (word,)),), actions=(MOVE,))).text
    assert deeds(text, {"body": "short"}, place) == MISS
    assert deeds(text, {"body": f"a {word} b"}, place) == HIT


def test_10_000_rules(place: Path) -> None:
    rules = tuple(
        Rule(f"r{n}", n, "x", (Predicate(Condition.SUBJECT, (f"s{n}",)),), actions=(MOVE,)) for n in range(10_000)
    )
    script = script_of(*rules)
    assert sum(part.rating is Rating.EXACT for part in script.parts) == 10_000
    assert script.text.count("fileinto") == 10_001


# Files that are none


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\xff\xfe\x00", "neither UTF-8 nor UTF-16"),
        (b'[{"Name": "x"', "not JSON"),
        (b'[{"a": 1}]', "neither a rule"),
        (b"[1]", "a row is an object"),
        (b"[" * 100_000, "not JSON"),
        (b"<a><b></a>", "not XML"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        (b"<a>" * 200, "nested deeper"),
        (b"just words\n", "neither JSON, XML nor CSV"),
        (b"Name,Priority\na\n", "not as many fields"),
    ],
)
def test_files_that_are_no_exports(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        behaviours("dir/file.json", content)
    assert "dir/file.json" in caught.value.about


CLIXML = """<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04"><Obj RefId="0">
<TN RefId="0"><T>Deserialized.Microsoft.Exchange.Management.Common.InboxRule</T></TN><ToString>x</ToString><Props>
<S N="Name">Caf_x00E9_</S><I32 N="Priority">1</I32><B N="Enabled">true</B><B N="InError">false</B>
<U64 N="RuleIdentity">7</U64>
<Obj N="From" RefId="1"><LST><S>"Boss" [SMTP:boss@acme.example]</S></LST></Obj><Nil N="SentTo" />
<Obj N="MoveToFolder" RefId="2"><ToString>ann@acme.example:\\Inbox\\Hit</ToString><Props><S N="X">y</S></Props></Obj>
<Obj N="MailboxOwnerId" RefId="3"><ToString>ann@acme.example</ToString></Obj></Props></Obj></Objs>"""


def test_clixml_and_csv_say_the_same() -> None:
    wanted = Rule("Café", 1, "x", (Predicate(Condition.FROM, (BOSS,)),), actions=(MOVE,))
    for encoding in ("utf-8", "utf-16"):
        assert replace(one_rule(CLIXML.encode(encoding), "x.xml"), origin="x") == wanted
    rows = [
        "Name;Priority;Enabled;InError;RuleIdentity;From;SentTo;MoveToFolder;MailboxOwnerId",
        f'Café;1;True;False;7;"{{""Boss"" [SMTP:{BOSS}]}}";;{ME}:\\Inbox\\Hit;{ME}',
    ]
    assert replace(one_rule("\r\n".join(rows).encode("utf-8-sig"), "x.csv"), origin="x") == wanted
    lost = rows[1].replace(f'"{{""Boss"" [SMTP:{BOSS}]}}"', "System.Collections.ArrayList")
    rule = one_rule(f"{rows[0]}\n{lost}\n".encode(), "x.csv")
    assert rule.unknown == ("From",)  # the export lost who it was: nothing is moved for everybody's mail
    assert script_of(rule).text == ""


def test_clixml_of_whatever_else_is_exported() -> None:
    """As `Export-Clixml` writes them, with what they call themselves."""
    head = '<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04"><Obj RefId="0">'
    junk = (
        "<ToString>acme.example/Users/Ann</ToString><Props><B N='Enabled'>true</B><S N='Identity'>Ann</S>"
        "<Obj N='BlockedSendersAndDomains' RefId='1'><LST><S>bad.example</S></LST></Obj></Props></Obj></Objs>"
    )
    (found,) = behaviours("x.xml", (head + junk).encode())
    assert (found.owner, found.junk) == ("Ann", Junk(blocked=("bad.example",)))
    mailbox = (
        f"<ToString>@{{PrimarySmtpAddress={ME}}}</ToString><MS><S N='PrimarySmtpAddress'>{ME}</S>"
        "<Nil N='ForwardingAddress'/><S N='ForwardingSmtpAddress'>smtp:x@y.example</S>"
        "<B N='DeliverToMailboxAndForward'>false</B></MS></Obj></Objs>"
    )
    (found,) = behaviours("x.xml", (head + mailbox).encode())
    assert (found.owner, found.forwarding) == (ME, Forwarding(("x@y.example",), False, "x.xml:1"))


def test_clixml_with_references_to_characters() -> None:
    given = CLIXML.replace("Caf_x00E9_", "A &amp; B &#x3C;&#67;&gt; _x005F_x000A_")
    assert one_rule(given.encode(), "x.xml").name == "A & B <C> _x000A_"


def test_an_unknown_condition_is_never_dropped() -> None:
    for rule in (
        one_rule(spelling.powershell({"SomethingNew": ["x"], "DeleteMessage": True})),
        one_rule(spelling.graph({"somethingNew": "x"}, {}, {"delete": True})),
        one_rule(spelling.ews("<t:SomethingNew>x</t:SomethingNew>", "", "<t:Delete>true</t:Delete>"), f"{ME}.xml"),
    ):
        assert [one.lower() for one in rule.unknown] == ["somethingnew"]
        assert script_of(rule).text == ""


@pytest.mark.parametrize("said", [False, "False"])
def test_a_rule_that_only_outlook_can_show_is_left_to_its_owner(said: object) -> None:
    """Get-InboxRule shows a part of it: what it does not show may be the condition that keeps mail from deletion."""
    rule = one_rule(spelling.powershell({"SubjectContainsWords": ["x"], "DeleteMessage": True}, SupportedByTask=said))
    script = script_of(rule)
    assert (script.text, script.parts[0].rating) == ("", Rating.MANUAL)
    assert "Outlook" in script.parts[0].notes[0]


def test_two_people_of_one_name_are_not_made_one(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.json", "b.json")]
    for path in files:
        path.write_bytes(spelling.powershell({"SubjectContainsWords": [path.name]}, MailboxOwnerId="Max Muster"))
    with pytest.raises(UserError, match="two people of one name") as caught:
        merged(files)
    assert caught.value.about == str(files[1])
    assert len(merged([files[0], files[0]])[0].rules) == 1
    named = [path.rename(tmp_path / f"max{number}@acme.example.json") for number, path in enumerate(files)]
    assert [one.owner for one in merged(named)] == ["max0@acme.example", "max1@acme.example"]


def test_the_page_is_the_table() -> None:
    assert rules_page.PAGE.read_text(encoding="utf-8") == rules_page.page()
