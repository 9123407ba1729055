"""Extended xyz with every digit, so that dynamics go on from it exactly; ASE reads it, but writes eight decimals."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from molgen.errors import FileFormatError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["OWN_KEYS", "extended_xyz", "fixed_atoms", "read_extended_xyz", "whole_frames"]

_NUMBERS = ("energy", "free_energy", "dipole", "stress", "magmom")  # results that stand in the comment line
_ROWS = ("forces", "charges", "energies", "magmoms")  # results that are columns
OWN_KEYS = ("Properties", "Lattice", "pbc")  # of the comment line, which info can't have too
_PLAIN = re.compile(r"[\w.:+/-]+")


def extended_xyz(atoms: Atoms) -> str:
    """A frame: positions, momenta, masses of its own, cell, info of plain values, and the calculator's results.

    Atoms that `FixAtoms` holds are marked in `move_mask`, as ASE reads it; other constraints have no place.

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
    table = np.concatenate([rows.reshape(len(atoms), -1) for rows in columns.values()], axis=1)
    heads = [f"{name}:R:{rows.size // len(atoms)}" for name, rows in columns.items()]
    held = fixed_atoms(atoms)
    if held:
        heads.append("move_mask:L:1")
    marks = [f"Properties=species:S:1:{':'.join(heads)}"]
    if atoms.cell.any():
        # numpy's rows of three vectors, one after the other
        marks.insert(0, f"Lattice={_text(atoms.cell.array.ravel())}")
    marks += [f"{name}={_text(_full(name, results[name]))}" for name in _NUMBERS if name in results]
    marks += [
        f"{_text(str(name))}={_text(value)}"
        for name, value in atoms.info.items()
        if value is not None and name not in (*results, *OWN_KEYS)
    ]
    marks.append('pbc="' + " ".join("T" if periodic else "F" for periodic in atoms.pbc) + '"')
    moves = [f" {_text(atom not in held)}" if held else "" for atom in range(len(atoms))]
    rows = [
        f"{symbol} {' '.join(map(repr, row))}{move}"
        for symbol, row, move in zip(atoms.get_chemical_symbols(), table.tolist(), moves, strict=True)
    ]
    return "\n".join([str(len(atoms)), " ".join(marks), *rows]) + "\n"


def fixed_atoms(atoms: Atoms) -> set[int]:
    """Those that `FixAtoms` holds, by all such constraints together."""
    from ase.constraints import FixAtoms

    held = [each.get_indices() for each in atoms.constraints if isinstance(each, FixAtoms)]
    return {int(atom) % len(atoms) for indices in held for atom in indices}


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

    return voigt_6_to_full_3x3_stress(value) if name == "stress" else value


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "T" if value else "F"
    if isinstance(value, np.ndarray | list | tuple):
        return '"' + " ".join(str(each) for each in np.asarray(value).ravel().tolist()) + '"'
    if isinstance(value, float | np.floating):
        return repr(float(value))
    text = str(value)
    return text if _PLAIN.fullmatch(text) else '"' + text.replace("\\", "/").replace('"', "'").replace("\n", " ") + '"'
