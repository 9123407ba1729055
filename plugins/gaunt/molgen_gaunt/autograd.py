"""The product as an operation that torch can differentiate any number of times, keeping nothing but its inputs.

The gradient of a product is a product of the same form, so the operation is its own backward pass.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

from molgen_gaunt.methods.base import Engine
from molgen_gaunt.tables import Reused

__all__ = ["contract"]

_CHUNK_BYTES = {"cpu": 1 << 21, "cuda": 1 << 28}  # of intermediate results: what stays in a core's cache; what fits
_local = threading.local()  # memory for the chunks of this thread, a few times _CHUNK_BYTES at most


def contract(x: Tensor, y: Tensor, engine: Engine) -> Tensor:
    """[B, width₃] product of x [B, width₁] and y [B, width₂]."""
    if torch.compiler.is_compiling():
        return engine.contract(x, y, 0, 1)  # the compiler differentiates what it traces, and plans its memory
    return _apply(x, y, engine, 0, 1)


def _apply(x: Tensor, y: Tensor, engine: Engine, i: int, j: int) -> Tensor:
    """Slots i and j given, the third wanted."""
    if torch._C._are_functorch_transforms_active():
        return _Transformable.apply(x, y, engine, i, j)
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

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, y: Tensor, engine: Engine, i: int, j: int
    ) -> tuple[Tensor, int]:
        def rows(tensor: Tensor, dim: int | None) -> Tensor:
            first = tensor.movedim(dim, 0) if dim is not None else tensor.expand(info.batch_size, *tensor.shape)
            return first.reshape(-1, first.shape[-1])

        out = _apply(rows(x, in_dims[0]), rows(y, in_dims[1]), engine, i, j)
        return out.view(info.batch_size, -1, out.shape[-1]), 0


class _Transformable(_Contraction):
    """The same for torch.func, which wants a context set up apart; that costs plain calls 40 µs."""

    @staticmethod
    def forward(x: Tensor, y: Tensor, engine: Engine, i: int, j: int) -> Tensor:  # type: ignore[override]
        return _run(x, y, engine, i, j)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Engine, int, int], output: Tensor) -> None:
        x, y, ctx.engine, ctx.i, ctx.j = inputs
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)


def _run(x: Tensor, y: Tensor, engine: Engine, i: int, j: int) -> Tensor:
    """Chunk by chunk."""
    chunk = _rows(engine, x)
    memory = _memory(x)
    if x.shape[0] <= chunk:
        return engine.contract(x, y, i, j, memory=memory)
    out = x.new_empty(x.shape[0], engine.form.slots[3 - i - j].width)
    for start in range(0, x.shape[0], chunk):
        part = slice(start, start + chunk)
        engine.contract(x[part], y[part], i, j, memory=memory, out=out[part])
    return out


def _gradients(x: Tensor, y: Tensor, g: Tensor, engine: Engine, i: int, j: int) -> tuple[Tensor, Tensor]:
    chunk = max(1, _rows(engine, x) * 2 // 3)  # three functions are on the grid here, where a product has two
    memory = _memory(x)
    if x.shape[0] <= chunk:
        return engine.gradients(x, y, g, i, j, memory=memory)
    dx, dy = torch.empty_like(x), torch.empty_like(y)
    for start in range(0, x.shape[0], chunk):
        part = slice(start, start + chunk)
        dx[part], dy[part] = engine.gradients(x[part], y[part], g[part], i, j, memory=memory)
    return dx, dy


def _rows(engine: Engine, x: Tensor) -> int:
    most = max(1, _CHUNK_BYTES.get(x.device.type, _CHUNK_BYTES["cuda"]) // (engine.floats_per_row * x.element_size()))
    chunks = -(-x.shape[0] // most)
    return max(1, -(-x.shape[0] // max(chunks, 1)))  # all of about one size


def _memory(x: Tensor) -> Reused:
    """Memory of this thread on a CPU, where mapping pages anew costs as much as a small product; else new memory."""
    if x.device.type != "cpu":
        return Reused(x.dtype, x.device)
    kept: dict[tuple[torch.dtype, bool], Reused] = _local.__dict__.setdefault("memory", {})
    key = x.dtype, torch.is_inference_mode_enabled()  # what inference mode makes can't be written outside of it
    if key not in kept:
        kept[key] = Reused(x.dtype, x.device)
    return kept[key]
