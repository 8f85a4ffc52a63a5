"""Private instances of Postfix on loopback: the open side from our own renderer, and one that poses as Exchange.

The one posing as Exchange has mailboxes, external addresses (targetAddress) and a send connector for whom it does not
know (InternalRelay); it imitates none of Exchange's bugs. Needs root, as Postfix does.
Invariant: nothing outside `root` is written but the pid that Postfix keeps there; no Postfix of the system is touched.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import signal
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import process
from lab.openldap import LOOKUP_PASSWORD, OpenLdap
from lab.server import Server
from mailferry.secret import Secret
from mailferry.stack.file import File
from mailferry.stack.openldap.render import ADDRESSES
from mailferry.stack.postfix.render import files
from mailferry.stack.postfix.settings import Directory, Endpoint, Settings
from mailferry.stack.words import openldap as openldap_words

DOMAIN, OPEN_DOMAIN, EXCHANGE_DOMAIN = "acme.example", "open.acme.example", "exchange.acme.example"
_RELOADED = "reload -- version"
MASTER = "/usr/lib/postfix/sbin/master"
LOG_QUEUE = 512


class Postfix(Server):
    """One instance. `render` gives its configuration; it is called at each `configure`.

    `port` takes mail from everybody, `exchange_port` mail from Exchange (of the open side alone).
    """

    grace = 5.0

    def __init__(self, name: str, render: Callable[[Postfix], Iterable[File]], root: Path | None = None) -> None:
        if os.geteuid() != 0:
            raise process.LabError("Postfix needs root")
        self.name = name
        super().__init__(root)
        self.render = render
        self.port, self.exchange_port = process.free_port(), process.free_port()
        self.config_dir, self.queue_dir, self.data_dir = (self.root / one for one in ("etc", "queue", "data"))

    def _start(self) -> None:
        account = pwd.getpwnam("postfix")
        for folder in (self.config_dir, self.queue_dir, self.data_dir):
            folder.mkdir(exist_ok=True)
        os.chown(self.data_dir, account.pw_uid, account.pw_gid)
        self.configure()
        self.run("postfix", "check")
        _lengthen_log_queue()
        command = [process.binary(MASTER), "-c", str(self.config_dir), "-d"]
        self._process = process.spawn(command, log=self.root / "master.out", cwd=self.root)
        process.wait_ready(lambda: process.greets(self.port), self._process, self.root / "master.out")

    def configure(self) -> None:
        """Write the configuration anew; a running Postfix wants a `reload`."""
        group = grp.getgrnam("postfix").gr_gid
        for file in self.render(self):
            path = self.config_dir / file.name
            path.write_bytes(file.content)
            path.chmod(file.mode)
            os.chown(path, 0, group)
            os.utime(path, (time.time() - 60, time.time() - 60))  # Postfix waits until a file is more than a second old

    def reload(self) -> None:
        """As `postfix reload`."""
        os.kill(self.pid, signal.SIGHUP)

    def run(self, program: str, *arguments: str, check: bool = True) -> str:
        """One of Postfix's commands on this instance; its standard output."""
        found = process.binary(program, f"/usr/sbin/{program}")
        command = [found, "-c", str(self.config_dir), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if check and done.returncode:
            raise process.LabError(f"{' '.join(command)}: {done.stdout}{done.stderr}{self.log()[-2000:]}")
        return done.stdout

    def lookup(self, key: str, table: str) -> str:
        """What one of the tables answers, such as `ldap-routes.cf`; empty: nothing."""
        return self.run("postmap", "-q", key, f"ldap:{self.config_dir}/{table}", check=False).strip()

    def queue(self) -> list[dict[str, Any]]:
        """What waits, as `postqueue -j` says it, oldest first."""
        found = [json.loads(line) for line in self.run("postqueue", "-j").splitlines()]
        return sorted(found, key=lambda one: one["arrival_time"])

    def send(
        self, to: str | list[str], text: str = "", *, sender: str = "someone@outside.example", port: int | None = None
    ) -> None:
        """Hand in a message of this subject. SMTPRecipientsRefused and the like as smtplib has them."""
        recipients = [to] if isinstance(to, str) else to
        message = f"From: {sender}\r\nTo: {recipients[0]}\r\nSubject: {text}\r\n\r\n{text}\r\n"
        with smtplib.SMTP("127.0.0.1", port or self.port, timeout=30) as client:
            client.ehlo("test.example")
            client.mail(sender)
            for one in recipients:
                code, said = client.rcpt(one)
                if code >= 400:
                    raise smtplib.SMTPRecipientsRefused({one: (code, said)})
            code, said = client.data(message)
            if code >= 400:
                raise smtplib.SMTPDataError(code, said)

    def drained(self, seconds: float = 20.0) -> None:
        """Wait until nothing is in the queue for anybody. (A reload in mid-delivery leaves the file of a message behind
        whose recipients all have it, until the next run of the queue.) LabError with the queue otherwise."""
        deadline = time.monotonic() + seconds
        while waiting := [one for one in self.queue() if one["recipients"] or one["arrival_time"] > time.time() - 5]:
            if time.monotonic() > deadline:
                raise process.LabError(f"still queued: {str(waiting)[:2000]}")
            time.sleep(0.05)


def _lengthen_log_queue() -> None:
    """As systemd does at boot: with the kernel's 10, a master that logs during a reload can wait for ever for postlogd,
    which it has to start itself."""
    setting = Path("/proc/sys/net/unix/max_dgram_qlen")
    if int(setting.read_text()) < LOG_QUEUE:
        with contextlib.suppress(OSError):  # in a container that may not: as it is
            setting.write_text(str(LOG_QUEUE))


def open_side(
    openldap: OpenLdap | Directory,
    exchange: tuple[str, int],
    stores: Mapping[str, tuple[str, int]],
    *,
    root: Path | None = None,
    **changes: Any,
) -> Postfix:
    """Our Postfix, from the renderer. `openldap`: or how it reads another directory. `stores`: mailHost → (host, LMTP
    port). `changes`: of its settings."""

    def render(here: Postfix) -> Iterable[File]:
        return files(replace(settings_of(here, openldap, exchange, stores), **changes))

    return Postfix("postfix", render, root)


def settings_of(
    here: Postfix, openldap: OpenLdap | Directory, exchange: tuple[str, int], stores: Mapping[str, tuple[str, int]]
) -> Settings:
    """What the renderer is given for an instance."""
    return Settings(
        hostname="mx.acme.example",
        domains=(DOMAIN,),
        open_domain=OPEN_DOMAIN,
        exchange_domain=EXCHANGE_DOMAIN,
        exchange=Endpoint(*exchange),
        stores={name: Endpoint(*place) for name, place in stores.items()},
        directory=openldap if isinstance(openldap, Directory) else directory_of(openldap),
        listen=f"127.0.0.1:{here.port}",
        listen_exchange=f"127.0.0.1:{here.exchange_port}",
        exchange_networks=("127.0.0.0/8",),
        own_networks=("192.0.2.0/24",),  # nobody: tests come from outside
        config_dir=here.config_dir,
        queue_dir=here.queue_dir,
        data_dir=here.data_dir,
        log_file=here.log_file,
        dns=False,
    )


def directory_of(openldap: OpenLdap) -> Directory:
    """How a server of the lab reads this OpenLDAP."""
    return Directory(
        urls=(openldap.url,),
        suffix=openldap.suffix,
        bind=openldap.settings.lookup_dn,
        password=Secret(LOOKUP_PASSWORD),
        words=openldap_words(ADDRESSES[openldap.settings.mail_schema]),
    )


class ExchangeSide:
    """A Postfix that poses as Exchange: `mailboxes` (addresses) go to `store`, those with an external address in
    `targets` are sent there, all others of the shared domain go to the open side. `connector`: its listener."""

    def __init__(self, store: tuple[str, int], root: Path | None = None) -> None:
        self.store = store
        self.connector: tuple[str, int] = ("127.0.0.1", 9)
        self.mailboxes: set[str] = set()
        self.targets: dict[str, str] = {}
        self.postfix = Postfix("exchange", self._files, root)

    def __enter__(self) -> ExchangeSide:
        self.postfix.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.postfix.stop()

    def log(self) -> str:
        return self.postfix.log()

    def update(self, *, mailboxes: Iterable[str] = (), targets: Mapping[str, str | None] | None = None) -> None:
        """Add mailboxes; set external addresses, or take them away (None). In force when this returns."""
        self.mailboxes |= set(mailboxes)
        for address, target in (targets or {}).items():
            if target is None:
                self.targets.pop(address, None)
            else:
                self.targets[address] = target
        reloaded(self.postfix)

    def _files(self, here: Postfix) -> Iterable[File]:
        host, port = self.store
        boxes = "".join(f"{one}\tlmtp:inet:{host}:{port}\n" for one in sorted(self.mailboxes))
        names = {one.replace(DOMAIN, EXCHANGE_DOMAIN): one for one in self.mailboxes} | self.targets
        etc = here.config_dir
        yield from posing_as_exchange(here, self.connector, [f"texthash:{etc}/targets"], f"texthash:{etc}/mailboxes")
        yield File("mailboxes", boxes.encode())
        yield File("targets", "".join(f"{one}\t{to}\n" for one, to in sorted(names.items())).encode())


def reloaded(postfix: Postfix) -> None:
    """Write the configuration anew, and return when it is in force (at once where it does not run yet): when those who
    had read the old tables have ended, which Postfix lets them do at their convenience."""
    postfix.configure()
    with contextlib.suppress(process.LabError):  # not running yet
        before = postfix.log().count(_RELOADED)
        old = _readers(postfix)
        postfix.reload()
        while postfix.log().count(_RELOADED) == before or old & _readers(postfix):
            time.sleep(0.01)


def _readers(postfix: Postfix) -> set[int]:
    """Its processes that hold tables and take work from others."""
    found = set()
    for pid in process.session_pids(postfix.pid):
        with contextlib.suppress(OSError):  # ended meanwhile
            if Path(f"/proc/{pid}/comm").read_text().strip() in ("cleanup", "qmgr", "trivial-rewrite"):
                found.add(pid)
    return found


def posing_as_exchange(
    here: Postfix,
    connector: tuple[str, int],
    aliases: Iterable[str],
    mailboxes: str,
    outside: tuple[str, int] | None = None,
    domains: Sequence[str] = (DOMAIN,),
) -> Iterator[File]:
    """main.cf and master.cf of a Postfix that looks addresses up in `aliases`, then in `mailboxes` (transports), and
    sends the rest of `domains`, the shared ones, to `connector`. `outside`: takes mail for others; None: bounced."""
    relay, relay_port = connector
    away = f"smtp:[{outside[0]}]:{outside[1]}" if outside else "error:5.4.4 the lab has no Internet"
    main = f"""\
compatibility_level = 3.6
myhostname = exchange.acme.internal
myorigin = {DOMAIN}
queue_directory = {here.queue_dir}
data_directory = {here.data_dir}
maillog_file = {here.log_file}
maillog_file_prefixes = {here.log_file.parent}
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
local_recipient_maps =
relay_domains = {" ".join(domains)} {OPEN_DOMAIN} {EXCHANGE_DOMAIN}
virtual_alias_domains =
virtual_alias_maps = {", ".join(aliases)}
transport_maps = {mailboxes},
    inline:{{ {", ".join(f"{{ {one} = smtp:[{relay}]:{relay_port} }}" for one in (*domains, OPEN_DOMAIN))},
    {{ {EXCHANGE_DOMAIN} = error:5.1.1 no such mailbox }} }}
default_transport = {away}
enable_original_recipient = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
lmtp_dns_support_level = disabled
lmtp_host_lookup = native
lmtp_destination_recipient_limit = 1
minimal_backoff_time = 2s
queue_run_delay = 2s
"""
    yield File("main.cf", main.encode())
    master = next(file for file in files(_ANY) if file.name == "master.cf").content.decode()
    tail = master.partition("pickup unix")[2]
    assert tail
    yield File("master.cf", f"127.0.0.1:{here.port} inet n - n - - smtpd\npickup unix{tail}".encode())


_ANY = Settings(
    hostname="mx.acme.example",
    domains=(DOMAIN,),
    open_domain=OPEN_DOMAIN,
    exchange_domain=EXCHANGE_DOMAIN,
    exchange=Endpoint("127.0.0.1", 25),
    stores={},
    directory=Directory(("ldap://127.0.0.1",), "dc=acme,dc=example", "cn=lookup", Secret("none")),
)
