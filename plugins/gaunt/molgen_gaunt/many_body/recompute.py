"""Functions of rows that torch can differentiate any number of times, keeping nothing but their inputs.

The derivative of such a function is one of the same inputs and of the gradient that comes back, computed anew from
them, a chunk of rows at a time; and so is the derivative of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from molgen_gaunt.autograd import refuse_batched
from molgen_gaunt.memory import Fresh, Memory, kept_memory

__all__ = ["SHARED", "RowFunction", "call"]

SHARED = "shared"  # the kind of a tensor that has no rows: all rows use it, and its gradient is their sum

Wanted = tuple[bool, ...]  # which of a function's inputs a derivative is taken with respect to

_CHUNK_BYTES = {"cpu": 4 << 20, "cuda": 1 << 28}  # of intermediate results: what stays in a core's cache; what fits


class RowFunction(Protocol):
    """One output [B, …] of several inputs, each of a kind that says how it is packed for computing."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of the inputs."""

    @property
    def kind_out(self) -> str:
        """Of the output."""

    def pack(self, x: Tensor, kind: str, memory: Memory, key: str) -> Tensor:
        """The tensor as `value` wants it."""

    def unpack(self, packed: Tensor, kind: str) -> Tensor:
        """The transpose of `pack`."""

    def value(self, inputs: Sequence[Tensor], memory: Memory) -> Tensor:
        """The packed output of packed inputs."""

    def gradients(
        self, inputs: Sequence[Tensor], g: Tensor, wanted: Wanted, memory: Memory
    ) -> tuple[Tensor, ...] | None:
        """Packed gradients of the wanted inputs, by operations that torch differentiates; None: as torch finds them."""

    def floats_per_row(self) -> int:
        """Numbers of intermediate results per row, by which rows are dealt out in chunks."""


def call(function: RowFunction, *inputs: Tensor) -> Tensor:
    """The function's output. Inputs are [B, …], of kind `SHARED` whatever."""
    if torch.compiler.is_compiling() or _transformed(inputs):
        return _direct(function, (), inputs)[0]  # the compiler plans its memory; functorch differentiates what it sees
    return _Recomputed.apply(function, (), *inputs)[0]


class _Recomputed(torch.autograd.Function):
    """A derivative of a function; `orders` has an entry for each time that it was differentiated."""

    @staticmethod
    def forward(ctx: Any, function: RowFunction, orders: tuple[Wanted, ...], *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.function, ctx.orders = function, orders
        ctx.save_for_backward(*inputs)
        inputs = tuple(x.detach() for x in inputs)  # a view of a leaf would count as one that has a graph
        kinds, kinds_out = _kinds(function, orders)
        by_row = [kind != SHARED for kind in kinds]
        rows = next(len(x) for x, split in zip(inputs, by_row, strict=True) if split)
        size = function.floats_per_row() * inputs[0].element_size() * (1 + len(orders))
        most = max(1, _CHUNK_BYTES.get(inputs[0].device.type, _CHUNK_BYTES["cuda"]) // size)
        chunk = -(-rows // max(1, -(-rows // most)))  # all of about one size
        memory = kept_memory(inputs[0])
        if rows <= chunk:
            return _direct(function, orders, inputs, memory)
        results: tuple[Tensor, ...] = ()
        for start in range(0, rows, chunk):
            part = slice(start, start + chunk)
            cut = [x[part] if split else x for x, split in zip(inputs, by_row, strict=True)]
            found = _direct(function, orders, cut, memory)
            if not results:
                results = tuple(
                    torch.zeros_like(y) if kind == SHARED else y.new_empty(rows, *y.shape[1:])
                    for y, kind in zip(found, kinds_out, strict=True)
                )
            for whole, y, kind in zip(results, found, kinds_out, strict=True):
                if kind == SHARED:
                    whole += y
                else:
                    whole[part] = y
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        refuse_batched(*gradients)
        wanted = tuple(
            needed and _asked_for(node)
            for needed, (node, _) in zip(ctx.needs_input_grad[2:], ctx.next_functions, strict=True)
        )
        orders, inputs = (*ctx.orders, wanted), (*ctx.saved_tensors, *gradients)
        if _transformed(gradients):
            found = iter(_direct(ctx.function, orders, inputs))
        else:
            found = iter(_Recomputed.apply(ctx.function, orders, *inputs))
        return None, None, *(next(found) if each else None for each in wanted)


def _asked_for(node: Any) -> bool:
    """Whether the pass at work goes on to a node: forces need no gradients of weights."""
    try:
        return node is not None and torch._C._will_engine_execute_node(node)
    except RuntimeError:  # a leaf that `torch.autograd.grad` was asked for, about which torch says nothing
        return True


def _transformed(tensors: Sequence[Tensor]) -> bool:
    """Whether torch.func is at work, or forward-mode differentiation."""
    if torch._C._are_functorch_transforms_active():
        return True
    return any(torch.autograd.forward_ad.unpack_dual(x).tangent is not None for x in tensors)


def _kinds(function: RowFunction, orders: tuple[Wanted, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    inputs = function.kinds
    outputs: tuple[str, ...] = (function.kind_out,)
    for wanted in orders:
        inputs, outputs = inputs + outputs, tuple(k for k, each in zip(inputs, wanted, strict=True) if each)
    return inputs, outputs


def _direct(
    function: RowFunction, orders: tuple[Wanted, ...], inputs: Sequence[Tensor], memory: Memory | None = None
) -> tuple[Tensor, ...]:
    """All rows at once; the memory of results is their own."""
    memory = memory or Fresh()
    kinds, kinds_out = _kinds(function, orders)
    packed = [function.pack(x, kind, memory, f"in{i}") for i, (x, kind) in enumerate(zip(inputs, kinds, strict=True))]
    found = _evaluate(function, orders, packed, memory)
    return tuple(function.unpack(y, kind) for y, kind in zip(found, kinds_out, strict=True))


def _evaluate(
    function: RowFunction, orders: tuple[Wanted, ...], inputs: Sequence[Tensor], memory: Memory
) -> tuple[Tensor, ...]:
    if not orders:
        return (function.value(inputs, memory),)
    lower, wanted = orders[:-1], orders[-1]
    arguments, cotangents = inputs[: len(wanted)], inputs[len(wanted) :]
    if not lower and (found := function.gradients(arguments, cotangents[0], wanted, memory)) is not None:
        return found
    further = torch.is_grad_enabled()
    with torch.enable_grad():
        arguments = [
            x.detach().requires_grad_() if each and not x.requires_grad else x
            for x, each in zip(arguments, wanted, strict=True)
        ]
        outputs = _evaluate(function, lower, arguments, Fresh())
    sources = [x for x, each in zip(arguments, wanted, strict=True) if each]
    pairs = [(y, g) for y, g in zip(outputs, cotangents, strict=True) if y.requires_grad]
    if not pairs:  # linear in what it was differentiated with respect to
        return tuple(torch.zeros_like(x) for x in sources)
    ends, starts = zip(*pairs, strict=True)
    return torch.autograd.grad(ends, sources, starts, create_graph=further, allow_unused=True, materialize_grads=True)
