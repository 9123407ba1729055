"""Derivatives by central differences of eighth order: in float64 right to some eleven digits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from molgen.structures import Structures, concatenate

STEP = 3e-4  # Å: what the order leaves is below the rounding of energies over the step, some 1e-11 eV/Å
_WEIGHTS = (4 / 5, -1 / 5, 4 / 105, -1 / 280)  # of f(kh) − f(−kh), k = 1 … 4
OFFSETS = torch.tensor([k * sign for k in range(1, 5) for sign in (1, -1)], dtype=torch.float64)
COEFFICIENTS = torch.tensor([w * sign for w in _WEIGHTS for sign in (1, -1)], dtype=torch.float64)


def derivative(values: Tensor, step: float = STEP) -> Tensor:
    """Of values [8, ...] at the offsets times step."""
    return torch.tensordot(COEFFICIENTS, values, dims=1) / step


def displaced(structures: Structures, direction: Tensor) -> Structures:
    """Eight copies of the batch, one at each offset along a direction [N, 3]."""
    moves = STEP * OFFSETS
    return concatenate([structures.replace(positions=structures.positions + move * direction) for move in moves])


def slopes(energy: Callable[[Structures], Tensor], structure: Structures) -> Tensor:
    """[N, 3] the derivative of a structure's energy, which is given for batches, by every coordinate."""
    n = len(structure.positions)
    basis = torch.eye(3 * n, dtype=torch.float64).reshape(3 * n, n, 3)
    batch = concatenate([displaced(structure, direction) for direction in basis])
    return derivative(energy(batch).reshape(3 * n, 8).T).reshape(n, 3)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest number."""
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())
