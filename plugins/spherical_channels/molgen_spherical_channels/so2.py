"""Linear maps and gates of features in the frame of an edge that commute with turns about it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SO2Linear", "gated"]


class SO2Linear(nn.Module):
    """A matrix for each order m.

    Features of ±m are the real and the imaginary part of one complex number per channel. The general map multiplies
    by a complex matrix A + iB (Passaro and Zitnick 2023, eq. 6); B changes sign in a mirror, so that with `reflections`
    it is left out.

    Args:
        inputs: features of each m = 0, 1, …; those of m > 0 stand twice, for +m and −m.
        outputs: likewise.
        bias: of m = 0.
        reflections: commute with mirrors that hold the axis, too.
        gain: of the first weights, beside those that keep unit variance.
    """

    def __init__(
        self, inputs: Sequence[int], outputs: Sequence[int], *, bias: bool, reflections: bool, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.reflections = reflections
        self.sizes = [inputs[0], *(n for size in inputs[1:] for n in ([size, size] if reflections else [2 * size]))]
        parts = [1 if reflections or m == 0 else 2 for m in range(len(inputs))]
        self.weights = nn.ParameterList(
            torch.randn(part, n_in, n_out) * (gain / math.sqrt(part * n_in))
            for part, n_in, n_out in zip(parts, inputs, outputs, strict=True)
        )
        self.bias = nn.Parameter(torch.zeros(outputs[0])) if bias else None

    def forward(self, x: Tensor) -> list[Tensor]:
        """[S, outputs] for m = 0, +1, −1, +2, … of x [S, Σ inputs], side by side in the same order."""
        parts = iter(x.split(self.sizes, dim=1))
        flat, *weights = self.weights
        found = [F.linear(next(parts), flat[0].t(), self.bias)]
        for weight in weights:
            if self.reflections:
                found += [next(parts) @ weight[0], next(parts) @ weight[0]]
            else:
                a, b = weight.unbind(0)
                product = torch.cat((torch.cat((a, b), 1), torch.cat((-b, a), 1)))  # (x₊ + ix₋)(A + iB)
                found += (next(parts) @ product).chunk(2, dim=1)
        return found


def gated(features: Sequence[Tensor], radial: Tensor) -> Tensor:
    """Radial functions and gates of features in a frame; zero where the radial functions are zero.

    Features of m = 0 times radial functions pass SiLU; those of ±m are multiplied by radial functions and by a sigmoid
    of one further invariant each, which stand after those of m = 0.

    Args:
        features: [S, H + mH] for m = 0, m the largest, then [S, H] for +1, −1, +2, ….
        radial: [S, H + mH].

    Returns:
        [S, H + 2mH].
    """
    scalars, *pairs = features
    h = pairs[0].shape[1] if pairs else radial.shape[1]
    if not pairs:
        return F.silu(scalars * radial)
    plain, gates = scalars.split((h, radial.shape[1] - h), dim=1)
    flat, factors = radial.split((h, radial.shape[1] - h), dim=1)
    factors = (torch.sigmoid(gates) * factors).split(h, dim=1)
    turned = [pair * factors[index // 2] for index, pair in enumerate(pairs)]
    return torch.cat([F.silu(plain * flat), *turned], dim=1)
