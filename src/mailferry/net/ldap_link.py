"""One byte stream to an LDAP server, made ready for libldap: TCP or a local socket, StartTLS or TLS, with time limits.

Speaks no LDAP but the StartTLS request (RFC 4511 §4.14). TLS is Python's, as for every other protocol here, and a
thread carries the bytes between it and libldap: libldap's own TLS (GnuTLS on Debian) waits for ever on a server that
accepts and then says nothing, and calls every failure of a certificate "unknown error code".
Invariant: a stream asked for with TLS carries nothing but StartTLS in the clear.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from urllib.parse import unquote, urlsplit

from mailferry.errors import ConfigError, MailferryError, Permanent, RemoteProtocolError, Temporary
from mailferry.net import tls

DEFAULT_LDAPI = "/var/run/slapd/ldapi"
PORTS = {"ldap": 389, "ldaps": 636}
_CHUNK = 256 * 1024
_START_TLS = bytes.fromhex("301d0201017718") + b"\x80\x16" + b"1.3.6.1.4.1.1466.20037"


def connect(
    url: str,
    *,
    plain: bool = False,
    verify: bool = True,
    ca_file: str | None = None,
    client_certificate: str | None = None,
    timeout: float = 30.0,
) -> socket.socket:
    """A connected socket that carries LDAP in the clear; behind it stands TLS where `url` says so.

    `ldap://HOST[:PORT]` with StartTLS (without, only if `plain`), `ldaps://HOST[:PORT]`, `ldapi://[PATH]` (the path
    with its slashes as %2F, RFC 4516's habit; none: slapd's default). Every wait ends after `timeout` seconds.
    ConfigError for another URL or an unreadable file, Temporary, Permanent or RemoteProtocolError for the rest.
    """
    scheme, host, port = parse_url(url)
    if scheme == "ldapi":
        return _limited(_local(host, timeout), timeout)
    context = None
    if scheme == "ldaps" or not plain:
        context = tls.context(verify=verify, ca_file=ca_file, client_certificate=client_certificate)
    raw: socket.socket | None = None
    try:
        raw = socket.create_connection((host, port), timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if context is None:
            return _limited(raw, timeout)
        if scheme == "ldap":
            _start_tls(raw, f"{host}:{port}")
        secured = context.wrap_socket(raw, server_hostname=host)
    except OSError as error:
        if raw is not None:
            raw.close()
        raise _explained(error, scheme, host, port) from error
    except MailferryError:
        if raw is not None:
            raw.close()
        raise
    ours, theirs = socket.socketpair()
    threading.Thread(target=_carry, args=(secured, ours), name=f"tls {host}:{port}", daemon=True).start()
    return _limited(theirs, timeout)


def parse_url(url: str) -> tuple[str, str, int]:
    """Scheme, host (for ldapi the socket's path) and port. ConfigError for what is no LDAP URL."""
    advice = "use ldaps://HOST, ldap://HOST (StartTLS) or ldapi://%2Fpath%2Fto%2Fsocket"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f"not an LDAP URL: {error}", about=url, advice=advice) from error
    if parts.scheme == "ldapi":
        return "ldapi", unquote(parts.netloc) or DEFAULT_LDAPI, 0
    if parts.scheme not in PORTS or not host or parts.username is not None or parts.path.strip("/"):
        raise ConfigError("not an LDAP URL", about=url if "@" not in url else parts.scheme, advice=advice)
    return parts.scheme, host, port or PORTS[parts.scheme]


def _local(path: str, timeout: float) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(timeout)
    try:
        made.connect(path)
    except OSError as error:
        made.close()
        raise Temporary(
            f"the LDAP server's socket does not answer: {error.strerror or error}",
            about=f"ldapi://{path}",
            advice="check the path, that the server runs, and that you may open the socket",
        ) from error
    return made


def _limited(link: socket.socket, timeout: float) -> socket.socket:
    """Blocking, as libldap wants it, but the kernel ends a read or write that makes no headway: half a message is not
    seen by libldap's own time limit."""
    link.settimeout(None)
    limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1_000_000))
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    return link


def _start_tls(raw: socket.socket, about: str) -> None:
    """Ask for TLS; return when the server agrees. OSError when it is silent."""
    raw.sendall(_START_TLS)
    kind, size = _exactly(raw, 2)
    if size >= 0x80:  # the long form, which Active Directory always writes
        size = int.from_bytes(_exactly(raw, min(size & 0x7F, 4)), "big")
    if kind != 0x30 or not 3 <= size <= 0xFFFF:
        raise RemoteProtocolError("the server does not speak LDAP on this port", about=about)
    answer = _exactly(raw, size)
    code = answer.find(b"\x0a\x01")  # resultCode: the answer's only ENUMERATED (RFC 4511 §4.1.9); 0 is success
    if not 0 <= code < size - 2:
        raise RemoteProtocolError("the server's answer to StartTLS makes no sense", about=about)
    if answer[code + 2] != 0:
        raise Permanent(
            f"the server refuses StartTLS (LDAP result {answer[code + 2]})",
            about=about,
            advice="use ldaps://HOST, or have a certificate installed on the server",
        )


def _exactly(raw: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        more = raw.recv(size - len(got))
        if not more:
            raise ConnectionResetError("the server closed the connection when asked for TLS")
        got += more
    return got


def _explained(error: OSError, scheme: str, host: str, port: int) -> MailferryError:
    made = tls.explain(error, host, port)
    if isinstance(error, ssl.SSLCertVerificationError):
        made.advice = "check the host name; `ca_file` trusts your organisation's authority"
    elif scheme == "ldaps" and isinstance(error, ssl.SSLError | ConnectionResetError):
        made.advice = "does this port speak LDAPS (mostly 636)? For plain ports use ldap://, which asks for StartTLS"
    elif isinstance(made, RemoteProtocolError):
        made.advice = made.default_advice
    return made


def _carry(secured: ssl.SSLSocket, inner: socket.socket) -> None:
    """Carry bytes both ways until either side ends; then end both. Holds at most one piece per direction."""
    secured.setblocking(False)
    inner.setblocking(False)
    inward, outward = b"", b""  # what still has to reach libldap; what still has to reach the server
    with secured, inner, contextlib.suppress(OSError):  # libldap finds its end closed: the error it then tells
        while True:
            write_first = False
            if not inward:
                try:
                    inward = secured.recv(_CHUNK)
                    if not inward:
                        break
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLWantWriteError:
                    write_first = True
            if not outward:
                try:
                    outward = inner.recv(_CHUNK)
                    if not outward:
                        break
                except BlockingIOError:
                    pass
            moved = 0
            if inward:
                with contextlib.suppress(BlockingIOError):
                    moved = inner.send(inward)
                    inward = inward[moved:]
            if outward:
                try:
                    sent = secured.send(outward)
                    outward = outward[sent:]
                    moved += sent
                except ssl.SSLWantWriteError:
                    write_first = True
                except ssl.SSLWantReadError:
                    pass
            if moved:
                continue
            poll = select.poll()  # a new one: a side nobody waits for must not wake us, not even by hanging up
            if not inward or write_first:
                poll.register(secured, (0 if inward else select.POLLIN) | (select.POLLOUT if write_first else 0))
            if not outward or inward:
                poll.register(inner, (0 if outward else select.POLLIN) | (select.POLLOUT if inward else 0))
            poll.poll()
