"""What ASE expects of a calculator: names, types, units, signs, what is kept and what is computed anew."""

from __future__ import annotations

import copy
from multiprocessing.reduction import ForkingPickler

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, all_changes, compare_atoms
from ase.calculators.fd import FiniteDifferenceCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress
from simulation.potentials import ENCODERS, close, ethanol, mixture, potential, silicon, written

from molgen.errors import CheckpointError, ConfigError
from molgen.simulation import Calculator

# eV/Å and eV/Å³: central differences of energies of a hundred eV
DIFFERENCES = 2e-6

ALL_HEADS = ("energy", "dipole", "charges")


@pytest.mark.parametrize("use", sorted(ENCODERS))
def test_forces_and_stress_are_those_of_finite_differences(use: str) -> None:
    atoms = silicon()
    atoms.calc = Calculator(potential(use))
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.abs(forces).max() > 0.1
    assert np.abs(stress).max() > 1e-3
    atoms.calc = FiniteDifferenceCalculator(atoms.calc, eps_disp=1e-4, eps_strain=1e-5)
    assert np.abs(atoms.get_forces() - forces).max() < DIFFERENCES
    assert np.abs(atoms.get_stress() - stress).max() < DIFFERENCES


def test_types_and_shapes_are_those_of_ase() -> None:
    atoms = silicon()
    atoms.calc = Calculator(potential(heads=("energy", "charges")), dtype="float32")
    assert type(atoms.get_potential_energy()) is float
    assert type(atoms.get_potential_energy(force_consistent=True)) is float
    shapes = {"forces": (8, 3), "energies": (8,), "stress": (6,), "charges": (8,)}
    for name, shape in shapes.items():
        value = atoms.calc.get_property(name, atoms)
        assert value.shape == shape, name
        assert value.dtype == np.float64, name
        assert value.flags.c_contiguous, name
        assert value.flags.owndata, name
    assert atoms.get_stress(voigt=False).shape == (3, 3)


def test_free_energy_is_the_energy_and_energies_sum_to_it() -> None:
    atoms = mixture()
    atoms.calc = Calculator(potential())
    energy = atoms.get_potential_energy()
    assert atoms.get_potential_energy(force_consistent=True) == energy
    assert atoms.get_potential_energies().sum() == pytest.approx(energy, rel=1e-12)
    assert energy < -13.6 * len(atoms)  # isolated atoms are in both


def test_stress_is_tensile_positive_in_the_order_of_voigt() -> None:
    atoms = silicon()
    atoms.calc = Calculator(potential())
    full = atoms.get_stress(voigt=False)
    assert np.array_equal(voigt_6_to_full_3x3_stress(atoms.get_stress()), full)
    for i, j in ((0, 0), (1, 2)):  # E(ε) grows along a strain of the sign of the stress
        strain = np.zeros((3, 3))
        strain[i, j] = strain[j, i] = 1e-4 if i == j else 5e-5
        energies = []
        for sign in (1, -1):
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * strain), scale_atoms=True)
            strained.calc = atoms.calc
            energies.append(strained.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2e-4 * atoms.get_volume())
        assert slope == pytest.approx(full[i, j], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["energy", "forces", "stress", "free_energy", "energies"]),
        (
            {"heads": ALL_HEADS},
            ["energy", "forces", "stress", "dipole", "charges", "free_energy", "energies"],
        ),
        ({"heads": ("direct-forces",)}, ["forces"]),
        (
            {"encoder": {"channels": 8, "layers": 1}},
            ["energy", "forces", "free_energy", "energies"],
        ),
    ],
    ids=["energy", "dipole and charges", "direct forces", "complete graphs"],
)
def test_a_calculator_implements_what_its_model_gives(options: dict, expected: list[str]) -> None:
    calculator = Calculator(potential(**options))
    assert calculator.implemented_properties == expected
    atoms = ethanol()
    atoms.calc = calculator
    for name in ("energy", "forces", "dipole", "charges", "energies", "free_energy", "magmom", "stresses"):
        if name in expected:
            assert np.isfinite(calculator.get_property(name, atoms)).all()
        else:
            with pytest.raises(PropertyNotImplementedError, match=name):
                calculator.get_property(name, atoms)


def test_two_calculators_don_t_share_what_they_implement() -> None:
    one, other = Calculator(potential()), Calculator(potential(heads=("direct-forces",)))
    assert one.implemented_properties != other.implemented_properties
    assert Calculator.implemented_properties == []


@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_stress_without_three_periodic_directions_is_not_implemented_and_says_so(pbc: object) -> None:
    atoms = mixture(pbc=pbc)
    atoms.calc = Calculator(potential())
    atoms.get_forces()
    assert "stress" not in atoms.calc.results
    with pytest.raises(
        PropertyNotImplementedError, match=r"no stress unless all directions.*pbc is . . F; set cell and pbc"
    ):
        atoms.get_stress()
    assert np.isfinite(atoms.get_potential_energy())


def test_a_molecule_has_a_dipole_and_a_periodic_structure_has_none() -> None:
    atoms = ethanol()
    atoms.calc = Calculator(potential(heads=ALL_HEADS))
    assert atoms.get_dipole_moment().shape == (3,)
    assert atoms.get_charges().sum() == pytest.approx(0, abs=1e-12)
    atoms.set_cell([8, 8, 8])
    atoms.pbc = (True, False, False)
    atoms.get_charges()
    assert "dipole" not in atoms.calc.results
    with pytest.raises(PropertyNotImplementedError, match="periodic structure has no dipole; pbc is T F F"):
        atoms.get_dipole_moment()


class Counted(Calculator):
    """Counts passes of the model."""

    passes = 0

    def _evaluated(self, atoms: Atoms, *, forces: bool, stress: bool) -> dict:
        self.passes += 1
        self.kind = (forces, stress)
        return super()._evaluated(atoms, forces=forces, stress=stress)


def test_energy_forces_and_stress_come_from_one_pass() -> None:
    atoms = silicon()
    atoms.calc = Counted(potential())
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energies()
    assert atoms.calc.passes == 1
    atoms.positions[0, 0] += 0.1
    atoms.get_forces()
    assert atoms.calc.passes == 2


def test_energies_alone_take_no_derivative_where_that_is_asked_for() -> None:
    atoms = silicon()
    atoms.calc = Counted(potential(), one_pass=False)
    energy = atoms.get_potential_energy()
    assert atoms.calc.kind == (False, False)
    assert set(atoms.calc.results) == {"energy", "free_energy", "energies"}
    forces = atoms.get_forces()
    assert atoms.calc.kind == (True, False)
    atoms.get_stress()
    assert atoms.calc.kind == (False, True)
    assert atoms.calc.passes == 3
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    together = atoms.copy()
    together.calc = Calculator(potential())
    assert np.allclose(forces, together.get_forces(), rtol=0, atol=1e-12)


def test_what_is_returned_is_the_caller_s_own() -> None:
    atoms = silicon()
    atoms.calc = Calculator(potential())
    forces = atoms.get_forces()
    kept = forces.copy()
    forces[:] = 0
    assert np.array_equal(atoms.get_forces(), kept)


def test_changes_are_those_that_ase_sees() -> None:
    def initial(name: str):
        return lambda atoms: atoms.set_array(name, np.ones(len(atoms)), float)

    changes = {
        "positions": lambda atoms: atoms.positions.__setitem__((2, 1), 0.5),
        "numbers": lambda atoms: atoms.numbers.__setitem__(0, 8),
        "cell": lambda atoms: atoms.cell.__setitem__((0, 0), 9.0),
        "pbc": lambda atoms: atoms.set_pbc((True, True, False)),
        "initial_charges": initial("initial_charges"),
        "initial_magmoms": initial("initial_magmoms"),
    }
    calculator = Calculator(potential(conditions=("charge",)))
    atoms = mixture()
    assert set(calculator.check_state(atoms)) == set(all_changes)
    for name, change in changes.items():
        changed = atoms.copy()
        calculator.get_potential_energy(atoms)
        assert calculator.check_state(changed) == []
        change(changed)
        assert calculator.check_state(changed) == [name] == compare_atoms(atoms, changed)
    shaken = atoms.copy()
    shaken.positions += 1e-7
    assert calculator.check_state(shaken, tol=1e-6) == []
    del shaken[0]
    assert calculator.check_state(shaken, tol=1e-6) == ["positions"]


def with_conditions() -> Calculator:
    return Calculator(potential(conditions=("charge", "spin")))


@pytest.mark.parametrize("value", [1, -1.0, np.int64(1), np.array(1.0), np.array([1])], ids=repr)
@pytest.mark.parametrize("key", ["charge", "total_charge"])
def test_results_follow_the_charge_in_info(key: str, value: object) -> None:
    atoms = ethanol()
    atoms.calc = with_conditions()
    neutral = atoms.get_potential_energy()
    atoms.info[key] = value
    assert not close(atoms.get_potential_energy(), neutral)
    assert atoms.calc.check_state(atoms) == []
    del atoms.info[key]
    assert atoms.calc.check_state(atoms) == ["charge"]
    assert close(atoms.get_potential_energy(), neutral)


@pytest.mark.parametrize("key", ["spin", "multiplicity", "spin_multiplicity"])
def test_results_follow_the_multiplicity_in_info(key: str) -> None:
    atoms = ethanol()
    atoms.calc = with_conditions()
    singlet = atoms.get_forces()
    atoms.info[key] = np.int32(3)
    assert not np.allclose(atoms.get_forces(), singlet)
    atoms.info[key] = 1
    assert close(atoms.get_forces(), singlet)


def test_results_follow_an_array_in_info_that_changes_in_place() -> None:
    atoms = ethanol()
    atoms.calc = with_conditions()
    atoms.info["charge"] = np.zeros(1)
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] += 1
    assert not close(atoms.get_potential_energy(), neutral)


def test_other_info_leaves_results_alone() -> None:
    atoms = ethanol()
    atoms.calc = Counted(potential())
    atoms.get_forces()
    atoms.info["charge"] = 0  # what it was
    atoms.info["note"] = np.arange(3)
    atoms.get_forces()
    assert atoms.calc.passes == 1


def test_charge_and_spin_of_the_calculator_stand_in_where_info_is_silent() -> None:
    atoms = ethanol()
    told, asked = with_conditions(), with_conditions()
    told.set(charge=1, spin=2)
    asked_atoms = atoms.copy()
    asked_atoms.info |= {"charge": 1, "spin": 2}
    assert close(told.get_potential_energy(atoms), asked.get_potential_energy(asked_atoms))
    atoms.set_initial_charges([0.125] * 8 + [0.0])
    assert not close(asked.get_potential_energy(atoms), told.get_potential_energy(atoms))
    atoms.info["spin"] = 2
    assert close(asked.get_potential_energy(atoms), told.get_potential_energy(atoms))


def test_positions_in_single_precision_are_taken() -> None:
    atoms, calculator = ethanol(), Calculator(potential())
    expected = calculator.get_potential_energy(atoms)
    atoms.arrays["positions"] = atoms.positions.astype(np.float32)
    assert calculator.get_potential_energy(atoms) == pytest.approx(expected, abs=1e-4)


def test_setting_options_forgets_results_and_refuses_others() -> None:
    atoms = ethanol()
    atoms.calc = Calculator(potential())
    energy = atoms.get_potential_energy()
    assert atoms.calc.set(skin=0.0) == {"skin": 0.0}
    assert atoms.calc.results == {}
    assert close(atoms.get_potential_energy(), energy)
    with pytest.raises(ConfigError, match=r"dtype can't be set.*another calculator for another dtype"):
        atoms.calc.set(dtype="float32")
    with pytest.raises(ConfigError, match="did you mean 'skin'"):
        atoms.calc.set(skim=1.0)
    for wrong in (
        {"skin": -1.0},
        {"skin": "1"},
        {"spin": 0},
        {"charge": float("nan")},
        {"charge": "one"},
        {"skin": float("inf")},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            atoms.calc.set(**wrong)
    assert atoms.calc.parameters["skin"] == 0.0


def test_a_calculator_is_told_as_plain_data_and_made_again_of_it(tmp_path) -> None:
    path = written(tmp_path / "small.safetensors")
    calculator = Calculator(path, dtype="float32", skin=0.3, charge=0)
    told = calculator.todict()
    again = Calculator.fromdict(told)
    assert again.todict() == told
    assert told["model"] == str(path)
    assert told["dtype"] == "float32"
    assert repr(again) == repr(calculator) == f"Calculator({str(path)!r}, device='cpu', dtype='float32')"
    atoms = ethanol()
    assert np.isclose(again.get_potential_energy(atoms), calculator.get_potential_energy(atoms), atol=1e-4)
    written(path, seed=1)
    with pytest.raises(CheckpointError, match="other tensors"):
        Calculator.fromdict(told)
    with pytest.raises(ConfigError, match="potential in memory"):
        Calculator.fromdict(Calculator(potential()).todict())


@pytest.mark.parametrize("use", sorted(ENCODERS))
def test_a_copy_and_a_pickle_compute_the_same_and_share_nothing(use: str) -> None:
    atoms = silicon()
    atoms.calc = Calculator(potential(use), skin=0.4)
    forces = atoms.get_forces()
    for other in (copy.deepcopy(atoms.calc), ForkingPickler.loads(ForkingPickler.dumps(atoms.calc))):
        assert other.todict() == atoms.calc.todict()
        assert np.array_equal(other.results["forces"], forces)
        assert other.check_state(atoms) == []
        moved = atoms.copy()
        moved.positions[0] += 0.1
        assert not np.allclose(other.get_forces(moved), forces)
        assert np.array_equal(atoms.calc.results["forces"], forces)


def test_results_are_written_to_a_database_a_trajectory_and_extended_xyz(tmp_path) -> None:
    atoms = silicon()
    atoms.calc = Calculator(potential(heads=ALL_HEADS))
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    with ase.db.connect(tmp_path / "some.db") as database:
        row = database[database.write(atoms)]
    assert row.calculator == "molgen"
    assert row.calculator_parameters["dtype"] == "float64"
    assert row.energy == row.free_energy == energy
    for name in ("some.traj", "some.xyz"):
        write(tmp_path / name, atoms)
        found = read(tmp_path / name)
        assert found.get_potential_energy() == pytest.approx(energy, abs=1e-6)
        assert np.allclose(found.get_forces(), forces, atol=1e-7)
        assert np.allclose(found.get_stress(), atoms.get_stress(), atol=1e-7)
    frozen = atoms.copy()
    frozen.calc = SinglePointCalculator(frozen, **atoms.calc.results)
    assert frozen.get_potential_energy() == energy


def test_properties_of_ase_s_newer_interface() -> None:
    atoms = silicon()
    atoms.calc = Calculator([potential(), potential(seed=1)])
    found = atoms.get_properties(["energy", "forces", "stress"])
    assert found["energy"] == atoms.get_potential_energy()
    assert found["stress"].shape == (6,)
