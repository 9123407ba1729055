"""`molgen md` with a small potential of random weights."""

from __future__ import annotations

import json
import runpy
import signal
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from simulation.potentials import ethanol, silicon, written

from molgen.cli.main import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "ethanol.xyz"
    ase.io.write(path, ethanol())
    return path


def run(file: Path, model: Path, out: Path, *options: str) -> int:
    return main(["md", str(file), "--model", str(model), "--out", str(out), *options])


def test_a_run_ends_with_its_figures_and_files(model, file, tmp_path, capsys):
    out = tmp_path / "run.traj"
    assert run(file, model, out, "--steps", "40", "--ensemble", "nve") == 0
    figures, log, trajectory = capsys.readouterr().out.splitlines()
    assert figures.startswith("40 steps · 0.02 ps · ")
    assert "meV/atom/ps" in figures
    assert "ns/day" in figures
    assert (log, trajectory) == (str(tmp_path / "run.csv"), str(out))
    assert [frame.info["md_step"] for frame in ase.io.read(out, ":")] == [0, 20, 40]


def test_every_option_is_taken(model, file, tmp_path):
    options = (
        "--ensemble langevin --temperature 500 --timestep 1 --length 0.01ps --friction 0.02 --interval 5 --index -1 "
        "--velocities draw --max-force 90 --max-temperature 9000 --seed 3 --device cpu --dtype float32 --threads 1"
    )
    places = ["--log", str(tmp_path / "energies.csv"), "--json", str(tmp_path / "summary.json")]
    assert run(file, model, tmp_path / "run.extxyz", *options.split(), *places) == 0
    info = ase.io.read(tmp_path / "run.extxyz").info
    assert (info["md_step"], info["md_time_fs"], info["md_temperature"], info["md_friction"]) == (10, 10, 500, 0.02)
    assert info["md_model"].startswith("sha256:")
    assert len((tmp_path / "energies.csv").read_text().splitlines()) == 4
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 10
    assert summary["drift_meV_per_atom_ps"] is None
    assert summary["ns_per_day"] > 0


def test_json_on_standard_output_is_all_that_is_printed(model, file, tmp_path, capsys):
    assert run(file, model, tmp_path / "run.traj", "--steps", "2", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(tmp_path / "run.traj")


def test_a_restart_goes_on_to_the_same_end(model, file, tmp_path):
    for steps in ("13", "30"):
        assert run(file, model, tmp_path / "parts.traj", "--steps", steps, "--restart") == 0
    assert run(file, model, tmp_path / "whole.traj", "--steps", "30") == 0
    ends = [ase.io.read(tmp_path / name).positions for name in ("parts.traj", "whole.traj")]
    assert np.array_equal(*ends)
    assert run(file, model, tmp_path / "parts.traj", "--steps", "30", "--restart", "--temperature", "10") == 2


def test_a_signal_ends_with_130_and_a_restart_goes_on(model, file, tmp_path, capsys, monkeypatch):
    from molgen.simulation.run import Run

    advance = Run._advance

    def signalled(self, dynamics):
        advance(self, dynamics)
        if self.step == 7:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Run, "_advance", signalled)
    out = tmp_path / "run.traj"
    assert run(file, model, out, "--steps", "30") == 130
    assert "stopped after 7 steps; --restart goes on from there" in capsys.readouterr().err
    assert ase.io.read(out).info["md_step"] == 7
    monkeypatch.undo()
    assert run(file, model, out, "--steps", "30", "--restart") == 0
    assert [frame.info["md_step"] for frame in ase.io.read(out, ":")] == [0, 20, 30]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "how long the run is; expected one of --steps and --length"),
        (["--steps", "5", "--length", "1ps"], "expected one of --steps and --length"),
        (["--length", "5 minutes"], "'5 minutes' is no simulated time; expected a number with fs, ps or ns"),
        (["--length", "1ps", "--timestep", "0"], "the timestep is 0.0"),
        (["--steps", "-5"], "steps is -5"),
        (["--steps", "5", "--timestep", "0"], "the timestep is 0.0; expected a positive number of fs"),
        (["--steps", "5", "--temperature", "-300"], "the temperature is -300.0; expected 0 K or more"),
        (["--steps", "5", "--ensemble", "npt"], "'npt' is not one of"),
        (["--steps", "5", "--friction", "0"], "the friction is 0.0"),
        (["--steps", "5", "--interval", "0"], "the interval is 0"),
        (["--steps", "5", "--index", "4"], "there is no structure 4"),
        (["--steps", "5", "--velocities", "file"], "the structure has no velocities"),
        (["--steps", "5", "--max-force", "0"], "the limit of force is 0.0"),
        (["--steps", "5", "--device", "abacus"], "unknown device 'abacus'"),
        (["--steps", "5", "--max-force", "0.001"], "(step 0, before any move)"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line_and_leaves_nothing(model, file, tmp_path, capsys, options, words):
    assert run(file, model, tmp_path / "run.traj", *options) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_structures_that_the_model_can_not_take_are_told_in_one_line(model, tmp_path, capsys):
    ase.io.write(tmp_path / "iron.xyz", bulk("Fe", cubic=True))
    assert run(tmp_path / "iron.xyz", model, tmp_path / "run.traj", "--steps", "5") == 2
    assert "atom 0 is Fe, an element that the model doesn't know" in capsys.readouterr().err
    molecules = written(tmp_path / "complete.safetensors", encoder={"channels": 4, "layers": 1})
    ase.io.write(tmp_path / "silicon.cif", silicon())
    assert run(tmp_path / "silicon.cif", molecules, tmp_path / "run.traj", "--steps", "5") == 2
    assert "it is periodic, and the model takes molecules alone" in capsys.readouterr().err


def test_files_that_can_not_be_used_are_told_in_one_line(model, file, tmp_path, capsys):
    for other, out, words in (
        (tmp_path / "gone.xyz", "run.traj", "no such file or directory"),
        (file, "run.dcd", "trajectories can't be written to .dcd"),
        (file, "no/run.traj", "there is no folder"),
    ):
        assert run(other, model, tmp_path / out, "--steps", "5") == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
    assert run(file, model, tmp_path / "run.traj", "--steps", "1") == 0
    assert run(file, model, tmp_path / "run.traj", "--steps", "1") == 2
    assert "run.traj exists; go on with it (--restart), replace it (--overwrite)" in capsys.readouterr().err
    assert run(file, model, tmp_path / "run.traj", "--steps", "1", "--overwrite") == 0


def test_a_run_that_leaves_reason_is_told_with_what_to_do(model, file, tmp_path, capsys):
    out = tmp_path / "run.traj"
    assert run(file, model, out, "--steps", "500", "--timestep", "80") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "take a smaller timestep" in told
    assert str(tmp_path / "run.bad.extxyz") in told
    assert ase.io.read(tmp_path / "run.bad.extxyz").get_chemical_formula() == "C2H6O"
    assert len(ase.io.read(out, ":")) >= 1


def test_the_script_heats_a_molecule_and_plots_its_energies(model, file, tmp_path, capsys, monkeypatch):
    script = Path(__file__).parents[2] / "scripts" / "md.py"
    out = tmp_path / "out" / "run.traj"
    monkeypatch.setattr(sys, "argv", [str(script), str(file), str(out), "--model", str(model), "--length", "0.01"])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == str(out.with_suffix(".png"))
    assert out.with_suffix(".png").stat().st_size > 1000
    assert len(ase.io.read(out, ":")) == 2


def test_a_restart_with_nothing_left_to_do_says_so(model, file, tmp_path, capsys):
    out = tmp_path / "run.traj"
    assert run(file, model, out, "--steps", "6") == 0
    before = out.read_bytes()
    capsys.readouterr()
    assert run(file, model, out, "--steps", "4", "--restart") == 0
    assert capsys.readouterr().out == f"nothing is left to do: 6 steps are done already, in {out}\n"
    assert out.read_bytes() == before
    assert run(file, model, out, "--steps", "9", "--restart", "--dtype", "float32") == 2
    assert "its dtype was float64, and this run's is float32" in capsys.readouterr().err
