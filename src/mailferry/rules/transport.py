"""Transport rules of the whole organisation → one Sieve script that runs before a person's own, and tables of Postfix.

Pure. A rule of which any part is not understood does nothing, and is left to a human with what to do. Invariants: each
rule comes out once; a test fits no message that Exchange's condition would not; no text of a rule is anything but text
in the script, also where variables are on.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailferry.rules import values
from mailferry.rules.names import Rating
from mailferry.rules.predicates import Said
from mailferry.rules.transport_conditions import HEADER, addresses, test_of, text_of, texts_of
from mailferry.rules.transport_names import ACTIONS, CONDITIONS
from mailferry.wire import sieve
from mailferry.wire.exports import Row
from mailferry.wire.sieve import Command, Comment, Tag, Test, all_of, any_of, not_

_ABOUT = frozenset(
    (
        *(
            "name",
            "identity",
            "guid",
            "priority",
            "state",
            "mode",
            "description",
            "comments",
            "dlppolicy",
            "dlppolicyid",
        ),
        *("distinguishedname", "immutableid", "organizationid", "ruleversion", "size", "conditions", "exceptions"),
        *("actions", "activationdate", "expirydate", "isvalid", "objectstate", "whenchanged", "createdby"),
        *(
            "lastmodifiedby",
            "manuallymodified",
            "runspaceid",
            "pscomputername",
            "psshowcomputername",
            "isruleconfigurationsupported",
        ),
        *("ruleerroraction", "rulesubtype", "setauditseverity", "senderaddresslocation", "userecipienttypefilter"),
        *("exchangeversion", "originatingserver", "ruleerrormessage"),
    )
)
_NAMES = {name.lower(): name for name in (*CONDITIONS, *ACTIONS)}
_EDIT, _VARIABLES = frozenset(("editheader",)), frozenset(("variables",))
_SCL_JUNK = 5


@dataclass(frozen=True, slots=True)
class Site:
    """`domains`: the organisation's. `junk`: the folder."""

    domains: tuple[str, ...]
    junk: str = "Junk"


@dataclass(frozen=True, slots=True)
class Converted:
    """One rule. `place`: `sieve`, `postfix`, or "" for what is left to a human or switched off."""

    name: str
    origin: str
    rating: Rating
    place: str
    active: bool
    notes: tuple[str, ...]


@dataclass(slots=True)
class Done:
    """Everything. `script`: "" where no rule goes there. `main_cf`: parameter → value, in which
    `{dir}` is where the tables are; `tables`: file → its lines."""

    script: str = ""
    parts: list[Converted] = field(default_factory=list)
    main_cf: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    origin: str
    conditions: Mapping[str, Any]
    exceptions: Mapping[str, Any]
    actions: Mapping[str, Any]
    unknown: tuple[str, ...]
    why_off: str
    header_alone: bool


def is_row(row: Row) -> bool:
    """Whether it looks like a transport rule."""
    names = {name.lower() for name in row}
    return "name" in names and bool(
        names & {"stopruleprocessing", "sentto", "fromscope", "rulesubtype", "rulesettings"}
    )


def convert(rows: Iterable[tuple[str, Row]], site: Site) -> Done:
    """(origin, row) of Get-TransportRule, in any order."""
    done = Done()
    commands: list[Command | Comment] = []
    stops: list[tuple[str, str]] = []
    for origin, row in sorted(rows, key=lambda row: _number(_lower(row[1]).get("priority"))):
        rule = _read(origin, _lower(row))
        said = Said()
        if rule.why_off:
            done.parts.append(Converted(rule.name, origin, Rating.EXACT, "", False, (rule.why_off,)))
            continue
        place = "postfix" if _postfix(rule, done, said) else ""
        if not place:
            made = _sieve(rule, site, said)
            if made is not None:
                commands += [Comment(f"{rule.name} ({rule.origin})"), *made]
                place = "sieve"
        for other, where in stops:
            if place and (where != "sieve" or place != "sieve"):
                said.note(Rating.APPROXIMATE, f"{other}, which comes before it, does not stop it any more")
        if "StopRuleProcessing" in rule.actions:
            stops.append((rule.name, place))
        done.parts.append(Converted(rule.name, origin, said.rating, place, True, tuple(said.notes)))
    if commands:
        done.script = sieve.script([Comment("Transport rules of Exchange, before a person's own filter."), *commands])
    return done


def _read(origin: str, row: Row) -> _Rule:
    parts: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = ({}, {}, {})
    unknown = []
    for key, value in row.items():
        if key in _ABOUT or not _is_set(value):
            continue
        out = key.startswith("exceptif")
        name = _NAMES.get(key.removeprefix("exceptif"))
        if name is None or (out and name not in CONDITIONS):
            unknown.append(key)
        else:
            parts[1 if out else 0 if name in CONDITIONS else 2][name] = value
    state, mode = text_of(row.get("state")).lower(), text_of(row.get("mode")).lower()
    off = "it is switched off in Exchange" if state == "disabled" else ""
    if mode in ("audit", "auditandnotify"):
        off = off or f"it only watched in Exchange (mode {mode})"
    if any(text_of(row.get(name)) for name in ("activationdate", "expirydate")) and not off:
        unknown.append("ActivationDate or ExpiryDate")
    location = text_of(row.get("senderaddresslocation")).lower()
    name = text_of(row.get("name")) or "without a name"
    return _Rule(name, origin, *parts, tuple(unknown), off, location in ("", "header", "0"))


def _postfix(rule: _Rule, done: Done, said: Said) -> bool:
    """Whether a setting of Postfix says just the same."""
    if rule.exceptions or rule.unknown:
        return False
    what = set(rule.actions) - {"StopRuleProcessing"}
    conditions = set(rule.conditions)
    rejects = what <= {"RejectMessageReasonText", "RejectMessageEnhancedStatusCode"} and bool(what)
    if rejects and conditions == {"MessageSizeOver"}:
        size = values.size(_one(rule.conditions["MessageSizeOver"]))
        if size is not None and "message_size_limit" not in done.main_cf:
            done.main_cf["message_size_limit"] = size
            said.note(Rating.EXACT, "for all mail that this Postfix takes, in either direction")
            return True
    if rejects and conditions == {"SenderIpRanges"}:
        lines = [_cidr(text) for text in texts_of(rule.conditions["SenderIpRanges"]) or ()]
        if lines and all(lines):
            reason = _plain(text_of(rule.actions.get("RejectMessageReasonText"))) or "refused"
            done.tables.setdefault("client_access.cidr", []).extend(f"{one} 550 5.7.1 {reason}" for one in lines)
            done.main_cf["smtpd_client_restrictions"] = "check_client_access cidr:{dir}/client_access.cidr"
            return True
    copies = addresses(rule.actions.get("BlindCopyTo")) or ()
    if what == {"BlindCopyTo"} and len(copies) == 1:
        return _bcc(rule, copies[0], done)
    return False


def _bcc(rule: _Rule, to: str, done: Done) -> bool:
    """Postfix's own copies: of everything, by recipient or by (envelope) sender; one address each."""
    if not rule.conditions and "always_bcc" not in done.main_cf:
        done.main_cf["always_bcc"] = to
        return True
    if set(rule.conditions) != {"SentTo"}:
        return False  # From is the header's, which Postfix's table does not see
    people = addresses(rule.conditions["SentTo"])
    table = done.tables.get("recipient_bcc", [])
    if not people or any(line.split("\t")[0] in people for line in table):
        return False
    done.tables["recipient_bcc"] = [*table, *(f"{one}\t{to}" for one in people)]
    done.main_cf["recipient_bcc_maps"] = "texthash:{dir}/recipient_bcc"
    return True


def _sieve(rule: _Rule, site: Site, said: Said) -> list[Command] | None:
    """The rule as commands; None with notes where it cannot be."""
    if any("${" in text for text in _all_texts(rule)):
        said.note(Rating.MANUAL, "a text with ${ means something else in Sieve")
    for name in rule.unknown:
        said.note(Rating.MANUAL, f"{name}: not known here; do what it means by hand")
    if not rule.actions and not rule.unknown:
        said.note(Rating.MANUAL, "it does nothing")
    wanted = [_test(name, value, rule, site, said) for name, value in rule.conditions.items() if not _is_name(name)]
    unless = [
        _test(name, value, rule, site, said, out=True) for name, value in rule.exceptions.items() if not _is_name(name)
    ]
    acts = _acts(rule, site, said)
    if said.rating is Rating.MANUAL or acts is None:
        return None
    tests = [one for one in wanted if one is not None]
    but = [one for one in unless if one is not None]
    if but:
        tests.append(not_(any_of(but)))
    if not any(name in rule.conditions for name in ("SentTo", "SentToScope", "RecipientDomainIs")):
        said.note(Rating.APPROXIMATE, "mail to people outside is not seen")
    return [Command("if", test=all_of(tests), block=tuple(acts))]


def _all_texts(rule: _Rule) -> Iterable[str]:
    for part in (rule.conditions, rule.exceptions, rule.actions):
        for value in part.values():
            yield from texts_of(value) or ()


def _is_name(condition: str) -> bool:
    return condition in ("HeaderContainsMessageHeader", "HeaderMatchesMessageHeader")


def _test(name: str, value: Any, rule: _Rule, site: Site, said: Said, *, out: bool = False) -> Test | None:
    row = CONDITIONS[name]
    if row.rating is not Rating.EXACT:
        said.note(row.rating, f"{name}: {row.note}")
        if row.rating is Rating.MANUAL:
            return None
    texts = texts_of(value)
    if texts is None or not texts:
        said.note(Rating.MANUAL, f"{name}: the export has lost what it says")
        return None
    if not rule.header_alone and name.startswith(("From", "SenderDomain")):
        said.note(Rating.APPROXIMATE, "the sender is looked for in the From field alone")
    made = test_of(name, texts, rule.exceptions if out else rule.conditions, site.domains)
    if made is None:
        said.note(Rating.MANUAL, f"{name}: {', '.join(texts)[:200]} cannot be said in Sieve")
    return made


def _acts(rule: _Rule, site: Site, said: Said) -> list[Command] | None:
    """The commands; None with notes where one cannot be said."""
    found: list[Command] = []
    ends: list[Command] = []
    for name, value in rule.actions.items():
        row = ACTIONS[name]
        if row.rating is not Rating.EXACT:
            said.note(row.rating, f"{name}: {row.note}")
        text = _one(value)
        if name == "PrependSubject":
            found += _prepend(value if isinstance(value, str) else text)  # with the blank at its end
        elif name == "SetHeaderName":
            found += _set_header(text, text_of(rule.actions.get("SetHeaderValue")), said)
        elif name == "RemoveHeader" and HEADER.fullmatch(text):
            found.append(Command("deleteheader", (text,), _EDIT))
        elif name in ("BlindCopyTo", "RedirectMessageTo"):
            people = addresses(value)
            if people is None:
                said.note(Rating.MANUAL, f"{name}: {text} is no address")
                continue
            copy = (Tag(":copy"),) if name == "BlindCopyTo" else ()
            needs = frozenset(("copy",)) if copy else frozenset()
            found += [Command("redirect", (*copy, one), needs) for one in people]
            ends += [] if copy else [Command("stop")]
        elif name == "SetSCL":
            if not text.lstrip("-").isdigit() or int(text) < _SCL_JUNK:
                said.note(Rating.MANUAL, f"SetSCL {text}: tell rspamd")
                continue
            ends.append(Command("fileinto", (Tag(":create"), site.junk), frozenset(("fileinto", "mailbox"))))
        elif name == "DeleteMessage":
            ends += [Command("discard"), Command("stop")]
        elif name == "RejectMessageReasonText":
            ends += [Command("reject", (text,), frozenset(("reject",))), Command("stop")]
        elif name == "StopRuleProcessing":
            ends.append(Command("stop"))
        elif name not in ("SetHeaderValue", "RejectMessageEnhancedStatusCode"):
            said.note(Rating.MANUAL, f"{name}: {row.note}")
    ends = sorted(dict.fromkeys(ends), key=lambda one: one.name == "stop")
    if not found and not ends:
        said.note(Rating.MANUAL, "nothing of what it does can be said in Sieve")
    return None if said.rating is Rating.MANUAL else [*found, *ends]


def _prepend(text: str) -> list[Command]:
    matches = Test("header", (Tag(":matches"), "subject", "*"), needs=_VARIABLES)
    name = "transport_subject"
    return [
        Command("set", (name, ""), _VARIABLES),
        Command("if", test=matches, block=(Command("set", (name, "${1}"), _VARIABLES),)),
        Command("deleteheader", ("Subject",), _EDIT),
        Command("addheader", (Tag(":last"), "Subject", f"{text}${{{name}}}"), _EDIT | _VARIABLES),
    ]


def _set_header(name: str, value: str, said: Said) -> list[Command]:
    if not HEADER.fullmatch(name):
        said.note(Rating.MANUAL, f"SetHeaderName: {name} is no name of a header")
        return []
    return [Command("deleteheader", (name,), _EDIT), Command("addheader", (Tag(":last"), name, value), _EDIT)]


def _cidr(text: str) -> str:
    """`10.0.0.0/8` or one address as Postfix writes it; "" for a range from one to another."""
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        return ""


def _plain(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]+", " ", text).strip()


def _one(value: Any) -> str:
    """The first text of what may be many."""
    return next(iter(texts_of(value) or ()), "")


def _is_set(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_set(one) for one in value)
    return value is not None and value is not False and str(value).strip().lower() not in ("", "false", "{}")


def _number(value: Any) -> int:
    text = text_of(value)
    return int(text) if text.isdigit() else 1 << 30


def _lower(row: Row) -> Row:
    return {name.lower(): value for name, value in row.items()}
