"""Schedules: the noise levels that a sampler visits, from the largest to zero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from molgen_diffusion.config import ScheduleConfig

__all__ = [
    "arcsin_schedule",
    "beta_schedule",
    "cosine_schedule",
    "flow_sigma",
    "flow_time",
    "noise_levels",
    "polynomial_schedule",
    "polynomial_sigma",
    "polynomial_time",
    "rho_schedule",
    "uniform_schedule",
]


def noise_levels(schedule: ScheduleConfig, n_steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """[n_steps + 1] float64 Å, the levels of a schedule that was chosen by its options: σ_max … σ_min, 0."""
    match schedule.kind:
        case "rho":
            return rho_schedule(n_steps, sigma_min, sigma_max, schedule.rho)
        case "uniform":
            return uniform_schedule(n_steps, sigma_min, sigma_max)
        case "cosine":
            return cosine_schedule(n_steps, sigma_min, sigma_max)
        case "arcsin":
            return arcsin_schedule(n_steps, sigma_min, sigma_max, schedule.mix)
        case "beta":
            return beta_schedule(n_steps, sigma_min, sigma_max, schedule.alpha, schedule.beta)


def rho_schedule(n_steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """[n_steps + 1] float64, σ_max … σ_min, 0: Karras et al. 2022, eq. 5.

    >>> rho_schedule(3, 1.0, 10.0, 1.0).tolist()
    [10.0, 5.5, 1.0, 0.0]
    """
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return _ended((high + _ramp(n_steps) * (low - high)) ** rho, sigma_min, sigma_max)


def flow_sigma(t: Tensor) -> Tensor:
    """σ in Å of times in (0, 1] on the straight path x_t = (1 − t)·ε + t·x₀, whose x_t/t is x₀ + σ·ε: (1 − t)/t."""
    return (1 - t) / t


def flow_time(sigma: float) -> float:
    """The inverse of `flow_sigma`.

    >>> flow_time(3.0)
    0.25
    """
    return 1 / (1 + sigma)


def uniform_schedule(n_steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """[n_steps + 1] float64, equal steps of the time t of the straight path, from that of σ_max to t = 1, where σ = 0.

    So do Lipman et al. 2023 and Liu, Gong and Liu 2023 walk, σ = (1 − t)/t. Where steps are so many that the level
    before the last would lie below σ_min, that level is σ_min, and those before it are spaced evenly.

    >>> [round(sigma, 4) for sigma in uniform_schedule(3, 0.01, 3.0).tolist()]
    [3.0, 1.0, 0.3333, 0.0]
    """
    first = flow_time(sigma_max)
    last = min(1 - (1 - first) / n_steps, flow_time(sigma_min))
    return _ended(flow_sigma(first + _ramp(n_steps) * (last - first)), sigma_min, sigma_max)


def cosine_schedule(n_steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """[n_steps + 1] float64, σ_max … σ_min, 0, evenly in the angle of ᾱ = cos²(φ): σ = √(1/ᾱ − 1) = tan φ.

    Nichol and Dhariwal 2021, eq. 17, φ = (t + s)/(1 + s)·π/2 at evenly spaced times. What their s is for, a smallest
    noise that is not too small, and their cut before φ = π/2 are done by σ_min and σ_max here.

    >>> [round(sigma, 3) for sigma in cosine_schedule(3, 0.01, 100.0).tolist()]
    [100.0, 1.0, 0.01, 0.0]
    """
    high, low = math.atan(sigma_max), math.atan(sigma_min)
    return _ended(torch.tan(high + _ramp(n_steps) * (low - high)), sigma_min, sigma_max)


def arcsin_schedule(n_steps: int, sigma_min: float, sigma_max: float, mix: float) -> Tensor:
    """[n_steps + 1] float64, σ_max … σ_min, 0, in ln σ steps that are longest at the ends and shortest between.

    VEDA (arXiv:2511.09568), as in its authors' code: ln σ = ln σ_min + w·ln(σ_max/σ_min) with w = (1 − ρ)·u +
    ρ·(2/π)·arcsin √u for u evenly spaced. Their ρ is `mix` here; 0 is evenly spaced in ln σ. They put 0 in the place of
    σ_min; here it follows σ_min, as in the other schedules.

    >>> [round(sigma, 4) for sigma in arcsin_schedule(3, 0.01, 100.0, 2.0).tolist()]
    [100.0, 1.0, 0.01, 0.0]
    """
    u = 1 - _ramp(n_steps)
    w = (1 - mix) * u + mix * (2 / math.pi) * torch.asin(torch.sqrt(u))
    return _ended(sigma_min * (sigma_max / sigma_min) ** w, sigma_min, sigma_max)


def beta_schedule(n_steps: int, sigma_min: float, sigma_max: float, alpha: float, beta: float) -> Tensor:
    """[n_steps + 1] float64, σ_max … σ_min, 0, at times that are quantiles of a Beta(α, β) distribution.

    Lee, Lee, Park et al. 2024, arXiv:2407.12173. Time is the share of noise of the straight path, σ/(1 + σ), between
    those of σ_min and σ_max; with α and β below one, steps are shorter at both ends than between.

    >>> [round(sigma, 4) for sigma in beta_schedule(3, 0.0, 3.0, 1.0, 1.0).tolist()]
    [3.0, 0.6, 0.0, 0.0]
    """
    from scipy.special import betaincinv

    quantiles = torch.from_numpy(betaincinv(alpha, beta, (1 - _ramp(n_steps)).numpy()))
    low, high = sigma_min / (1 + sigma_min), sigma_max / (1 + sigma_max)
    noise = low + quantiles * (high - low)
    return _ended(noise / (1 - noise), sigma_min, sigma_max)


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
    t = first + _ramp(n_steps) * (last - first)
    return _ended(polynomial_sigma(t, precision), sigma_min, sigma_max)


def _ramp(n_steps: int) -> Tensor:
    """[n_steps] float64, evenly from 0 to 1; 0 alone where there is one step."""
    return torch.linspace(0, 1, n_steps, dtype=torch.float64)


def _ended(sigmas: Tensor, sigma_min: float, sigma_max: float) -> Tensor:
    """The levels within their limits, which rounding may have left, and 0 behind them."""
    return torch.cat((sigmas.clamp(sigma_min, sigma_max), sigmas.new_zeros(1)))
