"""A synthetic ledger of a large organisation, for the migration report: how long it takes, and what it looks like.

Writes rows as a migration of months leaves them. Invariant: the same size and seed make the same ledger, times aside.
"""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

from mailferry.ledger import open_ledger
from mailferry.ledger.schema import failure, folder, mailbox, move, pass_, verification, wave
from mailferry.ledger.store import Ledger
from mailferry.model.wave import MoveState

DAY = 86_400.0
_ = MoveState
LATE = (
    (_.RELEASED, 0.05),
    (_.SEEDED, 0.6),
    (_.SEEDING, 0.1),
    (_.PARKED, 0.02),
    (_.ROLLED_BACK, 0.03),
    (_.PLANNED, 0.2),
)
REASONS = ("unreadable", "rendering-failed", "too-large", "internal-date", "refused")


def fill(ledger: Ledger, people: int, now: float, *, per_wave: int = 400, moved: float = 0.62, seed: int = 1) -> None:
    """People in waves of `per_wave`, a wave each working day; the share `moved` of them is on the open side."""
    chance = random.Random(seed)
    waves = -(-people // per_wave)
    begun = now - waves * moved * DAY
    moves, boxes, folders, passes, failures, scores = [], [], [], [], [], []
    for number in range(people):
        box, of = number + 1, number // per_wave
        size = int(chance.lognormvariate(21, 1.3))
        messages = max(20, size // 75_000)
        day = begun + of * DAY
        over = day + DAY < now
        state = chance.choices((_.DONE, _.SWEPT, _.ROLLED_BACK), (0.9, 0.095, 0.005))[0] if over else _.PLANNED
        if not over and day - 3 * DAY < now:
            state = chance.choices([one for one, _w in LATE], [weight for _o, weight in LATE])[0]
        mail = f"person{number}@acme.example"
        parked = released = None
        if state in (_.DONE, _.SWEPT, _.RELEASED, _.ROLLED_BACK, _.PARKED):
            parked = min(now - 300, day + chance.uniform(0.75, 0.92) * DAY)
            if state is not _.PARKED:
                released = parked + chance.lognormvariate(3.0, 0.7)
        error = ""
        if state is _.SEEDED and chance.random() < 0.05:
            error = "nobody has approved: Sent items are no evidence of whose mailbox it is"
        if state is _.SEEDED and chance.random() < 0.02:
            error = "the verification's score is Poor"
        boxes.append(
            {
                "source_key": f"imaps://{mail}@ex1",
                "target_key": f"imaps://{number}@store1",
                "identity": None,
                "state": "active",
                "lease_epoch": 1,
            }
        )
        moves.append(
            {
                "wave_id": of + 1,
                "source_id": f"ad:{number}",
                "mail": mail,
                "uid": f"person{number}",
                "kind": "mailbox",
                "source_user": mail,
                "target_user": f"person{number}",
                "store": f"store{1 + number % 4}.acme.example",
                "mailbox_id": box,
                "state": state.value,
                "entered": released or day,
                "parked": parked,
                "released": released,
                "error": error,
                "evidence": {},
                "approvals": [],
                "forecast": {"bytes": size, "messages": messages, "seconds": size / 4e6},
            }
        )
        if state is _.PLANNED:
            continue
        at = day - 3 * DAY + chance.random() * 2 * DAY
        for step, (part, length) in enumerate(((0.97, size / 4e6), (0.02, 60.0), (0.01, 8.0))):
            passes.append(
                {
                    "mailbox_id": box,
                    "kind": "copy",
                    "started": at,
                    "ended": min(now, at + length),
                    "outcome": "done",
                    "counts": {"listed": messages, "copied": int(messages * part)},
                    "bytes": int(size * part),
                }
            )
            at = (parked or at + DAY) if step == 1 else at + DAY
        folders.append(
            {
                "mailbox_id": box,
                "source_path": ["Sync Issues"],
                "source_name": "Sync Issues",
                "listed": 3,
                "excluded": "sync-issues",
                "adopted": False,
                "source_messages": 3,
            }
        )
        worse = chance.random() < 0.06
        tally = {"flags": chance.randint(1, 5)} if worse else {"altered": 2} if chance.random() < 0.2 else {}
        score = "Investigate" if worse else "Good" if tally else "Perfect"
        result = {"tally": tally, "counts": {}, "findings": []}
        scores.append(
            {"mailbox_id": box, "at": at, "score": score, "result": result, "pass_id": None, "folder_id": None}
        )
        for _item in range(chance.choices((0, 1, 4), (0.9, 0.08, 0.02))[0]):
            failures.append(
                {
                    "mailbox_id": box,
                    "folder_id": number + 1,
                    "source_uid": _item + 1,
                    "kind": "failed",
                    "reason": chance.choice(REASONS),
                    "text": "it said so",
                    "first_pass": 1,
                    "last_pass": 1,
                    "resolved": False,
                }
            )
    with ledger.transaction(), ledger._write() as connection:
        for number in range(waves):
            values = {
                "name": f"wave-{number + 1:03}",
                "state": "open",
                "created": begun,
                "settings": {},
            }
            connection.execute(wave.insert().values(**values))
        for table, rows in ((mailbox, boxes), (folder, folders), (pass_, passes), (move, moves)):
            connection.execute(table.insert(), rows)
        for table, rows in ((verification, scores), (failure, failures)):
            if rows:
                connection.execute(table.insert(), rows)


def synthetic(place: Path, people: int, now: float) -> None:
    """The ledger as a file."""
    with closing(open_ledger(str(place))) as ledger:
        fill(ledger, people, now)
