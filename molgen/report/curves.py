"""What was measured against what it cost, as SVG: a line with its 95 % intervals for each of several ways."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from molgen.report.content import Estimate

__all__ = ["COLOURS", "Points", "curves"]

WIDTH, HEIGHT = 320, 236  # in the units of the view box
LEFT, RIGHT, TOP, BASE = 34, 10, 10, 202  # margins of the axes; BASE is the height of the lower one
COLOURS = 8  # classes of lines, c0 to c7, that the page's style sheet tells apart; further lines begin again

Points = Sequence[tuple[float, Estimate]]
"""What it cost, more than zero, and the fraction from 0 to 1 that was measured."""


def curves(title: str, cost: str, lines: Mapping[str, Points], reference: Estimate | None = None) -> str:
    """Fractions against their cost, whose axis is logarithmic; the reference is a level.

    Args:
        title: what is measured.
        cost: what the lower axis says.
        lines: by name, in the order of their colours.
        reference: the same fraction of the data.
    """
    costs = [at for points in lines.values() for at, _ in points]
    if not costs:
        return ""
    low, high = math.log(min(costs)), math.log(max(costs))
    margin = 0.06 * (high - low) or 0.5
    low, high = low - margin, high + margin

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(at) - low) / (high - low)

    shapes = _axes(cost, [(x(at), f"{at:g}") for at in sorted(set(costs))])
    if reference is not None:
        note = f"<title>{escape(f'data: {_percent(reference.value)}')}</title>"
        shapes.append(f'<path class="ideal" d="M{LEFT} {_y(reference.value)}H{WIDTH - RIGHT}">{note}</path>')
    for number, (name, points) in enumerate(lines.items()):
        shapes += _line(
            name, f"c{number % COLOURS}", [(x(at), at, measured) for at, measured in sorted(points, key=_at)]
        )
    label = escape(f"{title} against {cost}", quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(shapes)}</svg>'


def _at(point: tuple[float, Estimate]) -> float:
    return point[0]


def _line(name: str, colour: str, points: Sequence[tuple[float, float, Estimate]]) -> list[str]:
    path = " ".join(f"{x:.1f},{_y(measured.value)}" for x, _, measured in points)
    shapes = [f'<polyline class="line {colour}" points="{path}"/>']
    for x, at, measured in points:
        note = f"{name}, {at:g}: {_percent(measured.value)}"
        if measured.low is not None and measured.high is not None:
            shapes.append(f'<path class="line {colour}" d="M{x:.1f} {_y(measured.low)}V{_y(measured.high)}"/>')
            note += f" ({_percent(measured.low)} to {_percent(measured.high)})"
        place = f'cx="{x:.1f}" cy="{_y(measured.value)}" r="3.2"'
        shapes.append(f'<circle class="spot {colour}" {place}><title>{escape(note)}</title></circle>')
    return shapes


def _axes(cost: str, costs: Sequence[tuple[float, str]]) -> list[str]:
    shapes = []
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        shapes.append(f'<path class="axis" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        text = f'<text class="tick" text-anchor="end" x="{LEFT - 5}" y="{float(y) + 3.5:.1f}">{percent}</text>'
        shapes.append(text)
    free = -math.inf  # where the last number ended
    for x, text in costs:
        half = 3.2 * len(text)
        if x - half > free:
            free = x + half + 3
            shapes.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{BASE + 14}">{escape(text)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    shapes.append(f'<text class="tick" text-anchor="middle" x="{middle:.1f}" y="{HEIGHT - 5}">{escape(cost)}</text>')
    return shapes


def _y(share: float) -> str:
    return f"{BASE - (BASE - TOP) * min(max(share, 0.0), 1.0):.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
