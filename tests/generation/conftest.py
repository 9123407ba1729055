"""A sampler that needs no network: it draws water, methane and ethane with a little noise, or fails as it is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from molgen.generation import Generator
from molgen.generation.precision import Precision
from molgen.interfaces import Codec, Process, Request, Sampler, Schema, State
from molgen.models.document import ComponentRecord, Document, Statistics
from molgen.models.restoration import Loaded
from molgen.random import Streams
from molgen.structures import Structures

WATER = ([8, 1, 1], [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
METHANE = (
    [6, 1, 1, 1, 1],
    [[0.0, 0.0, 0.0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63], [0.63, -0.63, -0.63]],
)
ETHANE = (
    [6, 6, 1, 1, 1, 1, 1, 1],
    [
        [0.0, 0.0, 0.765],
        [0.0, 0.0, -0.765],
        [1.02, 0.0, 1.16],
        [-0.51, 0.883, 1.16],
        [-0.51, -0.883, 1.16],
        [-1.02, 0.0, -1.16],
        [0.51, -0.883, -1.16],
        [0.51, 0.883, -1.16],
    ],
)
KNOWN = {3: WATER, 5: METHANE, 8: ETHANE}


class Settings:
    n_steps = 4


class Drawer(Sampler):
    """Moves from noise to a known molecule in equal steps."""

    def __init__(self) -> None:
        self.config = Settings()
        self.broken: set[int] = set()  # indices that become NaN at step 2
        self.unfinished: set[int] = set()
        self.interrupt_at: int | None = None  # number of the batch at whose start the user interrupts
        self.seen: list[Request] = []

    def accepts(self, process: Process) -> str | None:
        return None

    def sample(self, model: nn.Module, request: Request, streams: Streams) -> Iterator[State]:
        if self.interrupt_at == len(self.seen):
            raise KeyboardInterrupt
        self.seen.append(request)
        counts = request.n_atoms
        dtype = next(model.parameters()).dtype
        species = torch.cat([torch.tensor(KNOWN[n][0]) for n in counts.tolist()])
        target = torch.cat([torch.tensor(KNOWN[n][1], dtype=dtype) for n in counts.tolist()])
        noise = streams.normal("positions", counts=counts, width=3, dtype=dtype)
        broken = torch.tensor([i in self.broken for i in request.indices.tolist()])
        unfinished = torch.tensor([i in self.unfinished for i in request.indices.tolist()])
        structures = Structures.build(target, species, n_atoms=counts)
        for step in range(request.n_steps + 1):
            level = 0.01 + (1 - step / request.n_steps)
            positions = target + level * noise
            if step >= 2:
                positions = torch.where(broken[structures.batch][:, None], torch.nan, positions)
            done = torch.full_like(broken, step == request.n_steps) & ~unfinished
            yield State(
                structures.replace(positions=positions), step, request.n_steps, torch.full((len(counts),), level), done
            )


@pytest.fixture
def drawer() -> Drawer:
    return Drawer()


@pytest.fixture
def schema() -> Schema:
    return Schema(elements=(1, 6, 8), size_counts={3: 1, 5: 2, 8: 1})


@pytest.fixture
def process() -> Process:
    return Process("karras", sigma_data=1.0, sigma_min=0.01, sigma_max=10.0, codecs={"species": Codec("gaussian")})


@pytest.fixture
def module() -> nn.Module:
    return nn.Linear(1, 1)


@pytest.fixture
def document(schema, process) -> Document:
    def component(use: str) -> ComponentRecord:
        return ComponentRecord(use=use, distribution_version="1", component_version=1)

    return Document(
        name="drawer",
        task="generator",
        components={"encoder": component("molgen-test:nothing"), "sampler": component("molgen-test:drawer")},
        schema=schema.as_dict(),
        process=process.as_dict(),
        statistics=Statistics(sigma_data=1.0, average_neighbors=4.0),
        training={"reference_metrics": {"validity": {"value": 0.9775, "low": 0.97, "high": 0.98, "n": 10000}}},
        tensors_sha256="ab" * 32,
    )


@pytest.fixture
def generator(drawer, module, document, schema, process) -> Generator:
    return Generator(Loaded(drawer, module, document, schema, process, None), Precision("float64"))
