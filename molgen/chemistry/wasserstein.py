"""Wasserstein-1 distances between internal coordinates of two sets, type by type, with an interval from resampling.

The distance of a type is the area between the two cumulative distributions (`scipy.stats.wasserstein_distance`), in
the unit of the coordinate. Types are averaged with their frequencies in the reference as weights, as in MiDi (Vignac et
al. 2023) and EQGAT-diff (Le et al. 2024), but without bins, and with all elements in the type, where theirs are the
order of a bond, the atom in the middle of an angle and the bond in the middle of a torsion. Torsions come without
sign: their circle is folded to the line from 0 to 180 degrees, on which a difference is the angle between two of them,
so that the distance on the circle is the one on this line.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from molgen.chemistry.internal import Coordinates
from molgen.chemistry.intervals import Metric

__all__ = ["compared", "distance"]

# of fewer values the distance is mostly chance
LEAST: Final = 10
RESAMPLES: Final = 100
_Z: Final = 1.96


def distance(sample: Coordinates, reference: Coordinates, *, seed: int = 0) -> Metric | None:
    """The distance of two sets, averaged over types; None where they have no type often enough in common.

    A type that either side has fewer than 10 times is left out; `compared` says how much remains. The interval is 1.96
    standard deviations of 100 resamples of the sample's molecules to either side (a molecule's values stay together).
    Their percentiles would lie too high, since resampling adds to a distance that is never negative. The reference is
    taken as it is. A finite sample is at some distance from its own source: compare with equally many of the data.

    Args:
        sample: of n > 0 molecules.
        reference: likewise.
        seed: of the resampling.

    Returns:
        In Å or degrees; n is how many values of the sample are looked at.
    """
    types = _common(sample, reference)
    if not len(types):
        return None
    merged = _Merged(sample, reference, types)
    value = merged.distance(np.ones(sample.n_molecules))
    generator, n = np.random.default_rng(seed), sample.n_molecules
    resampled = [merged.distance(np.bincount(generator.integers(n, size=n), minlength=n)) for _ in range(RESAMPLES)]
    half = _Z * float(np.std(resampled, ddof=1))
    return Metric(value, max(value - half, 0.0), value + half, merged.n_sample)


def compared(sample: Coordinates, reference: Coordinates) -> float:
    """The share of the reference's values whose type is frequent enough on both sides to be looked at."""
    return float(np.isin(reference.types, _common(sample, reference)).mean()) if len(reference.types) else 0.0


class _Merged:
    """Values of both sets in one array, sorted by type and value, P in all."""

    def __init__(self, sample: Coordinates, reference: Coordinates, types: np.ndarray) -> None:
        kept, known = np.isin(sample.types, types), np.isin(reference.types, types)
        self.n_sample, n_reference = int(kept.sum()), int(known.sum())
        kinds = np.searchsorted(types, np.concatenate([sample.types[kept], reference.types[known]]))
        values = np.concatenate([sample.values[kept], reference.values[known]])
        order = np.lexsort((values, kinds))
        kinds, values = kinds[order], values[order]

        # [P] the molecule of a sample's value; those of the reference belong to one more, whose weight is 0
        owners = np.concatenate([sample.owners[kept], np.full(n_reference, sample.n_molecules)])
        self._owners = owners[order]
        counts = np.bincount(kinds, minlength=len(types))  # [T]
        self._starts, self._counts = np.cumsum(counts) - counts, counts
        references = np.bincount(kinds, weights=order >= self.n_sample)  # [T]
        self._weights = references / references.sum()
        self._reference = self._cumulative((order >= self.n_sample).astype(np.float64))
        self._gaps = np.diff(values, append=0.0)  # [P]
        self._gaps[self._starts + counts - 1] = 0.0  # from one type to the next is no distance

    def distance(self, weights: np.ndarray) -> float:
        """With a weight for each molecule of the sample; types that all weights are zero of are left out."""
        mass = np.append(weights, 0.0)[self._owners]
        areas = np.add.reduceat(np.abs(self._cumulative(mass) - self._reference) * self._gaps, self._starts)  # [T]
        there = np.add.reduceat(mass, self._starts) > 0
        return float((areas * self._weights)[there].sum() / self._weights[there].sum()) if there.any() else 0.0

    def _cumulative(self, mass: np.ndarray) -> np.ndarray:
        """[P] the share of a type's mass up to each value."""
        running = np.cumsum(mass)
        before = running[self._starts] - mass[self._starts]  # [T]
        totals = np.add.reduceat(mass, self._starts)  # [T]
        shares = running - np.repeat(before, self._counts)
        return shares / np.repeat(np.where(totals > 0, totals, 1.0), self._counts)


def _common(sample: Coordinates, reference: Coordinates) -> np.ndarray:
    return np.intersect1d(_frequent(sample.types), _frequent(reference.types))


def _frequent(types: np.ndarray) -> np.ndarray:
    found, counts = np.unique(types, return_counts=True)
    return found[counts >= LEAST]
