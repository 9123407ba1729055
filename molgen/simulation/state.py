"""A state of a run of dynamics, apart from the atoms that move on: what is judged, written and gone back to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from molgen.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["State", "energy_and_forces", "look", "told_as_ours"]

_FURTHER = ("stress", "dipole", "charges")  # results that frames carry beside energy and forces


@dataclass(frozen=True, eq=False)
class State:
    """Atoms after a step."""

    step: int
    positions: np.ndarray  # [N, 3] Å
    momenta: np.ndarray  # [N, 3], as ASE has them
    energy: float  # eV, potential, of the model alone
    restraint: float  # eV, what constraints add to it
    forces: np.ndarray  # [N, 3] eV/Å, of the model alone, whatever constraints make of them
    kinetic_energy: float  # eV
    further: Mapping[str, Any]  # other results

    @property
    def total_energy(self) -> float:
        """EV, potential and kinetic, and that of restraints, without which it is not conserved."""
        return self.energy + self.restraint + self.kinetic_energy

    def put_back(self, atoms: Atoms) -> None:
        """Give atoms these positions and momenta, as they are."""
        atoms.positions[:] = self.positions
        atoms.set_momenta(self.momenta, apply_constraint=False)

    def frame(self, atoms: Atoms, constraints: Sequence[Any], info: Mapping[str, Any]) -> Atoms:
        """A copy of the atoms in this state, with its results and further info."""
        from ase.calculators.singlepoint import SinglePointCalculator

        frame: Atoms = atoms.copy()
        frame.set_constraint(list(constraints))
        self.put_back(frame)
        frame.info |= info
        frame.calc = SinglePointCalculator(frame, energy=self.energy, forces=self.forces, **self.further)
        return frame


@contextmanager
def told_as_ours() -> Iterator[None]:
    """What calculators raise of themselves becomes a StructureError."""
    from ase.calculators.calculator import CalculatorError

    try:
        yield
    except CalculatorError as error:
        raise StructureError(f"the calculator failed: {error}") from error


def energy_and_forces(atoms: Atoms) -> tuple[float, np.ndarray]:
    """EV, and [N, 3] eV/Å, of the model alone, whatever constraints make of them.

    Raises:
        StructureError: the calculator refuses the atoms, or fails on them.
    """
    with told_as_ours():
        forces = atoms.get_forces(apply_constraint=False)
        return float(atoms.get_potential_energy(apply_constraint=False)), forces


def look(atoms: Atoms, step: int, *, fully: bool) -> State:
    """The state that atoms are in; `fully` with all results that their calculator has at hand."""
    energy, forces = energy_and_forces(atoms)
    found = getattr(atoms.calc, "results", {}) if fully else {}
    with told_as_ours():
        restraint = float(atoms.get_potential_energy()) - energy
    return State(
        step=step,
        positions=atoms.get_positions(),
        momenta=atoms.get_momenta(),
        energy=energy,
        restraint=restraint,
        forces=forces,
        kinetic_energy=float(atoms.get_kinetic_energy()),
        further={name: np.copy(found[name]) for name in _FURTHER if found.get(name) is not None},
    )
