"""Molecules that lie as the tests want them, and rotations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor

from molgen.nn import WignerD
from molgen.structures import Structures

# elements of the atoms, one after another
_SPECIES = (8, 1, 6, 1, 7, 6, 1, 8)


def molecule(*counts: int, seed: int = 0, cutoff: float | None = None) -> Structures:
    """Structures of so many atoms, 0.8 Å apart or more, no two of them near the cutoff.

    No edge is within 18° of the polar axis y, where an encoder that is not smooth may have its pole.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = [_placed(n, generator, cutoff) for n in counts]
    return structures_of(torch.cat(parts), counts)


def structures_of(positions: Tensor, counts: Sequence[int] | None = None) -> Structures:
    """Structures of positions, with elements in turn in each."""
    counts = [len(positions)] if counts is None else counts
    return Structures.build(positions, [_SPECIES[i % len(_SPECIES)] for n in counts for i in range(n)], n_atoms=counts)


def octahedron(tilt: float = 0.0, turn: float = 0.0) -> Structures:
    """An atom with six neighbours on the axes ±x, ±y, ±z, tilted about z and turned about x (radians)."""
    axes = torch.cat((torch.zeros(1, 3), torch.eye(3), -torch.eye(3))).double()
    radii = torch.tensor([0.0, 1.2, 1.25, 1.3, 1.35, 1.4, 1.15], dtype=torch.float64)
    angles = torch.tensor([turn, 0.0, tilt], dtype=torch.float64)
    generators = torch.tensor(
        [[[0, 0, 0], [0, 0, -1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [-1, 0, 0]], [[0, -1, 0], [1, 0, 0], [0, 0, 0]]]
    ).double()
    rotation = torch.linalg.matrix_exp((angles[:, None, None] * generators).sum(0))
    return structures_of((radii[:, None] * axes) @ rotation.T)


def crystal() -> Structures:
    """Three atoms in a skew cell whose height is less than the cutoff."""
    cell = torch.tensor([[2.6, 0.1, 0.0], [0.5, 2.7, 0.3], [0.2, -0.4, 2.8]], dtype=torch.float64)
    x = torch.tensor([[0.1, 0.0, 0.2], [1.3, 0.6, 1.1], [0.5, 1.6, 2.0]], dtype=torch.float64)
    return Structures.build(x, [8, 1, 6], cell=cell[None], pbc=[[True] * 3])


def orthogonal(seed: int, *, inverted: bool = False) -> Tensor:
    """[3, 3] a random rotation, with an inversion after it where asked."""
    q = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return o3.quaternion_to_matrix(q / q.norm()) * (-1.0 if inverted else 1.0)


def turned(structures: Structures, q: Tensor) -> Structures:
    """The structures with every position multiplied by q [3, 3]."""
    return structures.replace(positions=structures.positions @ q.T)


def representation(irreps: o3.Irreps, q: Tensor) -> Tensor:
    """[dim, dim] what q does to features of these irreps, in float64."""
    inverted = bool(torch.det(q) < 0)
    blocks = WignerD(irreps.lmax)(-q if inverted else q)
    signed = [(ir.p if inverted else 1) * blocks[ir.l] for mul, ir in irreps for _ in range(mul)]
    return torch.block_diag(*signed)


def _placed(n: int, generator: torch.Generator, cutoff: float | None) -> Tensor:
    """[n, 3], atom after atom where it is allowed."""
    chosen = torch.zeros(0, 3, dtype=torch.float64)
    while len(chosen) < n:
        # as flat as edges far from the polar axis want it
        box = torch.tensor([1.0, 0.5, 1.0]) * 0.9 * (n + 1) ** (1 / 2)
        atom = (2 * torch.rand(3, dtype=torch.float64, generator=generator) - 1) * box
        vectors = atom - chosen
        lengths = vectors.norm(dim=1)
        fits = (lengths > 0.8) & (vectors[:, 1].abs() < math.cos(math.radians(18)) * lengths)
        if cutoff is not None:
            fits &= (lengths - cutoff).abs() > 0.05
        if fits.all():
            chosen = torch.cat((chosen, atom[None]))
    return chosen
