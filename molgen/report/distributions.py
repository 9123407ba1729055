"""Histograms of structures: sizes, elements, lengths of the bonds between each pair of elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from molgen.elements import SYMBOLS
from molgen.report.content import Histogram
from molgen.structures import Structures

__all__ = ["beside", "distributions", "spread"]

BOND_BIN = 0.01  # Å; the C–C and C=C peaks of small molecules are about 0.2 Å apart
MAX_PAIRS = 8  # panels of bond lengths
BINS = 40  # of numbers whose size is not known beforehand, at most
NOTHING = 1e-12  # numbers that are all smaller are zeros, but for rounding


def distributions(structures: Structures) -> tuple[Histogram, ...]:
    """Atoms per molecule, elements (heavy ones last), and the lengths of known bonds for each pair of elements.

    >>> water = Structures.build(
    ...     [[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1], bonds=[[0, 1], [0, 2]], bond_orders=[1, 1]
    ... )
    >>> [(h.title, dict(h.counts)) for h in distributions(water)]
    [('Atoms per molecule', {3: 1}), ('Elements', {'H': 2, 'O': 1}), ('H–O bonds', {96: 2})]
    """
    elements = {SYMBOLS[number]: count for number, count in _tally(structures.species)}
    sizes = Histogram("Atoms per molecule", dict(_tally(structures.n_atoms)), width=1)
    return (sizes, Histogram("Elements", elements), *_bond_lengths(structures))


def beside(
    sample: tuple[Histogram, ...] | list[Histogram], reference: tuple[Histogram, ...] | list[Histogram]
) -> list[Histogram]:
    """The sample's histograms beside the reference's of the same title; of the bonds, the most frequent pairs.

    A pair that only the reference has is shown too, since its absence tells something.
    """
    known = {h.title: h for h in reference}
    missing = [Histogram(h.title, {}, h.unit, h.width) for h in reference if h.title not in {s.title for s in sample}]
    joined = [h.against(known.get(h.title)) for h in [*sample, *missing]]
    bonds = [h for h in joined if h.unit == "Å"]
    totals = {group: sum(sum(getattr(h, group).values()) for h in bonds if getattr(h, group)) or 1 for group in _GROUPS}

    def share(h: Histogram) -> float:
        return max(sum((getattr(h, group) or {}).values()) / totals[group] for group in _GROUPS)

    return [h for h in joined if h.unit != "Å"] + sorted(bonds, key=share, reverse=True)[:MAX_PAIRS]


def spread(title: str, values: Sequence[float], unit: str) -> list[Histogram]:
    """The distribution of numbers of any size, as one histogram; none where no number is finite.

    A few that are many times as large as the rest are left out, so that the rest can be seen; the title tells of them.

    >>> [(h.title, h.width, dict(h.counts)) for h in spread("Strain", [0.5, 0.52, 0.7, math.nan], "eV")]
    [('Strain', 0.02, {25: 1, 26: 1, 35: 1})]
    """
    finite = torch.tensor([value for value in values if math.isfinite(value)], dtype=torch.float64)
    if not len(finite):
        return []
    limit = 3 * float(finite.abs().quantile(0.9))
    shown = finite[finite.abs() <= limit]
    largest = float(shown.abs().max())
    span = largest if largest > NOTHING else 1.0
    scale = 10.0 ** math.floor(math.log10(span / BINS))
    width = next(scale * factor for factor in (1, 2, 5, 10) if span / (scale * factor) <= BINS)
    beyond = len(finite) - len(shown)
    if beyond:
        title += f" ({beyond} above {limit:.2g} {unit} not shown)"
    return [Histogram(title, dict(_tally((shown / width).round().long())), unit, width)]


_GROUPS = ("counts", "reference")


def _bond_lengths(structures: Structures) -> list[Histogram]:
    bonds = structures.bonds
    if len(bonds) == 0:
        return []
    ends = structures.positions[bonds].double()  # [M, 2, 3]
    lengths = (ends[:, 0] - ends[:, 1]).norm(dim=-1)  # [M] Å
    finite = lengths.isfinite()
    bins = (lengths[finite] / BOND_BIN).round().long()
    pairs = structures.species[bonds[finite]].sort(dim=1).values
    histograms = []
    for pair in pairs.unique(dim=0):
        mine = (pairs == pair).all(1)
        symbols = sorted((SYMBOLS[number] for number in pair.tolist()), key=lambda symbol: (symbol != "C", symbol))
        title = f"{'–'.join(symbols)} bonds"
        histograms.append(Histogram(title, dict(_tally(bins[mine])), "Å", BOND_BIN))
    return histograms


def _tally(values: torch.Tensor) -> list[tuple[int, int]]:
    found, counts = values.unique(return_counts=True)
    return list(zip(found.tolist(), counts.tolist(), strict=True))
