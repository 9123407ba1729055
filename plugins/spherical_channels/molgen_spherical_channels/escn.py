"""eSCN: Passaro and Zitnick 2023, "Reducing SO(3) convolutions to SO(2) for efficient equivariant GNNs"."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from molgen.nn import EquivariantLinear, EquivariantNorm, Gate, edge_frames, spherical_irreps
from molgen_spherical_channels.config import ESCNConfig
from molgen_spherical_channels.encoder import SILU_GAIN, Message, SphericalChannels
from molgen_spherical_channels.so2 import SO2Linear, gated

__all__ = ["ESCN", "build"]


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

    >>> import molgen, torch
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


class _SO2Message(Message):
    """SO(2) linear map, radial functions and gates, SO(2) linear map.

    All features of m = 0 are invariant in the frame, whatever their degree.
    """

    def __init__(self, config: ESCNConfig, *, first: bool) -> None:
        super().__init__()
        c, h, l_max = config.channels, config.hidden_channels, config.l_max
        # scalars stay at m = 0
        self.m_out = m = 0 if first else config.orders
        self.radial = h * (m + 1)
        sizes = [c * (l_max + 1 - order) for order in range(m + 1)]
        further = [h] * m
        self.read = SO2Linear(
            [c] if first else sizes, [h * (m + 1), *further], bias=True, reflections=config.reflections
        )
        self.write = SO2Linear([h, *further], sizes, bias=False, reflections=config.reflections, gain=SILU_GAIN)

    def forward(self, features: Tensor, radial: Tensor) -> Tensor:
        return torch.cat(self.write(gated(self.read(features), radial)), dim=1)


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
