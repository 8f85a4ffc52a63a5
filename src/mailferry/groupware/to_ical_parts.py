"""Properties that events, tasks and notes share when they are written as iCalendar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from urllib.parse import quote

import icalendar

from mailferry.groupware.written import clean
from mailferry.model.groupware import Attached, Busy, Importance, Party, Sensitivity, Text

BUSY = {
    Busy.FREE: "FREE",
    Busy.TENTATIVE: "TENTATIVE",
    Busy.BUSY: "BUSY",
    Busy.AWAY: "OOF",
    Busy.ELSEWHERE: "WORKINGELSEWHERE",
}
"""[MS-OXCICAL] X-MICROSOFT-CDO-BUSYSTATUS."""

CLASSES = {
    Sensitivity.PERSONAL: "PRIVATE",
    Sensitivity.PRIVATE: "PRIVATE",
    Sensitivity.CONFIDENTIAL: "CONFIDENTIAL",
}
PRIORITIES = {Importance.LOW: 9, Importance.HIGH: 1}


def put(to: icalendar.Component, name: str, text: str) -> None:
    """A text, if there is one."""
    if cleaned := clean(text):
        to.add(name, icalendar.vText(cleaned))


def one_line(text: str) -> str:
    return clean(text).replace("\n", " ").strip()


def parameter(text: str) -> str:
    """A text for a parameter: a slash for each backslash, which some programs take for an escape there, others not."""
    return one_line(text).replace("\\", "/")


def clean_pairs(to: icalendar.Component, *pairs: tuple[str, str]) -> None:
    for name, text in pairs:
        put(to, name, text)


def put_text(to: icalendar.Component, subject: str, text: Text, online: str = "") -> None:
    """Subject and body; a link to join also stands in the body, for clients that know no CONFERENCE."""
    put(to, "SUMMARY", one_line(subject))
    plain = text.plain
    if online and online not in plain:
        plain = f"{plain}\n\n{online}" if plain.strip() else online
    put(to, "DESCRIPTION", plain)
    if text.html.strip():
        to.add("X-ALT-DESC", icalendar.vText(clean(text.html)), parameters={"FMTTYPE": "text/html"})


def stamps(to: icalendar.Component, created: datetime | None, modified: datetime | None, *, fallback: datetime) -> None:
    """DTSTAMP is when the item was last changed, so that the same item gives the same bytes. Times are UTC."""

    def of(when: datetime) -> datetime:
        return when.replace(tzinfo=UTC, microsecond=0)

    to.add("DTSTAMP", of(modified or created or fallback))
    if created is not None:
        to.add("CREATED", of(created))
    if modified is not None:
        to.add("LAST-MODIFIED", of(modified))


def colours(
    to: icalendar.Component,
    sensitivity: Sensitivity | None,
    importance: Importance | None,
    categories: Sequence[str],
) -> None:
    """Class, priority, categories."""
    if sensitivity in CLASSES:
        put(to, "CLASS", CLASSES[sensitivity])
        if sensitivity is Sensitivity.PERSONAL:
            put(to, "X-MAILFERRY-SENSITIVITY", "PERSONAL")
    if importance in PRIORITIES:
        to.add("PRIORITY", PRIORITIES[importance])
    named = [cleaned for one in categories if (cleaned := clean(one).strip())]
    if named:
        to.add("CATEGORIES", named)


def person(party: Party, parameters: Mapping[str, str]) -> icalendar.vCalAddress:
    """Somebody as a calendar address; one without address as Apple writes it."""
    address = clean(party.address).strip()
    value = icalendar.vCalAddress(f"mailto:{quote(address, safe='@.+-_=~!#$&*/^{|}')}" if address else "invalid:nomail")
    if name := parameter(party.name):
        value.params["CN"] = name
    for key, text in parameters.items():
        value.params[key] = text
    return value


def attach(
    to: icalendar.Component, attached: Iterable[Attached], losses: list[str], *, left_out: date | None = None
) -> None:
    """Attachments inline, links as links; `left_out`: none but links come, since the event ended before that day."""
    old = 0
    for one in attached:
        name = parameter(one.name)
        parameters = {"FILENAME": name, "X-FILENAME": name} if name else {}
        if one.reference:
            to.add("ATTACH", icalendar.vUri(clean(one.reference).strip()), parameters=parameters)
            continue
        if left_out is not None:
            old += 1
            continue
        kind = clean(one.content_type).strip() or "application/octet-stream"
        to.add("ATTACH", icalendar.vBinary(b"".join(one.body.chunks()), {"FMTTYPE": kind, **parameters}))
    if old and left_out is not None:
        losses.append(f"{old} attachments are left out, since it ended before {left_out.isoformat()}")
