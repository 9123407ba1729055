"""Energies that are known: a spring between every two atoms, as a calculator and in place of a potential's own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from molgen.models.potential import Potential
from molgen.structures import Structures


class Springs(Calculator):
    """A spring between every two atoms, at rest where they were given: a molecule that can't come apart.

    Args:
        rest: atoms at rest.
        stiffness: eV/Å².
        breaks_at: the call from which on its numbers are those of `how`.
        how: name of the result to replace, and what by.
    """

    implemented_properties = ("energy", "forces")
    name = "springs"

    def __init__(
        self, rest: Atoms, stiffness: float = 5.0, breaks_at: int | None = None, how: tuple[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.lengths, self.stiffness = rest.get_all_distances(), stiffness
        self.breaks_at, self.how, self.calls = breaks_at, how, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        vectors = self.atoms.positions[None] - self.atoms.positions[:, None]  # [N, N, 3] from row to column
        lengths = np.linalg.norm(vectors, axis=-1) + np.eye(len(atoms))
        stretched = np.where(np.eye(len(atoms)), 0.0, lengths - self.lengths)
        forces = (self.stiffness * stretched / lengths)[..., None] * vectors
        self.results = {"energy": 0.25 * self.stiffness * float((stretched**2).sum()), "forces": forces.sum(1)}
        if self.breaks_at is not None and self.calls >= self.breaks_at and self.how is not None:
            name, value = self.how
            self.results[name] = value if name == "energy" else self.results[name] * value


def sprung(model: Potential, rest: Sequence[Atoms]) -> Potential:
    """A copy of a potential whose energies are those of springs: stiff bonds, and soft pairs that are a little long.

    Args:
        model: gives everything but the energies.
        rest: molecules, each of another composition.
    """
    lengths = {tuple(atoms.numbers): torch.tensor(atoms.get_all_distances()) for atoms in rest}

    def energy(one: Structures) -> torch.Tensor:
        i, j = torch.triu_indices(len(one.species), len(one.species), 1)
        usual = lengths[tuple(one.species.tolist())][i, j]
        bonded = usual < 1.6
        found = torch.linalg.vector_norm(one.positions[i] - one.positions[j], dim=1)
        stretched = found - torch.where(bonded, usual, 1.05 * usual)
        return (torch.where(bonded, 20.0, 1.0) * stretched**2).sum()

    def forward(structures: Structures, *_: Any, **__: Any) -> dict[str, torch.Tensor]:
        with torch.enable_grad():
            positions = structures.positions.detach().requires_grad_(True)
            energies = torch.stack([energy(one) for one in structures.replace(positions=positions).split()])
            (slope,) = torch.autograd.grad(energies.sum(), positions)
        return {"energy": energies.detach(), "forces": -slope}

    made = copy.deepcopy(model)
    made.forward = forward
    return made
