"""The product as Luo, Chen and Krishnapriyan (ICLR 2024) released it: by complex two-dimensional FFTs.

Written anew after its description. A function on the sphere is a trigonometric polynomial in θ and φ, so that its
coefficients make a table of (2L+1)² complex numbers; tables of two functions are convolved by FFT, and the product's
table is projected on the harmonics. Coefficients stand in a padded layout [batch, channels, L+1, 2L+1], half empty, and
both directions multiply with dense tables [L+1, frequencies of θ, frequencies of φ, ±m].
"""

from __future__ import annotations

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

__all__ = ["TwoDimensionalFFT"]


class TwoDimensionalFFT(nn.Module):
    """Channel-wise product of functions up to degree L, in the padded layout.

    Args:
        l_max: L.
        dtype: float32 or float64, of coefficients.
        device: where.
    """

    def __init__(self, l_max: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        super().__init__()
        self.l_max = l_max
        kind = torch.complex64 if dtype == torch.float32 else torch.complex128
        self.register_buffer("to_fourier", _to_fourier(l_max).to(device, kind))
        self.register_buffer("to_harmonics", _to_harmonics(l_max).to(device, kind))

    def enter(self, x: Tensor, channels: int) -> Tensor:
        """[batch, channels, L+1, 2L+1] of `mul_ir` [batch, channels·(L+1)²]."""
        L = self.l_max
        padded = x.new_zeros(len(x), channels, L + 1, 2 * L + 1)
        start = 0
        for l in range(L + 1):
            stop = start + channels * (2 * l + 1)
            padded[:, :, l, L - l : L + l + 1] = x[:, start:stop].view(len(x), channels, 2 * l + 1)
            start = stop
        return padded

    def leave(self, padded: Tensor) -> Tensor:
        """`mul_ir` [batch, channels·(L+1)²] of the padded layout."""
        L = self.l_max
        return torch.cat([padded[:, :, l, L - l : L + l + 1].flatten(1) for l in range(L + 1)], dim=1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[batch, channels, L+1, 2L+1] of two such."""
        size = (4 * self.l_max + 1,) * 2
        fx, fy = torch.fft.fft2(self._fourier(x), s=size), torch.fft.fft2(self._fourier(y), s=size)
        table = torch.fft.ifft2(fx * fy)  # frequencies −2L … 2L, in order
        table = table[..., self.l_max : 3 * self.l_max + 1]  # of φ those up to ±L
        found = torch.einsum("zcuv,luvs->zclvs", table, self.to_harmonics)  # s: what of it belongs to m = ±v
        return (found[..., 0] + found[..., 1].flip(-1)).real

    def _fourier(self, x: Tensor) -> Tensor:
        both = torch.stack((x, x.flip(-1)), dim=-1)  # [z, c, L+1, 2L+1, 2] of m and −m
        return (both[:, :, :, None] * self.to_fourier).sum(dim=(2, -1))  # [z, c, 2L+1, 2L+1]


def _to_fourier(l_max: int) -> Tensor:
    """[l, u, v, ±]: the coefficient of exp(iuθ + ivφ) in the harmonic of degree l and order ±v."""
    L, n = l_max, 2 * l_max + 1
    angle = torch.arange(n, dtype=torch.float64) * (2 * np.pi / n)
    harmonics = _harmonics(L, angle, angle)  # [θ, φ, K]
    spectrum = torch.fft.fftshift(torch.fft.fft2(harmonics, dim=(0, 1)) / n**2, dim=(0, 1))  # [u, v, K]
    table = torch.zeros(L + 1, n, n, 2, dtype=torch.complex128)
    for l in range(L + 1):
        for v in range(-l, l + 1):
            table[l, :, L + v, 0] = spectrum[:, L + v, l * l + l + v]
            if v:
                table[l, :, L + v, 1] = spectrum[:, L + v, l * l + l - v]
    return table


def _to_harmonics(l_max: int) -> Tensor:
    """[l, u, v, ±]: the integral of exp(iuθ + ivφ), |u| ≤ 2L, with the harmonic of degree l and order ±v."""
    L, n = l_max, 2 * l_max + 1
    nodes, weights = np.polynomial.legendre.leggauss(8 * L + 40)  # in θ itself: converged far below rounding
    theta = torch.from_numpy(np.pi / 2 * (nodes + 1))
    measure = torch.from_numpy(np.pi / 2 * weights) * theta.sin()
    phi = torch.arange(n, dtype=torch.float64) * (2 * np.pi / n)
    u, v = (torch.arange(-k, k + 1, dtype=torch.float64) for k in (2 * L, L))
    along = torch.exp(1j * u[:, None] * theta) * measure
    around = torch.exp(1j * v[:, None] * phi) * (2 * np.pi / n)
    whole = torch.einsum("ut,vp,tpk->uvk", along, around, _harmonics(L, theta, phi).to(torch.complex128))
    table = torch.zeros(L + 1, 4 * L + 1, n, 2, dtype=torch.complex128)
    for l in range(L + 1):
        for w in range(-l, l + 1):
            table[l, :, L + w, 0] = whole[:, L + w, l * l + l + w]
            if w:
                table[l, :, L + w, 1] = whole[:, L + w, l * l + l - w]
    return table


def _harmonics(l_max: int, theta: Tensor, phi: Tensor) -> Tensor:
    """[θ, φ, (L+1)²] orthonormal, in e3nn's order; θ from the y axis, beyond π where the functions go on smoothly."""
    t, p = theta[:, None], phi[None, :]
    points = torch.stack((t.sin() * p.sin(), t.cos().expand(-1, len(phi)), t.sin() * p.cos()), dim=-1)
    return o3.spherical_harmonics(list(range(l_max + 1)), points, normalize=True, normalization="integral")
