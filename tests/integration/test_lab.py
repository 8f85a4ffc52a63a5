"""The lab itself: every server starts, takes and gives mail, and leaves nothing behind; the wire breaks as told."""

from __future__ import annotations

import hashlib
import imaplib
import poplib
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from lab import corpus, maildir, process
from lab.courier import Courier
from lab.cyrus import Cyrus
from lab.dovecot import MASTER, MASTER_PASSWORD, Dovecot
from lab.postgres import Postgres
from lab.process import PASSWORD
from lab.proxy import Call, Close, Counts, Hold, Reset, Stall, TcpProxy

Mail = Dovecot | Courier | Cyrus
SERVERS: tuple[type[Dovecot | Courier | Cyrus | Postgres], ...] = (Dovecot, Courier, Cyrus, Postgres)
MESSAGE = b"From: a@example.org\r\nSubject: hello\r\n\r\nbody\r\n"


@contextmanager
def session(port: int, user: str, password: str = PASSWORD) -> Iterator[imaplib.IMAP4]:
    """A logged-in connection that is closed whatever happens."""
    with imaplib.IMAP4("127.0.0.1", port) as imap:
        imap.login(user, password)
        yield imap


def plain(user: str, password: str, authorize: str = "") -> Callable[[bytes], bytes]:
    return lambda _: f"{authorize}\0{user}\0{password}".encode()


@pytest.mark.parametrize("name", ["dovecot_exchange", "dovecot_open", "courier", "cyrus"])
def test_a_message_comes_back_as_it_went_in(
    name: str, request: pytest.FixtureRequest, new_user: Callable[[], str]
) -> None:
    server: Mail = request.getfixturevalue(name)
    with session(server.port, new_user()) as imap:
        when = '"05-Mar-2019 10:11:12 +0100"'
        assert imap.append("INBOX", "(\\Seen \\Flagged Work)", when, MESSAGE)[0] == "OK"
        assert imap.select("INBOX") == ("OK", [b"1"])
        data = imap.fetch("1", "(FLAGS INTERNALDATE BODY.PEEK[])")[1][0]
        assert isinstance(data, tuple)
        assert data[1] == MESSAGE
        assert {b"\\Seen", b"\\Flagged", b"Work"} <= set(re.findall(rb"[\\\w]+", data[0]))
        date = imaplib.Internaldate2tuple(data[0])
        assert date is not None
        assert time.mktime(date) == 1551777072


@pytest.mark.parametrize("name", ["dovecot_exchange", "dovecot_open", "courier", "cyrus"])
def test_a_wrong_password_is_refused(name: str, request: pytest.FixtureRequest, new_user: Callable[[], str]) -> None:
    server: Mail = request.getfixturevalue(name)
    with imaplib.IMAP4("127.0.0.1", server.port) as imap, pytest.raises(imaplib.IMAP4.error):
        imap.login(new_user(), "wrong")


def test_exchange_flavour_offers_only_what_exchange_does(
    dovecot_exchange: Dovecot, dovecot_open: Dovecot, new_user: Callable[[], str]
) -> None:
    user = new_user()
    missing = {"CONDSTORE", "QRESYNC", "MULTIAPPEND", "SPECIAL-USE", "LIST-STATUS", "LIST-EXTENDED", "ACL", "MOVE"}
    missing |= {"COMPRESS=DEFLATE", "METADATA", "QUOTA", "ESEARCH", "ENABLE"}
    with session(dovecot_exchange.port, user) as imap:
        offered = set(imap.capability()[1][0].decode().split())
        assert not missing & offered
        assert {"IMAP4rev1", "UIDPLUS", "LITERAL+", "NAMESPACE", "IDLE", "CHILDREN"} <= offered
        assert imap.namespace()[1] == [b'(("" "/")) NIL NIL']
    with session(dovecot_open.port, user) as imap:
        offered = set(imap.capability()[1][0].decode().split())
        assert missing <= offered
        imap.create("Sent")
        listed = imap.list()[1]
        assert any(line is not None and b"\\Sent" in bytes(line) for line in listed if isinstance(line, bytes))


@pytest.mark.parametrize("login", [f"LAB\\{MASTER}\\u7", f"{MASTER}@lab\\u7", f"u7*{MASTER}"])
def test_an_administrator_opens_the_mailbox_of_another(dovecot_exchange: Dovecot, login: str) -> None:
    with imaplib.IMAP4("127.0.0.1", dovecot_exchange.port) as imap:
        imap.authenticate("PLAIN", plain(login, MASTER_PASSWORD))
        assert imap.append("INBOX", "", "", MESSAGE)[0] == "OK"
    with session(dovecot_exchange.port, "u7") as imap:
        assert imap.select()[1] != [b"0"]


def test_sasl_authzid_opens_the_mailbox_of_another(dovecot_exchange: Dovecot) -> None:
    with imaplib.IMAP4("127.0.0.1", dovecot_exchange.port) as imap:
        imap.authenticate("PLAIN", plain(MASTER, MASTER_PASSWORD, "u8"))
        assert imap.append("INBOX", "", "", MESSAGE)[0] == "OK"
    with session(dovecot_exchange.port, "u8") as imap:
        assert imap.select()[1] == [b"1"]


def test_tls_with_the_certificate_that_the_server_made(dovecot_open: Dovecot, new_user: Callable[[], str]) -> None:
    trust = ssl.create_default_context(cafile=str(dovecot_open.ca_file))
    with imaplib.IMAP4_SSL("localhost", dovecot_open.tls_port, ssl_context=trust) as imap:
        imap.login(new_user(), PASSWORD)
    with pytest.raises(ssl.SSLCertVerificationError):
        imaplib.IMAP4_SSL("127.0.0.1", dovecot_open.tls_port, ssl_context=ssl.create_default_context())


def test_pop3_gives_uidls(dovecot_open: Dovecot, new_user: Callable[[], str]) -> None:
    user = new_user()
    with session(dovecot_open.port, user) as imap:
        imap.append("INBOX", "", "", MESSAGE)
    pop = poplib.POP3("127.0.0.1", dovecot_open.pop3_port)
    pop.user(user)
    pop.pass_(PASSWORD)
    assert re.fullmatch(rb"1 00000001[0-9a-f]{8}", pop.uidl()[1][0])
    pop.quit()


def test_quota_and_own_passwords() -> None:
    with Dovecot(passwords={"bob": "own"}, quota={"bob": 10_000}) as server:
        with session(server.port, "bob", "own") as imap:
            assert imap.append("INBOX", "", "", MESSAGE)[0] == "OK"
            refused = imap.append("INBOX", "", "", MESSAGE + b"x\r\n" * 5_000)
            assert refused[0] == "NO"
            assert b"OVERQUOTA" in refused[1][0]
        server.set_quota("bob", 1_000_000)
        with session(server.port, "bob", "own") as imap:
            assert imap.append("INBOX", "", "", MESSAGE + b"x\r\n" * 5_000)[0] == "OK"
        with imaplib.IMAP4("127.0.0.1", server.port) as imap, pytest.raises(imaplib.IMAP4.error):
            imap.login("bob", PASSWORD)


def test_postgres_databases(postgres: Postgres) -> None:
    url = postgres.create_database("lab_test").replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        assert connection.execute("select current_setting('fsync'), current_database()").fetchone() == (
            "on",
            "lab_test",
        )
        with pytest.raises(process.LabError, match="already exists"):
            postgres.create_database("lab_test")
    postgres.drop_database("lab_test")
    assert postgres.url.endswith("/postgres")


@pytest.mark.parametrize("kind", SERVERS)
def test_stop_leaves_no_process_and_keeps_what_is_under_a_given_root(
    kind: type[Dovecot | Courier | Cyrus | Postgres],
) -> None:
    root = process.workspace("stop")
    server = kind(root)
    server.start()
    pid, port = server.pid, server.port
    assert process.session_pids(pid)
    server.stop()
    assert process.session_pids(pid) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    assert root.exists()
    server.start()
    assert server.port == port
    server.stop()
    subprocess.run(["rm", "-rf", str(root)], check=True)


@pytest.mark.parametrize("kind", SERVERS)
def test_killing_the_program_that_started_a_server_ends_the_server(
    kind: type[Dovecot | Courier | Cyrus | Postgres],
) -> None:
    root = process.workspace("killed")
    code = (
        f"import time\nfrom {kind.__module__} import {kind.__name__} as Server\n"
        f"server = Server({str(root)!r}).start()\nprint(server.pid, flush=True)\ntime.sleep(60)\n"
    )
    top = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], cwd=top, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        assert process.session_pids(pid)
        program.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while process.session_pids(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.session_pids(pid) == []
    subprocess.run(["rm", "-rf", str(root)], check=True)


def test_a_root_that_the_mail_uid_cannot_reach_is_refused() -> None:
    root = process.workspace("closed")
    root.chmod(0o700)
    try:
        if process.mail_owner()[0] == process.MAIL_UID:
            with pytest.raises(process.LabError, match="closed to other users"):
                Dovecot(root / "below")
        else:
            Dovecot(root / "below")
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=True)


# --- the wire -----------------------------------------------------------------------------------------------------


@contextmanager
def echo() -> Iterator[int]:
    """A server that sends back what it gets; its port."""
    code = (
        "import asyncio\n"
        "async def echo(r, w):\n"
        "    while piece := await r.read(65536):\n        w.write(piece)\n        await w.drain()\n    w.close()\n"
        "async def main():\n"
        "    s = await asyncio.start_server(echo, '127.0.0.1', 0)\n"
        "    print(s.sockets[0].getsockname()[1], flush=True)\n    await s.serve_forever()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        assert program.stdout is not None
        try:
            yield int(program.stdout.readline())
        finally:
            program.kill()


def receive(link: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count and (piece := link.recv(65536)):
        got += piece
    return bytes(got)


def test_delay_adds_a_round_trip_and_does_not_limit_throughput() -> None:
    with echo() as port, TcpProxy(port, round_trip_ms=100) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)) as link:
            began = time.monotonic()
            link.sendall(b"x")
            assert link.recv(1) == b"x"
            assert 0.1 <= time.monotonic() - began < 0.3
            began = time.monotonic()
            for _ in range(50):  # one after another this would take 5 seconds
                link.sendall(b"y" * 10_000)
                time.sleep(0.002)
            assert receive(link, 500_000) == b"y" * 500_000
            assert time.monotonic() - began < 1.5
        assert proxy.counts == Counts(1, 500_001, 500_001)


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_bytes_before_a_reset_arrive_and_none_after(pieces: int) -> None:
    with echo() as port, TcpProxy(port) as proxy:
        rule = proxy.at("to_client", rb"\{(\d+)\}\r\n", Reset(), extra=lambda match: int(match[1]) // 2)
        with socket.create_connection(("127.0.0.1", proxy.port)) as link:
            text = b"* 1 FETCH {10}\r\n0123456789)"
            got = b""
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                for start in range(0, len(text), pieces):
                    link.sendall(text[start : start + pieces])
                    got += link.recv(100)
                while piece := link.recv(100):
                    got += piece
            assert got == b"* 1 FETCH {10}\r\n01234"
        assert rule.fired == 1


def test_close_after_a_number_of_bytes() -> None:
    with echo() as port, TcpProxy(port) as proxy:
        proxy.after("to_client", 1000, Close())
        with socket.create_connection(("127.0.0.1", proxy.port)) as link:
            link.sendall(b"x" * 5000)
            assert receive(link, 5000) == b"x" * 1000
        with socket.create_connection(("127.0.0.1", proxy.port)) as link:  # the rule has fired its one time
            link.sendall(b"x" * 5000)
            assert receive(link, 5000) == b"x" * 5000


def test_stall_stops_both_directions_and_then_goes_on() -> None:
    with echo() as port, TcpProxy(port) as proxy:
        proxy.at("to_server", b"stall", Stall(0.4))
        with socket.create_connection(("127.0.0.1", proxy.port)) as link:
            link.sendall(b"a stall here")
            link.settimeout(0.2)
            with pytest.raises(TimeoutError):
                receive(link, 12)
            link.settimeout(5)
            assert b"here" in receive(link, 12)[-4:]


def test_skip_times_and_calls_come_before_the_bytes() -> None:
    seen: list[int] = []
    with echo() as port, TcpProxy(port) as proxy:
        rule = proxy.at(
            "to_server", b"ab", Call(lambda: seen.append(proxy.counts.to_client)), where="start", skip=1, times=2
        )
        with socket.create_connection(("127.0.0.1", proxy.port)) as link:
            for _ in range(4):
                link.sendall(b"..ab")
                assert receive(link, 4) == b"..ab"
        assert rule.fired == 2
        # Called when the two dots were on their way, and before the pattern was.
        assert 4 <= seen[0] <= 6
        assert 8 <= seen[1] <= 10


def test_a_failing_callback_is_reported_by_stop() -> None:
    def fail() -> None:
        raise ValueError("from the callback")

    with echo() as port:
        proxy = TcpProxy(port).start()
        proxy.on_pattern("to_server", b"x", fail)
        with socket.create_connection(("127.0.0.1", proxy.port)) as link:
            link.sendall(b"x")
            assert link.recv(1) == b"x"
        with pytest.raises(ValueError, match="from the callback"):
            proxy.stop()


def test_a_refusing_proxy_and_a_server_that_is_down() -> None:
    with TcpProxy(process.free_port()) as proxy:
        for proxy.refuse in (True, False):
            with (
                socket.create_connection(("127.0.0.1", proxy.port)) as link,
                pytest.raises(ConnectionResetError),
            ):
                link.recv(1)


def test_late_commit_after_the_client_was_killed(dovecot_open: Dovecot, new_user: Callable[[], str]) -> None:
    """The bytes of a killed client reach the server a second later, and the server commits them."""
    user = new_user()
    client = (
        "import imaplib, sys\n"
        "imap = imaplib.IMAP4('127.0.0.1', int(sys.argv[1]))\n"
        "imap.login(sys.argv[2], sys.argv[3])\n"
        f"imap.append('INBOX', '', '', {MESSAGE!r})\n"
        "print('survived')\n"
    )
    with TcpProxy(dovecot_open.port) as proxy, session(dovecot_open.port, user) as watcher:
        program: list[subprocess.Popen[bytes]] = []

        def kill() -> None:
            program[0].kill()

        proxy.at("to_server", rb"\{(\d+)\}\r\n", Hold(1.0, kill), extra=lambda match: int(match[1]) - 5)
        argv = [sys.executable, "-c", client, str(proxy.port), user, PASSWORD]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as running:
            program.append(running)
            assert running.communicate()[0] == b""
        killed = time.monotonic()
        assert running.returncode == -signal.SIGKILL
        assert watcher.select()[1] == [b"0"]
        while watcher.select()[1] == [b"0"]:
            assert time.monotonic() - killed < 5
            time.sleep(0.02)
        assert time.monotonic() - killed > 0.7
        data = watcher.fetch("1", "(BODY.PEEK[])")[1][0]
        assert isinstance(data, tuple)
        assert data[1] == MESSAGE


# --- the corpus ---------------------------------------------------------------------------------------------------


def digest(messages: Iterator[corpus.CorpusMessage]) -> str:
    total = hashlib.sha256()
    for message in messages:
        total.update(repr((message.body, sorted(message.flags), sorted(message.keywords))).encode())
        total.update(repr((message.internal_date, message.zone, message.kind)).encode())
    return total.hexdigest()


def test_the_corpus_is_the_same_in_every_process() -> None:
    code = (
        "from tests.integration.test_lab import digest\nfrom lab import corpus\n"
        "print(digest(corpus.messages(5, 60, language='ru')))"
    )
    top = Path(__file__).resolve().parents[2]
    other = subprocess.run([sys.executable, "-c", code], cwd=top, check=True, capture_output=True, text=True)
    assert other.stdout.strip() == digest(corpus.messages(5, 60, language="ru"))
    assert digest(corpus.messages(6, 60, language="ru")) != digest(corpus.messages(5, 60, language="ru"))


def test_sizes_are_as_in_the_field() -> None:
    sizes = sorted(len(message.body) for message in corpus.messages(1, 1000))
    assert 10_000 < sizes[500] < 14_500
    assert 45_000 < sum(sizes) / 1000 < 75_000
    assert sizes[-1] > 5_000_000
    assert max(len(message.body) for message in corpus.messages(1, 1000, big=False)) < 2_100_000


def test_odd_messages_hold_what_their_kind_says() -> None:
    odd = {message.kind: message.body for message in corpus.odd_messages()}
    assert b"\0" in odd["nul"]
    assert max(map(len, odd["long-line"].split(b"\r\n"))) == 12_000
    assert re.search(rb"\r(?!\n)", odd["bare-cr"])
    assert re.search(rb"(?<!\r)\n", odd["bare-lf"])
    assert not re.search(rb"Message-ID", odd["no-message-id"])
    assert [message.kind for message in corpus.odd_messages()].count("duplicate") == 3


@pytest.mark.parametrize("flavour", ["dovecot_exchange", "dovecot_open"])
def test_a_seeded_mailbox_reads_back_exactly(
    flavour: str, request: pytest.FixtureRequest, new_user: Callable[[], str]
) -> None:
    server: Dovecot = request.getfixturevalue(flavour)
    user = new_user()
    folders = list(corpus.mailbox(3, 120, "de", scale=0.1, big=False, dots=server.layout == "fs"))
    written = maildir.seed(server, user, folders)
    assert written.messages == 120 + sum(1 for _ in corpus.odd_messages())
    with session(server.port, user) as imap:
        subscribed = imap.lsub()[1]
        assert len(subscribed) == sum(folder.subscribed for folder in folders)
        for folder in folders:
            levels = server.separator.join(maildir.encode_utf7(level) for level in folder.path)
            quoted = levels.replace("\\", "\\\\").replace('"', '\\"')
            wanted = list(folder.messages())
            assert imap.select(f'"{quoted}"', readonly=True) == ("OK", [str(len(wanted)).encode()]), folder.path
            if not wanted:
                continue
            fetched = [
                part for part in imap.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1] if isinstance(part, tuple)
            ]
            for (head, body), message in zip(fetched, wanted, strict=True):
                assert body == corpus.dovecot_view(message.body), message.kind
                flags = re.search(rb"FLAGS \((.*?)\)", head)
                assert flags is not None
                assert set(flags[1].decode().split()) - {"\\Recent"} == message.flags | message.keywords
                date = imaplib.Internaldate2tuple(head)
                assert date is not None
                assert time.mktime(date) == message.internal_date
