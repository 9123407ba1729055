"""A plugin so small that a run takes a second: an encoder of one layer, and a sampler that can be told to fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from sites import Site
from sites import site as site

from molgen.data.cache import write_cache
from molgen.host.registry import registry
from molgen.structures import Structures

ENCODER = """
import torch
from e3nn import o3
from pydantic import BaseModel, ConfigDict
from molgen.interfaces import EdgeSpec, Encoder, Features


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")
    channels: int = 16


class Tiny(Encoder):
    edges = EdgeSpec("complete")

    def __init__(self, inputs, channels):
        super().__init__()
        self.irreps_out = o3.Irreps(f"{channels}x0e")
        self.linear = torch.nn.Linear(inputs, channels)
        self.hidden = torch.nn.Linear(channels, channels)
        self.norm = torch.nn.LayerNorm(channels)
        self.dropout = torch.nn.Dropout(0.2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, graph, node_scalars, edge_scalars=None):
        if self.training:
            self.calls += 1
        return Features(self.norm(self.hidden(self.dropout(torch.tanh(self.linear(node_scalars))))))


def build(config, *, inputs, edge_inputs=0, average_neighbors):
    return Tiny(inputs, config.channels)
"""

SAMPLER = """
import json
import os
import time
import torch
from pydantic import BaseModel, ConfigDict
from molgen.interfaces import Codec, Process, Sampler
from molgen.neighbors import complete_graph


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Model(torch.nn.Module):
    def __init__(self, encoder, schema, statistics):
        super().__init__()
        self.schema = schema
        self.process = Process("karras", statistics["sigma_data"], 0.01, 10.0, {"species": Codec("masked")})
        self.encoder = encoder(inputs=3, average_neighbors=statistics["average_neighbors"])
        self.out = torch.nn.Linear(self.encoder.irreps_out.dim, 3)

    def forward(self, structures, noisy):
        return self.out(self.encoder(complete_graph(structures), noisy).nodes)


class Tiny(Sampler):
    def __init__(self, config):
        self.config = config

    def build_model(self, encoder, schema, statistics):
        return Model(encoder, schema, statistics)

    def accepts(self, process):
        return None

    def objective(self, model, batch, streams):
        # what goes wrong is no part of the config, so that a run can be resumed without it
        trouble = json.loads(os.environ.get("FAKE_TINY", "{}"))
        noise = streams.normal("noise", counts=batch.n_atoms, width=3)
        if model.training:
            time.sleep(trouble.get("seconds", 0.0))
            if bool((streams.indices == trouble.get("signal_at", -1)).any()):
                os.kill(os.getpid(), trouble["signal"])
            if bool((streams.indices == trouble.get("exhausted_at", -1)).any()):
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 1 TB")
        error = (model(batch, batch.positions + noise) - batch.positions).square().sum(1)
        loss = torch.segment_reduce(error, "mean", lengths=batch.n_atoms)
        if model.training:
            low, high = trouble.get("poisoned", (0, 0))  # samples whose loss is NaN
            poisoned = (streams.indices >= low) & (streams.indices < high)
            loss = loss * torch.where(poisoned, float("nan"), 1.0)
        return {"loss": loss, "position": loss / 3}


def build(config):
    return Tiny(config)
"""


@pytest.fixture
def tiny_plugin(site: Site) -> Iterator[Site]:
    """The plugin `fake-tiny`, installed for one test; the test's environment finds it in `site.path`."""
    hooks = [
        site.hook(kind, "tiny", factory=f"fake_tiny.{kind}:build", config=f"fake_tiny.{kind}:Config")
        for kind in ("encoder", "sampler")
    ]
    site.add("fake-tiny", "\n".join(hooks), modules={"encoder": ENCODER, "sampler": SAMPLER})
    registry.cache_clear()
    yield site
    registry.cache_clear()


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Tells the sampler what is to go wrong while it trains; nothing if nothing is told."""
    return lambda **told: monkeypatch.setenv("FAKE_TINY", json.dumps(told))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 structures of 3 to 5 atoms."""
    rng = torch.Generator().manual_seed(0)
    n_atoms = torch.tensor([3, 4, 5, 4] * 10)
    n = int(n_atoms.sum())
    species = torch.tensor([1, 6, 8])[torch.randint(3, (n,), generator=rng)]
    path = tmp_path_factory.mktemp("data") / "random.cache"
    write_cache([Structures.build(torch.randn(n, 3, generator=rng), species, n_atoms)], path)
    return path


@pytest.fixture
def config(tiny_plugin: Site, cache: Path, tmp_path: Path) -> Callable[..., dict]:
    """Makes the config of a short run; keywords change `training`."""

    def make(out: str = "run", **training: object) -> dict:
        return {
            "name": "tiny",
            "task": "generator",
            "encoder": "tiny",
            "sampler": "tiny",
            "data": {"path": str(cache), "train": 30, "validation": 6},
            "training": {
                "steps": 12,
                "batch_size": 4,
                "warmup_steps": 3,
                "validate_every": 5,
                "log_every": 2,
                "accelerator": "cpu",
                "learning_rate": 0.01,
                **training,
            },
            "out": str(tmp_path / out),
        }

    return make
