"""The paper's method: functions on the sphere as Fourier series on a torus, multiplied through real FFTs.

θ runs over the whole circle: a harmonic of even m continues as a cosine series in θ and one of odd m as a sine series,
both of degree l. Tables take coefficients to the spectrum (Luo et al. 2024, sec. 3.2), `irfft2` to values on the torus,
where functions multiply, and `rfft2` back. One real table per (m, real or imaginary part) of the half spectrum.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from molgen_gaunt.form import Form, Slot
from molgen_gaunt.harmonics import Array, legendre, polar_tables
from molgen_gaunt.memory import Memory
from molgen_gaunt.methods.base import Jet, OnGrid
from molgen_gaunt.quadrature import gauss_legendre

__all__ = ["Fourier"]


class Fourier(OnGrid):
    """See the module."""

    def __init__(self, form: Form, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__(form, dtype, device)
        l_max = sorted(slot.l_max for slot in form.slots)
        self.band = l_max[1] + l_max[2]  # highest frequency of a product of two of the three
        around = max(form.degree, 2 * l_max[2]) + 1  # the half spectrum must hold every order, reached by a path or not
        self.sizes = next_fast_len(2 * self.band + 1, real=False), next_fast_len(around, real=True)
        self.lengths: list[tuple[int, int]] = []
        for s, slot in enumerate(form.slots):
            self.lengths.append((slot.l_max + 1, len(slot.degrees)))
            self._spectrum("values", s, back=True)
            if form.odd:
                self._spectrum("slope", s)
                self._spectrum("around", s)
            self.constant(f"analyse{s}", self._projections(slot))

    def _spectrum(self, name: str, s: int, *, back: bool = False) -> None:
        """Order and table [2(l_max+1), degrees, N_θ] from coefficients to the spectrum of values or derivatives.

        An entry is i^q R z with a real R and z = (x₊ − i x₋)/√2, where q = 0 for a cosine series, 3 for a sine series
        and one more for a derivative along φ.
        """
        slot = self.form.slots[s]
        pick = {"values": 0, "slope": 1, "around": 2}[name]
        theta = np.arange(self.sizes[0]) * 2 * np.pi / self.sizes[0]
        series = np.fft.fft(polar_tables(slot.l_max, theta)[pick], axis=2) / self.sizes[0]  # [l, m, k]
        degrees = np.array(slot.degrees)
        start = np.cumsum(2 * degrees + 1) - (2 * degrees + 1)
        table = np.zeros((slot.l_max + 1, 2, len(degrees), self.sizes[0]))
        order = np.full((slot.l_max + 1, 2, len(degrees)), -1)
        for m in range(slot.l_max + 1):
            cosine = (m % 2 == 0) == (name == "values")
            R = series[degrees, m].real if cosine else -series[degrees, m].imag
            q = (0 if cosine else 3) + (name == "around")
            if name == "around":
                R = R * m
            # i^q (x₊ − i x₋): which of the two makes the real and the imaginary part, and its sign
            real, imaginary = [((1, 1), (-1, -1)), ((-1, 1), (1, 1)), ((1, -1), (-1, 1)), ((-1, -1), (1, -1))][q % 4]
            for part, (sign_of_m, sign) in enumerate((real, imaginary)):
                if m == 0 and sign_of_m < 0:
                    continue
                reached = degrees >= m
                order[m, part, reached] = (start + degrees + sign_of_m * m)[reached]
                table[m, part] = R * sign * (1 if m == 0 else np.sqrt(0.5)) * slot.scale[:, None]
        self.places(s, order.ravel(), "" if back else name, back=back)
        self.constant(f"{name}{s}", table.reshape(-1, len(degrees), self.sizes[0]))

    def _projections(self, slot: Slot) -> Array:
        """[2(l_max+1), band+1, degrees] integrals of cos kθ or sin kθ against the harmonics, from the half spectrum."""
        theta, weight = gauss_legendre(self.band + slot.l_max + 1)
        P = legendre(slot.l_max, theta)
        k = np.arange(self.band + 1)[:, None]
        table = np.zeros((slot.l_max + 1, 2, self.band + 1, len(slot.degrees)))
        for m in range(slot.l_max + 1):
            wave: Callable[[Array], Array] = np.cos if m % 2 == 0 else np.sin
            # ±k fall together, and ±m do
            together = np.where(k == 0, 1, 2) * (1 if m == 0 else np.sqrt(2)) * 2 * np.pi
            half = together * wave(k * theta) * weight @ P[list(slot.degrees), m].T * slot.scale
            table[m, 0] = half if m % 2 == 0 else -half
            table[m, 1] = -half
        table[0, 1] = 0
        return table.reshape(-1, self.band + 1, len(slot.degrees))

    @cached_property
    def floats_per_row(self) -> int:
        """See Engine."""
        fields = 4 if self.form.odd else 2
        return self.channels * self.sizes[0] * (fields * self.sizes[1] + 2 * (self.sizes[1] + 2))

    def synthesise(self, x: Tensor, s: int, memory: Memory, key: str, *, slopes: bool) -> Jet:
        """See OnGrid; [rows, N_θ, N_φ] each."""
        orders, degrees = self.lengths[s]
        fields = []
        for name in ("slope", "around") if slopes else ("values",):
            packed = self.pack(x, s, memory, f"packed{name}", "" if name == "values" else name)
            rows = packed.view(len(packed), 2 * orders, degrees).transpose(0, 1)
            spectrum = torch.bmm(rows, self.table(f"{name}{s}"))  # [m and part, rows, N_θ]
            spectrum = spectrum.view(orders, 2, -1, self.sizes[0]).permute(2, 3, 0, 1).contiguous()
            if len(packed):
                fields.append(torch.fft.irfft2(torch.view_as_complex(spectrum), s=self.sizes, norm="forward"))
            else:  # an FFT of nothing is an error
                fields.append(spectrum.reshape(0, *self.sizes))
        return tuple(fields)

    def multiply(self, f: Jet, g: Jet, channels: tuple[int, int, int], memory: Memory) -> Tensor:
        """See OnGrid."""
        C = max(channels)
        f, g = ([v.view(-1, c, *self.sizes) for v in jet] for jet, c in zip((f, g), channels, strict=False))
        values = f[0] * g[0] if len(f) == 1 else f[0] * g[1] - f[1] * g[0]
        if channels[2] < C:
            values = values.sum(1)
        return values.view(-1, *self.sizes)

    def analyse(self, values: Tensor, s: int, memory: Memory, out: Tensor | None) -> Tensor:
        """See OnGrid."""
        orders, degrees = self.lengths[s]
        if len(values):
            spectrum = torch.fft.rfft2(values, norm="forward")[:, : self.band + 1, :orders]
            parts = torch.view_as_real(spectrum).permute(2, 3, 0, 1).reshape(2 * orders, -1, self.band + 1)
        else:
            parts = values.reshape(2 * orders, 0, self.band + 1)
        by_m = torch.bmm(parts, self.table(f"analyse{s}"))  # [m and part, rows, degrees]
        return self.unpack(by_m.transpose(0, 1).reshape(-1, 2 * orders * degrees), s, out)
