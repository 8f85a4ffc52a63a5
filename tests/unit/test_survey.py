"""The survey: ties, clusters, waves, counts, and the files it writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.organisation import organisation
from lab.organisation_ldif import write_ldif
from mailferry.cli.main import cli
from mailferry.directory.clean import Policy, clean
from mailferry.directory.moving import Size, suggest
from mailferry.directory.readers.ldif_file import LdifFile
from mailferry.directory.sharing import STRONG, WIDE, Edge, Tie, clusters, expanded, ties
from mailferry.directory.survey import Survey, survey
from mailferry.model.recipient import Forwarding, Recipient, RecipientKind
from mailferry.ops.survey import Surveyed
from mailferry.ops.survey_pictures import DRAWN, histogram, picture
from mailferry.ops.survey_report import COLUMNS, write_survey
from tests.unit.test_verify_report import HOSTILE, check

NOW = 1_800_000_000.0
K = RecipientKind


def one(name: str, kind: RecipientKind = K.MAILBOX, **more: object) -> Recipient:
    return Recipient(name, kind, f"cn={name}", name, mail=f"{name}@acme.example", **more)  # type: ignore[arg-type]


def counted(*people: Recipient, sizes: dict[str, Size] | None = None, **more: int) -> Survey:
    cleaned = clean(people, Policy(NOW))
    read = {person.id: (person.kind.value, person.name, person.where) for person in people}
    return survey(read, cleaned, frozenset({"acme.example"}), sizes or {}, NOW, **more)


def parts(found: Survey) -> list[set[str]]:
    return [set(cluster.members) for cluster in found.clusters]


def test_full_access_and_sending_on_behalf_tie_and_a_manager_does_not() -> None:
    found = counted(
        one("info", K.SHARED, full_access=("ann", "bob")),
        one("ann", send_on_behalf=("cleo",)),
        one("bob", manager="dora"),
        one("cleo"),
        one("dora", manager="eva"),
        one("eva"),
    )
    assert parts(found) == [{"info", "ann", "bob", "cleo"}, {"dora"}, {"eva"}]
    assert found.clusters[0].hubs[0] == ("info", 2, 2) or found.clusters[0].hubs[0][0] == "ann"
    assert {edge.tie for edge in found.sharing.loose} == {Tie.MANAGER}


def test_rights_of_a_group_are_its_members_unless_it_is_large() -> None:
    few = one("few", K.GROUP, members=("ann", "inner"))
    inner = one("inner", K.GROUP, members=("bob", "few"))
    crowd = [one(f"p{number}") for number in range(WIDE + 1)]
    many = one("many", K.GROUP, members=tuple(person.id for person in crowd))
    people = [one("ann"), one("bob"), few, inner, *crowd, many]
    people += [one("info", K.SHARED, full_access=("few",)), one("all", K.SHARED, full_access=("many",))]
    found = counted(*people)
    assert parts(found)[0] == {"info", "ann", "bob"}
    assert len(parts(found)[1]) == 1
    assert found.sharing.wide == [("all", "many", WIDE + 1)]
    assert "wide-rights" in {advice.code for advice in found.advice}


def test_a_group_that_contains_itself_is_counted_once() -> None:
    loop = {"a": one("a", K.GROUP, members=("b", "x")), "b": one("b", K.GROUP, members=("a", "smtp:y@out.example"))}
    assert expanded("a", loop) == {"x", "smtp:y@out.example"}


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=30))
def test_clusters_are_the_connected_parts(pairs: list[tuple[int, int]]) -> None:
    people = [str(number) for number in range(16)]
    strong = [Edge(str(first), str(second), Tie.FULL_ACCESS) for first, second in pairs if first != second]
    found = clusters(people, strong)
    assert sorted(who for cluster in found for who in cluster.members) == sorted(people)
    where = {who: cluster.number for cluster in found for who in cluster.members}
    assert all(where[edge.one] == where[edge.other] for edge in strong)
    reached = {"0"}
    for _ in people:
        reached |= {edge.other for edge in strong if edge.one in reached}
        reached |= {edge.one for edge in strong if edge.other in reached}
    assert {who for who in people if where[who] == where["0"]} == reached
    for cluster in found:
        assert cluster.hubs == () or all(rest < len(cluster.members) for _, _, rest in cluster.hubs)


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 25))
def test_waves_keep_clusters_whole_and_everybody_once(shape: list[int], most: int) -> None:
    people: dict[str, Recipient] = {}
    strong: list[Edge] = []
    for number, size in enumerate(shape):
        names = [f"{number}.{index}" for index in range(size)]
        people |= {name: one(name) for name in names}
        strong += [Edge(names[0], name, Tie.ON_BEHALF) for name in names[1:]]
    found = clusters(people, strong)
    waves = suggest(people, found, (), {}, NOW, most).waves
    assert sorted(who for wave in waves for who in wave.members) == sorted(people)
    wave_of = {who: wave.number for wave in waves for who in wave.members}
    assert all(wave_of[edge.one] == wave_of[edge.other] for edge in strong)
    sizes = [
        max(map(len, (cluster.members for cluster in found if wave_of[cluster.members[0]] == wave.number)))
        for wave in waves
    ]
    assert all(len(wave.members) <= max(most, largest) for wave, largest in zip(waves, sizes, strict=True))
    in_clusters = [
        max(len(cluster.members) for cluster in found if cluster.members[0] in wave.members) for wave in waves
    ]
    assert in_clusters == sorted(in_clusters)


def test_the_plain_go_first_and_who_sleeps_goes_nowhere() -> None:
    found = counted(
        one("tied", full_access=("other",)),
        one("other"),
        one("forward", forwarding=Forwarding("smtp:x@out.example", True)),
        one("large"),
        one("shut"),
        one("plain"),
        one("gone", expires=NOW - 1),
        one("off", enabled=False),
        one("room", K.ROOM, enabled=False),
        sizes={"large": Size(90 * 10**9, 5), "shut": Size(failure="log-in refused")},
    )
    (first, *_, last) = found.suggestion.waves
    assert first.members == ("plain",) or first.members[0] == "plain"
    assert set(last.members) == {"tied", "other"}
    assert not {"gone", "off"} & found.suggestion.wave_of.keys()
    assert "room" in found.suggestion.wave_of
    reasons = found.suggestion.reasons
    assert reasons["plain"] == ()
    assert reasons["large"] == ("a large mailbox",)
    assert reasons["shut"] == ("could not be opened: log-in refused",)
    assert reasons["tied"][0].startswith("moves together with 1 other (cluster ")
    assert "expired" in reasons["gone"][0] and "disabled" in reasons["off"][0]


def test_what_to_know_is_told() -> None:
    crowd = [one(f"p{number}") for number in range(1001)]
    found = counted(
        *crowd,
        one("everybody", K.GROUP, members=tuple(person.id for person in crowd)),
        one("board", K.PUBLIC_FOLDER),
        one("hoarder", preferences={"msExchArchiveName": ("Archive",)}),
        one("foreign", aliases=("foreign@partner.example",)),
        one("cloud", K.MAIL_USER, external_address="cloud@acme.mail.onmicrosoft.com"),
    )
    told = {advice.code: advice for advice in found.advice}
    assert told["large-groups"].about == ("everybody (1,001)",)
    assert "virtual_alias_expansion_limit" in told["large-groups"].text
    assert "April 2027" in told["public-folders"].text
    assert told["archives"].about == ("hoarder",)
    assert told["elsewhere"].count == 1


def test_acme_is_counted_as_it_is(tmp_path: Path) -> None:
    content = organisation(50)
    write_ldif(content, tmp_path / "acme.ldif")
    reader = LdifFile(tmp_path / "acme.ldif")
    people = [found for found in reader.read() if isinstance(found, Recipient)]
    found = counted(*people)
    wanted = {
        kind: sum(entry.kind is kind for entry in content.entries) for kind in (K.SHARED, K.ROOM, K.DYNAMIC_GROUP)
    }
    assert {kind: found.read[kind.value] for kind in wanted} == wanted
    assert sum(found.kinds.values()) + len(found.left_out) <= len(people)
    pairs = {frozenset((edge.one, edge.other)) for edge in found.sharing.strong}
    assert pairs == {
        frozenset((person.id, other))
        for person in found.people.values()
        if person.kind in (K.MAILBOX, K.SHARED)
        for other in (*person.full_access, *person.send_on_behalf)
        if other in found.people and found.people[other].kind is not K.MAIL_USER
    }
    assert {edge.tie for edge in found.sharing.strong} == STRONG


def write(found: Survey, folder: Path) -> Path:
    return write_survey(Surveyed(found, "ldif x", 1.0), folder)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "recipients.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_files_agree_and_nothing_in_them_acts(tmp_path: Path) -> None:
    people = [one(f"p{number}", full_access=("p0",) if number else ()) for number in range(60)]
    people += [
        Recipient("f", K.MAILBOX, "w", "=cmd|'/c calc'!A1", mail="f@acme.example"),
        Recipient("h", K.SHARED, HOSTILE, HOSTILE, mail="h@acme.example"),
    ]
    people.append(Recipient("twice", K.MAILBOX, "w", "Twice", mail="not an address"))
    sizes = {person.id: Size(number * 10**8, number, 3) for number, person in enumerate(people[:30])}
    found = counted(*people, sizes=sizes)
    page = write(found, tmp_path)
    checked = check(page)
    assert not checked.links
    assert "recipients.csv" in "".join(checked.text)
    table = rows(tmp_path)
    assert tuple(table[0]) == COLUMNS
    assert len(table) == len(found.people) + len(found.left_out)
    assert not [cell for row in table for cell in row.values() if cell and cell[0] in "=+-@"]
    data = json.loads((tmp_path / "survey.json").read_text())
    assert data["schema"] == 1
    assert data["sizes"]["bytes"] == sum(int(row["bytes"] or 0) for row in table)
    in_waves = {who for wave in data["waves"] for who in wave["members"]}
    assert in_waves == {row["id"] for row in table if row["wave"]}
    assert [row["name"] for row in table if row["kind"] == "left out"] == ["Twice"]
    assert len(data["clusters"][0]["members"]) == 60


def test_an_empty_organisation_has_a_report(tmp_path: Path) -> None:
    check(write(counted(), tmp_path))
    assert rows(tmp_path) == []


def test_a_picture_stays_in_its_frame_and_is_always_the_same() -> None:
    people = {f"p{number}": one(f"p{number}") for number in range(DRAWN + 9)}
    (cluster,) = clusters(people, [Edge("p0", who, Tie.FULL_ACCESS) for who in people if who != "p0"])
    drawn = picture(cluster, people)
    assert drawn == picture(cluster, people)
    assert (len(drawn.dots), drawn.more, drawn.title) == (DRAWN, 9, "p0")
    assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y, *_ in drawn.dots)
    assert len({(round(x, 1), round(y, 1)) for x, y, *_ in drawn.dots}) == DRAWN


@pytest.mark.parametrize(("sizes", "total"), [([], 0), ([0, 10**8, 60 * 10**9], 3)])
def test_the_histogram_has_everybody(sizes: Sequence[int], total: int) -> None:
    bars = histogram({str(number): Size(size) for number, size in enumerate(sizes)})
    assert sum(count for _, count in bars) == total


def test_references_to_who_has_no_mailbox_tie_nobody() -> None:
    people = {"a": one("a", full_access=("b", "smtp:x@out.example", "nobody")), "b": one("b", K.CONTACT)}
    assert ties(people).strong == []


def test_the_command_writes_all_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ldif(organisation(10), tmp_path / "acme.ldif")
    (tmp_path / "mailferry.toml").write_text(
        '[directory.source]\nkind = "ldif"\nurl = "acme.ldif"\n'
        '[directory.target]\nurl = "ldap://127.0.0.1"\nsuffix = "dc=acme,dc=example"\n'
    )
    arguments = ["survey", "--config", str(tmp_path / "mailferry.toml"), "--out", str(tmp_path / "out"), "--json"]
    cli(arguments, standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["kinds"]["room"] == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.html", "recipients.csv", "survey.json"]
