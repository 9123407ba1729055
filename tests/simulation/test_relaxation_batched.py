"""Relaxation of many structures at once: the minima of ASE's optimisers, whoever else is in the batch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.potentials import NARROW, ethanol, mixture, poisoned, potential, silicon, written
from simulation.wells import sprung

from molgen.conversion import from_ase, to_ase
from molgen.errors import ConfigError
from molgen.models.committee import Committee
from molgen.simulation.batched_relaxation import relax_batch
from molgen.simulation.calculator import Calculator
from molgen.simulation.lbfgs import Descent
from molgen.simulation.relaxation import relax
from molgen.simulation.relaxed import displacement
from molgen.structures import Structures

FMAX = 1e-3  # eV/Å, so that minima are sharp

# eV and Å that two minimisers may differ by at that force, where the softest springs have 1 eV/Å²
SAME_ENERGY, SAME_PLACE = 1e-5, 2e-3


def molecules() -> list[Atoms]:
    names = ("CH3CH2OH", "H2O", "CH4", "C2H6", "HCOOH", "CH3CN", "NH3", "C6H6")
    found = [molecule(name) for name in names]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.05, seed=seed)
    return found


def test_minima_are_those_of_ase():
    frames, model = molecules(), sprung(potential(), molecules())
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=100 + seed)
    together = relax_batch(from_ase(frames), model, fmax=FMAX)
    alone = relax(frames, Calculator(model), fmax=FMAX, optimizer="bfgs")
    assert together.converged.all()
    assert together.reasons == (None,) * len(frames)
    for index, (atoms, other) in enumerate(zip(to_ase(together.structures), alone, strict=True)):
        assert together.energy_before[index] == pytest.approx(other.energy_before)
        assert together.energy_after[index] == pytest.approx(other.energy_after, abs=SAME_ENERGY)
        assert displacement(other.atoms, atoms) < SAME_PLACE
        assert together.max_force[index] <= FMAX
        assert together.rmsd[index] == pytest.approx(displacement(frames[index], atoms))
    assert int(together.steps.sum()) < 1.3 * sum(each.steps for each in alone)


@pytest.mark.parametrize("use", ["egnn", "gaunt"])
def test_minima_are_minima_for_ase(use):
    found = relax_batch(from_ase(molecules()[:4]), potential(use), fmax=0.01)
    assert found.converged.all()
    again = relax(to_ase(found.structures), potential(use), fmax=0.0101)
    assert [each.steps for each in again] == [0] * 4


def test_what_is_returned_is_what_the_model_says_of_the_positions_returned():
    frames = molecules()
    for atoms in frames:
        atoms.positions *= NARROW
    found = relax_batch(from_ase(frames), potential(), fmax=0.02)
    said = potential()(found.structures)
    assert torch.allclose(said["energy"], found.energy_after, atol=1e-10)
    assert torch.allclose(said["forces"], found.structures.atom_labels["forces"], atol=1e-10)
    assert torch.equal(found.structures.structure_labels["energy"], found.energy_after)
    assert torch.equal(found.strain, found.energy_before - found.energy_after)
    assert (found.strain > 0).all()
    assert len(found) == 8


@settings(max_examples=3)
@given(order=st.permutations(range(5)), batch_size=st.sampled_from([2, None]), max_atoms=st.sampled_from([9, 30, 999]))
def test_a_structure_comes_to_the_same_whatever_it_is_relaxed_beside(order, batch_size, max_atoms):
    frames = molecules()[:5]
    usual = relax_batch(from_ase(frames), potential(), fmax=0.1)
    mixed = relax_batch(
        from_ase([frames[index] for index in order]), potential(), fmax=0.1, batch_size=batch_size, max_atoms=max_atoms
    )
    assert mixed.steps.tolist() == [int(usual.steps[index]) for index in order]
    for place, index in enumerate(order):
        a, b = mixed.structures.select([place]).positions, usual.structures.select([index]).positions
        # rounding of other sums, along a path of some ten steps
        assert torch.allclose(a, b, atol=1e-6)


def test_finished_structures_are_not_evaluated_any_more():
    model, sizes = copy.deepcopy(potential()), []
    forward = model.forward

    def counted(structures, *arguments, **named):
        sizes.append(len(structures))
        return forward(structures, *arguments, **named)

    model.forward = counted
    found = relax_batch(from_ase(molecules()), model, fmax=0.01)
    steps = found.steps.tolist()
    assert sizes == [sum(own >= step for own in steps) for step in range(max(steps) + 1)]


def test_what_the_model_refuses_is_reported_and_the_others_are_relaxed():
    water = molecule("H2O")
    frames = [ethanol(), molecule("SO2"), Atoms("H2", [[0, 0, 0], [0, 0, 0]]), water, Atoms()]
    periodic = water.copy()
    periodic.set_cell([8, 8, 8])
    periodic.pbc = True
    charged = water.copy()
    charged.info["charge"] = 1
    told = []
    found = relax_batch(from_ase([*frames, charged]), potential(), on_step=told.append)
    assert found.converged.tolist() == [True, False, False, True, False, False]
    assert "the element S" in found.reasons[1]
    assert "atom 0 (H) and atom 1 (H) are" in found.reasons[2]
    assert found.reasons[4] == "it has no atoms"
    assert "charge is 1" in found.reasons[5]
    assert not any("structure 0" in reason for reason in found.reasons if reason)
    assert torch.isnan(found.energy_before[[1, 2, 4, 5]]).all()
    assert torch.equal(found.structures.select([1]).positions, torch.tensor(frames[1].positions))
    assert torch.isnan(found.structures.select([1]).atom_labels["forces"]).all()
    assert sum(told) == 6
    found = relax_batch(from_ase([periodic, water]), potential(encoder={"channels": 4, "layers": 1}))
    assert "periodic" in found.reasons[0]
    assert bool(found.converged[1])


def test_crystals_are_relaxed_in_their_cells():
    frames = [silicon(), mixture(8, pbc=(True, True, False))]
    found = relax_batch(from_ase(frames), potential(), fmax=0.02)
    assert found.converged.all()
    assert found.strain[0] > 0
    again = relax(to_ase(found.structures), potential(), fmax=0.0201)
    assert [each.steps for each in again] == [0, 0]
    assert torch.equal(found.structures.cell, from_ase(frames).cell)


def test_weights_in_float32_relax_too(tmp_path):
    path = written(tmp_path / "model.safetensors")
    found = relax_batch(from_ase(molecules()).to(torch.float32), path, dtype="float32", fmax=0.01)
    assert found.converged.all()
    assert found.structures.positions.dtype == torch.float64
    exact = relax_batch(from_ase(molecules()), path, dtype="float64", fmax=0.01)
    assert torch.allclose(found.energy_after, exact.energy_after, atol=2e-3)


def test_committees_relax_on_their_mean():
    committee = Committee([potential(seed=0), potential(seed=1)]).eval()
    found = relax_batch(from_ase(molecules()[:3]), committee)
    assert found.converged.all()
    said = committee(found.structures)
    assert torch.linalg.vector_norm(said["forces"], dim=1).max() <= 0.01


def test_forces_without_an_energy_are_followed_as_they_are():
    model = potential(heads=("direct-forces",))
    found = relax_batch(from_ase(molecules()[:3]), model, steps=50)
    assert found.energy_after.tolist() == [0.0] * 3
    assert found.steps.max() <= 50
    assert all(reason is None or "not converged after 50 steps" in reason for reason in found.reasons)


def test_too_few_steps_are_told():
    found = relax_batch(from_ase(molecules()), potential(), fmax=1e-4, steps=2)
    late = ~found.converged
    assert late.any()
    assert (found.steps[late] == 2).all()
    assert {reason for reason, missed in zip(found.reasons, late.tolist(), strict=True) if missed} == {
        "not converged after 2 steps"
    }
    assert (found.energy_after <= found.energy_before).all()


def test_a_start_beyond_reason_is_not_moved():
    found = relax_batch(from_ase(molecules()[:2]), potential(), force_limit=1e-3)
    assert not found.converged.any()
    assert "at the start, above the limit of 0.001" in found.reasons[0]
    assert torch.equal(found.structures.positions, from_ase(molecules()[:2]).positions)
    broken = relax_batch(from_ase(molecules()[:2]), poisoned(potential()))
    assert broken.steps.tolist() == [0, 0]
    assert all("at the start" in reason for reason in broken.reasons)


def test_junk_is_relaxed_or_told_and_never_blows_up():
    rng = np.random.default_rng(0)
    frames = [Atoms("C4H6O2", rng.normal(size=(12, 3)) * 0.8) for _ in range(6)]
    found = relax_batch(from_ase(frames), potential(), steps=200)
    assert torch.isfinite(found.structures.positions).all()
    assert (found.energy_after <= found.energy_before + 1e-3).all()
    assert all((reason is None) == ok for reason, ok in zip(found.reasons, found.converged.tolist(), strict=True))


def test_nothing_to_relax_is_no_error():
    found = relax_batch(from_ase([]), potential())
    assert len(found) == 0
    single = relax_batch(from_ase([Atoms("C")]), potential())
    assert (single.converged.tolist(), single.steps.tolist()) == ([True], [0])


@pytest.mark.parametrize("changed", [{"fmax": 0.0}, {"steps": 0}, {"force_limit": float("inf")}, {"batch_size": 0}])
def test_options_that_make_no_sense_are_refused(changed):
    with pytest.raises(ConfigError):
        relax_batch(from_ase(molecules()[:1]), potential(), **changed)


def test_bonds_and_other_labels_stay():
    structures = from_ase(molecules()[1:3])
    bonds = {"bonds": torch.tensor([[0, 1], [0, 2]]), "bond_orders": torch.ones(2, dtype=torch.int64)}
    bonded = structures.replace(
        **bonds, bonds_known=torch.tensor([True, False]), structure_labels={"index": torch.tensor([4, 7])}
    )
    found = relax_batch(bonded, potential())
    assert torch.equal(found.structures.bonds, bonded.bonds)
    assert found.structures.structure_labels["index"].tolist() == [4, 7]
    assert isinstance(found.structures, Structures)


def quartic(positions: torch.Tensor, batch: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies and forces of narrow, bent valleys: x⁴ + 10 y² + 100 (z − x²)²."""
    x, y, z = positions.unbind(1)
    bent = z - x**2
    energy = torch.zeros(n, dtype=positions.dtype).index_add(0, batch, x**4 + 10 * y**2 + 100 * bent**2)
    slope = torch.stack((4 * x**3 - 400 * bent * x, 20 * y, 200 * bent), 1)
    return energy, -slope


@settings(max_examples=5)
@given(seed=st.integers(0, 1000))
def test_the_energy_of_a_descent_hardly_ever_rises(seed):
    torch.manual_seed(seed)
    batch = torch.tensor([0, 0, 0, 1, 1, 2])
    positions = torch.randn(6, 3, dtype=torch.float64)
    descent = Descent(positions, *quartic(positions, batch, 3), batch)
    none = torch.zeros(3, dtype=torch.bool)
    for _ in range(120):
        before = descent.energies
        trial = descent.propose()
        assert (trial - descent.positions).norm(dim=1).max() <= 0.2 + 1e-12
        descent.accept(trial, *quartic(trial, batch, 3), none)
        assert (descent.energies <= before + 1e-4).all()
    assert descent.longest(descent.forces).max() < 1.0


def test_a_descent_goes_back_where_it_is_refused():
    batch = torch.tensor([0, 1])
    positions = torch.ones(2, 3, dtype=torch.float64)
    descent = Descent(positions, *quartic(positions, batch, 2), batch)
    trial = descent.propose()
    energies, forces = quartic(trial, batch, 2)
    forces = torch.where(batch[:, None] == 1, torch.nan, forces)
    descent.accept(trial, energies, forces, torch.tensor([False, True]))
    assert torch.equal(descent.positions[0], trial[0])
    assert torch.equal(descent.positions[1], positions[1])
    again = descent.propose()
    assert torch.isfinite(again).all()
    assert (again[1] - positions[1]).norm() <= 0.1 + 1e-12, "half as far as before"
