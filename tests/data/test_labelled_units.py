"""Labels come in many units, stresses in many shapes; they are converted, told and checked."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.units import Bohr, Debye, GPa, Hartree, kcal, mol
from labelled_files import energies, extxyz, forces, frames

from molgen.data.labelled import LabelKey, read_labelled
from molgen.errors import ConfigError, DroppedDataWarning, FileFormatError


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


def test_a_unit_that_some_frames_lack_is_refused_and_left_to_the_user(tmp_path: Path) -> None:
    made = frames()
    made[0].info["e_unit"] = "Ha"
    path = extxyz(tmp_path, made)
    message = r"'e_unit' says that the energy is in Ha in frame 0, line 1 and nothing here .*frame 1, line 6.*--unit"
    with pytest.raises(FileFormatError, match=message):
        read_labelled(path)
    with pytest.warns(UserWarning, match="the file states Ha for energy, which you say to take in eV"):
        labelled = read_labelled(path, units={"energy": "eV", "forces": "eV/Å"})
    torch.testing.assert_close(energies(labelled), energies(read_labelled(extxyz(tmp_path, frames()))))


def test_a_unit_is_missed_only_where_its_label_is(tmp_path: Path) -> None:
    made = frames()
    for atoms in made[:6]:
        atoms.info["dipole"], atoms.info["dipole_unit"] = np.array([0.0, 0.0, 1.85]), "D"
    with pytest.warns(DroppedDataWarning, match="6 of 12 frames have no dipole"):
        labelled = read_labelled(extxyz(tmp_path, made))
    assert [(key.label, key.unit, key.origin) for key in labelled.keys][2] == ("dipole", "D", "stated")


def test_the_users_unit_goes_before_the_files_and_the_contradiction_is_told(tmp_path: Path) -> None:
    made = frames()
    for atoms in made:
        atoms.info["units"] = "kcal/mol, kcal/mol/Å"
    with pytest.warns(UserWarning, match="the file states kcal/mol for energy, which you say to take in eV"):
        labelled = read_labelled(extxyz(tmp_path, made), units={"energy": "eV", "forces": "eV/Å"})
    assert [key.unit for key in labelled.keys] == ["eV", "eV/Å"]


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
