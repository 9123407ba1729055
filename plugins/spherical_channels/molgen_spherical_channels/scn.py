"""SCN: Zitnick et al. 2022, "Spherical channels for modeling atomic interactions"."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from molgen.nn import SphereGrid, shortest_rotations
from molgen_spherical_channels.config import SCNConfig
from molgen_spherical_channels.encoder import SILU_GAIN, Message, SphericalChannels, keep_variance
from molgen_spherical_channels.frames import frame_order, roll_matrices

__all__ = ["SCN", "build"]


def build(config: SCNConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> SCN:
    """The `scn` encoder of a config; see :class:`SCN`."""
    return SCN(config, inputs=inputs, edge_inputs=edge_inputs, average_neighbors=average_neighbors)


class SCN(SphericalChannels):
    """Spherical channels with relaxed equivariance: approximate, the better the more taps and grid points.

    Args:
        config: see :class:`SCNConfig`.
        inputs: invariant scalars per node.
        edge_inputs: invariant scalars per edge, 0 for none.
        average_neighbors: what sums over neighbours are divided by.

    >>> import molgen
    >>> from molgen.neighbors import complete_graph
    >>> config = {"channels": 8, "layers": 2, "hidden_channels": 8}
    >>> encoder = molgen.build("encoder", "scn", inputs=4, average_neighbors=2.0, config=config)
    >>> water = molgen.Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> encoder(complete_graph(water.to(torch.float32)), torch.ones(3, 4)).nodes.shape
    torch.Size([3, 72])
    """

    def __init__(self, config: SCNConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> None:
        super().__init__(
            config,
            [_TappedMessage(config, first=number == 0) for number in range(config.layers)],
            [_GridUpdate(config) for _ in range(config.layers)],
            frames=shortest_rotations,
            inputs=inputs,
            edge_inputs=edge_inputs,
            average_neighbors=average_neighbors,
        )


class _TappedMessage(Message):
    """A plain network of all coefficients in the frame, averaged over frames turned by 2πk/taps about the edge.

    Turning the frame turns the first and the last matrix instead of the features: taps side by side are one wide
    network with shared weights.
    """

    turns: Tensor

    def __init__(self, config: SCNConfig, *, first: bool) -> None:
        super().__init__()
        self.m_out = config.orders
        self.radial = h = config.hidden_channels
        rows = len(frame_order(config.l_max, config.orders))
        before = 1 if first else rows
        c = config.channels
        self.read = nn.Parameter(torch.randn(before, c, h) / math.sqrt(before * c))
        self.bias = nn.Parameter(torch.zeros(h))
        self.inner = nn.Parameter(torch.randn(h, h) * (SILU_GAIN / math.sqrt(h)))
        self.write = nn.Parameter(torch.randn(h, rows, c) * (SILU_GAIN / math.sqrt(h)))
        self.turned_by = (config.l_max, config.orders, config.taps)
        self.register_buffer("turns", roll_matrices(*self.turned_by), persistent=False)  # [T, M, M], float64

    def forward(self, features: Tensor, radial: Tensor) -> Tensor:
        taps, rows, _ = self.turns.shape
        before, c, h = self.read.shape
        turns = self.turns.to(self.read.dtype)
        # W·turn and turnᵀ·W for every tap; scalars, all that the first layer reads, are not turned
        read = torch.tensordot(turns[:, :before, :before], self.read, dims=([1], [0]))  # [T, M, C, H]
        read = read.permute(1, 2, 0, 3).reshape(before * c, taps * h)
        write = torch.tensordot(turns, self.write, dims=([1], [1]))  # [T, M, H, C]
        write = write.transpose(1, 2).reshape(taps * h, rows * c) / taps
        x = (features @ read).unflatten(1, (taps, h))  # [S, T, H]
        # zero where the radial functions are zero: nothing after them has a bias
        x = F.silu((x + self.bias) * radial[:, None])
        x = F.silu(x @ self.inner)
        return x.flatten(1) @ write

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _TappedMessage:
        super()._apply(fn, recurse)
        # a round trip through lower precision must not blunt the matrices, so they keep their dtype
        if self.turns.dtype != torch.float64:
            self.turns = roll_matrices(*self.turned_by).to(self.turns.device)
        return self


class _GridUpdate(nn.Module):
    """A network of channels and messages at each point of the sphere, the same at every point (F_n in the paper)."""

    def __init__(self, config: SCNConfig) -> None:
        super().__init__()
        c = config.channels
        self.grid = SphereGrid(config.l_max, config.degree_of_grid)
        linear = [nn.Linear(2 * c, c), nn.Linear(c, c), nn.Linear(c, c, bias=False)]
        self.network = keep_variance(nn.Sequential(linear[0], nn.SiLU(), linear[1], nn.SiLU(), linear[2]))

    def forward(self, x: Tensor, total: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            values = self.grid.to_grid(torch.cat((x, total), dim=2))  # [N, G, 2C]
        values = self.network(values).to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            found: Tensor = x + self.grid.from_grid(values)
        return found
