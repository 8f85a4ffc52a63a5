"""Who could move first: mailboxes and their clusters → suggested waves, with the reasons. Pure; decides nothing.

Invariants: a cluster is never divided; everybody with a mailbox is in one wave, or in none for a reason that is told.
Order: alone and nothing special; alone; clusters, the small ones first. Within that, people of one manager are next to
each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mailferry.directory.sharing import Cluster, Edge
from mailferry.model.recipient import Recipient, RecipientKind

PILOT = 10
SMALL_BYTES = 2 * 10**9
SMALL_MESSAGES = 20_000
LARGE_BYTES = 20 * 10**9
LARGE_MESSAGES = 200_000


@dataclass(frozen=True, slots=True)
class Size:
    """What is in a mailbox. `bytes` None: the server does not tell. `uses`: how many of what beside messages (`events`,
    `rules`, …), and `left_behind`, as sentences, what the target cannot hold: both where EWS told. `failure`: why it
    could not be opened, else ""."""

    bytes: int | None = None
    messages: int | None = None
    folders: int | None = None
    failure: str = ""
    uses: Mapping[str, int] = field(default_factory=dict)
    left_behind: tuple[str, ...] = ()


NOT_LOOKED = Size()


@dataclass(frozen=True, slots=True)
class Wave:
    """A suggestion. `clusters`: those in it; `bytes`, `messages`: of the mailboxes whose size is known."""

    number: int
    members: tuple[str, ...]
    clusters: tuple[int, ...]
    bytes: int
    messages: int


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`waves` in order; `wave_of`: id → wave; `reasons`: id → why it is where it is, or in no wave."""

    waves: tuple[Wave, ...]
    wave_of: Mapping[str, int]
    reasons: Mapping[str, tuple[str, ...]]


def suggest(
    recipients: Mapping[str, Recipient],
    clusters: Sequence[Cluster],
    loose: Iterable[Edge],
    sizes: Mapping[str, Size],
    now: float,
    most: int | None = None,
) -> Suggestion:
    """Waves of at most `most` mailboxes (default: a twentieth of all, between 10 and 500); a larger cluster is a wave
    of its own."""
    total = sum(len(cluster.members) for cluster in clusters)
    limit = most or min(500, max(10, total // 20))
    reasons: dict[str, tuple[str, ...]] = {}
    coming: list[tuple[tuple[int, int, str, int], Cluster]] = []
    near = _near(loose)
    for cluster in clusters:
        for who in cluster.members:
            reasons[who] = tuple(why(recipients[who], cluster, sizes.get(who, NOT_LOOKED), now))
        lone = recipients[cluster.members[0]] if len(cluster.members) == 1 else None
        if lone is not None and asleep(lone, now):
            continue
        rank = 2 if lone is None else 0 if not reasons[lone.id] else 1
        key = (rank, len(cluster.members) if rank == 2 else 0, near.get(cluster.members[0], ""), cluster.number)
        coming.append((key, cluster))
    coming.sort(key=lambda one: one[0])
    packed = _packed(coming, limit)
    waves = [_wave(number, some, sizes) for number, some in enumerate(packed, 1)]
    wave_of = {who: wave.number for wave in waves for who in wave.members}
    return Suggestion(tuple(waves), wave_of, reasons)


def _packed(coming: Sequence[tuple[tuple[int, int, str, int], Cluster]], limit: int) -> list[list[Cluster]]:
    """The first wave is a small one of the plainest; a wave never mixes the plainest with clusters."""
    packed: list[list[Cluster]] = []
    count, allowed, kind = 0, 0, None
    for (rank, *_), cluster in coming:
        if not packed or count + len(cluster.members) > allowed or (rank == 2) != (kind == 2):
            allowed = min(PILOT, limit) if not packed and rank == 0 else limit
            packed.append([])
            count = 0
        packed[-1].append(cluster)
        count += len(cluster.members)
        kind = rank
    return packed


def _wave(number: int, some: Sequence[Cluster], sizes: Mapping[str, Size]) -> Wave:
    members = tuple(who for cluster in some for who in cluster.members)
    known = [sizes[who] for who in members if who in sizes]
    shared = tuple(cluster.number for cluster in some if len(cluster.members) > 1)
    return Wave(number, members, shared, sum(one.bytes or 0 for one in known), sum(one.messages or 0 for one in known))


def _near(loose: Iterable[Edge]) -> dict[str, str]:
    """For each mailbox somebody to stand beside: its manager, else a fellow owner of a group."""
    found: dict[str, str] = {}
    for edge in loose:
        found.setdefault(edge.one, edge.other)
    return found


def asleep(one: Recipient, now: float) -> str:
    """Why nobody logs in to a person's account; "" if somebody may. Those of shared mailboxes and rooms always are."""
    if one.kind is not RecipientKind.MAILBOX:
        return ""
    if not one.enabled:
        return "its account is disabled: decide whether it comes along"
    if one.expires is not None and one.expires <= now:
        return "its account has expired: decide whether it comes along"
    return ""


def why(one: Recipient, cluster: Cluster, size: Size, now: float) -> list[str]:
    """What speaks against moving it first."""
    found = [asleep(one, now)]
    others = len(cluster.members) - 1
    if others:
        found.append(f"moves together with {others} other{'s' if others > 1 else ''} (cluster {cluster.number})")
    if one.kind is not RecipientKind.MAILBOX:
        found.append(
            f"a {one.kind.value} mailbox" if one.kind is RecipientKind.SHARED else f"a resource ({one.kind.value})"
        )
    if one.forwarding is not None:
        copy = "with a copy kept" if one.forwarding.keep_copy else "keeping nothing"
        found.append(f"its mail is forwarded, {copy}")
    if one.accept_from or one.reject_from or one.internal_only:
        found.append("not everybody may send to it")
    if one.external_address and one.kind in (RecipientKind.MAILBOX, RecipientKind.SHARED):
        found.append(f"it has a mailbox and an external address ({one.external_address})")
    if one.preferences.get("msExchArchiveName"):
        found.append("it has an archive")
    if size.failure:
        found.append(f"could not be opened: {size.failure}")
    large = (size.bytes or 0) > LARGE_BYTES or (size.messages or 0) > LARGE_MESSAGES
    if large:
        found.append("a large mailbox")
    elif (size.bytes or 0) > SMALL_BYTES or (size.messages or 0) > SMALL_MESSAGES:
        found.append("not a small mailbox")
    return [text for text in found if text]
