"""Everything that is measured of a potential but its errors on data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch

from molgen.certify.differences import force_error, stress_error
from molgen.certify.drift import LIMITS, QUICK_LIMIT, energy_drift
from molgen.certify.measurement import FAILS, Measurement
from molgen.certify.samples import Samples, boxed, rattled
from molgen.certify.symmetry import symmetry_error
from molgen.models.potential import Potential
from molgen.simulation.batched_relaxation import relax_batch
from molgen.structures import Structures, concatenate

__all__ = ["FULL", "QUICK", "Extent", "measure_potential"]

_RATTLE: Final = 0.05  # Å, some eV/Å
_BOXED: Final = 2  # molecules that are put into periodic cells, for the stress
_NO_ENERGY: Final = "the model gives no energy that its forces could be derivatives of"


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    structures: int
    coordinates: int  # of each structure that are moved for forces
    picoseconds: float  # of dynamics
    runs: int  # structures of dynamics
    atoms: int  # of dynamics; of larger structures fewer are taken, but one
    relaxation_steps: int
    seconds: float | None  # for the dynamics of one dtype
    coarse: bool  # limits of a short run


FULL: Final = Extent(5, 90, 10.0, 5, 400, 300, None, False)
QUICK: Final = Extent(5, 12, 1.0, 2, 100, 100, 20.0, True)


def measure_potential(
    models: Mapping[torch.dtype, Potential],
    samples: Samples,
    symmetry: str,
    extent: Extent,
    *,
    seed: int = 0,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Measurement]:
    """Force and stress errors, equivariance, and drift, by name.

    Args:
        models: one potential by dtype, float64 among them, in evaluation mode.
        samples: what it is measured on.
        symmetry: that which its encoder claims.
        extent: how much.
        seed: of displacements, rotations and velocities.
        note: is told what is being measured.
    """
    exact = models[torch.float64]
    # of fewer structures several copies, each displaced in its own way
    chosen = [number % len(samples.structures) for number in range(max(extent.structures, len(samples.structures)))]
    moved = rattled(samples.structures.select(chosen), _RATTLE, seed)
    cells = boxed(moved.select(list(range(min(_BOXED, len(moved)))))) if exact.periodic else None
    found: dict[str, Measurement] = {}
    note("forces against finite differences")
    found["force_error"] = _of_forces(exact, moved, extent, seed)
    found["stress_error"] = _of_stress(exact, cells)
    everything = moved if cells is None else concatenate([moved, cells])
    for dtype, model in models.items():
        note(f"equivariance in {_name(dtype)}")
        found[f"symmetry_error_{_name(dtype)}"] = symmetry_error(model, everything, symmetry, seed=seed)
    found |= _drifts(models, samples, extent, seed, note)
    return found


def _of_forces(model: Potential, structures: Structures, extent: Extent, seed: int) -> Measurement:
    if "energy" not in model.provides:
        return Measurement(None, "", None, FAILS, None, _NO_ENERGY)
    found = force_error(model, structures, coordinates=extent.coordinates, seed=seed)
    if model.conservative:
        return found
    return replace(found, reason="forces come from a head of their own, and are no derivatives of the energy")


def _of_stress(model: Potential, cells: Structures | None) -> Measurement:
    if cells is None or "stress" not in model.provides:
        return Measurement.missing("the model gives no stress")
    return stress_error(model, cells)


def _drifts(
    models: Mapping[torch.dtype, Potential],
    samples: Samples,
    extent: Extent,
    seed: int,
    note: Callable[[str], None],
) -> dict[str, Measurement]:
    exact = models[torch.float64]
    if "energy" not in exact.provides:
        return {f"drift_{_name(dtype)}": Measurement.missing(_NO_ENERGY) for dtype in models}
    note("relaxing the structures of the dynamics")
    start = relax_batch(
        _for_dynamics(samples, extent), exact, fmax=0.05, steps=extent.relaxation_steps, device=exact.device
    )
    structures = start.structures.replace(atom_labels={}, structure_labels={})
    found = {}
    for dtype, model in models.items():
        note(f"{extent.picoseconds:g} ps at constant energy in {_name(dtype)}")
        measured = energy_drift(
            model,
            structures,
            picoseconds=extent.picoseconds,
            limit=QUICK_LIMIT if extent.coarse else LIMITS[dtype],
            seed=seed,
            seconds=extent.seconds,
        )
        relaxed = {"relaxed": int(start.converged.sum())}
        found[f"drift_{_name(dtype)}"] = replace(measured, details={**measured.details, **relaxed})
    return found


def _for_dynamics(samples: Samples, extent: Extent) -> Structures:
    fit = samples.structures.n_atoms.cumsum(0) <= extent.atoms
    return samples.first(max(min(int(fit.sum()), extent.runs), 1))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
