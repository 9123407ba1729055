"""The denoising loss that every sampler here trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from molgen.interfaces import Denoised, Noisy
from molgen.nn import centre, mean_over_atoms
from molgen.random import Streams
from molgen.structures import Structures

__all__ = ["denoising_loss"]


def denoising_loss(
    model: nn.Module, batch: Structures, streams: Streams, sigma: Tensor, species_weight: float
) -> dict[str, Tensor]:
    """Loss per molecule at noise levels `sigma` [B] Å, and its parts, each [B].

    Positions: squared error over c_out², so that every noise level weighs the same (Karras et al. 2022, eq. 8; with
    the `edm` parametrisation this is the squared error of the noise). Elements: cross-entropy of the posterior, or, in
    the `edm` parametrisation, the squared error of their noise.
    """
    counts, dtype = batch.n_atoms, batch.positions.dtype
    per_atom = torch.repeat_interleave(sigma, counts, output_size=len(batch.positions))  # [N]
    clean = centre(batch.positions, batch)
    noise = centre(streams.normal("positions", counts=counts, width=3, dtype=dtype), batch)
    codes = model.encode_species(batch.species)
    state = model.codec.corrupt(codes, per_atom, counts, streams, "species")
    denoised: Denoised = model(Noisy(batch.replace(positions=clean + per_atom[:, None] * noise), state, sigma))
    _, c_out, _ = model.coefficients(sigma)
    error = (denoised.positions - clean).square().mean(1)  # [N]
    position = mean_over_atoms(error, batch) / c_out.square()
    if model.process.parametrisation == "edm":
        one_hot = F.one_hot(codes, denoised.species.shape[1]).to(dtype)
        missed = (denoised.species - one_hot) * model.codec.scale / per_atom[:, None]
        entry = missed.square().mean(1)
    else:
        entry = F.cross_entropy(denoised.logits, codes, reduction="none")
    species = mean_over_atoms(entry, batch)
    return {"loss": position + species_weight * species, "position": position, "species": species}
