"""A graph cut into pieces of some thousand edges, and features moved between the nodes and edges of one piece."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from molgen.neighbors import Graph

__all__ = ["Chunk", "Chunks", "add_differences", "add_ends", "differences", "of_ends", "sum_to_receivers"]

# bytes of one [edges, C] tensor of a chunk: five of them fit into a core's second-level cache
_CHUNK_BYTES = 2**19

# bytes of one [E, C] tensor up to which a layer keeps four of them for its derivatives
_KEPT_BYTES = 2**24


@dataclass(frozen=True, eq=False)
class Chunk:
    """All e edges of n consecutive receivers.

    Nodes' features [N, 2C], a receiver's part and then a sender's part, are read as a table [2N, C].
    """

    nodes: slice
    edges: slice
    senders: Tensor  # [e]
    receivers: Tensor  # [e]
    sender_rows: Tensor  # [e] of the table
    receiver_rows: Tensor  # [e] of the table
    slots: Tensor  # [e] 0, 1, 2, ...
    offsets: Tensor  # [n + 1] where each receiver's edges begin
    scratch: tuple[Tensor, ...]  # five tensors [e, C], the same memory in all chunks; none for the whole graph


class Chunks:
    """A graph as one chunk and as many, cut between receivers so that tensors [e, channels] stay in the cache.

    Args:
        graph: N nodes, E edges, on the CPU.
        channels: C.
        like: any tensor of the features' type.
    """

    whole: Chunk  # every node and every edge
    parts: list[Chunk]  # none of them without edges
    keep: bool  # whether the graph is so small that its messages may be kept for derivatives

    def __init__(self, graph: Graph, channels: int, like: Tensor) -> None:
        self._graph = graph
        self._starts = torch.searchsorted(graph.receivers, torch.arange(graph.n_nodes + 1))  # [N + 1]
        self._receiver_rows = 2 * graph.receivers
        self._sender_rows = 2 * graph.senders + 1
        edges = len(graph.receivers)
        self._slots = torch.arange(edges)
        self.whole = self._cut(0, graph.n_nodes, 0, edges, [])
        self.keep = edges * channels * like.element_size() <= _KEPT_BYTES
        size = _CHUNK_BYTES * torch.get_num_threads() // (channels * like.element_size())
        # as many about equal chunks as that takes, each up to the receiver before its mark
        count = max(1, round(edges / max(1, size)))
        cuts, bounds = [0, graph.n_nodes], [0, edges]
        if count > 1:
            marks = torch.arange(1, count) * edges // count
            cuts[1:1] = (torch.searchsorted(self._starts, marks, right=True) - 1).tolist()
            bounds = self._starts[cuts].tolist()
        longest = max(end - start for start, end in pairwise(bounds))
        scratch = [like.new_empty(longest, channels) for _ in range(5)]
        self.parts = [
            self._cut(n0, n1, e0, e1, scratch)
            for (n0, n1), (e0, e1) in zip(pairwise(cuts), pairwise(bounds), strict=True)
            if e0 < e1
        ]

    def _cut(self, n0: int, n1: int, e0: int, e1: int, scratch: list[Tensor]) -> Chunk:
        return Chunk(
            nodes=slice(n0, n1),
            edges=slice(e0, e1),
            senders=self._graph.senders[e0:e1],
            receivers=self._graph.receivers[e0:e1],
            sender_rows=self._sender_rows[e0:e1],
            receiver_rows=self._receiver_rows[e0:e1],
            slots=self._slots[: e1 - e0],
            offsets=self._starts[n0 : n1 + 1] - e0,
            scratch=tuple(tensor[: e1 - e0] for tensor in scratch),
        )


def of_ends(chunk: Chunk, nodes: Tensor, out: Tensor, scratch: Tensor) -> Tensor:
    """`out` [e, C]: of nodes [N, 2C], the receiver's part at the receiver plus the sender's part at the sender."""
    table = nodes.view(2 * len(nodes), out.shape[1])
    torch.index_select(table, 0, chunk.receiver_rows, out=scratch)
    return torch.index_select(table, 0, chunk.sender_rows, out=out).add_(scratch)


def add_ends(chunk: Chunk, edges: Tensor, out: Tensor) -> None:
    """The transpose of :func:`of_ends`: adds edges [e, C] to `out` [N, 2C]."""
    n, c = len(out), edges.shape[1]
    out.view(2 * n, c).index_add_(0, chunk.sender_rows, edges)
    out.view(n, 2, c)[chunk.nodes, 0] += sum_to_receivers(chunk, edges)


def differences(chunk: Chunk, nodes: Tensor) -> Tensor:
    """[e, 3]: the sender's row of nodes [N, 3] less the receiver's."""
    return nodes.index_select(0, chunk.senders).sub_(nodes.index_select(0, chunk.receivers))


def add_differences(chunk: Chunk, edges: Tensor, out: Tensor) -> None:
    """The transpose of :func:`differences`: adds edges [e, 3] to `out` [N, 3]."""
    out.index_add_(0, chunk.senders, edges)
    out[chunk.nodes] -= sum_to_receivers(chunk, edges)


def sum_to_receivers(chunk: Chunk, edges: Tensor, weights: Tensor | None = None) -> Tensor:
    """[n, C]: the sum over each receiver's edges, of edges [e, C], times weights [e]; the same bits in every run."""
    # a sum of embeddings: one pass, and no tensor of weighted rows on the way
    return torch.embedding_bag(edges, chunk.slots, chunk.offsets, False, 0, False, weights, True)[0]
