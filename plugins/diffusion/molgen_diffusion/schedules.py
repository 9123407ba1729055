"""Schedules: the noise levels that a sampler visits, from the largest to zero."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rho_schedule"]


def rho_schedule(n_steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """[n_steps + 1] float64, σ_max … σ_min, 0: Karras et al. 2022, eq. 5.

    >>> rho_schedule(3, 0.01, 10.0, 1.0).tolist()
    [10.0, 5.005, 0.01, 0.0]
    """
    ramp = torch.linspace(0, 1, n_steps, dtype=torch.float64) if n_steps > 1 else torch.zeros(1, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigmas = (high + ramp * (low - high)) ** rho
    return torch.cat((sigmas, sigmas.new_zeros(1)))
