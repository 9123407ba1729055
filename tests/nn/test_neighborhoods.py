"""Sums over neighbours as matrix products: equal to the obvious sums, whatever the degrees of the nodes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from molgen.neighbors import Graph, complete_graph, radius_graph
from molgen.nn import Neighborhoods
from molgen.structures import Structures

EXACT = 1e-12  # float64; sums of at most some hundred terms of size one


def graph_of(n: int, bonds: list[tuple[int, int]]) -> Graph:
    """A graph of n nodes with an edge each way for every pair."""
    edges = sorted({*bonds, *((j, i) for i, j in bonds)})
    number = {edge: k for k, edge in enumerate(edges)}
    index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2)
    shifts, vectors = torch.zeros(len(edges), 3, dtype=torch.int64), torch.ones(len(edges), 3, dtype=torch.float64)
    return Graph(
        senders=index[:, 1],
        receivers=index[:, 0],
        cell_shifts=shifts,
        vectors=vectors,
        lengths=vectors[:, 0],
        batch=torch.zeros(n, dtype=torch.int64),
        n_atoms=torch.tensor([n]),
        reverse=torch.tensor([number[(j, i)] for i, j in edges], dtype=torch.int64),
        dense=False,
    )


def star(leaves: int, first: int = 0) -> list[tuple[int, int]]:
    return [(first, first + k) for k in range(1, leaves + 1)]


def atoms(*counts: int) -> Structures:
    x = 2.0 * torch.randn(sum(counts), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Structures.build(x, [6] * sum(counts), n_atoms=list(counts))


def crystal() -> Graph:
    """Two atoms in a cell so small that they see many images of each other and of themselves."""
    cell = torch.tensor([[2.1, 0.0, 0.0], [0.4, 2.3, 0.0], [0.1, 0.3, 2.2]], dtype=torch.float64)
    x = torch.tensor([[0.1, 0.2, 0.3], [1.1, 1.0, 1.2]], dtype=torch.float64)
    return radius_graph(Structures.build(x, [3, 8], cell=cell[None], pbc=[[True] * 3]), 3.0)


GRAPHS = {
    "dense": complete_graph(atoms(4, 4)),
    "ragged": complete_graph(atoms(3, 1, 5)),
    "neighbours": radius_graph(atoms(30), 2.5),
    "crystal": crystal(),
    "star": graph_of(91, star(90)),  # 90 edges at one node, one at each other
    "stars and hermits": graph_of(140, star(70, 3) + star(30, 80) + [(112, 114), (112, 116), (114, 116)]),
    "hermits": graph_of(4, []),
    "one atom": complete_graph(atoms(1)),
    "nothing": graph_of(0, []),
}


def inputs(graph: Graph, groups: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    edges = torch.randn(len(graph.senders), 3, dtype=torch.float64, generator=generator)
    nodes = torch.randn(groups, graph.n_nodes, 4, dtype=torch.float64, generator=generator)
    return edges.requires_grad_(), nodes.requires_grad_()


def outer_products(graph: Graph, edges: Tensor, nodes: Tensor) -> Tensor:
    """[G, N, A, P]: for each receiver the sum of a_e ⊗ x_sender over its edges."""
    hoods = Neighborhoods(graph)
    pairs = zip(hoods.of_edges(edges), hoods.of_senders(nodes), strict=True)
    return hoods.to_nodes([a.transpose(1, 2) @ x for a, x in pairs])


def obvious(graph: Graph, edges: Tensor, nodes: Tensor) -> Tensor:
    each = edges[None, :, :, None] * nodes[:, graph.senders][:, :, None]  # [G, E, A, P]
    empty = nodes.new_zeros(len(nodes), graph.n_nodes, edges.shape[1], nodes.shape[2])
    return empty.index_add(1, graph.receivers, each)


def equal(ours: Tensor, expected: Tensor) -> bool:
    return ours.shape == expected.shape and torch.allclose(ours, expected, rtol=EXACT, atol=100 * EXACT)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("name", GRAPHS)
def test_sums_of_outer_products_are_those_of_index_add_with_two_derivatives(name: str, groups: int) -> None:
    graph = GRAPHS[name]
    given = inputs(graph, groups)
    ours, expected = outer_products(graph, *given), obvious(graph, *given)
    assert equal(ours, expected)
    # derivatives of a function that is curved in the sums
    slopes = [torch.autograd.grad(out.sin().sum(), given, create_graph=True) for out in (ours, expected)]
    assert all(equal(a, b) for a, b in zip(*slopes, strict=True))
    curvatures = [torch.autograd.grad(sum(s.cos().sum() for s in slope), given) for slope in slopes]
    assert all(equal(a, b) for a, b in zip(*curvatures, strict=True))


@pytest.mark.parametrize("name", ["ragged", "star", "stars and hermits", "crystal"])
def test_each_part_is_differentiated_right_to_second_order(name: str) -> None:
    graph = GRAPHS[name]
    hoods, (edges, nodes) = Neighborhoods(graph), inputs(graph, 1)
    filled = hoods.of_edges(torch.ones(len(graph.senders), 1, dtype=torch.float64))  # what stands elsewhere has no say

    def of_edges(x: Tensor) -> Tensor:
        return torch.cat([block.reshape(-1) for block in hoods.of_edges(x)]).sin()

    def of_senders(x: Tensor) -> Tensor:
        return torch.cat([(m * block).reshape(-1) for m, block in zip(filled, hoods.of_senders(x), strict=True)]).sin()

    for part, into in ((of_edges, edges), (of_senders, nodes)):
        assert torch.autograd.gradcheck(part, into, fast_mode=True)
        assert torch.autograd.gradgradcheck(part, into, fast_mode=True)


@settings(max_examples=25)
@given(data=st.data(), n=st.integers(1, 8))
def test_any_graph_of_few_nodes_is_summed_right(data: st.DataObject, n: int) -> None:
    node = st.integers(0, n - 1)
    pairs = [p for p in data.draw(st.lists(st.tuples(node, node), max_size=20)) if p[0] != p[1]]
    graph = graph_of(n, pairs)
    given = inputs(graph)
    assert equal(outer_products(graph, *given), obvious(graph, *given))


def test_unlike_degrees_stand_in_several_blocks_with_few_empty_slots() -> None:
    hoods, graph = Neighborhoods(GRAPHS["stars and hermits"]), GRAPHS["stars and hermits"]
    assert len(hoods.blocks) == 4  # degrees 70, 30, 2 and 1
    assert sum(len(block.edges) for block in hoods.blocks) <= 1.25 * len(graph.senders)
    assert len(Neighborhoods(GRAPHS["neighbours"]).blocks) == 1


def test_slots_are_no_copy_where_edges_fill_them_all() -> None:
    graph = complete_graph(atoms(9, 9))  # widths of single blocks are multiples of eight
    edges = torch.randn(len(graph.senders), 3)
    (block,) = Neighborhoods(graph).of_edges(edges)
    assert block.shape == (18, 8, 3)
    assert block.data_ptr() == edges.data_ptr()


@pytest.mark.parametrize("name", GRAPHS)
def test_slots_that_edges_fill_are_told_from_empty_ones(name: str) -> None:
    graph = GRAPHS[name]
    hoods = Neighborhoods(graph)
    ones = hoods.of_edges(torch.ones(len(graph.senders), 1, dtype=graph.lengths.dtype))
    assert torch.equal(hoods.filled(), torch.cat([block.flatten() for block in ones]))
    assert int(hoods.filled().sum()) == len(graph.senders)


@pytest.mark.parametrize("name", GRAPHS)
def test_slots_are_summed_to_the_senders_of_their_edges(name: str) -> None:
    graph = GRAPHS[name]
    edges, _ = inputs(graph)
    hoods = Neighborhoods(graph)
    slots = torch.cat([block.flatten(0, 1) for block in hoods.of_edges(edges)]).detach()
    expected = torch.zeros(graph.n_nodes, 3, dtype=torch.float64).index_add(0, graph.senders, edges.detach())
    assert equal(hoods.summed_slots(slots), expected)


@pytest.mark.parametrize("counts", [(3, 3), (2, 5, 1), (70, 2)])
def test_what_is_not_a_number_in_one_structure_stays_there(counts: tuple[int, ...]) -> None:
    graph = complete_graph(atoms(*counts))
    edges, nodes = inputs(graph)
    broken = graph.batch == 0
    spoilt = torch.where(broken[:, None], torch.nan, nodes)
    spoilt_edges = torch.where(broken[graph.receivers][:, None], torch.nan, edges)
    ours = outer_products(graph, spoilt_edges, spoilt)
    assert ours[:, broken].isnan().all()
    assert torch.equal(ours[:, ~broken], outer_products(graph, edges, nodes)[:, ~broken])
    slopes = torch.autograd.grad(ours.sum(), (edges, nodes))
    assert torch.isfinite(slopes[0][~broken[graph.receivers]]).all()
    assert torch.isfinite(slopes[1][:, ~broken]).all()
