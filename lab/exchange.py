"""Exchange, as far as mail goes: a Postfix that looks everybody up in Active Directory (Samba), and its store.

Who is in the directory: external address (targetAddress, of mailboxes too, which it goes before), forwarding
(altRecipient, msExchGenericForwardingAddress, with deliverAndRedirect), groups (also in groups), further proxy
addresses, the IMCEAEX form of the legacyExchangeDN that `Samba.add_user` gives. Whom it does not know goes to the open
side by a send connector (InternalRelay). Recipients are resolved once, when a message is accepted, as in Exchange.
It imitates none of Exchange's bugs. Invariant: nothing is written to the directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lab.dovecot import Dovecot
from lab.organisation_data import DOMAINS
from lab.postfix import DOMAIN, EXCHANGE_DOMAIN, OPEN_DOMAIN, Postfix, posing_as_exchange, reloaded
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.stack.file import File

_KEPT = "(deliverAndRedirect=TRUE)"
_NOT_KEPT = "(!(deliverAndRedirect=TRUE))"
_NO_TARGET = "(!(targetAddress=*))"
_LEGACY = "/o=Acme/ou=First Administrative Group/cn=Recipients/cn="


@dataclass(frozen=True, slots=True)
class _Table:
    """One ldap: table. `filter`: of the recipient, beside the address. `prefixed`: its answers hold `SMTP:`."""

    name: str
    filter: str
    result: str
    more: tuple[str, ...] = ()
    prefixed: bool = False
    key: str = "(proxyAddresses=smtp:%s)"
    domains: str = ", ".join(DOMAINS)


def _members(attribute: str) -> tuple[str, ...]:
    return (f"special_result_attribute = {attribute}", "leaf_result_attribute = mail", "recursion_limit = 20")


_TABLES = (
    _Table("targets", "(targetAddress=*)(!(objectClass=group))", "targetAddress", prefixed=True),
    _Table("groups", f"(objectClass=group){_NO_TARGET}", "msExchNothing", _members("member")),
    _Table(
        "redirect-keep", f"(altRecipient=*){_KEPT}{_NO_TARGET}", "mail", ("special_result_attribute = altRecipient",)
    ),
    _Table("redirect", f"(altRecipient=*){_NOT_KEPT}{_NO_TARGET}", "msExchNothing", _members("altRecipient")),
    _Table(
        "forward-keep",
        f"(msExchGenericForwardingAddress=*)(!(altRecipient=*)){_KEPT}{_NO_TARGET}",
        "msExchGenericForwardingAddress, mail",
        prefixed=True,
    ),
    _Table(
        "forward",
        f"(msExchGenericForwardingAddress=*)(!(altRecipient=*)){_NOT_KEPT}{_NO_TARGET}",
        "msExchGenericForwardingAddress",
        prefixed=True,
    ),
    _Table("primary", "(msExchMailboxGuid=*)", "mail"),
    _Table("own-domain", "", "mail", key=f"(proxyAddresses=smtp:%u@{DOMAIN})", domains=EXCHANGE_DOMAIN),
    # what was diverted and is resubmitted (`Retry-Queue -Resubmit`) is resolved anew from the recipient it was for
    _Table("resubmitted", _NO_TARGET, "mail", key="(sAMAccountName=%u)", domains=OPEN_DOMAIN),
)
"""virtual_alias_maps: the first that answers counts, and its answers are looked up again."""
_MAILBOXES = _Table("mailboxes", "(msExchMailboxGuid=*)", "sAMAccountName")


class Exchange:
    """It runs while the context is open. `store`: an own Dovecot that shows what Exchange's IMAP does, whose users are
    named by their primary addresses, or the one given. `connector`: the open side's listener for mail from Exchange.
    `outside`: a host and port that takes mail for other domains."""

    def __init__(
        self,
        samba: Samba,
        connector: tuple[str, int] = ("127.0.0.1", 9),
        *,
        store: Dovecot | None = None,
        outside: tuple[str, int] | None = None,
        root: Path | None = None,
    ) -> None:
        self.samba = samba
        self.connector = connector
        self.outside = outside
        self.store = store or Dovecot(flavour="exchange", lmtp=True)
        self.postfix = Postfix("exchange", self._files, root)
        self._stack = ExitStack()

    def __enter__(self) -> Exchange:
        self._stack.enter_context(self.store)
        self._stack.enter_context(self.postfix)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def connect(self, connector: tuple[str, int]) -> None:
        """Have the send connector lead elsewhere; in force when this returns."""
        self.connector = connector
        reloaded(self.postfix)

    def resubmit(self) -> None:
        """As `Retry-Queue -Resubmit $true`, which Exchange does by itself after 12 hours: what was put off is resolved
        anew."""
        self.postfix.run("postsuper", "-r", "ALL", "deferred")

    def log(self) -> str:
        return self.postfix.log()

    def _files(self, here: Postfix) -> Iterator[File]:
        etc = here.config_dir
        aliases = [
            f"pipemap:{{ ldap:{etc}/{one.name}.cf, regexp:{etc}/plain.regexp }}"
            if one.prefixed
            else f"ldap:{etc}/{one.name}.cf"
            for one in _TABLES
        ]
        legacy = f"pipemap:{{ regexp:{etc}/legacy.regexp, ldap:{etc}/legacy.cf }}"
        boxes = f"ldap:{etc}/{_MAILBOXES.name}.cf"
        yield from posing_as_exchange(here, self.connector, [*aliases, legacy], boxes, self.outside, DOMAINS)
        for one in _TABLES:
            yield self._table(one)
        to_store = f"result_format = lmtp:inet:127.0.0.1:{self.store.lmtp_port}"
        yield self._table(_MAILBOXES, (to_store,))
        yield self._table(_Table("legacy", "", "mail", key=f"(legacyExchangeDN={_LEGACY}%s)"))
        yield File("plain.regexp", rb"/^(.*,)?smtp:([^,]*)(,.*)?$/ ${1}${2}${3}" b"\n")
        # the last part of an encapsulated address (MS-OXCMAIL 2.1.1.1); others of Exchange's forms are not tried
        yield File("legacy.regexp", b"/^IMCEAEX-_o=.*_cn=recipients_cn=([a-z0-9.-]+)@/ $1\n")

    def _table(self, table: _Table, more: Sequence[str] = ()) -> File:
        lines: Iterable[str] = (
            f"server_host = {self.samba.url}",
            "version = 3",
            "bind = yes",
            f"bind_dn = {self.samba.reader_dn}",
            f"bind_pw = {PASSWORD}",
            f"search_base = {self.samba.base}",
            *([] if table.name == "legacy" else [f"domain = {table.domains}"]),
            f"query_filter = (&{table.key}{table.filter})",
            f"result_attribute = {table.result}",
            *table.more,
            *more,
        )
        return File(f"{table.name}.cf", ("\n".join(lines) + "\n").encode(), 0o640)
