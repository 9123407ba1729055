"""npz files: flat arrays and trajectories with labels; what does not fit is told, nothing is executed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from strategies import equal

from molgen.data.readers import iterate, read
from molgen.errors import DroppedDataWarning, FileFormatError
from molgen.structures import Structures, concatenate

FLAT = {
    "gdb_index": np.array([3, 1], np.int32),
    "n_atoms": np.array([3, 5], np.uint8),
    "Z": np.array([8, 1, 1, 6, 1, 1, 1, 1], np.uint8),
    "pos": np.arange(24, dtype=np.float32).reshape(8, 3),
}


def write(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_flat_arrays_are_read_with_their_labels(tmp_path: Path) -> None:
    path = write(tmp_path, **FLAT, forces=np.ones((8, 3)))
    structures = read(path)
    assert structures.formulas() == ["H2O", "CH4"]
    assert structures.positions.dtype == torch.float32
    assert structures.structure_labels["gdb_index"].tolist() == [3, 1]
    assert structures.atom_labels["forces"].shape == (8, 3)
    assert equal(concatenate(list(iterate(path, chunk=1))), structures)


def test_without_counts_there_is_one_structure(tmp_path: Path) -> None:
    assert len(read(write(tmp_path, R=FLAT["pos"], numbers=FLAT["Z"]))) == 1


def test_frames_of_one_molecule_are_read(tmp_path: Path) -> None:
    R = np.random.default_rng(0).normal(size=(4, 3, 3))
    arrays = {"Z": np.array([8, 1, 1]), "R": R, "E": np.arange(4.0), "F": 2 * R, "split_train": np.arange(7)}
    with pytest.warns(DroppedDataWarning, match="split_train"):
        structures = read(write(tmp_path, **arrays), keys={"E": "energy"})
    assert structures.formulas() == ["H2O"] * 4
    assert torch.equal(structures.positions, torch.from_numpy(R.reshape(-1, 3)))
    assert structures.structure_labels["energy"].tolist() == [0, 1, 2, 3]
    assert torch.equal(structures.atom_labels["F"], 2 * structures.positions)


def test_byte_orders_of_other_machines_are_read(tmp_path: Path) -> None:
    swapped = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in FLAT.items()}
    assert equal(read(write(tmp_path, **swapped)), read(write(tmp_path, **FLAT)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos": None}, "no positions among its arrays Z, gdb_index, n_atoms"),
        ({"Z": None}, "no atomic numbers"),
        ({"R": FLAT["pos"]}, "positions under several names"),
        ({"pos": FLAT["pos"][:7]}, "don't fit"),
        ({"pos": FLAT["pos"].astype(str)}, "no numbers"),
        ({"Z": FLAT["Z"].astype(float)}, "no numbers"),
        ({"n_atoms": np.array([3, 4])}, "add up"),
        ({"n_atoms": np.array([9, -1])}, "without atoms"),
        ({"n_atoms": np.array([3.0, 5.0])}, "add up"),
        ({"n_atoms": np.array([8, 0])}, "without atoms"),
        ({"Z": np.array([8, 1, 1, 6, 0, 1, 1, 1])}, "no element .*structure 1, atom 1"),
        ({"pos": np.where(FLAT["pos"] == 10, np.nan, FLAT["pos"])}, "finite number .*structure 1, atom 0"),
        ({"gdb_index": np.array([{"a": 1}, None], dtype=object), "n_atoms": FLAT["n_atoms"]}, "not a readable npz"),
    ],
)
def test_what_does_not_fit_is_told(change: dict, message: str, tmp_path: Path) -> None:
    arrays = {name: array for name, array in {**FLAT, **change}.items() if array is not None}
    with pytest.raises(FileFormatError, match=message):
        read(write(tmp_path, **arrays))


def test_a_key_that_is_no_array_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no array 'E'"):
        read(write(tmp_path, **FLAT), keys={"E": "energy"})


def test_no_structures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no structures"):
        read(write(tmp_path, pos=np.zeros((0, 3)), Z=np.zeros(0, int), n_atoms=np.zeros(0, int)))


@pytest.mark.data
def test_the_qm9_file_is_read_whole(data_folder: Path) -> None:
    parts = [(len(part), len(part.species)) for part in iterate(data_folder / "qm9_noF_3d.npz", chunk=20_000)]
    assert tuple(map(sum, zip(*parts, strict=True))) == (128_744, 2_330_532)


@pytest.mark.data
def test_an_rmd17_file_is_read(data_folder: Path) -> None:
    with pytest.warns(DroppedDataWarning, match="split_train_01"):
        part = next(iterate(data_folder / "rmd17_ethanol.npz", chunk=2))
    assert isinstance(part, Structures)
    assert part.formulas() == ["C2H6O"] * 2
