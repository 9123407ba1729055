"""The programs of scripts/ as modules, and models so small that they run in a moment."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from molgen.interfaces import Schema
from molgen.models.assembly import assemble_generator
from molgen.models.checkpoint import Checkpoint, write_checkpoint

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a program by its name below scripts/, as fresh as if it were started."""
    # both hold for the whole process, which is that of the tests
    monkeypatch.setattr("molgen.allocation.keep_freed_memory", lambda: True)
    monkeypatch.syspath_prepend(SCRIPTS / "benchmarks")

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"script_{Path(name).name}", SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses and doctest look there
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes an untrained generator that says it has seen so many samples; keywords are options of its sampler."""
    folder = tmp_path_factory.mktemp("models")
    schema = Schema(elements=(1, 6, 8), size_counts={4: 1, 5: 2})
    statistics = {"sigma_data": 1.4, "average_neighbors": 3.5}

    def write(samples: int, **options: object) -> Path:
        path = folder / f"{samples} {options}.safetensors"
        if not path.exists():
            torch.manual_seed(samples)
            encoder = _Named("egnn", {"channels": 4, "layers": 1})
            made = assemble_generator(encoder, _Named("karras", options), schema, statistics)
            training = {"samples": samples, "hours": samples / 1000, "validation_loss": None}
            document = made.document("tiny", schema, statistics, training=training)
            write_checkpoint(path, Checkpoint(document, made.module.state_dict()))
        return path

    return write


class _Named:
    def __init__(self, use: str, config: dict) -> None:
        self.use, self.config = use, config
