"""Where things stand in the pictures of a survey: networks of small clusters, bars of sizes. Draws nothing itself.

Positions are numbers in a square of 0 to 100; the template draws them. Invariant: the same cluster, the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailferry.directory.moving import Size
from mailferry.directory.sharing import Cluster
from mailferry.model.recipient import Recipient

DRAWN = 40
"""Mailboxes of one cluster that a picture shows; larger ones show those with most ties."""
_ROUNDS = 80

BUCKETS = (
    ("under 100 MB", 10**8),
    ("100 MB to 1 GB", 10**9),
    ("1 to 5 GB", 5 * 10**9),
    ("5 to 20 GB", 20 * 10**9),
    ("20 to 50 GB", 50 * 10**9),
    ("over 50 GB", math.inf),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """`dots`: (x, y, radius, kind, name); `lines`: (x1, y1, x2, y2); `more`: mailboxes that are not drawn."""

    cluster: Cluster
    title: str
    dots: tuple[tuple[float, float, float, str, str], ...]
    lines: tuple[tuple[float, float, float, float], ...]
    more: int


def picture(cluster: Cluster, people: Mapping[str, Recipient]) -> Picture:
    """The cluster as a network: what is tied is drawn together, all else pushed apart."""
    drawn = cluster.members[:DRAWN]
    index = {who: number for number, who in enumerate(drawn)}
    pairs = sorted(
        {
            (min(index[one], index[other]), max(index[one], index[other]))
            for one, other, _ in cluster.edges
            if one in index and other in index
        }
    )
    places = _places(len(drawn), pairs)
    ties = [sum(number in pair for pair in pairs) for number in range(len(drawn))]
    dots = tuple(
        (x, y, min(4.5, 1.8 + 0.35 * ties[number]), people[who].kind.value, people[who].name)
        for number, (who, (x, y)) in enumerate(zip(drawn, places, strict=True))
    )
    lines = tuple((*places[one], *places[other]) for one, other in pairs)
    return Picture(cluster, people[cluster.members[0]].name, dots, lines, len(cluster.members) - len(drawn))


def _places(count: int, pairs: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """A force-directed layout (Fruchterman and Reingold, 1991), from a spiral, stretched to the square."""
    points = [
        (math.sqrt(number + 1) * math.cos(2.4 * number), math.sqrt(number + 1) * math.sin(2.4 * number))
        for number in range(count)
    ]
    ideal = 2.0
    for turn in range(_ROUNDS):
        moves = [[0.0, 0.0] for _ in points]
        for one in range(count):
            for other in range(one):
                dx, dy = points[one][0] - points[other][0], points[one][1] - points[other][1]
                push = ideal * ideal / max(dx * dx + dy * dy, 0.01)
                for number, sign in ((one, 1), (other, -1)):
                    moves[number][0] += sign * dx * push
                    moves[number][1] += sign * dy * push
        for one, other in pairs:
            dx, dy = points[one][0] - points[other][0], points[one][1] - points[other][1]
            pull = math.hypot(dx, dy) / ideal
            for number, sign in ((one, -1), (other, 1)):
                moves[number][0] += sign * dx * pull
                moves[number][1] += sign * dy * pull
        most = 1.5 * (1 - turn / _ROUNDS) + 0.02
        moved = []
        for (x, y), (mx, my) in zip(points, moves, strict=True):
            length = math.hypot(mx, my) or 1.0
            step = min(length, most) / length
            moved.append((x + mx * step, y + my * step))
        points = moved
    low_x, low_y = min(x for x, _ in points), min(y for _, y in points)
    width = max(max(x for x, _ in points) - low_x, max(y for _, y in points) - low_y) or 1.0
    spare_x = (width - (max(x for x, _ in points) - low_x)) / 2
    spare_y = (width - (max(y for _, y in points) - low_y)) / 2
    scale = 88 / width
    return [(6 + (x - low_x + spare_x) * scale, 6 + (y - low_y + spare_y) * scale) for x, y in points]


def histogram(sizes: Mapping[str, Size]) -> list[tuple[str, int]]:
    """How many mailboxes are how large; [] where no server told."""
    known = [size.bytes for size in sizes.values() if size.bytes is not None]
    counts = [0] * len(BUCKETS)
    for size in known:
        counts[next(number for number, (_, limit) in enumerate(BUCKETS) if size < limit)] += 1
    return [(title, count) for (title, _), count in zip(BUCKETS, counts, strict=True)] if known else []
