"""The program that makes the shipped potentials, end to end on a few frames of water that mean nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import molgen
from molgen.errors import ConfigError, InputError
from molgen.models.checkpoint import read_checkpoint
from molgen.models.loading import load_potential

SIZES = {"train": 20, "validation": 5, "test_molecules": 4, "test_frames": 3}
TINY = {
    "encoder": "{use: egnn, config: {channels: 4, layers: 1, cutoff: 3.0}}",
    "data.isolated_energies": "{H: -10.0, O: -1990.0}",
    "training.hours": "null",
    "training.steps": 4,
    "training.batch_size": 5,
    "training.validate_every": 2,
    "training.warmup_steps": 1,
}


@pytest.fixture
def data(script, tmp_path):
    write = script("benchmarks/accuracy/frames").write
    for seed, (name, n) in enumerate(SIZES.items()):
        draw = torch.Generator().manual_seed(seed)
        rest = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [-0.3, 0.9, 0]], dtype=torch.float64)
        frames = molgen.Structures.build(
            rest.repeat(n, 1) + 0.05 * torch.randn(3 * n, 3, generator=draw, dtype=torch.float64),
            [8, 1, 1] * n,
            [3] * n,
            atom_labels={"forces": torch.randn(3 * n, 3, generator=draw, dtype=torch.float64)},
            structure_labels={"energy": -2010.0 + torch.randn(n, generator=draw, dtype=torch.float64)},
        )
        write(tmp_path / f"data/{name}.extxyz", frames)
    return tmp_path / "data"


@pytest.fixture
def pretrain(script, data, tmp_path, monkeypatch):
    """Starts the program in a folder of its own with a model that trains in a moment, and short dynamics."""
    program = script("pretrain_organics")
    monkeypatch.chdir(tmp_path)
    from molgen.certify import certifying

    short = replace(certifying.QUICK, structures=2, coordinates=2, picoseconds=0.005, runs=1, relaxation_steps=2)
    monkeypatch.setattr(certifying, "QUICK", short)

    def start(*words: str, **changes: object) -> None:
        settings = TINY | {key.replace("__", "."): value for key, value in changes.items()}
        told = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        program.main(["--data", str(data), *told, "--quick", *words])

    return start


def test_a_potential_is_trained_measured_certified_and_described(pretrain, tmp_path):
    pretrain("--export", "weights/tiny.safetensors")
    place = tmp_path / "weights/tiny.safetensors"
    document = read_checkpoint(place).document
    assert {name: part["structures"] for name, part in document.training["data"].items()} == SIZES
    certificate = document.certificate
    assert certificate["tensors_sha256"] == document.tensors_sha256
    assert certificate["test_errors"]["structures"] == SIZES["test_molecules"]
    assert certificate["measurements"]["force_error"]["value"] < 1e-4
    card = place.with_suffix(".md").read_text(encoding="utf-8")
    assert document.tensors_sha256 in card
    assert "forces against differences" in card
    for test in ("test_molecules", "test_frames"):
        assert f"| {1e3 * document.training['errors'][test]['forces']['rmse']['value']:.1f} (" in card
    assert load_potential(place).module.elements == (1, 8)


def test_a_model_of_other_data_is_not_exported(pretrain, data, tmp_path):
    pretrain()
    (data / "validation.extxyz").write_text((data / "test_frames.extxyz").read_text())
    with pytest.raises(ConfigError, match="other data"):
        pretrain("--no-train", "--export", "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_a_folder_without_the_data_set_is_told(pretrain, data):
    (data / "train.extxyz").unlink()
    with pytest.raises(InputError, match=r"train\.extxyz"):
        pretrain()
