"""What a run leaves behind, what it measures, and how it is refused or fails."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml

import molgen
from molgen.cli.main import main
from molgen.data.batches import Buckets, every_batch
from molgen.data.cache import Cache, write_cache
from molgen.data.splits import split
from molgen.errors import ConfigError, FileFormatError, OutputError, TrainingError
from molgen.models.checkpoint import read_checkpoint
from molgen.models.restoration import restore
from molgen.structures import Structures
from molgen.training.batches import Feed
from molgen.training.state import load_state, saved_states
from molgen.training.statistics import measure_schema, measure_statistics
from molgen.training.validation import validation_samples


def test_a_run_ends_with_a_model_that_can_be_restored(config):
    path = molgen.train(config(), progress=False)
    checkpoint = read_checkpoint(path)
    document = checkpoint.document
    assert restore(checkpoint).module.encoder.hidden.weight.shape == (16, 16)
    assert document.name == "tiny"
    assert document.training["steps"] == 12
    assert document.training["samples"] == load_state(saved_states(path.parent)[0])[1]["counters"]["samples"]
    assert document.training["hours"] > 0
    assert math.isfinite(document.training["validation_loss"])
    assert document.training["hardware"]["torch"] == str(torch.__version__)
    assert document.data_fingerprint == Cache.open(config()["data"]["path"]).fingerprint
    assert (
        read_checkpoint(path.parent / "best.safetensors").document.training["validation_loss"]
        <= (document.training["validation_loss"])
    )


def test_the_log_has_losses_speed_and_validation(config):
    path = molgen.train(config(), progress=False)
    rows = (path.parent / "log.csv").read_text().splitlines()
    assert rows[0].split(",") == [
        "step",
        "samples",
        "hours",
        "molecules_per_second",
        "learning_rate",
        "skipped",
        "loss",
        "position",
        "gradient_norm",
        "validation_loss",
        "validation_position",
    ]
    table = [dict(zip(rows[0].split(","), row.split(","), strict=True)) for row in rows[1:]]
    assert [int(row["step"]) for row in table] == [2, 4, 5, 6, 8, 10, 12]
    assert [row["step"] for row in table if row["validation_loss"]] == ["5", "10", "12"]
    assert all(float(row["position"]) == pytest.approx(float(row["loss"]) / 3, rel=1e-4) for row in table)


def test_training_lowers_the_loss_of_held_out_structures(config):
    path = molgen.train(config(steps=150, validate_every=150, schedule="constant"), progress=False)
    after = read_checkpoint(path).document.training["validation_loss"]
    path = molgen.train(config("untrained", steps=1, learning_rate=1e-9, warmup_steps=0), progress=False)
    assert after < 0.95 * read_checkpoint(path).document.training["validation_loss"]


def test_the_run_and_the_global_generator_leave_each_other_alone(config):
    torch.manual_seed(5)
    one = molgen.train(config("one"), progress=False)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    torch.manual_seed(6)
    other = molgen.train(config("other"), progress=False)
    weights, others = read_checkpoint(one).tensors, read_checkpoint(other).tensors
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_a_few_steps_without_a_finite_gradient_are_skipped_and_counted(config, trouble):
    trouble(poisoned=[8, 12])
    path = molgen.train(config(), progress=False)
    counters = load_state(saved_states(path.parent)[0])[1]["counters"]
    assert counters["skipped"] >= 1
    assert counters["averaged"] == counters["step"] - counters["skipped"]
    assert all(bool(torch.isfinite(value).all()) for value in read_checkpoint(path).tensors.values())


def test_many_of_them_end_the_run_with_its_step(config, trouble):
    trouble(poisoned=[8, 10**6])
    with pytest.raises(TrainingError, match=r"no finite gradient for 3 steps in a row \(step \d+, loss nan\)"):
        molgen.train(config(max_skipped=3, steps=50), progress=False)


def test_memory_that_runs_out_is_told_and_the_last_checkpoint_is_whole(config, trouble):
    trouble(exhausted_at=25)
    with pytest.raises(TrainingError, match=r"out of memory \(batches of 4 structures\); lower training.batch_size"):
        molgen.train(config(checkpoint_minutes=0.0), progress=False)
    _, document = load_state(saved_states(Path(config()["out"]))[0])
    assert document["counters"]["step"] >= 6


def test_a_folder_with_something_in_it_is_left_alone(config):
    out = Path(config()["out"])
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        molgen.train(config(), progress=False)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_overwriting_removes_an_earlier_run_and_nothing_else(config):
    out = Path(config()["out"])
    molgen.train(config(steps=12), progress=False)
    (out / "mine.txt").write_text("mine")
    molgen.train(config(steps=2), overwrite=True, progress=False)
    assert [path.name for path in saved_states(out)] == ["state-00000002"]
    assert (out / "mine.txt").exists()


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        ({"data.train": 50}, ConfigError),
        ({"data.path": "none.cache"}, FileFormatError),
        ({"encoder.config.channels": "many"}, ConfigError),
    ],
)
def test_what_can_not_work_is_refused_before_an_earlier_run_is_touched(config, overrides, error):
    out = Path(config()["out"])
    molgen.train(config(steps=2), progress=False)
    before = sorted(out.rglob("*"))
    with pytest.raises(error):
        molgen.train(config(), overrides=overrides, overwrite=True, progress=False)
    assert sorted(out.rglob("*")) == before


def test_resume_and_overwrite_contradict_each_other(config):
    with pytest.raises(ConfigError, match="resumed and overwritten"):
        molgen.train(config(), resume=True, overwrite=True, progress=False)


def test_a_folder_that_can_not_be_made_is_refused(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't use"):
        molgen.train(config("file/run"), progress=False)


def test_statistics_are_those_of_the_training_structures(tmp_path):
    positions = torch.tensor([[0.0, 0, 0], [2, 0, 0], [5, 5, 5], [5, 5, 11], [5, 8, 5], [0, 0, 0]])
    write_cache([Structures.build(positions, [1, 8, 6, 1, 1, 7], [2, 3, 1])], tmp_path / "a.cache")
    cache = Cache.open(tmp_path / "a.cache")
    train = torch.tensor([0, 1])
    centred = torch.cat([positions[:2] - positions[:2].mean(0), positions[2:5] - positions[2:5].mean(0)])
    statistics = measure_statistics(cache, train)
    assert statistics["sigma_data"] == pytest.approx(float(centred.square().mean().sqrt()))
    assert statistics["average_neighbors"] == pytest.approx((2 * 1 + 3 * 2) / 5)
    schema = measure_schema(cache, train)
    assert schema.size_counts == {2: 1, 3: 1}
    assert schema.elements == (1, 6, 7, 8)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_processes_share_out_each_batch_and_the_noise_of_its_structures(cache, world):
    data = Cache.open(cache)
    train, held_out, _ = split(len(data), 30, 6, 0)
    buckets = Buckets(data.n_atoms[train], batch_size=5, seed=0)
    for step in range(5):
        feeds = [Feed(data, train, buckets, 0, torch.device("cpu"), rank, world) for rank in range(world)]
        parts = [feed.sample(step, 100) for feed in feeds]
        parts = [part for part in parts if part.weight]
        assert sum(len(part.batch) for part in parts) == parts[0].total
        numbers = torch.cat([part.streams.indices for part in parts])
        assert sorted(numbers.tolist()) == list(range(100, 100 + parts[0].total))
        whole = Feed(data, train, buckets, 0, torch.device("cpu")).sample(step, 100)
        sums = torch.stack([part.batch.positions.sum(0) for part in parts]).sum(0)
        assert torch.allclose(sums, whole.batch.positions.sum(0), atol=1e-5)
    batches = every_batch(data.n_atoms[held_out], batch_size=2)
    shares = [validation_samples(data, held_out, batches, torch.device("cpu"), rank=r, world=2) for r in (0, 1)]
    assert sorted(int(i) for share in shares for sample in share for i in sample.streams.indices) == list(range(6))


def test_the_command_trains_and_prints_the_path(config, tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config()))
    assert main(["train", str(file), "--set", "training.steps=3", "--set", "name=mine", "--threads", "1"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert read_checkpoint(path).document.name == "mine"
    assert read_checkpoint(path).document.training["steps"] == 3


def test_the_command_tells_errors_in_one_line(config, tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config()))
    assert main(["train", str(file), "--set", "training.setps=3"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "did you mean 'steps'?" in told


def test_an_interrupted_command_ends_with_130_and_can_be_resumed(config, tmp_path, trouble):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config()))
    trouble(signal_at=25, signal=2)
    assert main(["train", str(file)]) == 130
    trouble()
    assert main(["train", str(file), "--resume", "--budget", "1h"]) == 0
    assert read_checkpoint(Path(config()["out"]) / "last.safetensors").document.training["steps"] == 12
