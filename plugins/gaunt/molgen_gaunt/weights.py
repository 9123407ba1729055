"""Weights per degree and channel of the factored form Σᵣ aᵣ(l₁, u) bᵣ(l₂, u) cᵣ(l₃, u)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen_gaunt.channels import joined

__all__ = ["DegreeWeights"]


class DegreeWeights(nn.Module):
    """Weights of the three sides of a channel-wise product; rank 1 is the paper's a(l₁) b(l₂) c(l₃).

    The result is divided by √rank, so that its variance with standard normal weights doesn't grow.

    Args:
        sides: irreps of both inputs and of the output.
        rank: number of terms.
        internal: whether the module holds them; standard normal at the start.

    Attributes:
        numel: numbers in one set of weights: of each side in turn, [rank, irreps, channels].
        weighted: irreps of the sides that the product of weighted inputs has; a side that meets all channels has its
            own weights for each, and so as many channels.
    """

    place0: Tensor
    place1: Tensor
    place2: Tensor
    spread: Tensor

    def __init__(self, sides: list[o3.Irreps], rank: int, *, internal: bool) -> None:
        super().__init__()
        self.rank = rank
        channels = max(max(joined(side).values()) for side in sides[:2])
        self.weighted: list[o3.Irreps] = []
        self.sizes: list[int] = []
        self.shared = -1  # the side that meets all channels, if there is one
        for s, side in enumerate(sides):
            found = joined(side)
            shared = s < 2 and max(found.values()) == 1 < channels
            wide = o3.Irreps([(channels, ir) for _, ir in side]) if shared else side
            self.weighted.append(wide)
            numbers = {ir: i for i, ir in enumerate(found)}
            per_irrep = channels if shared else max(found.values())
            used = dict.fromkeys(found, 0)
            place: list[int] = []
            for mul, ir in wide:
                for u in range(mul):
                    place += [numbers[ir] * per_irrep + used[ir] + u] * ir.dim
                used[ir] += mul
            self.register_buffer(f"place{s}", torch.tensor(place), persistent=False)
            self.sizes.append(len(found) * per_irrep)
            if shared:
                self.shared = s
                starts = [place.start for place in side.slices()]
                index = [
                    start + i
                    for start, (_, ir) in zip(starts, side, strict=True)
                    for _ in range(channels)
                    for i in range(ir.dim)
                ]
                self.register_buffer("spread", torch.tensor(index), persistent=False)
        self.numel = rank * sum(self.sizes)
        self.weights = nn.Parameter(torch.randn(self.numel)) if internal else None

    def forward(
        self, x1: Tensor, x2: Tensor, weights: Tensor | None, product: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """[B, width₃] of [B, width₁], [B, width₂] and weights [B, numel], or the module's own."""
        if weights is None:
            if self.weights is None:
                raise ValueError("no weights")
            weights = self.weights[None]
        parts = weights.split([self.rank * size for size in self.sizes], dim=-1)
        a, b, c = (part.unflatten(1, (self.rank, size)) for part, size in zip(parts, self.sizes, strict=True))
        inputs = []
        for s, (x, w) in enumerate(((x1, a), (x2, b))):
            wide = x.index_select(1, self.spread) if s == self.shared else x
            inputs.append((wide[:, None] * w.index_select(2, self._place(s))).flatten(0, 1))
        out = product(inputs[0], inputs[1]).unflatten(0, (len(x1), self.rank))
        return (out * c.index_select(2, self.place2)).sum(1) / math.sqrt(self.rank)

    def _place(self, s: int) -> Tensor:
        return self.place0 if s == 0 else self.place1
