"""What is measured of a generator: whether what it believes turns with the noisy molecule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from molgen.certify.measurement import Measurement
from molgen.certify.symmetry import LIMITS, badness, judged_errors, random_rotation
from molgen.interfaces import Denoised, Noisy
from molgen.models.denoiser import Denoiser
from molgen.nn import centre
from molgen.random import Streams
from molgen.structures import Structures

__all__ = ["measure_generator"]

_ATOMS: Final = (5, 9, 14)
_LEVELS: Final = (0.05, 0.5, 5.0)  # Å of noise, as far as the model knows them
_LEAST: Final = {"positions": 0.1, "species": 0.1}  # Å, and probability

_LATER: Final = "measure it by generating: molgen generate, molgen score"


def measure_generator(
    model: nn.Module, symmetry: str, *, seed: int = 0, note: Callable[[str], None] = lambda text: None
) -> dict[str, Measurement]:
    """Equivariance of a denoiser in float64 and float32; the quality of molecules is left to `molgen score`.

    Args:
        model: what a sampler evaluates; the host's `Denoiser` can be measured.
        symmetry: that which its encoder claims.
        seed: of the noise and the rotations.
        note: is told what is being measured.
    """
    found: dict[str, Measurement] = {}
    for dtype in (torch.float64, torch.float32):
        name = str(dtype).removeprefix("torch.")
        if isinstance(model, Denoiser):
            note(f"equivariance in {name}")
            found[f"symmetry_error_{name}"] = _symmetry_error(model.to(dtype), symmetry, dtype, seed)
        else:
            found[f"symmetry_error_{name}"] = Measurement.missing(f"a {type(model).__name__} is no denoiser")
    for name in ("stability", "validity", "novelty"):
        found[name] = Measurement.missing(_LATER)
    return found


@torch.no_grad()
def _symmetry_error(model: Denoiser, symmetry: str, dtype: torch.dtype, seed: int) -> Measurement:
    errors: dict[str, dict[str, float]] = {}
    low, high = model.process.sigma_min, model.process.sigma_max
    for level in sorted({min(max(level, low), high) for level in _LEVELS}):
        noisy = _noisy(model, level, dtype, seed)
        before = model(noisy)
        q = random_rotation(seed, 0).to(noisy.structures.positions)
        order = torch.cat([start + torch.arange(n).flip(0) for start, n in _spans(noisy.structures)])
        order = order.to(noisy.structures.positions.device)
        for way, moved, expected in (
            ("rotation", _turned(noisy, q), before.positions @ q.T),
            ("inversion", _turned(noisy, -q), -before.positions @ q.T),
            ("permutation", _permuted(noisy, order), before.positions[order]),
        ):
            after: Denoised = model(moved)
            species = before.species[order] if way == "permutation" else before.species
            own = errors.setdefault(way, {})
            for name, value, wanted in (
                ("positions", after.positions, expected),
                ("species", after.species, species),
            ):
                error = float((value - wanted).abs().max() / wanted.abs().max().clamp(min=_LEAST[name]))
                own[name] = max(own.get(name, 0.0), error, key=badness)
    return judged_errors(errors, symmetry, LIMITS[dtype])


def _noisy(model: Denoiser, level: float, dtype: torch.dtype, seed: int) -> Noisy:
    device = model.elements.device
    streams = Streams(seed, range(len(_ATOMS)), device)
    spread = model.process.sigma_data + level
    positions = spread * streams.normal("positions", counts=_ATOMS, width=3, dtype=torch.float64).to(dtype)
    first = int(model.elements[0])
    structures = Structures.build(positions, torch.full((sum(_ATOMS),), first, device=device), n_atoms=_ATOMS)
    structures = structures.replace(positions=centre(structures.positions, structures))
    sigma = torch.full((len(_ATOMS),), level, dtype=dtype, device=device)
    v = len(model.elements)
    if model.process.codecs["species"].kind == "masked":
        state = torch.arange(sum(_ATOMS), device=device) % (v + 1)
    else:
        state = level * streams.normal("species", counts=_ATOMS, width=v, dtype=torch.float64).to(dtype)
    return Noisy(structures, state, sigma)


def _turned(noisy: Noisy, q: Tensor) -> Noisy:
    structures = noisy.structures.replace(positions=noisy.structures.positions @ q.T)
    return Noisy(structures, noisy.species, noisy.sigma)


def _permuted(noisy: Noisy, order: Tensor) -> Noisy:
    structures = noisy.structures.replace(positions=noisy.structures.positions[order])
    return Noisy(structures, noisy.species[order], noisy.sigma)


def _spans(structures: Structures) -> list[tuple[int, int]]:
    return list(zip(structures.offsets.tolist(), structures.n_atoms.tolist(), strict=True))
