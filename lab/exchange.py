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

_NO_TARGET = "(!(targetAddress=*))"
_LEGACY = "/o=Acme/ou=First Administrative Group/cn=Recipients/cn="


@dataclass(frozen=True, slots=True)
class _Table:
    """One ldap: table. `filter`: of the recipient, beside the address."""

    name: str
    filter: str
    result: str
    more: tuple[str, ...] = ()
    key: str = "(proxyAddresses=smtp:%s)"
    domains: str = ", ".join(DOMAINS)


_FORWARDS = "(|(altRecipient=*)(msExchGenericForwardingAddress=*))"
_MEMBERS = ("special_result_attribute = member", "leaf_result_attribute = mail", "recursion_limit = 20")

_TABLES = (
    _Table("targets", "(targetAddress=*)(!(objectClass=group))", "targetAddress"),
    _Table("groups", f"(objectClass=group){_NO_TARGET}", "msExchNothing", _MEMBERS),
    _Table("kept", f"(deliverAndRedirect=TRUE){_FORWARDS}{_NO_TARGET}", "mail"),
    _Table("redirect", f"(altRecipient=*){_NO_TARGET}", "altRecipient"),
    _Table("by-dn", "", "mail", key="(distinguishedName=%s)", domains=""),
    _Table(
        "forward",
        f"(msExchGenericForwardingAddress=*)(!(altRecipient=*)){_NO_TARGET}",
        "msExchGenericForwardingAddress",
    ),
    _Table("primary", "(msExchMailboxGuid=*)", "mail"),
    _Table("own-domain", "", "mail", key=f"(proxyAddresses=smtp:%u@{DOMAIN})", domains=EXCHANGE_DOMAIN),
    # what was diverted and is resubmitted (`Retry-Queue -Resubmit`) is resolved anew from the recipient it was for
    _Table("resubmitted", f"(!{_FORWARDS}){_NO_TARGET}", "mail", key="(sAMAccountName=%u)", domains=OPEN_DOMAIN),
    _Table("legacy", "", "mail", key=f"(legacyExchangeDN={_LEGACY}%s)", domains=""),
)
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

        def table(name: str) -> str:
            return f"ldap:{etc}/{name}.cf"

        plain = f"regexp:{etc}/plain.regexp"  # without `SMTP:`
        elsewhere = f"pipemap:{{ {table('redirect')}, {table('by-dn')} }}, pipemap:{{ {table('forward')}, {plain} }}"
        aliases = [  # the first that answers counts, and its answers are looked up again
            f"pipemap:{{ {table('targets')}, {plain} }}",
            table("groups"),
            f"unionmap:{{ {table('kept')}, {elsewhere} }}",
            table("primary"),
            table("own-domain"),
            table("resubmitted"),
            f"pipemap:{{ regexp:{etc}/legacy.regexp, {table('legacy')} }}",
        ]
        yield from posing_as_exchange(here, self.connector, aliases, table(_MAILBOXES.name), self.outside, DOMAINS)
        for one in _TABLES:
            yield self._table(one)
        to_store = f"result_format = lmtp:inet:127.0.0.1:{self.store.lmtp_port}"
        yield self._table(_MAILBOXES, (to_store,))
        yield File("plain.regexp", b"/^smtp:(.*)$/ $1\n")
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
            *([f"domain = {table.domains}"] if table.domains else []),
            f"query_filter = (&{table.key}{table.filter})",
            f"result_attribute = {table.result}",
            *table.more,
            *more,
        )
        return File(f"{table.name}.cf", ("\n".join(lines) + "\n").encode(), 0o640)
