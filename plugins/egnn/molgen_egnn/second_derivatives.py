"""Second derivatives of the chunked sums, as a loss of forces asks for them; names as in `edges`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from molgen.neighbors import Graph
from molgen_egnn.chunks import Chunk, Chunks, add_differences, add_ends, differences, of_ends, sum_to_receivers
from molgen_egnn.edges import Adjoints, Geometry, Inputs, MapGradients, messages_of
from molgen_egnn.messages import EdgeMaps, message_sums

__all__ = ["differentiable_derivatives", "second_derivatives"]

_silu_backward = torch.ops.aten.silu_backward
_Optional = Tensor | None


def second_derivatives(
    chunks: Chunks,
    edge: Geometry,
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
    inputs = Inputs(rest)
    ways = [torch.zeros_like(x) if x is not None and d is None else d for x, d in zip(rest, directions, strict=True)]
    maps = inputs.maps
    d_total = torch.zeros_like(g_total)
    d_vectors, d_moved, d_scalars, d_nodes, d_scale = inputs.empty()
    d_maps = MapGradients(maps, wanted)
    g = Adjoints(chunks.whole, edge, q, g_shift)
    dot = _Tangents(chunks.whole, edge, Inputs(ways))
    g_dot_p = None if g.shift is None else torch.linalg.vecdot(g.shift, dot.r)  # [E]
    dot_q, d_q = torch.empty_like(q), torch.zeros_like(q)
    d_squares = torch.empty_like(edge.lengths)
    d_scale.zero_()
    if g_dot_p is not None:
        d_q[0] = g.p * dot.reach + g_dot_p * edge.reach
    for chunk in chunks.parts:
        rows = chunk.edges
        a, u, z, m = messages_of(chunk, edge, inputs.nodes, maps)
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
    """Derivatives of :class:`Geometry` along directions, none of them of the maps."""

    def __init__(self, whole: Chunk, edge: Geometry, along: Inputs) -> None:
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


def differentiable_derivatives(
    graph: Graph, tensors: tuple[Any, ...], directions: tuple[_Optional, ...]
) -> tuple[_Optional, ...]:
    """What :func:`second_derivatives` returns, by torch; differentiable, and along directions of the maps as well."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # of their own, since the directions came from the tensors themselves
        inputs: list[Any] = [
            None if x is None else x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in tensors
        ]
        vectors, moved, scalars, nodes, scale, *maps = inputs[2:]
        outputs = message_sums(graph, vectors, moved, scalars, nodes, scale, EdgeMaps(*maps))
        product = (outputs[0] * inputs[0]).sum()
        if inputs[1] is not None:
            product = product + (outputs[1] * inputs[1]).sum()
        firsts = _gradients(product, inputs[2:], create_graph=True)
        terms = (
            (first * d).sum()
            for first, d in zip(firsts, directions, strict=True)
            if first is not None and d is not None
        )
        return _gradients(sum(terms, product.new_zeros(())), inputs, create_graph=again)


def _gradients(value: Tensor, inputs: list[_Optional], *, create_graph: bool) -> tuple[_Optional, ...]:
    """By those of the inputs that are there; None for the others, and for those that the value does not depend on."""
    there = [x for x in inputs if x is not None]
    if not value.requires_grad:
        return (None,) * len(inputs)
    found = iter(torch.autograd.grad(value, there, create_graph=create_graph, allow_unused=True))
    return tuple(None if x is None else next(found) for x in inputs)


def _curvature(x: Tensor, value: Tensor) -> Tensor:
    """The second derivative of silu at x, where its value is given: σ(1 − σ)(2 + x − 2 silu)."""
    s = torch.sigmoid(x)
    return torch.addcmul(s, s, s, value=-1).mul_((x - 2 * value).add_(2))
