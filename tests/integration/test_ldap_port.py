"""The LDAP port against a real slapd, and against servers that are silent, half-dead or something else."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ldap.controls.simple import ManageDSAITControl

from lab import process
from lab.openldap import ADMIN_PASSWORD, OpenLdap
from mailferry.errors import AuthError, ConfigError, Permanent, RemoteProtocolError, Temporary
from mailferry.net.ldap import Bind, Change, Connection, Held, Scope, Server
from mailferry.net.ldap_errors import Refused, Result
from mailferry.secret import Secret
from mailferry.wire import dn as names

START_TLS_DONE = bytes.fromhex("300c02010178070a010004000400")
START_TLS_DONE_LONG = bytes.fromhex("308400000010020101788400000007") + bytes.fromhex("0a010004000400")
START_TLS_REFUSED = bytes.fromhex("300c02010178070a013404000400")
BOUND = bytes.fromhex("300c02010161070a010004000400")


def admin(server: OpenLdap) -> Server:
    return Server(
        server.url, user=server.admin_dn, secret=Secret(ADMIN_PASSWORD), ca_file=str(server.ca_file), timeout=10
    )


@pytest.fixture
def connection(openldap: OpenLdap) -> Iterator[Connection]:
    with Connection(admin(openldap)) as made:
        yield made


@pytest.fixture
def branch(openldap: OpenLdap, connection: Connection, new_user: Callable[[], str]) -> Iterator[str]:
    """An organisational unit of the test's own, gone afterwards with all below it."""
    dn = f"ou={new_user()},{openldap.suffix}"
    connection.add(dn, {"objectClass": [b"organizationalUnit"]})
    yield dn
    with Connection(admin(openldap)) as cleaner:
        below = [entry.dn for entry in cleaner.search(dn, attributes=("1.1",), on_reference=lambda _: None)]
        for one in sorted(below, key=len, reverse=True):
            cleaner.delete(one)


def person(connection: Connection, dn: str, **values: bytes) -> str:
    attrs = {"objectClass": b"inetOrgPerson", "sn": b"x", **values}
    connection.add(dn, {name: [value] for name, value in attrs.items()})
    return dn


@contextmanager
def listener(*answers: bytes, hang: bool = True) -> Iterator[int]:
    """A port where something accepts, gives one of the answers for each message that comes, and is silent then (or
    hangs up)."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        over = threading.Event()

        def serve() -> None:
            link, _ = server.accept()
            with link:
                for answer in answers:
                    link.recv(65536)
                    link.sendall(answer)
                if hang:
                    over.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        thread.join()


def anyone(url: str, **more: object) -> Server:
    made = Server(url, user="cn=x", secret=Secret("y"), timeout=1)
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


# connecting


@pytest.mark.parametrize("plain", [False, True])
def test_start_tls_or_plain_by_name_only(openldap: OpenLdap, plain: bool) -> None:
    with Connection(dataclasses.replace(admin(openldap), plain=plain)) as made:
        assert openldap.suffix in made.root().texts("namingContexts")


def test_an_unknown_authority_is_not_trusted(openldap: OpenLdap) -> None:
    with pytest.raises(Permanent, match="certificate cannot be trusted") as caught:
        Connection(dataclasses.replace(admin(openldap), ca_file=None))
    assert "ca_file" in caught.value.advice
    Connection(dataclasses.replace(admin(openldap), ca_file=None, verify=False)).close()


def test_a_certificate_for_another_name_is_not_trusted(tmp_path: Path) -> None:
    certificate, key = process.make_certificate(tmp_path, "DNS:other.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as there:

        def serve() -> None:
            link, _ = there.accept()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                context.wrap_socket(link, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Permanent, match="certificate is not valid"):
            Connection(anyone(f"ldaps://127.0.0.1:{there.getsockname()[1]}", ca_file=str(certificate)))
        thread.join()


def test_the_socket_on_this_machine_proves_who_we_are(openldap: OpenLdap) -> None:
    with Connection(Server(openldap.ldapi, bind=Bind.EXTERNAL, timeout=10)) as made:
        assert made.read(openldap.suffix, ("dc",))
    with pytest.raises(Temporary, match="socket does not answer"):
        Connection(Server("ldapi://%2Fnowhere", bind=Bind.EXTERNAL))


def test_a_client_certificate_proves_who_we_are(own_openldap: OpenLdap, tmp_path: Path) -> None:
    with Connection(Server(own_openldap.ldapi, bind=Bind.EXTERNAL, timeout=10)) as manager:
        manager.modify("cn=config", [Change("replace", "olcTLSVerifyClient", (b"try",))])
    ours = tmp_path / "client.pem"
    ours.write_bytes(own_openldap.ca_file.read_bytes() + (own_openldap.ca_file.parent / "key.pem").read_bytes())
    bare = Server(own_openldap.url, bind=Bind.EXTERNAL, ca_file=str(own_openldap.ca_file), timeout=10)
    with pytest.raises(AuthError):
        Connection(bare)
    Connection(dataclasses.replace(bare, client_certificate=str(ours))).close()


@pytest.mark.parametrize(
    "url", ["http://x", "ldap://", "ldap:x", "x", "ldaps://user@x", "ldap://x/dc=y", "ldap://x:99999", "ldap://[x"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Connection(anyone(url))


def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Temporary, match="nothing listens"):
        Connection(anyone(f"ldap://127.0.0.1:{port}"))
    with pytest.raises(Permanent, match="no host of that name"):
        Connection(anyone("ldap://nowhere.invalid"))


@pytest.mark.parametrize(
    ("scheme", "answers", "plain"),
    [
        ("ldap", (), False),  # silent when asked for TLS
        ("ldap", (START_TLS_DONE,), False),  # silent in the handshake
        ("ldap", (START_TLS_DONE_LONG,), False),
        ("ldap", (START_TLS_DONE[:5],), False),  # half an answer
        ("ldaps", (), False),
        ("ldap", (), True),  # silent when asked to let us in
        ("ldap", (BOUND[:6],), True),
    ],
)
def test_a_server_that_falls_silent_is_given_up_in_time(scheme: str, answers: tuple[bytes, ...], plain: bool) -> None:
    with listener(*answers) as port:
        began = time.monotonic()
        with pytest.raises(Temporary, match="did not answer in time"):
            Connection(anyone(f"{scheme}://127.0.0.1:{port}", plain=plain))
        assert time.monotonic() - began < 4


def test_silence_after_the_log_in_ends_the_search_and_the_connection() -> None:
    with listener(BOUND, bytes.fromhex("3050020102644b")) as port:
        held = Held(anyone(f"ldap://127.0.0.1:{port}", plain=True))
        began = time.monotonic()
        with pytest.raises(Temporary, match="did not answer in time"), held.use() as made:
            list(made.search("dc=x"))
        assert time.monotonic() - began < 4
        with pytest.raises(Temporary), held.use():  # it was dropped; another try connects anew, to nobody
            pass


@pytest.mark.parametrize("answers", [(), (BOUND,)])
def test_a_server_that_hangs_up_is_a_lost_connection(answers: tuple[bytes, ...]) -> None:
    with (
        listener(*answers, hang=False) as port,
        pytest.raises(Temporary, match="lost"),
        Connection(anyone(f"ldap://127.0.0.1:{port}", plain=True)) as made,
    ):
        list(made.search("dc=x"))


def test_something_else_on_the_port() -> None:
    with (
        listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port,
        pytest.raises(RemoteProtocolError, match="not speak LDAP"),
    ):
        Connection(anyone(f"ldap://127.0.0.1:{port}"))
    with listener(b"SSH-2.0-x\r\n") as port, pytest.raises(RemoteProtocolError, match="not speak TLS"):
        Connection(anyone(f"ldaps://127.0.0.1:{port}"))


def test_ldaps_to_a_plain_port_is_told_how_to_do_it(openldap: OpenLdap) -> None:
    with pytest.raises(Temporary) as caught:
        Connection(anyone(openldap.url.replace("ldap:", "ldaps:")))
    assert "use ldap://" in caught.value.advice


def test_a_server_without_tls_gets_no_password() -> None:
    with listener(START_TLS_REFUSED) as port, pytest.raises(Permanent, match="refuses StartTLS"):
        Connection(anyone(f"ldap://127.0.0.1:{port}"))


# logging in


def test_a_wrong_password(openldap: OpenLdap) -> None:
    with pytest.raises(AuthError, match="refuses the log-in") as caught:
        Connection(dataclasses.replace(admin(openldap), secret=Secret("wrong-one")))
    assert "wrong-one" not in str(caught.value) + repr(caught.value.__context__)


@pytest.mark.parametrize(("user", "secret"), [("cn=x", ""), ("cn=x", None), ("", "y")])
def test_a_name_without_password_is_not_sent(openldap: OpenLdap, user: str, secret: str | None) -> None:
    made = Server(openldap.url, user=user, secret=Secret(secret) if secret is not None else None)
    with pytest.raises(ConfigError, match="password"):
        Connection(made)


# searching


def test_pages_give_everything_once(connection: Connection, branch: str) -> None:
    for number in range(25):
        person(connection, f"cn=p{number},{branch}")
    expected = {f"cn=p{number},{branch}" for number in range(25)}
    for page in (0, 10, 25, 1000):
        found = [entry.dn for entry in connection.search(branch, "(sn=x)", ("cn",), page=page)]
        assert len(found) == 25
        assert set(found) == expected


def test_two_searches_may_be_under_way_and_one_given_up(connection: Connection, branch: str) -> None:
    for number in range(5):
        person(connection, f"cn=p{number},{branch}")
    outer = connection.search(branch, "(sn=x)", page=2)
    first = next(outer)
    assert connection.read(first.dn) == first
    outer.close()
    assert len(list(connection.search(branch, "(sn=x)"))) == 5


def test_names_are_in_lower_case_and_found_in_any(connection: Connection, branch: str) -> None:
    entry = connection.read(person(connection, f"cn=Ann,{branch}", telephoneNumber=b"1"))
    assert entry is not None
    assert "telephonenumber" in entry.attrs
    assert entry.text("telephoneNumber") == "1"
    assert entry.get("fax") == ()
    assert entry.text("fax") is None


def test_a_megabyte_in_an_attribute(connection: Connection, branch: str) -> None:
    value = bytes(range(256)) * 4096
    dn = person(connection, f"cn=big,{branch}", jpegPhoto=value)
    entry = connection.read(dn, ("jpegPhoto",))
    assert entry is not None
    assert entry.first("jpegPhoto") == value


@pytest.mark.parametrize(
    "name", ["*", "(x)", "back\\slash", "a,b", "a+b=c", '"q"', "#x", " x ", "nu\x00l", "<;>", "ü名"]
)
def test_names_that_mean_something_to_ldap(connection: Connection, branch: str, name: str) -> None:
    dn = f"cn={names.escape(name)},{branch}"
    person(connection, dn)
    entry = connection.read(dn, ("cn",))
    assert entry is not None
    assert entry.texts("cn")[0].strip() == name.strip()
    assert names.parse(entry.dn)[0][0][1].strip() == name.strip()


def test_a_size_limit_is_an_error_after_what_came(own_openldap: OpenLdap) -> None:
    with Connection(Server(own_openldap.ldapi, bind=Bind.EXTERNAL, timeout=10)) as manager:
        limit = Change("replace", "olcLimits", (b"* size.soft=3 size.hard=3",))
        manager.modify("olcDatabase={1}mdb,cn=config", [limit])
    lookup = Server(
        own_openldap.url, Bind.SIMPLE, own_openldap.settings.lookup_dn, own_openldap.settings.lookup, plain=True
    )
    came = []
    with Connection(lookup) as made, pytest.raises(Refused, match="size limit") as caught:
        for entry in made.search(own_openldap.suffix):
            came.append(entry)
    assert caught.value.result == Result.SIZE_LIMIT
    assert "olcLimits" in caught.value.advice


def test_referrals_are_not_followed_but_told(openldap: OpenLdap, connection: Connection, branch: str) -> None:
    person(connection, f"cn=here,{branch}")
    referral = f"ou=elsewhere,{branch}"
    url = "ldap://other.example/ou=there,dc=other"
    classes = [b"referral", b"extensibleObject"]
    connection.add(referral, {"objectClass": classes, "ou": [b"elsewhere"], "ref": [url.encode()]})
    with pytest.raises(Refused, match="refers to another one") as caught:
        list(connection.search(branch))
    assert url in caught.value.message
    assert caught.value.result == Result.REFERRAL
    told: list[str] = []
    found = [entry.dn for entry in connection.search(branch, "(cn=*)", on_reference=told.append)]
    assert found == [f"cn=here,{branch}"]
    assert told == [f"{url}??sub"]
    with pytest.raises(Refused, match="refers to another one"):
        connection.read(referral)
    openldap.connect().delete_ext_s(referral, serverctrls=[ManageDSAITControl()])


def test_a_filter_that_is_none(connection: Connection, branch: str) -> None:
    with pytest.raises(Refused, match="not a valid search filter") as caught:
        list(connection.search(branch, "((cn=x)"))
    assert caught.value.result == Result.FILTER_ERROR


# writing


def test_entries_are_added_changed_renamed_moved_and_deleted(connection: Connection, branch: str) -> None:
    dn = person(connection, f"cn=a,{branch}", mail=b"a@x.example")
    steps = [
        Change("replace", "sn", (b"y", b"z")),
        Change("add", "title", (b"t",)),
        Change("delete", "mail"),
        Change("replace", "telephoneNumber"),
    ]
    connection.modify(dn, steps)
    entry = connection.read(dn, ("sn", "title", "mail"))
    assert entry is not None
    assert entry.attrs == {"sn": (b"y", b"z"), "title": (b"t",)}
    connection.add(f"ou=inner,{branch}", {"objectClass": [b"organizationalUnit"]})
    connection.rename(dn, "cn=b", f"ou=inner,{branch}")
    assert connection.read(dn) is None
    moved = connection.read(f"cn=b,ou=inner,{branch}", ("cn",))
    assert moved is not None
    assert moved.get("cn") == (b"b",)
    connection.rename(moved.dn, "cn=c", keep_old=True)
    kept = connection.read(f"cn=c,ou=inner,{branch}", ("cn",))
    assert kept is not None
    assert set(kept.get("cn")) == {b"b", b"c"}
    connection.delete(kept.dn)
    assert connection.read(kept.dn) is None


def test_refusals_have_their_codes(connection: Connection, branch: str) -> None:
    dn = person(connection, f"cn=a,{branch}")
    tries: list[tuple[Result, Callable[[], object]]] = [
        (Result.ALREADY_EXISTS, lambda: person(connection, dn)),
        (Result.NO_SUCH_OBJECT, lambda: person(connection, f"cn=b,ou=nowhere,{branch}")),
        (Result.NO_SUCH_OBJECT, lambda: connection.delete(f"cn=b,{branch}")),
        (Result.NO_SUCH_OBJECT, lambda: list(connection.search(f"ou=nowhere,{branch}"))),
        (Result.NOT_ON_NON_LEAF, lambda: connection.delete(branch)),
        (Result.OBJECT_CLASS_VIOLATION, lambda: connection.modify(dn, [Change("delete", "sn")])),
        (Result.NO_SUCH_ATTRIBUTE, lambda: connection.modify(dn, [Change("delete", "mail")])),
        (Result.VALUE_EXISTS, lambda: connection.modify(dn, [Change("add", "sn", (b"x",))])),
        (Result.UNDEFINED_TYPE, lambda: connection.modify(dn, [Change("add", "nonsense", (b"x",))])),
        (Result.INVALID_DN, lambda: connection.delete("no name")),
        (Result.NAMING_VIOLATION, lambda: connection.modify(dn, [Change("replace", "cn", (b"z",))])),
    ]
    for result, action in tries:
        with pytest.raises(Refused) as caught:
            action()
        assert caught.value.result == result
        assert caught.value.about


def test_one_level_and_base(connection: Connection, branch: str) -> None:
    connection.add(f"ou=inner,{branch}", {"objectClass": [b"organizationalUnit"]})
    person(connection, f"cn=deep,ou=inner,{branch}")
    assert [entry.dn for entry in connection.search(branch, scope=Scope.ONE)] == [f"ou=inner,{branch}"]
    assert [entry.dn for entry in connection.search(branch, scope=Scope.BASE)] == [branch]


def test_without_python_ldap_one_sentence_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "ldap.py").write_text("raise ImportError('not here')")
    script = (
        "from mailferry.errors import ConfigError, explain\n"
        "try:\n import mailferry.net.ldap\n"
        "except ConfigError as error:\n print(explain(error))"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:src"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert "python-ldap, which is not installed" in done.stdout
    assert "pip install 'mailferry[directory]'" in done.stdout
