"""Calculators whose dynamics are known: a harmonic well, and one that breaks at a chosen call."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes


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
