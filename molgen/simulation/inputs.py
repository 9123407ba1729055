"""What relaxation and dynamics start from: structures of files or objects, and the calculator of a model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molgen.conversion import to_ase
from molgen.data import read
from molgen.data.readers import format_of
from molgen.errors import DroppedDataWarning, FileFormatError, InputError
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Inputs", "as_calculator", "as_inputs"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Structures to start from, one `Atoms` each."""

    atoms: list[Atoms]
    bonded: Structures | None = None  # the same structures, where their bonds are known
    source: str = "structures"  # for errors


def as_inputs(given: Any) -> Inputs:
    """Structures of a file, of `Structures`, or of one or several `Atoms`.

    A file may have any format of `molgen.data.read`, or one that ASE reads (cif, POSCAR, traj, …). Atoms are copied,
    with their constraints and without their calculator.

    Raises:
        FileFormatError: a file that is missing, empty, or can't be read.
        InputError: no structure, or a structure without atoms.
    """
    if isinstance(given, str | Path):
        found = _read(Path(given))
    elif isinstance(given, Structures):
        found = Inputs(_plain(given), given if bool(given.bonds_known.all()) else None)
    else:
        frames: Sequence[Atoms] = [given] if hasattr(given, "get_positions") else list(given)
        found = Inputs([_bare(frame) for frame in frames])
    if not found.atoms:
        raise InputError("there are no structures", where=found.source)
    for number, atoms in enumerate(found.atoms):
        if len(atoms) == 0:
            raise InputError("it has no atoms", where=f"{found.source}, structure {number}")
    return found


def as_calculator(model: Any, *, device: str = "cpu", dtype: str | None = None) -> Any:
    """The ASE calculator of a model; what is one already is taken as it is.

    Args:
        model: a registered name, the path of a file, a potential, or any ASE calculator.
        device: as torch names it.
        dtype: "float32", "float64", or None for the calculator's own choice.
    """
    if hasattr(model, "get_property"):
        return model
    from molgen.simulation.calculator import Calculator

    return Calculator(model, device=device) if dtype is None else Calculator(model, device=device, dtype=dtype)


def _read(path: Path) -> Inputs:
    try:
        kind = format_of(path)
    except FileFormatError as error:
        if not error.what.startswith("unknown file format"):
            raise
        return Inputs(_read_by_ase(path, error), source=str(path))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*left out; name the labels", category=DroppedDataWarning)
        structures = read(path)
    bonded = structures if kind == "sdf" or bool(structures.bonds_known.all()) else None
    return Inputs(_plain(structures), bonded, str(path))


def _read_by_ase(path: Path, unknown: FileFormatError) -> list[Atoms]:
    from ase.io import read as read_by_ase
    from ase.io.formats import UnknownFileTypeError

    try:
        frames = read_by_ase(path, index=":")
    except UnknownFileTypeError:
        raise unknown from None
    except Exception as error:  # each of ASE's readers raises what it likes
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise FileFormatError(f"ASE can't read the file: {reason}", where=str(path)) from error
    return [_bare(frame) for frame in (frames if isinstance(frames, list) else [frames])]


def _plain(structures: Structures) -> list[Atoms]:
    """Atoms with momenta, tags and masses; other labels are left out, since they belong to other positions."""
    kept = {name: rows for name, rows in structures.atom_labels.items() if name in ("momenta", "tags", "masses")}
    return to_ase(structures.replace(atom_labels=kept, structure_labels={}))


def _bare(atoms: Atoms) -> Atoms:
    copied: Atoms = atoms.copy()
    copied.calc = None
    return copied
