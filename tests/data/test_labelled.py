"""Data sets for potentials: which key is which label, in which unit, and what is wrong is told by frame and key."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.units import Hartree
from labelled_files import energies, extxyz, forces, frames, isolated

from molgen.data.labelled import LabelKey, read_labelled
from molgen.errors import ConfigError, DroppedDataWarning, FileFormatError, InputError

warnings_are_errors = pytest.mark.filterwarnings("error")


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


def test_two_keys_that_say_the_same_are_noted_and_two_that_differ_are_refused(tmp_path: Path) -> None:
    made = frames()
    for atoms in made:
        atoms.info["dft_energy"] = atoms.info["REF_energy"]
    labelled = read_labelled(extxyz(tmp_path, made))
    assert labelled.keys[0].key == "REF_energy"
    assert "energy: 'dft_energy' has the same values as 'REF_energy'" in labelled.notes
    made[4].info["dft_energy"] += 1.0
    path = extxyz(tmp_path, made)
    message = r"'REF_energy' and 'dft_energy' differ .*frame 4, line 21\).*energy=REF_energy or energy=dft_energy"
    with pytest.raises(FileFormatError, match=message):
        read_labelled(path)
    assert read_labelled(path, keys={"energy": "dft_energy"}).keys[0].key == "dft_energy"


def test_forces_under_two_keys_that_differ_are_refused_by_frame(tmp_path: Path) -> None:
    made = frames(forces="forces")
    for atoms in made:
        atoms.set_array("dft_forces", atoms.arrays["forces"].copy())
    made[2].arrays["dft_forces"][1, 0] += 0.1
    with pytest.raises(FileFormatError, match=r"'forces' and 'dft_forces' differ .*frame 2, line 11"):
        read_labelled(extxyz(tmp_path, made))


def test_a_reference_goes_before_a_plain_key_of_other_values_with_a_note(tmp_path: Path) -> None:
    made = frames()
    for atoms in made:
        atoms.info["energy"] = atoms.info["REF_energy"] + 1.0
        atoms.set_array("forces", 0.5 * atoms.arrays["REF_forces"])
    labelled = read_labelled(extxyz(tmp_path, made))
    assert [key.key for key in labelled.keys] == ["REF_energy", "REF_forces"]
    assert "energy: 'energy' has other values than 'REF_energy', which is read" in labelled.describe()
    assert "forces: 'forces' has other values than 'REF_forces', which is read" in labelled.describe()


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
