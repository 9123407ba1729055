"""How often molecules have what was fixed of them, as metrics: measured of the molecules, never assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from molgen.chemistry.intervals import Metric, fraction

__all__ = ["CONTROL_METRICS", "ControlMetric", "control_metrics"]


@dataclass(frozen=True)
class ControlMetric:
    """One fraction of molecules: what it is called, and what it means."""

    name: str
    summary: str


CONTROL_METRICS: Final = (
    ControlMetric("composition_kept", "molecules of exactly the composition that was asked for"),
    ControlMetric("scaffold_kept", "molecules with the substructure, its atoms within 1e-4 Å when superposed"),
)


def control_metrics(kept: Mapping[str, Sequence[bool]]) -> dict[str, Metric]:
    """The fraction of molecules that have what was asked for, by metric, with Wilson's interval.

    >>> {name: metric.value for name, metric in control_metrics({"composition_kept": [True, False]}).items()}
    {'composition_kept': 0.5}
    """
    return {name: fraction(sum(each), len(each)) for name, each in kept.items() if len(each)}
