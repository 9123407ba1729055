"""D1, the stability of molecules by a table of distances (Hoogeboom et al. 2022, EDM): bonds from coordinates alone.

A pair closer than its single-bond length + 10 pm is bonded; inside that, closer than double + 5 pm makes it double; and
inside that, closer than triple + 3 pm triple. All comparisons are strict. An atom is stable if the orders of its bonds
sum to one of its valences, a molecule if all its atoms are. Bonds that the structures bring along, charges and periodic
images play no part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from molgen.chemistry.distance_table import thresholds, valence_table
from molgen.structures import Structures

__all__ = ["D1", "d1"]

# pairs that are held in memory at once: 16 MB per float64 column
PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True, eq=False)
class D1:
    """What the distance table says of a batch of B structures with N atoms; M bonds were found."""

    atom_stable: Tensor  # [N] bool
    molecule_stable: Tensor  # [B] bool; False for a structure without atoms
    bond_sums: Tensor  # [N] int64, sum of the orders of an atom's bonds
    bonds: Tensor  # [M, 2] int64, atom indices into the batch, i < j, ascending
    bond_orders: Tensor  # [M] int64: 1, 2 or 3


def d1(structures: Structures) -> D1:
    """Bonds and stability of every structure by EDM's distance table, computed in float64.

    >>> water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], species=[8, 1, 1])
    >>> d1(water).molecule_stable.tolist(), d1(water).bond_sums.tolist()
    ([True], [2, 1, 1])
    """
    device, n = structures.positions.device, len(structures.species)
    bonds, orders = _bonds(structures)
    sums = torch.zeros(n, dtype=torch.int64, device=device)
    sums.index_add_(0, bonds[:, 0], orders).index_add_(0, bonds[:, 1], orders)

    allowed = valence_table().to(device)
    atom_stable = allowed[structures.species, sums.clamp(max=allowed.shape[1] - 1)]  # [N]
    n_stable = torch.zeros(structures.n_structures, dtype=torch.int64, device=device)
    n_stable.index_add_(0, structures.batch, atom_stable.long())
    molecule_stable = (n_stable == structures.n_atoms) & (structures.n_atoms > 0)  # [B]
    return D1(atom_stable, molecule_stable, sums, bonds, orders)


def _bonds(structures: Structures) -> tuple[Tensor, Tensor]:
    """[M, 2] pairs and [M] orders of all bonds."""
    positions, species = structures.positions.detach().double(), structures.species
    limits = thresholds().to(positions.device)
    pairs, orders = [], []
    for first, second in _pairs(structures):
        distances = 100 * (positions[first] - positions[second]).square().sum(-1).sqrt()  # [P] pm
        near = (distances < limits.max()).nonzero()[:, 0]  # most pairs are too far apart for any bond
        first, second, distances = first[near], second[near], distances[near]
        below = distances[:, None] < limits[species[first], species[second]]  # [P, 3]
        order = below.long().cumprod(-1).sum(-1)  # double is asked only inside single, triple only inside double
        found = order > 0
        pairs.append(torch.stack((first[found], second[found]), -1))
        orders.append(order[found])
    return torch.cat(pairs), torch.cat(orders)


def _pairs(structures: Structures) -> Iterator[tuple[Tensor, Tensor]]:
    """All pairs i < j within structures, as indices of atoms, a bounded number at a time."""
    n, device = len(structures.species), structures.positions.device
    ends = (structures.offsets + structures.n_atoms)[structures.batch]  # [N] one past the last atom of the structure
    partners = ends - torch.arange(n, device=device) - 1  # [N] atoms that follow in the same structure
    chunk = partners.cumsum(0) // PAIRS_AT_ONCE  # [N] ascending
    bounds = [0, *((chunk[1:] != chunk[:-1]).nonzero()[:, 0] + 1).tolist(), n]
    for low, high in pairwise(bounds):
        counts = partners[low:high]
        first = torch.repeat_interleave(torch.arange(low, high, device=device), counts)  # [P]
        rank = torch.arange(len(first), device=device) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        yield first, first + 1 + rank
