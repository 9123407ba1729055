"""Predicted against reference values as SVG: points where they are few, shades of their density where they are many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

import numpy as np

from molgen.report.plots import tick_spacing

__all__ = ["Pairs", "scatter"]

WIDTH, HEIGHT = 320, 296  # in the units of the view box
LEFT, RIGHT, TOP, BASE = 44, 10, 10, 262  # margins of the axes; BASE is the height of the lower one
MOST_POINTS = 1500
CELLS = 104  # of the density, along each axis
SHADES = 6
_INSIDE = 0.9995  # share of the numbers that the axes reach over at least; the rest stands at the rim


@dataclass(frozen=True, eq=False)
class Pairs:
    """Predictions of a quantity and what they were to be."""

    title: str
    unit: str
    reference: np.ndarray  # [M]
    predicted: np.ndarray  # [M]
    note: str = ""


def scatter(pairs: Pairs) -> str:
    """A square plot with the line on which predictions are right; axes share their range."""
    both = np.concatenate((pairs.reference, pairs.predicted))
    edge = (1 - _INSIDE) / 2
    low, high = np.quantile(both, [edge, 1 - edge]) if len(both) > 2 * MOST_POINTS else (both.min(), both.max())
    margin = 0.04 * (high - low) or 0.5 * max(abs(high), 1e-6)
    low, high = float(low - margin), float(high + margin)
    x = np.clip((pairs.reference - low) / (high - low), 0, 1)
    y = np.clip((pairs.predicted - low) / (high - low), 0, 1)
    shapes = [*_axes(low, high), f'<path class="ideal" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>']
    shapes += _points(x, y) if len(x) <= MOST_POINTS else _density(x, y)
    label = escape(f"{pairs.title}: predicted against reference", quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(shapes)}</svg>'


def _x(share: float) -> str:
    return f"{LEFT + (WIDTH - LEFT - RIGHT) * share:.1f}"


def _y(share: float) -> str:
    return f"{BASE - (BASE - TOP) * share:.1f}"


def _points(x: np.ndarray, y: np.ndarray) -> list[str]:
    return [f'<circle class="point" cx="{_x(a)}" cy="{_y(b)}" r="2"/>' for a, b in zip(x, y, strict=True)]


def _density(x: np.ndarray, y: np.ndarray) -> list[str]:
    """Cells in a few shades, by the logarithm of their counts: one path for each shade."""
    columns = np.minimum((x * CELLS).astype(int), CELLS - 1)
    rows = np.minimum((y * CELLS).astype(int), CELLS - 1)
    counts = np.zeros((CELLS, CELLS), int)
    np.add.at(counts, (columns, rows), 1)
    shade = np.ceil(SHADES * np.log1p(counts) / math.log1p(counts.max())).astype(int)
    width, height = (WIDTH - LEFT - RIGHT) / CELLS, (BASE - TOP) / CELLS
    paths = []
    for level in range(1, SHADES + 1):
        cells = "".join(
            f"M{_x(c / CELLS)} {_y((r + 1) / CELLS)}h{width:.2f}v{height:.2f}h-{width:.2f}z"
            for c, r in np.argwhere(shade == level).tolist()
        )
        if cells:
            paths.append(f'<path class="density" opacity="{0.15 + 0.85 * level / SHADES:.2f}" d="{cells}"/>')
    return paths


def _axes(low: float, high: float) -> list[str]:
    shapes = [f'<path class="axis" d="M{LEFT} {TOP}V{BASE}H{WIDTH - RIGHT}"/>']
    spacing = tick_spacing(high - low, (high - low) / 50)
    digits = max(0, -math.floor(math.log10(spacing) + 1e-9))
    for k in range(math.ceil(low / spacing), math.floor(high / spacing) + 1):
        share, text = (k * spacing - low) / (high - low), f"{k * spacing:.{digits}f}"
        shapes.append(f'<text class="tick" text-anchor="middle" x="{_x(share)}" y="{BASE + 14}">{text}</text>')
        shapes.append(
            f'<text class="tick" text-anchor="end" x="{LEFT - 5}" y="{float(_y(share)) + 3.5:.1f}">{text}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    shapes.append(f'<text class="tick" text-anchor="middle" x="{middle:.1f}" y="{HEIGHT - 4}">reference</text>')
    up = f'transform="translate(9 {(TOP + BASE) / 2:.1f}) rotate(-90)"'
    shapes.append(f'<text class="tick" text-anchor="middle" {up}>predicted</text>')
    return shapes
