"""`karras`: Karras, Aittala, Aila and Laine 2022, "Elucidating the design space of diffusion-based generative models"."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from molgen.interfaces import Codec, EncoderBuilder, Process, Request, Sampler, Schema, State
from molgen.models.codecs import GaussianCodec
from molgen.models.denoiser import Denoised, Denoiser, Noisy, centre
from molgen.random import Streams
from molgen.structures import Structures
from molgen_diffusion.config import KarrasConfig
from molgen_diffusion.schedules import rho_schedule

__all__ = ["Karras", "build"]


def build(config: KarrasConfig) -> Karras:
    """The `karras` sampler of a config."""
    return Karras(config)


class Karras(Sampler):
    """Variance-exploding noise, preconditioned denoising, Euler or Heun steps with churn (algorithm 2)."""

    def __init__(self, config: KarrasConfig) -> None:
        self.config = config

    def build_model(self, encoder: EncoderBuilder, schema: Schema, statistics: Mapping[str, float]) -> nn.Module:
        """A Denoiser in the `karras` parametrisation with the measured σ_data."""
        c = self.config
        process = Process(
            parametrisation="karras",
            sigma_data=statistics["sigma_data"],
            sigma_min=c.sigma_min,
            sigma_max=c.sigma_max,
            codecs={"species": Codec(**c.codec.model_dump())},
        )
        return Denoiser(encoder, schema, process, statistics["average_neighbors"])

    def accepts(self, process: Process) -> str | None:
        """Any parametrisation of a Gaussian posterior mean with independent coupling."""
        if process.coupling != "independent":
            return f"it was trained with {process.coupling} coupling, karras needs independent noise"
        if process.perturbation != "gaussian":
            return f"its perturbation is {process.perturbation}, karras inverts gaussian noise"
        if process.target != "posterior-mean":
            return f"it learned a {process.target} target, karras needs the posterior mean"
        return None

    def objective(self, model: nn.Module, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """Denoising loss per molecule: positions weighted by 1/c_out² (eq. 8), elements by cross-entropy."""
        c, counts, dtype = self.config, batch.n_atoms, batch.positions.dtype
        log_sigma = c.log_mean + c.log_std * streams.normal("sigma", dtype=dtype)[:, 0]
        sigma = torch.exp(log_sigma).clamp(c.sigma_min, c.sigma_max)  # [B]
        per_atom = torch.repeat_interleave(sigma, counts, output_size=len(batch.positions))
        clean = centre(batch.positions, batch)
        noise = centre(streams.normal("positions", counts=counts, width=3, dtype=dtype), batch)
        codes = model.encode_species(batch.species)
        noisy = Noisy(
            batch.replace(positions=clean + per_atom[:, None] * noise),
            model.codec.corrupt(codes, per_atom, counts, streams, "species"),
            sigma,
        )
        denoised: Denoised = model(noisy)
        _, c_out, _ = model.coefficients(sigma)
        error = (denoised.positions - clean).square().mean(1)  # [N]
        position = _mean_over_atoms(error, batch) / c_out.square()
        if model.process.parametrisation == "edm":
            scale = model.process.codecs["species"].scale
            one_hot = F.one_hot(codes, denoised.species.shape[1]).to(dtype)
            entry = ((denoised.species - one_hot) * scale / per_atom[:, None]).square().mean(1)
        else:
            entry = F.cross_entropy(denoised.logits, codes, reduction="none")
        species = _mean_over_atoms(entry, batch)
        return {"loss": position + c.species_weight * species, "position": position, "species": species}

    def sample(self, model: nn.Module, request: Request, streams: Streams) -> Iterator[State]:
        """Algorithm 2, with the schedule of eq. 5 cut to what the model has learned."""
        c, process = self.config, model.process
        low, high = max(c.sigma_min, process.sigma_min), min(c.sigma_max, process.sigma_max)
        sigmas = rho_schedule(request.n_steps, low, high, c.rho).tolist()
        walk = Walk(model, request, streams, sigmas[0])
        yield walk.state(0)
        for step in range(request.n_steps):
            sigma, target = sigmas[step], sigmas[step + 1]
            gamma = min(c.churn / request.n_steps, math.sqrt(2) - 1) if c.churn_min <= sigma <= c.churn_max else 0.0
            raised = min(sigma * (1 + gamma), high)
            walk.raise_noise(raised, c.churn_noise, step)
            first = walk.denoise()
            if c.order == 2 and target > 0:
                walk.heun(first, target, step)
            else:
                walk.euler(first, target, step)
            yield walk.state(step + 1)


def _mean_over_atoms(values: Tensor, batch: Structures) -> Tensor:
    """[B] means of values [N]."""
    n = batch.n_atoms
    if bool((n == n[0]).all()):
        return values.reshape(len(n), -1).mean(1)
    return torch.segment_reduce(values, "mean", lengths=n, unsafe=True)


class Walk:
    """A batch on its way from noise to molecules: positions and elements at one noise level."""

    def __init__(self, model: nn.Module, request: Request, streams: Streams, sigma: float) -> None:
        self.model, self.request, self.streams, self.sigma = model, request, streams, sigma
        dtype = next(model.parameters()).dtype
        counts = request.n_atoms
        n = int(counts.sum())
        blank = Structures.build(
            torch.zeros(n, 3, dtype=dtype, device=counts.device), torch.ones(n, dtype=torch.int64), n_atoms=counts
        )
        noise = streams.normal("prior:positions", counts=counts, width=3, dtype=dtype)
        self.structures = blank.replace(positions=sigma * centre(noise, blank))
        level = torch.full((n,), sigma, dtype=dtype, device=counts.device)
        self.species = model.codec.prior(level, counts, streams, "prior:species")
        self.codes = torch.zeros(n, dtype=torch.int64, device=counts.device)

    @property
    def positions(self) -> Tensor:
        """[N, 3] Å."""
        return self.structures.positions

    def denoise(self) -> Denoised:
        """The model's belief at the present state."""
        sigma = self.positions.new_full((len(self.request.n_atoms),), self.sigma)
        denoised = self.model(Noisy(self.structures, self.species, sigma))
        self.codes = denoised.species.argmax(1)
        return denoised

    def raise_noise(self, sigma: float, size: float, step: int) -> None:
        """Churn: put noise back so that the state stands at a higher σ."""
        if sigma <= self.sigma:
            return
        added = math.sqrt(sigma**2 - self.sigma**2) * size
        counts, dtype = self.request.n_atoms, self.positions.dtype
        noise = self.streams.normal("churn:positions", step=step, counts=counts, width=3, dtype=dtype)
        self._set_positions(self.positions + added * centre(noise, self.structures))
        codec = self.model.codec
        if isinstance(codec, GaussianCodec):
            noise = self.streams.normal("churn:species", step=step, counts=counts, width=codec.size, dtype=dtype)
            self.species = self.species + added * noise
        else:
            now, then = (codec.hidden_fraction(torch.tensor(s, dtype=dtype)) for s in (self.sigma, sigma))
            share = (then - now) / (1 - now).clamp_min(1e-12)
            u = self.streams.uniform("churn:species", step=step, counts=counts, dtype=dtype)[:, 0]
            self.species = torch.where(u < share, torch.full_like(self.species, codec.size), self.species)
        self.sigma = sigma

    def euler(self, denoised: Denoised, sigma: float, step: int) -> None:
        """Down to `sigma` along the straight line to what is believed."""
        keep = sigma / self.sigma
        self._set_positions(denoised.positions + keep * (self.positions - denoised.positions))
        self._move_species(denoised, sigma, step)
        self.sigma = sigma

    def heun(self, first: Denoised, sigma: float, step: int) -> None:
        """The same with the mean of the slopes at both ends; elements move once, before the second evaluation."""
        start, start_species, before = self.positions, self.species, self.sigma
        self.euler(first, sigma, step)
        second = self.denoise()
        slope = (start - first.positions) / before + (self.positions - second.positions) / sigma
        self._set_positions(start + 0.5 * (sigma - before) * slope)
        codec = self.model.codec
        if isinstance(codec, GaussianCodec):
            one, two = first.species * codec.scale, second.species * codec.scale
            slope = (start_species - one) / before + (self.species - two) / sigma
            self.species = start_species + 0.5 * (sigma - before) * slope

    def _move_species(self, denoised: Denoised, sigma: float, step: int) -> None:
        codec = self.model.codec
        if isinstance(codec, GaussianCodec):
            mean = denoised.species * codec.scale
            self.species = mean + sigma / self.sigma * (self.species - mean)
            return
        dtype, counts = self.positions.dtype, self.request.n_atoms
        now, then = (codec.hidden_fraction(torch.tensor(s, dtype=dtype)) for s in (self.sigma, sigma))
        share = (now - then) / now.clamp_min(1e-12) if sigma > 0 else torch.ones((), dtype=dtype)
        u = self.streams.uniform("unmask:species", step=step, counts=counts, width=2, dtype=dtype)
        cumulative = denoised.species.cumsum(1)
        drawn = (u[:, 1:] * cumulative[:, -1:] > cumulative).sum(1).clamp_max(codec.size - 1)
        shows = (self.species == codec.size) & (u[:, 0] < share)
        self.species = torch.where(shows, drawn, self.species)

    def _set_positions(self, positions: Tensor) -> None:
        self.structures = self.structures.replace(positions=positions)

    def state(self, step: int) -> State:
        """The batch as the caller sees it: elements are those believed most likely, or those that show."""
        n_steps, b = self.request.n_steps, len(self.request.n_atoms)
        codec = self.model.codec
        codes = self.codes
        if not isinstance(codec, GaussianCodec):
            codes = torch.where(self.species < codec.size, self.species, codes)
        elif step == n_steps:
            codes = codec.decode(self.species)
        structures = self.structures.replace(species=self.model.elements[codes])
        level = self.positions.new_full((b,), self.sigma)
        return State(structures, step, n_steps, level, torch.full((b,), step == n_steps, device=level.device))
