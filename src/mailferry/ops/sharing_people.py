"""Whom an export means: addresses, X.500 names, accounts and names → people of the open directory. Opens nothing.

Invariant: a text that two people could be is nobody; a display name counts only where that was asked for (law 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from mailferry.directory import addresses
from mailferry.directory.sharing import GROUPS, WIDE, expanded
from mailferry.ledger.rows import DirectoryAccount
from mailferry.waves.people import Everybody, Known


@dataclass(frozen=True, slots=True)
class Found:
    """Who a text means: ids, more than one for a group; `group`: its name. `why`: there is nobody, and why."""

    ids: tuple[str, ...] = ()
    group: str = ""
    why: str = ""


class Finder:
    """All ways to be called, of everybody. `by_name`: a display name that one person alone has is that person."""

    def __init__(self, everybody: Everybody, rows: Mapping[str, DirectoryAccount], *, by_name: bool) -> None:
        self._everybody, self._by_name = everybody, by_name
        self._others: dict[str, set[str]] = {}
        self._names: dict[str, set[str]] = {}
        for who, one in everybody.by_id.items():
            row = rows.get(who)
            for text in filter(None, (*one.recipient.x500, row.account if row else None, one.uid)):
                self._others.setdefault(text.casefold(), set()).add(who)
            self._names.setdefault(one.recipient.name.casefold(), set()).add(who)

    def mailbox(self, text: str) -> Known | str:
        """Whose mailbox; or why that cannot be told."""
        found = self.person(text)
        if found.why:
            return found.why
        return "it is a group, which has no mailbox" if found.group else self._everybody.by_id[found.ids[0]]

    def person(self, text: str) -> Found:
        """One person, or the members of a group."""
        ids = self._ids(text)
        if len(ids) > 1:
            return Found(why=f"{text}: {len(ids)} people are called so: give an address instead")
        if not ids:
            named = self._names.get(_last(text).casefold(), set())
            hint = "" if not named else "; --names takes somebody by a display name that nobody else has"
            return Found(why=f"{text}: nobody in the directory is called so{hint}")
        who = next(iter(ids))
        if self._everybody.by_id[who].recipient.kind not in GROUPS:
            return Found((who,))
        return self._members(who)

    def _ids(self, text: str) -> Set[str]:
        if text in self._everybody.by_id:
            return {text}
        if address := self._everybody.by_address.get(addresses.key(text.strip())):
            return set(address)
        if found := self._others.get(text.casefold()) or self._others.get(text.rpartition("\\")[2].casefold()):
            return found
        return self._names.get(_last(text).casefold(), set()) if self._by_name else set()

    def _members(self, group: str) -> Found:
        one = self._everybody.by_id[group].recipient
        reached = expanded(group, self._everybody.recipients)
        people = sorted(who for who in reached if who in self._everybody.by_id)
        if len(people) > WIDE:
            why = f"a group of {len(people)}, too many for rights person by person: give them to a smaller one"
            return Found(group=one.name, why=f"{one.name}: {why}")
        return Found(tuple(people), one.name, "" if people else f"{one.name}: a group without members here")


def _last(text: str) -> str:
    """`acme.example/Users/Ann Bell` → `Ann Bell`."""
    return text.rpartition("/")[2]
