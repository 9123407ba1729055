"""A small model file that tests can break."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from molgen.host.component import Component
from molgen.host.loading import LoadedPlugin, PluginStatus
from molgen.host.registry import Registry
from molgen.interfaces import Codec, Process, Schema
from molgen.models.checkpoint import Checkpoint, write_checkpoint
from molgen.models.document import ComponentRecord, Document, Statistics

SCHEMA = Schema(elements=(1, 6, 7, 8), size_counts={5: 3, 18: 40})
PROCESS = Process("karras", 1.4, 0.01, 15.0, {"species": Codec("masked")})


def _document(**changes: object) -> Document:
    """A generator's document with some fields changed."""
    record = {"distribution_version": "0.1.0", "component_version": 1}
    fields: dict = {
        "name": "small",
        "task": "generator",
        "components": {
            "encoder": ComponentRecord(use="molgen-egnn:egnn", config={"layers": 2}, **record),
            "sampler": ComponentRecord(use="molgen-diffusion:karras", **record),
        },
        "schema": SCHEMA.as_dict(),
        "process": PROCESS.as_dict(),
        "statistics": Statistics(sigma_data=1.4, average_neighbors=17.0),
        "seed": 0,
    }
    return Document(**fields | changes)


def _tensors() -> dict[str, torch.Tensor]:
    """Every kind of tensor that a model holds: matrices, scalars, empty ones, several dtypes."""
    generator = torch.Generator().manual_seed(0)
    return {
        "encoder.weight": torch.randn(3, 2, generator=generator),
        "encoder.half": torch.randn(4, generator=generator).to(torch.bfloat16),
        "encoder.count": torch.tensor(7),
        "encoder.empty": torch.zeros(0, 3),
        "mask": torch.tensor([True, False]),
        "energies": torch.randn(2, dtype=torch.float64, generator=generator),
    }


@pytest.fixture(scope="session")
def make_document() -> Callable[..., Document]:
    """Makes a generator's document with some fields changed."""
    return _document


@pytest.fixture(scope="session")
def make_tensors() -> Callable[[], dict[str, torch.Tensor]]:
    """Makes tensors of every kind that a model holds."""
    return _tensors


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """A valid model file."""
    path = tmp_path / "small.safetensors"
    write_checkpoint(path, Checkpoint(_document(), _tensors()))
    return path


@pytest.fixture
def rewrite(small_file: Path) -> Callable[[Callable[[dict], object]], Path]:
    """Change the header of a valid file, and leave all the rest as it was."""

    def change(edit: Callable[[dict], object]) -> Path:
        data = small_file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        edit(header)
        text = json.dumps(header).encode()
        small_file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        return small_file

    return change


@pytest.fixture(scope="session")
def toy() -> types.ModuleType:
    """The module of the pretended plugin, importable by its strings as `molgen_toy`."""
    spec = importlib.util.spec_from_file_location("molgen_toy", Path(__file__).with_name("toy.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["molgen_toy"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy_registry(toy: types.ModuleType) -> Callable[..., Registry]:
    """Makes a registry that knows the pretended plugin alone; a kind's keyword changes its component."""

    def make(
        *, leave_out: str | None = None, distribution: str = "molgen-toy", **changes: dict[str, object]
    ) -> Registry:
        fields: dict[str, dict] = {
            "encoder": {"factory": "molgen_toy:build_encoder", "config": "molgen_toy:EncoderConfig"},
            "tensor_product": {"factory": "molgen_toy:build_product", "config": "molgen_toy:ProductConfig"},
            "sampler": {"factory": "molgen_toy:build_sampler", "config": "molgen_toy:SamplerConfig"},
            "model": {"factory": "molgen_toy:model_path", "aliases": ("toy-1",)},
        }
        names = {"encoder": "toy", "tensor_product": "product", "sampler": "toy", "model": "toy-molecules"}
        components = tuple(
            (kind, Component(name=names[kind], summary="a toy", **given | changes.get(kind, {})))
            for kind, given in fields.items()
            if kind != leave_out
        )
        return Registry([LoadedPlugin(PluginStatus(f"{distribution}:toy", "1.2.0", "loaded"), components)])

    return make
