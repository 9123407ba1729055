"""ASE's own programs on the calculator: optimisers, cells, vibrations, phonons, bands, equations of state, MD."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.constraints import FixAtoms
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE, LBFGS, BFGSLineSearch
from ase.phonons import Phonons
from ase.vibrations import Vibrations
from simulation.potentials import ENCODERS, cohesive, ethanol, potential

from molgen.simulation import Calculator

FMAX = 0.01  # eV/Å


def crystal(rattle: float = 0.1) -> Atoms:
    """Four atoms of a cubic crystal, off equilibrium."""
    atoms = bulk("Si", "fcc", a=3.3, cubic=True)
    atoms.rattle(rattle, seed=0)
    return atoms


def warm(atoms: Atoms) -> None:
    """Momenta of 300 K."""
    draws = np.random.default_rng(0).normal(size=(len(atoms), 3))
    atoms.set_momenta(draws * np.sqrt(atoms.get_masses() * units.kB * 300)[:, None])


def relaxed(atoms: Atoms, use: str, fmax: float = 1e-4) -> Atoms:
    atoms.calc = Calculator(cohesive(use))
    assert BFGS(FrechetCellFilter(atoms) if atoms.pbc.all() else atoms, logfile=None).run(fmax=fmax, steps=300)
    return atoms


@pytest.mark.parametrize("optimizer", [BFGS, LBFGS, FIRE, BFGSLineSearch])
@pytest.mark.parametrize("use", sorted(ENCODERS))
def test_optimisers_relax_a_molecule(use: str, optimizer: type) -> None:
    atoms = ethanol()
    atoms.calc = Calculator(potential(use, seed=1))
    before = atoms.get_potential_energy()
    assert optimizer(atoms, logfile=None).run(fmax=FMAX, steps=300)
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < FMAX
    assert atoms.get_potential_energy() < before
    assert atoms.calc._reuse.searches <= 3


@pytest.mark.parametrize("use", sorted(ENCODERS))
def test_a_crystal_relaxes_with_its_cell_and_keeps_its_neighbour_list(use: str) -> None:
    atoms = relaxed(crystal(), use)
    assert np.abs(atoms.get_stress()).max() < 1e-5
    assert np.abs(atoms.get_forces()).max() < 1e-4
    assert atoms.calc._reuse.searches <= 4


def test_atoms_that_are_fixed_stay() -> None:
    atoms = ethanol()
    atoms.calc = Calculator(potential(seed=1))
    atoms.set_constraint(FixAtoms([0, 3]))
    start = atoms.positions.copy()
    BFGS(atoms, logfile=None).run(fmax=FMAX, steps=100)
    assert np.array_equal(atoms.positions[[0, 3]], start[[0, 3]])
    assert np.abs(atoms.positions - start).max() > 0.01


def test_vibrations_of_a_relaxed_molecule_have_six_modes_of_no_energy(tmp_path) -> None:
    atoms = relaxed(Atoms("Si3", [[0, 0, 0], [2.4, 0, 0], [0, 2.3, 0.1]]), "gaunt")
    vibrations = Vibrations(atoms, name=str(tmp_path / "vibrations"))
    vibrations.run()
    energies = np.sort(np.abs(vibrations.get_energies()))
    assert energies[5] < 5e-3  # eV, of translations and rotations
    assert energies[6] > 10 * energies[5]


def test_phonons_of_a_crystal_have_three_acoustic_modes(tmp_path) -> None:
    atoms = relaxed(bulk("Si", "fcc", a=3.3), "egnn", fmax=1e-6)
    phonons = Phonons(atoms, Calculator(cohesive()), supercell=(3, 3, 3), delta=0.01, name=str(tmp_path / "phonons"))
    phonons.run()
    phonons.read()
    center, edge = phonons.band_structure([[0, 0, 0], [0.5, 0.5, 0]])
    assert np.abs(center).max() < 1e-4  # eV
    assert edge.min() > 5e-3  # imaginary ones would be negative


def test_a_band_of_images_finds_the_same_barrier_with_one_calculator_or_with_copies() -> None:
    barriers = []
    calculator = Calculator(potential(seed=1))
    for shared in (True, False):
        ends = [ethanol(), ethanol()]
        ends[1].positions[8] += [0.5, 0.4, 0.0]
        images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
        for image in images:
            image.calc = calculator if shared else copy.deepcopy(calculator)
        band = NEB(images, allow_shared_calculator=shared, method="improvedtangent")
        band.interpolate()
        FIRE(band, logfile=None).run(fmax=0.5, steps=15)
        barriers.append([image.get_potential_energy() for image in images])
    assert np.allclose(*barriers, rtol=0, atol=1e-8)
    assert max(barriers[0]) - barriers[0][0] > 0


def test_the_equation_of_state_has_its_minimum_where_the_stress_is_zero() -> None:
    atoms = relaxed(crystal(rattle=0.0), "gaunt")
    volumes, energies = [], []
    for scale in np.linspace(0.985, 1.015, 7):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * scale, scale_atoms=True)
        strained.calc = atoms.calc
        volumes.append(strained.get_volume())
        energies.append(strained.get_potential_energy())
    volume, _, bulk_modulus = EquationOfState(volumes, energies).fit()
    assert volume == pytest.approx(atoms.get_volume(), rel=3e-3)
    assert bulk_modulus > 0


@pytest.mark.parametrize("use", sorted(ENCODERS))
def test_velocity_verlet_conserves_energy_to_second_order_in_the_timestep(use: str) -> None:
    wander = []
    for timestep in (0.4, 0.2):  # fs
        atoms = ethanol()
        atoms.calc = Calculator(potential(use, seed=1))
        warm(atoms)
        totals: list[float] = []
        dynamics = VelocityVerlet(atoms, timestep * units.fs)
        dynamics.attach(lambda atoms=atoms, totals=totals: totals.append(atoms.get_total_energy()))
        dynamics.run(round(8 / timestep))
        wander.append(np.ptp(totals))
    assert wander[0] < 0.02  # eV
    assert wander[1] < 0.4 * wander[0]


def test_langevin_dynamics_of_a_crystal_keep_their_list_for_many_steps() -> None:
    atoms = crystal()
    atoms.calc = Calculator(cohesive())
    warm(atoms)
    Langevin(
        atoms, 1.0 * units.fs, temperature_K=300, friction=0.01 / units.fs, rng=np.random.default_rng(1), fixcm=False
    ).run(40)
    assert atoms.calc._reuse.searches <= 4
    fresh = Calculator(cohesive(), skin=0.0)
    assert np.allclose(atoms.get_forces(), fresh.get_forces(atoms), rtol=0, atol=1e-9)


def test_a_trajectory_of_a_simulation_holds_what_the_calculator_gave(tmp_path) -> None:
    from ase.io.trajectory import Trajectory

    atoms = ethanol()
    atoms.calc = Calculator(potential(seed=1))
    BFGS(atoms, logfile=None, trajectory=str(tmp_path / "some.traj")).run(fmax=FMAX, steps=3)
    with Trajectory(tmp_path / "some.traj") as frames:
        last = frames[-1]
        assert frames.description["optimizer"] == "BFGS"
    assert last.calc.name == "molgen"
    assert np.array_equal(last.get_forces(), atoms.get_forces())
    with pytest.raises(PropertyNotImplementedError):
        last.get_stress()
