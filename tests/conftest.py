"""Real servers for tests that need them: each is started by the first test that asks for it, and stopped at the end.

One of each per pytest process (per worker under xdist). Tests share them, so each test takes users of its own from
`new_user`. A test that stops, fills or breaks a server makes an instance for itself.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Generator, Iterator

import pytest

from lab.courier import Courier
from lab.cyrus import Cyrus
from lab.dovecot import Dovecot
from lab.openldap import OpenLdap
from lab.organisation_ldif import organisation_snapshot
from lab.postgres import Postgres
from lab.radicale import Radicale
from lab.samba import Samba

_numbers = itertools.count()
LOG_TAIL = 3000

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # pytest was started by `… &`: what it starts would be deaf to ^C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the ends of its servers' logs."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if callable(log := getattr(value, "log", None)):
                report.sections.append((f"log of {name}", log()[-LOG_TAIL:]))
    return report


@pytest.fixture
def new_user() -> Callable[[], str]:
    """Gives names that no other test has used; every lab server lets them in with lab.process.PASSWORD."""
    return lambda: f"t{os.getpid()}n{next(_numbers)}"


@pytest.fixture(scope="session")
def dovecot_exchange() -> Iterator[Dovecot]:
    """Dovecot that offers no more than Exchange does, with the separator `/`."""
    with Dovecot(flavour="exchange") as server:
        yield server


@pytest.fixture(scope="session")
def dovecot_open() -> Iterator[Dovecot]:
    """Dovecot with all it has: Maildir++, separator `.`, ACL, quota, METADATA, special use."""
    with Dovecot(flavour="open") as server:
        yield server


@pytest.fixture(scope="session")
def courier() -> Iterator[Courier]:
    """Courier IMAP over Maildir++."""
    with Courier() as server:
        yield server


@pytest.fixture(scope="session")
def cyrus() -> Iterator[Cyrus]:
    """Cyrus IMAP with `INBOX.` before every folder."""
    with Cyrus() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL; take a database of your own with create_database()."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def samba() -> Iterator[Samba]:
    """Active Directory for acme.example, empty but for what tests add; each test takes an OU or accounts of its own."""
    with Samba() as server:
        yield server


@pytest.fixture(scope="session")
def samba_acme() -> Iterator[Samba]:
    """Active Directory that holds `lab.organisation.organisation(50)`; a test that changes it puts it back."""
    with Samba(content=organisation_snapshot(50)) as server:
        yield server


@pytest.fixture(scope="session")
def openldap() -> Iterator[OpenLdap]:
    """OpenLDAP with our schema, first entries only; take a branch or people of your own, and leave none behind."""
    with OpenLdap() as server:
        yield server


@pytest.fixture
def own_openldap() -> Iterator[OpenLdap]:
    """OpenLDAP of one test, to be emptied, filled or broken (0.6 s)."""
    with OpenLdap() as server:
        yield server


@pytest.fixture(scope="session")
def radicale() -> Iterator[Radicale]:
    """CalDAV and CardDAV; whoever a test needs there it lets in with `add`."""
    with Radicale() as server:
        yield server
