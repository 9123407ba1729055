"""What a set of structures looks like in numbers, for histograms beside the data's: bond lengths, elements, sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from molgen.chemistry.stability import d1
from molgen.elements import SYMBOLS
from molgen.structures import Structures

__all__ = ["bond_lengths", "element_counts", "size_counts"]


def bond_lengths(structures: Structures) -> dict[str, Tensor]:
    """Lengths of all bonds of D1's distance table, by pair of elements: `{"C-H": [K] Å float64, …}`, most bonds first.

    Elements of a pair stand in this order: carbon, hydrogen, then by the alphabet.

    >>> water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], species=[8, 1, 1])
    >>> {pair: lengths.shape for pair, lengths in bond_lengths(water).items()}
    {'H-O': torch.Size([2])}
    """
    bonds = d1(structures).bonds
    positions = structures.positions.detach().double()
    lengths = (positions[bonds[:, 0]] - positions[bonds[:, 1]]).norm(dim=-1)  # [M] Å
    pairs = structures.species[bonds].sort(dim=1).values  # [M, 2]
    kinds, kind_of = torch.unique(pairs, dim=0, return_inverse=True)
    counts = torch.bincount(kind_of, minlength=len(kinds))
    order = torch.argsort(counts, descending=True, stable=True).tolist()
    return {_pair_name(*kinds[kind].tolist()): lengths[kind_of == kind] for kind in order}


def element_counts(structures: Structures) -> dict[str, int]:
    """How many atoms of each element: carbon, hydrogen, then by the alphabet.

    >>> element_counts(Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], species=[8, 1, 1]))
    {'H': 2, 'O': 1}
    """
    numbers, counts = torch.unique(structures.species, return_counts=True)
    found = {SYMBOLS[number]: count for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)}
    return {symbol: found[symbol] for symbol in sorted(found, key=_order)}


def size_counts(structures: Structures) -> dict[int, int]:
    """How many structures have n atoms, by n, ascending.

    >>> size_counts(Structures.build([[0.0, 0, 0], [0, 0, 0.7], [0, 0, 0]], [1, 1, 2], n_atoms=[2, 1]))
    {1: 1, 2: 1}
    """
    sizes, counts = torch.unique(structures.n_atoms, return_counts=True)
    return dict(zip(sizes.tolist(), counts.tolist(), strict=True))


def _pair_name(first: int, second: int) -> str:
    return "-".join(sorted((SYMBOLS[first], SYMBOLS[second]), key=_order))


def _order(symbol: str) -> tuple[int, str]:
    return {"C": 0, "H": 1}.get(symbol, 2), symbol
