"""`Walk`: a batch on its way from noise to molecules, and the moves that every sampler here makes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from molgen.interfaces import Denoised, Noisy, Request, State
from molgen.nn import GaussianCodec, centre
from molgen.random import Streams
from molgen.structures import Structures

__all__ = ["Walk"]


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

    def ancestral(self, denoised: Denoised, sigma: float, step: int) -> None:
        """Down to `sigma` by a draw from q(x̃_s | x̃_t, x₀) (Hoogeboom et al. 2022, eq. 4, in scale-free noise)."""
        keep = (sigma / self.sigma) ** 2
        spread = sigma * math.sqrt(max(1 - keep, 0.0))
        counts, dtype = self.request.n_atoms, self.positions.dtype
        noise = self.streams.normal("ancestral:positions", step=step, counts=counts, width=3, dtype=dtype)
        mean = denoised.positions + keep * (self.positions - denoised.positions)
        self._set_positions(mean + spread * centre(noise, self.structures))
        codec = self.model.codec
        if isinstance(codec, GaussianCodec):
            noise = self.streams.normal("ancestral:species", step=step, counts=counts, width=codec.size, dtype=dtype)
            one_hot = denoised.species * codec.scale
            self.species = one_hot + keep * (self.species - one_hot) + spread * noise
        else:
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
