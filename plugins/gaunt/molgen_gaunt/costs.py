"""Which method is the fastest: a table of measured times, and how it is read.

`costs.json` holds, per device ("cpu", "cuda"), dtype, and kind of form ("even", "odd"), a table of each method:
microseconds[i][j] of one product of channel-wise functions up to degree l_max[i] with rows[j] rows, or null where it
was not measured. `scripts/benchmarks/tensor_products.py --calibrate` measures this machine and rewrites it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import torch

from molgen_gaunt.form import Form

__all__ = ["METHODS", "cost", "fastest"]

METHODS: Final = ("direct", "grid", "separable", "fourier", "fused")


def fastest(forms: Sequence[Form], rows: int, device: torch.device, dtype: torch.dtype) -> str:
    """The method of least cost for `rows` rows (structures or edges × channels); `grid` where nothing was measured."""
    known: dict[str, float] = {}
    for method in METHODS:
        costs = [cost(method, form, rows, device.type, dtype) for form in forms]
        if None not in costs:
            known[method] = sum(each for each in costs if each is not None)
    return min(known, key=known.__getitem__, default="grid")


def cost(method: str, form: Form, rows: int, device: str, dtype: torch.dtype) -> float | None:
    """Microseconds, interpolated in the logarithms; beyond the largest degree measured, extrapolated by two steps.

    Unequal degrees count as their mean.
    """
    table = _table().get(device, {}).get(str(dtype).removeprefix("torch."), {}).get("odd" if form.odd else "even", {})
    found = table.get(method)
    if found is None:
        return None
    l_max = max(1.0, sum(slot.l_max for slot in form.slots) / 3)
    at = [(math.log(l), values) for l, values in zip(found["l_max"], found["microseconds"], strict=True)]
    measured = [(l, _along(found["rows"], values, rows)) for l, values in at if None not in values]
    if not measured:
        return None
    return math.exp(_line(measured, math.log(l_max)))


def _along(rows: list[int], microseconds: list[float], wanted: int) -> float:
    points = [(math.log(r), math.log(t)) for r, t in zip(rows, microseconds, strict=True)]
    return _line(points, math.log(max(wanted, 1)))


def _line(points: list[tuple[float, float]], x: float) -> float:
    """The piecewise linear function through points, level before the first and straight on after the last."""
    if x <= points[0][0] or len(points) == 1:
        return points[0][1]
    after = next((i for i, (place, _) in enumerate(points) if x <= place), len(points) - 1)
    (x0, y0), (x1, y1) = points[after - 1 : after + 1]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("molgen_gaunt") / "costs.json").read_text(encoding="utf-8"))["tables"]
    return found
