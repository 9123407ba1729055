"""Rotations into the frames of edges, whose polar axis +y is the edge, with components in order of m.

In the frame, components of order |m| ≤ m_max stand m by m: those of m = 0 for l = 0, 1, …; then +1 for l = 1, 2, …,
−1 likewise, +2, …. So the features of one m are one slice, and a linear map between them one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from molgen.nn import WignerD

__all__ = ["FrameRotations", "frame_order", "roll_matrices", "turned"]

# in the unit of the vectors: far below a bond, where the direction between two atoms begins to lose its meaning
_MEETING: Final = 1e-3


def frame_order(l_max: int, m_max: int) -> list[tuple[int, int]]:
    """(l, m) of each component in a frame.

    >>> frame_order(2, 1)
    [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (1, -1), (2, -1)]
    """
    orders = [0, *(sign * m for m in range(1, m_max + 1) for sign in (1, -1))]
    return [(l, m) for m in orders for l in range(abs(m), l_max + 1)]


class FrameRotations(nn.Module):
    """[S, M, K] rows |m| ≤ m_max of the Wigner matrices that take features [S, K, C] into the frames of vectors.

    Degrees above zero are damped where two atoms meet, by r²/(r² + ε²) with ε = 0.001: at zero length, where there is
    no direction, only scalars pass, so that what follows is equivariant there too, and its derivatives are finite.

    Args:
        l_max: K = (l_max + 1)².
        m_max: M rows, see `frame_order`.
        frames: [S, 3, 3] rotations of vectors [S, 3] to +y.
    """

    def __init__(self, l_max: int, m_max: int, frames: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.wigner = WignerD(l_max)
        self.frames = frames
        self.order = frame_order(l_max, m_max)

    def forward(self, vectors: Tensor) -> Tensor:
        """Of vectors [S, 3]."""
        square = vectors.square().sum(1)
        damping = (square / (square + _MEETING**2))[:, None, None]
        first, *further = self.wigner(self.frames(vectors))
        found: Tensor = _Rows.apply(self.order, first, *(block * damping for block in further))
        return found


def roll_matrices(l_max: int, m_max: int, count: int) -> Tensor:
    """[count, M, M] turns of features in a frame by 2πk/count about its edge, k = 0 … count − 1; float64."""
    angles = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count
    c, s, zero, one = angles.cos(), angles.sin(), torch.zeros_like(angles), torch.ones_like(angles)
    turns = torch.stack((c, zero, s, zero, one, zero, -s, zero, c), 1).view(count, 3, 3)
    order = frame_order(l_max, m_max)
    rows = _Rows.apply(order, *WignerD(l_max)(turns))  # [count, M, K]
    return rows[:, :, [l * l + l + m for l, m in order]]


def turned(matrices: Tensor, features: Tensor) -> Tensor:
    """[B, X, C] products of [B, X, Y] and [B, Y, C], which no autocast region rounds, nor their derivatives."""
    found: Tensor = _Turned.apply(matrices, features)
    return found


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrices: Tensor, features: Tensor) -> Tensor:
        ctx.save_for_backward(matrices, features)
        with torch.autocast(features.device.type, enabled=False):
            return torch.bmm(matrices, features)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        matrices, features = ctx.saved_tensors
        of_matrices = turned(grads[0], features.mT) if ctx.needs_input_grad[0] else None
        return of_matrices, turned(matrices.mT, grads[0]) if ctx.needs_input_grad[1] else None


class _Rows(torch.autograd.Function):
    """The chosen rows of a block-diagonal matrix, [S, M, K] of blocks [S, 2l + 1, 2l + 1]."""

    @staticmethod
    def forward(ctx: Any, order: list[tuple[int, int]], *blocks: Tensor) -> Tensor:
        ctx.order = order
        rows = blocks[0].new_zeros(len(blocks[0]), len(order), len(blocks) ** 2)
        for place, (l, m) in enumerate(order):
            rows[:, place, l * l : (l + 1) ** 2] = blocks[l][:, l + m]
        return rows

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_Blocks.apply(ctx.order, grads[0])


class _Blocks(torch.autograd.Function):
    """The transpose of `_Rows`."""

    @staticmethod
    def forward(ctx: Any, order: list[tuple[int, int]], rows: Tensor) -> tuple[Tensor, ...]:
        ctx.order = order
        degrees = max(l for l, _ in order) + 1
        blocks = [rows.new_zeros(len(rows), 2 * l + 1, 2 * l + 1) for l in range(degrees)]
        for place, (l, m) in enumerate(order):
            blocks[l][:, l + m] = rows[:, place, l * l : (l + 1) ** 2]
        return tuple(blocks)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, _Rows.apply(ctx.order, *grads)
