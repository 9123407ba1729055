"""The coefficients ∫ Y₁ Y₂ Y₃ themselves, as one dense matrix product: O(l⁶), little work at the smallest degrees."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from molgen_gaunt.form import Form
from molgen_gaunt.harmonics import Array, components, gradients, harmonics
from molgen_gaunt.memory import Fresh, Memory
from molgen_gaunt.methods.base import Engine
from molgen_gaunt.quadrature import sphere_rule

__all__ = ["Direct", "coefficients"]


def coefficients(form: Form) -> Array:
    """[n₁, n₂, n₃] of the form, scales included; exact zeros where a selection rule says so.

    >>> from molgen_gaunt.form import Slot
    >>> slot = Slot((0,), np.ones(1), 1, 1, np.zeros((1, 1), dtype=np.int64))
    >>> coefficients(Form((slot, slot, slot))).round(4).tolist()  # 1/√4π
    [[[0.2821]]]
    """
    theta, phi, weight = sphere_rule(form.degree)
    scales = [slot.scale_of_components[:, None] for slot in form.slots]
    last = harmonics(form.slots[2].degrees, theta, phi) * scales[2] * weight

    def outer(a: Array, b: Array) -> Array:
        pairs = (a * scales[0])[:, None] * (b * scales[1])
        return pairs.reshape(-1, len(theta)) @ last.T

    if form.odd:
        slope1, around1 = gradients(form.slots[0].degrees, theta, phi)
        slope2, around2 = gradients(form.slots[1].degrees, theta, phi)
        flat = outer(slope1, around2) - outer(around1, slope2)
    else:
        flat = outer(harmonics(form.slots[0].degrees, theta, phi), harmonics(form.slots[1].degrees, theta, phi))
    return np.where(_allowed(form), flat.reshape(tuple(len(scale) for scale in scales)), 0.0)


def _allowed(form: Form) -> NDArray[np.bool_]:
    """[n₁, n₂, n₃] where selection rules for l, for |m| and for sines and cosines leave a coefficient."""
    l, m = zip(*(np.array(components(slot.degrees)).T for slot in form.slots), strict=True)
    (l1, l2, l3), (m1, m2, m3) = np.ix_(*l), np.ix_(*m)
    triangle = (abs(l1 - l2) <= l3) & (l3 <= l1 + l2) & ((l1 + l2 + l3) % 2 == form.odd)
    orders = (abs(m3) == abs(m1) + abs(m2)) | (abs(m3) == abs(abs(m1) - abs(m2)))
    sines = ((m1 < 0) ^ (m2 < 0) ^ (m3 < 0)) == form.odd
    return triangle & orders & sines


class Direct(Engine):
    """See the module."""

    def __init__(self, form: Form, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__(form, dtype, device)
        table = coefficients(form)
        self.sizes = table.shape
        for s, size in enumerate(self.sizes):
            self.places(s, np.arange(size))
        for k in range(3):
            i, j = (s for s in range(3) if s != k)
            self.constant(f"pairs{k}", table.transpose(i, j, k).reshape(-1, self.sizes[k]))
        for j in range(3):
            if form.slots[j].channels < self.channels:  # one function for all channels acts on them as a matrix
                for i in (s for s in range(3) if s != j):
                    k = 3 - i - j
                    self.constant(f"matrix{j}_{i}", table.transpose(j, i, k).reshape(self.sizes[j], -1))

    @cached_property
    def floats_per_row(self) -> int:
        """See Engine."""
        return self.channels * int(np.prod(sorted(self.sizes)[1:]))

    def contract(
        self, x: Tensor, y: Tensor, i: int, j: int, *, memory: Memory | None = None, out: Tensor | None = None
    ) -> Tensor:
        """See Engine."""
        memory = memory or Fresh()
        if i > j:
            x, y, i, j = y, x, j, i
        k = 3 - i - j
        f, g = self.pack(x, i, memory, "f"), self.pack(y, j, memory, "g")
        C, rows = self.channels, x.shape[0]
        shared = [s for s in (i, j) if self.form.slots[s].channels < C]
        if len(shared) == 1:
            one, many, s = (f, g, i) if shared[0] == i else (g, f, j)
            matrix = torch.mm(one, self.table(f"matrix{s}_{i + j - s}"))
            products = torch.bmm(many.view(rows, C, many.shape[1]), matrix.view(rows, many.shape[1], self.sizes[k]))
            return self.unpack(products.view(rows * C, self.sizes[k]), k, out)
        if self.form.slots[k].channels < C and not shared:  # the sum over channels comes before the table
            pairs = torch.bmm(f.view(rows, C, f.shape[1]).transpose(1, 2), g.view(rows, C, g.shape[1]))
        else:
            pairs = torch.mul(f[:, :, None], g[:, None, :], out=memory("pairs", f.shape[0], f.shape[1], g.shape[1]))
        size = self.sizes[i] * self.sizes[j]
        packed = torch.mm(
            pairs.view(-1, size), self.table(f"pairs{k}"), out=memory("packed", pairs.numel() // size, self.sizes[k])
        )
        return self.unpack(packed, k, out)
