"""What relaxation and dynamics start from: structures of files or objects, and the calculator of a model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from molgen.conversion import from_ase, to_ase
from molgen.data import read
from molgen.data.ase_database import iterate_rows
from molgen.data.ase_trajectory import iterate_images
from molgen.data.label_names import LABELS, VIRIAL, candidates
from molgen.data.readers import format_of
from molgen.data.records import Record, converted
from molgen.data.xyz import iterate_frames
from molgen.errors import ConfigError, DroppedDataWarning, FileFormatError, InputError
from molgen.simulation.calculator import Calculator
from molgen.simulation.settings import RUN_PREFIX
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Inputs", "as_calculator", "as_inputs"]

_FRAMES: Final = {"xyz": iterate_frames, "trajectory": iterate_images, "database": iterate_rows}


@dataclass(frozen=True, eq=False)
class Inputs:
    """Structures to start from, one `Atoms` each."""

    atoms: list[Atoms]
    bonded: Structures | None = None  # the same structures, where their bonds are known
    source: str = "structures"  # for errors


def as_inputs(given: Any) -> Inputs:
    """Structures of a file, of `Structures`, or of one or several `Atoms`.

    A file may have any format of `molgen.data.read`, or one that ASE reads (cif, POSCAR, traj, …). Atoms are copied,
    with their constraints and without their calculator and labels, which are of where they stand. `Inputs` stay.

    Raises:
        FileFormatError: a file that is missing, empty, or can't be read.
        InputError: something else, no structure, or a structure without atoms.
    """
    if isinstance(given, Inputs):
        return given
    if isinstance(given, str | Path):
        found = _read(Path(given))
    elif isinstance(given, Structures):
        found = Inputs(_plain(given), given if bool(given.bonds_known.all()) else None)
    else:
        frames: Sequence[Any] = (
            [given] if hasattr(given, "get_positions") or not isinstance(given, Iterable) else [*given]
        )
        for frame in frames:
            if not hasattr(frame, "get_positions"):
                raise InputError(
                    f"{type(frame).__name__} is no structure",
                    expected="ase.Atoms, several of them, Structures, or the path of a file",
                )
        found = Inputs([_unlabelled(frame) for frame in frames])
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
        dtype: "float32", "float64", or None for float64.

    Raises:
        ConfigError: it gives no energy, or no forces.
    """
    made = model if hasattr(model, "get_property") else Calculator(model, device=device, dtype=dtype or "float64")
    for needed in ("energy", "forces"):
        if needed not in made.implemented_properties:
            raise ConfigError(
                f"the model gives no {needed}", expected="energy and forces", remedy="choose one with the head energy"
            )
    return made


def _read(path: Path) -> Inputs:
    try:
        kind = format_of(path)
    except FileFormatError as error:
        if not error.what.startswith("unknown file format"):
            raise
        return Inputs(_read_by_ase(path, error), source=str(path))
    with warnings.catch_warnings():
        # labels belong to the positions of the file, and are computed anew
        warnings.simplefilter("ignore", DroppedDataWarning)
        if kind in _FRAMES:
            # as ASE has them, since constraints count here
            frames = [record.content for record in _checked(_FRAMES[kind](path), path)]
            return Inputs([_unlabelled(frame) for frame in frames], source=str(path))
        structures = read(path)
    return Inputs(_plain(structures), structures if bool(structures.bonds_known.all()) else None, str(path))


def _checked(records: Iterator[Record[Atoms]], path: Path) -> list[Record[Atoms]]:
    """The frames of a file, once they are known to be structures.

    Raises:
        FileFormatError: names the frame that is none.
    """
    found = list(records)
    for _ in converted(found, path, len(found) or 1, from_ase):
        pass
    return found


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
    return [_unlabelled(frame) for frame in (frames if isinstance(frames, list) else [frames])]


def _unlabelled(atoms: Atoms) -> Atoms:
    """Atoms without what belongs to their positions, or to the run that they are of."""
    bare: Atoms = atoms.copy()
    bare.calc = None
    labels = [name for name in (*LABELS, VIRIAL) if name != "charges"]
    named = [name for name in bare.info if isinstance(name, str)]
    dropped = {found for label in labels for found in candidates(label, named)}
    dropped |= {name for name in named if name.startswith(RUN_PREFIX)}
    bare.info = {name: value for name, value in bare.info.items() if name not in dropped}
    for name in {found for label in LABELS for found in candidates(label, bare.arrays)}:
        del bare.arrays[name]
    return bare


def _plain(structures: Structures) -> list[Atoms]:
    """Atoms with momenta, tags and masses; other labels are left out, since they belong to other positions."""
    kept = {name: rows for name, rows in structures.atom_labels.items() if name in ("momenta", "tags", "masses")}
    return to_ase(structures.replace(atom_labels=kept, structure_labels={}))
