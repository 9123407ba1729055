"""What relaxation tells of molecules, as metrics: strain, how far atoms move, whether bonds stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from molgen.chemistry.intervals import Metric, fraction

__all__ = ["RELAXATION_METRICS", "RelaxationMetric", "mean", "median", "relaxation_metrics"]

_COVERAGE: Final = 0.95


@dataclass(frozen=True)
class RelaxationMetric:
    """One number of molecules that were relaxed: what it is called, and what it means."""

    name: str
    summary: str
    unit: Literal["%", "eV", "Å"]  # "%": a fraction from 0 to 1, shown per cent


RELAXATION_METRICS: Final[tuple[RelaxationMetric, ...]] = (
    RelaxationMetric(
        "strain", "median energy that relaxation to the nearest minimum sets free, per converged molecule", "eV"
    ),
    RelaxationMetric("strain_mean", "mean of the same, which a few bad molecules make large", "eV"),
    RelaxationMetric("relax_rmsd", "median displacement of converged molecules, superposed, root mean square", "Å"),
    RelaxationMetric("relaxed", "molecules whose relaxation converged; all others count against it", "%"),
    RelaxationMetric("kept_bonds", "converged molecules in which the same atoms are bonded before and after", "%"),
)


def relaxation_metrics(
    strain: Sequence[float],
    rmsd: Sequence[float],
    converged: Sequence[bool],
    kept_bonds: Sequence[bool | None],
) -> dict[str, Metric]:
    """The metrics of B molecules, each with its 95 % interval; those that nothing is known of are left out.

    Args:
        strain: [B] eV; what did not converge is not looked at.
        rmsd: [B] Å, likewise.
        converged: [B].
        kept_bonds: [B] None where there were no bonds to begin with.

    >>> found = relaxation_metrics([0.1, 0.2, math.nan], [0.1, 0.3, math.nan], [True, True, False], [True, False, None])
    >>> [(name, metric.n) for name, metric in found.items()]
    [('strain', 2), ('strain_mean', 2), ('relax_rmsd', 2), ('relaxed', 3), ('kept_bonds', 2)]
    """
    if not len(converged):
        return {}
    chosen = np.asarray(converged, dtype=bool)
    known = [kept for kept, ended in zip(kept_bonds, converged, strict=True) if ended and kept is not None]
    found: dict[str, Metric] = {}
    if chosen.any():
        energies = np.asarray(strain, dtype=np.float64)[chosen]
        found["strain"], found["strain_mean"] = median(energies), mean(energies)
        found["relax_rmsd"] = median(np.asarray(rmsd, dtype=np.float64)[chosen])
    found["relaxed"] = fraction(int(chosen.sum()), len(chosen))
    if known:
        found["kept_bonds"] = fraction(sum(known), len(known))
    return found


def median(values: np.ndarray) -> Metric:
    """The median of n > 0 numbers, between the two of them that hold it in 95 % of samples, of any distribution.

    Conover, "Practical Nonparametric Statistics" (1999), section 3.2. Up to five numbers hold it less often than that;
    then the interval reaches from the smallest to the largest.

    >>> median(np.arange(1.0, 11.0))
    Metric(value=5.5, low=2.0, high=9.0, n=10)
    """
    from scipy.special import bdtr

    ordered, n = np.sort(values), len(values)
    # the chance that at most k of n numbers lie below the median
    below = bdtr(np.arange(n // 2), n, 0.5)
    first = max(int(np.searchsorted(below, (1 - _COVERAGE) / 2, side="right")) - 1, 0)
    return Metric(float(np.median(ordered)), float(ordered[first]), float(ordered[n - 1 - first]), n)


def mean(values: np.ndarray) -> Metric:
    """The mean of n > 0 numbers with Student's interval; a single number tells nothing of one.

    >>> [round(end, 2) for end in (mean(np.array([1.0, 2.0, 3.0])).low, mean(np.array([1.0, 2.0, 3.0])).high)]
    [-0.48, 4.48]
    """
    from scipy.special import stdtrit

    n, value = len(values), float(values.mean())
    if n == 1:
        return Metric(value, value, value, 1)
    half = float(stdtrit(n - 1, (1 + _COVERAGE) / 2) * values.std(ddof=1) / math.sqrt(n))
    return Metric(value, value - half, value + half, n)
