"""Rotations into the frames of edges, against Wigner matrices."""

from __future__ import annotations

import pytest
import torch
from molgen_spherical_channels.frames import FrameRotations, frame_order, roll_matrices, turned

from molgen.nn import WignerD, edge_frames

EXACT = 1e-12


@pytest.mark.parametrize(("l_max", "m_max"), [(1, 1), (3, 0), (3, 2), (4, 4)])
def test_rows_are_those_of_the_wigner_matrices_in_the_frames_order(l_max: int, m_max: int) -> None:
    vectors = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = torch.stack([torch.block_diag(*each) for each in zip(*WignerD(l_max)(edge_frames(vectors)), strict=True)])
    rows = FrameRotations(l_max, m_max, edge_frames)(vectors)
    order = frame_order(l_max, m_max)
    assert len(order) == sum(min(2 * l, 2 * m_max) + 1 for l in range(l_max + 1))
    for place, (l, m) in enumerate(order):
        # damping is felt where atoms meet, and is a millionth at 1 Å
        assert (rows[:, place] - whole[:, l * l + l + m]).abs().max() < 2e-5


def test_features_in_a_frame_turn_with_it() -> None:
    vectors = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    angle = torch.tensor(2 * torch.pi / 5, dtype=torch.float64)
    c, s = angle.cos(), angle.sin()
    turn = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
    rolled = FrameRotations(3, 2, lambda v: turn @ edge_frames(v))(vectors)
    found = roll_matrices(3, 2, 5)[1] @ FrameRotations(3, 2, edge_frames)(vectors)
    assert (rolled - found).abs().max() < EXACT


def test_no_direction_is_left_where_two_atoms_meet() -> None:
    rotations = FrameRotations(2, 2, edge_frames)
    vectors = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    rows = rotations(vectors)
    assert rows[0, 0, 0] == 1
    assert rows.abs().sum() == 1
    (gradient,) = torch.autograd.grad(rows.sum(), vectors)
    assert torch.isfinite(gradient).all()


def test_rows_have_derivatives_of_second_order() -> None:
    # of what does not depend on the free turn: lengths of each m
    rotations = FrameRotations(2, 1, edge_frames)
    x = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def invariant(vectors: torch.Tensor) -> torch.Tensor:
        z = rotations(vectors) @ x  # [S, 7, 2]
        return torch.cat((z[:, :3], (z[:, 3:5].square() + z[:, 5:].square())), dim=1)

    for y in (1.0, -1.0):
        vectors = torch.tensor([[0.3, 0.8, -0.5], [1e-6, y, 0.0], [0.0, y, 0.0]], dtype=torch.float64)
        assert torch.autograd.gradcheck(invariant, vectors.requires_grad_())
        assert torch.autograd.gradgradcheck(invariant, vectors.requires_grad_())


def test_autocast_rounds_neither_rotations_nor_their_derivatives() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(4, 3, 5, generator=generator, requires_grad=True)
    features = torch.randn(4, 5, 2, generator=generator, requires_grad=True)

    def outcome() -> list[torch.Tensor]:
        product = turned(matrices, features)
        first = torch.autograd.grad(product.sin().sum(), (matrices, features), create_graph=True)
        return [product, *first, *torch.autograd.grad(sum(each.square().sum() for each in first), (matrices, features))]

    exact = outcome()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = outcome()
    assert all(torch.equal(a, b) for a, b in zip(exact, rounded, strict=True))
    double = (matrices.detach().double().requires_grad_(), features.detach().double().requires_grad_())
    assert torch.autograd.gradcheck(turned, double)
    assert torch.autograd.gradgradcheck(turned, double)
