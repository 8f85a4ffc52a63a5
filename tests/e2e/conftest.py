"""One source with a corpus, seen through a proxy, and a fresh target and ledger for every move."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.dovecot import Dovecot
from lab.postgres import Postgres
from lab.proxy import TcpProxy
from tests.e2e import moves
from tests.e2e.cases import Case, NewCase
from tests.e2e.moves import Contents, Move

_numbers = itertools.count()


@pytest.fixture(scope="session")
def source_contents(dovecot_exchange: Dovecot) -> Iterator[Contents]:
    """The corpus on the source, for the user `e2e`; nothing may have changed it when the tests are over (law 1)."""
    moves.fill_source(dovecot_exchange, "e2e")
    found = moves.contents(dovecot_exchange.port, "e2e", "/")
    yield found
    assert moves.contents(dovecot_exchange.port, "e2e", "/") == found


@pytest.fixture
def new_case(
    dovecot_exchange: Dovecot,
    dovecot_open: Dovecot,
    postgres: Postgres,
    source_contents: Contents,
    tmp_path: Path,
) -> NewCase:
    @contextmanager
    def make(
        target: str = "imap", ledger: str = "sqlite", *, source_user: str = "e2e", options: str = ""
    ) -> Iterator[Case]:
        name = f"e2e{os.getpid()}n{next(_numbers)}"
        server = dovecot_exchange if target == "plain" else dovecot_open
        with ExitStack() as stack:
            from_source = stack.enter_context(TcpProxy(dovecot_exchange.port))
            to_target = stack.enter_context(TcpProxy(server.port))
            if target == "maildir":
                address = f"maildir:{dovecot_open.maildir(name)}?owner={dovecot_open.owner[0]}"
            else:
                address = f"imap://{name}@127.0.0.1:{to_target.port}?tls=none{options}"
            state = tmp_path / name
            state.mkdir()
            place = str(state / "ledger.db")
            if ledger == "postgres":
                place = postgres.create_database(name)
                stack.callback(postgres.drop_database, name)
            source = (
                moves.contents(dovecot_exchange.port, source_user, "/") if source_user != "e2e" else source_contents
            )
            yield Case(
                f"{target}, {ledger}",
                Move(
                    f"imap://{source_user}@127.0.0.1:{from_source.port}?tls=none{options}",
                    address,
                    place,
                    environment={"XDG_STATE_HOME": str(state)},
                ),
                from_source,
                to_target,
                source,
                lambda: moves.contents(server.port, name, server.separator),
                dovecot_open.maildir(name),
                state / "logs" if ledger == "sqlite" else state / "mailferry" / "logs",
            )

    return make
