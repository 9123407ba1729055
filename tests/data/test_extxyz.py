"""The direct reader of extended xyz agrees with ASE, and names what is wrong by frame, line and key."""

from __future__ import annotations

import io
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given
from hypothesis import strategies as st

from molgen.data.extxyz import iterate_frames
from molgen.data.table import Frame
from molgen.errors import FileFormatError

HEAD = "Properties=species:S:1:pos:R:3"
WATER = "O 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"


def read(text: str) -> list[Frame]:
    return list(iterate_frames(io.StringIO(text), Path("data.xyz")))


def by_ase(text: str) -> list[Atoms]:
    return ase.io.read(io.StringIO(text), index=":", format="extxyz")


def agrees(frame: Frame, atoms: Atoms) -> None:
    assert np.array_equal(frame.numbers, atoms.numbers)
    assert np.array_equal(frame.positions, atoms.positions)
    assert np.array_equal(np.zeros((3, 3)) if frame.cell is None else frame.cell, atoms.cell.array)
    assert frame.pbc == tuple(atoms.pbc)
    results = atoms.calc.results if atoms.calc else {}
    for name, values in frame.arrays.items():
        other = atoms.arrays.get(name, results.get(name, results.get("charges") if name == "charge" else None))
        assert np.array_equal(values, other), name
    for name in atoms.info:
        assert name in frame.info


@given(
    numbers=st.lists(st.integers(1, 118), min_size=1, max_size=5),
    periodic=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    seed=st.integers(0, 99),
    columns=st.lists(st.sampled_from(["REF_forces", "tags", "charge", "weights", "moved"]), unique=True),
)
def test_what_ase_writes_is_read_as_ase_reads_it(
    numbers: list[int], periodic: tuple[bool, bool, bool], seed: int, columns: list[str]
) -> None:
    rng = np.random.default_rng(seed)
    n = len(numbers)
    atoms = Atoms(numbers, rng.normal(size=(n, 3)), cell=rng.normal(size=(3, 3)), pbc=periodic)
    values = {"REF_forces": (n, 3), "charge": (n,), "weights": (n, 2)}
    for name in columns:
        if name in values:
            atoms.set_array(name, rng.normal(size=values[name]))
        elif name == "tags":
            atoms.set_tags(rng.integers(0, 9, size=n))
        else:
            atoms.set_array(name, rng.random(n) < 0.5)
    atoms.info.update(REF_energy=1.5, note="two words", flag=True, vector=np.arange(3.0), matrix=np.eye(2))
    file = io.StringIO()
    ase.io.write(file, atoms, format="extxyz")
    (frame,) = read(file.getvalue())
    (expected,) = by_ase(file.getvalue())
    agrees(frame, expected)
    assert set(frame.arrays) == set(columns) - {"moved"}  # what is no number is left out


@pytest.mark.parametrize(
    "comment",
    [
        HEAD + " energy = -1.5 spin=2",
        HEAD + " a='b c' d={1 2 3} e=[1,2]",
        HEAD + r' s="with \"quotes\" inside" x=1',
        HEAD + ' Lattice="9 0 0 1 9 0 2 3 9"',
        HEAD + ' Lattice="9 0 0 1 9 0 2 3 9" pbc="T F T"',
        HEAD + ' Lattice="9 0 0 1 9 0 2 3 9" pbc=[T, F, T] x={y}',
        HEAD + " flag other_flag x=1",
        'Lattice="9 0 0 0 9 0 0 0 9"',
        "Properties=pos:R:3:Z:I:1",
        "energy=1",
    ],
)
def test_comments_of_every_style_are_read_as_ase_reads_them(comment: str) -> None:
    rows = "0 0 0 8\n0.96 0 0 1\n" if comment.endswith("Z:I:1") else "O 0 0 0\nH 0.96 0 0\n"
    text = f"2\n{comment}\n{rows}"
    (frame,) = read(text)
    (atoms,) = by_ase(text)
    assert np.array_equal(frame.numbers, atoms.numbers)
    assert np.array_equal(np.zeros((3, 3)) if frame.cell is None else frame.cell, atoms.cell.array)
    assert frame.pbc == tuple(atoms.pbc)


def test_frames_follow_each_other_with_blank_lines_between_and_more_columns_than_named() -> None:
    text = f"3\nwater molecule\n{WATER}\n\n1\n{HEAD}\nhe 0 0 0 17 extra\n2\n\n8 0 0 0\n1 0 0 1\n"
    frames = read(text)
    assert [frame.where for frame in frames] == ["frame 0, line 1", "frame 1, line 8", "frame 2, line 11"]
    assert [frame.numbers.tolist() for frame in frames] == [[8, 1, 1], [2], [8, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"3\n{HEAD} energy=1 x=2 energy=1\n{WATER}", r"key 'energy' stands twice .*frame 0, line 1\)"),
        (f"3\n{HEAD} x={{a}} energy=1 energy=2\n{WATER}", r"key 'energy' stands twice .*frame 0, line 1\)"),
        (f"3\n{HEAD}:f:R:3:f:R:3\n{WATER}", "column 'f' stands twice"),
        (f"3\n{HEAD.replace('R:3', 'R')}\n{WATER}", "make no sense"),
        (f"3\n{HEAD.replace('R:3', 'Q:3')}\n{WATER}", "make no sense"),
        (f"3\n{HEAD.replace('R:3', 'R:99999')}\n{WATER}", "make no sense"),
        (f"3\n{HEAD}:f:R:0\n{WATER}", "make no sense"),
        ("1\nProperties=Z:R:1:pos:R:3\nnan 0 0 0\n", "unknown element 'nan'"),
        ("1\nProperties=Z:R:1:pos:R:3\n8.5 0 0 0\n", "unknown element '8.5'"),
        (f"3\n{HEAD.replace('pos', 'place')}\n{WATER}", "have no pos:R:3"),
        (f"3\n{HEAD.replace('pos:R:3', 'pos:R:2')}\n{WATER}", "have no pos:R:3"),
        (f"3\n{HEAD.replace('species', 'name')}\n{WATER}", "have no species:S:1"),
        (f"3\n{HEAD.lower()}\n{WATER}", "the key 'properties' is not read .*'Properties'"),
        (f'3\n{HEAD} lattice="9 0 0 0 9 0 0 0 9"\n{WATER}', "the key 'lattice' is not read .*'Lattice'"),
        (f'3\n{HEAD} Lattice="9 0 0"\n{WATER}', "Lattice is '9 0 0'.*nine numbers"),
        (f'3\n{HEAD} pbc="T T"\n{WATER}', "pbc is 'T T'.*three of T and F"),
        (f"3\n{HEAD}\n{WATER.replace('O ', 'Xq ')}", r"unknown element 'Xq' .*frame 0, line 3\)"),
        (
            f"3\n{HEAD}\n{WATER.replace('O ', 'D ')}",
            r"unknown element 'D' .*line 3\); write deuterium as H, with its mass",
        ),
        (f"3\n{HEAD}\n{WATER.replace('0.96', 'x')}", r"pos is 'x 0 0', no number .*frame 0, line 4\)"),
        (f"3\n{HEAD}:f:R:1\n{WATER}", r"has 4 columns .*line 3\).*expected 5"),
        (f"3\n{HEAD}\n{WATER}4\n", r"has 0 lines of atoms .*frame 1, line 6\).*expected 4.*truncated"),
        (f"3\n{HEAD}\n{WATER}3\n{HEAD}\nH 0 0 0\n", "has 1 lines of atoms"),
        ("three\n", "'three' is no number of atoms"),
        ("0\n\n", "a frame of 0 atoms"),
        (f'3\n{HEAD} x="_JSON ' + "[" * 50_000 + f'"y\n{WATER}', "ASE can't read the comment line"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(text)


def test_an_array_of_rows_is_read_as_ase_writes_it(tmp_path: Path) -> None:
    atoms = bulk("Si", cubic=True)
    atoms.info["REF_virial"] = np.arange(9.0).reshape(3, 3)
    ase.io.write(tmp_path / "data.xyz", [atoms, molecule("H2O")], format="extxyz")
    with (tmp_path / "data.xyz").open() as file:
        first, second = iterate_frames(file, tmp_path)
    assert first.info["REF_virial"]
    assert first.pbc == (True, True, True)
    assert second.cell is None
