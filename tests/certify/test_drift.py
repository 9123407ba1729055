"""The energy of a conservative potential stays, that of another drifts, and the slope's error says how sure that is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet
from simulation.potentials import silicon

from molgen.certify.drift import energy_drift, slope_of
from molgen.certify.verlet import FEMTOSECOND, KELVIN, masses_of, thermal_velocities, verlet
from molgen.conversion import from_ase, to_ase
from molgen.models.potential import Potential
from molgen.simulation import Calculator
from molgen.simulation.batched_relaxation import relax_batch
from molgen.structures import Structures


@pytest.fixture(scope="module")
def relaxed(right: Potential) -> Structures:
    start = from_ase([molecule("CH3OH"), molecule("H2O")]).to(torch.float64)
    found = relax_batch(start, right, fmax=0.02, steps=300)
    assert found.converged.all()
    return found.structures.replace(atom_labels={}, structure_labels={})


def test_units_are_those_of_ase() -> None:
    assert pytest.approx(units.fs, rel=1e-12) == FEMTOSECOND
    assert pytest.approx(units.kB, rel=1e-12) == KELVIN


def test_the_steps_are_those_of_ase(right: Potential, relaxed: Structures) -> None:
    velocities = thermal_velocities(relaxed, 600.0, seed=0)
    run = verlet(right, relaxed, velocities, steps=21, timestep=0.5)
    for index, atoms in enumerate(to_ase(relaxed)):
        rows = relaxed.batch == index
        atoms.set_velocities(velocities[rows].numpy())
        atoms.calc = Calculator(right)
        VelocityVerlet(atoms, 0.5 * units.fs).run(20)
        # the first step has no step before it, so the run of 21 tells of steps 1 to 20
        assert float(run.kinetic[-1, index]) == pytest.approx(atoms.get_kinetic_energy(), rel=1e-7)


def test_velocities_are_thermal_without_drift_or_rotation() -> None:
    many = from_ase([molecule("CH3OH") for _ in range(60)] + [silicon()]).to(torch.float64)
    v = thermal_velocities(many, 500.0, seed=3)
    momenta = masses_of(many)[:, None] * v
    assert float(torch.zeros(61, 3, dtype=torch.float64).index_add(0, many.batch, momenta).abs().max()) < 1e-10
    first = many.batch == 0
    arms = many.positions[first]
    assert float(torch.linalg.cross(arms, momenta[first]).sum(0).abs().max()) < 1e-10
    kinetic = 0.5 * float((momenta * v)[many.batch < 60].sum())
    assert 2 * kinetic / (60 * 12 * KELVIN) == pytest.approx(500.0, rel=0.1)
    again = thermal_velocities(many.select([0, 1]), 500.0, seed=3)
    assert torch.equal(again, v[:12])


def test_neighbours_are_searched_anew_when_atoms_have_moved(right: Potential) -> None:
    hot = from_ase([silicon()]).to(torch.float64)
    velocities = thermal_velocities(hot, 20_000.0, seed=0)
    run = verlet(right, hot, velocities, steps=60, timestep=1.0, hottest=1e6)
    x, v, masses = hot.positions, velocities, masses_of(hot)[:, None]
    forces = right(hot)["forces"]
    kinetic = []
    for _ in range(60):
        half = v + 0.5 * FEMTOSECOND * forces / masses
        x = x + FEMTOSECOND * half
        kinetic.append(float((0.5 * masses * v.square()).sum()))
        forces = right(hot.replace(positions=x))["forces"]
        v = half + 0.5 * FEMTOSECOND * forces / masses
    assert float((x - hot.positions).norm(dim=1).max()) > 1.0
    assert run.kinetic[:, 0].tolist() == pytest.approx(kinetic[1:], rel=1e-6)


def test_a_conservative_potential_passes(right: Potential, relaxed: Structures) -> None:
    found = energy_drift(right, relaxed, picoseconds=0.2, limit=1.0, seed=0)
    assert found.verdict == "passes"
    assert found.details["picoseconds"] == pytest.approx(0.2, rel=0.02)
    assert 100 < found.details["temperature"] < 600
    assert [each["formula"] for each in found.details["by_structure"]] == ["CH4O", "H2O"]


def test_the_corrected_energy_is_steadier_than_the_total_energy(right: Potential, relaxed: Structures) -> None:
    run = verlet(right, relaxed, thermal_velocities(relaxed, 600.0, seed=0), steps=120, timestep=0.5)
    assert (run.conserved.std(0) < 0.2 * run.total.std(0)).all()
    finer = verlet(right, relaxed, thermal_velocities(relaxed, 600.0, seed=0), steps=240, timestep=0.25)
    # of fourth order in the step, and the total energy of second
    assert (finer.conserved.std(0) < run.conserved.std(0) / 8).all()
    assert (finer.total.std(0) > run.total.std(0) / 6).all()


def test_forces_without_an_energy_drift(twisted: Potential, relaxed: Structures) -> None:
    found = energy_drift(twisted, relaxed, picoseconds=0.2, limit=1.0, seed=0)
    assert found.verdict == "fails"
    assert found.value is not None
    assert abs(found.value) > 1.0


def test_a_run_that_leaves_reason_fails_with_the_time(right: Potential, relaxed: Structures) -> None:
    hot = verlet(right, relaxed, thermal_velocities(relaxed, 30_000.0, seed=0), steps=50, timestep=0.5)
    assert hot.stopped is not None
    pushed = relaxed.replace(positions=0.5 * relaxed.positions)
    found = energy_drift(right, pushed, picoseconds=0.2, limit=1.0, seed=0)
    assert found.verdict == "fails"
    assert found.value is None
    assert found.reason is not None
    assert "left reason after" in found.reason


def test_a_run_ends_when_its_time_is_up(right: Potential, relaxed: Structures) -> None:
    found = energy_drift(right, relaxed, picoseconds=100.0, limit=1.0, seed=0, seconds=0.0)
    assert found.details["picoseconds"] < 0.15


def test_the_error_of_a_slope_is_as_large_as_its_scatter() -> None:
    times, rng = np.arange(4000) * 1e-3, np.random.default_rng(0)
    within = 0
    for _ in range(60):
        noise = rng.normal(size=4000)
        for k in range(1, 4000):  # correlated over a hundred steps
            noise[k] = 0.99 * noise[k - 1] + 0.14 * noise[k]
        slope = slope_of(times, 0.3 * times + noise)
        within += abs(slope.value - 0.3) < 2 * slope.error
    assert 48 <= within <= 60
