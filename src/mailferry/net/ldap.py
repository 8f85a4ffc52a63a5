"""A small port to LDAP servers: connect, log in, search in pages, write. Blocks; for one thread at a time.

Stands on python-ldap, of which nothing shows above this module: entries are `Entry`, failures those of errors.py
(`ldap_errors.Refused` carries the result code). Follows no referral, retries nothing, knows no schema.
Invariant: no password crosses an unprotected connection unless `Server.plain` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, NamedTuple, TypeVar

from mailferry.errors import ConfigError, MailferryError, RemoteProtocolError, Temporary
from mailferry.net import ldap_errors, ldap_link
from mailferry.net.ldap_entry import Entry as Entry
from mailferry.net.ldap_errors import Refused, Result
from mailferry.secret import Secret

try:
    import ldap
    import ldap.controls
    import ldap.controls.libldap
    import ldap.sasl
except ImportError as error:
    raise ConfigError(
        "LDAP needs python-ldap, which is not installed", advice="pip install 'mailferry[directory]'"
    ) from error

T = TypeVar("T")
PAGE = 1000


class Bind(Enum):
    """How to log in: not at all, DN and password, a Kerberos ticket (SASL GSSAPI), or what the connection itself proves
    (SASL EXTERNAL: client certificate, or the uid on an ldapi socket).

    Kerberos encrypts the connection by itself, so it goes over `ldap://`, without StartTLS.
    """

    ANONYMOUS = "anonymous"
    SIMPLE = "simple"
    KERBEROS = "kerberos"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Server:
    """Which server, and who we are there.

    `url`: `ldaps://HOST`, `ldap://HOST` (StartTLS, unless `plain`), `ldapi://%2Fpath`. `user`: a DN, for Active
    Directory also `user@domain` or `DOMAIN\\user`. `timeout`: seconds that one answer may take.
    """

    url: str
    bind: Bind = Bind.SIMPLE
    user: str = ""
    secret: Secret | None = None
    plain: bool = False
    verify: bool = True
    ca_file: str | None = None
    client_certificate: str | None = None
    timeout: float = 60.0


class Scope(IntEnum):
    """How far below its base a search looks (RFC 4511 §4.5.1.2)."""

    BASE = 0
    ONE = 1
    SUBTREE = 2


class Change(NamedTuple):
    """One step of a modification. `how`: add, delete (no values: the whole attribute) or replace (none: likewise)."""

    how: str
    name: str
    values: tuple[bytes, ...] = ()


class Control(NamedTuple):
    """A request or response control, its value BER."""

    oid: str
    value: bytes | None = None
    critical: bool = True


class Message(NamedTuple):
    """One answer to a search. `entry`, `reference` (URLs) and `info` (an intermediate response, RFC 4511 §4.13) exclude
    each other; the last message has none of them."""

    entry: Entry | None = None
    reference: str = ""
    info: bytes | None = None
    controls: tuple[Control, ...] = ()


class _Unlocked:
    """In place of a lock, for what only one thread uses."""

    def acquire(self) -> None:
        """Nothing to wait for."""

    def release(self) -> None:
        """Nothing to give back."""


class Connection:
    """One connection, logged in. A context manager. After `Temporary` it is dead: open another."""

    def __init__(self, server: Server) -> None:
        """Connect and log in. AuthError tells Active Directory's reasons apart; Temporary, Permanent, ConfigError and
        RemoteProtocolError as `ldap_link.connect`."""
        self.server = server
        if server.bind is Bind.SIMPLE and not (server.user and server.secret and server.secret.reveal()):
            # RFC 4513 §5.1.2: a server takes a name without password for an anonymous log-in that succeeds
            raise ConfigError("a log-in by password needs a user and a password that is not empty", about=server.url)
        scheme, host, port = ldap_link.parse_url(server.url)
        kerberos = server.bind is Bind.KERBEROS
        if kerberos and scheme == "ldaps":  # and python-ldap holds the GIL while it logs in, which stops our TLS thread
            advice = "use ldap://: the Kerberos log-in encrypts the connection"
            raise ConfigError("Kerberos over TLS is not supported", about=server.url, advice=advice)
        link = ldap_link.connect(
            server.url,
            plain=server.plain or kerberos,
            verify=server.verify,
            ca_file=server.ca_file,
            client_certificate=server.client_certificate,
            timeout=server.timeout,
        )
        name = "ldap://localhost" if scheme == "ldapi" else f"ldap://{f'[{host}]' if ':' in host else host}:{port}"
        self._handle: Any = ldap.initialize(name, fileno=link.detach())
        # python-ldap's own lock is for several threads, and stays locked for ever when ^C meets it at the wrong moment
        self._handle._ldap_object_lock = _Unlocked()
        options = [
            (ldap.OPT_REFERRALS, 0),
            (ldap.OPT_TIMEOUT, min(server.timeout, 10.0)),  # only for what has no limit of its own: SASL
            (ldap.OPT_X_SASL_NOCANON, 1),  # a ticket for the name that was given, not for what DNS makes of it
            (ldap.OPT_X_SASL_SSF_MIN, 56 if kerberos and scheme == "ldap" and not server.plain else 0),
        ]
        for option, value in options:
            self._handle.set_option(option, value)
        try:
            self._call(self._bind, about=server.url)
        except MailferryError:
            self.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; may be called twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.unbind_ext_s()

    def root(self) -> Entry:
        """What the server says of itself (the root DSE, RFC 4512 §5.1)."""
        return self.read("", ("*", "+")) or Entry("")

    def read(self, dn: str, attributes: Sequence[str] = (), controls: Sequence[Control] = ()) -> Entry | None:
        """One entry, or None where there is none (or none that we may see)."""
        try:
            found = list(self.search(dn, attributes=attributes, scope=Scope.BASE, controls=controls, page=0))
            return found[0] if found else None
        except Refused as error:
            if error.result == Result.NO_SUCH_OBJECT:
                return None
            raise

    def search(
        self,
        base: str,
        filter: str = "(objectClass=*)",
        attributes: Sequence[str] = (),
        *,
        scope: Scope = Scope.SUBTREE,
        controls: Sequence[Control] = (),
        page: int = PAGE,
        on_reference: Callable[[str], None] | None = None,
    ) -> Generator[Entry, None, None]:
        """Entries as they arrive, `page` at a time (RFC 2696; 0: unpaged), so memory stays flat. No attributes given:
        all user attributes. Who does not read on to the end closes it.

        A continuation reference ends the search as `Refused`, unless `on_reference` takes its URLs. `Refused` also for
        a size limit, which comes after the entries that were given: what was read is then not the whole.
        """
        about = base or self.server.url
        cookie: bytes | None = b""
        while cookie is not None:
            asked = list(controls)
            if page:
                paged = ldap.controls.libldap.SimplePagedResultsControl(False, size=page, cookie=cookie)
                asked.append(Control(paged.controlType, paged.encodeControlValue(), False))
            cookie = None
            for message in self.messages(base, filter, attributes, scope, asked):
                if message.entry is not None:
                    yield message.entry
                elif message.reference and on_reference is None:
                    raise ldap_errors.explain(Result.REFERRAL, "", "", about=about, referrals=message.reference)
                elif message.reference and on_reference is not None:
                    on_reference(message.reference)
                for control in message.controls if page else ():
                    if control.oid == ldap.CONTROL_PAGEDRESULTS and control.value is not None:
                        paged.decodeControlValue(control.value)
                        cookie = paged.cookie or None

    def messages(
        self,
        base: str,
        filter: str,
        attributes: Sequence[str],
        scope: Scope = Scope.SUBTREE,
        controls: Sequence[Control] = (),
    ) -> Iterator[Message]:
        """All that the server says to one search request, as it says it; what is not read to its end is given up."""
        handle = self._handle
        asked = [ldap.controls.RequestControl(oid, critical, value) for oid, value, critical in controls]
        about = base or self.server.url
        number = self._call(
            lambda: handle.search_ext(base, int(scope), filter, list(attributes) or None, serverctrls=asked),
            about=about,
        )
        under_way = True
        try:
            while under_way:
                try:  # below python-ldap's own result4, which decodes controls by classes that others may register
                    kind, data, _, found, *_ = self._call(
                        lambda: handle._ldap_call(handle._l.result4, number, 0, self.server.timeout, 1, 1, 0),
                        about=about,
                    )
                except MailferryError:
                    under_way = False
                    raise
                under_way = kind != ldap.RES_SEARCH_RESULT
                if not under_way:
                    yield Message(controls=_controls(found))
                for dn, attrs, own in data or ():
                    if kind == ldap.RES_SEARCH_ENTRY:
                        lower = {name.lower(): tuple(values) for name, values in attrs.items()}
                        yield Message(Entry(dn, lower), controls=_controls(own) if own else ())
                    elif kind == ldap.RES_SEARCH_REFERENCE:
                        yield Message(reference=" ".join(attrs))
                    elif kind == ldap.RES_INTERMEDIATE:
                        yield Message(info=attrs or b"")
        finally:
            if under_way and self._handle is not None:
                with suppress(ldap.LDAPError):  # whoever wants no more need not hear that the connection is lost
                    handle.abandon_ext(number)

    def add(self, dn: str, attrs: Mapping[str, Sequence[bytes]]) -> None:
        """A new entry. `Refused` with ALREADY_EXISTS, NO_SUCH_OBJECT (no parent), OBJECT_CLASS_VIOLATION, …"""
        record = [(name, list(values)) for name, values in attrs.items() if values]
        self._call(lambda: self._wait(self._handle.add_ext(dn, record)), about=dn)

    def modify(self, dn: str, changes: Sequence[Change]) -> None:
        """All the changes of one entry, or none."""
        how = {"add": ldap.MOD_ADD, "delete": ldap.MOD_DELETE, "replace": ldap.MOD_REPLACE}
        steps = [(how[change.how], change.name, list(change.values) or None) for change in changes]
        self._call(lambda: self._wait(self._handle.modify_ext(dn, steps)), about=dn)

    def delete(self, dn: str) -> None:
        """One entry without children."""
        self._call(lambda: self._wait(self._handle.delete_ext(dn)), about=dn)

    def rename(self, dn: str, new_rdn: str, new_parent: str | None = None, *, keep_old: bool = False) -> None:
        """Rename, and move when `new_parent` is given. `keep_old`: the old RDN's value stays as an attribute."""
        self._call(
            lambda: self._wait(self._handle.rename(dn, new_rdn, newsuperior=new_parent, delold=int(not keep_old))),
            about=dn,
        )

    def _bind(self) -> None:
        server = self.server
        if server.bind is Bind.SIMPLE and server.secret is not None:
            self._wait(self._handle.simple_bind(server.user, server.secret.reveal()))
        elif server.bind is Bind.KERBEROS:
            self._handle.sasl_interactive_bind_s("", ldap.sasl.gssapi())
        elif server.bind is Bind.EXTERNAL:
            self._handle.sasl_bind_s("", "EXTERNAL", b"")

    def _wait(self, message: int) -> None:
        self._handle.result4(message, 1, self.server.timeout)

    def _call(self, action: Callable[[], T], *, about: str) -> T:
        try:
            return action()
        except ldap.LDAPError as error:
            code, description, info, referrals = ldap_errors.parts(error)
            if action == self._bind and code > 0:
                raise ldap_errors.bind_error(code, description, info, about=about) from error
            raise ldap_errors.explain(code, description, info, about=about, referrals=referrals) from error


class Held:
    """One connection for many calls: opened when it is needed, dropped when it has failed."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._connection: Connection | None = None

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """The connection, opened if there is none; raises what `Connection` raises."""
        if self._connection is None:
            self._connection = Connection(self.server)
        try:
            yield self._connection
        except (Temporary, RemoteProtocolError):
            self.close()
            raise

    def close(self) -> None:
        """End it; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _controls(found: Sequence[tuple[str, int, bytes | None]] | None) -> tuple[Control, ...]:
    return tuple([Control(oid, value, bool(critical)) for oid, critical, value in found or ()])
