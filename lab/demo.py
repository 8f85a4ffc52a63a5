"""`make demo`: three people move from "Exchange" to the open side while mail keeps coming, on real servers of this
machine: their directory, the first copy, a live cutover, the verification, the way back, an old PST file, the reports.

Everything is done through the command line, as an administrator would. Leaves the reports and nothing running.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab import archive
from lab.acme import Acme, Person, acme
from lab.deliveries import Verdict, copies, judge
from lab.load import Load
from lab.open_dovecot import MASTER, OpenDovecot
from lab.process import PASSWORD, workspace
from lab.radicale import Radicale
from mailferry.config.settings import VARIABLE

REPORT = Path("demo-report")
WAVE = "pilot"
MESSAGES, FEW = 300, 5
"""In the mailboxes of those who move, and of those who stay."""
RATE = 12.0
"""Messages a second that keep coming in."""


def main() -> int:
    root = workspace("demo")
    began = time.monotonic()
    try:
        say("Acme: 50 people on “Exchange”, and the empty open side beside it (Samba AD, OpenLDAP, Postfix, Dovecot)")
        with acme(root, synced=False) as here:
            shutil.rmtree(REPORT, ignore_errors=True)
            REPORT.mkdir()
            os.environ[VARIABLE] = str(here.config)
            _directory(here)
            moving = _mailboxes(here)
            others = [one for one in here.people if one.plain and one not in moving]
            with Load(here, [*moving, *others[:7]], rate=RATE) as load:
                _cutover(here, moving, load)
                time.sleep(2)
            here.drained()
            verdict = judge(here, load.sent)
            _archive(here, moving[0])
            return _prove(here, moving, load, verdict, began)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _directory(here: Acme) -> None:
    """From Active Directory to OpenLDAP."""
    say("1. Survey: what there is, and who could move first")
    ferry("survey", "--out", str(REPORT / "survey"))
    say("2. What is wrong in the directory: every finding with a proposal; nothing is changed")
    ferry("directory", "clean", "--report", str(REPORT / "directory.html"))
    say("3. The directory comes: people, groups, contacts. What nobody can decide stays out, and is listed")
    ferry("directory", "sync")
    here.read()


def _mailboxes(here: Acme) -> list[Person]:
    """Mail on Exchange, and a wave of three: members of a group, who get each other's mail."""
    plain = {one.uid: one for one in here.people if one.plain}
    group, members = max(here.groups.items(), key=lambda one: len(one[1]))
    moving = [plain[uid] for uid in sorted(members)[:3]]
    here.seed(moving, MESSAGES, scale=0.5)
    here.seed([one for one in plain.values() if one not in moving], FEW)
    names = ", ".join(one.mail for one in moving)
    say(f"4. A wave of three people of {group}: {names}")
    people = [option for one in moving for option in ("--people", one.mail)]
    ferry("wave", "plan", WAVE, *people, "--split")
    say("5. Seed: the first copy of their mailboxes, while they go on working on Exchange")
    ferry("wave", "seed", WAVE)
    return moving


def _cutover(here: Acme, moving: Sequence[Person], load: Load) -> None:
    say(f"6. From now on {RATE:g} messages a second: from outside, from Exchange, soon from people who have moved")
    time.sleep(3)
    say("7. Rehearsal: everything but the switch, and a page to sign")
    ferry("wave", "rehearse", WAVE, "--out", str(REPORT / "rehearsal"))
    say("8. Cutover: their mail is parked, what is new is copied, both sides are compared, the route is switched")
    began = time.time()
    ferry("wave", "cutover", WAVE)
    during = [one for one in load.sent if one.accepted and one.accepted >= began]
    mine = [one for one in during if one.expected & {person.uid for person in moving}]
    print(f"Meanwhile {len(during)} messages were accepted, {len(mine)} of them for the three.")
    say("9. Sweep: what still came into the old mailboxes is fetched")
    ferry("wave", "sweep", WAVE)
    if mine:
        say("10. Where is that message? One that came during the cutover")
        ferry("trace", f"<{mine[0].number}@fire.example>", "--no-stores")
    say("11. Somebody wants to go back: with all mail that came since")
    time.sleep(2)
    ferry("wave", "rollback", WAVE, "--only", moving[2].mail)
    ferry("wave", "status", WAVE)


def _archive(here: Acme, person: Person) -> None:
    """An old PST file of one of them: its mail into the new mailbox, its calendar and contacts to a CalDAV server."""
    say(f"12. {person.mail} has an old PST file: mail, calendar and contacts of it come as well")
    store = here.stores[here.placed()[person.uid][1]]
    assert isinstance(store, OpenDovecot)
    path = here.root / "archive.pst"
    archive.write(path, person.uid, person.mail)
    password = here.root / "password.calendar"
    password.write_text(PASSWORD)
    with Radicale() as server:
        server.add(person.uid)
        ferry(
            "copy",
            f"pst:{path}?owner={person.mail}",
            f"imaps://{person.uid}@127.0.0.1:{store.tls_port}?admin={MASTER}&ca={store.ca_file}",
            *("--target-password", f"file:{here.root}/password.store", "--prefix", "Archive"),
            *("--groupware", f"dav://{person.uid}@127.0.0.1:{server.port}?tls=none"),
            *("--groupware-password", f"file:{password}", "--ledger", str(here.root / "archive.db")),
        )
        for name in sorted(server.items(person.uid)):
            print(f"  on the calendar server: {name}")


def _prove(here: Acme, moving: Sequence[Person], load: Load, verdict: Verdict, began: float) -> int:
    say("13. The proof: every mailbox of both sides is read, and every message of those seconds looked for")
    ferry("report", "--ledger", str(here.ledger), "--output", str(REPORT))
    times = [took for _, _, took in verdict.seconds]
    pages = ("survey/index.html", "directory.html", "rehearsal/index.html", "index.html")
    print("\nThe reports:", *(f"file://{(REPORT / page).resolve()}" for page in pages), sep="\n  ")
    doors = ", ".join(f"{number} {name}" for name, number in sorted(load.doors().items()))
    print(
        f"\ndemo: {verdict}\ndemo: sent from {doors}; delivered in {statistics.median(times):.2f} s (median), "
        f"{max(times):.1f} s (longest, parked mail among them); the demo took {time.monotonic() - began:.0f} s"
    )
    brought = {one.uid for one in copies(here)[0] if one.place in here.stores}
    if verdict.wrong or not {one.uid for one in moving} <= brought:
        print("demo: a message is not where it belongs", file=sys.stderr)
        return 1
    return 0


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def ferry(*arguments: str) -> None:
    """Run the command line; its exit code 1 (there is something to look at) is no end of the demo, others are."""
    print(f"$ mailferry {' '.join(arguments)}", flush=True)
    done = subprocess.run([str(Path(sys.executable).with_name("mailferry")), *arguments], check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"demo: mailferry {arguments[0]} ended with code {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
