"""The benchmarks of accuracy deal the same frames to everyone, measure what they say, and keep what is done."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import molgen
from molgen.errors import ConfigError, TrainingError

STEPS = 80  # of the stand-in for MACE, per epoch: 400 frames in fives
SECONDS = 2.0  # an epoch of the stand-in

# writes what `mace_run_train` and its calculator would: a log, a model, energies and forces
MACE = f"""#!{sys.executable}
import json, pathlib, sys
if sys.argv[1] == "-m":
    assert sys.argv[2:4] == ["mace.cli.run_train", "--config"]
    settings = pathlib.Path(sys.argv[4]).read_text()
    told = dict(line.split(": ", 1) for line in settings.splitlines() if ": " in line)
    epochs, folder = int(told["max_num_epochs"]), pathlib.Path(told["work_dir"])
    (folder / "logs").mkdir(), (folder / "checkpoints").mkdir()
    lines = ["2026-01-01 00:00:04.000 INFO: Started training, reporting errors on validation set"]
    lines += ["2026-01-01 00:00:05.000 INFO: Initial: loss=9.0, RMSE_E=  9.00 meV, RMSE_F=  9.00 meV / A"]
    for epoch in range(min(epochs, 9)):
        errors = f"loss={{abs(epoch - 1) + 1:8.8f}}, RMSE_E=  5.00 meV, RMSE_F={{20 + epoch:8.2f}} meV / A"
        when = f"2026-01-01 00:00:{{10 + {SECONDS:g} * epoch:06.3f}}"
        lines.append(f"{{when}} INFO: Epoch {{epoch}}: head: Default, {{errors}}")
    (folder / "logs/mace_run-0.log").write_text("\\n".join(lines))
    (folder / "checkpoints/mace_run-0.model").write_text("weights")
else:
    import numpy as np
    model, *files = sys.argv[2:]
    assert pathlib.Path(model).read_text() == "weights"
    for file in map(pathlib.Path, files):
        text = file.read_text()
        energies = [float(part.split()[0]) for part in text.split("REF_energy=")[1:]]
        atoms = sum(int(line) for line in text.splitlines() if line.isdigit())
        np.savez(file.stem + ".npz", energy=np.array(energies) + 0.003, forces=np.zeros((atoms, 3)), parameters=7)
"""
TINY = {
    "name": "tiny",
    "task": "potential",
    "encoder": {"use": "egnn", "config": {"channels": 4, "layers": 1, "cutoff": 3.0}},
    "data": {"path": "replaced.extxyz"},
    "training": {"hours": 1.0, "batch_size": 5, "warmup_steps": 1, "log_every": 1, "validate_every": 1000},
    "out": "replaced",
}


@pytest.fixture
def frames(script):
    return script("benchmarks/accuracy/frames")


@pytest.fixture
def tiny(tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture
def mace_python(tmp_path) -> Path:
    path = tmp_path / "mace-python"
    path.write_text(MACE)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def water(n: int, *, box: bool = False, seed: int = 0) -> molgen.Structures:
    """Frames with labels that mean nothing."""
    draw = torch.Generator().manual_seed(seed)
    rest = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [-0.3, 0.9, 0]], dtype=torch.float64)
    positions = rest.repeat(n, 1) + 0.1 * torch.randn(3 * n, 3, generator=draw, dtype=torch.float64)
    labels = {"energy": -2000.0 + torch.randn(n, generator=draw, dtype=torch.float64)}
    cell = (9.0 * box) * torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    if box:
        stress = 0.01 * torch.randn(n, 3, 3, generator=draw, dtype=torch.float64)
        labels["stress"] = stress + stress.mT
    return molgen.Structures.build(
        positions,
        [8, 1, 1] * n,
        [3] * n,
        cell=cell,
        pbc=[[box] * 3] * n,
        atom_labels={"forces": torch.randn(3 * n, 3, generator=draw, dtype=torch.float64)},
        structure_labels=labels,
    )


def core() -> str:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system can't hold a process to a core")
    return str(min(os.sched_getaffinity(0)))


@pytest.mark.parametrize("box", [False, True])
def test_frames_come_back_from_their_file_to_the_last_digit(frames, tmp_path, box):
    before = water(3, box=box)
    after = frames.read(frames.write(tmp_path / "new/frames.extxyz", before))
    assert torch.equal(after.positions, before.positions)
    assert torch.equal(after.pbc, before.pbc)
    assert torch.equal(after.cell.double(), before.cell.double())
    assert torch.equal(after.atom_labels["forces"], before.atom_labels["forces"])
    for name, label in before.structure_labels.items():
        assert torch.equal(after.structure_labels[name], label)


def test_frames_are_dealt_once_and_alike(frames):
    parts = frames.deal(500, (400, 50, 50), seed=3)
    assert sorted(torch.cat(parts).tolist()) == list(range(500))
    again, other = (frames.deal(500, (400, 50, 50), seed) for seed in (3, 4))
    assert all(torch.equal(*pair) for pair in zip(parts, again, strict=True))
    assert not torch.equal(parts[2], other[2])


def test_isolated_atoms_are_read_under_both_names_of_the_energy(frames, tmp_path):
    path = tmp_path / "atoms.extxyz"
    head = "1\nProperties=species:S:1:pos:R:3 "
    path.write_text(f"{head}energy=-13.5\nH 0 0 0\n{head}REF_energy=-2041 config_type=IsolatedAtom\nO 0 0 0\n")
    assert frames.isolated_energies(path) == {"H": -13.5, "O": -2041.0}


def test_errors_are_those_of_the_differences_in_the_units_of_the_literature(script):
    errors = script("benchmarks/harness/errors").errors
    structures = water(4, box=True)
    rng = np.random.default_rng(0)
    wrong = {"energy": rng.normal(size=4), "forces": rng.normal(size=(12, 3)), "stress": rng.normal(size=(4, 3, 3))}
    labels = {**structures.structure_labels, **structures.atom_labels}
    found = errors(structures, {name: labels[name] + torch.from_numpy(value) for name, value in wrong.items()})
    wrong["energy_per_atom"] = wrong["energy"] / 3
    for name, value in wrong.items():
        assert found[f"{name}_rmse"] == pytest.approx(1e3 * np.sqrt((value**2).mean()))
        assert found[f"{name}_mae"] == pytest.approx(1e3 * np.abs(value).mean())
    assert set(errors(structures, {"forces": labels["forces"]})) == {"forces_rmse", "forces_mae"}


def test_large_sets_are_evaluated_in_batches_that_hold_each_structure_once(script):
    batches = script("benchmarks/harness/errors")._batches(torch.tensor([600, 600, 3, 2000, 3, 3]))
    assert torch.cat(batches).tolist() == list(range(6))
    assert len(batches) > 2


def test_a_molecule_is_trained_on_and_tested_and_what_is_done_is_kept(script, tmp_path, tiny):
    data, n = tmp_path / "rmd17_water.npz", 60
    structures = water(3 * n)
    np.savez(
        data,
        Z=np.array([8, 1, 1], np.uint8),
        R=structures.positions.reshape(-1, 3, 3).numpy(),
        E=structures.structure_labels["energy"].numpy(),
        F=structures.atom_labels["forces"].reshape(-1, 3, 3).numpy(),
        split_train_01=np.arange(n, dtype=np.int32),
        split_test_01=np.arange(n, 2 * n, dtype=np.int32),
    )
    words = ["--quick", "--data", str(data), "--config", str(tiny), "--folder", str(tmp_path / "runs")]
    rmd17, out = script("benchmarks/rmd17"), tmp_path / "rmd17.json"
    rmd17.main([*words, "--json", str(out)])
    first = json.loads(out.read_text())["results"][0]
    (run,) = first["runs"]
    assert first["molecule"] == "water"
    assert run["steps"] >= 1
    assert run["errors"]["test"]["forces_mae"] > 100
    written = tmp_path / "runs/tiny-water-01-0"
    assert (written / "train.extxyz").read_text().count("REF_energy") == n - rmd17._VALIDATION

    model = (written / "run/last.safetensors").stat().st_mtime_ns
    rmd17.main([*words, "--json", str(out)])
    assert json.loads(out.read_text())["results"][0] == first
    assert (written / "run/last.safetensors").stat().st_mtime_ns == model
    tiny.write_text(yaml.safe_dump({**TINY, "loss": {"forces": 7.0}}))
    with pytest.raises(ConfigError, match="other settings"):
        rmd17.main([*words, "--json", str(out)])


def test_mace_and_ours_get_the_same_frames_and_are_tested_alike(script, frames, tmp_path, tiny, mace_python):
    data, out, one = tmp_path / "3bpa", tmp_path / "three_bpa.json", core()
    frames.write(data / "3bpa_train_300K.xyz", water(500))
    for seed, name in enumerate(("600K", "1200K")):
        frames.write(data / f"3bpa_ood_{name}.xyz", water(5, seed=seed + 1))
    atom = "1\nProperties=species:S:1:pos:R:3 energy={}\n{} 0 0 0\n"
    (data / "3bpa_isolated_atoms.xyz").write_text(atom.format(-10, "H") + atom.format(-1990, "O"))
    words = ["--quick", "--data", str(data), "--config", str(tiny), "--folder", str(tmp_path / "runs")]
    words += ["--mace-python", str(mace_python), "--mace-epochs", "4", "--cores", one, one, "--json", str(out)]
    script("benchmarks/three_bpa").main(words)
    ours, mace = json.loads(out.read_text())["results"]
    assert (ours["name"], mace["name"]) == ("tiny", "MACE")
    assert set(ours["errors"]) == set(mace["errors"]) == {"held_out", "ood_600K", "ood_1200K"}
    assert mace["errors"]["held_out"]["energy_rmse"] == pytest.approx(3.0)
    assert mace["parameters"] == 7
    assert mace["steps"] == 4 * STEPS
    assert mace["minutes"] == pytest.approx((10 + 3 * SECONDS - 4) / 60)
    assert mace["best_step"] == 2 * STEPS
    told = yaml.safe_load((tmp_path / "runs/tiny-0/mace/settings.yaml").read_text())
    config = yaml.safe_load((tmp_path / "runs/tiny-0/molgen.yaml").read_text())
    assert Path(told["train_file"]) == Path(config["data"]["path"]).resolve()
    assert Path(told["valid_file"]) == Path(config["data"]["validation_path"]).resolve()
    assert told["E0s"] == "{1: -10.0, 8: -1990.0}"
    files = {name: (tmp_path / f"runs/data/{name}.extxyz").read_text() for name in ("train", "validation", "held_out")}
    assert [text.count("REF_energy") for text in files.values()] == [400, 50, 2]


def test_the_length_of_an_epoch_of_mace_is_measured(script, tmp_path, mace_python):
    settings = {"max_num_epochs": 100, "batch_size": 5}
    mace = script("benchmarks/accuracy/mace_runs").Mace(mace_python, settings, tmp_path, tmp_path, {"H": -1.0}, 1)
    assert mace.seconds_per_epoch(tmp_path / "short", core=None) == pytest.approx(SECONDS)


def test_no_module_hides_a_package_from_the_program_that_runs_in_the_environment_of_mace():
    folder = Path(__file__).parents[2] / "scripts/benchmarks/accuracy"  # python puts it first on the path
    names = {path.stem for path in folder.glob("*.py")}
    assert not names & {"ase", "e3nn", "mace", "matscipy", "numpy", "torch", *sys.stdlib_module_names}


def test_a_peer_that_fails_is_told_with_its_last_words(script, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no module named mace\nexit 3\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    mace = script("benchmarks/accuracy/mace_runs").Mace(broken, {"max_num_epochs": 9}, tmp_path, tmp_path, {}, 1)
    with pytest.raises(TrainingError, match="no module named mace"):
        mace.seconds_per_epoch(tmp_path / "run", core=None)


def test_a_core_that_is_not_there_is_refused(script, tmp_path):
    core()
    with pytest.raises(ConfigError, match="no core 9999"):
        script("benchmarks/accuracy/processes").Pinned(["true"], tmp_path / "log", core=9999, threads=1)


def test_who_is_started_ends_with_a_program_that_is_terminated(tmp_path):
    here = Path(__file__).parents[2] / "scripts/benchmarks"
    program = f"""
import sys, time, pathlib
sys.path.insert(0, {str(here)!r})
from accuracy.processes import Pinned
words = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
with Pinned(words, pathlib.Path({str(tmp_path / "log")!r}), core=None, threads=1) as process:
    process.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    until = time.monotonic() + 60
    while not (tmp_path / "log").exists() or not (tmp_path / "log").read_text().strip():
        assert time.monotonic() < until
        time.sleep(0.05)
    parent.terminate()
    assert parent.wait(60) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "log").read_text()), 0)


@pytest.mark.parametrize("name", ["three_bpa", "rmd17", "water", "silicon"])
def test_the_configs_of_the_benchmarks_are_valid(script, tmp_path, name):
    here = Path(__file__).parents[2] / f"scripts/benchmarks/accuracy/{name}.yaml"
    runs = script("benchmarks/accuracy/runs")
    config = runs.configured(here, out=tmp_path, minutes=30, threads=1, train=tmp_path, validation=tmp_path)
    assert config.training.hours == 0.5
    assert config.training.steps is None


def test_the_networks_that_are_compared_are_valid(script, tmp_path):
    program = script("benchmarks/encoders_on_organics")
    for name in ("train.extxyz", "validation.extxyz.xz"):
        (tmp_path / name).touch()
    (tmp_path / "isolated_atoms.extxyz").write_text("1\nProperties=species:S:1:pos:R:3 REF_energy=-10.5\nH 0 0 0\n")
    arguments = program._options().parse_args(["--data", str(tmp_path)])
    configs = program._configs(yaml.safe_load(arguments.networks_file.read_text()), arguments)
    assert {name for name, _ in configs} >= {"egnn", "gaunt", "gaunt-full", "clebsch-gordan", "escn", "scn"}
    assert len({str(config.encoder) for config in configs.values()}) == len(configs)
    arguments.networks = ["gount"]
    with pytest.raises(ConfigError, match="gaunt"):
        program._configs(yaml.safe_load(arguments.networks_file.read_text()), arguments)
