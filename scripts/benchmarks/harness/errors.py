"""Errors of predicted energies, forces and stresses against labels, in the units in which they are published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from molgen.models.loading import load_potential
from molgen.structures import Structures

__all__ = ["errors", "predictions"]

_TOGETHER = 1000  # atoms evaluated at once


def predictions(model: str | Path, structures: Structures, *, stress: bool = False) -> dict[str, Tensor]:
    """Energy [B] eV, forces [N, 3] eV/Å and, where asked for, stress [B, 3, 3] eV/Å³ of a potential in float64.

    Args:
        model: path or registered name of a potential.
        structures: all of them; they are evaluated in batches.
        stress: whether it is wanted.

    Raises:
        CheckpointError: as `load_potential`.
        StructureError: a structure that the model can't take.
    """
    module = load_potential(model, dtype=torch.float64).module
    parts: dict[str, list[Tensor]] = {}
    for chosen in _batches(structures.n_atoms):
        found = module(structures.select(chosen), forces=True, stress=stress)
        for name in ("energy", "forces", "stress"):
            if name in found:
                parts.setdefault(name, []).append(found[name].detach())
    return {name: torch.cat(values) for name, values in parts.items()}


def errors(structures: Structures, found: Mapping[str, Tensor]) -> dict[str, float]:
    """Root mean square and mean absolute errors of what is both labelled and predicted.

    Args:
        structures: with the labels energy [B] eV, forces [N, 3] eV/Å, stress [B, 3, 3] eV/Å³, as far as there are any.
        found: predictions of the same names and shapes.

    Returns:
        `energy_rmse` and `energy_mae` in meV of a structure, `energy_per_atom_…` in meV, `forces_…` in meV/Å and
        `stress_…` in meV/Å³; of forces and stress over their components.

    >>> pair = Structures.build(torch.eye(3)[:2], [1, 1], structure_labels={"energy": torch.tensor([1.0])})
    >>> errors(pair, {"energy": torch.tensor([1.004])})["energy_per_atom_mae"]
    2.0
    """
    labels = {**structures.structure_labels, **structures.atom_labels}
    differences: dict[str, Tensor] = {}
    for name in ("energy", "forces", "stress"):
        if name in labels and name in found:
            differences[name] = found[name].to(torch.float64) - labels[name].to(torch.float64)
            if name == "energy":
                differences["energy_per_atom"] = differences[name] / structures.n_atoms
    return {
        f"{name}_{kind}": round(1e3 * float(value), 6)
        for name, difference in differences.items()
        for kind, value in (("rmse", difference.square().mean().sqrt()), ("mae", difference.abs().mean()))
    }


def _batches(n_atoms: Tensor) -> list[Tensor]:
    """Numbers of structures, in order, of so many atoms together that they are evaluated at once."""
    place = torch.cumsum(n_atoms, 0).div(_TOGETHER, rounding_mode="floor")
    _, counts = torch.unique_consecutive(place, return_counts=True)
    return list(torch.arange(len(n_atoms)).split(counts.tolist()))
