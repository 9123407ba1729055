"""Moments of a neighbourhood: B_i = Σ_j x_j ⊗ (R(r_ij) ∘ Y(r̂_ij)), computed a few receivers at a time.

Filters and gathered features live for as many edges as a core's cache holds; what is kept for derivatives is the
arguments. Σ B·b is linear in each of x, radial features f, harmonics Y, radial weights W and b, so that every
derivative, of any order, is this form again with an argument left out and others exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from molgen.nn import Neighborhoods

__all__ = ["moments"]

_NAMES: Final = ("x", "f", "y", "w", "b")
# numbers of a filter for the slots of one step; with as many of x they stay in a core's second cache
_STEP: Final = 1 << 17


def moments(x: Tensor, radial: Tensor, harmonics: Tensor, weights: Tensor, hoods: Neighborhoods) -> Tensor:
    """[N, G, P, K] Σ_j x_j,g ⊗ Σ_h f_ij,h W_g,l(k),h Y_ij,k.

    Args:
        x: [N, G, P] node features; P numbers in each of G groups share radial functions.
        radial: [S, H] features f of the invariants of the edge in each slot of `hoods`, blocks one after another.
        harmonics: [S, K = (l_max + 1)²], zero in empty slots.
        weights: [G, l_max + 1, H].
        hoods: of the graph.
    """
    with torch.autocast(x.device.type, enabled=False):
        (found,) = _Form.apply(hoods, ("b",), x, radial, harmonics, weights, None)
    return found


class _Form(torch.autograd.Function):
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
                found = _Form.apply(ctx.hoods, wanted, *exchanged.values())
                for other, part in zip(wanted, found, strict=True):
                    total[other] = total[other] + part if other in total else part
        return None, None, *(total.get(name) for name in _NAMES)


class _Derivatives:
    """The wanted derivatives of Σ B·b; each is of the shape of its argument, b of [N, G, P, K]."""

    def __init__(self, hoods: Neighborhoods, wanted: tuple[str, ...], given: Mapping[str, Tensor]) -> None:
        self.hoods, self.wanted = hoods, wanted
        self.x, self.f, self.y, w = (given[name].contiguous() for name in _NAMES[:4])
        self.b = given["b"].contiguous() if "b" in given else None
        self.groups, self.degrees, self.hidden = w.shape
        self.width, self.size = self.x.shape[2], self.y.shape[1]
        self.w = w.reshape(1, -1, self.hidden)  # [1, G·L, H]
        degree = torch.arange(self.size, device=w.device).double().sqrt().floor().long()
        self.spread = torch.nn.functional.one_hot(degree, self.degrees).to(w.dtype).T[None]  # [1, L, K]
        slots = len(self.y)
        shapes = {"x": (slots * self.groups, self.width), "f": (slots, self.hidden), "y": (slots, self.size)}
        self.rows = {name: w.new_empty(shapes[name]) for name in wanted if name in shapes}
        self.weights = torch.zeros_like(self.w) if "w" in wanted else None

    def all(self) -> tuple[Tensor, ...]:
        """The derivatives, in the order of `wanted`."""
        sums, position = [], 0
        widest = self.groups * max(self.width, self.size)
        cached = _STEP * torch.get_num_threads() if self.y.device.type == "cpu" else 1 << 60
        for block in self.hoods.blocks:
            found = self.x.new_empty(len(block.receivers), self.groups, self.width, self.size)
            b = self.b if self.b is None or self.hoods.in_order else self.b.index_select(0, block.receivers)
            count = max(1, cached // (widest * max(block.width, 1)))
            for start in range(0, len(block.receivers), count):
                stop = min(start + count, len(block.receivers))
                first, last = start * block.width, stop * block.width
                part = slice(position + first, position + last)
                self._step(block.senders[first:last], part, found[start:stop], None if b is None else b[start:stop])
            sums.append(found)
            position += len(block.senders)
        results: dict[str, Tensor | None] = {name: self.rows.get(name) for name in ("f", "y")}
        if "b" in self.wanted:
            results["b"] = self.hoods.to_nodes([found[None] for found in sums])[0]
        if "x" in self.wanted:
            results["x"] = self.hoods.summed_slots(self.rows["x"], self.groups)
        if self.weights is not None:
            results["w"] = self.weights.view(self.groups, self.degrees, self.hidden)
        return tuple(results[name] for name in self.wanted)  # type: ignore[misc]

    def _step(self, senders: Tensor, part: slice, sums: Tensor, b: Tensor | None) -> None:
        """R receivers with W slots each: `part` of the slots; sums and b are [R, G, P, K]."""
        wanted, count, groups = set(self.wanted), len(sums), self.groups
        f = self.f[part].view(count, -1, self.hidden)  # [R, W, H]
        width = f.shape[1]
        y = self.y[part].view(count, width, self.size).mT.contiguous()[:, None]  # [R, 1, K, W]
        matrices = count * groups, -1, width
        radial = torch.empty(0)
        if wanted & {"x", "y", "b"}:
            radial = torch.bmm(self.w.expand(count, -1, -1), f.mT).view(count, groups, self.degrees, width)
        if wanted & {"x", "b"}:
            filters = self._by_degree(radial, y).view(matrices)  # [R·G, K, W]
        if wanted != {"x"}:
            group = torch.arange(groups, device=senders.device)[:, None]
            index = senders.view(count, 1, width) * groups + group
            x = self.x.view(-1, self.width).index_select(0, index.view(-1)).view(matrices[0], width, self.width)
        if "b" in wanted:
            torch.bmm(x.mT, filters.mT, out=sums.view(matrices[0], self.width, self.size))
        if b is None:
            return
        b = b.view(matrices[0], self.width, self.size)
        if "x" in wanted:
            rows = slice(part.start * groups, part.stop * groups)
            torch.bmm(filters.mT, b.mT, out=self.rows["x"][rows].view(matrices[0], width, self.width))
        if not wanted & {"f", "y", "w"}:
            return
        pulled = torch.bmm(b.mT, x.mT).view(count, groups, self.size, width)
        if "y" in wanted:
            self.rows["y"][part].view(count, width, self.size).copy_(self._by_degree(radial, pulled).sum(1).mT)
        if wanted & {"f", "w"}:
            pulled = (pulled * y).view(matrices)
            by_degree = torch.bmm(self.spread.expand(matrices[0], -1, -1), pulled).view(count, -1, width)  # [R, G·L, W]
            if "f" in wanted:
                out = self.rows["f"][part].view(f.shape)
                torch.bmm(by_degree.mT, self.w.expand(count, -1, -1), out=out)
            if self.weights is not None:
                self.weights += torch.bmm(by_degree, f).sum(0)

    def _by_degree(self, radial: Tensor, y: Tensor) -> Tensor:
        """[R, G, K, W] of radial functions [R, G, L, W] times y [R, G or 1, K, W]."""
        out = radial.new_empty(*radial.shape[:2], self.size, radial.shape[3])
        for l in range(self.degrees):
            part = slice(l * l, (l + 1) ** 2)
            torch.mul(radial[:, :, l : l + 1], y[:, :, part], out=out[:, :, part])
        return out
