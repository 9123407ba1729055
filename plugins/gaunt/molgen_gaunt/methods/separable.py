"""Legendre functions in θ, then Fourier series in φ, on Gauss-Legendre × uniform points: O(l³)."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from molgen_gaunt.form import Form
from molgen_gaunt.harmonics import Array, azimuthal, legendre, polar_tables
from molgen_gaunt.memory import Memory
from molgen_gaunt.methods.base import Jet, OnGrid
from molgen_gaunt.quadrature import gauss_legendre

__all__ = ["Separable"]


class Separable(OnGrid):
    """See the module. Rows are [m, l] with as many places for every m: bmm takes them in one call."""

    def __init__(self, form: Form, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__(form, dtype, device)
        theta, weight = gauss_legendre(form.degree)
        around = form.degree + 1
        phi = np.arange(around) * 2 * np.pi / around
        self.rings, self.around = len(theta), around
        self.lengths: list[tuple[int, int]] = []  # of m and of l, per slot
        for s, slot in enumerate(form.slots):
            l_max, degrees = slot.l_max, np.array(slot.degrees)
            start = np.cumsum(2 * degrees + 1) - (2 * degrees + 1)
            length = len(degrees)
            order = np.full((2 * l_max + 1, length), -1)
            for m in range(-l_max, l_max + 1):
                reached = degrees >= abs(m)
                order[m + l_max, reached] = (start + degrees + m)[reached]
            self.places(s, order.ravel())
            self.lengths.append((2 * l_max + 1, length))

            def by_m(P: Array, l_max: int = l_max, degrees: Array = degrees, scale: Array = slot.scale) -> Array:
                m = abs(np.arange(-l_max, l_max + 1))
                return P[degrees][:, m].transpose(1, 0, 2) * scale[:, None]  # [m, l, θ], zero for l < |m|

            T, dT = azimuthal(l_max, phi)
            self.constant(f"analyse{s}", (by_m(legendre(l_max, theta)) * weight).transpose(0, 2, 1))
            self.constant(f"project{s}", T * (2 * np.pi / around))
            P, slope, over_sine = polar_tables(l_max, theta)
            for name, polar, phase in (
                (("slope", slope, T), ("around", over_sine, dT)) if form.odd else (("values", P, T),)
            ):
                self.constant(f"{name}{s}", by_m(polar))
                self.constant(f"{name}_phase{s}", phase.T)

    @cached_property
    def floats_per_row(self) -> int:
        """See Engine."""
        fields = 4 if self.form.odd else 2
        m, l = self.lengths[0]
        return self.channels * (fields * self.rings * self.around + m * self.rings + m * l)

    def synthesise(self, x: Tensor, s: int, memory: Memory, key: str, *, slopes: bool) -> Jet:
        """See OnGrid; [φ, rows·θ] each."""
        m, l = self.lengths[s]
        packed = self.pack(x, s, memory, "packed")
        rows, n = packed.shape[0], self.rings
        by_m = packed.view(rows, m, l).transpose(0, 1)
        fields = []
        for name in ("slope", "around") if slopes else ("values",):
            series = torch.bmm(by_m, self.table(f"{name}{s}"), out=memory("series", m, rows, n))
            phase = self.table(f"{name}_phase{s}")
            fields.append(torch.mm(phase, series.view(m, rows * n), out=memory(f"{key}{name}", self.around, rows * n)))
        return tuple(fields)

    def multiply(self, f: Jet, g: Jet, channels: tuple[int, int, int], memory: Memory) -> Tensor:
        """See OnGrid."""
        C, n = max(channels), self.rings
        f, g = ([v.view(self.around, -1, c, n) for v in jet] for jet, c in zip((f, g), channels, strict=False))
        rows = f[0].shape[1]
        out = memory("h", self.around, rows, C, n)
        if len(f) == 1:
            values = torch.mul(f[0], g[0], out=out)
        else:
            values = torch.addcmul(torch.mul(f[0], g[1], out=out), f[1], g[0], value=-1, out=out)
        if channels[2] < C:
            values = values.sum(2)
        return values.view(self.around, -1)

    def analyse(self, values: Tensor, s: int, memory: Memory, out: Tensor | None) -> Tensor:
        """See OnGrid."""
        m, l = self.lengths[s]
        rows, n = values.shape[1] // self.rings, self.rings
        series = torch.mm(self.table(f"project{s}"), values, out=memory("series", m, rows * n))
        by_m = torch.bmm(series.view(m, rows, n), self.table(f"analyse{s}"), out=memory("by_m", m, rows, l))
        packed = by_m.transpose(0, 1)
        place = memory("packed", rows, m, l)
        packed = packed.contiguous() if place is None else place.copy_(packed)
        return self.unpack(packed.view(rows, m * l), s, out)
