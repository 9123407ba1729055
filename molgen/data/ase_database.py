"""Structures of ASE databases (SQLite)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from molgen.data.frames import from_frames
from molgen.data.records import Record, converted, reason, wrong
from molgen.errors import MolgenError
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms
    from ase.db.row import AtomsRow

__all__ = ["iterate_database", "iterate_rows"]


def iterate_database(path: Path, chunk: int, keys: Mapping[str, str] | None = None) -> Iterator[Structures]:
    """The rows of an ASE database, in the order of their ids.

    Raises:
        FileFormatError: no ASE database, or a row that is damaged.
    """
    return converted(iterate_rows(path), path, chunk, lambda frames: from_frames(frames, keys or {}, path))


def iterate_rows(path: Path) -> Iterator[Record[Atoms]]:
    """The rows as ASE reads them, key-value pairs and data in their `info`.

    Raises:
        FileFormatError: no ASE database, or a row that is damaged.
    """
    from ase.db import connect

    _check(path)
    rows: Iterator[AtomsRow] | None = None
    number = 0
    while True:
        where = f"structure {number}"
        try:
            rows = rows or connect(path, type="db", use_lock_file=False).select(sort="id")
            row = next(rows, None)
            if row is None:
                return
            where = f"structure {number}, row {row.id}"
            atoms = _atoms(row, path, where)
        except MolgenError:
            raise
        except Exception as error:  # ASE and sqlite3 raise errors of many kinds for damaged rows
            raise wrong(f"the database is damaged: {reason(error)}", path, where) from error
        yield Record(where, atoms)
        number += 1


def _atoms(row: AtomsRow, path: Path, where: str) -> Atoms:
    if row.natoms == 0:
        raise wrong("the row has no atoms", path, where)
    atoms = row.toatoms()
    atoms.info.update(row.key_value_pairs)
    atoms.info.update(row.data)
    return atoms


def _check(path: Path) -> None:
    # ASE makes its tables in any SQLite file that lacks them, so what is no database of ASE must not get there
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeError) as error:
        raise wrong(f"not a readable SQLite database: {reason(error)}", path) from error
    if not {"systems", "information"} <= tables:
        raise wrong("an SQLite database, but not of ASE", path, expected="the tables that ase.db makes")
