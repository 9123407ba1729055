"""Edges of each receiver side by side, so that sums over neighbours are matrix products.

Receivers with about as many neighbours stand in one block [R, W] of slots, W to each; slots that no edge fills hold
zeros. On dense graphs, and wherever all atoms have as many neighbours, slots are edges and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from molgen.neighbors import Graph

__all__ = ["Block", "Neighborhoods"]

# empty slots that cost less than another block of slots does
_FEW_SLOTS: Final = 4096
# widths of blocks grow by this factor, and one block alone may have as many more slots than edges
_GROWTH: Final = 1.25


@dataclass(frozen=True, eq=False)
class Block:
    """Receivers with W slots each."""

    width: int
    receivers: Tensor  # [R]
    edges: Tensor  # [R·W]: the edge in each slot, E in an empty one
    senders: Tensor  # [R·W]: its sender; in an empty slot the receiver itself, whose structure it is


class Neighborhoods:
    """Slots for the edges of a graph; made once for all layers.

    >>> from molgen.neighbors import complete_graph
    >>> from molgen.structures import Structures
    >>> hoods = Neighborhoods(complete_graph(Structures.build([[0.0, 0, 0], [0, 0, 1], [0, 0, 2]], [1, 1, 1])))
    >>> (block,) = hoods.of_senders(torch.tensor([[[1.0], [10.0], [100.0]]]))  # [G, N, P]
    >>> block.squeeze().tolist()  # [R, W]
    [[10.0, 100.0], [1.0, 100.0], [1.0, 10.0]]
    """

    def __init__(self, graph: Graph) -> None:
        self.n_nodes, self.n_edges = graph.n_nodes, len(graph.senders)
        self.graph = graph
        degrees = torch.bincount(graph.receivers, minlength=self.n_nodes)
        self.starts = torch.cumsum(degrees, 0) - degrees  # [N] each receiver's first edge
        self.blocks = self._blocks(degrees)
        single = len(self.blocks) == 1
        #: whether one block holds all nodes in their order
        self.in_order = single and len(self.blocks[0].receivers) == self.n_nodes
        #: whether slots and edges are the same
        self.full = self.in_order and self.n_nodes * self.blocks[0].width == self.n_edges
        self._slots: Tensor | None = None

    def of_edges(self, edges: Tensor) -> tuple[Tensor, ...]:
        """[R, W, ...] of each block, of edges [E, ...]; zero in empty slots."""
        found: tuple[Tensor, ...] = _OfEdges.apply(edges, self)
        return found

    def filled(self) -> Tensor:
        """[S] one where a slot holds an edge, else zero; blocks one after another."""
        edges = torch.cat([block.edges for block in self.blocks])
        return (edges < self.n_edges).to(self.graph.lengths.dtype)

    def of_senders(self, nodes: Tensor) -> tuple[Tensor, ...]:
        """[G, R, W, P] of each block: the sender of the edge in each slot, of nodes [G, N, P].

        An empty slot shows the receiver itself and passes no derivative on: multiply it by the zeros of `of_edges` or
        of `filled`.
        """
        found: tuple[Tensor, ...] = _OfSenders.apply(nodes, self)
        return found

    def to_nodes(self, blocks: Sequence[Tensor]) -> Tensor:
        """[G, N, ...] of receivers [G, R, ...] in blocks; zero where a node has no edges."""
        if self.in_order:
            return blocks[0]
        joined = torch.cat((*blocks, blocks[0].new_zeros(blocks[0].shape[0], 1, *blocks[0].shape[2:])), dim=1)
        return joined.index_select(1, self._place())

    def _blocks(self, degrees: Tensor) -> list[Block]:
        largest = int(degrees.max()) if self.n_nodes else 0
        nodes = torch.arange(self.n_nodes, device=degrees.device)
        if self.n_nodes * largest - self.n_edges <= max(_FEW_SLOTS, int((_GROWTH - 1) * self.n_edges)):
            return [self._block(nodes, degrees, largest)]
        blocks, rest, width = [], degrees > 0, largest
        while bool(rest.any()):
            smaller = int(width / _GROWTH)
            chosen = rest & (degrees > smaller)
            if bool(chosen.any()):
                blocks.append(self._block(nodes[chosen], degrees, width))
            rest = rest & ~chosen
            width = smaller
        return blocks

    def _block(self, receivers: Tensor, degrees: Tensor, width: int) -> Block:
        slot = torch.arange(width, device=receivers.device)
        filled = slot < degrees[receivers][:, None]  # [R, W]
        edges = torch.where(filled, self.starts[receivers][:, None] + slot, self.n_edges).reshape(-1)
        own = receivers[:, None].expand(-1, width).reshape(-1)
        padded = torch.cat((self.graph.senders, own.new_zeros(1)))
        return Block(width, receivers, edges, torch.where(filled.reshape(-1), padded[edges], own))

    def _place(self) -> Tensor:
        """[N] where each node's row stands among the blocks' receivers; one past the end for none."""
        receivers = torch.cat([block.receivers for block in self.blocks])
        place = torch.full((self.n_nodes,), len(receivers), device=receivers.device)
        place[receivers] = torch.arange(len(receivers), device=receivers.device)
        return place

    def slots(self) -> Tensor:
        """[E] the slot of each edge, blocks one after another."""
        if self._slots is None:
            edges = torch.cat([block.edges for block in self.blocks])
            slots = torch.empty(self.n_edges + 1, dtype=torch.int64, device=edges.device)
            slots[edges] = torch.arange(len(edges), device=edges.device)
            self._slots = slots[:-1]
        return self._slots

    def spread(self, edges: Tensor) -> tuple[Tensor, ...]:
        """`of_edges` without derivatives."""
        if self.full:
            return (edges.view(self.n_nodes, self.blocks[0].width, *edges.shape[1:]),)
        padded = torch.cat((edges, edges.new_zeros(1, *edges.shape[1:])))
        return tuple(
            padded.index_select(0, block.edges).view(len(block.receivers), block.width, *edges.shape[1:])
            for block in self.blocks
        )

    def gathered(self, blocks: Sequence[Tensor]) -> Tensor:
        """The transpose of `spread`: [E, ...] of blocks [R, W, ...]; without derivatives."""
        rows = torch.cat([block.flatten(0, 1) for block in blocks]) if len(blocks) > 1 else blocks[0].flatten(0, 1)
        return rows if self.full else rows.index_select(0, self.slots())

    def taken(self, nodes: Tensor) -> tuple[Tensor, ...]:
        """`of_senders` without derivatives."""
        return tuple(
            nodes.index_select(1, block.senders).view(len(nodes), len(block.receivers), block.width, nodes.shape[2])
            for block in self.blocks
        )

    def summed(self, blocks: Sequence[Tensor]) -> Tensor:
        """The transpose of `taken`: [G, N, P], each node's sum over the slots of the edges that it sends."""
        rows = torch.cat([block.flatten(1, 2) for block in blocks], 1) if len(blocks) > 1 else blocks[0].flatten(1, 2)
        return torch.stack([self.summed_slots(group.contiguous()) for group in rows])

    def summed_slots(self, rows: Tensor) -> Tensor:
        """[N, P]: each node's sum over rows [S, P] of the slots whose edges it sends; without derivatives."""
        if not self.n_edges:
            return rows.new_zeros(self.n_nodes, rows.shape[1])
        return torch.embedding_bag(rows, self._sent(), self.starts, False, 0)[0]

    def _sent(self) -> Tensor:
        """[E] slots of the edges that each node sends: the reverses of those that it receives, which stand in a row."""
        return self.slots().index_select(0, self.graph.reverse)


class _OfEdges(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Tensor, hoods: Neighborhoods) -> tuple[Tensor, ...]:
        ctx.hoods = hoods
        return hoods.spread(edges)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _Gathered.apply(ctx.hoods, *grads), None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hoods: Neighborhoods, *blocks: Tensor) -> Tensor:
        ctx.hoods = hoods
        return hoods.gathered(blocks)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_OfEdges.apply(grads[0], ctx.hoods)


class _OfSenders(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, nodes: Tensor, hoods: Neighborhoods) -> tuple[Tensor, ...]:
        ctx.hoods = hoods
        return hoods.taken(nodes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _Summed.apply(ctx.hoods, *grads), None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hoods: Neighborhoods, *blocks: Tensor) -> Tensor:
        ctx.hoods = hoods
        return hoods.summed(blocks)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_OfSenders.apply(grads[0], ctx.hoods)
