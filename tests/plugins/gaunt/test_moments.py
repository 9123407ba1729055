"""Moments of neighbourhoods against sums edge by edge, with derivatives of every order."""

from __future__ import annotations

import pytest
import torch
from molgen_gaunt.encoder.moments import moments
from torch import Tensor

from molgen.neighbors import Graph, complete_graph, radius_graph
from molgen.nn import Neighborhoods
from molgen.structures import Structures

D, C, H, K = 4, 3, 5, 9


def graph(kind: str) -> Graph:
    generator = torch.Generator().manual_seed(0)
    x = 2.0 * torch.randn(9, 3, dtype=torch.float64, generator=generator)
    counts = {"dense": [3, 3, 3], "ragged": [6, 2, 1], "radius": [9], "none": [1] * 9}[kind]
    structures = Structures.build(x, [6] * 9, n_atoms=counts)
    return radius_graph(structures, 2.5) if kind == "radius" else complete_graph(structures)


def arguments(found: Graph, hoods: Neighborhoods) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    slots = sum(len(block.edges) for block in hoods.blocks)
    shapes = [(found.n_nodes, D, C), (slots, H), (slots, K), (C, H)]
    return [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]


def computed(hoods: Neighborhoods, x: Tensor, f: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return moments(x, f, y * hoods.filled()[:, None], w, hoods)  # empty slots hold no harmonics


def edge_by_edge(found: Graph, hoods: Neighborhoods, x: Tensor, f: Tensor, y: Tensor, w: Tensor) -> Tensor:
    slots = hoods.slots()
    messages = torch.einsum("edc,eh,ch,ek->edck", x[found.senders], f[slots], w, y[slots])
    return messages.new_zeros(found.n_nodes, *messages.shape[1:]).index_add(0, found.receivers, messages)


@pytest.mark.parametrize("blocks", ["one", "many"])
@pytest.mark.parametrize("kind", ["dense", "ragged", "radius", "none"])
def test_they_are_the_sums_and_so_are_their_derivatives(
    kind: str, blocks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if blocks == "many":
        monkeypatch.setattr("molgen.nn.neighborhoods._FEW_SLOTS", 0)
        monkeypatch.setattr("molgen.nn.neighborhoods._GROWTH", 1.01)
        monkeypatch.setattr("molgen_gaunt.encoder.moments._STEP", 1)  # one receiver a step
    found = graph(kind)
    hoods = Neighborhoods(found)
    given = arguments(found, hoods)
    fast, slow = computed(hoods, *given), edge_by_edge(found, hoods, *given)
    assert torch.allclose(fast, slow, atol=1e-12)
    cotangent = torch.randn(fast.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for _ in range(2):
        grads = [torch.autograd.grad((out * cotangent).sum(), given, create_graph=True) for out in (fast, slow)]
        for a, b in zip(*grads, strict=True):
            assert torch.allclose(a, b, atol=1e-10)
        fast, slow = (sum(grad.sin().sum() for grad in found) for found in grads)  # and those of the derivatives
        cotangent = torch.ones((), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["dense", "radius"])
def test_every_derivative_is_right(kind: str) -> None:
    found = graph(kind)
    hoods = Neighborhoods(found)
    given = arguments(found, hoods)

    def run(*tensors: Tensor) -> Tensor:
        return computed(hoods, *tensors).sin()

    assert torch.autograd.gradcheck(run, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, given, fast_mode=True)
