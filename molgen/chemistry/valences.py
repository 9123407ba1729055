"""D2, the strict stability of molecules: valences of charged atoms, on kekulised bonds that are given or perceived.

An atom is stable if (element, formal charge, sum of its bond orders) is a closed shell. The table below is the octet
rule: an atom with charge q binds as its isoelectronic neighbour in the periodic table does (N+ as C, O- as F, C- as N,
B- as C), which is also how RDKit's sanitisation treats charges; from the third period on, valences grow by two (P 5,
S 4 and 6, I 3 and 5). A neutral carbon with three bonds and a neutral nitrogen with two are radicals and left out. The
tables of MiDi (Vignac et al. 2023) and its successors allow both, and without them FlowMol's molecule stability fell
from 99.3 to 77.6 % (Nikitin et al. 2025, "GEOM-Drugs Revisited"). Their own table, of cleaned data, has C+ with three
bonds; this one has not, since perception writes two carbon radicals of one structure as C+ and C-, and QM9 has none.
Bonds are kekulised, so that no aromatic order is rounded away. An atom without bonds is part of no molecule, and never
stable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import torch
from torch import Tensor

from molgen.elements import NUMBERS, SYMBOLS
from molgen.structures import Structures

__all__ = ["CHARGED_VALENCES", "D2", "d2"]

# sums of bond orders by element and formal charge
CHARGED_VALENCES: Final[dict[str, dict[int, tuple[int, ...]]]] = {
    "H": {0: (1,)},
    "B": {0: (3,), -1: (4,)},
    "C": {0: (4,), -1: (3,)},
    "N": {0: (3,), 1: (4,), -1: (2,)},
    "O": {0: (2,), 1: (3,), -1: (1,)},
    "F": {0: (1,)},
    "Al": {0: (3,), -1: (4,)},
    "Si": {0: (4,), -1: (5,)},
    "P": {0: (3, 5), 1: (4,), -1: (2, 6)},
    "S": {0: (2, 4, 6), 1: (3, 5), -1: (1,)},
    "Cl": {0: (1,), 1: (2,)},
    "Ge": {0: (4,)},
    "As": {0: (3, 5), 1: (4,)},
    "Se": {0: (2, 4, 6), 1: (3, 5), -1: (1,)},
    "Br": {0: (1,), 1: (2,)},
    "Sn": {0: (4,)},
    "I": {0: (1, 3, 5), 1: (2,)},
    "Hg": {0: (2,)},
    "Bi": {0: (3, 5)},
}
_MAX_CHARGE: Final = 1
_MAX_SUM: Final = 6


@dataclass(frozen=True, eq=False)
class D2:
    """What the valences say of a batch of B structures with N atoms."""

    atom_stable: Tensor  # [N] bool; False in structures whose bonds are not known
    molecule_stable: Tensor  # [B] bool; all atoms are stable and the charges sum to the structure's charge
    net_charge: Tensor  # [B] int64, e, sum of the formal charges


def d2(structures: Structures) -> D2:
    """Strict stability by the structures' own bonds, kekulised orders and formal charges.

    >>> ammonium = Structures.build(
    ...     [[0.0, 0, 0], [0.6, 0.6, 0.6], [0.6, -0.6, -0.6], [-0.6, 0.6, -0.6], [-0.6, -0.6, 0.6]], [7, 1, 1, 1, 1],
    ...     bonds=[[0, 1], [0, 2], [0, 3], [0, 4]], bond_orders=[1] * 4, bonds_known=[True],
    ...     formal_charges=[1, 0, 0, 0, 0], charge=[1.0],
    ... )
    >>> d2(ammonium).molecule_stable.tolist(), d2(ammonium).atom_stable.tolist()
    ([True], [True, True, True, True, True])
    """
    device, n, b = structures.positions.device, len(structures.species), structures.n_structures
    charges = structures.formal_charges
    sums = torch.zeros(n, dtype=torch.int64, device=device)
    for end in (0, 1):
        sums.index_add_(0, structures.bonds[:, end], structures.bond_orders)
    columns = charges.clamp(-_MAX_CHARGE - 1, _MAX_CHARGE + 1) + _MAX_CHARGE + 1, sums.clamp(max=_MAX_SUM + 1)
    stable = _table().to(device)[structures.species, *columns] & structures.bonds_known[structures.batch]  # [N]

    n_stable, net = torch.zeros(2, b, dtype=torch.int64, device=device)
    n_stable.index_add_(0, structures.batch, stable.long())
    net.index_add_(0, structures.batch, charges)
    whole = (n_stable == structures.n_atoms) & (structures.n_atoms > 0) & (net == structures.charge)
    return D2(stable, whole, net)


@cache
def _table() -> Tensor:
    """[119, 5, 8] bool by atomic number, charge + 2 and sum of orders; the ends stand for all beyond."""
    table = torch.zeros(len(SYMBOLS), 2 * _MAX_CHARGE + 3, _MAX_SUM + 2, dtype=torch.bool)
    for symbol, by_charge in CHARGED_VALENCES.items():
        for charge, sums in by_charge.items():
            table[NUMBERS[symbol], charge + _MAX_CHARGE + 1, list(sums)] = True
    return table
