"""ASE databases: rows in order with results and keys; other SQLite files are refused and not touched."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule as ase_molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from molgen.data.readers import read
from molgen.errors import FileFormatError


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "data.db"
    with connect(path) as connection:
        for index, name in enumerate(("H2O", "CH4", "CH3OH")):
            atoms = ase_molecule(name)
            atoms.calc = SinglePointCalculator(atoms, energy=-float(index), forces=np.zeros((len(atoms), 3)))
            connection.write(atoms, gap=0.5 + index, data={"moments": np.arange(3.0) + index, "note": {"a": 1}})
    return path


def test_rows_come_in_order_with_their_results(database: Path) -> None:
    structures = read(database, keys={"gap": "gap", "moments": "dipole"})
    assert structures.formulas() == ["H2O", "CH4", "CH4O"]
    assert structures.structure_labels["energy"].tolist() == [0, -1, -2]
    assert structures.structure_labels["gap"].tolist() == [0.5, 1.5, 2.5]
    assert structures.structure_labels["dipole"].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert structures.atom_labels["forces"].shape == (14, 3)


def test_reading_changes_nothing(database: Path) -> None:
    before = database.read_bytes()
    read(database, keys={"gap": "gap", "moments": "dipole"})
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == ["data.db"]


def test_other_sqlite_files_are_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(FileFormatError, match="not of ASE"):
        read(path)
    assert path.read_bytes() == before


def test_an_empty_database_and_a_row_without_atoms_are_refused(tmp_path: Path) -> None:
    with connect(tmp_path / "empty.db") as connection:
        assert len(connection) == 0
    with pytest.raises(FileFormatError, match="no structures"):
        read(tmp_path / "empty.db")
    with connect(tmp_path / "bare.db") as connection:
        connection.write(ase_molecule("H2O"))
        connection.write(Atoms())
    with pytest.raises(FileFormatError, match=r"no atoms .*structure 1, row 2"):
        read(tmp_path / "bare.db")


def test_a_damaged_row_is_named(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("UPDATE systems SET positions = x'0011' WHERE id = 2")
    connection.commit()
    connection.close()
    with pytest.raises(FileFormatError, match=r"damaged.*structure 1\)"):
        read(database)
