"""Data sets for potentials: which key is which label, in which unit, and what is wrong is told by frame and key."""

from __future__ import annotations

import gzip
import lzma
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.units import Bohr, Debye, GPa, Hartree, kcal, mol
from labelled_files import extxyz, frames, isolated
from strategies import equal

from molgen.data.cache import Cache, write_cache
from molgen.data.labelled import LabelKey, Labelled, read_labelled
from molgen.errors import ConfigError, DroppedDataWarning, FileFormatError, InputError

warnings_are_errors = pytest.mark.filterwarnings("error")


def energies(labelled: Labelled) -> torch.Tensor:
    return labelled.structures.structure_labels["energy"]


def forces(labelled: Labelled) -> torch.Tensor:
    return labelled.structures.atom_labels["forces"]


@warnings_are_errors
def test_keys_are_found_and_told_with_their_units(tmp_path: Path) -> None:
    made = frames()
    for atoms in made:
        atoms.info.update(time=1.0, REF_dipole=np.array([0.0, 0.1, 0.2]))
        atoms.set_array("charges", np.array([-0.8, 0.4, 0.4]))
    labelled = read_labelled(extxyz(tmp_path, made))
    assert labelled.keys == (
        LabelKey("energy", "REF_energy", "eV", 12, 12),
        LabelKey("forces", "REF_forces", "eV/Å", 12, 12),
        LabelKey("dipole", "REF_dipole", "e·Å", 12, 12),
        LabelKey("charges", "charge", "e", 12, 12),  # as ASE calls the column
    )
    text = "\n".join(labelled.describe())
    assert "12 frames of H, O" in text
    assert "energy from 'REF_energy' in eV (assumed), all frames" in text
    assert "forces from 'REF_forces' in eV/Å (assumed), all frames" in text
    assert "not read: time" in text
    structures = labelled.structures
    assert structures.positions.dtype == energies(labelled).dtype == torch.float64
    # as many digits as ASE writes
    torch.testing.assert_close(energies(labelled)[3].item(), made[3].info["REF_energy"], rtol=0, atol=1e-7)
    torch.testing.assert_close(forces(labelled)[9:12], torch.tensor(made[3].arrays["REF_forces"]), rtol=0, atol=1e-7)
    assert structures.structure_labels["dipole"].shape == (12, 3)
    assert structures.atom_labels["charges"].shape == (36,)


@warnings_are_errors
@pytest.mark.parametrize(
    ("energy", "force"),
    [
        ("energy", "forces"),
        ("free_energy", "force"),
        ("Energy", "Forces"),
        ("total_energy", "dft_forces"),
        ("TotEnergy", "dft_force"),
        ("dft_energy", "REF_forces"),
    ],
)
def test_the_names_in_use_are_known(energy: str, force: str, tmp_path: Path) -> None:
    labelled = read_labelled(extxyz(tmp_path, frames(energy=energy, forces=force)))
    assert [(key.label, key.key) for key in labelled.keys] == [("energy", energy), ("forces", force)]


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


def test_two_keys_that_say_the_same_are_noted_and_two_that_differ_are_refused(tmp_path: Path) -> None:
    made = frames()
    for atoms in made:
        atoms.info["energy"] = atoms.info["REF_energy"]
    labelled = read_labelled(extxyz(tmp_path, made))
    assert labelled.keys[0].key == "REF_energy"
    assert "energy: 'energy' has the same values as 'REF_energy'" in labelled.notes
    made[4].info["energy"] += 1.0
    path = extxyz(tmp_path, made)
    message = r"'REF_energy' and 'energy' differ .*frame 4, line 21\).*energy=REF_energy or energy=energy"
    with pytest.raises(FileFormatError, match=message):
        read_labelled(path)
    assert read_labelled(path, keys={"energy": "energy"}).keys[0].key == "energy"


def test_forces_under_two_keys_that_differ_are_refused_by_frame(tmp_path: Path) -> None:
    made = frames()
    for atoms in made:
        atoms.set_array("forces", atoms.arrays["REF_forces"].copy())
    made[2].arrays["forces"][1, 0] += 0.1
    with pytest.raises(FileFormatError, match=r"'REF_forces' and 'forces' differ .*frame 2, line 11"):
        read_labelled(extxyz(tmp_path, made))


def test_a_key_that_takes_over_where_another_ends_is_refused(tmp_path: Path) -> None:
    made = frames()
    for atoms in made[7:]:
        atoms.info["energy"] = atoms.info.pop("REF_energy")
    with pytest.raises(FileFormatError, match=r"'energy' is where 'REF_energy' is not .*frame 7"):
        read_labelled(extxyz(tmp_path, made))


def test_the_users_key_is_read_and_a_wrong_one_is_answered_with_the_nearest(tmp_path: Path) -> None:
    path = extxyz(tmp_path, frames(energy="my_energy", forces="my_forces"))
    keys = {"energy": "my_energy", "forces": "my_forces"}
    assert [key.key for key in read_labelled(path, keys=keys).keys] == ["my_energy", "my_forces"]
    with pytest.raises(InputError, match=r"no frame has the key 'my_enrgy'.*did you mean 'my_energy'"):
        read_labelled(path, keys={"energy": "my_enrgy"})
    with pytest.raises(InputError, match="'my_forces' has a value per atom, energy one per frame"):
        read_labelled(path, keys={"energy": "my_forces"})
    with pytest.raises(InputError, match="'my_energy' has a value per frame, forces one per atom"):
        read_labelled(path, keys={"forces": "my_energy"})
    with pytest.raises(ConfigError, match=r"no label 'enrgy'.*did you mean 'energy'"):
        read_labelled(path, keys={"enrgy": "my_energy"})
    with pytest.raises(FileFormatError, match=r"no frame has an energy or forces.*the file has my_energy, my_forces"):
        read_labelled(path)


def test_units_are_converted_and_told(tmp_path: Path) -> None:
    made = frames(scale=1 / Hartree, force_scale=Bohr / Hartree)
    for atoms in made:
        atoms.info["dipole"] = np.array([0.0, 0.0, 1.85])
    path = extxyz(tmp_path, made)
    labelled = read_labelled(path, units={"energy": "hartree", "forces": "Ha/Bohr", "dipole": "debye"})
    expected = read_labelled(extxyz(tmp_path, frames(), "expected.xyz"))
    torch.testing.assert_close(energies(labelled), energies(expected), rtol=0, atol=1e-6)
    torch.testing.assert_close(forces(labelled), forces(expected), rtol=0, atol=1e-6)
    assert labelled.structures.structure_labels["dipole"][0, 2].item() == pytest.approx(1.85 * Debye)
    assert "energy from 'REF_energy' in Ha (as given), all frames" in labelled.describe()
    assert labelled.keys[1].unit == "Ha/Bohr"


def test_forces_follow_the_energys_unit_unless_they_have_their_own(tmp_path: Path) -> None:
    path = extxyz(tmp_path, frames(scale=mol / kcal, force_scale=mol / kcal))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labelled = read_labelled(path, units={"energy": "kcal/mol"})
    assert labelled.keys[1] == LabelKey("forces", "REF_forces", "kcal/mol/Å", 12, 12, "given")
    torch.testing.assert_close(forces(labelled), forces(read_labelled(extxyz(tmp_path, frames()))), rtol=0, atol=1e-6)


def test_lengths_in_bohr_become_angstroms(tmp_path: Path) -> None:
    made = [bulk("Si") for _ in range(2)]
    for atoms in made:
        atoms.info["energy"] = 1.0
    path = extxyz(tmp_path, made)
    plain, scaled = read_labelled(path).structures, read_labelled(path, units={"length": "bohr"}).structures
    torch.testing.assert_close(scaled.positions, plain.positions * Bohr)
    torch.testing.assert_close(scaled.cell, plain.cell * Bohr)


def test_units_that_are_not_known_are_refused_with_those_that_are(tmp_path: Path) -> None:
    path = extxyz(tmp_path, frames())
    with pytest.raises(ConfigError, match=r"'Ry' is no unit of energy.*eV, meV, Ha, kcal/mol, kJ/mol"):
        read_labelled(path, units={"energy": "Ry"})
    with pytest.raises(ConfigError, match=r"no unit of 'force' to set.*did you mean 'forces'"):
        read_labelled(path, units={"force": "eV/Å"})


def test_units_that_the_file_states_are_used_and_mixed_ones_are_refused(tmp_path: Path) -> None:
    made = frames(scale=mol / kcal, force_scale=mol / kcal)
    for atoms in made:
        atoms.info["energy_unit"] = "kcal/mol"
    labelled = read_labelled(extxyz(tmp_path, made))
    assert [(key.unit, key.origin) for key in labelled.keys] == [("kcal/mol", "stated"), ("kcal/mol/Å", "stated")]
    made[5].info["energy_unit"] = "eV"
    message = r"energy is in kcal/mol in frame 0, line 1 and in eV here .*frame 5, line 26"
    with pytest.raises(FileFormatError, match=message):
        read_labelled(extxyz(tmp_path, made))
    made[5].info["energy_unit"] = "Ry"
    with pytest.raises(FileFormatError, match=r"'energy_unit' is 'Ry' .*frame 5.*a unit of energy: eV"):
        read_labelled(extxyz(tmp_path, made))


def test_the_users_unit_goes_before_the_files_and_the_contradiction_is_told(tmp_path: Path) -> None:
    made = frames()
    for atoms in made:
        atoms.info["units"] = "kcal/mol, kcal/mol/Å"
    with pytest.warns(UserWarning, match="the file says that its energy is in kcal/mol, it is taken in eV"):
        labelled = read_labelled(extxyz(tmp_path, made), units={"energy": "eV", "forces": "eV/Å"})
    assert [key.unit for key in labelled.keys] == ["eV", "eV/Å"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("REF_energy", float("nan"), r"'REF_energy' is nan .*frame 3, line 16\)"),
        ("REF_energy", float("inf"), r"'REF_energy' is inf .*frame 3, line 16\)"),
        ("REF_energy", "none", r"'REF_energy' is no number.*frame 3, line 16\)"),
        ("REF_energy", np.array([1.0, 2.0]), r"'REF_energy' is no number, or has another shape.*frame 3, line 16\)"),
    ],
)
def test_an_energy_that_is_no_finite_number_is_named_by_frame_and_key(
    key: str, value: object, message: str, tmp_path: Path
) -> None:
    made = frames()
    made[3].info[key] = value
    with pytest.raises(FileFormatError, match=message):
        read_labelled(extxyz(tmp_path, made))


def test_a_force_that_is_no_number_is_named_by_frame_atom_and_key(tmp_path: Path) -> None:
    made = frames()
    made[3].arrays["REF_forces"][2, 1] = np.nan
    with pytest.raises(FileFormatError, match=r"'REF_forces' is \[.*nan.*\] .*frame 3, line 16, atom 2\)"):
        read_labelled(extxyz(tmp_path, made))


def test_labels_that_some_frames_lack_are_nan_and_told(tmp_path: Path) -> None:
    made = frames()
    for index in (2, 5):
        del made[index].arrays["REF_forces"]
    del made[7].info["REF_energy"]
    with pytest.warns(DroppedDataWarning) as caught:
        labelled = read_labelled(extxyz(tmp_path, made))
    told = [str(warning.message) for warning in caught]
    assert any("1 of 12 frames have no energy ('REF_energy'), the first: frame 7, line 36" in text for text in told)
    assert any("2 of 12 frames have no forces ('REF_forces'), the first: frame 2" in text for text in told)
    assert [key.count for key in labelled.keys] == [11, 10]
    assert torch.isnan(energies(labelled)).nonzero().tolist() == [[7]]
    lacking = torch.isnan(forces(labelled)).all(dim=1).reshape(12, 3)
    assert lacking.all(dim=1).nonzero()[:, 0].tolist() == [2, 5]
    assert "forces from 'REF_forces' in eV/Å (assumed), 10 of 12 frames" in labelled.describe()


def test_isolated_atoms_are_taken_out_with_their_energies(tmp_path: Path) -> None:
    made = [*isolated({"H": -13.6, "O": -2041.8}), *frames(), *isolated({"H": -13.6}, mark="isolated_atom")]
    labelled = read_labelled(extxyz(tmp_path, made))
    assert dict(labelled.isolated_energies) == {1: -13.6, 8: -2041.8}
    assert len(labelled) == 12
    assert "isolated atoms: H -13.6000, O -2041.8000 eV" in labelled.describe()
    converted = read_labelled(extxyz(tmp_path, made), units={"energy": "Ha", "forces": "Ha/Å"})
    assert converted.isolated_energies[1] == pytest.approx(-13.6 * Hartree)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (isolated({"H": -13.7}), r"'REF_energy' of an isolated H atom is -13.7, and -13.6 in frame 0.*frame 13"),
        (isolated({"O": -1.0}, key="other"), r"isolated O atom has no 'REF_energy' .*frame 13"),
        ([Atoms("H2", [[0, 0, 0], [0, 0, 1]], info={"config_type": "IsolatedAtom"})], "marks 2 atoms .*frame 13"),
    ],
)
def test_isolated_atoms_that_make_no_sense_are_refused(extra: list[Atoms], message: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=message):
        read_labelled(extxyz(tmp_path, [*isolated({"H": -13.6}), *frames(), *extra]))


def test_a_file_of_isolated_atoms_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="all frames are isolated atoms"):
        read_labelled(extxyz(tmp_path, isolated({"H": -13.6})))


def test_a_single_atom_that_is_not_marked_is_a_frame_and_noted(tmp_path: Path) -> None:
    labelled = read_labelled(extxyz(tmp_path, [*frames(), Atoms("H", info={"REF_energy": -13.6})]))
    assert len(labelled) == 13
    assert "frames of a single atom without config_type=IsolatedAtom are kept as frames: 1" in labelled.notes


def test_charges_and_multiplicities_are_read_under_their_names(tmp_path: Path) -> None:
    made = frames(4)
    made[0].info.update(charge=-1, spin=2)
    made[1].info.update(total_charge=2, multiplicity=3)
    made[2].info.update(spin_multiplicity=4)
    structures = read_labelled(extxyz(tmp_path, made)).structures
    assert structures.charge.tolist() == [-1, 2, 0, 0]
    assert structures.spin.tolist() == [2, 3, 4, 1]


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"spin": 0}, r"'spin' is 0 .*frame 1.*a multiplicity 2S \+ 1"),
        ({"multiplicity": 1.5}, "'multiplicity' is 1.5 .*frame 1"),
        ({"charge": "many"}, "'charge' is no number .*frame 1"),
        ({"charge": float("nan")}, "'charge' is not finite .*frame 1"),
        ({"charge": 1, "total_charge": 2}, "'charge' and 'total_charge' differ .*frame 1"),
    ],
)
def test_a_charge_or_multiplicity_that_is_none_is_named(info: dict, message: str, tmp_path: Path) -> None:
    made = frames(3)
    made[1].info.update(info)
    with pytest.raises(FileFormatError, match=message):
        read_labelled(extxyz(tmp_path, made))


def silicon(n: int = 3) -> list[Atoms]:
    made = [bulk("Si", cubic=True) for _ in range(n)]
    for index, atoms in enumerate(made):
        atoms.info["energy"] = float(index)
    return made


def test_stresses_come_as_three_by_three_nine_or_six_numbers_in_their_unit(tmp_path: Path) -> None:
    tensor = np.array([[1.0, 0.6, 0.5], [0.6, 2.0, 0.4], [0.5, 0.4, 3.0]])
    voigt = np.array([1.0, 2.0, 3.0, 0.4, 0.5, 0.6])
    for key, value in (
        ("REF_stress", tensor),
        ("REF_stress", tensor.ravel()),
        ("stress", tensor),
        ("dft_stress", voigt),
    ):
        made = silicon()
        for atoms in made:
            atoms.info[key] = value
        labelled = read_labelled(extxyz(tmp_path, made), units={"stress": "GPa"})
        found = labelled.structures.structure_labels["stress"]
        torch.testing.assert_close(found, torch.tensor(tensor * GPa).expand(3, 3, 3))
        assert labelled.keys[1].key == key
    assert "dft_stress: six numbers are taken as xx, yy, zz, yz, xz, xy" in labelled.notes


def test_a_stress_that_is_not_symmetric_is_refused(tmp_path: Path) -> None:
    made = silicon()
    for atoms in made:
        atoms.info["REF_stress"] = np.arange(9.0)
    with pytest.raises(FileFormatError, match=r"'REF_stress' is not symmetric .*frame 0"):
        read_labelled(extxyz(tmp_path, made))


def test_a_virial_becomes_a_stress_with_a_note(tmp_path: Path) -> None:
    made = silicon()
    for atoms in made:
        atoms.info["REF_virial"] = np.eye(3) * 8.0
    labelled = read_labelled(extxyz(tmp_path, made))
    expected = -8.0 / made[0].get_volume()
    assert labelled.structures.structure_labels["stress"][0, 0, 0].item() == pytest.approx(expected)
    assert "stress = −REF_virial/volume" in labelled.notes
    assert labelled.keys[1] == LabelKey("stress", "REF_virial", "eV", 3, 3)
    literally = read_labelled(extxyz(tmp_path, made), keys={"stress": "REF_virial"})
    assert literally.structures.structure_labels["stress"][0, 0, 0].item() == 8.0
    assert any("'REF_virial' is read as a stress, as you say" in note for note in literally.notes)
    named = read_labelled(extxyz(tmp_path, made), keys={"virial": "REF_virial"}, units={"virial": "Ha"})
    assert named.structures.structure_labels["stress"][0, 0, 0].item() == pytest.approx(expected * Hartree)


def test_frames_without_a_cell_have_no_stress_of_a_virial(tmp_path: Path) -> None:
    made = [*silicon(2), Atoms("Si2", [[0, 0, 0], [0, 0, 2]], info={"energy": 1.0})]
    for atoms in made:
        atoms.info["virial"] = np.eye(3)
    with pytest.warns(DroppedDataWarning, match=r"1 of 3 frames have no stress \('virial'\), the first: frame 2"):
        labelled = read_labelled(extxyz(tmp_path, made))
    assert torch.isnan(labelled.structures.structure_labels["stress"][2]).all()


def test_a_name_with_numbers_of_another_shape_is_noted_and_not_read(tmp_path: Path) -> None:
    made = frames()
    for atoms in made:
        atoms.info["mu"] = 1.85
    labelled = read_labelled(extxyz(tmp_path, made))
    assert "'mu' is not read: 1 number per frame, where dipole has 3 numbers per frame" in labelled.notes
    with pytest.raises(FileFormatError, match=r"'mu' has 1 number per frame .*frame 0.*3 numbers per frame, as dipole"):
        read_labelled(extxyz(tmp_path, made), keys={"dipole": "mu"})


def test_empty_files_and_unknown_elements_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.xyz").write_text("")
    with pytest.raises(FileFormatError, match="the file is empty"):
        read_labelled(tmp_path / "empty.xyz")
    path = extxyz(tmp_path, frames())
    path.write_text(path.read_text().replace("O ", "Xx", 3).replace("Xx", "O ", 2))
    with pytest.raises(FileFormatError, match=r"unknown element 'Xx' .*frame 2, line 13\)"):
        read_labelled(path)
    ase.io.write(tmp_path / "data.traj", [frames()[0], Atoms("X", [[0, 0, 0]])])
    with pytest.raises(FileFormatError, match=r"atomic number 0 is no element .*frame 1, atom 0\).*1 to 118"):
        read_labelled(tmp_path / "data.traj")


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
