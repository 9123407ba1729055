"""Structures from `ase.Atoms`, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from molgen.conversion.charges import charge_of, spin_of
from molgen.conversion.labels import PER_ATOM, as_numpy, atom_ranges, filled_labels, joined, numbers_of, warn_dropped
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["from_ase", "to_ase"]

_STRESSES = frozenset({"stress", "stresses"})
_VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])  # ASE's order: xx, yy, zz, yz, xz, xy
_ARRAYS = ("momenta", "tags", "masses")


def from_ase(atoms: Atoms | Sequence[Atoms]) -> Structures:
    """Structures of one or several `ase.Atoms`.

    Kept are positions (float64), numbers, cell and pbc; the charge, which is `info["charge"]` (or "total_charge") or
    else the sum of the initial charges; the multiplicity, which is `info["spin"]` (or "multiplicity", or
    "spin_multiplicity") or else 1; momenta, tags and masses of one's own, as atom labels; and what a calculator holds
    for exactly these atoms (energy, forces, stress, dipole, charges, …), as labels in ASE's units and signs, stress as
    [3, 3]. Nothing is calculated anew.

    Raises:
        StructureError: NaN or infinite numbers, dummy atoms, a charge or spin that is no number.

    Warns:
        DroppedDataWarning: constraints, results of other positions, results that differ in shape. Results that only
            some of the structures have are told too, and are NaN for the others.

    >>> from ase.build import molecule
    >>> from_ase([molecule("H2O"), molecule("CH4")]).formulas()
    ['H2O', 'CH4']
    """
    frames: list[Atoms] = [atoms] if hasattr(atoms, "get_positions") else list(atoms)  # type: ignore[list-item]
    if not frames:
        return Structures.build([], [], n_atoms=[])
    if any(frame.constraints for frame in frames):
        warn_dropped("constraints are left out")
    labels = filled_labels([_results(frame) for frame in frames], [len(frame) for frame in frames])
    arrays = [name for name in _ARRAYS if any(frame.has(name) for frame in frames)]
    atom_labels = {name: np.concatenate(rows) for name, rows in labels.items() if name in PER_ATOM}
    # where only some of the frames have one, ASE's own default stands in for the others
    atom_labels |= {name: np.concatenate([getattr(frame, f"get_{name}")() for frame in frames]) for name in arrays}
    return Structures.build(
        positions=joined([frame.get_positions() for frame in frames]),
        species=joined([frame.numbers for frame in frames]),
        n_atoms=[len(frame) for frame in frames],
        cell=joined([frame.cell.array[None] for frame in frames]),
        pbc=joined([frame.pbc[None] for frame in frames]),
        charge=[charge_of(frame, f"structure {index}") for index, frame in enumerate(frames)],
        spin=[spin_of(frame, f"structure {index}") for index, frame in enumerate(frames)],
        atom_labels={name: torch.from_numpy(rows) for name, rows in atom_labels.items()},
        structure_labels={n: torch.from_numpy(np.stack(rows)) for n, rows in labels.items() if n not in PER_ATOM},
    )


def to_ase(structures: Structures) -> list[Atoms]:
    """One `ase.Atoms` per structure; the inverse of :func:`from_ase`.

    Charge and multiplicity go to `info["charge"]` and `info["spin"]`; labels that ASE knows as results to a
    `SinglePointCalculator`, but for those that are NaN; other labels to `arrays` and `info`. ASE has no place for bonds
    and formal charges.

    >>> water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> to_ase(water)[0].info
    {'charge': 0, 'spin': 1}
    """
    from ase import Atoms
    from ase.calculators.calculator import all_properties
    from ase.calculators.singlepoint import SinglePointCalculator

    atom_labels = {name: as_numpy(value) for name, value in structures.atom_labels.items()}
    structure_labels = {name: as_numpy(value) for name, value in structures.structure_labels.items()}
    positions, numbers = as_numpy(structures.positions).astype(np.float64), as_numpy(structures.species)
    cells, pbc = as_numpy(structures.cell), as_numpy(structures.pbc)
    frames = []
    for index, (start, n) in enumerate(atom_ranges(structures)):
        atoms = Atoms(numbers[start : start + n], positions[start : start + n], cell=cells[index], pbc=pbc[index])
        charge = float(structures.charge[index])
        atoms.info["charge"] = int(charge) if charge.is_integer() else charge
        atoms.info["spin"] = int(structures.spin[index])
        results = {}
        for name, rows in atom_labels.items():
            if name in PER_ATOM:
                results[name] = _as_ase(name, rows[start : start + n])
            elif name in _ARRAYS:
                getattr(atoms, f"set_{name}")(rows[start : start + n])
            else:
                atoms.set_array(name, rows[start : start + n].copy())
        for name, values in structure_labels.items():
            if name in all_properties:
                results[name] = _as_ase(name, values[index])
            else:
                atoms.info[name] = values[index].tolist() if values.ndim == 1 else values[index].copy()
        results = {name: value for name, value in results.items() if not np.size(value) or not np.isnan(value).all()}
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


def _results(frame: Atoms) -> dict[str, np.ndarray]:
    results = getattr(frame.calc, "results", None)
    if not results:
        return {}
    check_state = getattr(frame.calc, "check_state", None)
    if check_state is not None and check_state(frame):
        warn_dropped("results of a calculator are left out: they belong to other positions, cells or species")
        return {}
    numbers = numbers_of(results)
    return {name: v[..., _VOIGT] if name in _STRESSES and v.shape[-1] == 6 else v for name, v in numbers.items()}


def _as_ase(name: str, value: np.ndarray) -> np.ndarray:
    """A label as ASE's calculators give it: a number, a copy, or a stress in Voigt order."""
    if name in _STRESSES:
        return np.stack([value[..., i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], axis=-1)
    return value.item() if value.ndim == 0 else value.copy()
