"""Labels are read from every format, and from a cache as they were written to it."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.units import kcal, mol
from labelled_files import energies, extxyz, forces, frames, isolated
from strategies import equal

from molgen.data.cache import Cache, write_cache
from molgen.data.labelled import read_labelled
from molgen.errors import DroppedDataWarning, FileFormatError, InputError

warnings_are_errors = pytest.mark.filterwarnings("error")


@warnings_are_errors
def test_what_ase_holds_in_a_calculator_is_read_from_every_format(tmp_path: Path) -> None:
    made = frames(6, energy="energy", forces="forces")
    with_results = []
    for atoms in made:
        kept = Atoms(atoms.numbers, atoms.positions)
        kept.calc = SinglePointCalculator(kept, energy=atoms.info["energy"], forces=atoms.arrays["forces"])
        with_results.append(kept)
    ase.io.write(tmp_path / "data.traj", with_results)
    with connect(tmp_path / "data.db", use_lock_file=False) as database:
        for atoms in with_results:
            database.write(atoms)
    ase.io.write(tmp_path / "data.extxyz", with_results, format="extxyz")
    read = [read_labelled(tmp_path / name) for name in ("data.traj", "data.db", "data.extxyz")]
    for labelled in read:
        assert {key.label: key.key for key in labelled.keys} == {"energy": "energy", "forces": "forces"}
        torch.testing.assert_close(energies(labelled), energies(read[0]), rtol=0, atol=1e-7)
        torch.testing.assert_close(forces(labelled), forces(read[0]), rtol=0, atol=1e-7)


@warnings_are_errors
def test_compressed_files_are_read_as_what_they_hold(tmp_path: Path) -> None:
    plain = extxyz(tmp_path, frames())
    (tmp_path / "data.xyz.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "data.xyz.xz").write_bytes(lzma.compress(plain.read_bytes()))
    expected = read_labelled(plain)
    for name in ("data.xyz.gz", "data.xyz.xz"):
        assert equal(read_labelled(tmp_path / name).structures, expected.structures)
    np.savez(tmp_path / "a.npz", Z=[8, 1, 1], R=expected.structures.positions.reshape(-1, 3, 3), E=energies(expected))
    (tmp_path / "a.npz.xz").write_bytes(lzma.compress((tmp_path / "a.npz").read_bytes()))
    assert torch.equal(energies(read_labelled(tmp_path / "a.npz.xz")), energies(expected))


def test_a_damaged_compressed_file_is_told(tmp_path: Path) -> None:
    whole = lzma.compress(extxyz(tmp_path, frames(200)).read_bytes())
    for name, data in (("cut.xyz.xz", whole[: len(whole) // 2]), ("not.xyz.gz", b"\x1f\x8bnothing")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FileFormatError, match=rf"compressed file is damaged.*{name}"):
            read_labelled(tmp_path / name)


@pytest.mark.parametrize("suffix", [".db.xz", ".traj.gz"])
def test_a_compressed_file_of_another_format_is_refused(suffix: str, tmp_path: Path) -> None:
    data = lzma.compress(b"x") if suffix.endswith("xz") else gzip.compress(b"x")
    (tmp_path / f"data{suffix}").write_bytes(data)
    with pytest.raises(FileFormatError, match=r"only xyz and npz are read.*unpack it first"):
        read_labelled(tmp_path / f"data{suffix}")


def test_an_sdf_file_is_refused(sdf: Path) -> None:
    with pytest.raises(FileFormatError, match="an SDF file has no forces"):
        read_labelled(sdf)


@warnings_are_errors
def test_arrays_in_the_layout_of_rmd17_are_read(tmp_path: Path) -> None:
    made = frames(scale=mol / kcal, force_scale=mol / kcal)
    arrays = {
        "nuclear_charges": made[0].numbers,
        "coords": np.stack([atoms.positions for atoms in made]),
        "energies": np.array([atoms.info["REF_energy"] for atoms in made]),
        "forces": np.stack([atoms.arrays["REF_forces"] for atoms in made]),
        "old_indices": np.arange(12),
    }
    np.savez(tmp_path / "rmd17.npz", **arrays)
    labelled = read_labelled(tmp_path / "rmd17.npz", units={"energy": "kcal/mol"})
    assert [(key.key, key.unit) for key in labelled.keys] == [("energies", "kcal/mol"), ("forces", "kcal/mol/Å")]
    expected = read_labelled(extxyz(tmp_path, frames()))
    torch.testing.assert_close(energies(labelled), energies(expected), rtol=0, atol=1e-6)
    np.savez(tmp_path / "sgdml.npz", **arrays, e_unit=np.array("kcal/mol"), r_unit=np.array("Ang"))
    stated = read_labelled(tmp_path / "sgdml.npz")
    assert [key.origin for key in stated.keys] == ["stated", "stated"]
    assert equal(stated.structures, labelled.structures)


def test_arrays_with_flattened_positions_and_cells_are_periodic(tmp_path: Path) -> None:
    positions = np.random.default_rng(0).normal(size=(4, 6))
    arrays = {"Z": [8, 1], "pos": positions, "forces": -positions, "energy": np.arange(4.0)}
    np.savez(tmp_path / "data.npz", **arrays, cell=np.tile(np.eye(3).ravel() * 9, (4, 1)))
    structures = read_labelled(tmp_path / "data.npz").structures
    assert structures.pbc.all()
    assert torch.equal(structures.cell, 9 * torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    assert torch.equal(structures.atom_labels["forces"], -structures.positions)


def test_a_cache_gives_what_was_written_to_it(tmp_path: Path) -> None:
    made = frames()
    del made[2].arrays["REF_forces"]
    with pytest.warns(DroppedDataWarning):
        labelled = read_labelled(extxyz(tmp_path, [*isolated({"H": -13.6}), *made]))
    path = tmp_path / "data.cache"
    sources = {key.label: f"{key.key!r} in {key.unit}" for key in labelled.keys}
    write_cache(
        labelled.parts(chunk=5),
        path,
        precision="float64",
        label_sources=sources,
        isolated_energies=labelled.isolated_energies,
    )
    with pytest.warns(DroppedDataWarning, match=r"1 of 12 frames have no forces \('forces'\), the first: structure 2"):
        back = read_labelled(path)
    assert isinstance(back.dataset, Cache)
    assert dict(back.isolated_energies) == {1: -13.6}
    assert [(key.label, key.count, key.origin) for key in back.keys] == [
        ("energy", 12, "stated"),
        ("forces", 11, "stated"),
    ]
    assert "energy was 'REF_energy' in eV" in back.describe()
    for one, other in ((back.structures, labelled.structures),):
        assert torch.equal(one.positions, other.positions)
        assert torch.equal(one.atom_labels["forces"].nan_to_num(7.0), other.atom_labels["forces"].nan_to_num(7.0))
    with pytest.raises(InputError, match="labels of a cache keep their names and units"):
        read_labelled(path, keys={"energy": "energy"})


def test_a_cache_without_labels_is_refused(tmp_path: Path, cache: Cache) -> None:
    write_cache([cache.structures([0, 1]).replace(structure_labels={})], tmp_path / "bare.cache")
    with pytest.raises(FileFormatError, match="no frame has an energy or forces"):
        read_labelled(tmp_path / "bare.cache")


def test_some_of_the_frames_are_a_data_set_of_their_own(tmp_path: Path) -> None:
    made = frames()
    del made[2].arrays["REF_forces"]
    with pytest.warns(DroppedDataWarning):
        labelled = read_labelled(extxyz(tmp_path, made))
    some = labelled.select([2, 5, 7])
    assert [(key.count, key.n) for key in some.keys] == [(3, 3), (2, 3)]
    assert torch.equal(energies(some), energies(labelled)[[2, 5, 7]])
    assert some.dataset.fingerprint != labelled.dataset.fingerprint


@pytest.mark.data
def test_rmd17_is_warned_of_until_its_unit_is_given(data_folder: Path) -> None:
    path = data_folder / "rmd17_ethanol.npz"
    with pytest.warns(UserWarning, match="'E' is about what these molecules' total energies are in kcal/mol"):
        read_labelled(path)
    assert len(read_labelled(path, units={"energy": "kcal/mol"})) == 9633


@pytest.mark.data
def test_a_stress_that_is_called_a_virial_is_noticed(data_folder: Path) -> None:
    with pytest.warns(UserWarning, match="is taken as a virial in eV.: is it a stress in eV/Å³"):
        read_labelled(data_folder / "si64_csi.npz")
