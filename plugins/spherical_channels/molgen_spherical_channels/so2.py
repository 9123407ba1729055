"""Linear maps and gates of features in the frame of an edge that commute with turns about it.

Each works on one wide tensor [S, F] with the features of all orders side by side, and writes its result once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F

__all__ = ["SO2Gate", "SO2Linear"]

# where a product reads, where it writes, and which of the weights it takes
_Products = tuple[tuple[slice, slice, int], ...]


class SO2Linear(nn.Module):
    """[S, Σ outputs] of [S, Σ inputs]: a matrix for each order, m = 0, +1, −1, +2, ….

    Features of ±m are the real and the imaginary part of one complex number per channel. The general map multiplies
    by a complex matrix A + iB (Passaro and Zitnick 2023, eq. 6); B changes sign in a mirror, so that with `reflections`
    it is left out.

    Args:
        inputs: features of each m = 0, 1, …; those of m > 0 stand twice, for +m and −m.
        outputs: likewise.
        bias: of m = 0.
        reflections: commute with mirrors that hold the axis, too.
        gain: of the first weights, beside those that keep unit variance.
    """

    def __init__(
        self, inputs: Sequence[int], outputs: Sequence[int], *, bias: bool, reflections: bool, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.reflections = reflections
        parts = [1 if reflections or m == 0 else 2 for m in range(len(inputs))]
        self.weights = nn.ParameterList(
            torch.randn(part, n_in, n_out) * (gain / math.sqrt(part * n_in))
            for part, n_in, n_out in zip(parts, inputs, outputs, strict=True)
        )
        self.bias = nn.Parameter(torch.zeros(outputs[0])) if bias else None
        self.products = _products(inputs, outputs, reflections)

    def forward(self, x: Tensor) -> Tensor:
        """Of x [S, Σ inputs]."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        weights = [self._matrix(weight).to(dtype) for weight in self.weights]
        bias = None if self.bias is None else self.bias.to(dtype)
        found: Tensor = _BlockProducts.apply(x.to(dtype), bias, self.products, *weights)
        return found

    def _matrix(self, weight: Tensor) -> Tensor:
        if len(weight) == 1:
            return weight[0]
        a, b = weight.unbind(0)
        return torch.cat((torch.cat((a, b), 1), torch.cat((-b, a), 1)))  # (x₊ + ix₋)(A + iB)


def _products(inputs: Sequence[int], outputs: Sequence[int], reflections: bool) -> _Products:
    found, read, write = [], 0, 0
    for m, (n_in, n_out) in enumerate(zip(inputs, outputs, strict=True)):
        copies = 1 if m == 0 else 2
        width = 1 if reflections else copies  # both signs at once
        for _ in range(copies // width):
            found.append((slice(read, read + width * n_in), slice(write, write + width * n_out), m))
            read, write = read + width * n_in, write + width * n_out
    return tuple(found)


class _BlockProducts(torch.autograd.Function):
    """Slices of x [S, Σ inputs] times matrices, side by side: [S, Σ outputs]; any derivative is more of the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, products: _Products, *weights: Tensor) -> Tensor:
        ctx.products = products
        ctx.save_for_backward(x, bias, *weights)
        out = x.new_empty(len(x), products[-1][1].stop)
        with torch.autocast(x.device.type, enabled=False):
            for number, (read, write, which) in enumerate(products):
                if number == 0 and bias is not None:
                    torch.addmm(bias, x[:, read], weights[which], out=out[:, write])
                else:
                    torch.mm(x[:, read], weights[which], out=out[:, write])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, bias, *weights = ctx.saved_tensors
        grad, products = grads[0], ctx.products
        of_x = None
        of_weights: list[Tensor | None] = [None] * len(weights)
        with torch.autocast(x.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                turned = tuple((write, read, which) for read, write, which in products)
                of_x = _BlockProducts.apply(grad, None, turned, *(weight.t() for weight in weights))
            wanted = [_is_wanted(weight) for weight in weights]
            for read, write, which in products:
                if wanted[which]:
                    part = x[:, read].t() @ grad[:, write]
                    before = of_weights[which]
                    of_weights[which] = part if before is None else before + part
            of_bias = grad[:, products[0][1]].sum(0) if bias is not None and _is_wanted(bias) else None
        return of_x, of_bias, None, *of_weights


def _is_wanted(tensor: Tensor) -> bool:
    """Whether the running backward pass will use the gradient of this tensor; true where torch can't tell."""
    if not tensor.requires_grad:
        return False
    # torch's own operations ask this, forces need no gradient of weights, and `ctx.needs_input_grad` does not tell
    try:
        return bool(torch._C._will_engine_execute_node(get_gradient_edge(tensor).node))
    except (AttributeError, RuntimeError):  # it refuses to tell of a leaf that is itself what `autograd.grad` seeks
        return True


class SO2Gate(nn.Module):
    """Radial functions and gates: [S, H + 2mH] of x [S, H + mH + 2mH] and radial functions [S, H + mH], m = m_max.

    Features of m = 0 times radial functions pass SiLU; those of ±m are multiplied by radial functions and by a sigmoid
    of one further invariant each, which stand after those of m = 0.
    """

    def __init__(self, m_max: int, width: int) -> None:
        super().__init__()
        self.m_max, self.width = m_max, width

    def forward(self, x: Tensor, radial: Tensor) -> Tensor:
        """Zero where the radial functions are zero."""
        if torch.compiler.is_compiling():
            return _gated(x, radial, self.width)
        found: Tensor = _Gated.apply(x.to(radial.dtype), radial, self.width)
        return found


def _gated(x: Tensor, radial: Tensor, h: int) -> Tensor:
    plain, gates, pairs = x.split((h, radial.shape[1] - h, 2 * (radial.shape[1] - h)), dim=1)
    factors = torch.sigmoid(gates) * radial[:, h:]  # [S, mH]
    gated = _signs(pairs, h) * factors.unflatten(1, (-1, 1, h))  # [S, m, 2, H]
    return torch.cat((F.silu(plain * radial[:, :h]), gated.flatten(1)), dim=1)


def _signs(pairs: Tensor, h: int) -> Tensor:
    """[S, m, 2, H] of [S, 2mH]."""
    return pairs.unflatten(1, (pairs.shape[1] // (2 * h), 2, h))


class _Gated(torch.autograd.Function):
    """`_gated` without copies; its derivative, where that is to be differentiated again, is that of `_gated`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, radial: Tensor, h: int) -> Tensor:
        ctx.h = h
        ctx.save_for_backward(x, radial)
        rest = radial.shape[1] - h
        out = x.new_empty(len(x), h + 2 * rest)
        scaled = x[:, :h] * radial[:, :h]
        torch.mul(scaled, torch.sigmoid(scaled), out=out[:, :h])
        if rest:
            factors = torch.sigmoid(x[:, h : h + rest]).mul_(radial[:, h:]).unflatten(1, (-1, 1, h))
            torch.mul(_signs(x[:, h + rest :], h), factors, out=_signs(out[:, h:], h))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, radial = ctx.saved_tensors
        if torch.is_grad_enabled():
            with torch.enable_grad():
                value = _gated(x, radial, ctx.h)
            found = torch.autograd.grad(value, (x, radial), grads[0], create_graph=True)
            return found[0], found[1], None
        return *_gated_backward(x, radial, grads[0], ctx.h), None


def _gated_backward(x: Tensor, radial: Tensor, grad: Tensor, h: int) -> tuple[Tensor, Tensor]:
    rest = radial.shape[1] - h
    of_x, of_radial = torch.empty_like(x), torch.empty_like(radial)
    scaled = x[:, :h] * radial[:, :h]
    inner = torch.ops.aten.silu_backward(grad[:, :h], scaled)
    torch.mul(inner, radial[:, :h], out=of_x[:, :h])
    torch.mul(inner, x[:, :h], out=of_radial[:, :h])
    if rest:
        sigmoid, factors = torch.sigmoid(x[:, h : h + rest]), radial[:, h:]
        pairs, grads = _signs(x[:, h + rest :], h), _signs(grad[:, h:], h)
        torch.mul(grads, (sigmoid * factors).unflatten(1, (-1, 1, h)), out=_signs(of_x[:, h + rest :], h))
        inner = (grads[:, :, 0] * pairs[:, :, 0]).addcmul_(grads[:, :, 1], pairs[:, :, 1]).flatten(1)  # [S, mH]
        inner.mul_(sigmoid)
        of_radial[:, h:] = inner
        torch.mul(inner.mul_(factors), 1 - sigmoid, out=of_x[:, h : h + rest])
    return of_x, of_radial
