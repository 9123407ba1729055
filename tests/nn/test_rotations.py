"""Wigner D matrices and edge frames, against e3nn and against harmonics of the edge's direction."""

from __future__ import annotations

import math

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from molgen.errors import ConfigError, InputError
from molgen.nn import SphericalHarmonics, WignerD, edge_frames, rotate, rotate_back, shortest_rotations

# rounding of products of 21 terms in float64, and of a few in float32
EXACT, SINGLE = 1e-12, 1e-6
POLAR = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
SEEDS = st.integers(0, 2**31)


pytestmark = pytest.mark.usefixtures("double")


def random_rotations(n: int, seed: int = 0) -> Tensor:
    q = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return o3.quaternion_to_matrix(q / q.norm(dim=1, keepdim=True))


def near_poles(tilt: float) -> Tensor:
    """Directions at an angle `tilt` from +y and −y, and generic ones."""
    generic = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    s, c = math.sin(tilt), math.cos(tilt)
    return torch.cat([generic, torch.tensor([[0.6 * s, c, 0.8 * s], [-0.8 * s, -c, 0.6 * s]])])


def special_rotations() -> Tensor:
    """Where the angles α and γ are not defined, or barely."""
    half = [torch.diag(torch.tensor(d)) for d in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1], [1.0, 1, 1])]
    tiny = torch.linalg.matrix_exp(1e-9 * (skew(torch.tensor([[1.0, 2, -3]]))))[0]
    return torch.stack([*half, tiny, tiny @ half[0], tiny @ half[1]])


def skew(omega: Tensor) -> Tensor:
    zero = torch.zeros_like(omega[:, 0])
    x, y, z = omega.unbind(1)
    rows = [(zero, -z, y), (z, zero, -x), (-y, x, zero)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def test_blocks_equal_those_of_e3nn_to_degree_ten() -> None:
    R = random_rotations(20)
    for degree, block in enumerate(WignerD(10)(R)):
        assert (block - o3.Irrep(degree, 1).D_from_matrix(R)).abs().max() < EXACT


@pytest.mark.parametrize("l_max", [1, 6, 10])
def test_float32_blocks_keep_the_digits_of_float32(l_max: int) -> None:
    R = torch.cat([random_rotations(3000, seed=2), special_rotations()]).float()
    for single, double in zip(WignerD(l_max)(R), WignerD(l_max)(R.double()), strict=True):
        assert single.dtype == torch.float32
        assert (single - double).abs().max() < SINGLE


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_blocks_are_an_orthogonal_representation(seed: int) -> None:
    R, S = torch.cat([random_rotations(3, seed), special_rotations()]), random_rotations(10, seed + 1)
    D = WignerD(6)
    for product, a, b in zip(D(R @ S), D(R), D(S), strict=True):
        assert (product - a @ b).abs().max() < EXACT
        assert (a @ a.mT - torch.eye(a.shape[-1])).abs().max() < EXACT


@pytest.mark.parametrize("l_max", [4, 20])
def test_harmonics_of_a_turned_vector_are_turned_harmonics(l_max: int) -> None:
    if l_max > 11 and SphericalHarmonics(0).backend == "e3nn":
        pytest.skip("e3nn's harmonics end at l = 11")
    Y = SphericalHarmonics(l_max)
    R, r = torch.cat([random_rotations(10), special_rotations()]), torch.randn(17, 3)
    blocks = WignerD(l_max)(R)
    turned = Y((R @ r[:, :, None]).squeeze(-1))
    assert (rotate(Y(r)[:, None], blocks)[:, 0] - turned).abs().max() < EXACT
    assert (rotate_back(turned[:, None], blocks)[:, 0] - Y(r)).abs().max() < EXACT


@pytest.mark.parametrize("start", range(7))
def test_derivatives_along_rotations_exist_where_angles_do_not(start: int) -> None:
    D, R = WignerD(2), special_rotations()[start : start + 1]

    def turned(omega: Tensor) -> Tensor:
        return torch.cat([block.flatten() for block in D(torch.linalg.matrix_exp(skew(omega)) @ R)])

    omega = torch.tensor([[0.0, 0.0, 0.0]], requires_grad=True)
    assert torch.autograd.gradcheck(turned, omega)
    assert torch.autograd.gradgradcheck(turned, omega)


def test_third_derivatives_are_those_of_finite_differences() -> None:
    D, R, weights = WignerD(3), random_rotations(1, seed=5), torch.randn(84, generator=torch.Generator().manual_seed(0))

    def second(omega: Tensor) -> Tensor:
        value = torch.cat([block.flatten() for block in D(torch.linalg.matrix_exp(skew(omega)) @ R)]) @ weights
        (first,) = torch.autograd.grad(value, omega, create_graph=True)
        return torch.autograd.grad(first.square().sum(), omega, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, torch.tensor([[0.1, -0.2, 0.3]], requires_grad=True), atol=1e-4)


@pytest.mark.parametrize("frames", [edge_frames, shortest_rotations])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_frames_are_proper_and_take_vectors_to_the_polar_axis(frames, dtype: torch.dtype) -> None:
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    vectors = torch.cat([torch.randn(500, 3), axes, *(near_poles(10.0**-k) for k in range(1, 16))]).to(dtype)
    R = frames(vectors)
    # a few roundings of numbers up to one
    tolerance = 8 * torch.finfo(dtype).eps
    lengths = vectors.norm(dim=1, keepdim=True)
    assert ((R @ (vectors / lengths)[:, :, None]).squeeze(-1) - POLAR.to(dtype)).abs().max() < tolerance
    assert (R @ R.mT - torch.eye(3, dtype=dtype)).abs().max() < tolerance
    assert (torch.linalg.det(R) - 1).abs().max() < tolerance


def test_the_shortest_rotation_turns_by_the_angle_to_the_axis() -> None:
    vectors = torch.randn(100, 3)
    angles = torch.arccos(vectors[:, 1] / vectors.norm(dim=1))
    trace = shortest_rotations(vectors).diagonal(dim1=1, dim2=2).sum(1)
    assert torch.allclose(trace, 1 + 2 * angles.cos())


@pytest.mark.parametrize("frames", [edge_frames, shortest_rotations])
def test_frames_and_their_derivatives_are_finite_everywhere(frames) -> None:
    vectors = torch.tensor([[0.0, 0, 0], [0, 3, 0], [0, -3, 0], [1, 0, 0], [0, 1e-300, 0], [0, 0, -2]])
    vectors.requires_grad_()
    R = frames(vectors)
    assert (R[0] == torch.eye(3)).all()
    (first,) = torch.autograd.grad(R.sum(), vectors, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), vectors)
    assert all(t.isfinite().all() for t in (R, first, second))


def in_frame(D: WignerD, x: Tensor, mix: Tensor, vectors: Tensor) -> Tensor:
    """D^T M D x with M between the components m = 0 of all degrees: it does not see turns about the edge."""
    blocks = D(edge_frames(vectors))
    polar = [degree * degree + degree for degree in range(D.l_max + 1)]
    mixed = rotate(x, blocks)[..., polar] @ mix
    inside = torch.zeros_like(x).index_copy(-1, torch.tensor(polar), mixed)
    return rotate_back(inside, blocks)


def by_harmonics(l_max: int, x: Tensor, mix: Tensor, vectors: Tensor) -> Tensor:
    """The same without a frame: row m = 0 of D is the harmonics of the direction."""
    Y = SphericalHarmonics(l_max, normalization="norm", backend="e3nn")(vectors)[:, None]
    degree = torch.arange((l_max + 1) ** 2).sqrt().floor().long()
    inner = torch.zeros(*x.shape[:-1], l_max + 1).index_add(-1, degree, x * Y)
    return (inner @ mix)[..., degree] * Y


@pytest.mark.parametrize("tilt", [0.0, 1e-6, 1e-3])
def test_functions_without_gauge_have_exact_derivatives_in_every_direction(tilt: float) -> None:
    D, vectors = WignerD(3), near_poles(tilt).requires_grad_()
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(5, 1, 16, generator=generator).requires_grad_()
    mix, weights = torch.randn(4, 4, generator=generator), torch.randn(5, 1, 16, generator=generator)

    def value(x: Tensor, vectors: Tensor) -> Tensor:
        return (in_frame(D, x, mix, vectors) * weights).sum((1, 2))

    assert torch.autograd.gradcheck(value, (x, vectors))
    assert torch.autograd.gradgradcheck(value, (x, vectors))
    reference = (by_harmonics(3, x, mix, vectors) * weights).sum((1, 2))
    assert torch.allclose(value(x, vectors), reference, atol=EXACT)
    (first,) = torch.autograd.grad(value(x, vectors).sum(), vectors, create_graph=True)
    (expected,) = torch.autograd.grad(reference.sum(), vectors, create_graph=True)
    assert torch.allclose(first, expected, atol=1e-11)
    (second,) = torch.autograd.grad(first.square().sum(), vectors)
    (expected,) = torch.autograd.grad(expected.square().sum(), vectors)
    assert torch.allclose(second, expected, atol=1e-9)


def test_leading_axes_strides_and_no_rows_are_welcome() -> None:
    D, R = WignerD(3), random_rotations(6)
    strided = R.mT.contiguous().mT.reshape(2, 3, 3, 3)
    for grouped, flat in zip(D(strided), D(R), strict=True):
        assert torch.equal(grouped.flatten(0, 1), flat)
    empty = edge_frames(torch.zeros(0, 3, requires_grad=True))
    assert [tuple(b.shape) for b in D(empty)] == [(0, 1, 1), (0, 3, 3), (0, 5, 5), (0, 7, 7)]
    D(empty)[2].sum().backward()
    assert rotate(torch.zeros(0, 4, 16), D(empty)).shape == (0, 4, 16)


def test_a_round_trip_through_half_precision_leaves_the_tables_whole() -> None:
    D, R = WignerD(6), random_rotations(4)
    before = D(R)
    for block, expected in zip(D.half().float().double()(R), before, strict=True):
        assert torch.equal(block, expected)
    assert not list(D.state_dict())


def test_many_rows_are_those_of_few() -> None:
    D, R = WignerD(4), random_rotations(2500)
    for all_rows, some in zip(D(R), D(R[1000:1100]), strict=True):
        assert torch.allclose(all_rows[1000:1100], some, atol=1e-15)


def test_autocast_does_not_round_geometry() -> None:
    D, vectors = WignerD(3), torch.randn(5, 3, dtype=torch.float32, requires_grad=True)

    def forces() -> tuple[Tensor, Tensor]:
        blocks = D(edge_frames(vectors))
        Y = SphericalHarmonics(3)(vectors)
        value = sum(block[:, ::2].sum() for block in blocks) + Y.sum()
        return value, torch.autograd.grad(value, vectors)[0]

    expected = forces()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = forces()
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_frames_and_blocks_compile_whole() -> None:
    D, vectors = WignerD(2), torch.randn(7, 3, requires_grad=True)

    def turned(vectors: Tensor) -> Tensor:
        return torch.cat([block.flatten(1) for block in D(edge_frames(vectors))], 1)

    compiled = torch.compile(turned, fullgraph=True, backend="aot_eager")
    (expected,) = torch.autograd.grad(turned(vectors).square()[:, ::3].sum(), vectors)
    (found,) = torch.autograd.grad(compiled(vectors).square()[:, ::3].sum(), vectors)
    assert torch.allclose(found, expected, atol=EXACT)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="negative"):
        WignerD(-1)
    with pytest.raises(InputError, match=r"\[\.\.\., 3, 3\]"):
        WignerD(2)(torch.zeros(4, 3))
    with pytest.raises(InputError, match="floating point"):
        edge_frames(torch.zeros(4, 3, dtype=torch.int64))
    with pytest.raises(InputError, match="16"):
        rotate(torch.zeros(4, 2, 9), WignerD(3)(random_rotations(4)))
