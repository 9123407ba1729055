"""Energies, forces and stresses that don't fit together are told, with the unit that would explain it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.units import Bohr, GPa, Hartree, kcal, mol
from labelled_files import extxyz, frames

from molgen.data.labelled import read_labelled
from molgen.data.unit_checks import Taken, suspicions
from molgen.data.work import fitted_work
from molgen.structures import Structures


def told(folder: Path, **scales: float) -> list[str]:
    """What is warned of when energies and forces of a known surface come with these factors."""
    path = extxyz(folder, frames(40, **scales))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_labelled(path)
    return [str(warning.message) for warning in caught]


def test_right_units_give_no_warning_and_factors_of_one(tmp_path: Path) -> None:
    assert told(tmp_path) == []
    forces, stress = fitted_work(read_labelled(extxyz(tmp_path, frames(40))).structures)
    assert forces is not None
    assert forces.factor == pytest.approx(1, abs=0.05)
    assert stress is None


@pytest.mark.parametrize(
    ("scales", "cause"),
    [
        ({"scale": mol / kcal}, "'REF_energy' in kcal/mol"),
        ({"scale": 1 / Hartree}, "'REF_energy' in Ha"),
        ({"scale": 1000.0}, "'REF_energy' in meV"),
        ({"force_scale": mol / kcal}, "'REF_forces' in kcal/mol/Å"),
        ({"force_scale": Bohr / Hartree}, "'REF_forces' in Ha/Bohr"),
        ({"force_scale": 1000.0}, "'REF_forces' in meV/Å"),
    ],
)
def test_an_energy_or_forces_in_another_unit_are_told_with_that_unit(scales: dict, cause: str, tmp_path: Path) -> None:
    (message,) = [text for text in told(tmp_path, **scales) if "times the work" in text]
    assert message.startswith(f"{tmp_path / 'data.xyz'}: differences of 'REF_energy' are ")
    assert "times the work of 'REF_forces', where 1 is expected (they are taken in eV and eV/Å)" in message
    assert cause in message


def test_gradients_in_place_of_forces_are_told(tmp_path: Path) -> None:
    (message,) = told(tmp_path, force_scale=-1.0)
    assert "'REF_forces' point up the energy 'REF_energy'" in message
    assert "are they gradients?" in message


def test_forces_of_another_energy_are_told_without_a_unit(tmp_path: Path) -> None:
    (message,) = told(tmp_path, force_scale=4.0)
    assert "do the forces belong to this energy?" in message


def test_total_energies_in_another_unit_are_told_even_if_the_forces_are_too(tmp_path: Path) -> None:
    (message,) = told(tmp_path, scale=mol / kcal, force_scale=mol / kcal)
    assert "'REF_energy' is about what these molecules' total energies are in kcal/mol, but is taken in eV" in message
    (message,) = told(tmp_path, scale=1 / Hartree, force_scale=1 / Hartree)
    assert "is the unit of energy Ha?" in message


def test_frames_that_are_turned_and_shifted_are_compared_all_the_same(tmp_path: Path) -> None:
    made = frames(40)
    for index, atoms in enumerate(made):
        arrows = Atoms(atoms.numbers, atoms.arrays["REF_forces"])
        for vectors in (atoms, arrows):
            vectors.rotate(37.0 * index, (1, 2, 3))
        atoms.arrays["REF_forces"][:] = arrows.positions
        atoms.positions += index
    forces, _ = fitted_work(read_labelled(extxyz(tmp_path, made)).structures)
    assert forces is not None
    assert forces.factor == pytest.approx(1, abs=0.05)


def crystals(n: int = 40, stress_scale: float = 1.0) -> Structures:
    """Two atoms on springs in cells of many strains: E = ½ K |Δ|² + ½ C V₀ |ε|², as a stress in eV/Å³."""
    rng = np.random.default_rng(1)
    a, stiffness, modulus = 4.0, 5.0, 0.6
    positions, cells, energies, forces, stresses = [], [], [], [], []
    for _ in range(n):
        strain = rng.normal(scale=0.01, size=(3, 3))
        strain = 0.5 * (strain + strain.T)
        cell = a * (np.eye(3) + strain)
        shift = rng.normal(scale=0.02, size=3)
        positions += [np.zeros(3), np.full(3, 0.5) @ cell + shift]
        cells.append(cell)
        energies.append(0.5 * stiffness * shift @ shift + 0.5 * modulus * a**3 * (strain**2).sum())
        forces += [stiffness * shift, -stiffness * shift]
        stresses.append(stress_scale * modulus * a**3 * strain / abs(np.linalg.det(cell)))
    return Structures.build(
        np.array(positions),
        [14] * (2 * n),
        n_atoms=[2] * n,
        cell=np.array(cells),
        pbc=np.ones((n, 3), bool),
        atom_labels={"forces": torch.tensor(np.array(forces))},
        structure_labels={"energy": torch.tensor(energies), "stress": torch.tensor(np.array(stresses))},
    )


TAKEN = {"energy": Taken("energy", "eV"), "forces": Taken("forces", "eV/Å"), "stress": Taken("stress", "eV/Å³")}


def test_stresses_that_fit_give_a_factor_of_one() -> None:
    forces, stress = fitted_work(crystals())
    assert forces is not None
    assert stress is not None
    assert forces.factor == pytest.approx(1, abs=0.1)
    assert stress.factor == pytest.approx(1, abs=0.1)
    assert suspicions(crystals(), TAKEN) == []


@pytest.mark.parametrize(
    ("scale", "cause"),
    [
        (1 / GPa, "a stress in GPa"),
        (-1.0, "a stress in eV/Å³ with the other sign"),
        (-(4.0**3), "a virial in eV"),
    ],
)
def test_a_stress_in_another_unit_or_of_another_sign_is_told(scale: float, cause: str) -> None:
    (message,) = suspicions(crystals(stress_scale=scale), TAKEN)
    assert "under strain, differences of 'energy' are " in message
    assert "('stress' is taken as a stress in eV/Å³)" in message
    assert cause in message


def test_a_stress_that_was_read_as_a_virial_is_told() -> None:
    held = crystals()
    volume = torch.linalg.det(held.cell).abs()[:, None, None]
    held = held.replace(structure_labels=held.structure_labels | {"stress": -held.structure_labels["stress"] / volume})
    (message,) = suspicions(held, TAKEN | {"stress": Taken("virial", "eV", virial=True)})
    assert "('virial' is taken as a virial in eV): is it a stress in eV/Å³" in message


def test_too_few_frames_or_labels_say_nothing() -> None:
    held = crystals()
    assert fitted_work(held.select([0, 1])) == (None, None)
    assert fitted_work(held.select([0] * 8)) == (None, None)  # copies of one frame
    assert suspicions(held, {"forces": TAKEN["forces"]}) == []
    unknown = held.structure_labels | {"energy": torch.full((len(held),), torch.nan, dtype=torch.float64)}
    assert suspicions(held.replace(structure_labels=unknown), TAKEN) == []


def test_frames_too_far_apart_say_nothing(tmp_path: Path) -> None:
    held = read_labelled(extxyz(tmp_path, frames(40))).structures
    noise = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = {"energy": held.structure_labels["energy"] + 10 * noise}
    assert fitted_work(held.replace(structure_labels=labels)) == (None, None)
