"""Bond lengths, angles and torsions of molecules with known bonds, each with its type and its molecule.

Types tell apart what has a distribution of its own. A bond: both elements and the order. An angle: the element in the
middle, and element and order on either side. A torsion: the four elements and the order of the bond in the middle.
Orders are 1, 2, 3, and 4 for aromatic bonds, since which of them are double in a Kekulé structure is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from molgen.chemistry.perception import Perceived
from molgen.structures import Structures

__all__ = ["Coordinates", "Internal", "internal"]

AROMATIC: Final = 4
_ELEMENTS: Final = 128  # more than there are; types are numbers with this base
_ORDERS: Final = 8
# sin of the angles on both sides below which a torsion is noise: about 3° from a straight line
_STRAIGHT: Final = 0.05


@dataclass(frozen=True, eq=False)
class Coordinates:
    """K values of one kind, in Å or degrees."""

    values: np.ndarray  # [K] float64
    types: np.ndarray  # [K] int64, equal for equal types
    owners: np.ndarray  # [K] int64, the molecule of each
    n_molecules: int


@dataclass(frozen=True, eq=False)
class Internal:
    """All internal coordinates of B molecules; those without molecule have none."""

    bond_lengths: Coordinates  # Å
    angles: Coordinates  # degrees, 0 to 180
    torsions: Coordinates  # degrees, 0 to 180: without the sign, for mirror images are one


def internal(structures: Structures, perceived: Sequence[Perceived]) -> Internal:
    """Internal coordinates of B structures, over the bonds that were perceived; periodic structures have none.

    >>> from molgen.chemistry.perception import perceive
    >>> water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], species=[8, 1, 1])
    >>> found = internal(water, perceive(water))
    >>> found.bond_lengths.values.round(2).tolist(), found.angles.values.round().tolist()
    ([0.96, 0.96], [104.0])
    """
    structures = structures.to("cpu")
    starts, periodic = structures.offsets.tolist(), structures.pbc.any(1).tolist()
    open_ones = [(start, found) for start, found, wraps in zip(starts, perceived, periodic, strict=True) if not wraps]
    none = np.zeros(0, dtype=np.int64)
    bonds = np.concatenate([none.reshape(0, 2), *(found.bonds + start for start, found in open_ones)])  # [M, 2]
    orders = np.concatenate([none, *(_orders(found) for _, found in open_ones)])  # [M]
    graph = _Graph(bonds, orders, len(structures.species))
    positions, species = structures.positions.detach().double().numpy(), structures.species.numpy()
    owners, n = structures.batch.numpy(), structures.n_structures

    def coordinates(values: np.ndarray, types: np.ndarray, atoms: np.ndarray) -> Coordinates:
        return Coordinates(values, types, owners[atoms], n)

    return Internal(
        coordinates(*_bond_lengths(bonds, orders, positions, species), bonds[:, 0]),
        coordinates(*_angles(graph, positions, species)),
        coordinates(*_torsions(bonds, orders, graph, positions, species)),
    )


class _Graph:
    """Who is bonded to whom: the neighbours of atom a are `heads[first[a] : first[a] + degree[a]]`."""

    def __init__(self, bonds: np.ndarray, orders: np.ndarray, n_atoms: int) -> None:
        tails = np.concatenate([bonds[:, 0], bonds[:, 1]])
        by_tail = np.argsort(tails, kind="stable")
        self.tails = tails[by_tail]  # [2M]
        self.heads = np.concatenate([bonds[:, 1], bonds[:, 0]])[by_tail]  # [2M]
        self.orders = np.concatenate([orders, orders])[by_tail]  # [2M]
        self.degree = np.bincount(tails, minlength=n_atoms)  # [N]
        self.first = np.cumsum(self.degree) - self.degree  # [N]


def _orders(found: Perceived) -> np.ndarray:
    if found.mol is None or not any(True for _ in found.mol.GetAromaticAtoms()):
        return found.bond_orders
    aromatic = [found.mol.GetBondBetweenAtoms(i, j).GetIsAromatic() for i, j in found.bonds.tolist()]
    return np.where(aromatic, AROMATIC, found.bond_orders)


def _bond_lengths(
    bonds: np.ndarray, orders: np.ndarray, positions: np.ndarray, species: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[M] lengths and types."""
    pair = np.sort(species[bonds], axis=1)  # [M, 2]
    lengths = np.linalg.norm(positions[bonds[:, 0]] - positions[bonds[:, 1]], axis=1)
    return lengths, (pair[:, 0] * _ELEMENTS + pair[:, 1]) * _ORDERS + orders


def _angles(graph: _Graph, positions: np.ndarray, species: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, types and the atoms in the middle of all angles: each pair of bonds that share an atom once."""
    edges = np.arange(len(graph.tails))
    later = (graph.first + graph.degree)[graph.tails] - edges - 1  # [2M] bonds of the same atom that follow
    one = np.repeat(edges, later)  # [K]
    other = one + 1 + _ranks(later)  # [K]
    middle = graph.tails[one]
    u, v = positions[graph.heads[one]] - positions[middle], positions[graph.heads[other]] - positions[middle]
    sides = species[graph.heads] * _ORDERS + graph.orders  # [2M]
    pair = np.sort(np.stack([sides[one], sides[other]], axis=1), axis=1)  # [K, 2]
    types = (pair[:, 0] * _ELEMENTS * _ORDERS + pair[:, 1]) * _ELEMENTS + species[middle]
    # the arc tangent is exact at 0 and 180 degrees, where the arc cosine is not
    sine, cosine = np.linalg.norm(np.cross(u, v), axis=1), (u * v).sum(1)
    return np.degrees(np.arctan2(sine, cosine)), types, middle


def _torsions(
    bonds: np.ndarray, orders: np.ndarray, graph: _Graph, positions: np.ndarray, species: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, types and the second atoms of all chains i-j-k-l over each bond j-k; straight chains have none."""
    n_chains = graph.degree[bonds[:, 0]] * graph.degree[bonds[:, 1]]  # [M]
    bond, rank = np.repeat(np.arange(len(bonds)), n_chains), _ranks(n_chains)
    j, k = bonds[bond, 0], bonds[bond, 1]
    i, l = graph.heads[graph.first[j] + rank // graph.degree[k]], graph.heads[graph.first[k] + rank % graph.degree[k]]
    chain = (i != k) & (l != j) & (i != l)
    i, j, k, l, order = i[chain], j[chain], k[chain], l[chain], orders[bond[chain]]

    first, axis, last = positions[j] - positions[i], positions[k] - positions[j], positions[l] - positions[k]
    one, other = np.cross(first, axis), np.cross(axis, last)
    length = np.linalg.norm(axis, axis=1)
    bent = np.linalg.norm(one, axis=1) > _STRAIGHT * np.linalg.norm(first, axis=1) * length
    bent &= np.linalg.norm(other, axis=1) > _STRAIGHT * np.linalg.norm(last, axis=1) * length
    sine = np.abs((np.cross(one, other) * axis).sum(1)) / np.where(bent, length, 1)
    values = np.degrees(np.arctan2(sine, (one * other).sum(1)))

    elements = [species[atoms] for atoms in (i, j, k, l)]
    types = np.minimum(_number(elements), _number(elements[::-1])) * _ORDERS + order  # read from either end
    return values[bent], types[bent], j[bent]


def _number(digits: Sequence[np.ndarray]) -> np.ndarray:
    number = np.zeros_like(digits[0])
    for digit in digits:
        number = number * _ELEMENTS + digit
    return number


def _ranks(counts: np.ndarray) -> np.ndarray:
    """0, 1, … counts[0] − 1, 0, 1, … counts[1] − 1, and so on."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
