"""Extended xyz with every digit, so that dynamics go on from it exactly; ASE reads it, but writes eight decimals."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from molgen.errors import FileFormatError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["extended_xyz", "fixed_atoms", "read_extended_xyz", "whole_frames"]

_NUMBERS = ("energy", "free_energy", "dipole", "stress", "magmom")  # results that stand in the comment line
_ROWS = ("forces", "charges", "energies", "magmoms")  # results that are columns
_OWN_KEYS = ("Properties", "Lattice", "pbc", "virial")  # of the comment line, which info can't have too
_OWN_COLUMNS = ("numbers", "positions", "momenta", "masses", "Z", "pos", "species", "symbols", "charge", "move_mask")
_PLAIN = re.compile(r"[\w.:+/-]+")
_COLUMN = re.compile(r"[\w.+/-]+")
_TYPES = {"f": "R", "i": "I", "u": "I", "b": "L", "U": "S"}  # of columns, by numpy's kinds
_EMPTY = '""'  # what stands after it would be taken for its value


def extended_xyz(atoms: Atoms) -> str:
    """A frame: positions, momenta, masses of its own, cell, info, further arrays, and the calculator's results.

    What `FixAtoms` and `FixCartesian` hold is marked in `move_mask`, as ASE reads it; other constraints have no place.
    Nor have keys of info and arrays that would be read as the frame's own, or as results, and texts that are empty.

    >>> from ase import Atoms
    >>> print(extended_xyz(Atoms("H", positions=[[0, 0, 0.1]], info={"step": 3})), end="")
    1
    Properties=species:S:1:pos:R:3 step=3 pbc="F F F"
    H 0.0 0.0 0.1
    """
    results: dict[str, Any] = getattr(atoms.calc, "results", {}) or {}
    columns = {"pos": atoms.positions}
    if atoms.has("momenta"):
        columns["momenta"] = atoms.get_momenta()
    if atoms.has("masses"):
        columns["masses"] = atoms.get_masses()
    columns |= {name: np.asarray(results[name]) for name in _ROWS if name in results}
    others = _others(atoms) | _move_mask(atoms)
    table = np.concatenate([rows.reshape(len(atoms), -1) for rows in columns.values()], axis=1)
    heads = [
        f"{name}:{_TYPES[rows.dtype.kind] if name in others else 'R'}:{rows.size // len(atoms)}"
        for name, rows in (columns | others).items()
    ]
    marks = [f"Properties=species:S:1:{':'.join(heads)}"]
    if atoms.cell.any():
        # numpy's rows of three vectors, one after the other
        marks.insert(0, f"Lattice={_text(atoms.cell.array.ravel())}")
    marks += [f"{name}={_text(_full(name, results[name]))}" for name in _NUMBERS if name in results]
    marks += _marks(atoms.info)
    marks.append('pbc="' + " ".join("T" if periodic else "F" for periodic in atoms.pbc) + '"')
    words = [[_word(value) for rows in others.values() for value in np.ravel(rows[atom])] for atom in range(len(atoms))]
    rows = [
        " ".join([symbol, *map(repr, row), *further])
        for symbol, row, further in zip(atoms.get_chemical_symbols(), table.tolist(), words, strict=True)
    ]
    return "\n".join([str(len(atoms)), " ".join(marks), *rows]) + "\n"


def fixed_atoms(atoms: Atoms) -> set[int]:
    """Those that `FixAtoms`, or `FixCartesian` in every direction, holds, by all such constraints together."""
    return set(np.flatnonzero(~_free(atoms).any(1)).tolist())


def _free(atoms: Atoms) -> np.ndarray:
    """[N, 3], whether an atom may move in each direction."""
    from ase.constraints import FixAtoms, FixCartesian

    free = np.ones((len(atoms), 3), dtype=bool)
    for each in atoms.constraints:
        if isinstance(each, FixAtoms):
            free[each.get_indices()] = False
        elif isinstance(each, FixCartesian):
            free[each.get_indices()] &= ~each.mask
    return free


def _move_mask(atoms: Atoms) -> dict[str, np.ndarray]:
    free = _free(atoms)
    if free.all():
        return {}
    whole = (free.all(1) | ~free.any(1)).all()
    return {"move_mask": free[:, 0] if whole else free}


def _others(atoms: Atoms) -> dict[str, np.ndarray]:
    """Arrays that have no column of their own: tags, initial charges, whatever a file brought."""
    from ase.calculators.calculator import all_properties

    own = {*_OWN_COLUMNS, *all_properties}
    # texts that ASE has read are objects
    found = {name: rows.astype(str) if rows.dtype == object else rows for name, rows in atoms.arrays.items()}
    return {name: rows for name, rows in found.items() if name not in own and _COLUMN.fullmatch(name) and _fits(rows)}


def _fits(rows: np.ndarray) -> bool:
    """Whether values can stand in columns: numbers, truth values, and words without spaces."""
    kind = rows.dtype.kind
    plain = kind in "fiub" or (kind == "U" and all(word.split() == [word] for word in rows.ravel().tolist()))
    return plain and rows.size > 0


def _word(value: object) -> str:
    return ("T" if value else "F") if isinstance(value, bool | np.bool_) else str(value)


def _marks(info: Mapping[Any, Any]) -> list[str]:
    from ase.calculators.calculator import all_properties

    own = {*_OWN_KEYS, *all_properties}
    texts = [(_text(str(name)), _text(value)) for name, value in info.items() if name not in own and value is not None]
    return [f"{name}={text}" for name, text in texts if _EMPTY not in (name, text)]


def read_extended_xyz(text: str, path: Path) -> Atoms:
    """The atoms of one frame.

    Raises:
        FileFormatError: ASE can't read it.
    """
    from ase.io import read

    try:
        return read(io.StringIO(text), format="extxyz", index=0)  # type: ignore[return-value]
    except Exception as error:  # ASE raises errors of many kinds for lines that don't fit
        raise FileFormatError(f"ASE can't read a frame: {str(error)[:100]}", where=str(path)) from error


def whole_frames(path: Path) -> tuple[list[int], int]:
    """Where each whole frame of a file starts, in bytes, and where the last of them ends.

    Raises:
        FileFormatError: something other than a number of atoms where a frame should start.
    """
    starts: list[int] = []
    end = 0
    with path.open("rb") as file:
        while head := file.readline():
            if not head.endswith(b"\n"):
                break
            if not head.strip().isdigit():
                raise FileFormatError(
                    f"{head.strip().decode(errors='replace')[:40]!r} is no number of atoms",
                    where=f"{path}, byte {end}",
                    expected="a frame of extended xyz to start",
                )
            lines = [file.readline() for _ in range(int(head) + 1)]
            if not lines[-1].endswith(b"\n"):
                break
            starts.append(end)
            end = file.tell()
    return starts, end


def _full(name: str, value: Any) -> Any:
    """A stress as nine numbers, as the format has it; other results as they are."""
    from ase.stress import voigt_6_to_full_3x3_stress

    return voigt_6_to_full_3x3_stress(value).ravel() if name == "stress" else value


def _text(value: object) -> str:
    from ase.spacegroup import Spacegroup

    if isinstance(value, bool | np.bool_):
        return "T" if value else "F"
    if isinstance(value, float | np.floating):
        return repr(float(value))
    if isinstance(value, np.ndarray | list | tuple | dict):
        return _several(value)
    text = value.symbol if isinstance(value, Spacegroup) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    return '"' + re.sub(r"[\r\n]+", " ", text.replace("\\", "/").replace('"', "'")) + '"'


def _several(value: np.ndarray | list | tuple | dict) -> str:
    """A row of numbers as such; tables, texts and what has names as JSON, as ASE has it."""
    try:
        rows = np.asarray(value)
        if rows.ndim <= 1 and rows.dtype.kind in "fiub":
            return '"' + " ".join(map(str, rows.ravel().tolist())) + '"'
        text = json.dumps(value if isinstance(value, dict) else rows.tolist())
    except (TypeError, ValueError):  # of uneven length, or of what JSON doesn't know
        return _text(str(value))
    return '"_JSON ' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
