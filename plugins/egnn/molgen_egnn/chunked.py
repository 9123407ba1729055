"""`message_sums` chunk by chunk: what is written of a chunk's edges stays in the processor's cache.

No tensor [E, C] is kept for derivatives: they compute it again, which costs no more than the way to memory and back.
First and second derivatives are written out; those of higher order are torch's own of :func:`message_sums`.

Names: a → u = silu(a) → z → m = silu(z) → q, of edges [e, C] but q [1 or 2, e], the displacement's weight and the gate;
r [e, 3] and ℓ its length; an edge gives w·m and p·r, where w = σ(q₁)·scale and p = q₀·scale·κ with κ = 1 / (ℓ + 1).
`g_x` is a first derivative by x; `dot_x` the derivative of x along a direction; `d_x` a second derivative, by x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from molgen.neighbors import SOFTENING, Graph
from molgen_egnn.chunks import Chunk, Chunks, add_differences, add_ends, differences, of_ends, sum_to_receivers
from molgen_egnn.messages import EdgeMaps, message_sums

__all__ = ["chunked_message_sums"]

_silu, _silu_backward = torch.ops.aten.silu, torch.ops.aten.silu_backward
_Optional = Tensor | None


def chunked_message_sums(
    graph: Graph,
    chunks: Chunks,
    vectors: Tensor,
    moved: Tensor | None,
    scalars: Tensor | None,
    nodes: Tensor,
    scale: Tensor | float,
    maps: EdgeMaps,
) -> tuple[Tensor, Tensor]:
    """The first two of :func:`molgen_egnn.messages.message_sums`, of one floating type on a CPU."""
    if not isinstance(scale, Tensor):
        scale = vectors.new_full((len(vectors),), scale)
    if scalars is None:
        scalars = vectors.new_empty(len(vectors), 0)
    # cut to their rows as they lie
    return _Sums.apply(graph, chunks, vectors.contiguous(), moved, scalars, nodes.contiguous(), scale, *maps)


class _Inputs:
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


class _Geometry:
    """What is known of all edges before their messages: small tensors, without a chunk's overhead."""

    def __init__(self, whole: Chunk, inputs: _Inputs) -> None:
        self.r = inputs.vectors  # [E, 3]
        if inputs.moved is not None:
            self.r = self.r + differences(whole, inputs.moved)
        squares = torch.linalg.vecdot(self.r, self.r).add_(SOFTENING**2)  # [E]
        self.pair = torch.cat((squares[:, None], inputs.scalars), dim=1)  # [E, K]
        self.lengths = squares.sqrt_()
        self.kappa = (self.lengths + 1).reciprocal_()
        self.scale = inputs.scale
        self.reach = self.scale * self.kappa
        self.kept: dict[int, list[Tensor]] = {}  # of chunks, by their first edge: a, u, z, m


def _messages(chunk: Chunk, edge: _Geometry, nodes: Tensor, maps: EdgeMaps, *, keep: bool = False) -> list[Tensor]:
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


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, chunks: Chunks, *tensors: Any) -> tuple[Tensor, Tensor]:
        inputs = _Inputs(tensors)
        maps, edge = inputs.maps, _Geometry(chunks.whole, inputs)
        total = inputs.nodes.new_zeros(graph.n_nodes, inputs.nodes.shape[1] // 2)  # zero where there are no edges
        q = inputs.vectors.new_empty(len(maps.heads), len(edge.r))  # [1 or 2, E]
        for chunk in chunks.parts:
            m = _messages(chunk, edge, inputs.nodes, maps, keep=chunks.keep)[-1]
            heads = torch.addmm(maps.head_bias[:, None], maps.heads, m.t())
            q[:, chunk.edges] = heads
            w = edge.scale[chunk.edges]
            w = torch.sigmoid(heads[1]).mul_(w) if len(heads) == 2 else w
            total[chunk.nodes] = sum_to_receivers(chunk, m, w)
        ctx.graph, ctx.chunks, ctx.edge, ctx.q = graph, chunks, edge, q
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return total, sum_to_receivers(chunks.whole, edge.r, q[0] * edge.reach)

    @staticmethod
    def backward(ctx: Any, *grads: _Optional) -> tuple[_Optional, ...]:
        tensors = ctx.saved_tensors
        if grads[0] is None and grads[1] is None:
            return (None,) * (2 + len(tensors))
        nodes = tensors[3]
        g_total = nodes.new_zeros(len(nodes), nodes.shape[1] // 2) if grads[0] is None else grads[0]
        # forces need no gradient of the maps
        wanted = [_is_wanted(tensor) for tensor in tensors[5:]]
        return None, None, *_SumsBackward.apply(ctx, wanted, g_total, grads[1], *tensors)


class _SumsBackward(torch.autograd.Function):
    """Derivatives of ⟨g_total, total⟩ + ⟨g_shift, shift⟩ by the inputs; itself differentiable."""

    @staticmethod
    def forward(ctx: Any, sums: Any, wanted: list[bool], *tensors: Any) -> tuple[_Optional, ...]:
        ctx.graph, ctx.chunks, ctx.edge, ctx.q = sums.graph, sums.chunks, sums.edge, sums.q
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        g_total, g_shift, *rest = tensors
        inputs, edge, chunks = _Inputs(rest), sums.edge, sums.chunks
        maps = inputs.maps
        g_vectors, g_moved, g_scalars, g_nodes, g_scale = inputs.empty()
        g_maps = _MapGradients(maps, wanted)
        g = _Adjoints(chunks.whole, edge, sums.q, g_shift)
        for chunk in chunks.parts:
            a, u, z, m = _messages(chunk, edge, inputs.nodes, maps)
            g_m, g_q, _ = g.of_messages(chunk, edge, m, g_total, maps.heads, chunk.scratch[4])
            g_z = _silu_backward.grad_input(g_m, z, grad_input=g_m)
            g_u = torch.mm(g_z, maps.second, out=chunk.scratch[2])  # where z may be, which is done with
            g_a = _silu_backward.grad_input(g_u, a, grad_input=g_u)
            g_pair = g_a @ maps.first  # [e, K]
            g.squares[chunk.edges] += g_pair[:, 0]
            g_scalars[chunk.edges] = g_pair[:, 1:]
            add_ends(chunk, g_a, g_nodes)
            g_maps.add(edge.pair[chunk.edges], g_a, u, g_z, m, g_q)
            g_maps.add_biases(g_z, g_q)
        g_scale.copy_(g.scale)
        torch.mul(edge.r, (2 * g.squares)[:, None], out=g_vectors)
        if g.shift is not None:
            g_vectors.addcmul_(g.shift, g.along[:, None])
        if g_moved is not None:
            add_differences(chunks.whole, g_vectors, g_moved)
        return g_vectors, g_moved, g_scalars, g_nodes, g_scale, *g_maps.sums

    @staticmethod
    def backward(ctx: Any, *directions: _Optional) -> tuple[_Optional, ...]:
        tensors = ctx.saved_tensors
        if torch.is_grad_enabled() or any(direction is not None for direction in directions[5:]):
            return None, None, *_differentiable(ctx.graph, tensors, directions)
        wanted = [_is_wanted(tensor) for tensor in tensors[7:]]
        return None, None, *_second_derivatives(ctx.chunks, ctx.edge, ctx.q, tensors, directions, wanted)


class _Adjoints:
    """First derivatives of all edges that take no message, and their parts that do, chunk by chunk."""

    def __init__(self, whole: Chunk, edge: _Geometry, q: Tensor, g_shift: _Optional) -> None:
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
        self, chunk: Chunk, edge: _Geometry, m: Tensor, g_total: Tensor, heads: Tensor, out: Tensor
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


class _MapGradients:
    """Sums over chunks of the derivatives by a layer's maps; None where nobody asks."""

    def __init__(self, maps: EdgeMaps, wanted: list[bool]) -> None:
        self.sums = EdgeMaps(*(torch.zeros_like(x) if want else None for x, want in zip(maps, wanted, strict=True)))

    def add(self, pair: Tensor, g_a: Tensor, u: Tensor, g_z: Tensor, m: Tensor, g_q: Tensor) -> None:
        """Derivatives by the three matrices, of what they read and of derivatives by what they gave."""
        if self.sums.first is not None:
            self.sums.first.addmm_(g_a.t(), pair)
        if self.sums.second is not None:
            self.sums.second.addmm_(g_z.t(), u)
        if self.sums.heads is not None:
            self.sums.heads.addmm_(g_q, m)

    def add_biases(self, g_z: Tensor, g_q: Tensor) -> None:
        """Derivatives by the two biases."""
        if self.sums.bias is not None:
            self.sums.bias.add_(g_z.sum(0))
        if self.sums.head_bias is not None:
            self.sums.head_bias.add_(g_q.sum(1))


def _second_derivatives(
    chunks: Chunks,
    edge: _Geometry,
    q: Tensor,
    tensors: tuple[Any, ...],
    directions: tuple[_Optional, ...],
    wanted: list[bool],
) -> tuple[_Optional, ...]:
    """Derivatives of Φ = ⟨directions, first derivatives⟩ by all that the first derivatives take.

    Φ is the derivative of ⟨g_total, total⟩ + ⟨g_shift, shift⟩ along the directions. So the adjoints of the forward
    derivatives `dot_x` are the first derivatives `g_x`, and what is left is to go back through both passes.
    """
    g_total, g_shift, *rest = tensors
    inputs = _Inputs(rest)
    ways = [torch.zeros_like(x) if x is not None and d is None else d for x, d in zip(rest, directions, strict=True)]
    maps = inputs.maps
    d_total = torch.zeros_like(g_total)
    d_vectors, d_moved, d_scalars, d_nodes, d_scale = inputs.empty()
    d_maps = _MapGradients(maps, wanted)
    g = _Adjoints(chunks.whole, edge, q, g_shift)
    dot = _Tangents(chunks.whole, edge, _Inputs(ways))
    g_dot_p = None if g.shift is None else torch.linalg.vecdot(g.shift, dot.r)  # [E]
    dot_q, d_q = torch.empty_like(q), torch.zeros_like(q)
    d_squares = torch.empty_like(edge.lengths)
    d_scale.zero_()
    if g_dot_p is not None:
        d_q[0] = g.p * dot.reach + g_dot_p * edge.reach
    for chunk in chunks.parts:
        rows = chunk.edges
        a, u, z, m = _messages(chunk, edge, inputs.nodes, maps)
        total = g_total.index_select(0, chunk.receivers)  # [e, C]
        g_m, g_q, g_w = g.of_messages(chunk, edge, m, g_total, maps.heads, chunk.scratch[4])
        g_z = _silu_backward(g_m, z)
        g_u = g_z @ maps.second
        g_a = _silu_backward(g_u, a)
        g.squares[rows] += g_a @ maps.first[:, 0]

        dot_a = torch.empty_like(a)
        of_ends(chunk, dot.nodes, dot_a, torch.empty_like(a)).addmm_(dot.pair[rows], maps.first.t())
        dot_u = _silu_backward(dot_a, a)
        dot_z = dot_u @ maps.second.t()
        dot_m = _silu_backward(dot_z, z)
        dot_heads = maps.heads @ dot_m.t()  # [1 or 2, e]
        dot_q[:, rows] = dot_heads

        # of Σ total · (dot_w m + w dot_m), with w = σ(q₁) · scale
        g_dot_w = torch.linalg.vecdot(total, dot_m)  # [e]
        dot_w, own = dot.scale[rows], edge.scale[rows]
        if g.gate is None:
            d_scale[rows] = g_dot_w
        else:
            gate = g.gate[rows]
            slope = gate * (1 - gate)
            dot_gate = slope * dot_heads[1]
            d_scale[rows] = g_dot_w * gate + g_w * dot_gate
            d_q[1, rows] = g_w * (dot_w * slope + own * (1 - 2 * gate) * dot_gate) + g_dot_w * own * slope
            dot_w = dot_w * gate + own * dot_gate
        d_total[chunk.nodes] = sum_to_receivers(chunk, m, dot_w).add_(sum_to_receivers(chunk, dot_m, g.w[rows]))

        d_heads = d_q[:, rows]
        d_m = total.mul_(dot_w[:, None]).addmm_(d_heads.t(), maps.heads)
        d_z = _silu_backward(d_m, z).addcmul_(dot_z.mul_(g_m), _curvature(z, m))
        d_u = torch.mm(d_z, maps.second, out=d_m)
        d_a = _silu_backward(d_u, a).addcmul_(dot_a.mul_(g_u), _curvature(a, u))
        d_pair = d_a @ maps.first
        d_squares[rows] = d_pair[:, 0]
        d_scalars[rows] = d_pair[:, 1:]
        add_ends(chunk, d_a, d_nodes)
        d_maps.add(edge.pair[rows], d_a, u, d_z, m, d_heads)
        d_maps.add_biases(d_z, d_heads)
        # the forward derivatives pass the matrices too, though not the biases
        d_maps.add(dot.pair[rows], g_a, dot_u, g_z, dot_m, g_q)

    d_shift = None
    if g.shift is not None and g_dot_p is not None:
        # of Σ shift · (dot_p r + p dot_r), with p = q₀ · scale · κ, κ = 1 / (ℓ + 1), dot_κ = −κ² dot_ℓ
        dot_p = dot_q[0] * edge.reach + q[0] * dot.reach
        sums = sum_to_receivers(chunks.whole, edge.r, dot_p)
        d_shift = sums.add_(sum_to_receivers(chunks.whole, dot.r, g.along))
        d_scale += g.p * (dot_q[0] * edge.kappa + q[0] * dot.kappa) + g_dot_p * q[0] * edge.kappa
        g_dot_kappa = g.p * q[0] * edge.scale
        d_kappa = g.p * (dot_q[0] * edge.scale + q[0] * dot.scale) + g_dot_p * q[0] * edge.scale
        d_kappa -= 2 * g_dot_kappa * edge.kappa * dot.lengths
        # dot_ℓ = dot_ℓ² / 2ℓ
        d_lengths = edge.kappa.square() * (g_dot_kappa * dot.lengths / edge.lengths - d_kappa)
        d_squares += d_lengths / (2 * edge.lengths)
        torch.mul(g.shift, dot_p[:, None], out=d_vectors)
    else:
        d_vectors.zero_()
    d_vectors.addcmul_(edge.r, (2 * d_squares)[:, None]).addcmul_(dot.r, (2 * g.squares)[:, None])
    if d_moved is not None:
        add_differences(chunks.whole, d_vectors, d_moved)
    return d_total, d_shift, d_vectors, d_moved, d_scalars, d_nodes, d_scale, *d_maps.sums


class _Tangents:
    """Derivatives of :class:`_Geometry` along directions, none of them of the maps."""

    def __init__(self, whole: Chunk, edge: _Geometry, along: _Inputs) -> None:
        self.r = along.vectors
        if along.moved is not None:
            self.r = self.r + differences(whole, along.moved)
        squares = 2 * torch.linalg.vecdot(edge.r, self.r)
        self.pair = torch.cat((squares[:, None], along.scalars), dim=1)
        self.lengths = squares / (2 * edge.lengths)
        self.kappa = -edge.kappa.square() * self.lengths
        self.nodes = along.nodes.contiguous()
        self.scale = along.scale
        self.reach = self.scale * edge.kappa + edge.scale * self.kappa


def _differentiable(graph: Graph, tensors: tuple[Any, ...], directions: tuple[_Optional, ...]) -> tuple[_Optional, ...]:
    """What :func:`_second_derivatives` returns, by torch; differentiable, and along directions of the maps as well."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # of their own, since the directions came from the tensors themselves
        inputs = [
            None if x is None else x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in tensors
        ]
        g_total, g_shift, *rest = inputs
        outputs = message_sums(graph, *rest[:5], EdgeMaps(*rest[5:]))
        product = (outputs[0] * g_total).sum()
        if g_shift is not None:
            product = product + (outputs[1] * g_shift).sum()
        firsts = _gradients(product, rest, create_graph=True)
        terms = (
            (first * d).sum()
            for first, d in zip(firsts, directions, strict=True)
            if first is not None and d is not None
        )
        return _gradients(sum(terms, product.new_zeros(())), inputs, create_graph=again)


def _gradients(value: Tensor, inputs: list[_Optional], *, create_graph: bool) -> list[_Optional]:
    """By those of the inputs that are there; None for the others, and for those that the value does not depend on."""
    there = [x for x in inputs if x is not None]
    if not value.requires_grad:
        return [None] * len(inputs)
    found = iter(torch.autograd.grad(value, there, create_graph=create_graph, allow_unused=True))
    return [None if x is None else next(found) for x in inputs]


def _is_wanted(tensor: Tensor) -> bool:
    """Whether the running backward pass will use the gradient of this tensor; true where torch can't tell."""
    if not tensor.requires_grad:
        return False
    # torch's own operations ask this, forces need no gradient of the maps, and `ctx.needs_input_grad` does not tell
    try:
        return bool(torch._C._will_engine_execute_node(get_gradient_edge(tensor).node))
    except (AttributeError, RuntimeError):  # it refuses to tell of a leaf that is itself what `autograd.grad` seeks
        return True


def _curvature(x: Tensor, value: Tensor) -> Tensor:
    """The second derivative of silu at x, where its value is given: σ(1 − σ)(2 + x − 2 silu)."""
    s = torch.sigmoid(x)
    return torch.addcmul(s, s, s, value=-1).mul_((x - 2 * value).add_(2))
