"""The bench's way from samples to results and the page."""

from __future__ import annotations

from bench.measure import Usage
from bench.results import CPU_LIMIT, LIMIT, TIME_LIMIT, Phase, Row, as_json, comparison, merged, page, rows, within

RUN = "2026-01-01 00:00"


def used(*walls: float, peak_mb: float = 50) -> list[Usage]:
    return [Usage(wall, wall / 10, peak_mb) for wall in walls]


def find(found: list[Row], peer: str, ours: str = "mailferry") -> Row:
    (row,) = [row for row in found if row.peer == peer and row.ours == ours]
    return row


def test_ratio_is_of_medians_and_compared_with_the_goal() -> None:
    found = rows(
        {
            ("one mailbox", Phase.FULL, "mailferry"): used(9, 1.0, 2.0),
            ("one mailbox", Phase.FULL, "mbsync"): used(4.0, 4.0, 1),
            ("one mailbox", Phase.FULL, "raw floor"): used(1.0),
            ("ten mailboxes", Phase.FULL, "mbsync"): used(100),
        },
        RUN,
    )
    mbsync, floor = find(found, "mbsync"), find(found, "raw floor")
    assert (mbsync.ours_s, mbsync.peer_s, mbsync.ratio, mbsync.goal, mbsync.met) == (2.0, 4.0, 0.5, "0.9 x", True)
    assert (floor.ratio, floor.goal, floor.met) == (2.0, "1.1 x", False)
    assert mbsync.spread == 4.0 and mbsync.samples == 3


def test_goal_with_seconds_on_top() -> None:
    def met(ours: float) -> bool | None:
        case = "ten mailboxes"
        done = {(case, Phase.NOTHING, "mailferry"): used(ours), (case, Phase.NOTHING, "mbsync"): used(0.5)}
        return find(rows(done, RUN), "mbsync").met

    assert met(0.89) is True
    assert met(0.91) is False


def test_no_goal_is_neither_met_nor_missed() -> None:
    case = "one mailbox"
    found = rows({(case, Phase.DELTA, "mailferry"): used(1), (case, Phase.DELTA, "mbsync"): used(1)}, RUN)
    assert find(found, "mbsync").met is None


def test_memory_is_the_highest_of_all_phases() -> None:
    found = rows(
        {
            ("one mailbox", Phase.FULL, "mailferry"): used(1, peak_mb=90),
            ("one mailbox", Phase.DELTA, "mailferry"): used(1, peak_mb=130),
        },
        RUN,
    )
    row = find(found, LIMIT)
    assert (row.ours_mb, row.peer_s, row.met, row.phase) == (130, None, False, "all phases")


def test_a_case_run_again_replaces_its_rows_only() -> None:
    def of(case: str, wall: float) -> list[Row]:
        return rows({(case, Phase.DELTA, "mailferry"): used(wall), (case, Phase.DELTA, "mbsync"): used(1)}, RUN)

    both = merged([*of("one mailbox", 1), *of("ten mailboxes", 2)], of("one mailbox", 3))
    assert [(row.case, row.ours_s) for row in both] == [("ten mailboxes", 2), ("one mailbox", 3)]


def test_rows_survive_json() -> None:
    found = rows({("one mailbox", Phase.FULL, "mailferry"): used(1)}, RUN)
    assert [Row(**entry) for entry in as_json(found)] == found  # type: ignore[arg-type]


def test_the_page_says_by_how_much_a_goal_is_missed() -> None:
    case = "one mailbox"
    found = rows(
        {
            (case, Phase.FULL, "mailferry"): used(2.2, peak_mb=150),
            (case, Phase.FULL, "raw floor"): used(1),
            (case, Phase.FULL, "mbsync"): used(4.4),
        },
        RUN,
    )
    text = page(found, {"cores": "2"}, {"`mailferry --version`": 0.25}, "## Notes\n\nwhy")
    assert "Of 3 goals 1 are met." in text
    assert "| **no** | 2.20 s, 2.20 times the time of raw floor (1.00 s), 1.10 s (100%) too slow |" in text
    assert "| yes | 2.20 s, 2.0 times as fast as mbsync (4.40 s) |" in text
    assert "no process needs more than 150 MB, 30 MB too much" in text
    assert "| `mailferry --version` | 0.250 |" in text
    assert text.endswith("## Notes\n\nwhy\n")


def test_limits_of_cpu_and_time_are_goals_in_their_own_units() -> None:
    usages = [Usage(9.0, 4.0, 70.0), Usage(9.0, 6.0, 90.0), Usage(9.0, 5.5, 80.0)]
    cpu = within("people", "nothing to do", "ours", usages, CPU_LIMIT, 5.5, 5.0, RUN)
    wait = within("people", "one change", "ours", usages, TIME_LIMIT, 0.5, 2.0, RUN)
    assert (cpu.goal, cpu.met, cpu.ratio, cpu.ours_cpu_s) == ("5 s of CPU", False, 1.1, 5.5)
    assert (wait.goal, wait.met, wait.ratio, wait.ours_s) == ("2 s", True, 0.25, 0.5)
    text = page([cpu, wait], {}, {}, "")
    assert "5.50 s of CPU, 0.50 s of CPU too much" in text
    assert "| yes | 0.50 s |" in text
    assert "Of 2 goals 1 are met." in text


def test_a_comparison_has_its_own_goal_or_none() -> None:
    ours, peer = used(3.0), used(2.0)
    assert comparison("people", "full", "ours", ours, "theirs", peer, RUN).met is None
    assert comparison("people", "full", "ours", ours, "theirs", peer, RUN, times=1.5).met is True
    row = comparison("people", "full", "ours", ours, "theirs", peer, RUN, times=1.2)
    assert (row.met, row.goal, row.ratio) == (False, "1.2 x", 1.5)
    assert "1.50 times the time of theirs (2.00 s), 0.60 s (25%) too slow" in page([row], {}, {}, "")
