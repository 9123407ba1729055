"""Atoms and pairs of a batch as rectangles [B, n, …] and [B, n, n, …] for n atoms of the largest structure."""

from __future__ import annotations

import torch
from torch import Tensor

from molgen.neighbors import Graph

__all__ = ["Rectangles"]


class Rectangles:
    """Where each atom and each edge of a complete graph stands.

    Structures of fewer atoms leave places empty: what stands there is zero, `seen` is false, and `nodes` drops it.

    Args:
        graph: complete.
    """

    def __init__(self, graph: Graph) -> None:
        self._dense = graph.dense
        counts, device = graph.n_atoms, graph.batch.device
        self.batch = len(counts)
        self.atoms = graph.n_nodes // max(self.batch, 1) if graph.dense else int(counts.max()) if len(counts) else 0
        starts = torch.cumsum(counts, 0) - counts  # [B]
        within = torch.arange(graph.n_nodes, device=device) - starts[graph.batch]  # [N] place in its structure
        self._row = graph.batch * self.atoms + within  # [N]
        self._pair = self._row[graph.receivers] * self.atoms + within[graph.senders]  # [E]
        self.seen: Tensor | None = None  # [B, 1, 1, n], whether an atom can be looked at; None where all can
        if not graph.dense:
            self.seen = (torch.arange(self.atoms, device=device) < counts[:, None])[:, None, None]

    def of_nodes(self, nodes: Tensor) -> Tensor:
        """[B, n, ...] of [N, ...]."""
        shape = (self.batch, self.atoms, *nodes.shape[1:])
        if self._dense:
            return nodes.reshape(shape)
        return nodes.new_zeros(self.batch * self.atoms, *nodes.shape[1:]).index_copy(0, self._row, nodes).view(shape)

    def nodes(self, rows: Tensor) -> Tensor:
        """[N, ...] of [B, n, ...]; the inverse of `of_nodes`."""
        flat = rows.flatten(0, 1)
        return flat if self._dense else flat.index_select(0, self._row)

    def of_edges(self, edges: Tensor) -> Tensor:
        """[B, receiver, sender, ...] of [E, ...]; zero where an atom would see itself."""
        places = self.batch * self.atoms * self.atoms
        pairs = edges.new_zeros(places, *edges.shape[1:]).index_copy(0, self._pair, edges)
        return pairs.view(self.batch, self.atoms, self.atoms, *edges.shape[1:])

    def edges(self, pairs: Tensor) -> Tensor:
        """[E, ...] of [B, n, n, ...]; the inverse of `of_edges`."""
        return pairs.flatten(0, 2).index_select(0, self._pair)
