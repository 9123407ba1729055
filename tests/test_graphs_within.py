"""`Graph.within` drops what is longer than a cutoff, and leaves a graph as `radius_graph` would have made it."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import structures

from molgen.neighbors import Graph, complete_graph, radius_graph
from molgen.structures import Structures


def assert_same(found: Graph, expected: Graph) -> None:
    for field in fields(Graph):
        ours, theirs = getattr(found, field.name), getattr(expected, field.name)
        assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs, field.name


@given(batch=structures(max_atoms=6), cutoff=st.floats(0.5, 6.0), skin=st.floats(0.0, 2.0))
def test_a_skin_cut_away_leaves_the_graph_without_skin(batch: Structures, cutoff: float, skin: float) -> None:
    assert_same(radius_graph(batch, cutoff, skin=skin).within(cutoff), radius_graph(batch, cutoff))


@given(batch=structures(max_atoms=6, periodic=False), cutoff=st.floats(0.5, 6.0))
def test_a_complete_graph_within_a_cutoff_is_the_radius_graph_of_it(batch: Structures, cutoff: float) -> None:
    graph = complete_graph(batch).within(cutoff)
    expected = radius_graph(batch, cutoff)
    assert torch.equal(graph.senders, expected.senders)
    assert torch.equal(graph.reverse, expected.reverse)
    assert not graph.dense or len(graph.senders) == len(complete_graph(batch).senders)


def test_a_graph_within_its_own_cutoff_is_itself() -> None:
    graph = radius_graph(Structures.build(torch.rand(9, 3) * 4, [1] * 9), 3.0)
    assert graph.within(3.0) is graph


def test_the_edges_that_are_left_carry_their_gradients() -> None:
    positions = (torch.rand(9, 3, generator=torch.Generator().manual_seed(0)) * 4).double().requires_grad_()
    batch = Structures.build(positions, [1] * 9)
    slopes = [
        torch.autograd.grad(graph.lengths.sin().sum(), positions)[0]
        for graph in (radius_graph(batch, 4.0).within(2.5), radius_graph(batch, 2.5))
    ]
    assert torch.equal(*slopes)
    assert slopes[0].abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_directions_of_a_pair_stay_or_go_together_at_the_cutoff(dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(1)
    cell = torch.tensor([[[3.1, 0.3, -0.2], [0.4, 2.7, 0.6], [-0.5, 0.2, 3.3]]], dtype=dtype)
    batch = Structures.build(
        torch.rand(7, 3, generator=rng).to(dtype) * 9, [1] * 7, cell=cell, pbc=torch.ones(1, 3, dtype=torch.bool)
    )
    graph = radius_graph(batch, 4.0)
    for cutoff in graph.lengths.unique().tolist()[::20]:
        cut = graph.within(cutoff)
        assert torch.equal(cut.senders[cut.reverse], cut.receivers)
        assert torch.equal(cut.cell_shifts[cut.reverse], -cut.cell_shifts)
        assert torch.equal(cut.reverse[cut.reverse], torch.arange(len(cut.senders)))
