"""Schedules: the noise levels that a sampler visits, from the largest to zero."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["polynomial_schedule", "polynomial_sigma", "polynomial_time", "rho_schedule"]


def rho_schedule(n_steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """[n_steps + 1] float64, σ_max … σ_min, 0: Karras et al. 2022, eq. 5.

    >>> rho_schedule(3, 1.0, 10.0, 1.0).tolist()
    [10.0, 5.5, 1.0, 0.0]
    """
    ramp = torch.linspace(0, 1, n_steps, dtype=torch.float64) if n_steps > 1 else torch.zeros(1, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigmas = (high + ramp * (low - high)) ** rho
    return torch.cat((sigmas, sigmas.new_zeros(1)))


def polynomial_sigma(t: Tensor, precision: float) -> Tensor:
    """σ of times t in [0, 1]: √(1 − α²)/α with α = (1 − 2s)(1 − t²) + s (Hoogeboom et al. 2022, appendix B)."""
    alpha = (1 - 2 * precision) * (1 - t.square()) + precision
    return torch.sqrt(1 - alpha.square()) / alpha


def polynomial_time(sigma: float, precision: float) -> float:
    """The inverse of `polynomial_sigma`, cut to [0, 1]."""
    alpha = 1 / (1 + sigma**2) ** 0.5
    square = 1 - (alpha - precision) / (1 - 2 * precision)
    return min(max(square, 0.0), 1.0) ** 0.5


def polynomial_schedule(n_steps: int, sigma_min: float, sigma_max: float, precision: float) -> Tensor:
    """[n_steps + 1] float64, σ at times evenly spaced between those of σ_max and σ_min, then 0."""
    first, last = polynomial_time(sigma_max, precision), polynomial_time(sigma_min, precision)
    t = torch.linspace(first, last, n_steps, dtype=torch.float64) if n_steps > 1 else torch.tensor([first]).double()
    sigmas = polynomial_sigma(t, precision).clamp(sigma_min, sigma_max)
    return torch.cat((sigmas, sigmas.new_zeros(1)))
