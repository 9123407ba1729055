"""Structures from ASE and back."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.stress import voigt_6_to_full_3x3_stress
from hypothesis import given
from strategies import equal, structures

from molgen.conversion import from_ase, to_ase
from molgen.errors import DroppedDataWarning, StructureError
from molgen.structures import Structures

NOT_IN_ASE = ("formal_charges", "bonds", "bond_orders", "bonds_known")


@given(batch=structures())
def test_structures_come_back_from_ase_as_they_were(batch: Structures) -> None:
    assert equal(from_ase(to_ase(batch)), batch, leave_out=NOT_IN_ASE)


def test_atoms_come_back_as_they_were() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.pbc = (True, False, True)
    atoms.rattle(0.1, seed=1)
    atoms.positions += 20  # outside the cell
    atoms.set_momenta(np.random.default_rng(0).normal(size=(8, 3)))
    atoms.set_tags(range(8))
    atoms.set_masses([22.0] * 8)
    atoms.info |= {"charge": -1, "spin": 2}
    (again,) = to_ase(from_ase(atoms))
    assert again == atoms  # positions, numbers, cell and pbc
    assert again.info == atoms.info
    for name in ("momenta", "tags", "masses"):
        assert np.array_equal(again.get_array(name), atoms.get_array(name))


def test_results_become_labels_in_the_signs_of_ase_and_come_back() -> None:
    atoms = bulk("Cu", cubic=True)
    rng = np.random.default_rng(0)
    results = {
        "energy": -1.5,
        "free_energy": -1.5,
        "forces": rng.normal(size=(4, 3)),
        "stress": rng.normal(size=6),
        "dipole": rng.normal(size=3),
        "charges": rng.normal(size=4),
    }
    atoms.calc = SinglePointCalculator(atoms, **results)
    held = from_ase(atoms)
    assert held.structure_labels["energy"].tolist() == [-1.5]
    assert held.structure_labels["stress"].shape == (1, 3, 3)
    assert np.array_equal(held.structure_labels["stress"][0], voigt_6_to_full_3x3_stress(results["stress"]))
    assert held.atom_labels["forces"].dtype == torch.float64
    (again,) = to_ase(held)
    assert again.get_potential_energy() == -1.5
    assert isinstance(again.get_potential_energy(), float)
    for name, value in results.items():
        assert np.array_equal(again.calc.results[name], value), name


def test_a_calculator_gives_what_it_has_calculated_and_nothing_else() -> None:
    atoms = bulk("Cu")
    atoms.calc = EMT()
    assert not from_ase(atoms).structure_labels
    atoms.get_potential_energy()
    assert "energy" in from_ase(atoms).structure_labels


def test_results_of_other_positions_are_left_out_with_a_warning() -> None:
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    atoms.positions[0, 0] += 0.1
    with pytest.warns(DroppedDataWarning, match="other positions"):
        held = from_ase(atoms)
    assert not held.structure_labels


def test_labels_that_some_structures_lack_are_nan_there_with_a_warning() -> None:
    labelled, bare = molecule("H2O"), molecule("CH4")
    labelled.calc = SinglePointCalculator(labelled, energy=1.0, forces=np.ones((3, 3)))
    with pytest.warns(DroppedDataWarning, match=r"NaN there: energy \(1 of 2\), forces \(1 of 2\)"):
        held = from_ase([labelled, bare])
    assert torch.equal(torch.isnan(held.structure_labels["energy"]), torch.tensor([False, True]))
    assert torch.isnan(held.atom_labels["forces"]).any(1).tolist() == [False] * 3 + [True] * 5
    back = to_ase(held)
    assert back[0].get_potential_energy() == 1.0
    assert back[1].calc is None


def test_labels_that_differ_in_shape_are_left_out_with_a_warning() -> None:
    frames = [molecule("H2O"), molecule("H2O")]
    for frame, width in zip(frames, (3, 2), strict=True):
        frame.calc = SinglePointCalculator(frame, energy=1.0)
        frame.calc.results["dipole"] = np.ones(width)
    with pytest.warns(DroppedDataWarning, match="differ in shape between structures are left out: dipole"):
        assert set(from_ase(frames).structure_labels) == {"energy"}


def test_constraints_are_left_out_with_a_warning() -> None:
    atoms = molecule("H2O")
    atoms.set_constraint(FixAtoms([0]))
    with pytest.warns(DroppedDataWarning, match="constraints"):
        from_ase(atoms)


def test_tags_of_some_structures_are_filled_with_the_default_of_ase() -> None:
    tagged, bare = molecule("H2O"), molecule("CO")
    tagged.set_tags([1, 2, 3])
    assert from_ase([tagged, bare]).atom_labels["tags"].tolist() == [1, 2, 3, 0, 0]


@pytest.mark.parametrize(
    ("info", "initial_charges", "charge"),
    [({}, None, 0.0), ({"charge": -2}, None, -2.0), ({}, [0.6, 0.2, 0.2], 1.0), ({"charge": 0}, [0.6, 0.2, 0.2], 0.0)],
)
def test_charge_is_that_of_info_or_else_the_sum_of_initial_charges(
    info: dict, initial_charges: list[float] | None, charge: float
) -> None:
    atoms = molecule("H2O")
    atoms.info |= info
    if initial_charges:
        atoms.set_initial_charges(initial_charges)
    assert from_ase(atoms).charge.tolist() == [charge]


@pytest.mark.parametrize(
    ("key", "value"), [("charge", "one"), ("charge", float("nan")), ("spin", 0), ("spin", 1.5), ("spin", None)]
)
def test_a_charge_or_spin_that_is_no_number_names_its_structure(key: str, value: object) -> None:
    atoms = molecule("H2O")
    atoms.info[key] = value
    message = rf"info\['{key}'\] is {value!r} \(structure 1\); expected a (number|multiplicity)"
    with pytest.raises(StructureError, match=message):
        from_ase([molecule("CO"), atoms])


def test_dummy_atoms_are_refused_by_structure_and_atom() -> None:
    with pytest.raises(StructureError, match="structure 1, atom 2"):
        from_ase([molecule("CO"), Atoms("CHX", [[0, 0, 0], [0, 0, 1], [0, 0, 2]])])


def test_ordinary_atoms_give_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_ase(from_ase([molecule("H2O"), bulk("Cu")]))


def test_single_precision_is_written_to_ase_as_double() -> None:
    single = from_ase(molecule("H2O")).to(torch.float32)
    assert to_ase(single)[0].positions.dtype == np.float64
