"""What `escn` and `scn` share: spherical channels that messages in the frames of edges update, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional as F

from molgen.errors import ConfigError
from molgen.interfaces import EdgeSpec, Encoder, Features, check_inputs
from molgen.neighbors import Graph
from molgen.nn import EquivariantLinear, EquivariantNorm, Neighborhoods, RadialNetwork, spherical_irreps, to_mul_ir
from molgen_spherical_channels.config import SphericalChannelsConfig
from molgen_spherical_channels.frames import FrameRotations, turned

__all__ = ["SILU_GAIN", "Message", "SphericalChannels", "keep_variance"]

# one over the root mean square of SiLU of a normal variable
SILU_GAIN: Final = 1.679
# one over the root mean square of radial bases at usual lengths, about
_OF_RADIAL_BASES: Final = 4.0


def keep_variance(network: nn.Sequential, first: float = 1.0) -> nn.Sequential:
    """The network with fresh weights of its linear maps that keep unit variance through SiLU, and biases of zero.

    `first` is one over the root mean square of what the network reads.
    """
    for number, layer in enumerate(each for each in network if isinstance(each, nn.Linear)):
        nn.init.normal_(layer.weight, std=(SILU_GAIN if number else first) / math.sqrt(layer.in_features))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return network


class Message(nn.Module):
    """Base class: the network that makes a message of what an edge joins, in the edge's own frame.

    It reads and returns components in the order of `frame_order`: those of all orders, only scalars in the first layer;
    it returns those of |m| ≤ `m_out`. Functions of the edge modulate it, so that it is zero where they are.
    """

    m_out: int
    radial: int  # P, functions of the edge that it takes

    def forward(self, features: Tensor, radial: Tensor) -> Tensor:
        """[S, M_out · C] of features [S, M_in · C] and radial functions [S, P]."""
        raise TypeError(f"{type(self).__name__} does not define forward")


class SphericalChannels(Encoder):
    """Spherical channels [N, K, C] of atoms, updated by messages.

    Args:
        config: options that both encoders have.
        messages: of each layer; the first reads scalars only, since there is nothing else yet.
        updates: of each layer: channels [N, K, C] of channels and what messages add to them, both [N, K, C].
        frames: [S, 3, 3] rotations of vectors [S, 3] to +y.
        inputs: invariant scalars per node.
        edge_inputs: invariant scalars per edge, 0 for none.
        average_neighbors: what sums over neighbours are divided by.
    """

    def __init__(
        self,
        config: SphericalChannelsConfig,
        messages: Sequence[Message],
        updates: Sequence[nn.Module],
        *,
        frames: Callable[[Tensor], Tensor],
        inputs: int,
        edge_inputs: int,
        average_neighbors: float,
    ) -> None:
        super().__init__()
        if not 0 < average_neighbors < math.inf:
            raise ConfigError(f"average_neighbors is {average_neighbors}", expected="a positive number")
        self.config = config
        self.irreps = spherical_irreps(config.l_max)
        self.irreps_out = o3.Irreps([(config.channels, ir) for _, ir in self.irreps])
        self.edges = EdgeSpec("complete") if config.cutoff is None else EdgeSpec("radius", config.cutoff, periodic=True)
        self.embed = nn.Linear(inputs, config.channels)
        self.widths = {"inputs": inputs, "edge_inputs": edge_inputs}
        self.rotations = FrameRotations(config.l_max, config.orders, frames)
        self.radial_sizes = [message.radial for message in messages]
        self.radial = RadialNetwork(
            config.cutoff,
            config.radial_channels,
            edge_inputs,
            config.hidden_channels,
            sum(self.radial_sizes),
            envelope_exponent=config.envelope_exponent,
        )
        keep_variance(self.radial.network, first=_OF_RADIAL_BASES)
        self.layers = nn.ModuleList(
            _Layer(config, 0 if number == 0 else config.l_max, message, update, average_neighbors)
            for number, (message, update) in enumerate(zip(messages, updates, strict=True))
        )

    def forward(self, graph: Graph, node_scalars: Tensor, edge_scalars: Tensor | None = None) -> Features:
        """Nodes [N, C · K], in each degree channel after channel."""
        check_inputs(self.embed.weight.dtype, graph, node_scalars, edge_scalars, **self.widths)
        hoods = Neighborhoods(graph)
        # an autocast region must not round geometry
        with torch.autocast(graph.vectors.device.type, enabled=False):
            rotations = [self.rotations(block.flatten(0, 1)) for block in hoods.of_edges(graph.vectors)]
        radial = [
            block.flatten(0, 1).split(self.radial_sizes, dim=1)
            for block in hoods.of_edges(self.radial(graph, edge_scalars))
        ]
        x = self.embed(node_scalars).to(graph.vectors.dtype)[:, None]  # [N, 1, C]: scalars
        for number, layer in enumerate(self.layers):
            if number:
                x = graph.exchange(x)
            x = layer(x, hoods, rotations, [parts[number] for parts in radial])  # [N, K, C]
        return Features(to_mul_ir(x, self.irreps))


class _Layer(nn.Module):
    """Messages into each atom, and what they change."""

    def __init__(
        self,
        config: SphericalChannelsConfig,
        l_in: int,
        message: Message,
        update: nn.Module,
        average_neighbors: float,
    ) -> None:
        super().__init__()
        before, c = spherical_irreps(l_in), config.channels
        self.l_in, self.l_max, self.average_neighbors = l_in, config.l_max, average_neighbors
        self.rows = (config.l_max + 1) + sum(2 * (config.l_max + 1 - m) for m in range(1, message.m_out + 1))
        self.norm = EquivariantNorm(before, c)
        # of senders and receivers, before they are turned: what mixes channels commutes with rotations
        self.mix = EquivariantLinear(before, c, 2 * c)
        self.message = message
        self.update = update

    def forward(self, x: Tensor, hoods: Neighborhoods, rotations: list[Tensor], radial: list[Tensor]) -> Tensor:
        n, components, c = x.shape
        sender, receiver = self.mix(self.norm(x)).to(x.dtype).flatten(1).view(n, components, 2, c).unbind(2)
        received = []
        for block, turn, functions, gathered in zip(
            hoods.blocks, rotations, radial, hoods.of_senders(sender.flatten(1)[None]), strict=True
        ):
            count, width = len(block.receivers), block.width
            own = receiver.index_select(0, block.receivers).flatten(1)  # [R, K·C]
            pair = (gathered.squeeze(0) + own[:, None]).view(count * width, components, c)
            features = turned(turn, pair) if self.l_in else pair  # [S, M, C], S = R·W slots
            y = self.message(features.flatten(1), functions).to(x.dtype)  # [S, M·C], zero in empty slots
            rows = turn if self.rows == turn.shape[1] else turn[:, : self.rows]
            rows = rows.reshape(count, width * self.rows, turn.shape[2])
            received.append(turned(rows.mT, y.view(count, width * self.rows, c))[None])  # Σ_j D_jᵀ y_j, [1, R, K, C]
        total = hoods.to_nodes(received)[0] / self.average_neighbors  # [N, K, C]
        if not self.l_in:
            x = F.pad(x, (0, 0, 0, total.shape[1] - 1))
        changed: Tensor = self.update(x, total)
        return changed
