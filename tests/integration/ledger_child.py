"""What the ledger's tests do in other processes: `python ledger_child.py FUNCTION ARGUMENTS` (JSON). Not a test.

Imports little, so that it starts fast; ends with exit code 0, or by the signal or exception that the test expects.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import closing
from pathlib import Path

from mailferry.errors import Busy, Permanent
from mailferry.ledger import open_ledger
from mailferry.ledger.owner import owner_text
from mailferry.ledger.rows import FolderRow, Intent, Lease

DIGEST = bytes(range(20))
INBOX = FolderRow(source_path=("INBOX",), source_name="INBOX")


def intents(first: int, last: int, keywords: tuple[str, ...] = ()) -> list[Intent]:
    return [Intent(uid, 1, keywords, 1_700_000_000 + uid, 12_000, DIGEST, uid * 7) for uid in range(first, last + 1)]


def open_and_bind(where: str, number: int) -> None:
    with closing(open_ledger(where)) as ledger:
        ledger.mailbox(f"source {number}", f"target {number}")


def acquire_and_die(where: str, mailbox_id: int) -> None:
    with closing(open_ledger(where)) as ledger:
        ledger.acquire(mailbox_id, owner_text(), 3600)
        os.kill(os.getpid(), signal.SIGKILL)


def copy_chunks(where: str, mailbox_id: int, epoch: int, folder: int, chunks: int) -> None:
    """Works under the test's own lease."""
    lease = Lease(mailbox_id, epoch, "", 60)
    with closing(open_ledger(where)) as ledger:
        for first in range(1, chunks * 10, 10):
            ledger.intend(lease, folder, 1, intents(first, first + 9), first)
            ledger.confirm(lease, folder, [(uid, uid) for uid in range(first, first + 10)])


def write_own_mailbox(where: str, number: int, chunks: int) -> None:
    with closing(open_ledger(where)) as ledger:
        mailbox_id = ledger.mailbox(f"source {number}", f"target {number}").id
        lease = ledger.acquire(mailbox_id, owner_text(), 60)
        folder = ledger.put_folder(lease, INBOX)
        for chunk in range(chunks):
            rows = intents(chunk * 10 + 1, chunk * 10 + 10, (f"set-{chunk % 7}",))
            ledger.intend(lease, folder, 1, rows, 1)
            ledger.confirm(lease, folder, [(row.source_uid, row.source_uid) for row in rows])
        ledger.release(lease)


def increment(where: str, mailbox_id: int, times: int) -> None:
    """Reads and writes the mailbox's identity in separate transactions: only the lease keeps updates apart."""
    with closing(open_ledger(where)) as ledger:
        done = 0
        while done < times:
            try:
                lease = ledger.acquire(mailbox_id, owner_text(), 60)
            except Busy:
                continue
            count = int(ledger.mailbox_by_id(mailbox_id).identity or 0)
            ledger.bind_identity(lease, str(count + 1), anew=True)
            ledger.release(lease)
            done += 1


def fill_the_disk(path: str, report: str) -> None:
    """Writes until a file size limit says no, then with the limit lifted again; reports what was written and read."""
    with closing(open_ledger(path)) as ledger:
        lease = ledger.acquire(ledger.mailbox("a", "b").id, owner_text(), 600)
        folder = ledger.put_folder(lease, INBOX)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
        written, said = 0, ""
        try:
            while written < 1_000_000:
                ledger.intend(lease, folder, 1, intents(written + 1, written + 100), 1)
                written += 100
        except Permanent as error:
            said = f"{error.about}: {error}"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        there = len(ledger.messages(folder))
        ledger.intend(lease, folder, 1, intents(written + 1, written + 100), 1)
        after = len(ledger.messages(folder))
    Path(report).write_text(json.dumps({"written": written, "said": said, "there": there, "after": after}))


if __name__ == "__main__":
    work = {
        function.__name__: function
        for function in (open_and_bind, acquire_and_die, copy_chunks, write_own_mailbox, increment, fill_the_disk)
    }
    work[sys.argv[1]](*json.loads(sys.argv[2]))
