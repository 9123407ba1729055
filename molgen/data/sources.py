"""The frames of a file of any format as a `Table`: all that it has, by the names that it has in the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from molgen.data.arrays import read_flat
from molgen.data.ase_database import iterate_rows
from molgen.data.ase_trajectory import iterate_images
from molgen.data.compression import open_text
from molgen.data.extxyz import iterate_frames
from molgen.data.records import Record
from molgen.data.table import Column, Frame, Table, gathered

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["table_of"]


def table_of(path: Path, kind: str, wanted: Callable[[str], bool]) -> Table:
    """The columns of a file whose names are wanted.

    Args:
        path: the file.
        kind: its format as `molgen.data.readers.format_of` tells it: "xyz", "database", "trajectory" or "arrays".
        wanted: whether a name's values are to be kept.

    Raises:
        FileFormatError: the file can't be read, or has no frames.
    """
    match kind:
        case "xyz":
            with open_text(path) as file:
                return gathered(iterate_frames(file, path), path, wanted)
        case "database":
            return gathered(_frames(iterate_rows(path)), path, wanted)
        case "trajectory":
            return gathered(_frames(iterate_images(path)), path, wanted)
        case _:
            return _of_arrays(path, wanted)


def _frames(records: Iterator[Record[Atoms]]) -> Iterator[Frame]:
    for record in records:
        atoms = record.content
        where = record.where.replace("structure", "frame", 1)
        info: dict[str, object] = dict(atoms.info)
        arrays = {name: values for name, values in atoms.arrays.items() if name not in ("numbers", "positions")}
        results = atoms.calc.results if atoms.calc is not None and hasattr(atoms.calc, "results") else {}
        for name, value in results.items():
            per_atom = isinstance(value, np.ndarray) and value.ndim > 0 and name not in ("stress", "dipole")
            (arrays if per_atom and len(value) == len(atoms) else info)[name] = value
        pbc = tuple(map(bool, atoms.pbc))
        yield Frame(where, atoms.numbers.astype(np.int64), atoms.positions, atoms.cell.array, pbc, info, arrays)  # type: ignore[arg-type]


def _of_arrays(path: Path, wanted: Callable[[str], bool]) -> Table:
    flat = read_flat(path)
    n = len(flat.counts)
    everywhere = np.ones(n, bool)
    others: Counter[str] = Counter(flat.left_out)
    columns: dict[str, Column] = {}
    atom_columns: dict[str, Column] = {}
    for kept, found in ((columns, flat.structure_labels), (atom_columns, flat.atom_labels)):
        for name, values in found.items():
            if wanted(name):
                kept[name] = Column(name, kept is atom_columns, everywhere, values.astype(np.float64))
            else:
                others[name] = n
    for name, text in flat.texts.items():
        if wanted(name):
            columns[name] = Column(name, False, everywhere, None, [text] * n)
    return Table(
        path=path,
        positions=flat.positions.astype(np.float64),
        numbers=flat.species,
        counts=flat.counts,
        cell=flat.cell,
        pbc=flat.pbc,
        columns=columns,
        atom_columns=atom_columns,
        place=lambda frame: f"frame {frame}",
        arrays=True,
        others=others,
    )
