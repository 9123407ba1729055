"""Dynamics that end early: states beyond reason, signals, full disks, files that a killed process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from hypothesis import given
from hypothesis import strategies as st
from simulation.potentials import ethanol, poisoned, potential
from simulation.wells import Springs

from molgen.errors import ConfigError, FileFormatError, OutputError, SimulationError, StructureError
from molgen.simulation.dynamics import run_md
from molgen.simulation.guard import Limits, closest_pair, lone_atoms
from molgen.simulation.run import SimulationInterrupted
from molgen.simulation.trajectory import open_trajectory


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (("energy", float("nan")), "an energy of nan eV"),
        (("energy", float("inf")), "an energy of inf eV"),
        (("energy", -60.0), r"the potential energy is -6\.\d\d eV/atom from where it started"),
        (("energy", 2.0), r"the total energy is \+0\.\d\d\d eV/atom from where it started"),
        (("forces", float("nan")), r"a force that is not finite on atom 0 \(C\)"),
        (("forces", 1e6), r"a force of \S+ eV/Å on atom \d \([CHO]\), above the limit of 100"),
    ],
)
@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
def test_what_leaves_reason_ends_the_run_with_the_state_before_and_the_bad_one(tmp_path, how, words, suffix):
    atoms = molecule("CH3CH2OH")
    out = tmp_path / f"run{suffix}"
    # the first call is that of the start
    calculator = Springs(atoms, breaks_at=15, how=how)
    with pytest.raises(SimulationError, match=words) as raised:
        run_md(atoms, calculator, out, steps=50, interval=10, ensemble="nve")
    told = str(raised.value)
    assert "(step 14, 7 fs)" in told
    assert str(out) in told
    assert str(tmp_path / "run.bad.extxyz") in told
    frames = ase.io.read(out, ":")
    assert [frame.info["md_step"] for frame in frames] == [0, 10, 13]
    assert np.isfinite(frames[-1].get_potential_energy())
    bad = ase.io.read(tmp_path / "run.bad.extxyz")
    assert bad.info["md_step"] == 14
    assert not np.array_equal(bad.positions, frames[-1].positions)


def test_a_temperature_beyond_reason_ends_the_run(tmp_path):
    atoms = molecule("H2O")
    calculator = Springs(atoms, stiffness=50.0)
    atoms.positions[1] *= 1.3
    limits = Limits(temperature=500.0, drift=100.0)
    with pytest.raises(SimulationError, match=r"a temperature of \d+ K, above the limit of 500 K"):
        run_md(atoms, calculator, tmp_path / "hot.traj", steps=500, ensemble="nve", temperature=10, limits=limits)


def test_a_start_beyond_reason_is_told_and_nothing_is_written(tmp_path):
    atoms = molecule("H2O")
    calculator = Springs(atoms, stiffness=500.0)
    atoms.positions[1] += 5.0
    with pytest.raises(SimulationError, match=r"a force of .* \(step 0, before any move\).*relax the structure first"):
        run_md(atoms, calculator, tmp_path / "run.traj", steps=5)
    atoms.positions[2] = atoms.positions[0] + 0.01
    limits = Limits(force=1e9, energy=1e9, temperature=1e9)
    with pytest.raises(SimulationError, match=r"atoms 0 \(O\) and 2 \(H\) are 0.0173 Å apart"):
        run_md(atoms, calculator, tmp_path / "run.traj", steps=5, limits=limits)
    assert not list(tmp_path.iterdir())


def test_a_model_that_breaks_is_told_in_the_words_of_its_calculator(tmp_path):
    with pytest.raises(StructureError, match="finite"):
        run_md(ethanol(), poisoned(potential()), tmp_path / "run.traj", steps=5)
    assert not list(tmp_path.iterdir())


def test_a_huge_timestep_is_told_as_such(tmp_path):
    with pytest.raises(SimulationError, match="take a smaller timestep"):
        run_md(ethanol(), potential(), tmp_path / "run.traj", steps=200, timestep=100.0)
    assert (tmp_path / "run.bad.extxyz").exists()


def test_an_atom_that_leaves_its_molecule_is_noted(tmp_path):
    atoms = Atoms("Ar3", [[0, 0, 0], [3.4, 0, 0], [1.7, 2.9, 0]])
    atoms.set_momenta([[0, 0, 0], [0, 0, 0], [0, 15, 0]])
    settings = {"ensemble": "nve", "velocities": "file", "timestep": 2.0}
    calculator = LennardJones(sigma=3.4 / 2 ** (1 / 6), epsilon=0.01, rc=10)
    ended = run_md(atoms, calculator, tmp_path / "run.traj", steps=200, **settings)
    assert len(ended.notes) == 1
    assert "atom 2 (Ar) has left its molecule by step" in ended.notes[0]


@pytest.mark.parametrize("name", ["force", "temperature", "energy", "drift", "distance"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_limit_is_a_positive_number(name, value):
    with pytest.raises(ConfigError, match=f"the limit of {name} is {value}"):
        Limits(**{name: value})


def test_the_closest_pair_counts_periodic_images():
    silicon = bulk("Si", cubic=True)
    i, j, length = closest_pair(silicon, 3.0)
    assert length == pytest.approx(silicon.get_distance(i, j, mic=True))
    assert closest_pair(silicon, 2.0) is None
    edge = Atoms("H2", [[0.1, 0, 0], [9.9, 0, 0]], cell=[10, 10, 10], pbc=True)
    assert closest_pair(edge, 0.3)[2] == pytest.approx(0.2)
    edge.pbc = False
    assert closest_pair(edge, 0.3) is None
    assert lone_atoms(edge) == {0, 1}


RUN = """
    import sys
    sys.path.insert(0, {tests!r})
    from ase.build import molecule
    from simulation.wells import Springs
    from molgen.simulation.dynamics import run_md
    atoms = molecule("CH3CH2OH")
    run_md(atoms, Springs(atoms), {out!r}, steps={steps}, interval={interval}, ensemble="langevin", restart=True)
"""


def started(out, steps: int, interval: int = 7) -> subprocess.Popen:
    tests = str(__file__).rsplit("/", 2)[0]
    code = textwrap.dedent(RUN).format(tests=tests, out=str(out), steps=steps, interval=interval)
    return subprocess.Popen([sys.executable, "-c", code])


def wait_for(path, size: int) -> None:
    for _ in range(600):
        if path.exists() and path.stat().st_size > size:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not grow")


def test_a_run_that_is_killed_goes_on_to_the_same_end(tmp_path):
    out = tmp_path / "run.traj"
    process = started(out, 1_000_000)
    wait_for(out, 5_000)
    process.kill()
    process.wait(timeout=60)
    steps = ase.io.read(out, -1).info["md_step"] + 30
    atoms = molecule("CH3CH2OH")
    run_md(atoms, Springs(atoms), out, steps=steps, interval=7, restart=True)
    run_md(atoms, Springs(atoms), tmp_path / "whole.traj", steps=steps, interval=7)
    ends = [ase.io.read(tmp_path / name, ":") for name in ("run.traj", "whole.traj")]
    assert len(ends[0]) == len(ends[1])
    for a, b in zip(*ends, strict=True):
        assert np.array_equal(a.positions, b.positions)
    logs = [(tmp_path / name).read_text() for name in ("run.csv", "whole.csv")]
    assert logs[0] == logs[1]


def test_an_interrupt_in_the_midst_of_a_step_keeps_the_state_before(tmp_path):
    atoms = molecule("CH3CH2OH")

    class Interrupting(Springs):
        def calculate(self, *arguments, **named):
            super().calculate(*arguments, **named)
            if self.calls == 12:
                raise KeyboardInterrupt

    with pytest.raises(SimulationInterrupted) as raised:
        run_md(atoms, Interrupting(atoms), tmp_path / "run.traj", steps=50)
    assert raised.value.simulation.steps == 10
    run_md(atoms, Springs(atoms), tmp_path / "run.traj", steps=20, restart=True)
    run_md(atoms, Springs(atoms), tmp_path / "whole.traj", steps=20)
    ends = [ase.io.read(tmp_path / name, -1).positions for name in ("run.traj", "whole.traj")]
    assert np.array_equal(*ends)


def frames_of(n: int) -> list[Atoms]:
    found = []
    for step in range(n):
        atoms = ethanol(seed=step)
        atoms.set_momenta(np.random.default_rng(step).normal(size=(9, 3)))
        atoms.info["md_step"] = step
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory) -> dict[str, tuple[bytes, list[int]]]:
    """The bytes of a trajectory of each format, and its length after each frame."""
    found = {}
    for suffix in (".traj", ".extxyz"):
        path = tmp_path_factory.mktemp("frames") / f"whole{suffix}"
        trajectory = open_trajectory(path, restart=False, overwrite=False)
        sizes = []
        for frame in frames_of(4):
            trajectory.append(frame)
            sizes.append(path.stat().st_size)
        trajectory.close()
        found[suffix] = path.read_bytes(), sizes
    return found


@given(data=st.data(), suffix=st.sampled_from([".traj", ".extxyz"]))
def test_a_trajectory_that_was_cut_anywhere_keeps_its_whole_frames_and_takes_more(
    tmp_path_factory, trajectories, data, suffix
):
    content, sizes = trajectories[suffix]
    # what holds the first frame at least, and in ASE's format the list of frames, which is moved with the second
    cut = data.draw(st.integers(sizes[1 if suffix == ".traj" else 0], len(content)))
    path = tmp_path_factory.mktemp("cut") / f"run{suffix}"
    path.write_bytes(content[:cut])
    trajectory = open_trajectory(path, restart=True, overwrite=False)
    whole = sum(size <= cut for size in sizes)
    assert len(trajectory) == whole
    more = frames_of(6)[5]
    trajectory.append(more)
    trajectory.close()
    found = ase.io.read(path, ":")
    assert [frame.info["md_step"] for frame in found] == [*range(whole), 5]
    for frame, before in zip(found, [*frames_of(whole), more], strict=True):
        assert np.array_equal(frame.positions, before.positions)
        assert np.array_equal(frame.get_momenta(), before.get_momenta())


def test_a_trajectory_without_a_frame_that_can_be_read_is_not_replaced(tmp_path, trajectories):
    content, sizes = trajectories[".traj"]
    path = tmp_path / "run.traj"
    path.write_bytes(content[: sizes[0]])
    with pytest.raises(FileFormatError, match="none of its frames can be read"):
        open_trajectory(path, restart=True, overwrite=False)
    assert path.read_bytes() == content[: sizes[0]]


@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
def test_a_last_frame_can_give_way_to_the_next(tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    frames = frames_of(60)
    trajectory = open_trajectory(path, restart=False, overwrite=False)
    for frame in frames[:45]:
        trajectory.append(frame)
    trajectory.close()
    trajectory = open_trajectory(path, restart=True, overwrite=False)
    trajectory.replace_last()
    assert len(trajectory) == 45
    for frame in frames[50:]:
        trajectory.append(frame)
    trajectory.close()
    steps = [frame.info["md_step"] for frame in ase.io.read(path, ":")]
    assert steps == [*range(44), *range(50, 60)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of a process")
@pytest.mark.parametrize("suffix", [".traj", ".extxyz"])
def test_a_full_disk_leaves_the_frames_before_whole(tmp_path, suffix):
    resource = pytest.importorskip("resource")
    path = tmp_path / f"run{suffix}"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        atoms = molecule("CH3CH2OH")
        with pytest.raises(OutputError, match=r"can't write .*run"):
            run_md(atoms, Springs(atoms), path, steps=400, interval=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    written = ase.io.read(path, ":")
    assert len(written) > 5
    run_md(atoms, Springs(atoms), path, steps=400, interval=2, restart=True)
    assert [frame.info["md_step"] for frame in ase.io.read(path, ":")] == list(range(0, 401, 2))
