"""The old system's own LDAP server, which says on which server somebody's mail is: written at a switch, and given back
on the way home. Off until `coexist.second.write` switches it on.

Writes one attribute of one entry at a time. Invariants, as for targetAddress (target_address.py): what was there stands
in the ledger before it is changed, and comes back exactly; a change is made only if the value is still what was read
(RFC 4511 §4.6); what somebody else has put there since is left alone. Each call may be repeated; it opens its own
connection and blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mailferry.coexist.target_address import Do, Written
from mailferry.errors import IntegrityError, Temporary, UserError
from mailferry.ledger import audit
from mailferry.net import ldap
from mailferry.net.ldap_errors import Refused, Result
from mailferry.wire import dn as names

SWITCH_INTENDED, SWITCHED = "second directory switch intended", "second directory switched"
BACK_INTENDED, BACK = "second directory give back intended", "second directory given back"
LEFT_ALONE = "second directory left alone"
"""What the audit says before and after; data: id, dn, attribute, before, after."""

ENTRY_UUID = "entryUUID"
_STALE = (Result.NO_SUCH_ATTRIBUTE, Result.VALUE_EXISTS, Result.CONSTRAINT)


@dataclass(frozen=True, slots=True)
class SecondDirectory:
    """The port. `match`: the attribute that finds a person: ENTRY_UUID by the id that was read from there, any other by
    their address."""

    server: ldap.Server
    base: str
    attribute: str
    match: str
    do: Do

    def switch(self, source_id: str, mail: str, value: str) -> Written:
        """`value` is what the attribute says from now on. UserError: nobody is found there; IntegrityError: two, or two
        values; Temporary: somebody else is changing it."""
        with ldap.Connection(self.server) as connection:
            dn, now = self._read(connection, source_id, mail)
            if now == value:
                return Written(dn, now, value, made=False)
            intended = self.do(lambda ledger: audit.latest(ledger, SWITCH_INTENDED, source_id))
            ours = intended is not None and now == intended.data["after"]
            before = intended.data["before"] if ours else now
            self._tell(SWITCH_INTENDED, source_id, dn, before, value)
            self._change(connection, dn, now, value)
            self._tell(SWITCHED, source_id, dn, before, value)
        return Written(dn, now, value, made=True)

    def give_back(self, source_id: str, mail: str) -> Written | None:
        """What was there before `switch`; None: there was none. Raises as `switch`."""
        intended = self.do(lambda ledger: audit.latest(ledger, SWITCH_INTENDED, source_id))
        if intended is None:
            return None
        before, ours = intended.data["before"], intended.data["after"]
        with ldap.Connection(self.server) as connection:
            dn, now = self._read(connection, source_id, mail)
            if now == before:
                return Written(dn, now, before, made=False)
            if now != ours:
                self._tell(LEFT_ALONE, source_id, dn, now, before)
                note = f"somebody else has set its {self.attribute} to {now or 'nothing'} since; left alone"
                return Written(dn, now, now, made=False, note=note)
            self._tell(BACK_INTENDED, source_id, dn, now, before)
            self._change(connection, dn, now, before)
            self._tell(BACK, source_id, dn, now, before)
        return Written(dn, now, before, made=True)

    def _read(self, connection: ldap.Connection, source_id: str, mail: str) -> tuple[str, str]:
        key = source_id.removeprefix("ldap:") if self.match == ENTRY_UUID else mail
        wanted = f"({self.match}={names.in_filter(key)})"
        found = list(connection.search(self.base, wanted, (self.attribute,)))
        if not found:
            advice = "coexist.second.base and match say where, and by what, people are found"
            raise UserError(f"nobody in {self.server.url} has the {self.match} {key}", about=mail, advice=advice)
        values = found[0].texts(self.attribute)
        if len(found) > 1 or len(values) > 1:
            twice = f"{found[0].dn} and {found[1].dn}" if len(found) > 1 else f"{found[0].dn} has {', '.join(values)}"
            raise IntegrityError(f"there is more than one: {twice}", about=mail)
        return found[0].dn, values[0] if values else ""

    def _change(self, connection: ldap.Connection, dn: str, before: str, after: str) -> None:
        steps = [
            ldap.Change(how, self.attribute, (value.encode(),))
            for how, value in (("delete", before), ("add", after))
            if value
        ]
        try:
            connection.modify(dn, steps)
        except Refused as error:
            if error.result not in _STALE:
                raise
            raise Temporary(f"somebody else has just changed its {self.attribute}", about=dn) from error

    def _tell(self, what: str, source_id: str, dn: str, before: str, after: str) -> None:
        data: dict[str, Any] = {
            "id": source_id,
            "dn": dn,
            "attribute": self.attribute,
            "before": before,
            "after": after,
        }
        self.do(lambda ledger: ledger.audit(what, server=self.server.url, **data))
