"""95 % confidence intervals of fractions: of independent things, and of atoms, which come in molecules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

__all__ = ["Metric", "clustered_fraction", "fraction"]

_Z: Final = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Metric:
    """A measured number with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int  # of what it is a fraction: atoms, molecules, valid molecules, unique molecules

    def as_dict(self) -> dict[str, float | int]:
        """Plain data for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def fraction(successes: int, n: int) -> Metric:
    """successes / n of n > 0 independent trials, with Wilson's interval (Wilson 1927).

    >>> [round(x, 3) for x in (fraction(10, 10).low, fraction(10, 10).high)]
    [0.722, 1.0]
    """
    value = successes / n
    return Metric(value, *_wilson(value, n), n)


def clustered_fraction(successes: np.ndarray, sizes: np.ndarray) -> Metric:
    """The fraction of all members that succeed, where members of a cluster share their fate.

    The variance of the ratio is estimated between clusters (Cochran 1977, section 3.12), turned into the number of
    independent members that would have it, and Wilson's interval taken at that number: never outside [0, 1], and not
    of zero width when all succeed, where each cluster counts as one.

    Args:
        successes: [K] how many members of each cluster succeed.
        sizes: [K] how many members each cluster has; not all zero.
    """
    total, k = int(sizes.sum()), len(sizes)
    value = float(successes.sum() / total)
    effective = float(k)
    residuals = successes - value * sizes
    if k > 1 and residuals.any():
        variance = k / (k - 1) * float(np.square(residuals).sum()) / total**2
        effective = min(value * (1 - value) / variance, float(total))
    return Metric(value, *_wilson(value, effective), total)


def _wilson(p: float, n: float) -> tuple[float, float]:
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    # at p = 0 and 1 an end is p itself but for rounding
    return min(max(0.0, centre - half), p), max(min(1.0, centre + half), p)
