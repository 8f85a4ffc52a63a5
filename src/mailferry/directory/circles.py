"""Groups that contain each other: finds them, and says who is in all of them together. Pure.

Invariant: what `flattened` gives leads into no circle again, so that a server that follows `member` ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailferry.model.recipient import Recipient


def flattened(everyone: Mapping[str, Recipient]) -> dict[str, tuple[str, ...]]:
    """For each group in a circle (also one that contains itself) the members of all groups of the circle, without these
    groups: mail for any of them is for just these."""
    found: dict[str, tuple[str, ...]] = {}
    for circle in circles(everyone):
        inside = frozenset(circle)
        members = tuple(dict.fromkeys(one for who in circle for one in everyone[who].members if one not in inside))
        found.update(dict.fromkeys(circle, members))
    return found


def circles(everyone: Mapping[str, Recipient]) -> Iterator[list[str]]:
    """Groups that reach each other, or themselves (strongly connected components), by Tarjan's algorithm without
    recursion, as nesting may be deep."""
    groups = {
        who: [one for one in recipient.members if one in everyone and everyone[one].members]
        for who, recipient in everyone.items()
        if recipient.members
    }
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for start in groups:
        if start in number:
            continue
        work = [(start, iter(groups[start]))]
        number[start] = low[start] = len(number)
        stack.append(start)
        on_stack.add(start)
        while work:
            who, rest = work[-1]
            following = next(rest, None)
            if following is not None and following not in number:
                number[following] = low[following] = len(number)
                stack.append(following)
                on_stack.add(following)
                work.append((following, iter(groups[following])))
            elif following is not None:
                if following in on_stack:
                    low[who] = min(low[who], number[following])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[who])
                if low[who] == number[who]:
                    circle: list[str] = []
                    while not circle or circle[-1] != who:
                        circle.append(stack.pop())
                        on_stack.discard(circle[-1])
                    if len(circle) > 1 or who in groups[who]:
                        yield sorted(circle)
