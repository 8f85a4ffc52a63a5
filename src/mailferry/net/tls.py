"""TLS contexts, and what goes wrong with connections in plain words. Opens no socket.

Invariant: certificates are verified unless the account says `verify=False`.
"""

from __future__ import annotations

import errno
import socket
import ssl

from mailferry.errors import ConfigError, MailferryError, Permanent, RemoteProtocolError, Temporary


def context(*, verify: bool, ca_file: str | None = None, client_certificate: str | None = None) -> ssl.SSLContext:
    """A client context, TLS 1.2 or later. `client_certificate`: a PEM file with key and certificate. ConfigError for
    unreadable files."""
    try:
        made = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the file of trusted certificates cannot be read: {error}", about=ca_file or "") from error
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if client_certificate is not None:
        try:
            made.load_cert_chain(client_certificate)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the client certificate cannot be read: {error}", about=client_certificate) from error
    return made


def explain(error: OSError, host: str, port: int) -> MailferryError:
    """An error of connecting, of TLS or of the socket, as one of ours."""
    about = f"{host}:{port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return Permanent(
            f"the server's certificate cannot be trusted: {error.verify_message}",
            about=about,
            advice="check the host name; ?ca=FILE trusts your organisation's authority, ?verify=no any certificate",
        )
    if isinstance(error, ssl.SSLError):
        if error.reason in ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
            return RemoteProtocolError(
                "the server does not speak TLS on this port",
                about=about,
                advice="use imap:// (STARTTLS) for this port, or port 993",
            )
        if "ALERT" in (error.reason or ""):
            return Permanent(f"the server refused the TLS connection: {_reason(error)}", about=about)
        return Temporary(f"TLS failed: {_reason(error)}", about=about)
    if isinstance(error, socket.gaierror):
        if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
            return Permanent("there is no host of that name", about=about, advice="check the host's name")
        return Temporary(f"the host's name could not be looked up: {error.strerror}", about=about)
    # A host with several addresses that all refuse gives an OSError with all their texts.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return Temporary(
            "the host refused the connection: nothing listens on this port",
            about=about,
            advice="check the port, and that the server runs",
        )
    if isinstance(error, TimeoutError):
        return Temporary(
            "the host did not answer in time", about=about, advice="check host, port and firewalls; then run again"
        )
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return Temporary("the connection was cut by the other side", about=about)
    return Temporary(f"the connection failed: {error.strerror or error}", about=about)


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
