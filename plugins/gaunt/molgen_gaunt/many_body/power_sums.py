"""Weighted sums of powers, and products of different factors, as functions of rows (see `recompute`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from molgen_gaunt.harmonics import Array, components
from molgen_gaunt.many_body.powers import Sphere
from molgen_gaunt.many_body.recompute import SHARED
from molgen_gaunt.memory import Memory
from molgen_gaunt.tables import Tables

__all__ = ["PowerSum", "Product", "ProductTables"]

_SLOTS = {"in": 0, "out": 2}


class PowerSum(Tables):
    """Σ over (ν, l) of scale · weight · degree l of the power ν.

    Args:
        sphere: computes powers.
        paths: (ν, l) of each term.
        scale: [C, paths] of each term.
        weights: kind of the weights [B, paths · C], `SHARED` for [paths · C]; None where there are none.
    """

    kind_out = "out"
    sphere: Sphere
    spread: Tensor
    scale: Tensor
    wide: Tensor
    linear: Tensor

    def __init__(self, sphere: Sphere, paths: Sequence[tuple[int, int]], scale: Array, weights: str | None) -> None:
        super().__init__(sphere.engine.dtype, sphere.engine.device)
        self.sphere, self.channels, self.n_paths = sphere, len(scale), len(paths)
        self.kinds: tuple[str, ...] = ("in",) if weights is None else ("in", weights)
        self.orders = sorted({n for n, _ in paths})
        taken, _ = sphere.places(0)
        put, self.length = sphere.places(2)
        first, last = (components(slot.degrees) for slot in sphere.slots)
        spread = np.zeros((len(paths), len(self.orders), self.length))  # a weight to all components of its degree
        for i, (n, l) in enumerate(paths):
            spread[i, self.orders.index(n), [place for place, lm in zip(put, last, strict=True) if lm[0] == l]] = 1
        self.constant("spread", spread.reshape(len(paths), -1))
        self.constant("scale", scale)
        if weights is None:
            self.constant("wide", scale @ spread.reshape(len(paths), -1))
        if 1 in self.orders:
            linear = np.zeros((sphere.places(0)[1], self.length))  # what the first power is
            for place, lm in zip(taken, first, strict=True):
                if lm in last:
                    linear[place, put[last.index(lm)]] = 1
            self.constant("linear", linear)

    def floats_per_row(self) -> int:
        """See RowFunction."""
        return self.sphere.floats_per_row()

    def pack(self, x: Tensor, kind: str, memory: Memory, key: str) -> Tensor:
        """See RowFunction; weights as [B · C, paths]."""
        if kind in _SLOTS:
            return self.sphere.pack(x, _SLOTS[kind], memory, key)
        by_path = x.reshape(-1, self.n_paths, self.channels)
        return by_path.transpose(1, 2).reshape(-1, self.n_paths)

    def unpack(self, packed: Tensor, kind: str) -> Tensor:
        """See RowFunction."""
        if kind in _SLOTS:
            return self.sphere.unpack(packed, _SLOTS[kind])
        by_path = packed.reshape(-1, self.channels, self.n_paths).transpose(1, 2)
        return by_path.reshape(-1) if kind == SHARED else by_path.reshape(-1, self.n_paths * self.channels)

    def value(self, inputs: Sequence[Tensor], memory: Memory) -> Tensor:
        """See RowFunction."""
        x, factors = inputs[0], self._factors(inputs, memory)
        total: Tensor | None = None
        for n, power in self._powers(x, self._prepared(x, memory), memory):
            power = power.view(-1, self.channels, self.length)
            out = memory("total", *power.shape)
            if total is None:
                total = torch.mul(power, factors[n], out=out)
            else:
                total = torch.addcmul(total, power, factors[n], out=out)
        if total is None:
            raise ValueError("a sum of no powers")
        return total.view(-1, self.length)

    def gradients(
        self, inputs: Sequence[Tensor], g: Tensor, wanted: tuple[bool, ...], memory: Memory
    ) -> tuple[Tensor, ...] | None:
        """See RowFunction."""
        if not self.sphere.explicit:
            return None
        prepared = self._prepared(inputs[0], memory)
        found = [self._of_weights(inputs[0], prepared, g, memory)] if any(wanted[1:]) else []
        return (self._of_input(inputs, prepared, g, memory), *found) if wanted[0] else tuple(found)

    def _prepared(self, x: Tensor, memory: Memory) -> Any:
        return self.sphere.prepare(x, memory) if self.orders[-1] > 1 else None

    def _of_weights(self, x: Tensor, prepared: Any, g: Tensor, memory: Memory) -> Tensor:
        g = g.view(-1, self.channels, self.length)
        total: Tensor | None = None
        for i, (_, power) in enumerate(self._powers(x, prepared, memory)):
            part = torch.mul(g, power.view_as(g), out=memory("part", *g.shape))
            part = part.sum(0) if self.kinds[1] == SHARED else part.view(-1, self.length)
            spread = self.spread[:, i * self.length : (i + 1) * self.length].T
            total = part @ spread if total is None else torch.addmm(total, part, spread)
        if total is None:
            raise ValueError("a sum of no powers")
        return (total.view(-1, self.channels, self.n_paths) * self.scale).view(-1, self.n_paths)

    def _of_input(self, inputs: Sequence[Tensor], prepared: Any, g: Tensor, memory: Memory) -> Tensor:
        factors = self._factors(inputs, memory)
        g = g.view(-1, self.channels, self.length)
        by_order = {
            n: torch.mul(g, factors[n], out=memory(f"weighted{n}", *g.shape)).view(-1, self.length) for n in self.orders
        }
        first = by_order.pop(1, None)
        if first is not None and not by_order:
            return first @ self.linear.T
        dx = self.sphere.pull(prepared, by_order, memory)
        return dx if first is None else torch.addmm(dx, first, self.linear.T)

    def _powers(self, x: Tensor, prepared: Any, memory: Memory) -> Iterator[tuple[int, Tensor]]:
        if self.orders[0] == 1:
            yield 1, torch.mm(x, self.linear, out=memory("linear", len(x), self.length))
        yield from self.sphere.powers(prepared, [n for n in self.orders if n > 1], memory)

    def _factors(self, inputs: Sequence[Tensor], memory: Memory) -> dict[int, Tensor]:
        """[B or 1, C, places] of each power."""
        if len(inputs) == 1:
            wide = self.wide
        else:
            weights = inputs[1].view(-1, self.channels, self.n_paths)
            scaled = torch.mul(weights, self.scale, out=memory("scaled weights", *weights.shape))
            scaled = scaled.view(-1, self.n_paths)
            wide = torch.mm(scaled, self.spread, out=memory("wide", len(scaled), self.spread.shape[1]))
        by_order = wide.view(-1, self.channels, len(self.orders), self.length)
        return {n: by_order[:, :, i] for i, n in enumerate(self.orders)}


class ProductTables(Tables):
    """Scales of products of 2 … correlation factors.

    Args:
        sphere: computes products.
        scales: [C, degrees] for each number of factors.
    """

    sphere: Sphere

    def __init__(self, sphere: Sphere, scales: dict[int, Array]) -> None:
        super().__init__(sphere.engine.dtype, sphere.engine.device)
        self.__dict__["sphere"] = sphere  # a submodule of the sum of powers already
        put, self.length = sphere.places(2)
        degrees = sphere.slots[1].degrees
        for n, scale in scales.items():
            wide = np.zeros((len(scale), self.length))
            wide[:, put] = scale[:, [degrees.index(l) for l, _ in components(degrees)]]
            self.constant(f"scale{n}", wide)


@dataclass(frozen=True)
class Product:
    """The product of `count` factors."""

    tables: ProductTables
    count: int
    kind_out = "out"

    @property
    def kinds(self) -> tuple[str, ...]:
        """See RowFunction."""
        return ("in",) * self.count

    def floats_per_row(self) -> int:
        """See RowFunction."""
        return self.tables.sphere.floats_per_row()

    def pack(self, x: Tensor, kind: str, memory: Memory, key: str) -> Tensor:
        """See RowFunction."""
        return self.tables.sphere.pack(x, _SLOTS[kind], memory, key)

    def unpack(self, packed: Tensor, kind: str) -> Tensor:
        """See RowFunction."""
        return self.tables.sphere.unpack(packed, _SLOTS[kind])

    def value(self, inputs: Sequence[Tensor], memory: Memory) -> Tensor:
        """See RowFunction."""
        return self._scaled(self.tables.sphere.product(inputs, memory))

    def gradients(
        self, inputs: Sequence[Tensor], g: Tensor, wanted: tuple[bool, ...], memory: Memory
    ) -> tuple[Tensor, ...] | None:
        """See RowFunction."""
        if not self.tables.sphere.explicit:
            return None
        return self.tables.sphere.pull_product(inputs, self._scaled(g), wanted, memory)

    def _scaled(self, packed: Tensor) -> Tensor:
        scale = getattr(self.tables, f"scale{self.count}")
        return (packed.view(-1, *scale.shape) * scale).view(packed.shape)
