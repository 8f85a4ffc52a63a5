"""`mailferry stack check`: the rendered files by the daemons' own checkers, then what the running servers answer.

Changes nothing and sends no mail. Invariant: what could not be looked at from here is told as such, never as well.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mailferry.config.settings import Settings as Config
from mailferry.directory import mark
from mailferry.errors import MailferryError, explain
from mailferry.net import ldap
from mailferry.ops import stack, stack_qmail, stack_radicale, stack_relay
from mailferry.stack import checkers
from mailferry.stack.checkers import Told
from mailferry.stack.file import Kit
from mailferry.stack.postfix import tables
from mailferry.stack.postfix.settings import Directory, Endpoint, Settings
from mailferry.stack.qmail.programs import lookup

SECONDS = 10.0
LAG_SECONDS = 60.0
"""A replica further behind is told as wrong: routes would come too late."""
CERTIFICATE_DAYS = 14


def files(kits: list[Kit]) -> Iterator[Told]:
    """The rendered files alone."""
    for kit in kits:
        yield from checkers.check(kit)


def running(config: Config, kits: list[Kit]) -> Iterator[Told]:
    """The servers themselves."""
    for kit in kits:
        if kit.server == "openldap":
            yield from _openldap(config)
        elif kit.server == "postfix":
            yield from _postfix(stack.postfix_settings(config), kit)
        elif kit.server == "dovecot":
            yield from _dovecot(config, kit)
        elif kit.server == "radicale":
            yield _radicale(config)
        elif kit.server == "qmail":
            yield from _qmail(config, kit)
        elif kit.server == "courier":
            yield from _courier(config)
        elif kit.server == "relay":
            relay = stack_relay.relay_settings(config, stack.postfix_settings(config))
            at = _place(relay.base.listen, relay.base.hostname)
            yield _banner("relay", "the listener", at, "220")
            yield _banner("relay", "the Postfix that it hands on to", relay.to, "220")


def _openldap(config: Config) -> Iterator[Told]:
    """The provider and every replica that Postfix reads: do they answer, and how far is each behind?"""
    settings = stack.openldap_settings(config)
    assert config.stack is not None
    others = config.stack.postfix.directory if config.stack.postfix is not None else ()
    lookup = Directory(
        urls=tuple(dict.fromkeys((settings.provider or "ldap://localhost", *others))),
        suffix=settings.suffix,
        bind=settings.lookup_dn,
        password=settings.lookup,
        ca_file=settings.tls.authority if settings.tls else None,
    )
    newest: dict[str, float] = {}
    for number, url in enumerate(lookup.urls):
        csn = _csn(lookup, url)
        if isinstance(csn, str):
            yield Told("openldap", f"{url} answers", False, csn)
            continue
        yield Told("openldap", f"{url} answers", True)
        if number == 0:
            newest = csn
            continue
        lag = max((newest[server] - csn.get(server, 0.0) for server in newest), default=0.0)
        behind = (
            "in step" if lag <= 0 else f"{lag:.0f} s behind" if newest.keys() <= csn.keys() else "it has nothing yet"
        )
        yield Told("openldap", f"{url} is in step with the provider", lag <= LAG_SECONDS, behind)


def _csn(lookup: Directory, url: str) -> dict[str, float] | str:
    """contextCSN by server id, as seconds; or why there is none."""
    ca_file = str(lookup.ca_file) if lookup.ca_file else None
    server = ldap.Server(
        url, user=lookup.bind, secret=lookup.password, plain=ca_file is None, ca_file=ca_file, timeout=SECONDS
    )
    try:
        with ldap.Connection(server) as connection:
            found = mark.target(connection, lookup.suffix)
    except MailferryError as error:
        return explain(error)
    try:
        return {text.split("#")[2]: _seconds(text) for text in found}
    except (ValueError, IndexError):
        return f"its contextCSN makes no sense: {found[0][:100]}"


def _seconds(csn: str) -> float:
    """The time of a CSN (`20261122171106.123456Z#…`) in seconds."""
    return datetime.strptime(csn.partition("Z")[0], "%Y%m%d%H%M%S.%f").timestamp()


def _postfix(settings: Settings, kit: Kit) -> Iterator[Told]:
    here = settings.hostname
    yield _banner("postfix", "the listener for everybody", _place(settings.listen, here), "220")
    yield _banner("postfix", "the listener for Exchange", _place(settings.listen_exchange, here), "220")
    yield _banner("postfix", "Exchange", settings.exchange, "220")
    for name, store in sorted(settings.stores.items()):
        yield _banner("postfix", f"the store {name}", store, "220")
    if settings.certificate is not None:
        yield _certificate(_place(settings.listen, here), here)
    yield from _tables(settings, kit)
    if settings.dns:
        yield from _dns(settings)


def _qmail(config: Config, kit: Kit) -> Iterator[Told]:
    """The listeners of a qmail host, Exchange, and whether its people were compared with the directory of late."""
    settings = stack_qmail.any_host(config)
    at = _place(settings.listen, settings.hostname)
    deadline = time.monotonic() + SECONDS
    while not (told := _banner("qmail", "the listener for everybody", at, "220")).well:
        if time.monotonic() > deadline:  # just after a start there is a moment in which nobody answers
            break
        time.sleep(0.2)
    yield told
    yield _banner("qmail", "Exchange", settings.exchange, "220")
    found = kit.file("host.json").place
    assert found is not None
    what = "everybody was compared with the directory (mailferry stack apply)"
    try:
        stale = lookup.read_host(found).is_stale()
    except (OSError, ValueError, KeyError) as error:
        yield Told("qmail", what, None, f"{found}: {error}")
        return
    yield Told("qmail", what, not stale, "it is too long ago: nobody is refused as unknown now" if stale else "")


def _courier(config: Config) -> Iterator[Told]:
    assert config.stack is not None and config.stack.courier is not None
    wanted = config.stack.courier
    host = "localhost" if wanted.listen == "0" else wanted.listen
    for what, port, expected in (("IMAP", wanted.imap, "* OK"), ("POP3", wanted.pop3, "+OK")):
        if port:
            yield _banner("courier", what, Endpoint(host, port), expected)


def _dovecot(config: Config, kit: Kit) -> Iterator[Told]:
    """A store or the proxy of this host: its listeners, its certificate, and whether the directory answers it."""
    assert config.stack is not None and config.stack.dovecot is not None
    wanted = config.stack.dovecot
    ports, host = wanted.ports, next((one for one in wanted.listen if one not in ("*", "::")), "localhost")
    store = any(file.name == "ldap-delivery.conf.ext" for file in kit.files)
    for what, port, expected in (
        ("IMAP", ports.imap, "* OK"),
        ("POP3", ports.pop3, "+OK"),
        ("ManageSieve", ports.sieve, '"IMPLEMENTATION"'),
        ("LMTP", ports.lmtp if store else 0, "220"),
    ):
        if port:
            yield _banner("dovecot", what, Endpoint(host, port), expected)
    if wanted.certificate is not None and ports.imaps:
        yield _over_tls(Endpoint(host, ports.imaps), wanted.hostname, wanted.proxy_ca_file)
    yield _answers(kit, ("user",) if store else ("auth", "lookup"))


def _radicale(config: Config) -> Told:
    """Its listener, its certificate, and whether the directory answers it, all at once."""
    what = "the account that fills collections can log in"
    try:
        return Told("radicale", what, True, stack_radicale.log_in(config))
    except MailferryError as error:
        return Told("radicale", what, False, explain(error))


def _over_tls(at: Endpoint, name: str, authorities: Path | None) -> Told:
    """TLS from the first byte, with the certificate checked."""
    what = f"the certificate of {name}"
    try:
        context = ssl.create_default_context(cafile=str(authorities) if authorities else None)
        with (
            socket.create_connection((at.host, at.port), timeout=SECONDS) as link,
            context.wrap_socket(link, server_hostname=name) as secured,
        ):
            ends = ssl.cert_time_to_seconds(str((secured.getpeercert() or {})["notAfter"]))
    except ssl.SSLError as error:
        return Told("dovecot", what, False, str(getattr(error, "verify_message", "") or error.reason or error))
    except OSError as error:
        return Told("dovecot", what, False, f"{error.strerror or error}")
    days = (ends - time.time()) / 86400
    return Told("dovecot", what, days > CERTIFICATE_DAYS, f"valid for {days:.0f} days")


def _answers(kit: Kit, question: tuple[str, ...]) -> Told:
    """Somebody whom nobody knows is asked for: exit code 67 (EX_NOUSER) takes an answer of the directory."""
    what = f"the directory answers (doveadm {' '.join(question)})"
    doveadm = shutil.which("doveadm", path="/usr/sbin:/usr/bin")
    if doveadm is None:
        return Told("dovecot", what, None, "doveadm is not on this machine")
    command = [doveadm, "-c", str(kit.file("dovecot.conf").place), *question, "mailferry-check-nobody"]
    for _ in range(2):  # just after a reload there is a moment in which nobody answers
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, errors="replace", timeout=3 * SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Told("dovecot", what, False, str(error))
        if done.returncode == 67:
            break
        time.sleep(1)
    return Told("dovecot", what, done.returncode == 67, "" if done.returncode == 67 else done.stderr.strip()[-300:])


def _place(listen: str, host: str) -> Endpoint:
    """Where a listener of the settings (PORT or ADDRESS:PORT) is reached."""
    address, _, port = listen.rpartition(":")
    return Endpoint(address.strip("[]") or host, int(port))


def _banner(server: str, what: str, at: Endpoint, expected: str) -> Told:
    what = f"{what} answers ({at.host}:{at.port})"
    try:
        with socket.create_connection((at.host, at.port), timeout=SECONDS) as link:
            said = link.recv(512).decode("ascii", "replace").strip()
    except OSError as error:
        return Told(server, what, False, f"{error.strerror or error}")
    return Told(server, what, said.startswith(expected), said[:200])


def _certificate(at: Endpoint, name: str) -> Told:
    """StartTLS (RFC 3207) with the certificate checked against the system's authorities."""
    what = f"the certificate of {name}"
    try:
        with socket.create_connection((at.host, at.port), timeout=SECONDS) as link:
            stream = link.makefile("rb")
            for command in (b"", b"EHLO mailferry.invalid\r\n", b"STARTTLS\r\n"):
                link.sendall(command)
                while (line := stream.readline(2048))[3:4] == b"-":
                    continue
                if not line.startswith(b"2"):
                    return Told("postfix", what, False, line.decode("ascii", "replace").strip())
            with ssl.create_default_context().wrap_socket(link, server_hostname=name) as secured:
                ends = ssl.cert_time_to_seconds(str((secured.getpeercert() or {})["notAfter"]))
    except ssl.SSLError as error:
        return Told("postfix", what, False, str(getattr(error, "verify_message", "") or error.reason or error))
    except OSError as error:
        return Told("postfix", what, False, f"{error.strerror or error}")
    days = (ends - time.time()) / 86400
    return Told("postfix", what, days > CERTIFICATE_DAYS, f"valid for {days:.0f} days")


def _tables(settings: Settings, kit: Kit) -> Iterator[Told]:
    """Every ldap: table is asked for an address that nobody has, which takes an answer of the directory."""
    postmap = shutil.which("postmap", path="/usr/sbin:/usr/bin")
    if postmap is None:
        yield Told("postfix", "tables answer (postmap -q)", None, "postmap is not on this machine")
        return
    with tempfile.TemporaryDirectory(prefix="mailferry-check-") as name:
        scratch = Path(name)
        checkers.lay_out(kit, scratch)
        wrong = []
        for table in tables.used(settings):
            domain = settings.open_domain if table.in_open_domain else settings.domains[0]
            command = [postmap, "-c", name, "-q", f"mailferry-nobody@{domain}", f"ldap:{scratch / table.file}"]
            try:
                done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=6 * SECONDS)
            except subprocess.TimeoutExpired:
                wrong.append(f"{table.file}: no answer")
                break
            if done.stderr.strip():
                wrong.append(f"{table.file}: {done.stderr.strip()[-300:]}")
                break  # the others would say the same, each after its time
        yield Told("postfix", "tables answer (postmap -q)", not wrong, "; ".join(wrong))


def _dns(settings: Settings) -> Iterator[Told]:
    try:
        found = sorted({str(one[4][0]) for one in socket.getaddrinfo(settings.hostname, None)})
        yield Told("postfix", f"{settings.hostname} has an address", True, ", ".join(found))
    except OSError as error:
        yield Told("postfix", f"{settings.hostname} has an address", False, f"{error.strerror or error}")
    dig = shutil.which("dig")
    for domain in settings.domains:
        what = f"the MX of {domain}"
        if dig is None:
            yield Told("postfix", what, None, "dig is not on this machine")
            continue
        done = subprocess.run(
            [dig, "+short", "+time=3", "+tries=1", "MX", domain], check=False, capture_output=True, text=True
        )
        names = [line.split()[-1].rstrip(".").lower() for line in done.stdout.splitlines() if line[:1].isdigit()]
        here = settings.hostname.lower() in names
        yield Told("postfix", what, here, ", ".join(names) or "there is none")
