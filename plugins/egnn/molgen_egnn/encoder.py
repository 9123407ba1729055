"""EGNN: Satorras, Hoogeboom and Welling 2021, "E(n) equivariant graph neural networks"."""

from __future__ import annotations

import math

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.interfaces import EdgeSpec, Encoder, Features, check_inputs
from molgen.neighbors import Graph
from molgen.nn import BesselBasis, polynomial_envelope
from molgen_egnn.chunks import Chunks
from molgen_egnn.config import EGNNConfig
from molgen_egnn.messages import EdgeMaps, message_sums
from molgen_egnn.sums import chunked_message_sums

__all__ = ["EGNN", "build"]


def build(config: EGNNConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> EGNN:
    """The `egnn` encoder of a config; see :class:`EGNN`."""
    return EGNN(config, inputs=inputs, edge_inputs=edge_inputs, average_neighbors=average_neighbors)


class EGNN(Encoder):
    """Scalar node features, messages from distances, and one displacement of each node.

    Args:
        config: see :class:`EGNNConfig`.
        inputs: invariant scalars per node.
        edge_inputs: invariant scalars per edge, 0 for none.
        average_neighbors: what sums over neighbours are divided by.

    >>> import molgen, torch
    >>> from molgen.neighbors import complete_graph
    >>> encoder = molgen.build("encoder", "egnn", inputs=4, average_neighbors=2.0, config={"channels": 8, "layers": 2})
    >>> water = molgen.Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> encoder(complete_graph(water.to(torch.float32)), torch.ones(3, 4)).nodes.shape
    torch.Size([3, 11])
    """

    def __init__(self, config: EGNNConfig, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> None:
        super().__init__()
        if not 0 < average_neighbors < math.inf:
            raise ConfigError(f"average_neighbors is {average_neighbors}", expected="a positive number")
        self.config = config
        self.irreps_out = o3.Irreps(f"{config.channels}x0e + 1x1o")
        self.edge_channels = config.edge_channels
        self.edges = EdgeSpec("complete") if config.cutoff is None else EdgeSpec("radius", config.cutoff, periodic=True)
        radial = 0 if config.cutoff is None else config.radial_channels
        self.radial = BesselBasis(radial, config.cutoff) if config.cutoff is not None else None
        self.embed = nn.Linear(inputs, config.channels)
        self.widths = {"inputs": inputs, "edge_inputs": edge_inputs}
        self.average_neighbors = average_neighbors
        self.layers = nn.ModuleList(_Layer(config, edge_inputs + radial) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.channels)
        if config.edge_channels:
            self.pair = nn.Linear(config.channels, config.edge_channels)

    def forward(self, graph: Graph, node_scalars: Tensor, edge_scalars: Tensor | None = None) -> Features:
        """Nodes [N, channels + 3] (scalars, then the displacement as `1o`), edges [E, edge_channels] or None."""
        check_inputs(self.embed.weight.dtype, graph, node_scalars, edge_scalars, **self.widths)
        scale: Tensor | float = 1.0 / self.average_neighbors  # of messages and displacements
        if self.radial is not None and self.config.cutoff is not None:
            envelope = polynomial_envelope(graph.lengths, self.config.cutoff, self.config.envelope_exponent)  # [E]
            radial = self.radial(graph.lengths, envelope)  # [E, radial_channels]
            edge_scalars = radial if edge_scalars is None else torch.cat((edge_scalars, radial), dim=1)
            scale = envelope / self.average_neighbors
        h = self.embed(node_scalars)  # [N, C]
        moved: Tensor | None = None  # total displacement Δ [N, 3], in the unit of the vectors; zero at first
        chunks = Chunks(graph, self.config.channels, h) if _can_chunk(graph, h) else None
        messages: Tensor | None = None
        for number, layer in enumerate(self.layers):
            if moved is not None:
                h, moved = graph.exchange(h), graph.exchange(moved)
            if self.edge_channels and number == len(self.layers) - 1:
                chunks = None  # the read-out of pairs needs the messages themselves
            h, moved, messages = layer(graph, h, moved, edge_scalars, scale, chunks)
        if moved is None:
            moved = graph.vectors.new_zeros(graph.n_nodes, 3)
        # e3nn writes l = 1 as (x, y, z)
        nodes = torch.cat((self.norm(h).to(moved.dtype), moved), dim=1)
        if not self.edge_channels or messages is None:
            return Features(nodes)
        return Features(nodes, self.pair(messages + messages.index_select(0, graph.reverse)))


def _can_chunk(graph: Graph, h: Tensor) -> bool:
    """Whether the sums may go chunk by chunk: not where one kernel per edge tensor is what runs best."""
    same = h.dtype == graph.vectors.dtype and h.dtype in (torch.float32, torch.float64)
    return same and h.device.type == "cpu" and not graph.dense and not torch.is_autocast_enabled("cpu")


class _Layer(nn.Module):
    """Equations 3 to 8 of the paper, with the linear maps of h taken on nodes, before they are carried to edges."""

    def __init__(self, config: EGNNConfig, edge_inputs: int) -> None:
        super().__init__()
        c = config.channels
        self.update_positions = config.update_positions
        self.norm = nn.LayerNorm(c)
        self.from_nodes = nn.Linear(c, 2 * c)  # φ_e's first map, receiver and sender part
        self.from_edges = nn.Linear(edge_inputs + 1, c, bias=False)  # … its part of |r|² and of the pair's scalars
        self.message = nn.Linear(c, c)
        self.weights = nn.Linear(c, 2 if config.attention else 1)  # of the displacement, and the gate
        self.update = nn.Sequential(nn.Linear(2 * c, c), nn.SiLU(), nn.Linear(c, c))
        nn.init.normal_(self.weights.weight, std=1e-3)  # starts near the identity, as the authors' code does

    def forward(
        self,
        graph: Graph,
        h: Tensor,
        moved: Tensor | None,
        edge_scalars: Tensor | None,
        scale: Tensor | float,
        chunks: Chunks | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        nodes = self.from_nodes(self.norm(h))  # [N, 2C]
        maps = EdgeMaps(
            self.from_edges.weight, self.message.weight, self.message.bias, self.weights.weight, self.weights.bias
        )
        since = moved if self.update_positions else None
        messages = None
        if chunks is None:
            total, shift, messages = message_sums(graph, graph.vectors, since, edge_scalars, nodes, scale, maps)
        else:
            total, shift = chunked_message_sums(graph, chunks, graph.vectors, since, edge_scalars, nodes, scale, maps)
        h = h + self.update(torch.cat((h, total), dim=1))
        return h, -shift if moved is None else moved - shift, messages
