"""SDF files: every record, its bonds and numbers, and the record that is broken by its number and line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from molgen.data.readers import iterate, read
from molgen.errors import FileFormatError
from molgen.structures import Structures, concatenate


@pytest.fixture
def records(sdf: Path) -> list[str]:
    return [text + "$$$$\n" for text in sdf.read_text().split("$$$$\n") if text]


def write(folder: Path, text: str) -> Path:
    (folder / "data.sdf").write_text(text)
    return folder / "data.sdf"


def test_the_first_molecule_is_water_with_its_bonds_and_energy(small: Structures) -> None:
    water = small.select([0])
    assert water.formulas() == ["H2O"]
    assert water.bonds.tolist() == [[0, 1], [0, 2]]
    assert bool(small.bonds_known.all())
    assert float(water.structure_labels["energy"]) == pytest.approx(-137.97, abs=0.01)  # eV


def test_parts_are_the_whole(sdf: Path, small: Structures) -> None:
    parts = list(iterate(sdf, chunk=20))
    assert [len(part) for part in parts] == [20, 20, 15]
    assert torch.equal(concatenate(parts).positions, small.positions)


def test_charges_of_the_file_are_kept(small: Structures) -> None:
    charged = small.batch[small.formal_charges != 0].unique()
    assert "CH3NO2" in small.select(charged).formulas()
    assert small.charge.abs().max() == 0


def test_a_mol_file_without_end_of_record_is_read(tmp_path: Path, records: list[str]) -> None:
    (tmp_path / "water.mol").write_text(records[0].split("M  END")[0] + "M  END\n")
    assert read(tmp_path / "water.mol").formulas() == ["H2O"]


def test_windows_line_ends_and_blank_lines_at_the_end_do_no_harm(tmp_path: Path, records: list[str]) -> None:
    text = "".join(records[:3]).replace("\n", "\r\n") + "\r\n\r\n"
    (tmp_path / "data.sdf").write_bytes(text.encode())
    assert len(read(tmp_path / "data.sdf")) == 3


def test_valences_are_not_judged(tmp_path: Path, records: list[str]) -> None:
    methane = next(text for text in records if text.startswith("methane"))
    # the first bond made triple: a carbon with six bonds
    broken = methane.replace("  1  2  1  0", "  1  2  3  0")
    assert broken != methane
    assert read(write(tmp_path, broken)).bond_orders.tolist() == [3, 1, 1, 1]


def test_aromatic_bonds_are_kekulised(tmp_path: Path, records: list[str]) -> None:
    benzene = next(text for text in records if text.startswith("benzene"))
    lines = benzene.splitlines(keepends=True)
    # bonds between the six carbons, which come first
    aromatic = [
        line[:6] + "  4" + line[9:] if len(line.split()) == 4 and max(map(int, line.split()[:2])) <= 6 else line
        for line in lines
    ]
    assert aromatic != lines
    read_back = read(write(tmp_path, "".join(aromatic)))
    assert sorted(read_back.bond_orders.tolist()) == [1] * 9 + [2] * 3


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: text.index("M  END")], "ends before its 'M  END'"),
        (lambda text: text.replace("V2000", "V2"), "can't read"),
        (lambda text: text.replace(" O ", " Qq", 1), "can't read|dummy"),
        (lambda text: text.replace(" O ", " * ", 1), "dummy or query"),
        (lambda text: text.replace("  3  2  0", "  0  0  0", 1), "no atoms|can't read"),
        (lambda text: "junk\n" + text, "can't read"),
    ],
)
def test_a_broken_record_is_named_by_number_and_line(damage, message, tmp_path: Path, records: list[str]) -> None:
    broken = damage(records[0])
    if "$$$$" not in broken:
        broken += "$$$$\n"
    path = write(tmp_path, records[1] + broken + records[2])
    line = records[1].count("\n") + 1
    with pytest.raises(FileFormatError, match=message) as caught:
        read(path)
    assert f"{path}, structure 1, line {line}" in str(caught.value)


def test_a_coordinate_that_is_no_number_is_told(tmp_path: Path, records: list[str]) -> None:
    lines = records[0].splitlines(keepends=True)
    lines[4] = "       nan" + lines[4][10:]
    with pytest.raises(FileFormatError, match=r"structure 0"):
        read(write(tmp_path, "".join(lines)))
