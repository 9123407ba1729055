"""Moments of a neighbourhood: B_i = Σ_j (R(r_ij) ∘ x_j) ⊗ Y(r̂_ij), computed a few receivers at a time.

Gathered features live for as many edges as a core's cache holds (gradients by x are written once for all of them); what
is kept for derivatives is the arguments. Σ B·b is linear in each of x, radial features f, harmonics Y, radial weights W
and b, so that every derivative, of any order, is this form again with an argument left out and others exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from molgen.nn import Neighborhoods

__all__ = ["moments"]

_NAMES: Final = ("x", "f", "y", "w", "b")
# numbers of x in the slots of one step; with what is made of them they stay in a core's second cache
_STEP: Final = 1 << 17


def moments(x: Tensor, radial: Tensor, harmonics: Tensor, weights: Tensor, hoods: Neighborhoods) -> Tensor:
    """[N, D, C, K] Σ_j x_j,dc Σ_h f_ij,h W_c,h Y_ij,k.

    Args:
        x: [N, D, C] node features; each channel has a radial function, linear in the radial features.
        radial: [S, H] features f of the invariants of the edge in each slot of `hoods`, blocks one after another.
        harmonics: [S, K], zero in empty slots.
        weights: [C, H].
        hoods: of the graph.
    """
    with torch.autocast(x.device.type, enabled=False):
        (found,) = _Multilinear.apply(hoods, ("b",), x, radial, harmonics, weights, None)
    return found


class _Multilinear(torch.autograd.Function):
    """Derivatives of Σ B·b by the wanted arguments, at the others."""

    @staticmethod
    def forward(ctx: Any, hoods: Neighborhoods, wanted: tuple[str, ...], *arguments: Tensor | None) -> Any:
        ctx.hoods, ctx.wanted = hoods, wanted
        ctx.save_for_backward(*arguments)
        ctx.set_materialize_grads(False)
        given = {name: value for name, value in zip(_NAMES, arguments, strict=True) if value is not None}
        return _Derivatives(hoods, wanted, given).all()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        arguments = dict(zip(_NAMES, ctx.saved_tensors, strict=True))
        asked = [name for name, needed in zip(_NAMES, ctx.needs_input_grad[2:], strict=True) if needed]
        total: dict[str, Tensor] = {}
        with torch.autocast(ctx.hoods.graph.vectors.device.type, enabled=False):
            for name, grad in zip(ctx.wanted, grads, strict=True):
                wanted = tuple(other for other in asked if other != name)
                if grad is None or not wanted:
                    continue
                exchanged = arguments | {name: grad}
                found = _Multilinear.apply(ctx.hoods, wanted, *exchanged.values())
                for other, part in zip(wanted, found, strict=True):
                    total[other] = total[other] + part if other in total else part
        return None, None, *(total.get(name) for name in _NAMES)


class _Derivatives:
    """The wanted derivatives of Σ B·b; each is of the shape of its argument, b of [N, D, C, K]."""

    def __init__(self, hoods: Neighborhoods, wanted: tuple[str, ...], given: Mapping[str, Tensor]) -> None:
        self.hoods, self.wanted = hoods, wanted
        self.x, self.f, self.y, self.w = (given[name].contiguous() for name in _NAMES[:4])
        self.transposed = self.w.T.contiguous()  # [H, C]
        self.b = given["b"].contiguous() if "b" in given else None
        self.width, self.size = self.x[0].numel() if len(self.x) else self.x.shape[1] * self.x.shape[2], self.y.shape[1]
        shapes = {"x": self.width, "f": self.f.shape[1], "y": self.size}
        self.rows = {name: self.y.new_empty(len(self.y), shapes[name]) for name in wanted if name in shapes}
        self.weights = torch.zeros_like(self.w) if "w" in wanted else None

    def all(self) -> tuple[Tensor, ...]:
        """The derivatives, in the order of `wanted`."""
        sums, position = [], 0
        cached = _STEP * torch.get_num_threads() if self.y.device.type == "cpu" else 1 << 60
        for block in self.hoods.blocks:
            rows = len(block.receivers) if "b" in self.wanted else 0
            found = self.x.new_empty(rows, self.width, self.size)
            b = self.b if self.b is None or self.hoods.in_order else self.b.index_select(0, block.receivers)
            count = max(1, cached // (self.width * max(block.width, 1)))
            for start in range(0, len(block.receivers), count):
                stop = min(start + count, len(block.receivers))
                first, last = start * block.width, stop * block.width
                part = slice(position + first, position + last)
                self._step(block.senders[first:last], part, found[start:stop], None if b is None else b[start:stop])
            sums.append(found)
            position += len(block.senders)
        results: dict[str, Tensor | None] = {name: self.rows.get(name) for name in ("f", "y")}
        results["w"] = self.weights
        if "b" in self.wanted:
            results["b"] = self.hoods.to_nodes([found[None] for found in sums])[0].view(*self.x.shape, self.size)
        if "x" in self.wanted:
            results["x"] = self.hoods.summed_slots(self.rows["x"]).view(self.x.shape)
        return tuple(results[name] for name in self.wanted)  # type: ignore[misc]

    def _step(self, senders: Tensor, part: slice, sums: Tensor, b: Tensor | None) -> None:
        """R receivers with W slots each: `part` of the slots, SL = R·W; sums, if wanted, and b are [R, D·C, K]."""
        wanted, f, y = self.wanted, self.f[part], self.y[part]  # [SL, H], [SL, K]
        count = len(sums) if b is None else len(b)
        y = y.view(count, len(y) // max(count, 1), self.size)  # [R, W, K]
        x = self.x.index_select(0, senders)  # [SL, D, C]
        radial = torch.mm(f, self.transposed)[:, None]  # [SL, 1, C]
        if "b" in wanted or "y" in wanted:
            scaled = (x * radial).view(*y.shape[:2], self.width)  # [R, W, D·C]
            if "b" in wanted:
                torch.bmm(scaled.mT, y, out=sums)
        if b is None:
            return
        b = b.reshape(count, self.width, self.size)
        if "y" in wanted:
            torch.bmm(scaled, b, out=self.rows["y"][part].view(y.shape))
        if "x" not in wanted and "f" not in wanted and self.weights is None:
            return
        pulled = torch.bmm(y, b.mT).view(x.shape)  # [SL, D, C]
        if "x" in wanted:
            torch.mul(pulled, radial, out=self.rows["x"][part].view(x.shape))
        if "f" in wanted or self.weights is not None:
            of_radial = (pulled * x).sum(1)  # [SL, C]
            if "f" in wanted:
                torch.mm(of_radial, self.w, out=self.rows["f"][part])
            if self.weights is not None:
                self.weights.addmm_(of_radial.T, f)
