"""Plots as SVG for pages that stand alone: bars over time, a line with its forecast, lying stacked bars. Pure.

No script, no font, no other file; colours are the page's variables, so that it reads in the dark and in print. What is
drawn is said in a <title>, too. Invariant: every text in it is escaped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 14.0, 12.0, 30.0


def bars(
    title: str, points: Sequence[tuple[float, float]], width: float, colour: str, unit: Callable[[float], str]
) -> str:
    """(time, value) as bars, `width` seconds each. `unit`: a value as text."""
    if not points:
        return ""
    start, end = points[0][0], points[-1][0] + width
    most, steps = _scale(max(value for _, value in points))
    across = _across(start, end)
    each = (WIDTH - LEFT - RIGHT) * width / (end - start)
    drawn = "".join(
        f'<rect x="{across(at):.1f}" y="{_up(value, most):.1f}" width="{max(0.8, each - min(1.0, each / 5)):.1f}" '
        f'height="{max(0.0, HEIGHT - BOTTOM - _up(value, most)):.1f}" style="fill: var(--{colour})">'
        f"<title>{_clock(at, end - start)}: {escape(unit(value))}</title></rect>"
        for at, value in points
        if value > 0
    )
    return _frame(title, _levels(steps, most, unit) + drawn + _times(start, end, across))


def line(
    title: str,
    points: Sequence[tuple[float, float]],
    whole: float,
    until: float | None,
    unit: Callable[[float], str],
) -> str:
    """How something grew to its latest value, dashed on to `whole` at the time `until`."""
    if not points:
        return ""
    start, last = points[0][0], points[-1]
    end = max(last[0], until or last[0], start + 1)
    most, steps = _scale(max(whole, last[1]))
    across = _across(start, end)
    path = f"M{across(start):.1f},{_up(points[0][1], most):.1f}"
    for at, value in points[1:]:
        path += f"H{across(at):.1f}V{_up(value, most):.1f}"
    drawn = f'<path d="{path}" style="fill: none; stroke: var(--copied); stroke-width: 2.5"/>'
    goal = _up(whole, most)
    drawn += (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{goal:.1f}" y2="{goal:.1f}" '
        'style="stroke: var(--soft); stroke-dasharray: 2 3"/>'
    )
    if until is not None and until > last[0]:
        drawn += (
            f'<line x1="{across(last[0]):.1f}" y1="{_up(last[1], most):.1f}" x2="{across(until):.1f}" y2="{goal:.1f}" '
            'style="stroke: var(--copied); stroke-width: 2; stroke-dasharray: 6 5"/>'
        )
    return _frame(title, _levels(steps, most, unit) + drawn + _times(start, end, across))


def counts(title: str, values: Mapping[str, int], colour: str) -> str:
    """A bar for each label, with its number."""
    if not any(values.values()):
        return ""
    most, each = max(values.values()), (WIDTH - LEFT) / len(values)
    drawn = ""
    for number, (label, value) in enumerate(values.items()):
        x, y = LEFT / 2 + number * each, _up(value, most * 1.15)
        middle = x + each * 0.4
        drawn += (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{each * 0.8:.1f}" height="{HEIGHT - BOTTOM - y:.1f}" '
            f'style="fill: var(--{colour})"/>'
            f'<text x="{middle:.1f}" y="{y - 5:.1f}" class="mid strong">{value:,}</text>'
            f'<text x="{middle:.1f}" y="{HEIGHT - 10:.1f}" class="mid">{escape(label)}</text>'
        )
    return _frame(title, drawn)


def stacked(title: str, parts: Sequence[tuple[str, int, str]]) -> str:
    """(label, number, colour) beside each other, as shares of all."""
    whole = sum(number for _, number, _ in parts)
    if not whole:
        return ""
    drawn, x = "", 0.0
    for label, number, colour in parts:
        share = 100 * number / whole
        drawn += (
            f'<rect x="{x:.3f}" width="{share:.3f}" height="10" style="fill: var(--{colour})">'
            f"<title>{escape(label)}: {number:,}</title></rect>"
        )
        x += share
    return (
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f"{drawn}</svg>"
    )


def short(value: float) -> str:
    """A number in little room: 950, 12.5 k, 3 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= size:
            return f"{value / (1000 if size == 1e4 else size):.3g}{unit}"
    return f"{value:,.4g}"


def _frame(title: str, content: str) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(title)}">'
        f"{content}</svg>"
    )


def _across(start: float, end: float) -> Callable[[float], float]:
    return lambda at: LEFT + (WIDTH - LEFT - RIGHT) * (at - start) / (end - start)


def _up(value: float, most: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most


def _scale(most: float) -> tuple[float, list[float]]:
    """The top of an axis from 0 on, and its marks: round numbers, four or five of them."""
    if most <= 0:
        return 1.0, [0.0, 1.0]
    rough = most / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(one * unit for one in (1, 2, 2.5, 5, 10) if one * unit >= rough * 0.999)
    number = math.ceil(most / step - 1e-9)
    return step * number, [step * one for one in range(number + 1)]


def _levels(steps: Sequence[float], most: float, unit: Callable[[float], str]) -> str:
    return "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_up(one, most):.1f}" y2="{_up(one, most):.1f}" class="level"/>'
        f'<text x="{LEFT - 7}" y="{_up(one, most) + 4:.1f}" class="end">{escape(unit(one))}</text>'
        for one in steps
    )


def _times(start: float, end: float, across: Callable[[float], float]) -> str:
    marks = [start + (end - start) * share / 3 for share in range(4)]
    places = ("begin", "mid", "mid", "end")
    return "".join(
        f'<text x="{across(at):.1f}" y="{HEIGHT - 8:.1f}" class="{place}">{_clock(at, end - start)}</text>'
        for at, place in zip(marks, places, strict=True)
    )


def _clock(at: float, span: float) -> str:
    """A time as exact as the span that is shown needs. UTC."""
    form = "%H:%M" if span <= 86_400 else "%d %b %H:%M" if span <= 4 * 86_400 else "%d %b %Y"
    return time.strftime(form, time.gmtime(at))
