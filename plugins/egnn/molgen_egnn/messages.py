"""What one EGNN layer computes on edges, in operations that torch differentiates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from molgen.neighbors import Graph, safe_norm
from molgen.nn import (
    add_receivers,
    gather_receivers,
    gather_senders,
    sum_to_receivers,
    weighted_sum_to_receivers,
)

__all__ = ["EdgeMaps", "message_sums"]


class EdgeMaps(NamedTuple):
    """The linear maps that a layer applies to edges; K − 1 scalars per edge beside the square of its length."""

    first: Tensor  # [C, K], of the square and the scalars
    second: Tensor  # [C, C]
    bias: Tensor  # [C]
    heads: Tensor  # [2, C]: the displacement's weight, and the gate, if there is one
    head_bias: Tensor  # [2]


def message_sums(
    graph: Graph,
    vectors: Tensor,
    moved: Tensor | None,
    scalars: Tensor | None,
    nodes: Tensor,
    scale: Tensor | float,
    maps: EdgeMaps,
) -> tuple[Tensor, Tensor, Tensor]:
    """Equations 3, 4, 8 and the sum of 5: gated messages and weighted directions, summed at their receivers.

    Args:
        graph: N nodes, E edges.
        vectors: [E, 3] from receiver to sender.
        moved: [N, 3] displacements of the nodes since, or None.
        scalars: [E, K - 1] invariants, or None.
        nodes: [N, 2C] what a node adds to the first map as a receiver, then as a sender.
        scale: [E] or a number, which multiplies what an edge gives.
        maps: the layer's.

    Returns:
        [N, C] messages and [N, 3] directions summed, and the messages [E, C] alone.
    """
    if moved is not None:
        vectors = vectors + gather_senders(graph, moved) - gather_receivers(graph, moved)
    lengths = safe_norm(vectors)
    squares = lengths.square()[:, None]
    pair = squares if scalars is None else torch.cat((squares, scalars), dim=1)
    receiver, sender = nodes.chunk(2, dim=1)
    edge = F.linear(pair, maps.first) + gather_senders(graph, sender.contiguous())
    m = F.silu(F.linear(F.silu(add_receivers(graph, edge, receiver)), maps.second, maps.bias))  # [E, C]
    weights = F.linear(m, maps.heads, maps.head_bias).to(vectors.dtype)  # [E, 1 or 2]
    gate = torch.sigmoid(weights[:, 1]) if weights.shape[1] == 2 else torch.ones_like(lengths)
    total = weighted_sum_to_receivers(graph, (gate * scale).to(m.dtype), m)  # Σ_j e_ij m_ij
    # normalised differences: r / (|r| + 1)
    step = (weights[:, 0] * scale / (lengths + 1.0))[:, None] * vectors
    return total, sum_to_receivers(graph, step), m
