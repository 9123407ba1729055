"""Forces and stress against finite differences of the energy without isolated atoms, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from molgen.certify.measurement import Measurement
from molgen.models.potential import Potential
from molgen.simulation.batched import plan
from molgen.simulation.evaluation import evaluate
from molgen.structures import Structures

__all__ = ["FORCE_LIMIT", "STEPS", "STRAIN_STEPS", "force_error", "stress_error"]

STEPS: Final = (1e-2, 3e-3, 1e-3)  # Å
STRAIN_STEPS: Final = (1e-3, 3e-4, 1e-4)
FORCE_LIMIT: Final = 1e-6  # relative; encoders without a kink come to 1e-9

# E′(0) h from E(−2h), E(−h), E(h), E(2h), but for h⁵ E⁽⁵⁾ / 30
_OFFSETS = torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64)
_WEIGHTS = torch.tensor([1.0, -8.0, 8.0, -1.0], dtype=torch.float64) / 12.0

_MOST_ATOMS = 1024  # in a batch of displaced structures
_SMALLEST_SCALE = 1e-3  # eV/Å, eV/Å³: forces that all but vanish are no scale


def force_error(model: Potential, structures: Structures, *, coordinates: int | None, seed: int) -> Measurement:
    """max|ΔF| / max|F| by five-point differences, at that step of `STEPS` with the smallest residual.

    Args:
        model: in float64, with an energy.
        structures: off equilibrium, where forces are not zero.
        coordinates: how many of each structure's 3N are moved, drawn at random; all where it is None.
        seed: of the drawing.
    """
    found = []
    for index, own in enumerate(structures.split()):
        own = own.to(model.device)
        forces = _evaluate(model, own)["forces"].to(torch.float64)  # [N, 3]
        chosen = torch.randperm(forces.numel(), generator=torch.Generator().manual_seed(seed + index))[:coordinates]
        scale = max(float(forces.abs().max()), _SMALLEST_SCALE)
        residuals = [
            (forces.reshape(-1)[chosen] + _slopes_by_position(model, own, chosen, step)).abs().max() for step in STEPS
        ]
        found.append(_best(own, residuals, STEPS, scale, max_force=scale, coordinates=len(chosen)))
    return Measurement.judged(_worst(found), "relative", FORCE_LIMIT, by_structure=found)


def stress_error(model: Potential, structures: Structures) -> Measurement:
    """max|Δσ| / max|σ| over the six components, by five-point differences of strained cells.

    Args:
        model: in float64, with an energy, periodic.
        structures: with three periodic directions.
    """
    found = []
    for own in structures.split():
        own = own.to(model.device)
        stress = _evaluate(model, own, stress=True)["stress"][0].to(torch.float64)  # [3, 3]
        volume = float(torch.linalg.det(own.cell[0]).abs())
        scale = max(float(stress.abs().max()), _SMALLEST_SCALE)
        residuals = [(stress - _slopes_by_strain(model, own, step) / volume).abs().max() for step in STRAIN_STEPS]
        found.append(_best(own, residuals, STRAIN_STEPS, scale, max_stress=scale))
    return Measurement.judged(_worst(found), "relative", FORCE_LIMIT, by_structure=found)


def _slopes_by_position(model: Potential, structure: Structures, chosen: Tensor, step: float) -> Tensor:
    """[K] eV/Å, dE/dx of some coordinates, numbers in 0 … 3N − 1."""
    n = structure.positions.numel()
    moves = torch.zeros(len(chosen), len(_OFFSETS), n, dtype=torch.float64)
    moves[torch.arange(len(chosen)), :, chosen] = step * _OFFSETS
    displaced = structure.positions.reshape(1, 1, n) + moves.to(structure.positions)  # [K, 4, 3N]
    copies = structure.select([0] * (len(chosen) * len(_OFFSETS))).replace(positions=displaced.reshape(-1, 3))
    energies = _energies(model, copies).reshape(len(chosen), len(_OFFSETS))
    return (energies @ _WEIGHTS / step).to(structure.positions.device)


def _slopes_by_strain(model: Potential, structure: Structures, step: float) -> Tensor:
    """[3, 3] eV, dE/dε of symmetric strains ε."""
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    basis = torch.zeros(len(pairs), 3, 3, dtype=torch.float64)
    for k, (i, j) in enumerate(pairs):
        basis[k, i, j] += 0.5
        basis[k, j, i] += 0.5
    change = torch.eye(3) + step * _OFFSETS[:, None, None] * basis[:, None]  # [6, 4, 3, 3]
    change = change.reshape(-1, 3, 3).to(structure.positions)
    copies = structure.select([0] * len(change)).replace(
        positions=torch.einsum("ni,kij->knj", structure.positions, change).reshape(-1, 3),
        cell=structure.cell @ change,
    )
    slopes = _energies(model, copies).reshape(len(pairs), len(_OFFSETS)) @ _WEIGHTS / step
    out = torch.zeros(3, 3, dtype=torch.float64)
    for k, (i, j) in enumerate(pairs):
        out[i, j] = out[j, i] = slopes[k]
    return out.to(structure.positions.device)


def _energies(model: Potential, structures: Structures) -> Tensor:
    """[B] float64 eV on the CPU, without isolated atoms."""
    energies = torch.zeros(len(structures), dtype=torch.float64)
    for batch in plan(structures.n_atoms.tolist(), None, _MOST_ATOMS):
        found = _evaluate(model, structures.select(batch), forces=False)
        energies[batch] = found["interaction_energy"].cpu()
    return energies


def _evaluate(model: Potential, structures: Structures, *, forces: bool = True, stress: bool = False) -> dict:
    return evaluate(model, structures, model.graph(structures), forces=forces, stress=stress)


def _best(
    structure: Structures, residuals: Sequence[Tensor], steps: Sequence[float], scale: float, **further: object
) -> dict[str, Any]:
    best = min(range(len(steps)), key=lambda k: float(residuals[k].nan_to_num(torch.inf)))
    return {
        "formula": structure.formulas()[0],
        "atoms": len(structure.species),
        "step": steps[best],
        "error": float(residuals[best]) / scale,
        **further,
    }


def _worst(found: Sequence[dict[str, Any]]) -> float:
    errors = [each["error"] for each in found]
    return max(errors) if all(error == error for error in errors) else float("nan")
