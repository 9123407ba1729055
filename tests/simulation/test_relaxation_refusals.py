"""Structures that a relaxation can't take: each is told by its number, and the others are relaxed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from simulation.potentials import ethanol, potential

from molgen.errors import StructureError
from molgen.simulation.calculator import Calculator
from molgen.simulation.relaxation import relax
from molgen.simulation.relaxed import displacement


def unusable() -> list[Atoms]:
    charged, far = molecule("CH4"), molecule("CH4")
    charged.info["charge"] = "x"
    far.positions[2, 1] = np.inf
    return [charged, Atoms("X2", [[0, 0, 0], [0, 0, 1]]), far]


@pytest.mark.parametrize("optimizer", ["bfgs", "batched"])
def test_structures_that_can_not_be_taken_are_refused_and_the_others_are_relaxed(optimizer):
    charged, dummies, far = unusable()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = relax([charged, molecule("H2O"), dummies, far, ethanol()], potential(), optimizer=optimizer)
    assert [each.refusal is not None for each in found] == [True, False, True, True, False]
    assert [each.converged for each in found] == [False, True, False, False, True]
    assert "info['charge'] is 'x'" in found[0].reason
    assert "atom 0 is X" in found[2].reason
    assert "the position of atom 2 (H) is [" in found[3].reason
    for each in (found[0], found[2], found[3]):
        assert np.isnan([each.energy_before, each.energy_after, each.max_force, each.rmsd]).all()
        assert "structure" not in each.reason
    assert "nan" not in found.table()


@pytest.mark.parametrize("optimizer", ["bfgs", "batched"])
def test_where_all_are_refused_the_first_is_the_error(optimizer):
    with pytest.raises(StructureError, match="charge"):
        relax(unusable(), potential(), optimizer=optimizer)


def test_other_calculators_are_not_asked_for_what_is_not_finite():
    copper = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]])
    endless = copper.copy()
    endless.cell[0, 0] = np.nan
    found = relax([copper, endless], EMT(), fmax=0.05)
    assert found[0].converged
    assert found[1].reason.startswith("a cell vector is not finite")


@pytest.mark.parametrize("optimizer", ["bfgs", "batched"])
def test_the_charge_of_a_calculator_counts(optimizer):
    neutral = molecule("H2O")
    neutral.info["charge"] = 0
    found = relax([neutral, molecule("H2O")], Calculator(potential(), charge=1), optimizer=optimizer)
    assert found[0].converged
    assert "its charge is 1" in found[1].reason


def test_the_displacement_of_what_is_not_finite_is_not_a_number():
    assert np.isnan(displacement(unusable()[2], molecule("CH4")))


@pytest.mark.parametrize("optimizer", ["bfgs", "batched"])
def test_momenta_of_other_positions_are_left_out(optimizer):
    atoms = ethanol()
    atoms.set_momenta(np.ones((len(atoms), 3)))
    (found,) = relax(atoms, potential(), optimizer=optimizer)
    assert not found.atoms.has("momenta")
    assert atoms.has("momenta")
