"""`edm`: Hoogeboom, Satorras, Vignac and Welling 2022, "Equivariant diffusion for molecule generation in 3D"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from molgen.interfaces import Codec, Process, Request, Sampler, State
from molgen.random import Streams
from molgen.structures import Structures
from molgen_diffusion.config import EDMConfig
from molgen_diffusion.loss import denoising_loss
from molgen_diffusion.process import reason_against, shared_range
from molgen_diffusion.schedules import polynomial_schedule, polynomial_sigma
from molgen_diffusion.walk import Walk

__all__ = ["EDM", "build"]


def build(config: EDMConfig) -> EDM:
    """The `edm` sampler of a config."""
    return EDM(config)


class EDM(Sampler):
    """Variance-preserving noise in scale-free form, noise prediction, ancestral steps."""

    def __init__(self, config: EDMConfig) -> None:
        self.config = config

    def process(self, statistics: Mapping[str, float]) -> Process:
        """The `edm` parametrisation with the paper's scaled one-hot."""
        c = self.config
        return Process(
            parametrisation="edm",
            sigma_data=statistics["sigma_data"],
            sigma_min=c.sigma_min,
            sigma_max=c.sigma_max,
            codecs={"species": Codec(kind="gaussian", scale=c.species_scale)},
        )

    def accepts(self, process: Process) -> str | None:
        """Any parametrisation of a Gaussian posterior mean with independent coupling."""
        return reason_against(process, "edm", self.config)

    def objective(self, model: nn.Module, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """Squared error of the noise at t uniform on [0, 1] (eq. 9 with w = 1), per molecule."""
        c = self.config
        t = streams.uniform("time", dtype=torch.float64)[:, 0]
        sigma = polynomial_sigma(t, c.precision).clamp(c.sigma_min, c.sigma_max).to(batch.positions.dtype)
        return denoising_loss(model, batch, streams, sigma, c.species_weight)

    def sample(self, model: nn.Module, request: Request, streams: Streams) -> Iterator[State]:
        """Ancestral steps down the polynomial schedule, cut to what the model has learned; the last takes the mean."""
        c = self.config
        low, high = shared_range(model.process, c)
        sigmas = polynomial_schedule(request.n_steps, low, high, c.precision).tolist()
        walk = Walk(model, request, streams, sigmas[0])
        yield walk.state(0)
        for step in range(request.n_steps):
            walk.ancestral(walk.denoise(), sigmas[step + 1], step)
            yield walk.state(step + 1)
