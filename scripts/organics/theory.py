"""GFN2-xTB through tblite: what moves atoms, and what labels them. Å, eV, eV/Å, e·Å, e."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes

from molgen.errors import InputError

__all__ = ["ISOLATED_SPINS", "ForASE", "Frame", "Theory"]

ISOLATED_SPINS: Final = {"H": 1, "C": 2, "N": 3, "O": 2}  # unpaired electrons of the ground states

_LABEL_ACCURACY: Final = 0.1  # of tblite; forces are converged to about 1e-5 eV/Å
_MOTION_ACCURACY: Final = 5.0  # forces to about 1e-3 eV/Å: enough to move atoms


@dataclass(frozen=True)
class Frame:
    """A geometry with its labels, which belong to exactly these rounded positions."""

    kind: str
    numbers: np.ndarray  # (N,)
    positions: np.ndarray  # (N, 3) Å
    energy: float  # eV
    forces: np.ndarray  # (N, 3) eV/Å
    dipole: np.ndarray  # (3,) e·Å
    charges: np.ndarray  # (N,) e


class Theory:
    """GFN2-xTB in vacuum, neutral, with as many unpaired electrons as said; counts its evaluations.

    Args:
        numbers: (N,) atomic numbers.
        positions: (N, 3) Å, to begin with.
        unpaired: electrons.

    Raises:
        InputError: tblite is not installed.
    """

    def __init__(self, numbers: np.ndarray, positions: np.ndarray, unpaired: int = 0) -> None:
        try:
            from tblite.interface import Calculator as TightBinding
        except ImportError as error:
            raise InputError(
                "tblite is not installed, which computes the labels", remedy="pip install 'molgen[labels]'"
            ) from error
        self.numbers, self.evaluations = numbers, 0
        self._method = TightBinding("GFN2-xTB", numbers, positions / units.Bohr, charge=0.0, uhf=unpaired)
        self._method.set("verbosity", 0)
        self._last: Any = None

    def moving(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy in eV and forces (N, 3) in eV/Å, as good as moving needs; begins from the last density.

        Raises:
            RuntimeError: the density does not converge.
        """
        result = self._evaluated(positions, _MOTION_ACCURACY, self._last)
        self._last = result
        return result.get("energy") * units.Hartree, -result.get("gradient") * (units.Hartree / units.Bohr)

    def frame(self, kind: str, positions: np.ndarray, decimals: int = 3) -> Frame:
        """The positions, centred and rounded, with labels of just these; from a fresh density, so that it repeats.

        Raises:
            RuntimeError: the density does not converge.
        """
        rounded = np.round(positions - positions.mean(0), decimals)
        result = self._evaluated(rounded, _LABEL_ACCURACY, None)
        return Frame(
            kind=kind,
            numbers=self.numbers,
            positions=rounded,
            energy=result.get("energy") * units.Hartree,
            forces=-result.get("gradient") * (units.Hartree / units.Bohr),
            dipole=result.get("dipole") * units.Bohr,
            charges=result.get("charges"),
        )

    def _evaluated(self, positions: np.ndarray, accuracy: float, start: Any) -> Any:
        self._last = None  # tblite ends the process when it starts from a density that did not converge
        self._method.set("accuracy", accuracy)
        self._method.update(np.ascontiguousarray(positions) / units.Bohr)
        self.evaluations += 1
        return self._method.singlepoint(start)


class ForASE(Calculator):
    """The same evaluations for ASE's optimisers.

    Args:
        theory: of the atoms that it is asked about.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012, as ASE declares it

    def __init__(self, theory: Theory) -> None:
        super().__init__()
        self._theory = theory

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Energy in eV and forces in eV/Å of the atoms."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        energy, forces = self._theory.moving(self.atoms.positions)
        self.results = {"energy": energy, "forces": forces}
