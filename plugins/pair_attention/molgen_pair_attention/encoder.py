"""Equivariant attention on complete graphs, with features of pairs that are kept from layer to layer."""

from __future__ import annotations

import math

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.interfaces import EdgeSpec, Encoder, Features, check_inputs
from molgen.neighbors import Graph
from molgen.nn import ExponentialBasis
from molgen_pair_attention.config import PairAttentionConfig
from molgen_pair_attention.layer import RADIAL, Layer, State
from molgen_pair_attention.layout import Rectangles

__all__ = ["PairAttention", "build"]


def build(config: PairAttentionConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> PairAttention:
    """The `pair-attention` encoder of a config; see :class:`PairAttention`."""
    return PairAttention(config, inputs=inputs, edge_inputs=edge_inputs, average_neighbors=average_neighbors)


class PairAttention(Encoder):
    """Scalar features of atoms and pairs, vectors of atoms, and one displacement of each atom.

    Attention over all atoms is biased by pair features and reads them (Jumper et al. 2021, supplement, algorithms 22
    and 24); vectors gather directions and other atoms' vectors (Schütt et al. 2021, eqs. 7 and 8), and their products
    are scalars again.

    Args:
        config: see :class:`PairAttentionConfig`.
        inputs: invariant scalars per node.
        edge_inputs: invariant scalars per edge, 0 for none.
        average_neighbors: what sums over all others are divided by.

    >>> import molgen, torch
    >>> from molgen.neighbors import complete_graph
    >>> config = {"channels": 16, "heads": 2, "layers": 2}
    >>> encoder = molgen.build("encoder", "pair-attention", inputs=4, average_neighbors=2.0, config=config)
    >>> water = molgen.Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> encoder(complete_graph(water.to(torch.float32)), torch.ones(3, 4)).nodes.shape
    torch.Size([3, 19])
    """

    def __init__(
        self, config: PairAttentionConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float
    ) -> None:
        super().__init__()
        if not 0 < average_neighbors < math.inf:
            raise ConfigError(f"average_neighbors is {average_neighbors}", expected="a positive number")
        self.config, c, p = config, config.channels, config.pair_channels
        self.irreps_out = o3.Irreps(f"{c}x0e + 1x1o")
        self.edge_channels = config.edge_channels
        self.edges = EdgeSpec("complete")
        self.widths = {"inputs": inputs, "edge_inputs": edge_inputs}
        self.embed = nn.Linear(inputs, c)
        self.embed_pairs = nn.Linear(inputs, 2 * p)  # as receiver and as sender
        self.basis = ExponentialBasis(RADIAL)
        self.embed_edges = nn.Linear(edge_inputs + RADIAL, p, bias=False)
        pairs_end = config.layers if config.edge_channels else config.layers - 1
        self.layers = nn.ModuleList(
            Layer(config, average_neighbors, last=number >= pairs_end) for number in range(config.layers)
        )
        self.norm = nn.LayerNorm(c)
        if config.edge_channels:
            self.norm_pairs = nn.LayerNorm(p)
            self.pair = nn.Linear(p, config.edge_channels)

    def forward(self, graph: Graph, node_scalars: Tensor, edge_scalars: Tensor | None = None) -> Features:
        """Nodes [N, channels + 3] (scalars, then the displacement as `1o`), edges [E, edge_channels] or None."""
        check_inputs(self.embed.weight.dtype, graph, node_scalars, edge_scalars, **self.widths)
        where = Rectangles(graph)
        rows = where.of_nodes(node_scalars)  # [B, n, inputs]
        receiver, sender = self.embed_pairs(rows).chunk(2, dim=-1)
        known = self.basis(graph.lengths)  # [E, RADIAL]
        known = known if edge_scalars is None else torch.cat((edge_scalars, known), dim=1)
        pairs = receiver[:, :, None] + sender[:, None] + where.of_edges(self.embed_edges(known))  # [B, n, n, P]
        directions = where.of_edges(graph.vectors)  # [B, n, n, 3]
        blank = directions.new_zeros(where.batch, where.atoms, 3, self.config.vector_channels)
        state = State(self.embed(rows), blank, blank[..., 0], pairs)
        for layer in self.layers:
            state = layer(state, directions, where.seen)
        # e3nn writes l = 1 as (x, y, z)
        nodes = where.nodes(torch.cat((self.norm(state.scalars).to(directions.dtype), state.moved), dim=-1))
        if not self.edge_channels:
            return Features(nodes)
        both = state.pairs + state.pairs.transpose(1, 2)
        return Features(nodes, where.edges(self.pair(self.norm_pairs(both))))
