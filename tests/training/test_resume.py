"""An interrupted run equals an uninterrupted one to the bit, whatever interrupts it."""

from __future__ import annotations

import csv
import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from molgen.errors import CheckpointError, ConfigError, OutputError, TrainingError
from molgen.models.checkpoint import read_checkpoint
from molgen.training import generator, train
from molgen.training.state import load_state, saved_states

WALL_CLOCK = {"hours", "molecules_per_second"}


def state_of(folder: str) -> tuple[dict[str, torch.Tensor], dict]:
    tensors, document = load_state(saved_states(Path(folder))[0])
    del document["counters"]["seconds"]
    return tensors, document


def log_of(folder: str) -> list[dict[str, str]]:
    rows = csv.DictReader(Path(folder, "log.csv").read_text().splitlines())
    return [{key: value for key, value in row.items() if key not in WALL_CLOCK} for row in rows]


def assert_equal_runs(one: str, other: str) -> None:
    (tensors, document), (others, other_document) = state_of(one), state_of(other)
    assert document == other_document
    assert tensors.keys() == others.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], others[name])] == []
    assert log_of(one) == log_of(other)
    for file in ("last.safetensors", "best.safetensors"):
        weights, other_weights = (read_checkpoint(Path(run, file)).tensors for run in (one, other))
        assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


@pytest.mark.parametrize("options", [{}, {"optimizer": "muon"}, {"schedule": "warmup-stable-decay"}])
def test_a_run_stopped_after_every_step_equals_one_that_is_not(config, options):
    if options.get("optimizer") == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    whole, parts = config("whole", **options), config("parts", **options)
    train(whole, progress=False)
    for _ in range(12):
        train(parts, resume=True, budget=1e-9, progress=False)
    assert_equal_runs(whole["out"], parts["out"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_run_and_it_goes_on_where_it_was(config, trouble, number):
    whole, parts = config("whole"), config("parts")
    train(whole, progress=False)
    trouble(signal_at=25, signal=int(number))
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(parts, progress=False)
    assert 0 < state_of(parts["out"])[1]["counters"]["step"] < 12
    assert signal.getsignal(number) == before
    trouble()
    train(parts, resume=True, progress=False)
    assert_equal_runs(whole["out"], parts["out"])


def test_a_killed_process_loses_only_the_steps_since_its_last_checkpoint(config, tiny_plugin, tmp_path):
    whole, parts = config("whole"), config("parts", checkpoint_minutes=0.0)
    train(whole, progress=False)
    file = tmp_path / "parts.yaml"
    file.write_text(yaml.safe_dump(parts))
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(tiny_plugin.path), environment.get("PYTHONPATH", "")])
    environment["FAKE_TINY"] = '{"seconds": 0.2}'
    program = [sys.executable, "-c", "from molgen.cli.main import run; run()", "train", str(file)]
    process = subprocess.Popen(program, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        out = Path(parts["out"])
        deadline = time.monotonic() + 60
        while len(saved_states(out)) < 2 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    reached = state_of(parts["out"])[1]["counters"]["step"]
    assert 2 <= reached < 12
    train(parts, resume=True, progress=False)
    assert_equal_runs(whole["out"], parts["out"])


def test_a_damaged_state_is_told_and_the_one_before_it_taken(config, capfd):
    whole, parts = config("whole"), config("parts", checkpoint_minutes=0.0)
    train(whole, progress=False)
    train(parts, progress=False)
    newest = saved_states(Path(parts["out"]))[0]
    shard = newest / "000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    train(parts, resume=True)
    told = capfd.readouterr().err
    assert "altered" in told
    assert "going on from step 11" in told
    assert_equal_runs(whole["out"], parts["out"])


def test_a_run_whose_states_are_all_damaged_is_refused(config):
    parts = config()
    train(parts, progress=False)
    for state in saved_states(Path(parts["out"])):
        (state / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match="training state"):
        train(parts, resume=True, progress=False)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ({"encoder.config.channels": 9}, "components.encoder.config.channels"),
        ({"training.batch_size": 5}, "training.batch_size"),
        ({"training.seed": 1}, "training.seed"),
        ({"data.train": 29}, "data.train"),
        ({"data.split_seed": 1}, "data.split_seed"),
    ],
)
def test_what_shapes_model_or_order_may_not_change_on_resume(config, overrides, key):
    train(config(steps=2), progress=False)
    with pytest.raises(TrainingError, match=key.replace(".", r"\.")):
        train(config(steps=4), overrides=overrides, resume=True, progress=False)


def test_a_run_may_go_on_with_another_number_of_threads(config, monkeypatch):
    train(config(steps=2), progress=False)
    # sums over threads round differently
    measured = generator.measure_statistics
    monkeypatch.setattr(
        generator,
        "measure_statistics",
        lambda *args: {name: math.nextafter(value, 0.0) for name, value in measured(*args).items()},
    )
    train(config(steps=4), resume=True, progress=False)
    assert state_of(config()["out"])[1]["counters"]["step"] == 4


def test_steps_may_be_raised_on_resume(config):
    train(config("parts", schedule="constant", steps=5), progress=False)
    train(config("parts", schedule="constant", steps=12), resume=True, progress=False)
    train(config("whole", schedule="constant"), progress=False)
    assert_equal_runs(config("whole")["out"], config("parts")["out"])


def test_an_annealed_run_ends_after_the_steps_that_were_asked_for_even_if_it_is_interrupted(config):
    options = {"schedule": "warmup-stable-decay", "steps": 1000}
    for out in ("whole", "parts"):
        train(config(out, **options, hours=1), budget=1e-9, progress=False)
    train(config("whole", **options), resume=True, anneal=9, progress=False)
    train(config("parts", **options), resume=True, anneal="9", budget=1e-9, progress=False)
    for _ in range(8):
        train(config("parts", **options), resume=True, budget=1e-9, progress=False)
    counters = state_of(config("parts")["out"])[1]["counters"]
    assert counters["step"] == 10
    assert_equal_runs(config("whole")["out"], config("parts")["out"])
    rates = [float(row["learning_rate"]) for row in log_of(config("whole")["out"])]
    assert rates[-1] < 0.25 * max(rates)


def test_hours_end_a_run_and_let_the_learning_rate_fall_before(config, trouble):
    trouble(seconds=0.02)
    options = {"schedule": "warmup-stable-decay", "steps": None, "hours": 0.4 / 3600, "decay_fraction": 0.5}
    train(config(**options, warmup_steps=0, log_every=1), progress=False)
    rates = [float(row["learning_rate"]) for row in log_of(config()["out"])]
    assert rates[0] == pytest.approx(0.01)
    assert rates[-1] < 0.008
    assert (
        len(rates)
        == state_of(config()["out"])[1]["counters"]["anneal"]["start"]
        + len([rate for rate in rates if rate < 0.01])
        + 1
    )


def test_a_run_that_is_finished_stays_as_it_is(config):
    train(config(), progress=False)
    before = {path: path.read_bytes() for path in Path(config()["out"]).rglob("*.safetensors")}
    train(config(), resume=True, progress=False)
    assert {path: path.read_bytes() for path in Path(config()["out"]).rglob("*.safetensors")} == before


def test_resuming_what_has_not_begun_begins_it(config):
    train(config("whole"), progress=False)
    train(config("parts"), resume=True, progress=False)
    assert_equal_runs(config("whole")["out"], config("parts")["out"])


def test_annealing_asks_for_a_run(config):
    with pytest.raises(ConfigError, match="resume"):
        train(config(), anneal=5, progress=False)
    with pytest.raises(ConfigError, match="no run"):
        train(config(), anneal=5, resume=True, progress=False)


def test_a_disk_that_fills_up_leaves_the_last_checkpoint_whole(config):
    train(config(steps=5), progress=False)
    before = state_of(config()["out"])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limit[1]))
    try:
        with pytest.raises(OutputError, match="can't write"):
            train(config(steps=12, validate_every=1000), resume=True, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    after = state_of(config()["out"])
    assert after[1] == before[1]
    assert all(torch.equal(after[0][name], before[0][name]) for name in before[0])
    assert not list(Path(config()["out"]).glob(".*"))
    read_checkpoint(Path(config()["out"], "last.safetensors"))
