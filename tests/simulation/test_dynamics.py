"""Dynamics: ensembles, exact restarts, files, and what is refused before anything is written."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from simulation.potentials import ethanol, potential, silicon
from simulation.wells import Springs

from molgen.errors import ConfigError, FileFormatError, InputError, OutputError, SimulationError, StructureError
from molgen.simulation.dynamics import run_md
from molgen.simulation.energy_log import COLUMNS
from molgen.structures import Structures

# temperatures of finite runs: three standard errors at the seeds below
SAMPLING = 0.08


def springs(stiffness: float = 5.0) -> tuple[Atoms, Springs]:
    atoms = molecule("CH3CH2OH")
    return atoms, Springs(atoms, stiffness)


def log_of(path) -> np.ndarray:
    return np.genfromtxt(path.with_suffix(".csv"), delimiter=",", names=True)


@pytest.mark.parametrize("suffix", [".traj", ".extxyz", ".xyz"])
def test_a_run_writes_frames_and_a_log_of_the_same_steps(tmp_path, suffix):
    out = tmp_path / f"run{suffix}"
    atoms, calculator = springs()
    ended = run_md(atoms, calculator, out, steps=50, interval=20, ensemble="nve")
    frames, log = ase.io.read(out, ":"), log_of(out)
    assert [frame.info["md_step"] for frame in frames] == [0, 20, 40, 50]
    assert (out.with_suffix(".csv")).read_text().splitlines()[0] == ",".join(COLUMNS)
    assert log["step"].tolist() == [0, 20, 40]
    for frame, row in zip(frames, log, strict=False):
        assert frame.get_potential_energy() == row["potential_energy_eV"]
        assert frame.get_kinetic_energy() == pytest.approx(row["kinetic_energy_eV"])
        assert frame.get_forces().shape == (9, 3)
        assert row["time_fs"] == row["step"] * 0.5
    assert (ended.steps, ended.time, ended.trajectory) == (50, 25.0, out)
    assert ended.ns_per_day > 0
    assert not atoms.has("momenta"), "what was handed in stays as it was"


def test_velocity_verlet_conserves_the_energy_better_with_shorter_steps(tmp_path):
    worst = []
    for timestep in (1.0, 0.5):
        atoms, calculator = springs()
        out = tmp_path / f"{timestep}.traj"
        run_md(atoms, calculator, out, steps=int(200 / timestep), timestep=timestep, interval=1, ensemble="nve")
        total = log_of(out)["total_energy_eV"]
        worst.append(np.abs(total - total[0]).max())
    # the error of the method is of second order
    assert worst[1] == pytest.approx(worst[0] / 4, rel=0.3)


def test_langevin_dynamics_sample_the_energies_of_their_temperature(tmp_path):
    atoms, calculator = springs(stiffness=1.0)
    ended = run_md(
        atoms, calculator, tmp_path / "nvt.traj", steps=3000, timestep=1.0, friction=0.1, interval=5, temperature=400
    )
    log = log_of(tmp_path / "nvt.traj")[100:]
    # 3N - 3 directions move, and 3N - 6 of them stretch springs, each with k_B T / 2
    assert log["temperature_K"].mean() == pytest.approx(400, rel=SAMPLING)
    assert log["temperature_K"].std() == pytest.approx(400 * np.sqrt(2 / 24), rel=0.2)
    assert log["potential_energy_eV"].mean() == pytest.approx(0.5 * units.kB * 400 * 21, rel=2 * SAMPLING)
    assert ended.drift is None
    frames = ase.io.read(tmp_path / "nvt.traj", "::200")
    for frame in frames:
        assert frame.get_center_of_mass() == pytest.approx(atoms.get_center_of_mass(), abs=1e-9)
        assert frame.get_momenta().sum(0) == pytest.approx(0, abs=1e-9)


def test_drawn_velocities_have_their_temperature_and_neither_drift_nor_rotation(tmp_path):
    found = []
    for seed in range(20):
        atoms, calculator = springs()
        ended = run_md(
            atoms, calculator, tmp_path / f"{seed}.traj", steps=0, temperature=300, ensemble="nve", seed=seed
        )
        frame = ended.atoms
        assert frame.get_momenta().sum(0) == pytest.approx(0, abs=1e-12)
        assert frame.get_angular_momentum() == pytest.approx(0, abs=1e-10)
        found.append(ended.temperature)
    # 21 free directions each: the mean of 20 draws has a standard error of 7 %
    assert np.mean(found) == pytest.approx(300, rel=0.2)
    assert len(set(found)) == 20


@pytest.mark.parametrize("name", ["CO2", "H2", "C2H2"])
def test_a_line_of_atoms_has_no_rotation_to_take_away(tmp_path, name):
    atoms = molecule(name)
    ended = run_md(atoms, Springs(atoms), tmp_path / "line.traj", steps=20, ensemble="nve")
    assert np.isfinite(ended.temperature)
    assert ended.atoms.get_angular_momentum() == pytest.approx(0, abs=1e-10)


def test_a_single_atom_stays_where_it_is(tmp_path):
    ended = run_md(Atoms("Cu"), EMT(), tmp_path / "atom.traj", steps=5, interval=1, ensemble="nve")
    assert (ended.temperature, ended.drift) == (0.0, 0.0)
    assert ended.atoms.positions.tolist() == [[0, 0, 0]]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    ends = []
    for number, seed in enumerate((3, 3, 4)):
        atoms, calculator = springs()
        out = tmp_path / f"{number}.extxyz"
        run_md(atoms, calculator, out, steps=30, seed=seed)
        ends.append(out.read_text().replace("md_seed=4", "md_seed=3"))
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
@pytest.mark.parametrize("ensemble", ["nve", "langevin"])
@pytest.mark.parametrize("stops", [(0, 100), (40, 100), (37, 38, 41, 100)])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, suffix, ensemble, stops):
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    settings = {"ensemble": ensemble, "interval": 10, "timestep": 1.0}
    atoms, calculator = springs()
    run_md(atoms, calculator, whole, steps=100, **settings)
    for stop in stops:
        again, fresh = springs()
        run_md(again, fresh, parts, steps=stop, restart=True, **settings)
    before, after = ase.io.read(whole, ":"), ase.io.read(parts, ":")
    assert [frame.info for frame in before] == [frame.info for frame in after]
    for a, b in zip(before, after, strict=True):
        assert np.array_equal(a.positions, b.positions)
        assert np.array_equal(a.get_momenta(), b.get_momenta())
        assert np.array_equal(a.get_forces(), b.get_forces())
    assert whole.with_suffix(".csv").read_text() == parts.with_suffix(".csv").read_text()


@pytest.mark.parametrize("make", [ethanol, silicon])
def test_a_potential_with_a_neighbour_list_goes_on_exactly_too(tmp_path, make):
    settings = {"interval": 7, "timestep": 1.0, "temperature": 2000.0}
    run_md(make(), potential(), tmp_path / "whole.traj", steps=40, **settings)
    for stop in (17, 40):
        run_md(make(), potential(), tmp_path / "parts.traj", steps=stop, restart=True, **settings)
    before, after = (ase.io.read(tmp_path / name, -1) for name in ("whole.traj", "parts.traj"))
    assert np.array_equal(before.positions, after.positions)
    assert np.array_equal(before.get_momenta(), after.get_momenta())


def test_a_finished_run_is_not_run_again(tmp_path):
    atoms, calculator = springs()
    run_md(atoms, calculator, tmp_path / "run.traj", steps=20)
    before = (tmp_path / "run.traj").read_bytes()
    atoms, calculator = springs()
    ended = run_md(atoms, calculator, tmp_path / "run.traj", steps=20, restart=True)
    assert (ended.steps, ended.ns_per_day) == (20, 0.0)
    assert (tmp_path / "run.traj").read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"temperature": 500.0}, "temperature was 300"),
        ({"timestep": 1.0}, "timestep was 0.5"),
        ({"seed": 1}, "seed was 0"),
        ({"interval": 5}, "interval was 20"),
        ({"ensemble": "nve"}, "ensemble was langevin"),
        ({"friction": 0.1}, "friction was 0.01"),
    ],
)
def test_a_run_with_other_settings_is_not_continued(tmp_path, changed, words):
    atoms, calculator = springs()
    out = tmp_path / "run.extxyz"
    run_md(atoms, calculator, out, steps=20)
    before = out.read_bytes()
    with pytest.raises(SimulationError, match=words):
        run_md(*springs(), out, steps=40, restart=True, **changed)
    assert out.read_bytes() == before


def test_another_model_or_another_molecule_does_not_continue_a_run(tmp_path):
    out = tmp_path / "run.traj"
    run_md(*springs(), out, steps=20)
    with pytest.raises(SimulationError, match="model was springs, and this run's is emt"):
        run_md(molecule("CH3CH2OH"), EMT(), out, steps=40, restart=True)
    methane = molecule("CH4")
    with pytest.raises(SimulationError, match=r"frames are of C2H6O, the structure is CH4"):
        run_md(methane, Springs(methane), out, steps=40, restart=True)


def test_another_cell_or_charge_does_not_continue_a_run(tmp_path):
    out = tmp_path / "run.extxyz"
    run_md(silicon(), potential(), out, steps=1)
    strained = silicon()
    strained.set_cell(strained.cell.array * 1.01)
    with pytest.raises(SimulationError, match="the structure's cell is not that of the frames"):
        run_md(strained, potential(), out, steps=2, restart=True)
    charged = silicon()
    charged.info["charge"] = 1
    with pytest.raises(SimulationError, match="the structure's charge is not that of the frames"):
        run_md(charged, potential(conditions=("charge",)), out, steps=2, restart=True)


def test_a_trajectory_of_another_program_is_not_continued(tmp_path):
    atoms, calculator = springs()
    ase.io.write(tmp_path / "other.traj", atoms)
    with pytest.raises(SimulationError, match="says nothing of a run"):
        run_md(atoms, calculator, tmp_path / "other.traj", steps=10, restart=True)
    (tmp_path / "other.traj").write_text("no trajectory at all, but a text that is long enough to look into")
    with pytest.raises(FileFormatError, match="no trajectory of ASE"):
        run_md(atoms, calculator, tmp_path / "other.traj", steps=10, restart=True)


def test_velocities_of_a_file_are_taken_where_that_is_asked_for(tmp_path):
    atoms, calculator = springs()
    first = run_md(atoms, calculator, tmp_path / "first.extxyz", steps=40, ensemble="nve")
    _, fresh = springs()
    settings = {"ensemble": "nve", "velocities": "file"}
    second = run_md(tmp_path / "first.extxyz", fresh, tmp_path / "b.traj", steps=0, index=-1, **settings)
    assert np.array_equal(second.atoms.get_momenta(), first.atoms.get_momenta())
    with pytest.raises(InputError, match="no velocities"):
        run_md(*springs(), tmp_path / "c.traj", steps=1, velocities="file")


def test_velocities_of_unknown_units_are_not_read_and_named(tmp_path):
    atoms, calculator = springs()
    atoms.new_array("velo", np.ones((len(atoms), 3)))
    ase.io.write(tmp_path / "in.extxyz", atoms)
    with pytest.raises(
        InputError, match=r"its column 'velo' is in units that nothing tells; expected a column momenta"
    ):
        run_md(tmp_path / "in.extxyz", calculator, tmp_path / "run.traj", steps=1, velocities="file")


def test_constraints_hold_their_atoms(tmp_path):
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.set_constraint(FixAtoms([0, 3]))
    ended = run_md(atoms, EMT(), tmp_path / "fixed.traj", steps=30, timestep=2.0, temperature=600)
    assert np.array_equal(ended.atoms.positions[[0, 3]], atoms.positions[[0, 3]])
    assert not np.array_equal(ended.atoms.positions[1], atoms.positions[1])
    assert len(ase.io.read(tmp_path / "fixed.traj").constraints) == 1


def test_structures_and_files_are_taken_as_atoms_are(tmp_path):
    atoms, calculator = springs()
    ase.io.write(tmp_path / "in.xyz", atoms, format="xyz", fmt="%22.15f")
    structures = Structures.build(atoms.positions, atoms.numbers)
    ends = [run_md(given, calculator, tmp_path / f"{n}.traj", steps=5) for n, given in enumerate((atoms, structures))]
    ends.append(run_md(tmp_path / "in.xyz", calculator, tmp_path / "file.traj", steps=5))
    for ended in ends[1:]:
        assert ended.atoms.positions == pytest.approx(ends[0].atoms.positions, abs=1e-12)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"timestep": 0.0}, ConfigError, "the timestep is 0.0; expected a positive number of fs"),
        ({"timestep": float("nan")}, ConfigError, "the timestep is nan"),
        ({"temperature": -1.0}, ConfigError, "the temperature is -1.0; expected 0 K or more"),
        ({"friction": 0.0}, ConfigError, "the friction is 0.0"),
        ({"interval": 0}, ConfigError, "the interval is 0; expected at least 1"),
        ({"steps": -1}, ConfigError, "steps is -1"),
        ({"ensemble": "npt"}, ConfigError, "unknown ensemble 'npt'; expected nve or langevin"),
        ({"velocities": "mine"}, ConfigError, "unknown velocities 'mine'"),
        ({"out": "run.pdb"}, InputError, r"can't be written to .pdb .*expected .traj or .extxyz or .xyz"),
        ({"out": "run"}, InputError, "a file without suffix"),
        ({"out": "no/such/run.traj"}, OutputError, "there is no folder"),
        ({"log": "run.traj"}, ConfigError, "the log and the trajectory are one file"),
        ({"structure": "gone.xyz"}, FileFormatError, "no such file or directory"),
        ({"structure": [molecule("H2O"), molecule("H2")]}, InputError, "there are 2 structures"),
        ({"structure": molecule("H2O"), "index": 1}, InputError, "there is no structure 1"),
        ({"structure": []}, InputError, "there are no structures"),
        ({"structure": Atoms()}, InputError, "it has no atoms"),
        ({"structure": molecule("SiH4"), "model": potential(symbols=("H", "C"))}, StructureError, "Si, an element"),
        ({"model": potential(heads=("direct-forces",))}, ConfigError, "the model gives no energy"),
        (
            {"structure": bulk("Si"), "model": potential(encoder={"channels": 4, "layers": 1})},
            StructureError,
            "it is periodic, and the model takes molecules alone",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(tmp_path, monkeypatch, changed, error, words):
    monkeypatch.chdir(tmp_path)
    atoms, calculator = springs()
    options = {"structure": atoms, "model": calculator, "out": "run.traj", "steps": 5} | changed
    with pytest.raises(error, match=words):
        run_md(**options)
    assert not list(tmp_path.iterdir())


def test_files_that_are_there_are_left_alone_unless_they_may_be_replaced(tmp_path):
    out, log = tmp_path / "run.traj", tmp_path / "run.csv"
    for path in (out, log):
        path.write_text("mine")
        with pytest.raises(OutputError, match=rf"{path.name} exists; go on with it \(--restart\), replace it"):
            run_md(*springs(), out, steps=5)
        assert path.read_text() == "mine"
        if path == out:
            path.unlink()
    run_md(*springs(), out, steps=5, overwrite=True)
    assert len(ase.io.read(out, ":")) == 2
