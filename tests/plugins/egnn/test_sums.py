"""Sums of messages chunk by chunk are those that torch differentiates itself, to every order, and keep to few bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from molgen_egnn import chunks as chunks_module
from molgen_egnn import sums as sums_module
from molgen_egnn.chunks import Chunks
from molgen_egnn.config import EGNNConfig
from molgen_egnn.encoder import EGNN
from molgen_egnn.messages import EdgeMaps, message_sums
from molgen_egnn.sums import chunked_message_sums
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from molgen.neighbors import Graph, radius_graph
from molgen.structures import Structures

N, C = 9, 3
EXACT = 1e-9  # relative, float64: third derivatives lose some digits to cancellation


@pytest.fixture(autouse=True, params=["kept", "computed again"])
def small_chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks_module, "_CHUNK_BYTES", 4 * C * 8)
    monkeypatch.setattr(chunks_module, "_KEPT_BYTES", 2**20 if request.param == "kept" else 0)


def cluster(dtype: torch.dtype = torch.float64) -> Structures:
    """Two molecules and an atom that sees nobody; one cell is so small that atoms see their own images."""
    x = 1.2 * torch.randn(N, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    x[4] += 50
    cells = [torch.zeros(3, 3), 2.5 * torch.eye(3)]
    return Structures.build(x, [6] * N, n_atoms=[6, 3], cell=torch.stack(cells).to(dtype), pbc=[[0] * 3, [1] * 3])


def inputs(graph: Graph, gate: bool, moved: bool) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    edges = len(graph.senders)

    def random(*shape: int) -> Tensor:
        return (0.5 * torch.randn(*shape, dtype=torch.float64, generator=generator)).requires_grad_()

    heads = 1 + gate
    return [
        graph.vectors.detach().requires_grad_(),
        random(N, 3) if moved else None,
        random(edges, 2),
        random(N, 2 * C),
        random(edges),
        random(C, 3),
        random(C, C),
        random(C),
        random(heads, C),
        random(heads),
    ]


def functions(graph: Graph) -> list[Callable[..., tuple[Tensor, Tensor]]]:
    chunks = Chunks(graph, C, torch.zeros(1, dtype=torch.float64))
    assert len(chunks.parts) > 3
    return [
        lambda *x: chunked_message_sums(graph, chunks, *x[:5], EdgeMaps(*x[5:])),
        lambda *x: message_sums(graph, *x[:5], EdgeMaps(*x[5:]))[:2],
    ]


def gradients(value: Tensor, by: list[Tensor], *, create_graph: bool) -> list[Tensor]:
    found = torch.autograd.grad(value, by, create_graph=create_graph, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, by, strict=True)]


def assert_same(ours: list[Tensor], torchs: list[Tensor]) -> None:
    for one, other in zip(ours, torchs, strict=True):
        assert (one - other).abs().max() <= EXACT * (1 + other.abs().max())


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize("used", [(0, 1), (0,), (1,)])
def test_values_and_three_orders_of_derivatives_are_those_of_the_plain_formula(
    gate: bool, moved: bool, used: tuple[int, ...]
) -> None:
    graph = radius_graph(cluster(), 3.0)
    given = inputs(graph, gate, moved)
    by = [x for x in given if x is not None]
    orders = []
    for function in functions(graph):
        value = sum((function(*given)[i].sin() * (i + 1)).sum() for i in used)
        assert isinstance(value, Tensor)
        first = gradients(value, by, create_graph=True)
        # as forces are: by what is not a map, and differentiated by all in the loss
        force = sum(g.cos().sum() for g in first[:-5])
        second = gradients(force, by, create_graph=False)
        curvature = sum(g.sin().sum() for g in gradients(force, by[:-5], create_graph=True))
        third = gradients(curvature, by, create_graph=False)
        # and by the maps themselves, which no training of forces asks for
        mixed = gradients(sum(g.sin().sum() for g in first), by, create_graph=False)
        orders.append([[value.detach()], first, second, third, mixed])
    for ours, torchs in zip(*orders, strict=True):
        assert_same(ours, torchs)


def test_derivatives_agree_with_finite_differences_to_second_order() -> None:
    graph = radius_graph(cluster(), 3.0)
    given = inputs(graph, gate=True, moved=True)
    ours = functions(graph)[0]
    assert torch.autograd.gradcheck(ours, given)
    assert torch.autograd.gradgradcheck(ours, given, fast_mode=True)


def test_the_same_graph_gives_the_same_bits_every_time() -> None:
    graph = radius_graph(cluster(), 3.0)
    runs = []
    for _ in range(3):
        given = inputs(graph, gate=True, moved=True)
        total, shift = functions(graph)[0](*given)
        runs.append([total, shift, *gradients(total.sin().sum() + shift.sum(), given, create_graph=False)])
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


@pytest.mark.parametrize("options", [{}, {"update_positions": False}, {"attention": False}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_encoder_that_needs_its_messages_gives_the_same_nodes(options: dict[str, bool], dtype: torch.dtype) -> None:
    graph = radius_graph(cluster(dtype), 3.0)
    scalars = torch.randn(N, 5, dtype=dtype, generator=torch.Generator().manual_seed(2))
    features = []
    for edge_channels in (0, 4):  # with pairs to read out, the last layer takes the other way
        torch.manual_seed(0)
        config = EGNNConfig(channels=C, layers=2, edge_channels=edge_channels, cutoff=3.0, **options)
        encoder = EGNN(config, inputs=5, average_neighbors=4.0).to(dtype)
        features.append(encoder(graph, scalars))
    assert features[0].edges is None
    assert features[1].edges is not None
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert torch.allclose(features[0].nodes, features[1].nodes, atol=tolerance)


def test_gradients_by_maps_are_computed_only_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = radius_graph(cluster(), 3.0)
    given = inputs(graph, gate=True, moved=True)
    asked: list[list[bool]] = []

    class Watched(sums_module.MapGradients):
        def __init__(self, maps: EdgeMaps, wanted: list[bool]) -> None:
            asked.append(wanted)
            super().__init__(maps, wanted)

    monkeypatch.setattr(sums_module, "MapGradients", Watched)
    torch.autograd.grad(functions(graph)[0](*given)[0].sum(), given[0])
    torch.autograd.grad(functions(graph)[0](*given)[0].sum(), given[5])
    functions(graph)[0](*given)[0].sum().backward()
    assert asked == [[False] * 5, [True, False, False, False, False], [True] * 5]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[StorageWeakRef]:
    """The memory of all messages that are kept, without holding it."""
    found: list[StorageWeakRef] = []
    inner = sums_module.messages_of

    def watched(*args: Any, keep: bool = False) -> list[Tensor]:
        messages = inner(*args, keep=keep)
        if keep:
            found.extend(StorageWeakRef(x.untyped_storage()) for x in messages)
        return messages

    monkeypatch.setattr(sums_module, "messages_of", watched)
    return found


@pytest.mark.parametrize("small_chunks", ["kept"], indirect=True)
@pytest.mark.parametrize("forces", [False, True])
def test_messages_are_freed_by_the_backward_pass_while_the_loss_is_held(
    forces: bool, kept: list[StorageWeakRef]
) -> None:
    graph = radius_graph(cluster(), 3.0)
    given = inputs(graph, gate=True, moved=True)
    loss = functions(graph)[0](*given)[0].sin().sum()
    if forces:
        (force,) = torch.autograd.grad(loss, given[0], create_graph=True)
        loss = loss + force.square().sum()
    assert len(kept) > 12
    assert not any(memory.expired() for memory in kept)
    loss.backward()
    assert all(memory.expired() for memory in kept)
    assert torch.isfinite(loss)


@pytest.mark.parametrize("small_chunks", ["kept"], indirect=True)
def test_messages_are_kept_only_where_something_can_be_differentiated(kept: list[StorageWeakRef]) -> None:
    graph = radius_graph(cluster(), 3.0)
    given = inputs(graph, gate=True, moved=True)
    ours = functions(graph)[0]
    with torch.no_grad():
        expected = ours(*given)
    found = ours(*(None if x is None else x.detach() for x in given))
    assert not kept
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    ours(*given)
    assert kept


def test_a_graph_without_edges_and_one_without_atoms_pass() -> None:
    for x in (torch.zeros(1, 3), torch.tensor([[0.0, 0, 0], [9, 0, 0]])):
        lone = Structures.build(x, [1] * len(x))
        x = lone.positions.clone().requires_grad_()
        encoder = EGNN(EGNNConfig(channels=C, layers=2, cutoff=3.0), inputs=5, average_neighbors=4.0)
        features = encoder(radius_graph(lone.replace(positions=x), 3.0), torch.ones(len(x), 5))
        assert torch.isfinite(features.nodes).all()
        (force,) = torch.autograd.grad(features.nodes.sum(), x, allow_unused=True)
        assert force is None or not force.any()
