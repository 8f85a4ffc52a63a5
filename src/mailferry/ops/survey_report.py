"""Writes a survey: `index.html` for people, `recipients.csv` (a row for each recipient), `survey.json` for programs.

The page stands alone: no network, no script, no other file. It shows the first rows of everything; the CSV file has
all. Invariant: every text from the directory is escaped (HTML), and no cell of the CSV begins like a formula.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mailferry import __version__
from mailferry.directory.moving import NOT_LOOKED, Wave
from mailferry.directory.sharing import MOVERS, Cluster
from mailferry.directory.survey import UNKNOWN, Survey
from mailferry.errors import Permanent
from mailferry.model.recipient import Recipient, RecipientKind
from mailferry.ops.survey import Surveyed, totals, users
from mailferry.ops.survey_pictures import histogram, picture
from mailferry.verify.report import environment

SCHEMA = 1
ROWS = 25
"""Rows of a table on the page."""
PICTURES = 12
TEMPLATES = Path(__file__).with_name("templates")

COLUMNS = (
    *("id", "kind", "name", "account", "mail", "aliases", "department", "location", "hidden", "enabled"),
    *("bytes", "messages", "folders", "quota", "uses", "left_behind"),
    *("cluster", "cluster_size", "wave", "reasons", "trouble"),
)

KINDS = {
    RecipientKind.MAILBOX: "people with a mailbox",
    RecipientKind.SHARED: "shared mailboxes",
    RecipientKind.ROOM: "rooms",
    RecipientKind.EQUIPMENT: "equipment",
    RecipientKind.GROUP: "groups",
    RecipientKind.DYNAMIC_GROUP: "dynamic groups",
    RecipientKind.CONTACT: "contacts outside",
    RecipientKind.MAIL_USER: "mail users (mailbox elsewhere)",
    RecipientKind.PUBLIC_FOLDER: "public folders with an address",
    RecipientKind.ACCOUNT: "accounts without mail",
}


def write_survey(done: Surveyed, folder: Path) -> Path:
    """Write all three files into `folder` (made if needed); the page's path. Permanent if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "recipients.csv").open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows([_cell(value) for value in row] for row in rows(done.survey))
        document = json.dumps(survey_data(done), indent=1, ensure_ascii=True)
        (folder / "survey.json").write_text(document + "\n", encoding="ascii")
        page = folder / "index.html"
        page.write_text(_page(done), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Permanent(f"the survey cannot be written: {error.strerror}", about=str(folder)) from error
    return page


def rows(found: Survey) -> Iterator[tuple[Any, ...]]:
    """One for each recipient, as COLUMNS; those left out come last."""
    cluster_of = {who: cluster for cluster in found.clusters for who in cluster.members}
    for one in found.people.values():
        size = found.sizes.get(one.id, NOT_LOOKED)
        cluster = cluster_of.get(one.id)
        shared = cluster is not None and len(cluster.members) > 1
        yield (
            *(one.id, one.kind.value, one.name, one.account, one.mail, " ".join(one.aliases)),
            *(_detail(one, "departmentNumber"), _detail(one, "l"), _yes(one.hidden), _yes(one.enabled)),
            *(size.bytes, size.messages, size.folders, one.quota),
            "; ".join(f"{name} {count}" for name, count in size.uses.items()),
            "; ".join(size.left_behind),
            *((cluster.number, len(cluster.members)) if cluster is not None and shared else (None, None)),
            found.suggestion.wave_of.get(one.id),
            "; ".join(_reasons(found, one)),
            size.failure,
        )
    for who, name, where, why in found.left_out:
        blank = (None,) * (len(COLUMNS) - 5)
        yield (who, "left out", name, *blank, why, where)


def _reasons(found: Survey, one: Recipient) -> tuple[str, ...]:
    if one.kind not in MOVERS:
        return ("has no mailbox here",)
    return found.suggestion.reasons.get(one.id, ()) or ("alone and nothing special: could move first",)


def _detail(one: Recipient, name: str) -> str:
    return next(iter(one.details.get(name, ())), "")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _cell(value: object) -> object:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def survey_data(done: Surveyed) -> dict[str, Any]:
    """The survey as JSON values (docs/survey.md)."""
    found = done.survey
    return {
        "schema": SCHEMA,
        "mailferry": __version__,
        "generated": time.time(),
        "source": done.source,
        "seconds": round(done.seconds, 3),
        "read": dict(found.read),
        "kinds": dict(found.kinds),
        "features": found.features,
        "sizes": totals(found),
        "uses": users(found),
        "domains": [
            {"domain": name, "primary": first, "others": more, "accepted": ours}
            for name, first, more, ours in found.domains
        ],
        "servers": dict(found.servers),
        "languages": dict(found.languages),
        "largest_groups": [
            {"id": who, "name": found.people[who].name, "reaches": count, "members": direct}
            for who, count, direct in found.largest
        ],
        "clusters": [_cluster_data(found, one) for one in found.shared_clusters],
        "waves": [
            {"wave": one.number, "members": list(one.members), "clusters": list(one.clusters), "bytes": one.bytes}
            for one in found.suggestion.waves
        ],
        "warnings": [
            {"code": one.code, "title": one.title, "text": one.text, "count": one.count, "about": list(one.about)}
            for one in found.advice
        ],
        "left_out": [{"id": who, "name": name, "where": where, "why": why} for who, name, where, why in found.left_out],
        "findings": [{"title": title, "severity": level, "count": count} for title, level, count in found.findings],
        "unknown": [{"what": what, "why": why} for what, why in UNKNOWN],
    }


def _cluster_data(found: Survey, one: Cluster) -> dict[str, Any]:
    return {
        "cluster": one.number,
        "members": list(one.members),
        "ties": [{"mailbox": edge.one, "who": edge.other, "tie": edge.tie.value} for edge in one.edges],
        "hubs": [{"id": who, "ties": ties, "largest_without": rest} for who, ties, rest in one.hubs],
    }


def _page(done: Surveyed) -> str:
    found = done.survey
    made = environment(TEMPLATES)
    large = sorted(
        ((one, found.sizes[one.id]) for one in found.movers if one.id in found.sizes),
        key=lambda pair: (-(pair[1].bytes or 0), -(pair[1].messages or 0), pair[0].name),
    )
    waves = found.suggestion.waves
    staying = [one for one in found.movers if one.id not in found.suggestion.wave_of]
    return made.get_template("survey.html").render(
        head={"mailferry": __version__, "generated": time.time()},
        done=done,
        found=found,
        kinds=[(title, found.kinds[kind.value], found.read[kind.value]) for kind, title in KINDS.items()],
        movers=len(found.movers),
        totals=totals(found),
        histogram=histogram(found.sizes),
        large=large[:ROWS],
        failures=[pair for pair in large if pair[1].failure][:ROWS],
        clusters=found.shared_clusters[:ROWS],
        cluster_count=len(found.shared_clusters),
        tied=sum(len(one.members) for one in found.shared_clusters),
        pictures=[picture(one, found.people) for one in found.shared_clusters[:PICTURES]],
        ties=_tie_counts(found),
        waves=[_wave_row(found, wave) for wave in waves[:ROWS]],
        wave_count=len(waves),
        first=[found.people[who] for who in (waves[0].members if waves else ())][:ROWS],
        staying=[(one, found.suggestion.reasons[one.id]) for one in staying][:ROWS],
        staying_count=len(staying),
        unknown=UNKNOWN,
        rows=ROWS,
    )


def _tie_counts(found: Survey) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for edge in (*found.sharing.strong, *found.sharing.loose):
        counts[edge.tie.value] = counts.get(edge.tie.value, 0) + 1
    return sorted(counts.items())


def _wave_row(found: Survey, wave: Wave) -> dict[str, Any]:
    """What the page says of a wave: how many of it are plain, alone with something special, in clusters."""
    tied = {who for number in wave.clusters for who in found.clusters[number - 1].members}
    special = sum(1 for who in wave.members if who not in tied and found.suggestion.reasons[who])
    plain = len(wave.members) - len(tied) - special
    names = [found.people[who].name for who in wave.members[:3]]
    return {"wave": wave, "tied": len(tied), "special": special, "plain": plain, "names": names}
