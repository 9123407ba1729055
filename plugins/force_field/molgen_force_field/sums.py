"""Sums over the atoms of each structure, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mean_over_structures", "sum_over_structures"]


def sum_over_structures(values: Tensor, batch: Tensor, structures: int) -> Tensor:
    """[B, ...] float64 of values [N, ...] and the structure [N] of each; zero for a structure without atoms.

    >>> sum_over_structures(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 0, 2]), 3).tolist()
    [3.0, 0.0, 4.0]
    """
    values = values.to(torch.float64)
    # its derivatives, of any order, are gathers; segment reductions have none of second order
    return values.new_zeros(structures, *values.shape[1:]).index_add(0, batch, values)


def mean_over_structures(values: Tensor, batch: Tensor, structures: int) -> Tensor:
    """[B, ...] float64 of values [N, ...]; zero for a structure without atoms."""
    count = sum_over_structures(torch.ones_like(batch), batch, structures).clamp(min=1.0)
    return sum_over_structures(values, batch, structures) / count.reshape(-1, *[1] * (values.ndim - 1))
