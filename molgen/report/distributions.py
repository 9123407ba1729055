"""Histograms of structures: sizes, elements, lengths of the bonds between each pair of elements."""

from __future__ import annotations

import torch

from molgen.elements import SYMBOLS
from molgen.report.content import Histogram
from molgen.structures import Structures

__all__ = ["beside", "distributions"]

BOND_BIN = 0.01  # Å; the C–C and C=C peaks of small molecules are about 0.2 Å apart
MAX_PAIRS = 8  # panels of bond lengths


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
