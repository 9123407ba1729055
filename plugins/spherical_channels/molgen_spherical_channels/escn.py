"""eSCN: Passaro and Zitnick 2023, "Reducing SO(3) convolutions to SO(2) for efficient equivariant GNNs"."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from molgen.nn import EquivariantLinear, EquivariantNorm, Gate, edge_frames, spherical_irreps
from molgen_spherical_channels.config import ESCNConfig
from molgen_spherical_channels.encoder import SILU_GAIN, Message, SphericalChannels

__all__ = ["ESCN", "SO2Linear", "build"]


def build(config: ESCNConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> ESCN:
    """The `escn` encoder of a config; see :class:`ESCN`."""
    return ESCN(config, inputs=inputs, edge_inputs=edge_inputs, average_neighbors=average_neighbors)


class ESCN(SphericalChannels):
    """Exactly equivariant and smooth in every direction.

    In the frame of an edge, turns about the edge are all that is left of the rotations, so linear maps may mix degrees
    as long as they leave each order m to itself: what a tensor product with harmonics of all degrees does, at far less
    cost.

    Args:
        config: see :class:`ESCNConfig`.
        inputs: invariant scalars per node.
        edge_inputs: invariant scalars per edge, 0 for none.
        average_neighbors: what sums over neighbours are divided by.

    >>> import molgen
    >>> from molgen.neighbors import complete_graph
    >>> config = {"channels": 8, "layers": 2, "hidden_channels": 8}
    >>> encoder = molgen.build("encoder", "escn", inputs=4, average_neighbors=2.0, config=config)
    >>> water = molgen.Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> encoder(complete_graph(water.to(torch.float32)), torch.ones(3, 4)).nodes.shape
    torch.Size([3, 72])
    """

    def __init__(self, config: ESCNConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> None:
        super().__init__(
            config,
            [_SO2Message(config, first=number == 0) for number in range(config.layers)],
            [_Update(config) for _ in range(config.layers)],
            frames=edge_frames,
            inputs=inputs,
            edge_inputs=edge_inputs,
            average_neighbors=average_neighbors,
        )


class SO2Linear(nn.Module):
    """Linear maps of features in a frame that commute with turns about its axis: a matrix for each m.

    Features of ±m are the real and the imaginary part of one complex number per channel. The general map multiplies
    by a complex matrix A + iB (Passaro and Zitnick 2023, eq. 6); B changes sign in a mirror, so that with `reflections`
    it is left out.

    Args:
        inputs: features of each m = 0, 1, …; those of m > 0 stand twice, for +m and −m.
        outputs: likewise.
        bias: of m = 0.
        reflections: commute with mirrors that hold the axis, too.
    """

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int], *, bias: bool, reflections: bool) -> None:
        super().__init__()
        self.reflections = reflections
        self.sizes = [inputs[0], *(n for size in inputs[1:] for n in ([size, size] if reflections else [2 * size]))]
        parts = 1 if reflections else 2
        self.weights = nn.ParameterList(
            torch.randn(1 if m == 0 else parts, n_in, n_out) / math.sqrt(n_in * (1 if m == 0 else parts))
            for m, (n_in, n_out) in enumerate(zip(inputs, outputs, strict=True))
        )
        self.bias = nn.Parameter(torch.zeros(outputs[0])) if bias else None

    def forward(self, x: Tensor) -> list[Tensor]:
        """[S, outputs] of m = 0, +1, −1, +2, … of x [S, Σ inputs]."""
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


class _SO2Message(Message):
    """SO(2) linear map, radial functions, gates, SO(2) linear map.

    All features of m = 0 are invariant in the frame: they pass SiLU, and further ones gate those of each m > 0.
    """

    def __init__(self, config: ESCNConfig, *, first: bool) -> None:
        super().__init__()
        c, h, l_max = config.channels, config.hidden_channels, config.l_max
        # scalars stay at m = 0
        self.m_out = 0 if first else config.orders
        self.radial = h * (self.m_out + 1)
        sizes = [c * (l_max + 1 - m) for m in range(self.m_out + 1)]
        hidden = [h] * (self.m_out + 1)
        inner = [h * (self.m_out + 1), *hidden[1:]]
        inputs = [c] if first else sizes
        self.read = SO2Linear(inputs, inner, bias=True, reflections=config.reflections)
        self.write = SO2Linear(hidden, sizes, bias=False, reflections=config.reflections)
        with torch.no_grad():
            self.write.weights[0].mul_(SILU_GAIN)

    def forward(self, features: Tensor, radial: Tensor) -> Tensor:
        scalars, *pairs = self.read(features)
        h = radial.shape[1] // (self.m_out + 1)
        if not pairs:
            return self.write(F.silu(scalars * radial))[0]
        plain, gates = scalars.split((h, self.m_out * h), dim=1)
        flat, factors = radial.split((h, self.m_out * h), dim=1)
        gates = (torch.sigmoid(gates) * factors).chunk(self.m_out, dim=1)
        gated = [pair * gates[index // 2] for index, pair in enumerate(pairs)]
        return torch.cat(self.write(torch.cat([F.silu(plain * flat), *gated], dim=1)), dim=1)


class _Update(nn.Module):
    """Messages added, then a gated network of each atom's own channels."""

    def __init__(self, config: ESCNConfig) -> None:
        super().__init__()
        irreps, c = spherical_irreps(config.l_max), config.channels
        self.take = EquivariantLinear(irreps, c, c, bias=False)
        self.network = nn.Sequential(
            EquivariantNorm(irreps, c),
            EquivariantLinear(irreps, c, c),
            Gate(irreps, c),
            EquivariantLinear(irreps, c, c),
        )

    def forward(self, x: Tensor, total: Tensor) -> Tensor:
        x = x + self.take(total)
        found: Tensor = x + self.network(x)
        return found
