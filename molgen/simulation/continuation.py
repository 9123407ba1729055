"""What a run of dynamics goes on from: the last frame of a trajectory, if it is of the same atoms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from molgen.conversion.charges import CHARGE_KEYS, charge_of, spin_of
from molgen.errors import SimulationError
from molgen.simulation.extended_xyz import fixed_atoms
from molgen.simulation.trajectory import Trajectory, open_trajectory

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["frames_to_continue", "refuse_other_system"]


def refuse_other_system(frame: Atoms, atoms: Atoms, where: str, *, all_constraints: bool = True) -> None:
    """Refuse to go on from a frame that is not of these atoms, wherever they are by now.

    Args:
        frame: the last one.
        atoms: of the run that is to go on.
        where: the file of the frame.
        all_constraints: False where the file tells of atoms that are fixed, and of no other constraints.

    Raises:
        SimulationError: other elements, another cell, other masses, another charge or spin, other constraints.
    """
    if frame.get_chemical_symbols() != atoms.get_chemical_symbols():
        raise SimulationError(
            f"its frames are of {frame.get_chemical_formula()}, the structure is {atoms.get_chemical_formula()}",
            where=where,
            expected="the same atoms in the same order",
        )
    same = {
        "cell": np.allclose(frame.cell.array, atoms.cell.array) and np.array_equal(frame.pbc, atoms.pbc),
        "masses": np.allclose(frame.get_masses(), atoms.get_masses()),
        "charge": charge_of(frame, where, default=_initial_charge(atoms)) == charge_of(atoms),
        "spin": spin_of(frame, where) == spin_of(atoms),
    }
    same["constraints"] = fixed_atoms(frame) == fixed_atoms(atoms) and (
        not all_constraints or _others(frame) == _others(atoms)
    )
    for name, equal in same.items():
        if not equal:
            ours = f"{name} are not those" if name in ("masses", "constraints") else f"{name} is not that"
            raise SimulationError(
                f"the structure's {ours} of the frames", where=where, remedy="start from the same structure"
            )


def _initial_charge(atoms: Atoms) -> float:
    """E, that of initial charges, which not every file has; zero where the total charge is told."""
    return charge_of(atoms) if atoms.info.keys().isdisjoint(CHARGE_KEYS) else 0.0


def _others(atoms: Atoms) -> list[str]:
    """Constraints other than fixed atoms, as ASE writes them down."""
    from ase.constraints import FixAtoms
    from ase.io.jsonio import encode

    return sorted(encode(each.todict()) for each in atoms.constraints if not isinstance(each, FixAtoms))


def frames_to_continue(path: Path) -> Trajectory | None:
    """The trajectory to go on with; None where there is no frame.

    Raises:
        FileFormatError: the file is no trajectory, or none of its frames can be read.
    """
    if not path.exists() or not path.stat().st_size:
        return None
    found = open_trajectory(path, restart=True, overwrite=False)
    if len(found):
        return found
    found.close()
    return None
