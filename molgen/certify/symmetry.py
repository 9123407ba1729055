"""Whether properties turn, move and change places with the atoms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from molgen.certify.measurement import FAILS, Measurement
from molgen.certify.samples import turned
from molgen.models.potential import Potential
from molgen.random import Streams
from molgen.simulation.evaluation import evaluate
from molgen.structures import Structures

__all__ = ["LIMITS", "badness", "judged_errors", "random_rotation", "symmetry_error"]

# relative; float32 rounds forces to some 1e-6
LIMITS: Final = {torch.float64: 1e-9, torch.float32: 1e-4}

_ROTATIONS = 3
_DISTANCE = 10.0  # Å that structures are moved by

# what a difference is compared with at least: eV, eV/Å, eV/Å³, e·Å, e
_LEAST: Final = {"interaction_energy": 1.0, "forces": 0.1, "stress": 1e-3, "dipole": 0.1, "charges": 0.01}


def symmetry_error(model: Potential, structures: Structures, symmetry: str, *, seed: int) -> Measurement:
    """The largest relative difference between properties of moved structures and moved properties.

    Structures are rotated and inverted, shifted by 10 Å, and have their atoms in another order. Energies, forces,
    stress, dipoles and charges are compared, each with its largest component in the structure.

    Args:
        model: in the dtype that is to be measured.
        structures: without symmetry of their own.
        symmetry: that which the encoder claims: "O3", "SO3", "approximate" or "none".
        seed: of the rotations and the order.
    """
    structures = structures.to(model.device)
    before = _properties(model, structures)
    errors: dict[str, dict[str, float]] = {}

    def compare(way: str, after: Mapping[str, Tensor], carry: Callable[[str, Tensor], Tensor]) -> None:
        own = errors.setdefault(way, {})
        for name, value in before.items():
            error = _difference(name, after[name], carry(name, value), structures)
            own[name] = max(own.get(name, 0.0), error, key=badness)

    for number in range(_ROTATIONS):
        q = random_rotation(seed, number).to(structures.positions)
        for way, sign in (("rotation", 1.0), ("inversion", -1.0)):
            turn = sign * q
            compare(way, _properties(model, turned(structures, turn)), partial(_turned_value, turn))
    shift = _DISTANCE * torch.tensor([0.36, -0.48, 0.8]).to(structures.positions)
    compare(
        "translation",
        _properties(model, structures.replace(positions=structures.positions + shift)),
        lambda name, value: value,
    )
    order = _shuffled(structures, seed)
    permuted = structures.replace(positions=structures.positions[order], species=structures.species[order])
    compare(
        "permutation",
        _properties(model, permuted),
        lambda name, value: value[order] if name in ("forces", "charges") else value,
    )
    return judged_errors(errors, symmetry, LIMITS[model.dtype])


def random_rotation(seed: int, number: int) -> Tensor:
    """[3, 3] float64, uniform over rotations, by a random quaternion."""
    from e3nn import o3

    q = Streams(seed, [number]).normal("rotation", width=4, dtype=torch.float64)[0]
    return o3.quaternion_to_matrix(q / q.norm())


def judged_errors(errors: Mapping[str, Mapping[str, float]], symmetry: str, limit: float) -> Measurement:
    """The verdict on errors by way of moving the atoms and by property; of what the encoder claims alone.

    Args:
        errors: of "rotation", "inversion" and further ways, which bind every encoder.
        symmetry: as `symmetry_error` takes it.
        limit: of each.
    """
    worst = {way: max(own.values(), key=badness) for way, own in errors.items()}
    claimed = {"O3": ("rotation", "inversion"), "SO3": ("rotation",)}.get(symmetry, ())
    binding = [value for way, value in worst.items() if way in claimed or way not in ("rotation", "inversion")]
    details: dict[str, Any] = {"claimed": symmetry}
    details |= {way: value for way, value in worst.items() if math.isfinite(value)}
    judged = Measurement.judged(max(binding, key=badness), "relative", limit, **details)
    if claimed or judged.verdict == FAILS:
        return judged
    return Measurement.told(worst["rotation"], "relative", f"the encoder claims the symmetry {symmetry!r}", **details)


def badness(error: float) -> float:
    """What errors are ranked by: NaN is worse than any number."""
    return math.inf if math.isnan(error) else error


def _properties(model: Potential, structures: Structures) -> dict[str, Tensor]:
    wants_stress = bool("stress" in model.provides and structures.pbc.all(1).any())
    found = evaluate(model, structures, model.graph(structures), forces=True, stress=wants_stress)
    names = [name for name in _LEAST if name in found and (name != "stress" or wants_stress)]
    properties = {name: found[name].detach().to(torch.float64) for name in names}
    if "dipole" in properties:  # what is periodic has none
        properties["dipole"] = properties["dipole"].masked_fill(structures.pbc.any(1)[:, None], 0.0)
    return properties


def _turned_value(q: Tensor, name: str, value: Tensor) -> Tensor:
    if name in ("forces", "dipole"):
        return value @ q.T
    return q @ value @ q.T if name == "stress" else value


def _difference(name: str, found: Tensor, expected: Tensor, structures: Structures) -> float:
    """Relative to the largest component of each structure."""
    flat = (found - expected).reshape(len(found), -1).abs().amax(1)
    size = expected.reshape(len(found), -1).abs().amax(1)
    if name in ("forces", "charges"):
        size = size.new_zeros(len(structures)).scatter_reduce(0, structures.batch, size, "amax")[structures.batch]
    return float((flat / size.clamp(min=_LEAST[name])).max())


def _shuffled(structures: Structures, seed: int) -> Tensor:
    """[N] another order of the atoms within each structure."""
    generator = torch.Generator().manual_seed(seed)
    parts, start = [], 0
    for n in structures.n_atoms.tolist():
        parts.append(start + torch.randperm(n, generator=generator))
        start += n
    return torch.cat(parts).to(structures.positions.device)
