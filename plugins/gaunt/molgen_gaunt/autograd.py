"""The product as an operation that torch can differentiate any number of times, keeping nothing but its inputs.

The gradient of a product is a product of the same form, so the operation is its own backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from molgen.errors import InputError
from molgen_gaunt.memory import kept_memory
from molgen_gaunt.methods.base import Engine

__all__ = ["contract", "refuse_batched"]

# of intermediate results: about what stays in the cache of each core at work; what fits
_CHUNK_BYTES = {"cpu": 1 << 22, "cuda": 1 << 28}


def contract(x: Tensor, y: Tensor, engine: Engine) -> Tensor:
    """[B, width₃] product of x [B, width₁] and y [B, width₂]."""
    if torch.compiler.is_compiling():
        return engine.contract(x, y, 0, 1)  # the compiler differentiates what it traces, and plans its memory
    return _apply(x, y, engine, 0, 1)


def _apply(x: Tensor, y: Tensor, engine: Engine, i: int, j: int) -> Tensor:
    """Slots i and j given, the third wanted."""
    if torch._C._are_functorch_transforms_active():
        # torch drops the outer tangents of nested forward modes in functions of one's own, silently; its own
        # operations keep them
        return engine.contract(x, y, i, j)
    return _Contraction.apply(x, y, engine, i, j)


class _Contraction(torch.autograd.Function):
    """The operation for plain autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, engine: Engine, i: int, j: int) -> Tensor:  # type: ignore[override]
        ctx.engine, ctx.i, ctx.j = engine, i, j
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)
        return _run(x, y, engine, i, j)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:  # type: ignore[override]
        refuse_batched(g)
        x, y = ctx.saved_tensors
        engine, i, j = ctx.engine, ctx.i, ctx.j
        k = 3 - i - j
        plain = not torch.is_grad_enabled() and not torch._C._are_functorch_transforms_active()
        if plain and ctx.needs_input_grad[0] and ctx.needs_input_grad[1]:
            return *_gradients(x, y, g.contiguous(), engine, i, j), None, None, None
        dx = _apply(y, g, engine, j, k) if ctx.needs_input_grad[0] else None
        dy = _apply(x, g, engine, i, k) if ctx.needs_input_grad[1] else None
        return dx, dy, None, None, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dy: Tensor | None, *_: None) -> Tensor | None:
        x, y = ctx.saved_tensors
        terms = []
        if dx is not None:
            terms.append(_apply(dx, y, ctx.engine, ctx.i, ctx.j))
        if dy is not None:
            terms.append(_apply(x, dy, ctx.engine, ctx.i, ctx.j))
        return sum(terms[1:], terms[0]) if terms else None


def _run(x: Tensor, y: Tensor, engine: Engine, i: int, j: int) -> Tensor:
    """Chunk by chunk."""
    chunk = _rows(engine, x)
    memory = kept_memory(x)
    if x.shape[0] <= chunk:
        return engine.contract(x, y, i, j, memory=memory)
    out = x.new_empty(x.shape[0], engine.form.slots[3 - i - j].width)
    for start in range(0, x.shape[0], chunk):
        part = slice(start, start + chunk)
        engine.contract(x[part], y[part], i, j, memory=memory, out=out[part])
    return out


def _gradients(x: Tensor, y: Tensor, g: Tensor, engine: Engine, i: int, j: int) -> tuple[Tensor, Tensor]:
    chunk = max(1, _rows(engine, x) * 2 // 3)  # three functions are on the grid here, where a product has two
    memory = kept_memory(x)
    if x.shape[0] <= chunk:
        return engine.gradients(x, y, g, i, j, memory=memory)
    dx, dy = torch.empty_like(x), torch.empty_like(y)
    for start in range(0, x.shape[0], chunk):
        part = slice(start, start + chunk)
        engine.gradients(x[part], y[part], g[part], i, j, memory=memory, out=(dx[part], dy[part]))
    return dx, dy


def _rows(engine: Engine, x: Tensor) -> int:
    cores = torch.get_num_threads() if x.device.type == "cpu" else 1
    size = cores * _CHUNK_BYTES.get(x.device.type, _CHUNK_BYTES["cuda"])
    most = max(1, size // (engine.floats_per_row * x.element_size()))
    chunks = -(-x.shape[0] // most)
    return max(1, -(-x.shape[0] // max(chunks, 1)))  # all of about one size


def refuse_batched(*gradients: Tensor) -> None:
    """Raises where torch hands in many gradients at once in a way that only its own operations take."""
    if any(torch._C._functorch.is_legacy_batchedtensor(g) for g in gradients):
        raise InputError(
            "gradients come in batches, by is_grads_batched or vectorize=True",
            expected="one at a time",
            remedy="use torch.func.jacrev, or torch.func.vjp with torch.func.vmap",
        )
