"""Gaussian data, whose exact denoiser is known, and so every moment of what a sampler should draw from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from molgen.interfaces import Codec, Denoised, Noisy, Process, Request, Sampler
from molgen.nn import GaussianCodec, MaskedCodec, centre
from molgen.random import Streams

SPREAD = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)  # Å, standard deviation along x, y, z
FREQUENCIES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
ATOMS = 4

CODECS = {"gaussian": Codec("gaussian", scale=1.0), "masked": Codec("masked")}


class ExactDenoiser(nn.Module):
    """The posterior mean of independent Gaussian coordinates around a mean, and of independent elements."""

    def __init__(self, codec: Codec, sigma_min: float = 0.005, sigma_max: float = 80.0) -> None:
        super().__init__()
        self.process = Process("karras", 1.4, sigma_min, sigma_max, {"species": codec})
        self.codec = GaussianCodec(3, codec.scale) if codec.kind == "gaussian" else MaskedCodec(3, codec.a, codec.b)
        self.elements = torch.tensor([1, 6, 8])
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        mean = torch.tensor([[1.5, 0, 0], [-0.5, 1, 0], [-0.5, -1, 0.5], [-0.5, 0, -0.5]], dtype=torch.float64)
        self.mean = mean - mean.mean(0)

    def forward(self, noisy: Noisy) -> Denoised:
        structures = noisy.structures
        sigma = torch.repeat_interleave(noisy.sigma, structures.n_atoms)
        mean = self.mean.repeat(structures.n_structures, 1)
        keep = SPREAD**2 / (SPREAD**2 + sigma[:, None] ** 2)
        positions = centre(mean + keep * (structures.positions - mean), structures)
        logits = torch.log(FREQUENCIES) + self.codec.likelihood(noisy.species, sigma)
        return Denoised(positions, torch.softmax(logits, 1), logits)


def draw(sampler: Sampler, model: ExactDenoiser, molecules: int, n_steps: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """[molecules, ATOMS, 3] positions and [molecules · ATOMS] species at the end of a run."""
    indices = torch.arange(molecules)
    request = Request(torch.full((molecules,), ATOMS), n_steps, seed, indices)
    with torch.inference_mode():
        *_, last = sampler.sample(model, request, Streams(seed, indices))
    assert last.step == n_steps
    assert bool(last.finished.all())
    return last.structures.positions.reshape(molecules, ATOMS, 3), last.structures.species
