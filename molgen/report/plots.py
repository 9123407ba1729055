"""Small plots as SVG; their colours come from the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from molgen.report.content import Estimate, Histogram

__all__ = ["histogram", "interval", "tick_spacing"]

WIDTH, HEIGHT = 320, 158  # of a histogram, in the units of its view box
LEFT, RIGHT, TOP, BASE = 6, 6, 16, 140  # margins of its axes; BASE is the axis's height
TAIL = 0.003  # bins at the ends, and categories, that are lower than this share of the highest are left out
MAX_BINS = 500


def histogram(h: Histogram) -> str:
    """The sample as bars, the reference as a line above them, both as shares of their totals."""
    keys = _keys(h)
    sample, reference = _shares(h.counts), _shares(h.reference or {})
    if not keys:
        return ""
    top = max(max(sample.get(k, 0), reference.get(k, 0)) for k in keys)
    step = (WIDTH - LEFT - RIGHT) / len(keys)
    gap = 0.5 if h.width is not None else step * 0.18
    shapes, line = [], []
    for position, key in enumerate(keys):
        x, share, other = LEFT + position * step, sample.get(key, 0), reference.get(key, 0)
        if share:
            note = f"{_name(h, key)}: {_percent(share)}" + (f", reference {_percent(other)}" if h.reference else "")
            height = (BASE - TOP) * share / top
            box = f'x="{x + gap / 2:.1f}" y="{BASE - height:.1f}" width="{step - gap:.1f}" height="{height:.1f}"'
            shapes.append(f'<rect class="bar" {box}><title>{escape(note)}</title></rect>')
        y = BASE - (BASE - TOP) * other / top
        line.append(f"{x:.1f},{y:.1f} {x + step:.1f},{y:.1f}")
    if h.reference:
        ends = f"{LEFT},{BASE} {' '.join(line)} {WIDTH - RIGHT},{BASE}"
        shapes.append(f'<polyline class="reference" points="{ends}"/>')
    shapes += _axis(h, keys, step)
    shapes.append(f'<text class="tick" x="{LEFT}" y="10">{_percent(top)}</text>')
    label = escape(h.title, quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(shapes)}</svg>'


def interval(measured: Estimate, reference: Estimate | None) -> str:
    """A fraction from 0 to 1 as a dot on its 95 % interval, and the reference as a mark."""

    def x(value: float) -> str:
        return f"{4 + 152 * min(max(value, 0.0), 1.0):.1f}"

    shapes = ['<path class="axis" d="M4 9H156"/>']
    if measured.low is not None and measured.high is not None and not math.isnan(measured.low + measured.high):
        shapes.append(f'<path class="range" d="M{x(measured.low)} 9H{x(measured.high)}"/>')
    if reference is not None and not math.isnan(reference.value):
        shapes.append(f'<path class="mark" d="M{x(reference.value)} 2V16"/>')
    if not math.isnan(measured.value):
        shapes.append(f'<circle class="dot" cx="{x(measured.value)}" cy="9" r="4"/>')
    return f'<svg class="interval" viewBox="0 0 160 18" aria-hidden="true">{"".join(shapes)}</svg>'


def _keys(h: Histogram) -> list:
    sample, reference = _shares(h.counts), _shares(h.reference or {})
    height = {key: max(sample.get(key, 0), reference.get(key, 0)) for key in [*sample, *reference]}
    kept = [key for key in height if height[key] > TAIL * max(height.values())]
    # a page stays a page, whatever was counted
    if h.width is None or not kept:
        return kept[:MAX_BINS]
    return list(range(min(kept) - 1, min(max(kept) + 2, min(kept) + MAX_BINS)))


def _shares(counts: Mapping[Any, int]) -> dict[Any, float]:
    total = sum(counts.values())
    return {key: count / total for key, count in counts.items()} if total else {}


def _axis(h: Histogram, keys: list, step: float) -> list[str]:
    shapes = [f'<path class="axis" d="M{LEFT} {BASE}H{WIDTH - RIGHT}"/>']
    if h.width is None:
        places = [(LEFT + (position + 0.5) * step, str(key)) for position, key in enumerate(keys)]
    else:
        spacing = tick_spacing((keys[-1] - keys[0]) * h.width, h.width)
        first = math.ceil(keys[0] * h.width / spacing)
        values = [k * spacing for k in range(first, math.floor(keys[-1] * h.width / spacing) + 1)]
        digits = max(0, -math.floor(math.log10(spacing) + 1e-9))
        places = [(LEFT + (v / h.width - keys[0] + 0.5) * step, f"{v:.{digits}f}") for v in values]
    for x, text in places:
        shapes.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{BASE + 14}">{escape(text)}</text>')
    return shapes


def tick_spacing(span: float, finest: float) -> float:
    """The roundest distance between ticks that gives at most seven of them."""
    scale = 10.0 ** math.floor(math.log10(max(span, finest) / 7))
    steps = [scale * factor for factor in (1, 2, 5, 10, 20)]
    return max(next(s for s in steps if span / s <= 7), finest)


def _name(h: Histogram, key: int | str) -> str:
    if h.width is None:
        return str(key)
    return f"{int(key) * h.width:g} {h.unit}".strip()


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
