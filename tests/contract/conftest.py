"""The stores that each contract test runs on, one fixture each for sources and targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path as FilePath

import pytest

from lab.fake_ews import FakeEws
from lab.process import PASSWORD
from mailferry.config.accounts import parse_address
from mailferry.model.account import EwsAccount, MaildirFlavour
from mailferry.model.folder import Path
from mailferry.model.message import ALL_FLAGS, Flag, Reason
from mailferry.net.memory import MemoryOptions, MemoryStore
from mailferry.secret import Secret
from mailferry.sources.ews import EwsSource
from mailferry.sources.imap import ImapSource
from mailferry.sources.maildir import MaildirSource
from mailferry.sources.memory import MemorySource
from mailferry.targets.failing import FailingTarget
from mailferry.targets.imap import ImapTarget
from mailferry.targets.maildir import MaildirTarget
from mailferry.targets.memory import MemoryTarget
from tests.contract import stores
from tests.contract.stores import Sample, SourceCase, TargetCase

Fill = Callable[[dict[Path, list[Sample]]], SourceCase]

SOURCES = (
    "memory",
    "maildir-dovecot",
    "maildir-courier",
    "maildir-qmail",
    "imap-dovecot-open",
    "imap-dovecot-exchange",
    "imap-courier",
    "imap-cyrus",
    "ews",
)
TARGETS = (
    "memory",
    "memory-plain",
    "memory-keeps",
    "failing",
    *(name for name in SOURCES if name not in ("memory", "ews")),
)

CHANGES = {
    "dovecot_open": frozenset({"nul"}),
    "dovecot_exchange": frozenset({"nul"}),
    "courier": frozenset({"bare-cr", "no-final-newline", "one-byte"}),
    "cyrus": frozenset({"raw-8bit-header"}),
}
"""Odd messages that a server changes as it stores them: NUL becomes 0x80, raw 8-bit bytes in headers become X, a last
line without an end gets one, bare CRs are dropped."""

REFUSES = {"cyrus": frozenset({"bare-lf", "bare-lf-header", "no-header-no-blank", "one-byte"})}


@pytest.fixture(scope="module")
def fake_ews() -> Iterator[FakeEws]:
    with FakeEws() as running:
        yield running


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, new_user: Callable[[], str], tmp_path: FilePath) -> Fill:
    """Call it with folders and their samples to get the source that holds them."""
    kind: str = request.param
    user = new_user()

    def server(name: str) -> int:
        port: int = request.getfixturevalue(name).port
        return port

    def fill(folders: dict[Path, list[Sample]]) -> SourceCase:
        match kind:
            case "memory":
                store = MemoryStore(user)
                for path, samples in folders.items():
                    store.add_folder(path).subscribed = True
                    for s in samples:
                        store.add(path, s.data, flags=s.flags, keywords=s.keywords, date=s.date)
                return SourceCase(MemorySource(store))
            case "maildir-qmail":
                stores.fill_maildir(tmp_path / "Maildir", folders)
                plain = stores.maildir(tmp_path / "Maildir", MaildirFlavour.QMAIL)
                return SourceCase(MaildirSource(plain), keywords=False, tree=tmp_path / "Maildir")
            case "maildir-dovecot":
                stores.fill_imap(server("dovecot_open"), user, folders, separator=".")
                tree = request.getfixturevalue("dovecot_open").maildir(user)
                return SourceCase(MaildirSource(stores.maildir(tree, MaildirFlavour.DOVECOT)), tree=tree)
            case "maildir-courier":
                stores.fill_imap(server("courier"), user, folders, separator=".", prefix="INBOX.")
                tree = request.getfixturevalue("courier").maildir(user)
                return SourceCase(MaildirSource(stores.maildir(tree, MaildirFlavour.COURIER)), tree=tree)
            case "imap-courier" | "imap-cyrus":
                port = server(kind.removeprefix("imap-"))
                stores.fill_imap(port, user, folders, separator=".", prefix="INBOX.")
                return SourceCase(ImapSource(stores.imap_account(port, user)))
            case "ews":
                fake: FakeEws = request.getfixturevalue("fake_ews")
                address = f"{user}@acme.example"
                stores.fill_ews(fake.exchange, address, folders)
                account = parse_address(fake.address(address), secret=Secret(PASSWORD))
                assert isinstance(account, EwsAccount)
                return SourceCase(EwsSource(account), flags=ALL_FLAGS & ~Flag.DELETED)
            case "imap-dovecot-open":
                stores.fill_imap(server("dovecot_open"), user, folders, separator=".")
                return SourceCase(ImapSource(stores.imap_account(server("dovecot_open"), user)))
            case _:
                stores.fill_imap(server("dovecot_exchange"), user, folders, separator="/")
                return SourceCase(ImapSource(stores.imap_account(server("dovecot_exchange"), user)))

    return fill


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, new_user: Callable[[], str], tmp_path: FilePath) -> TargetCase:
    """An empty target."""
    kind: str = request.param
    user = new_user()

    def refuse(data: bytes) -> tuple[Reason, str] | None:
        return (Reason.NUL, "no NUL bytes here") if b"\0" in data else None

    options = {
        "memory": MemoryOptions(),
        "memory-plain": MemoryOptions(modseq=False, acl=False, metadata=False, refuse=refuse),
        "memory-keeps": MemoryOptions(keeps_uids=True),
        "failing": MemoryOptions(),
    }
    flavours = {f"maildir-{flavour.value}": flavour for flavour in MaildirFlavour}
    if kind in options:
        store = MemoryStore(user, options[kind])
        target = MemoryTarget(store)
        return TargetCase(
            FailingTarget(target) if kind == "failing" else target,
            keeps_uids=kind == "memory-keeps",
            acl=kind != "memory-plain",
            metadata=kind != "memory-plain",
            refuses=b"Subject: x\r\n\r\n\0\r\n" if kind == "memory-plain" else None,
            refuses_kinds=frozenset({"nul"} if kind == "memory-plain" else ()),
            in_memory=True,
        )
    if kind in flavours:
        return TargetCase(
            MaildirTarget(stores.maildir(tmp_path / "Maildir", flavours[kind])),
            keeps_uids=kind != "maildir-qmail",
            keywords=kind != "maildir-qmail",
            acl=kind == "maildir-dovecot",
        )
    server = kind.removeprefix("imap-").replace("-", "_")
    port: int = request.getfixturevalue(server).port
    return TargetCase(
        ImapTarget(stores.imap_account(port, user)),
        acl=server in ("dovecot_open", "courier", "cyrus"),
        metadata=server in ("dovecot_open", "cyrus"),
        changes=CHANGES[server],
        refuses_kinds=REFUSES.get(server, frozenset()),
        implies_parents=server == "dovecot_open",
        told_late=server in ("courier", "cyrus"),
    )
