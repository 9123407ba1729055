"""Many structures in one pass give what each gives alone."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from hypothesis import given
from hypothesis import strategies as st
from simulation.potentials import ENCODERS, ethanol, mixture, potential, silicon

from molgen.errors import ConfigError
from molgen.simulation import Calculator
from molgen.simulation.batched import plan

# relative to the largest number of its kind; sums in another order
ROUNDING = {"float64": 1e-11, "float32": 2e-5}


def frames() -> list[Atoms]:
    slab = mixture(9, seed=1, pbc=(True, True, False))
    return [mixture(), ethanol(), Atoms("N"), silicon(), slab, Atoms("H2", [[0, 0, 0], [9, 9, 9]]), mixture(20, seed=2)]


@pytest.mark.parametrize("dtype", sorted(ROUNDING))
@pytest.mark.parametrize("use", sorted(ENCODERS))
def test_a_batch_gives_what_each_structure_gives_alone(use: str, dtype: str) -> None:
    calculator = Calculator(potential(use, heads=("energy", "charges")), dtype=dtype)
    properties = ("energy", "free_energy", "forces", "energies", "charges")
    for atoms, own in zip(frames(), calculator.batched(frames(), properties), strict=True):
        assert tuple(own) == properties
        assert type(own["energy"]) is float
        for name in properties:
            expected = calculator.get_property(name, atoms)
            assert np.shape(own[name]) == np.shape(expected)
            scale = max(1.0, float(np.abs(expected).max()))
            assert np.allclose(own[name], expected, rtol=0, atol=ROUNDING[dtype] * scale), name


def test_stresses_of_a_batch_are_those_of_each() -> None:
    calculator = Calculator(potential())
    crystals = [silicon(), mixture(), silicon(seed=3)]
    for atoms, own in zip(crystals, calculator.batched(crystals, ["stress"]), strict=True):
        assert set(own) == {"stress"}
        assert np.allclose(own["stress"], calculator.get_stress(atoms), rtol=0, atol=1e-12)


def test_charge_and_spin_are_those_of_each_structure() -> None:
    calculator = Calculator(potential(conditions=("charge", "spin")))
    ions = [ethanol() for _ in range(4)]
    ions[1].info["charge"] = -1
    ions[2].info["multiplicity"] = 3
    energies = [own["energy"] for own in calculator.batched(ions, ["energy"])]
    assert energies == pytest.approx([calculator.get_potential_energy(ion) for ion in ions], rel=1e-12)
    assert len(set(energies)) == 3


@pytest.mark.parametrize("limits", [{"batch_size": 1}, {"batch_size": 3}, {"max_atoms": 1}, {"max_atoms": 25}])
def test_limits_change_no_result(limits: dict) -> None:
    calculator = Calculator(potential())
    for own, expected in zip(calculator.batched(frames(), **limits), calculator.batched(frames()), strict=True):
        assert own["energy"] == pytest.approx(expected["energy"], rel=1e-12)
        assert np.allclose(own["forces"], expected["forces"], rtol=0, atol=1e-11)


def test_a_batch_leaves_the_calculator_and_the_atoms_as_they_are() -> None:
    atoms = silicon()
    atoms.calc = Calculator(potential())
    atoms.get_forces()
    results = dict(atoms.calc.results)
    others = frames()
    atoms.calc.batched(others)
    assert atoms.calc.results.keys() == results.keys()
    assert atoms.calc.check_state(atoms) == []
    assert all(other.calc is None for other in others)


def test_energies_alone_take_no_derivative() -> None:
    calculator = Calculator(potential())
    asked = []
    hook = calculator.model.register_forward_pre_hook(
        lambda module, arguments, options: asked.append(options["forces"]), with_kwargs=True
    )
    calculator.batched([ethanol()], ["energy"])
    calculator.batched([ethanol()], ["forces"])
    hook.remove()
    assert asked == [False, True]


def test_no_structures_have_no_results_and_one_is_as_good_as_a_list() -> None:
    calculator = Calculator(potential())
    assert calculator.batched([]) == []
    (own,) = calculator.batched(ethanol())
    assert own["energy"] == pytest.approx(calculator.get_potential_energy(ethanol()), rel=1e-12)
    assert len(calculator.batched(iter([ethanol(), silicon()]))) == 2


def test_properties_that_are_not_there_are_named_with_the_structure() -> None:
    calculator = Calculator(potential(heads=("energy", "dipole")))
    with pytest.raises(PropertyNotImplementedError, match="no magmoms; it gives energy, forces"):
        calculator.batched([silicon()], ["energy", "magmoms"])
    with pytest.raises(PropertyNotImplementedError, match="structure 1: there is no stress unless all directions"):
        calculator.batched([silicon(), ethanol()], ["stress"])
    with pytest.raises(PropertyNotImplementedError, match="structure 0: a periodic structure has no dipole"):
        calculator.batched([silicon(), ethanol()], ["dipole"])


@pytest.mark.parametrize("limits", [{"batch_size": 0}, {"max_atoms": 0}, {"max_atoms": -5}])
def test_limits_below_one_are_refused(limits: dict) -> None:
    with pytest.raises(ConfigError, match=rf"{next(iter(limits))} is .*at least 1"):
        Calculator(potential()).batched([ethanol()], **limits)


@given(
    sizes=st.lists(st.integers(0, 60), max_size=30),
    batch_size=st.one_of(st.none(), st.integers(1, 8)),
    max_atoms=st.integers(1, 100),
)
def test_a_plan_has_every_structure_once_and_keeps_its_limits(
    sizes: list, batch_size: int | None, max_atoms: int
) -> None:
    batches = plan(sizes, batch_size, max_atoms)
    assert sorted(index for batch in batches for index in batch) == list(range(len(sizes)))
    for batch in batches:
        assert batch_size is None or len(batch) <= batch_size
        assert len(batch) == 1 or sum(sizes[index] for index in batch) <= max_atoms
    ordered = [sizes[index] for batch in batches for index in batch]
    assert ordered == sorted(sizes, reverse=True)
