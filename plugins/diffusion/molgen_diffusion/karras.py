"""`karras`: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models"."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from molgen.interfaces import Process, Request, Sampler, State
from molgen.random import Streams
from molgen.structures import Structures
from molgen_diffusion.config import KarrasConfig
from molgen_diffusion.loss import denoising_loss
from molgen_diffusion.process import preconditioned, reason_against, shared_range
from molgen_diffusion.schedules import noise_levels
from molgen_diffusion.walk import Walk

__all__ = ["Karras", "build"]


_WITH_SUBSTRUCTURE = 4  # turns of each step


def build(config: KarrasConfig) -> Karras:
    """The `karras` sampler of a config."""
    return Karras(config)


class Karras(Sampler):
    """Variance-exploding noise, preconditioned denoising, Euler or Heun steps with churn (algorithm 2)."""

    def __init__(self, config: KarrasConfig) -> None:
        self.config = config

    def process(self, statistics: Mapping[str, float]) -> Process:
        """The `karras` parametrisation with the measured σ_data."""
        return preconditioned(self.config, statistics)

    def accepts(self, process: Process) -> str | None:
        """Any parametrisation of a Gaussian posterior mean with independent coupling."""
        return reason_against(process, "karras", self.config)

    def objective(self, model: nn.Module, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """Denoising loss per molecule: positions weighted by 1/c_out² (eq. 8), elements by cross-entropy."""
        c = self.config
        log_sigma = c.log_mean + c.log_std * streams.normal("sigma", dtype=batch.positions.dtype)[:, 0]
        sigma = torch.exp(log_sigma).clamp(c.sigma_min, c.sigma_max)  # [B]
        return denoising_loss(model, batch, streams, sigma, c.species_weight)

    def sample(self, model: nn.Module, request: Request, streams: Streams) -> Iterator[State]:
        """Algorithm 2, with the schedule cut to what the model has learned.

        With a substructure each step is taken several times, its noise put back in between, so that the rest comes to
        fit it (Lugmayr et al. 2022, RePaint, section 4.2).
        """
        c = self.config
        low, high = shared_range(model.process, c)
        sigmas = noise_levels(c.schedule, request.n_steps, low, high).tolist()
        times = c.resampling or (_WITH_SUBSTRUCTURE if request.options.get("scaffold") else 1)
        walk = Walk(model, request, streams, sigmas[0])
        yield walk.state(0)
        for step in range(request.n_steps):
            sigma, target = sigmas[step], sigmas[step + 1]
            gamma = min(c.churn / request.n_steps, math.sqrt(2) - 1) if c.churn_min <= sigma <= c.churn_max else 0.0
            raised = min(sigma * (1 + gamma), high)
            for turn in range(step * times, (step + 1) * times if target > 0 else step * times + 1):
                walk.raise_noise(raised, c.churn_noise, turn)
                first = walk.denoise()
                if c.order == 2 and target > 0:
                    walk.heun(first, target, turn)
                else:
                    walk.euler(first, target, turn)
            yield walk.state(step + 1)
