"""Radial bases and envelopes: functions of a length in Å (or of a scaled, unitless length)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.nn.exact_tables import ExactTables

__all__ = ["BesselBasis", "ExponentialBasis", "LogarithmicBasis", "polynomial_envelope"]

# of the cutoff: below it sin(kπx)/x is kπ to rounding, and differences of 1/x would be rounding alone
_SMALLEST = 1e-6


def polynomial_envelope(lengths: Tensor, cutoff: float, p: int = 6) -> Tensor:
    """[...] smooth cut-off, 1 at zero and 0 at and beyond `cutoff`, twice continuously differentiable there.

    Gasteiger et al. 2020 (DimeNet), eq. 8, with exponent p ≥ 2.

    >>> polynomial_envelope(torch.tensor([0.0, 5.0, 7.0]), 5.0).tolist()
    [1.0, 0.0, 0.0]
    """
    x = (lengths / cutoff).clamp_max(1.0)  # far beyond, powers of it would overflow and their zero gradients be NaN
    a, b, c = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
    value = 1 - x**p * (a - x * (b - c * x))
    return torch.where(x < 1, value, torch.zeros_like(value))


class BesselBasis(nn.Module):
    """[..., size] radial Bessel functions √(2/c) sin(kπr/c)/r (Gasteiger et al. 2020, eq. 7), finite at r = 0."""

    k: Tensor

    def __init__(self, size: int, cutoff: float) -> None:
        super().__init__()
        if size < 1 or cutoff <= 0:
            raise ConfigError("a Bessel basis needs size ≥ 1 and cutoff > 0", where=f"size={size}, cutoff={cutoff}")
        self.size, self.cutoff = size, cutoff
        self.register_buffer("k", torch.arange(1, size + 1, dtype=torch.float64), persistent=False)

    def forward(self, lengths: Tensor, envelope: Tensor | None = None) -> Tensor:
        """Of lengths [...] in Å; times an envelope [...], which costs less here than afterwards."""
        k = self.k.to(lengths.dtype)
        x = (lengths / self.cutoff).clamp_min(_SMALLEST)
        factor = math.sqrt(2 / self.cutoff) / self.cutoff / x
        if envelope is not None:
            factor = factor * envelope
        return torch.sin((math.pi * x)[..., None] * k) * factor[..., None]


class ExponentialBasis(ExactTables):
    """[..., size] Gaussians in exp(−r/r₀): fine where bonds are, flat where atoms are far, finite at any length.

    Unke and Meuwly 2019 (PhysNet), eq. 7, without the cut-off.
    """

    centres: Tensor

    def __init__(self, size: int, scale: float = 1.0) -> None:
        super().__init__()
        self.size, self.scale = size, scale
        self.table("centres", torch.linspace(0, 1, size, dtype=torch.float64))

    def forward(self, lengths: Tensor) -> Tensor:
        """Of lengths [...], in the unit of `scale`."""
        y = torch.exp(-lengths[..., None] / self.scale)
        return torch.exp(-(((y - self.centres.to(y.dtype)) * self.size).square()))


class LogarithmicBasis(ExactTables):
    """[..., size] Gaussians in ln r between `low` and `high`, clamped beyond: resolves every scale of noise."""

    centres: Tensor

    def __init__(self, size: int, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = math.log(low), math.log(high)
        self.table("centres", torch.linspace(self.low, self.high, size, dtype=torch.float64))
        self.width = (self.high - self.low) / max(size - 1, 1)

    def forward(self, lengths: Tensor) -> Tensor:
        """Of positive lengths [...]."""
        y = torch.log(lengths.clamp_min(math.exp(self.low)))[..., None].clamp_max(self.high)
        return torch.exp(-(((y - self.centres.to(y.dtype)) / self.width).square()) / 2)
