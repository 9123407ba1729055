"""EGNN: exactly E(3) equivariant, permutation equivariant, separable over a batch, smooth at its cutoff."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from molgen_egnn.config import EGNNConfig
from molgen_egnn.encoder import EGNN
from torch import Tensor

from molgen.errors import ConfigError
from molgen.interfaces import Features
from molgen.neighbors import complete_graph, radius_graph
from molgen.structures import Structures

EXACT = 1e-10  # relative, float64: rounding of some thousand operations


def make(cutoff: float | None = None, edge_inputs: int = 0, **options: object) -> EGNN:
    torch.manual_seed(0)
    config = EGNNConfig(channels=16, layers=3, edge_channels=4, cutoff=cutoff, **options)
    encoder = EGNN(config, inputs=5, edge_inputs=edge_inputs, average_neighbors=4.0).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.3)
    return encoder


def scalars(n: int) -> Tensor:
    return torch.randn(n, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def run(encoder: EGNN, structures: Structures, node_scalars: Tensor) -> Features:
    cutoff = encoder.edges.cutoff
    graph = complete_graph(structures) if cutoff is None else radius_graph(structures, cutoff)
    return encoder(graph, node_scalars)


def orthogonal(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    return q if seed % 2 else -q


def points(n: int, seed: int = 0) -> Tensor:
    return 2.0 * torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    counts=st.sampled_from([(5,), (1,), (4, 4), (3, 6, 1)]),
    cutoff=st.sampled_from([None, 3.0]),
)
def test_rotation_reflection_and_translation_turn_the_output_with_them(
    seed: int, counts: tuple[int, ...], cutoff: float | None
) -> None:
    encoder, n = make(cutoff), sum(counts)
    x, species = points(n, seed), [6] * n
    q = orthogonal(seed)
    before = run(encoder, Structures.build(x, species, n_atoms=counts), scalars(n))
    after = run(encoder, Structures.build(x @ q.T + 7.0, species, n_atoms=counts), scalars(n))
    expected = torch.cat((before.nodes[:, :-3], before.nodes[:, -3:] @ q.T), dim=1)
    assert (after.nodes - expected).abs().max() <= EXACT * expected.abs().max()
    if before.edges is not None and after.edges is not None and len(before.edges):
        assert (after.edges - before.edges).abs().max() <= EXACT * before.edges.abs().max()


def test_its_vector_is_a_1o_in_the_order_that_e3nn_writes() -> None:
    q = orthogonal(1) * torch.det(orthogonal(1))
    assert torch.allclose(o3.Irreps("1o").D_from_matrix(q.float()).double(), q, atol=1e-5)
    assert make().irreps_out == o3.Irreps("16x0e + 1x1o")


def test_atoms_in_another_order_give_the_same_features_in_that_order() -> None:
    encoder, x, order = make(), points(6), torch.tensor([3, 0, 5, 1, 4, 2])
    before = run(encoder, Structures.build(x, [6] * 6), scalars(6)).nodes
    after = run(encoder, Structures.build(x[order], [6] * 6), scalars(6)[order]).nodes
    assert torch.allclose(after, before[order], atol=1e-12)


def test_structures_of_a_batch_do_not_see_each_other() -> None:
    encoder, x = make(), points(9)
    both = run(encoder, Structures.build(x, [6] * 9, n_atoms=[4, 5]), scalars(9)).nodes
    alone = run(encoder, Structures.build(x[4:], [6] * 5), scalars(9)[4:]).nodes
    assert torch.allclose(both[4:], alone, atol=1e-12)


def test_dense_and_general_layouts_are_the_same_function() -> None:
    encoder, x = make(), points(8)
    dense = run(encoder, Structures.build(x, [6] * 8, n_atoms=[4, 4]), scalars(8)).nodes
    ragged = Structures.build(torch.cat((x, points(3, 5))), [6] * 11, n_atoms=[4, 4, 3])
    general = run(encoder, ragged, torch.cat((scalars(8), scalars(3)))).nodes
    assert torch.allclose(dense, general[:8], atol=1e-12)


@pytest.mark.parametrize("counts", [(4,), (2, 3)])
@pytest.mark.parametrize("cutoff", [None, 4.0])
def test_derivatives_are_right_to_second_order(counts: tuple[int, ...], cutoff: float | None) -> None:
    encoder, n = make(cutoff), sum(counts)
    structures = Structures.build(points(n), [6] * n, n_atoms=counts)
    graph = complete_graph(structures) if cutoff is None else radius_graph(structures, cutoff)

    def energy(x: Tensor) -> Tensor:
        features = encoder(graph.with_positions(structures.replace(positions=x)), scalars(n))
        return features.nodes.sin().sum() + features.edges.sum()

    x = structures.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(energy, x)
    assert torch.autograd.gradgradcheck(energy, x)


def test_energy_force_and_its_derivative_are_continuous_across_the_cutoff() -> None:
    encoder = make(cutoff=3.0)

    def energy(distance: Tensor) -> Tensor:
        zero = torch.zeros_like(distance)
        third = torch.stack((distance, zero, zero))
        x = torch.stack((torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 1.1, 0]).double(), third))
        return run(encoder, Structures.build(x, [6] * 3), scalars(3)).nodes[:, :-3].sin().sum()

    def derivatives(value: float) -> list[float]:
        r = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        e = energy(r)
        (f,) = torch.autograd.grad(e, r, create_graph=True)
        second = torch.autograd.grad(f, r, allow_unused=True)[0] if f.requires_grad else None
        return [float(e.detach()), float(f.detach()), 0.0 if second is None else float(second)]

    step = 1e-6
    inside, outside = derivatives(3.0 - step), derivatives(3.0 + step)
    # the third derivative is finite, so that the second changes by it times the step
    assert inside == pytest.approx(outside, abs=1e-3)
    assert abs(inside[0] - outside[0]) < 1e-9


def test_atoms_at_one_place_and_atoms_alone_are_finite() -> None:
    encoder = make()
    together = run(encoder, Structures.build(torch.zeros(3, 3).double().requires_grad_(), [6] * 3), scalars(3))
    assert torch.isfinite(together.nodes).all()
    assert torch.isfinite(run(encoder, Structures.build(torch.zeros(1, 3).double(), [1]), scalars(1)).nodes).all()


def test_options_that_can_not_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="average_neighbors"):
        EGNN(EGNNConfig(), inputs=1, average_neighbors=0.0)
