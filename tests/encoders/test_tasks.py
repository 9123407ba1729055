"""Every encoder does both tasks: it is trained a little, written, read again, and used."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from encoders.cases import ALL, ELEMENTS, FIRST, FIRST_LOCAL, Case
from encoders.energy import build_energy_model
from encoders.geometry import molecule
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import molgen
from molgen.errors import ConfigError
from molgen.host.registry import registry
from molgen.interfaces import Request, Sampler, Schema
from molgen.models.assembly import Assembled, assemble_generator, check_generator
from molgen.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from molgen.models.restoration import restore
from molgen.random import Streams
from molgen.structures import Structures

SCHEMA = Schema(elements=ELEMENTS, size_counts={5: 3, 4: 1})
STATISTICS = {"sigma_data": 1.3, "average_neighbors": 4.0}
STEPS = 3  # of the sampler


def generator_of(case: Case) -> Assembled:
    return assemble_generator(SimpleNamespace(use=case.use, config=case.config), "karras", SCHEMA, STATISTICS)


def trained(case: Case) -> Assembled:
    """A generator after three steps, each of which had a finite loss."""
    torch.manual_seed(0)
    made = generator_of(case)
    optimizer = torch.optim.Adam(made.module.parameters(), lr=1e-2)
    batch = molecule(5, 5, 4).to(torch.float32)
    for step in range(3):
        loss = made.sampler.objective(made.module, batch, Streams(step, [0, 1, 2]))["loss"]
        assert torch.isfinite(loss).all()
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    made.module.eval()
    return made


def drawn(sampler: Sampler, module: nn.Module) -> Structures:
    """Two molecules of five atoms."""
    request = Request(n_atoms=torch.tensor([5, 5]), n_steps=STEPS, seed=7, indices=torch.tensor([0, 1]))
    with torch.no_grad():
        *_, last = sampler.sample(module, request, Streams(7, [0, 1]))
    assert last.finished.all()
    return last.structures


@pytest.fixture(scope="module", params=FIRST, ids=str)
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """A trained generator, and its file."""
    made = trained(request.param)
    path = tmp_path_factory.mktemp("generators") / "model.safetensors"
    write_checkpoint(path, Checkpoint(made.document("small", SCHEMA, STATISTICS), made.module.state_dict()))
    return request.param, made, path


def test_training_a_generator_moves_the_weights_of_its_encoder(generator: tuple[Case, Assembled, Path]) -> None:
    case, made, _ = generator
    torch.manual_seed(0)
    fresh = generator_of(case).module.encoder
    moved = [not torch.equal(a, b) for a, b in zip(made.module.encoder.parameters(), fresh.parameters(), strict=True)]
    assert sum(moved) >= 0.9 * len(moved)


def test_a_generator_that_is_read_again_draws_the_same_bits(generator: tuple[Case, Assembled, Path]) -> None:
    case, made, path = generator
    loaded = restore(read_checkpoint(path))
    first, again = drawn(made.sampler, made.module), drawn(loaded.sampler, loaded.module)
    assert torch.equal(again.positions, first.positions)
    assert torch.equal(again.species, first.species)
    assert first.positions.shape == (10, 3)
    assert torch.isfinite(first.positions).all()
    assert set(first.species.tolist()) <= set(ELEMENTS)
    assert loaded.document.components["encoder"].use == case.use


def test_a_model_file_generates_molecules(generator: tuple[Case, Assembled, Path]) -> None:
    molecules = molgen.load(generator[2]).generate(2, seed=0, n_atoms=5, n_steps=STEPS, progress=False)
    assert molecules.structures.n_atoms.tolist() == [5, 5]


@pytest.mark.parametrize("case", FIRST_LOCAL, ids=str)
def test_a_cutoff_is_refused_in_a_generator_with_its_key(case: Case) -> None:
    with pytest.raises(ConfigError) as caught:
        check_generator(SimpleNamespace(use=case.use, config=case.config), "karras")
    assert caught.value.where == "encoder.config.cutoff"


def potential_of(case: Case) -> Any:
    return build_energy_model(case.use, case.config, elements=ELEMENTS, average_neighbors=4.0, hidden=8)


@pytest.mark.parametrize("case", [*FIRST, *FIRST_LOCAL], ids=str)
def test_a_potential_learns_energies_and_forces(case: Case) -> None:
    if not case.capabilities.double_backward:
        pytest.skip("it can't be differentiated twice")
    model, (losses, before, after) = _learned(case)
    assert all(torch.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.7 * losses[0]
    encoder = [name for name, _ in model.named_parameters() if name.startswith("encoder.")]
    moved = [name for name in encoder if not torch.equal(before[name], after[name])]
    assert len(moved) >= 0.9 * len(encoder)


@pytest.mark.parametrize("case", [*FIRST, *FIRST_LOCAL], ids=str)
def test_a_potential_that_is_read_again_has_the_same_energies_and_forces_to_the_bit(case: Case, tmp_path: Path) -> None:
    model, _ = _learned(case)
    path = tmp_path / "potential.safetensors"
    save_file(model.state_dict(), path, metadata={"encoder": json.dumps({"use": case.use, "config": case.config})})
    with safe_open(path, "pt") as file:
        named = json.loads(file.metadata()["encoder"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    again = build_energy_model(**named, elements=ELEMENTS, average_neighbors=4.0, hidden=8)
    again.load_state_dict(tensors)
    batch = molecule(5, 4, 1, cutoff=case.cutoff).to(torch.float32)
    (energy, forces), (energies, all_forces) = (m.energy_and_forces(batch, m.graph(batch)) for m in (model, again))
    assert torch.equal(energies, energy)
    assert torch.equal(all_forces, forces)
    assert torch.isfinite(forces).all()
    assert forces[:9].abs().max() > 0


@functools.cache
def _learned(case: Case) -> tuple[Any, tuple[list[Tensor], dict[str, Tensor], dict[str, Tensor]]]:
    """A potential after fifteen steps on energies and forces: it, its losses, and its weights before and after."""
    torch.manual_seed(0)
    model, batch = potential_of(case), molecule(5, 5, 5).to(torch.float32)
    graph = model.graph(batch)
    energies, forces = 3.0 + torch.randn(3, dtype=torch.float64), 0.3 * torch.randn(15, 3)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=2e-3), []
    for _ in range(15):
        energy, force = model.energy_and_forces(batch, graph, create_graph=True)
        loss = (energy - energies).square().mean() + (force - forces).square().mean()
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, (losses, before, dict(model.named_parameters()))


def test_every_installed_encoder_is_among_those_that_are_tested() -> None:
    installed = {resolved.id for resolved in registry().components("encoder")}
    assert {case.use for case in ALL} == installed
