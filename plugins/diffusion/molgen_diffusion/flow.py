"""`flow`: the straight path of flow matching (Lipman et al. 2023) and rectified flow (Liu, Gong and Liu 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from molgen.interfaces import Denoised, Process, Request, Sampler, State
from molgen.nn import GaussianCodec
from molgen.random import Streams
from molgen.structures import Structures
from molgen_diffusion.config import FlowConfig
from molgen_diffusion.loss import denoising_loss
from molgen_diffusion.process import preconditioned, reason_against, shared_range
from molgen_diffusion.schedules import flow_sigma, flow_time, noise_levels
from molgen_diffusion.walk import Walk

__all__ = ["Flow", "build"]


def build(config: FlowConfig) -> Flow:
    """The `flow` sampler of a config."""
    return Flow(config)


class Flow(Sampler):
    """The ordinary differential equation of x_t = (1 − t)·ε + t·x₀, from noise at t near 0 to molecules at 1.

    The denoiser sees x̃ = x_t/t = x₀ + σ·ε with σ = (1 − t)/t. What it believes, D, gives the noise ε̂ = (x̃ − D)/σ and
    the velocity v = D − ε̂ = (D − x_t)/(1 − t). Euler's step from t to t′ is x_t + (t′ − t)·v; divided by t′,

        x̃′ = ((1 − t′)·t·x̃ + (t′ − t)·D)/((1 − t)·t′) = D + (σ′/σ)·(x̃ − D),

    which is Euler's step of dx̃/dσ = ε̂, the one of `karras` without churn. Of first order the two samplers differ in
    nothing but the levels that they visit. Of second order they differ: with ε̂₁ and ε̂₂ at both ends of the step,
    x_t + (t′ − t)·(v₁ + v₂)/2 is

        x̃′ = x̃ − (σ − σ′)·((1 − r/2)·ε̂₁ + (r/2)·ε̂₂),   r = t/t′ = (1 + σ′)/(1 + σ),

    where Heun's step in σ has r = 1: long steps at large noise trust their second slope less.
    """

    def __init__(self, config: FlowConfig) -> None:
        self.config = config

    def process(self, statistics: Mapping[str, float]) -> Process:
        """The `karras` parametrisation with the measured σ_data: its D is what a velocity would be computed from."""
        return preconditioned(self.config, statistics)

    def accepts(self, process: Process) -> str | None:
        """Any parametrisation of a Gaussian posterior mean with independent coupling."""
        return reason_against(process, "flow", self.config)

    def objective(self, model: nn.Module, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """Denoising loss per molecule at the flow's own noise levels.

        t is uniform between those of σ_max and σ_min (as Lipman et al. 2023 draw it), or logit-normal (Esser et al.
        2024, arXiv:2403.03206, section 3.1), which is log-normal in σ. Positions are weighted by 1/c_out² as in
        `karras`; the squared error of the velocity, |D − x₀|²/(1 − t)², weighs them alike at small noise, and by a
        constant factor at large.
        """
        sigma = self._levels(streams).clamp(self.config.sigma_min, self.config.sigma_max)  # [B]
        return denoising_loss(model, batch, streams, sigma.to(batch.positions.dtype), self.config.species_weight)

    def sample(self, model: nn.Module, request: Request, streams: Streams) -> Iterator[State]:
        """Euler or Heun steps in t, the schedule cut to what the model has learned; the last step takes the mean."""
        c = self.config
        sigmas = noise_levels(c.schedule, request.n_steps, *shared_range(model.process, c)).tolist()
        walk = Walk(model, request, streams, sigmas[0])
        yield walk.state(0)
        for step, target in enumerate(sigmas[1:]):
            first = walk.denoise()
            if c.order == 2 and target > 0:
                _heun(walk, first, target, step)
            else:
                walk.euler(first, target, step)
            yield walk.state(step + 1)

    def _levels(self, streams: Streams) -> Tensor:
        """[B] float64 Å."""
        c = self.config
        if c.times == "logit-normal":
            return torch.exp(-c.time_mean - c.time_std * streams.normal("time", dtype=torch.float64)[:, 0])
        first, last = flow_time(c.sigma_max), flow_time(c.sigma_min)
        return flow_sigma(first + (last - first) * streams.uniform("time", dtype=torch.float64))[:, 0]


def _heun(walk: Walk, first: Denoised, sigma: float, step: int) -> None:
    """Heun's step in t: between Euler's step and Heun's in σ, by r = t/t′ of the way."""
    keep, r = sigma / walk.sigma, (1 + sigma) / (1 + walk.sigma)
    straight = first.positions + keep * (walk.positions - first.positions)
    codec, species = walk.model.codec, walk.species
    walk.heun(first, sigma, step)
    walk.structures = walk.structures.replace(positions=straight + r * (walk.positions - straight))
    if isinstance(codec, GaussianCodec):
        mean = first.species * codec.scale
        straight = mean + keep * (species - mean)
        walk.species = straight + r * (walk.species - straight)
