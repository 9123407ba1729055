"""xyz and extended xyz: what ASE writes is read, and what is wrong is named by frame and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.build import molecule as ase_molecule
from ase.calculators.singlepoint import SinglePointCalculator
from strategies import equal

from molgen.conversion import from_ase
from molgen.data.labelled import read_frames
from molgen.data.readers import iterate, read
from molgen.errors import DroppedDataWarning, FileFormatError
from molgen.structures import Structures

WATER = "3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"


def write(folder: Path, text: str, name: str = "data.xyz") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_plain_frames_with_symbols_or_numbers_are_read(tmp_path: Path) -> None:
    text = WATER + "\n" + WATER.replace("O", "8").replace("H", "h") + "2\n\nCL 0 0 0 0.5 extra\nH 1.3 0 0 0 0\n\n"
    structures = read(write(tmp_path, text))
    assert structures.formulas() == ["H2O", "H2O", "ClH"]
    assert structures.positions.dtype == torch.float64
    assert not structures.bonds_known.any()


def test_a_stray_equals_sign_in_a_comment_is_no_extended_format(tmp_path: Path) -> None:
    assert read(write(tmp_path, WATER.replace("water", "a = b, step=3 of {"))).formulas() == ["H2O"]


@pytest.mark.parametrize("name", ["data.extxyz", "data.xyz"])
def test_extended_frames_are_read_as_ase_reads_them(tmp_path: Path, name: str) -> None:
    frames = [ase_molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", a=5.6), ase_molecule("H2O")]
    for frame in frames:
        results = {"energy": -1.5, "forces": np.full((len(frame), 3), 0.25)}
        frame.calc = SinglePointCalculator(frame, **results)
    frames[0].info.update(charge=1, spin=2)
    ase.io.write(tmp_path / name, frames, format="extxyz")
    expected = from_ase(ase.io.read(tmp_path / name, index=":", format="extxyz"))
    read_back = read(tmp_path / name)
    assert equal(read_back, expected)
    assert set(read_back.atom_labels) == {"forces"}
    assert read_back.charge.tolist() == [1, 0, 0]
    assert read_back.pbc.any(1).tolist() == [False, True, False]


def test_labels_under_names_of_their_own_are_read_when_asked_for(tmp_path: Path) -> None:
    frames = [ase_molecule("H2O"), ase_molecule("CH4")]
    for frame in frames:
        frame.info["REF_energy"] = -2.0 * len(frame)
        frame.info["REF_dipole"] = np.array([0.0, 0.0, 1.0])
        frame.arrays["REF_forces"] = np.ones((len(frame), 3))
    ase.io.write(tmp_path / "data.extxyz", frames)
    with pytest.warns(DroppedDataWarning, match="REF_dipole, REF_energy, REF_forces"):
        assert not read(tmp_path / "data.extxyz").structure_labels
    keys = {"REF_energy": "energy", "REF_forces": "forces", "REF_dipole": "dipole"}
    structures = read(tmp_path / "data.extxyz", keys=keys)
    assert structures.structure_labels["energy"].tolist() == [-6.0, -10.0]
    assert structures.structure_labels["dipole"].shape == (2, 3)
    assert structures.atom_labels["forces"].shape == (8, 3)


def test_a_key_that_a_frame_lacks_is_told_with_the_frame(tmp_path: Path) -> None:
    frames = [ase_molecule("H2O"), ase_molecule("CH4")]
    frames[0].info["REF_energy"] = -1.0
    ase.io.write(tmp_path / "data.extxyz", frames)
    with pytest.raises(FileFormatError, match=r"structure 1, line 6\).*REF_energy|'REF_energy'.*structure 1, line 6"):
        read(tmp_path / "data.extxyz", keys={"REF_energy": "energy"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WATER + "4\n\nC 0 0 0\n", "has 1 lines of atoms .*line 6.*expected 4.*truncated"),
        (WATER + "4\n", "has 0 lines of atoms"),
        (WATER + "four\n", "'four' is no number of atoms .*line 6"),
        (WATER + "-1\n\n", "a frame of -1 atoms"),
        (WATER + "0\n\n", "a frame of 0 atoms"),
        (WATER + WATER.replace("0.96", "nan"), "not a finite number .*structure 1, line 9"),
        (WATER + WATER.replace("0.96", "1e999"), "not a finite number .*structure 1, line 9"),
        (WATER + WATER.replace("0.96", "x"), "no position .*structure 1, line 9"),
        (WATER.replace("O 0", "Xx 0"), "unknown element 'Xx' .*structure 0, line 3"),
        (WATER.replace("O 0", "X 0"), "unknown element 'X' .*structure 0, line 3"),
        (WATER.replace("O 0", "119 0"), "unknown element '119'"),
        (WATER.replace("O 0 0 0", "O 0 0"), "is no atom .*line 3"),
        ("999999999999\n\nH 0 0 0\n", "has 1 lines of atoms"),
    ],
)
def test_a_broken_plain_frame_is_named_by_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(write(tmp_path, text))


EXTENDED = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3 pbc="T T T"'


@pytest.mark.parametrize(
    ("comment", "rows", "message"),
    [
        (EXTENDED.replace("pos:R:3", "pos:R:999999999"), WATER, "columns .* make no sense .*structure 0, line 1"),
        (EXTENDED.replace("pos:R:3", "pos"), WATER, "columns"),
        (EXTENDED.replace("pos:R:3", "pos:R:7"), WATER, "ASE can't read"),
        (EXTENDED.replace("9 0 0 0 9", "9 0 nan 0 9"), WATER, "not finite"),
        (EXTENDED.replace("9 0 0 0 9", "9 0"), WATER, "ASE can't read"),
        (EXTENDED, WATER.replace("O 0", "Xx 0"), "Xx"),
        (EXTENDED, WATER.replace("0.96", "nan"), "not a finite number .*structure 0, line 1, atom 1"),
        (EXTENDED + " charge=many", WATER, "charge"),
        (EXTENDED + ' x="_JSON ' + "[" * 100_000 + '"', WATER, "ASE can't read"),
    ],
)
def test_a_broken_extended_frame_is_named(comment: str, rows: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(write(tmp_path, rows.replace("water", comment)))


def test_frames_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    parts = iterate(write(tmp_path, WATER * 3 + "broken"), chunk=2)
    assert len(next(parts)) == 2
    with pytest.raises(FileFormatError, match="'broken'"):
        next(parts)


@pytest.mark.parametrize("comment", ["heavy water", "Properties=species:S:1:pos:R:3"])
def test_isotopes_are_answered_with_how_they_are_written(tmp_path: Path, comment: str) -> None:
    text = WATER.replace("water", comment).replace("H", "D")
    with pytest.raises(FileFormatError, match=r"unknown element 'D' .*; write deuterium as H, with its mass"):
        read(write(tmp_path, text))


@pytest.mark.parametrize("reader", [read, lambda path: read_frames(path).structures])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, reader: Callable[[Path], Structures]) -> None:
    path = write(tmp_path, "\ufeff" + WATER)
    assert reader(path).formulas() == ["H2O"]
