"""What edges give in a layer of EGNN, and first derivatives by it, in the steps that chunks take.

Names: a → u = silu(a) → z → m = silu(z) → q, of edges [e, C] but q [1 or 2, e], the displacement's weight and the gate;
r [e, 3] and ℓ its length; an edge gives w·m and p·r, where w = σ(q₁)·scale and p = q₀·scale·κ with κ = 1 / (ℓ + 1).
`g_x` is a first derivative by x; `dot_x` the derivative of x along a direction; `d_x` a second derivative, by x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from molgen.neighbors import SOFTENING
from molgen_egnn.chunks import Chunk, Chunks, differences, of_ends
from molgen_egnn.messages import EdgeMaps

__all__ = ["Adjoints", "Geometry", "Inputs", "MapGradients", "messages_of"]

_silu = torch.ops.aten.silu


class Inputs:
    """The tensors of one call, or their derivatives along a direction."""

    def __init__(self, tensors: Sequence[Any]) -> None:
        self.vectors: Tensor = tensors[0]
        self.moved: Tensor | None = tensors[1]
        self.scalars: Tensor = tensors[2]
        self.nodes: Tensor = tensors[3]
        self.scale: Tensor = tensors[4]
        self.maps = EdgeMaps(*tensors[5:])

    def empty(self) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
        """Room for derivatives by all but the maps; zeros where they are sums over edges."""
        moved = None if self.moved is None else torch.zeros_like(self.moved)
        edges = [torch.empty_like(x) for x in (self.vectors, self.scalars, self.scale)]
        return edges[0], moved, edges[1], torch.zeros_like(self.nodes), edges[2]


class Geometry:
    """What is known of all edges before their messages: small tensors, without a chunk's overhead.

    With the messages that are kept it is saved for derivatives: :meth:`to_save`, :meth:`saved`.
    """

    def __init__(self, r: Tensor, pair: Tensor, lengths: Tensor, kappa: Tensor, scale: Tensor, reach: Tensor) -> None:
        self.r = r  # [E, 3]
        self.pair = pair  # [E, K]
        self.lengths, self.kappa, self.scale, self.reach = lengths, kappa, scale, reach  # [E] each
        self.kept: dict[int, list[Tensor]] = {}  # of chunks, by their first edge: a, u, z, m

    @classmethod
    def of(cls, whole: Chunk, inputs: Inputs) -> Geometry:
        """Computed of the inputs."""
        r = inputs.vectors
        if inputs.moved is not None:
            r = r + differences(whole, inputs.moved)
        squares = torch.linalg.vecdot(r, r).add_(SOFTENING**2)  # [E]
        pair = torch.cat((squares[:, None], inputs.scalars), dim=1)
        lengths = squares.sqrt_()
        kappa = (lengths + 1).reciprocal_()
        return cls(r, pair, lengths, kappa, inputs.scale, inputs.scale * kappa)

    def to_save(self) -> list[Tensor]:
        """All its tensors in a row."""
        edges = [self.r, self.pair, self.lengths, self.kappa, self.scale, self.reach]
        return edges + [x for memory in self.kept.values() for x in memory]

    @classmethod
    def saved(cls, chunks: Chunks, tensors: Sequence[Tensor]) -> Geometry:
        """The one that these tensors were saved of."""
        found, kept = cls(*tensors[:6]), tensors[6:]
        if kept:
            found.kept = {part.edges.start: list(kept[4 * n : 4 * n + 4]) for n, part in enumerate(chunks.parts)}
        return found


def messages_of(chunk: Chunk, edge: Geometry, nodes: Tensor, maps: EdgeMaps, *, keep: bool = False) -> list[Tensor]:
    """a, u, z, m [e, C] of a chunk, kept or in its scratch memory, the fifth piece of which is free."""
    if chunk.edges.start in edge.kept:
        return edge.kept[chunk.edges.start]
    a, u, z, m = memory = [torch.empty_like(x) if keep else x for x in chunk.scratch[:4]]
    of_ends(chunk, nodes, a, u).addmm_(edge.pair[chunk.edges], maps.first.t())
    _silu.out(a, out=u)
    torch.addmm(maps.bias, u, maps.second.t(), out=z)
    _silu.out(z, out=m)
    if keep:
        edge.kept[chunk.edges.start] = memory
    return memory


class Adjoints:
    """First derivatives of all edges that take no message, and their parts that do, chunk by chunk."""

    def __init__(self, whole: Chunk, edge: Geometry, q: Tensor, g_shift: Tensor | None) -> None:
        self.q = torch.zeros_like(q)  # [1 or 2, E]
        self.gate = torch.sigmoid(q[1]) if len(q) == 2 else None  # [E]
        self.w = edge.scale if self.gate is None else self.gate * edge.scale
        self.along = q[0] * edge.reach  # p
        self.shift: Tensor | None = None
        self.scale, self.squares = torch.zeros_like(self.w), torch.zeros_like(self.w)
        if g_shift is not None:
            self.shift = g_shift.index_select(0, whole.receivers)  # [E, 3]
            self.p = torch.linalg.vecdot(self.shift, edge.r)  # [E]
            torch.mul(self.p, edge.reach, out=self.q[0])
            self.scale = self.p * q[0] * edge.kappa
            # ∂κ/∂ℓ² = −κ² / 2ℓ
            self.squares = -self.p * self.along * edge.kappa / (2 * edge.lengths)

    def of_messages(
        self, chunk: Chunk, edge: Geometry, m: Tensor, g_total: Tensor, heads: Tensor, out: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """g_m [e, C] in `out`, g_q [1 or 2, e] and g_w [e] of a chunk."""
        rows = chunk.edges
        torch.index_select(g_total, 0, chunk.receivers, out=out)
        g_w = torch.linalg.vecdot(out, m)
        g_q = self.q[:, rows]
        if self.gate is None:
            self.scale[rows] += g_w
        else:
            gate = self.gate[rows]
            self.scale[rows] += g_w * gate
            torch.mul(g_w * self.w[rows], 1 - gate, out=g_q[1])
        out.mul_(self.w[rows][:, None]).addmm_(g_q.t(), heads)
        return out, g_q, g_w


class MapGradients:
    """Sums over chunks of the derivatives by a layer's maps; None where nobody asks."""

    def __init__(self, maps: EdgeMaps, wanted: list[bool]) -> None:
        self.sums = [torch.zeros_like(x) if want else None for x, want in zip(maps, wanted, strict=True)]

    def add(self, pair: Tensor, g_a: Tensor, u: Tensor, g_z: Tensor, m: Tensor, g_q: Tensor) -> None:
        """Derivatives by the three matrices, of what they read and of derivatives by what they gave."""
        first, second, _, heads, _ = self.sums
        if first is not None:
            first.addmm_(g_a.t(), pair)
        if second is not None:
            second.addmm_(g_z.t(), u)
        if heads is not None:
            heads.addmm_(g_q, m)

    def add_biases(self, g_z: Tensor, g_q: Tensor) -> None:
        """Derivatives by the two biases."""
        _, _, bias, _, head_bias = self.sums
        if bias is not None:
            bias.add_(g_z.sum(0))
        if head_bias is not None:
            head_bias.add_(g_q.sum(1))
