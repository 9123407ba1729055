"""Features turn with the atoms, follow their order, and know nothing of other structures."""

from __future__ import annotations

import copy

import pytest
import torch
from encoders.cases import ALL, COMPLETE, FIRST, LOCAL, Case, encoder_of, features_of, graph_of, scalars_of
from encoders.geometry import molecule, orthogonal, representation, structures_of, turned
from torch import Tensor

from molgen.interfaces import Features
from molgen.neighbors import complete_graph

EXACT = 1e-11  # relative, float64: sums in another order


def close(found: Tensor, expected: Tensor, tolerance: float = EXACT) -> bool:
    return found.shape == expected.shape and bool(
        (found - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-3)
    )


def by_irrep(case: Case, nodes: Tensor) -> list[Tensor]:
    return [nodes[:, part] for part in encoder_of(case).irreps_out.slices()]


@pytest.mark.parametrize("case", ALL, ids=str)
def test_outputs_have_the_shapes_that_the_encoder_states(case: Case) -> None:
    encoder, structures = encoder_of(case), molecule(5, 2)
    features = features_of(case, structures, scalars_of(7))
    assert features.nodes.shape == (7, encoder.irreps_out.dim)
    assert features.nodes.dtype == torch.float64
    if encoder.edge_channels:
        assert features.edges is not None
        assert features.edges.shape == (len(graph_of(case, structures).senders), encoder.edge_channels)
    else:
        assert features.edges is None
    assert encoder.edges.kind in ("any", "complete" if case.cutoff is None else "radius")
    assert encoder.edges.cutoff == case.cutoff
    assert encoder.edges.periodic == (case.cutoff is not None and case.capabilities.periodic)
    claimed = case.capabilities.l_max
    assert claimed is None or encoder.irreps_out.lmax <= claimed


@pytest.mark.parametrize("inverted", [False, True], ids=["rotation", "with inversion"])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_features_turn_with_the_atoms(case: Case, inverted: bool) -> None:
    tolerance = case.turned_error
    if tolerance is None or (inverted and case.symmetry != "O3"):
        pytest.skip(f"its symmetry is {case.symmetry}")
    structures, scalars = molecule(5, 4, cutoff=case.cutoff), scalars_of(9)
    before = features_of(case, structures, scalars)
    for seed in range(3):
        q = orthogonal(seed, inverted=inverted)
        after = features_of(case, turned(structures, q), scalars)
        expected = before.nodes @ representation(encoder_of(case).irreps_out, q).T
        for part, wanted in zip(by_irrep(case, after.nodes), by_irrep(case, expected), strict=True):
            assert wanted.abs().max() > 1e-7, "zero proves nothing"
            assert (part - wanted).norm() <= tolerance * wanted.norm()
        if before.edges is not None:
            assert close(after.edges, before.edges, tolerance)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_features_do_not_know_where_the_origin_is(case: Case) -> None:
    structures, scalars = molecule(5, cutoff=case.cutoff), scalars_of(5)
    moved = structures.replace(positions=structures.positions + torch.tensor([3.0, -7.0, 5.0]))
    assert close(features_of(case, moved, scalars).nodes, features_of(case, structures, scalars).nodes)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_features_follow_the_order_of_the_atoms(case: Case) -> None:
    structures, scalars, order = molecule(6), scalars_of(6), torch.tensor([3, 0, 5, 1, 4, 2])
    before = features_of(case, structures, scalars).nodes
    after = features_of(case, structures_of(structures.positions[order]), scalars[order]).nodes
    assert close(after, before[order])


@pytest.mark.parametrize("case", ALL, ids=str)
def test_a_structure_in_a_batch_has_the_features_that_it_has_alone(case: Case) -> None:
    batch, scalars = molecule(4, 1, 6), scalars_of(11)
    together, at = features_of(case, batch, scalars), 0
    for single in batch.split():
        n = len(single.positions)
        alone = features_of(case, single, scalars[at : at + n])
        assert close(together.nodes[at : at + n], alone.nodes)
        at += n


@pytest.mark.parametrize("case", COMPLETE, ids=str)
def test_dense_and_ragged_batches_have_the_same_features(case: Case) -> None:
    dense, scalars = molecule(4, 4), scalars_of(8)
    ragged = molecule(4, 4, 3)
    assert complete_graph(dense).dense
    assert not complete_graph(ragged).dense
    more = torch.cat((scalars, scalars_of(3, seed=1)))
    assert close(features_of(case, ragged, more).nodes[:8], features_of(case, dense, scalars).nodes)


@pytest.mark.parametrize("counts", [(4, 4), (5, 3, 1)], ids=["dense", "ragged"])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_what_is_not_a_number_stays_in_its_structure(case: Case, counts: tuple[int, ...]) -> None:
    batch, scalars = molecule(*counts), scalars_of(sum(counts))
    graph, others = graph_of(case, batch), batch.batch != 0
    spoilt = torch.where(others[:, None], batch.positions, torch.nan).requires_grad_()
    nodes = encoder_of(case)(graph.with_positions(batch.replace(positions=spoilt)), scalars).nodes
    assert nodes[~others].isnan().any()
    assert close(nodes[others], features_of(case, batch, scalars).nodes[others])
    (slope,) = torch.autograd.grad(nodes.sum(), spoilt)
    assert torch.isfinite(slope[others]).all()


@pytest.mark.parametrize("case", [c for c in ALL if c.config.get("edge_channels")], ids=str)
def test_pair_features_are_the_same_both_ways(case: Case) -> None:
    structures = molecule(5, 3)
    features: Features = features_of(case, structures, scalars_of(8))
    assert features.edges is not None
    assert close(features.edges[graph_of(case, structures).reverse], features.edges)


@pytest.mark.parametrize("case", [*FIRST, *LOCAL], ids=str)
def test_scalars_of_nodes_and_edges_reach_the_features(case: Case) -> None:
    structures = molecule(4)
    graph, encoder = graph_of(case, structures), encoder_of(case, edge_inputs=3)
    nodes = scalars_of(4).requires_grad_()
    edges = torch.randn(len(graph.senders), 3, dtype=torch.float64, requires_grad=True)
    seen = torch.autograd.grad(encoder(graph, nodes, edges).nodes.square().sum(), (nodes, edges))
    assert all((slope.abs().sum(1) > 0).all() for slope in seen)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_a_second_call_gives_the_same_bits(case: Case) -> None:
    structures, scalars = molecule(5, 3), scalars_of(8)
    first, state = features_of(case, structures, scalars), torch.random.get_rng_state()
    assert torch.equal(features_of(case, structures, scalars).nodes, first.nodes)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_float32_agrees_with_float64(case: Case) -> None:
    structures, scalars = molecule(5, 3, cutoff=case.cutoff), scalars_of(8)
    expected = features_of(case, structures, scalars).nodes
    encoder = copy.deepcopy(encoder_of(case)).float()
    single = encoder(graph_of(case, structures.to(torch.float32)), scalars.float()).nodes
    assert single.dtype == torch.float32
    assert close(single.double(), expected, 3e-5)
