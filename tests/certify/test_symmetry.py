"""Potentials that turn with the atoms pass, and those that don't are found out, each by its own way of moving."""

from __future__ import annotations

import copy

import pytest
import torch
from simulation.potentials import potential, silicon

from molgen.certify.samples import chosen_samples, rattled
from molgen.certify.symmetry import random_rotation, symmetry_error
from molgen.conversion import from_ase
from molgen.models.potential import Potential
from molgen.structures import Structures, concatenate


@pytest.fixture(scope="module")
def molecules(right: Potential) -> Structures:
    return rattled(chosen_samples(right, count=2).structures, 0.05, seed=0)


@pytest.mark.parametrize("use", ["egnn", "gaunt"])
def test_every_property_turns_with_the_atoms(use: str, molecules: Structures) -> None:
    model = potential(use, heads=("energy", "dipole", "charges"))
    assert symmetry_error(model, molecules, "O3", seed=0).verdict == "passes"
    crystal = rattled(from_ase([silicon()]).to(torch.float64), 0.05, seed=1)
    assert symmetry_error(model, concatenate([molecules, crystal]), "O3", seed=0).verdict == "passes"


def test_float32_has_a_limit_of_its_own(molecules: Structures) -> None:
    found = symmetry_error(copy.deepcopy(potential()).float(), molecules, "O3", seed=0)
    assert found.verdict == "passes"
    assert found.value is not None
    assert 1e-9 < found.value < 1e-4 == found.limit


def test_an_energy_that_knows_directions_fails(directed: Potential, molecules: Structures) -> None:
    found = symmetry_error(directed, molecules, "O3", seed=0)
    assert found.verdict == "fails"
    assert found.details["rotation"] > 1e-4
    assert found.details["translation"] < 1e-9


def test_what_an_encoder_does_not_claim_is_told_and_not_judged(directed: Potential, molecules: Structures) -> None:
    for claimed in ("approximate", "none"):
        found = symmetry_error(directed, molecules, claimed, seed=0)
        assert found.verdict == "no limit"
        assert found.value == found.details["rotation"]
        assert found.reason is not None
        assert claimed in found.reason


def test_forces_that_know_the_order_of_the_atoms_fail_whatever_is_claimed(
    ordered: Potential, molecules: Structures
) -> None:
    for claimed in ("O3", "none"):
        found = symmetry_error(ordered, molecules, claimed, seed=0)
        assert found.verdict == "fails"
        assert found.details["permutation"] > 1e-4


def test_rotations_are_rotations_and_differ() -> None:
    first, second = random_rotation(0, 0), random_rotation(0, 1)
    assert torch.allclose(first @ first.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert float(torch.linalg.det(first)) == pytest.approx(1.0)
    assert not torch.allclose(first, second, atol=0.1)
