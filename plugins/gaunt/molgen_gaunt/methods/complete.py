"""The even and the odd form of the same two inputs in one pass over the grid, for `parity: full`.

The inputs are gathered once for values and derivatives, and both results are put back together.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from molgen_gaunt.form import Form, Slot
from molgen_gaunt.harmonics import Array, components, gradients, harmonics
from molgen_gaunt.memory import Fresh, Memory
from molgen_gaunt.methods.base import Engine, Jet, Pair
from molgen_gaunt.methods.grid import best_symmetry, evened, multiply_classes
from molgen_gaunt.quadrature import SYMMETRIES, sphere_rule, symmetry_class

__all__ = ["Complete"]

Ranges = list[tuple[int, int]]


class Complete(Engine):
    """See the module.

    Args:
        even: one form.
        odd: the other, of the same inputs; its output has other components of the same tensor.
        dtype: float32 or float64, of inputs and results.
        device: of inputs and results.
        symmetry: one of `quadrature.SYMMETRIES`, by default the fastest for the degrees.
    """

    def __init__(
        self, even: Form, odd: Form, dtype: torch.dtype, device: torch.device | str, symmetry: str | None = None
    ) -> None:
        both = _joined(even.slots[2], odd.slots[2])
        super().__init__(Form((even.slots[0], even.slots[1], both)), dtype, device)
        degree = max(even.degree, odd.degree)
        self.symmetry = symmetry or best_symmetry(degree)
        self.classes = 1 << SYMMETRIES.index(self.symmetry)
        self.shift = 1 if self.classes > 1 else 0  # see Grid
        theta, phi, weight = evened(sphere_rule(degree, self.symmetry))
        self.points = len(theta)
        self.ranges: list[list[Ranges]] = [[], []]  # of the even and of the odd form: per slot, columns of each class
        for s in range(3):
            orders = []
            for p, form in enumerate((even, odd)):
                order, ranges = self._by_class(form.slots[s])
                start = len(orders[0]) if s == 2 and p == 1 else 0
                self.ranges[p].append([(a + start, b + start) for a, b in ranges])
                orders.append(order)
                scale = form.slots[s].scale_of_components[:, None]
                values = harmonics(form.slots[s].degrees, theta, phi) * scale
                slopes = [table * scale for table in gradients(form.slots[s].degrees, theta, phi)] if p else []
                self._add(f"analyse{p}", s, ranges, (values * weight)[order], transposed=True)
                for name, table in zip(("slope", "around") if p else ("values",), slopes or [values], strict=True):
                    self._add(name, s, ranges, table[order])
            first = len(components(even.slots[2].degrees))
            self.places(s, orders[0] if s < 2 else np.concatenate([orders[0], orders[1] + first]))

    def _by_class(self, slot: Slot) -> tuple[np.ndarray, Ranges]:
        group = np.array([symmetry_class(l, m, self.symmetry) for l, m in components(slot.degrees)])
        order = np.argsort(group, kind="stable")
        ends = np.searchsorted(group[order], range(self.classes + 1))
        return order, [(int(a), int(b)) for a, b in pairwise(ends)]

    def _add(self, name: str, s: int, ranges: Ranges, table: Array, *, transposed: bool = False) -> None:
        for c, (a, b) in enumerate(ranges):
            self.constant(f"{name}{s}_{c}", table[a:b].T if transposed else table[a:b])

    @cached_property
    def floats_per_row(self) -> int:
        """See Engine."""
        return self.channels * (7 * self.points * self.classes + 2 * self.ranges[1][2][-1][1])

    def contract(
        self, x: Tensor, y: Tensor, i: int, j: int, *, memory: Memory | None = None, out: Tensor | None = None
    ) -> Tensor:
        """See Engine."""
        memory = memory or Fresh()
        return self._finish(self._jets(x, i, memory, "f"), self._jets(y, j, memory, "g"), i, j, memory, out)

    def gradients(
        self, x: Tensor, y: Tensor, g: Tensor, i: int, j: int, *, memory: Memory, out: Pair = (None, None)
    ) -> tuple[Tensor, Tensor]:
        """See Engine; each of the three arguments is transformed once."""
        k = 3 - i - j
        # values of x and y may be overwritten, of g not: it comes second in both products
        at_x, at_y, at_g = (self._jets(t, s, memory, key) for t, s, key in ((x, i, "f"), (y, j, "g"), (g, k, "z")))
        return self._finish(at_y, at_g, j, k, memory, out[0]), self._finish(at_x, at_g, i, k, memory, out[1])

    def _jets(self, x: Tensor, s: int, memory: Memory, key: str) -> tuple[Jet, Jet]:
        """Values of the even part and derivatives of the odd part, [rows, P] of each class."""
        packed = self.pack(x, s, memory, "packed")

        def at_points(name: str, p: int) -> list[Tensor]:
            return [
                torch.mm(
                    memory.columns(packed, a, b),
                    self.table(f"{name}{s}_{c}"),
                    out=memory(f"{key}{name}{c}", packed.shape[0], self.points),
                )
                for c, (a, b) in enumerate(self.ranges[p][s])
            ]

        return (at_points("values", 0),), (at_points("slope", 1), at_points("around", 1))

    def _finish(
        self, f: tuple[Jet, Jet], g: tuple[Jet, Jet], i: int, j: int, memory: Memory, out: Tensor | None
    ) -> Tensor:
        k = 3 - i - j
        c, d, e = (self.form.slots[s].channels for s in (i, j, k))
        # the even result is taken off the points before the odd one takes its memory
        even = self._analyse(multiply_classes(f[0], g[0], 0, (c, d, e), memory), 0, k, memory, None)
        if (j - i) % 3 != 1:  # the odd form changes its sign when two arguments change places
            f, g, c, d = g, f, d, c
        odd = multiply_classes(f[1], g[1], self.shift, (c, d, e), memory)
        return self.unpack(self._analyse(odd, 1, k, memory, even), k, out)

    def _analyse(self, values: list[Tensor], p: int, k: int, memory: Memory, even: Tensor | None) -> Tensor:
        """The packed result, [rows, columns]; the odd part is added to the even one or stands beside it."""
        tables = [self.table(f"analyse{p}{k}_{c}") for c in range(self.classes)]
        packed = memory("packed", values[0].shape[0], max(ranges[k][-1][1] for ranges in self.ranges))
        if packed is None:
            found = torch.cat([v @ table for v, table in zip(values, tables, strict=True)], 1)
            if even is None:
                return found
            return torch.cat([even, found], 1) if k == 2 else even + found
        for (a, b), v, table in zip(self.ranges[p][k], values, tables, strict=True):
            place = memory.columns(packed, a, b)
            if p == 1 and k < 2:
                place.addmm_(v, table)
            else:
                torch.mm(v, table, out=place)
        return packed


def _joined(first: Slot, second: Slot) -> Slot:
    """The components of both, one after the other."""
    return replace(
        first,
        degrees=first.degrees + second.degrees,
        scale=np.concatenate([first.scale, second.scale]),
        positions=np.concatenate([first.positions, second.positions], 1),
    )
