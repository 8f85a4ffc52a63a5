"""What a mailbox at EWS holds and uses, and which rights on it are missing. Changes nothing.

What the account may not see is a warning that names the right, never a guess of nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailferry.errors import AuthError, ItemError, Permanent
from mailferry.model.account import EwsAccount
from mailferry.model.folder import SpecialUse
from mailferry.net.ews import Ews
from mailferry.net.ews_discover import located
from mailferry.net.ews_folders import PUBLIC, RECOVERABLE, further, tree
from mailferry.wire.ews import answers, requests
from mailferry.wire.ews.answers import Element

_USES = {
    SpecialUse.CALENDAR: "events",
    SpecialUse.CONTACTS: "contacts",
    SpecialUse.TASKS: "tasks",
    SpecialUse.NOTES: "notes",
    SpecialUse.JOURNAL: "journal entries",
}
_VERSIONS: dict[tuple[int, ...], str] = {
    (15, 0): "Exchange 2013",
    (15, 1): "Exchange 2016",
    (15, 2): "Exchange 2019 or SE",
}
_DELEGATE_LIMIT = 27


@dataclass(frozen=True, slots=True)
class Probed:
    """`server`: its version for people. `uses`: how many of what (`events`, `rules`, `delegates`, `archive items`, …),
    as far as it could be seen. `left_behind`: what no target of ours can hold, as sentences. `warnings`: what could not
    be seen and which right is missing, and what to mind."""

    server: str
    identity: str
    folders: int
    messages: int
    bytes: int | None
    uses: dict[str, int] = field(default_factory=dict)
    left_behind: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


async def probe(account: EwsAccount) -> Probed:
    """AuthError, Permanent: the mailbox cannot be opened. Temporary: not now."""
    client = Ews(await located(account))
    try:
        return await _probed(client)
    finally:
        await client.close()


async def _probed(client: Ews) -> Probed:
    account = client.account
    shown = await tree(client)
    own = [one for one in shown.folders if one.id]
    mail = [one for one in own if one.use not in _USES]
    uses: dict[str, int] = {}
    for one in own:
        if one.use in _USES and not one.hidden and not one.archive:
            uses[_USES[one.use]] = uses.get(_USES[one.use], 0) + one.messages
    warnings: list[str] = []
    await _count_beside(client, uses, warnings)
    for name, asked, tag in (
        ("rules", requests.inbox_rules(account.user), "Rule"),
        ("delegates", requests.delegates(account.user), "DelegateUser"),
    ):
        found = await _seen(client, name, asked, warnings)
        if found is not None:
            uses[name] = sum(1 for _ in found.iter(f"{{*}}{tag}"))
    away = await _seen(client, "out-of-office text", requests.oof_settings(account.user), warnings)
    if away is not None:
        state = next((one.text for one in away.iter("{*}OofState")), "Disabled")
        uses["out of office"] = int(state != "Disabled")
    if not account.tls:
        warnings.append("The password and all mail go over an open connection (tls=none).")
    if account.requests > _DELEGATE_LIMIT // 2:
        warnings.append(f"Exchange allows {_DELEGATE_LIMIT} requests at once per mailbox: others may have to wait.")
    sizes = [one.size for one in own]
    return Probed(
        server=_version(client.server),
        identity=shown.guid,
        folders=len(own),
        messages=sum(one.messages for one in mail),
        bytes=sum(size for size in sizes if size is not None) if None not in sizes else None,
        uses={name: count for name, count in uses.items() if count},
        left_behind=left_behind(uses, account),
        warnings=tuple(warnings),
    )


async def _count_beside(client: Ews, uses: dict[str, int], warnings: list[str]) -> None:
    """Archive, recoverable items and public folders, whether the address asks for them or not."""
    for name, place, deep in (
        ("archive items", client.place("archivemsgfolderroot"), True),
        ("recoverable items", client.place("recoverableitemsroot"), True),
        ("public folders", requests.Place(distinguished="publicfoldersroot"), False),
    ):
        try:
            found = await further(client, place, name, deep=deep)
        except (AuthError, Permanent) as error:
            warnings.append(f"The account may not see {name}: {error.message.rstrip('.')}.")
            continue
        below = [one for one in found if one.id]
        uses[name] = len(below) if name == "public folders" else sum(one.messages for one in below)


async def _seen(client: Ews, name: str, asked: str, warnings: list[str]) -> Element | None:
    try:
        answer = await client.call(asked)
        for one in answer.messages:
            refused = answers.refusal(one)
            if refused is not None:
                raise refused.error("")
        return answer.payload
    except (AuthError, Permanent, ItemError) as error:
        warnings.append(f"The account may not see the {name}: {error.message.rstrip('.')}.")
        return None


def left_behind(uses: dict[str, int], account: EwsAccount) -> tuple[str, ...]:
    """What of it no open server holds, or what this address leaves out."""
    said = []
    if uses.get("journal entries"):
        said.append(f"{uses['journal entries']} journal entries have no place on an open server")
    if uses.get("notes"):
        said.append(f"{uses['notes']} sticky notes become journal entries of CalDAV, which few programs show")
    if uses.get("archive items") and not account.archive:
        said.append(f"{uses['archive items']} items of the archive are left out without ?archive=yes")
    if uses.get("recoverable items") and not account.recoverable:
        said.append(f"{uses['recoverable items']} items in {RECOVERABLE} are left out without ?recoverable=yes")
    if uses.get("public folders") and not account.public:
        said.append(f"{PUBLIC} ({uses['public folders']} at the top) are left out without ?public=yes")
    return tuple(said)


def _version(found: tuple[int, ...]) -> str:
    if not found:
        return "a version that it does not tell"
    return f"{_VERSIONS.get(found[:2], 'Exchange')} ({'.'.join(map(str, found))})"
