"""The program that makes the shipped weights, end to end on the small molecules of data/."""

from __future__ import annotations

import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import molgen
from molgen.chemistry import METRICS
from molgen.data.cache import Cache, write_cache
from molgen.data.readers import iterate
from molgen.errors import ConfigError
from molgen.generation.generated import reference_metrics
from molgen.models.checkpoint import read_checkpoint
from molgen.training import read_config

ROOT = Path(__file__).parents[2]
MOLECULES = ROOT / "data/small_molecules.sdf"
TINY = {
    "encoder.config.channels": 8,
    "encoder.config.layers": 1,
    "sampler.config.n_steps": 4,
    "data.train": 30,
    "data.validation": 10,
    "training.steps": 20,
    "training.batch_size": 8,
    "training.validate_every": 10,
    "training.log_every": 5,
    "training.warmup_steps": 2,
    "training.precision": "32-true",
    "training.threads": 1,
    "training.optimizer": "adamw",
    "training.learning_rate": 0.001,
}


@pytest.fixture
def pretrain(script, tmp_path, monkeypatch) -> Callable[..., None]:
    """Starts the program in a folder of its own with a model that trains in a moment."""
    program = script("pretrain_qm9")
    monkeypatch.chdir(tmp_path)

    def start(*words: str, data: Path = MOLECULES, **changes: object) -> None:
        settings = TINY | {key.replace("__", "."): value for key, value in changes.items()}
        told = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        program.main(["--data", str(data), *told, "--molecules", "6", *words])

    return start


def test_a_run_is_resumed_exported_and_generates(pretrain, tmp_path):
    pretrain(training__steps=10)
    pretrain("--resume", "--export", "weights/tiny.safetensors")

    exported, last = (read_checkpoint(Path(path)) for path in ("weights/tiny.safetensors", _chosen("best")))
    training = exported.document.training
    assert training["steps"] == 20
    assert training["samples"] == last.document.training["samples"]
    assert set(exported.tensors) == set(last.tensors)
    assert all(torch.equal(exported.tensors[name], last.tensors[name]) for name in last.tensors)

    assert training["data"] | {"sha256": None} == {
        "file": "small_molecules.sdf",
        "sha256": None,
        "train": 30,
        "validation": 10,
        "test": 15,
        "split_seed": 0,
    }
    assert training["metrics"]["d1_molecule_stability"]["n"] == 6
    assert training["reference_metrics"]["validity"]["n"] == 15
    assert reference_metrics(training)["d1_molecule_stability"].value > 0.5

    card = Path("weights/tiny.md").read_text(encoding="utf-8")
    assert all(f"`{metric.name}`" in card for metric in METRICS if metric.name in training["metrics"])
    assert exported.document.tensors_sha256 in card

    molecules = molgen.load("weights/tiny.safetensors").generate(3, n_steps=2, out="molecules", progress=False)
    assert len(molecules) == 3
    assert molecules.reference["validity"].n == 15
    # the held-out data stand behind the page's histograms
    assert {"Elements", "C–H bonds"} <= {stored["title"] for stored in molecules.reference_histograms}


def test_the_last_model_is_exported_where_it_is_asked_for_or_the_only_one(pretrain):
    pretrain(training__steps=10, data__validation=0)
    pretrain("--no-train", "--export", "a.safetensors", data__validation=0)
    assert read_checkpoint(Path("a.safetensors")).document.training["steps"] == 10
    assert not Path(_chosen("best")).exists()


def test_data_are_converted_once(pretrain):
    pretrain(training__steps=1)
    os.utime("runs/qm9.cache", (1, 1))
    pretrain("--overwrite", training__steps=1)
    assert Path("runs/qm9.cache").stat().st_mtime == 1


def test_a_cache_of_other_data_is_made_anew(script, tmp_path):
    cached, place = script("pretrain_qm9").cached, tmp_path / "place.cache"
    first, second = (tmp_path / f"{name}.xyz" for name in ("first", "second"))
    first.write_text("1\n\nH 0 0 0\n")
    second.write_text("1\n\nO 0 0 0\n")
    for file, elements in ((first, (1,)), (second, (8,)), (second, (8,))):
        assert cached(file, place) == place
        assert Cache.open(place).elements == elements


def test_packed_data_and_caches_are_taken_as_they_are(script, tmp_path):
    cached = script("pretrain_qm9").cached
    packed = tmp_path / "small_molecules.sdf.xz"
    packed.write_bytes(lzma.compress(MOLECULES.read_bytes()))
    cache = cached(packed, tmp_path / "packed.cache")
    document = write_cache(iterate(MOLECULES), tmp_path / "plain.cache")
    assert Cache.open(cache).fingerprint == document.fingerprint
    assert Cache.open(cache).document.source.name == "small_molecules.sdf"
    assert cached(tmp_path / "plain.cache", tmp_path / "unused.cache") == tmp_path / "plain.cache"
    assert not (tmp_path / "unused.cache").exists()


@pytest.mark.parametrize("content", [b"no xz", lzma.compress(b"x" * 100)[:-20], None])
def test_a_damaged_or_missing_archive_is_told(script, tmp_path, content):
    packed = tmp_path / "data.sdf.xz"
    if content is not None:
        packed.write_bytes(content)
    with pytest.raises(ConfigError, match="unpack"):
        script("pretrain_qm9").cached(packed, tmp_path / "data.cache")


def test_a_model_of_other_data_is_not_exported(pretrain, tmp_path):
    pretrain(training__steps=1)
    other = tmp_path / "other.cache"
    write_cache([structures.select(range(50)) for structures in iterate(MOLECULES)], other)
    with pytest.raises(ConfigError, match="other data"):
        pretrain("--no-train", "--export", "x.safetensors", data=other)
    assert not Path("x.safetensors").exists()


@pytest.mark.parametrize("config", sorted((ROOT / "scripts/configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configs_are_valid_and_name_their_own_folder(config):
    found = read_config(config)
    assert found.name == config.stem
    assert found.out == Path("runs") / config.stem
    assert not found.data.path.is_absolute()


def _chosen(name: str) -> str:
    return f"runs/qm9-egnn/{name}.safetensors"
