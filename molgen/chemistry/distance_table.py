"""Typical bond lengths in pm and the valences of neutral atoms: the two public tables that D1 is made of.

Bond lengths: wiredchemist.com, "Common Bond Energies and Lengths", and chemistry-reference.com, "Bond Lengths and
Enthalpies". They are the values, margins and valences with which Hoogeboom et al. 2022 (EDM, section 5) score QM9, so
that figures compare. Each pair is listed once and holds in both directions.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import torch
from torch import Tensor

from molgen.elements import NUMBERS, SYMBOLS

__all__ = ["DOUBLE", "MARGINS", "SINGLE", "TRIPLE", "VALENCES", "thresholds", "valence_table"]

# pm added to a bond's typical length before a distance is compared with it: single, double, triple
MARGINS: Final = (10, 5, 3)

SINGLE: Final[dict[str, dict[str, int]]] = {
    "H": {"H": 74, "B": 119, "C": 109, "N": 101, "O": 96, "F": 92, "Si": 148, "P": 144, "S": 134, "Cl": 127}
    | {"As": 152, "Br": 141, "I": 161},
    "B": {"Cl": 175},
    "C": {"C": 154, "N": 147, "O": 143, "F": 135, "Si": 185, "P": 184, "S": 182, "Cl": 177, "Br": 194, "I": 214},
    "N": {"N": 145, "O": 140, "F": 136, "P": 177, "S": 168, "Cl": 175, "Br": 214, "I": 222},
    "O": {"O": 148, "F": 142, "Si": 163, "P": 163, "S": 151, "Cl": 164, "Br": 172, "I": 194},
    "F": {"F": 142, "Si": 160, "P": 156, "S": 158, "Cl": 166, "Br": 178, "I": 187},
    "Si": {"Si": 233, "S": 200, "Cl": 202, "Br": 215, "I": 243},
    "P": {"P": 221, "S": 210, "Cl": 203, "Br": 222},
    "S": {"S": 204, "Cl": 207, "Br": 225, "I": 234},
    "Cl": {"Cl": 199, "Br": 214},
    "Br": {"Br": 228},
    "I": {"I": 266},
}
DOUBLE: Final[dict[str, dict[str, int]]] = {
    "C": {"C": 134, "N": 129, "O": 120, "S": 160},
    "N": {"N": 125, "O": 121},
    "O": {"O": 121, "P": 150},
    "P": {"S": 186},
}
TRIPLE: Final[dict[str, dict[str, int]]] = {"C": {"C": 120, "N": 116, "O": 113}, "N": {"N": 110}}

# bond sums that a neutral atom may have; an element that is not listed is never stable
VALENCES: Final[dict[str, tuple[int, ...]]] = {
    "H": (1,),
    "B": (3,),
    "C": (4,),
    "N": (3,),
    "O": (2,),
    "F": (1,),
    "Al": (3,),
    "Si": (4,),
    "P": (3, 5),
    "S": (4,),
    "Cl": (1,),
    "As": (3,),
    "Br": (1,),
    "I": (1,),
    "Hg": (1, 2),
    "Bi": (3, 5),
}


@cache
def thresholds() -> Tensor:
    """[119, 119, 3] float64, pm: by both atomic numbers, the distance below which a bond is single, double, triple.

    Zero, below which no distance lies, where the tables have no entry.

    >>> thresholds()[6, 8].tolist()
    [153.0, 125.0, 116.0]
    """
    table = torch.zeros(len(SYMBOLS), len(SYMBOLS), 3, dtype=torch.float64)
    for order, (lengths, margin) in enumerate(zip((SINGLE, DOUBLE, TRIPLE), MARGINS, strict=True)):
        for first, row in lengths.items():
            for second, length in row.items():
                i, j = NUMBERS[first], NUMBERS[second]
                table[i, j, order] = table[j, i, order] = length + margin
    return table


@cache
def valence_table() -> Tensor:
    """[119, 7] bool: by atomic number and bond sum, whether the atom is stable; the last column, "6 or more", is False.

    >>> valence_table()[15].nonzero().flatten().tolist()
    [3, 5]
    """
    table = torch.zeros(len(SYMBOLS), 7, dtype=torch.bool)
    for symbol, sums in VALENCES.items():
        table[NUMBERS[symbol], list(sums)] = True
    return table
