"""Coordinates without centre of mass: the space in which generators noise and denoise."""

from __future__ import annotations

import torch
from torch import Tensor

from molgen.structures import Structures

__all__ = ["centre", "mean_over_atoms"]


def mean_over_atoms(values: Tensor, structures: Structures) -> Tensor:
    """[B, ...]: the mean over each structure's atoms, of values [N, ...]."""
    n = structures.n_atoms
    if len(n) and bool((n == n[0]).all()):
        return values.reshape(len(n), -1, *values.shape[1:]).mean(1)
    return torch.segment_reduce(values, "mean", lengths=n, unsafe=True)


def centre(values: Tensor, structures: Structures) -> Tensor:
    """[N, 3] with the mean over each structure's atoms taken off.

    >>> pair = Structures.build([[0.0, 0, 0], [2.0, 0, 0]], [1, 1])
    >>> centre(pair.positions, pair)[:, 0].tolist()
    [-1.0, 1.0]
    """
    mean = mean_over_atoms(values, structures)
    return values - torch.repeat_interleave(mean, structures.n_atoms, dim=0, output_size=len(values))
