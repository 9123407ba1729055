"""`message_sums` chunk by chunk: the edges of a chunk are written to the same few tensors.

Small graphs keep a, u, z and m for derivatives; large ones keep no tensor [E, C] and compute them again.
First and second derivatives are written out; those of higher order are torch's own of :func:`message_sums`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from molgen.neighbors import Graph
from molgen_egnn.chunks import Chunks, add_differences, add_ends, sum_to_receivers
from molgen_egnn.edges import Adjoints, Geometry, Inputs, MapGradients, messages_of
from molgen_egnn.messages import EdgeMaps
from molgen_egnn.second_derivatives import differentiable_derivatives, second_derivatives

__all__ = ["chunked_message_sums"]

_silu_backward = torch.ops.aten.silu_backward
_Optional = Tensor | None
_INPUTS = 10  # tensors that the sums are of: five of nodes and edges, and the five maps


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
    tensors = (vectors.contiguous(), moved, scalars, nodes.contiguous(), scale, *maps)
    differentiated = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    return _Sums.apply(graph, chunks, chunks.keep and differentiated, *tensors)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, chunks: Chunks, keep: bool, *tensors: Any) -> tuple[Tensor, Tensor]:
        inputs = Inputs(tensors)
        maps, edge = inputs.maps, Geometry.of(chunks.whole, inputs)
        total = inputs.nodes.new_zeros(graph.n_nodes, inputs.nodes.shape[1] // 2)  # zero where there are no edges
        q = inputs.vectors.new_empty(len(maps.heads), len(edge.r))  # [1 or 2, E]
        for chunk in chunks.parts:
            m = messages_of(chunk, edge, inputs.nodes, maps, keep=keep)[-1]
            heads = torch.addmm(maps.head_bias[:, None], maps.heads, m.t())
            q[:, chunk.edges] = heads
            w = edge.scale[chunk.edges]
            w = torch.sigmoid(heads[1]).mul_(w) if len(heads) == 2 else w
            total[chunk.nodes] = sum_to_receivers(chunk, m, w)
        ctx.graph, ctx.chunks = graph, chunks
        # all of them, since torch frees after the backward pass what it saved, and nothing else
        ctx.save_for_backward(*tensors, q, *edge.to_save())
        ctx.set_materialize_grads(False)
        return total, sum_to_receivers(chunks.whole, edge.r, q[0] * edge.reach)

    @staticmethod
    def backward(ctx: Any, *grads: _Optional) -> tuple[_Optional, ...]:
        saved = ctx.saved_tensors
        tensors, edges = saved[:_INPUTS], saved[_INPUTS:]
        if grads[0] is None and grads[1] is None:
            return (None,) * (3 + _INPUTS)
        nodes = tensors[3]
        g_total = nodes.new_zeros(len(nodes), nodes.shape[1] // 2) if grads[0] is None else grads[0]
        # forces need no gradient of the maps
        wanted = [_is_wanted(tensor) for tensor in tensors[5:]]
        found = _SumsBackward.apply(ctx.graph, ctx.chunks, edges, wanted, g_total, grads[1], *tensors)
        return None, None, None, *found


class _SumsBackward(torch.autograd.Function):
    """Derivatives of ⟨g_total, total⟩ + ⟨g_shift, shift⟩ by the inputs; itself differentiable."""

    @staticmethod
    def forward(
        ctx: Any, graph: Graph, chunks: Chunks, edges: tuple[Tensor, ...], wanted: list[bool], *tensors: Any
    ) -> tuple[_Optional, ...]:
        ctx.graph, ctx.chunks = graph, chunks
        ctx.save_for_backward(*tensors, *edges)
        ctx.set_materialize_grads(False)
        g_total, g_shift, *rest = tensors
        inputs, q, edge = Inputs(rest), edges[0], Geometry.saved(chunks, edges[1:])
        maps = inputs.maps
        g_vectors, g_moved, g_scalars, g_nodes, g_scale = inputs.empty()
        g_maps = MapGradients(maps, wanted)
        g = Adjoints(chunks.whole, edge, q, g_shift)
        for chunk in chunks.parts:
            a, u, z, m = messages_of(chunk, edge, inputs.nodes, maps)
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
        saved = ctx.saved_tensors
        tensors, (q, *edges) = saved[: 2 + _INPUTS], saved[2 + _INPUTS :]
        if torch.is_grad_enabled() or any(direction is not None for direction in directions[5:]):
            found = differentiable_derivatives(ctx.graph, tensors, directions)
        else:
            wanted, edge = [_is_wanted(tensor) for tensor in tensors[7:]], Geometry.saved(ctx.chunks, edges)
            found = second_derivatives(ctx.chunks, edge, q, tensors, directions, wanted)
        return None, None, None, None, *found


def _is_wanted(tensor: Tensor) -> bool:
    """Whether the running backward pass will use the gradient of this tensor; true where torch can't tell."""
    if not tensor.requires_grad:
        return False
    # torch's own operations ask this, forces need no gradient of the maps, and `ctx.needs_input_grad` does not tell
    try:
        return bool(torch._C._will_engine_execute_node(get_gradient_edge(tensor).node))
    except (AttributeError, RuntimeError):  # it refuses to tell of a leaf that is itself what `autograd.grad` seeks
        return True
