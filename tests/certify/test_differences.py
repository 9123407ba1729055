"""Forces and stress that are derivatives pass, and all others fail by as much as they are wrong."""

from __future__ import annotations

import pytest
import torch
from simulation.potentials import potential, silicon

from molgen.certify import differences
from molgen.certify.differences import STEPS, force_error, stress_error
from molgen.certify.samples import boxed, chosen_samples, rattled
from molgen.conversion import from_ase
from molgen.models.potential import Potential
from molgen.structures import Structures


@pytest.fixture(scope="module")
def molecules(right: Potential) -> Structures:
    return rattled(chosen_samples(right, count=3).structures, 0.05, seed=0)


@pytest.mark.parametrize("use", ["egnn", "gaunt"])
def test_forces_that_are_derivatives_pass(use: str, molecules: Structures) -> None:
    found = force_error(potential(use, repulsion=False), molecules, coordinates=12, seed=0)
    assert found.verdict == "passes"
    assert found.value is not None
    assert found.value < 1e-8
    assert all(each["step"] in STEPS for each in found.details["by_structure"])


def test_stress_that_is_a_derivative_passes(right: Potential, molecules: Structures) -> None:
    crystal = from_ase([silicon()]).to(torch.float64)
    for cells in (crystal, boxed(molecules.select([0]))):
        found = stress_error(right, cells)
        assert found.verdict == "passes"
        assert found.value is not None
        assert found.value < 1e-8


def test_forces_without_an_energy_fail(twisted: Potential, molecules: Structures) -> None:
    found = force_error(twisted, molecules, coordinates=None, seed=0)
    assert found.verdict == "fails"
    assert found.value is not None
    assert found.value > 1e-3


def test_the_error_is_relative_to_the_largest_force(scaled: Potential, molecules: Structures) -> None:
    found = force_error(scaled, molecules, coordinates=None, seed=0)
    assert found.verdict == "fails"
    assert found.value == pytest.approx(1e-3 / 1.001, rel=1e-4)


def test_the_step_with_the_smallest_residual_is_taken(
    right: Potential, molecules: Structures, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = molecules.select([0])
    best = force_error(right, one, coordinates=12, seed=0).details["by_structure"][0]
    single = {}
    for step in STEPS:
        monkeypatch.setattr(differences, "STEPS", (step,))
        single[step] = force_error(right, one, coordinates=12, seed=0).details["by_structure"][0]["error"]
    assert best["step"] == min(single, key=single.__getitem__)
    assert best["error"] == pytest.approx(min(single.values()))
    # of fourth order: a step a tenth as long has an error 10⁻⁴ as large, until rounding sets in
    assert single[1e-2] / single[1e-3] == pytest.approx(1e4, rel=0.5)


def test_numbers_that_are_not_finite_fail(right: Potential, molecules: Structures) -> None:
    from simulation.potentials import poisoned

    found = force_error(poisoned(right), molecules.select([0]), coordinates=3, seed=0)
    assert found.verdict == "fails"
    assert found.value is None
    assert found.reason == "it is not a finite number"
