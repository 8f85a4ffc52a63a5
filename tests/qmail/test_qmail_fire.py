"""People change sides while mail pours in, on a real qmail (`make test-qmail`): a smaller tests/e2e/test_cutover_fire.

Every message is numbered, and looked for in every mailbox of both sides afterwards: it is in the right one exactly
once, and in no other; none bounced, none looped.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

from mailferry.model.wave import MoveState
from tests.e2e.fire import fire, kill

pytestmark = pytest.mark.timeout(600)
Record = Callable[[str, object], None]


def test_two_waves_one_killed_and_some_go_back(record_property: Record) -> None:
    with fire(30, rate=10, messages=10, qmail=True) as burning:
        first, second = burning.moving[:8], burning.moving[8:14]
        burning.plan("wave1", first)
        burning.wave("seed", "wave1")
        burning.wave("cutover", "wave1")
        assert set(burning.states("wave1").values()) == {MoveState.RELEASED}, burning.errors("wave1")

        burning.plan("wave2", second)
        burning.wave("seed", "wave2")
        for state in (MoveState.SETTLED, MoveState.SWITCHED):
            running = burning.start("cutover", "wave2")
            burning.until("wave2", state, running)
            kill(running)
        burning.wave("cutover", "wave2")
        assert set(burning.states("wave2").values()) == {MoveState.RELEASED}, burning.errors("wave2")

        time.sleep(2)  # they get mail in their Maildirs
        back = [option for one in first[:3] for option in ("--only", one.mail)]
        burning.wave("rollback", "wave1", *back)
        assert burning.states("wave1")[first[0].mail] is MoveState.ROLLED_BACK
        burning.acme.restart_postfix()
        for name in ("wave1", "wave2"):
            burning.wave("sweep", name)
        verdict = burning.judged()
        record_property("verdict", str(verdict))
        parked = burning.parked_seconds()
        record_property("parked, median", statistics.median(parked.values()))
        assert not verdict.wrong, verdict
