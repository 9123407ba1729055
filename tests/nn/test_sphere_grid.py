"""Grids on the sphere: exact to the degree that they state, checked against e3nn's harmonics at other points."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from torch import Tensor

from molgen.errors import ConfigError
from molgen.nn import SphereGrid, WignerD

EXACT = 1e-12  # relative, float64


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def at_random_points(x: Tensor) -> Tensor:
    """[20, C] of functions x [K, C] by e3nn's harmonics."""
    points = randn(20, 3)
    l_max = int(len(x) ** 0.5) - 1
    return o3.spherical_harmonics(list(range(l_max + 1)), points, True, "component") @ x


@pytest.mark.parametrize(("l_max", "degree"), [(0, 0), (0, 3), (1, 2), (2, 4), (2, 9), (4, 8), (6, 13), (10, 20)])
def test_the_coefficients_come_back_from_the_grid(l_max: int, degree: int) -> None:
    grid, x = SphereGrid(l_max, degree), randn(3, (l_max + 1) ** 2, 2)
    values = grid.to_grid(x)
    assert values.shape == (3, grid.size, 2)
    assert (grid.from_grid(values) - x).abs().max() < 10 * EXACT


@pytest.mark.parametrize("l", [1, 2, 3])
def test_products_on_the_grid_are_exact_where_the_degree_is_three_times_that_of_the_features(l: int) -> None:
    size = (l + 1) ** 2
    x, y = randn(size, 4), randn(size, 4).flip(0)
    # the product has degrees up to 2l; all of them are found on a grid of 4l
    whole, padding = SphereGrid(2 * l, 4 * l), torch.zeros((2 * l + 1) ** 2 - size, 4, dtype=torch.float64)
    values = whole.to_grid(torch.cat((x, padding))) * whole.to_grid(torch.cat((y, padding)))
    product = whole.from_grid(values)
    expected = at_random_points(x) * at_random_points(y)
    assert torch.allclose(at_random_points(product), expected, rtol=EXACT, atol=10 * EXACT)

    def low(degree: int) -> Tensor:
        grid = SphereGrid(l, degree)
        return grid.from_grid(grid.to_grid(x) * grid.to_grid(y)) - product[:size]

    for degree in (3 * l, 3 * l + 1, 5 * l):
        assert low(degree).abs().max() < 10 * EXACT
    assert low(2 * l).abs().max() > 1e-3


def test_a_nonlinearity_is_the_more_equivariant_the_higher_the_degree() -> None:
    q = o3.quaternion_to_matrix(torch.nn.functional.normalize(randn(4), dim=0))
    D = torch.block_diag(*WignerD(2)(q))
    x = randn(9, 8)
    errors = []
    for degree in (4, 8, 16):
        grid = SphereGrid(2, degree)
        turned, plain = (grid.from_grid(torch.nn.functional.silu(grid.to_grid(each))) for each in (D @ x, x))
        errors.append(float((turned - D @ plain).norm() / plain.norm()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2] > 0


def test_the_mean_over_the_sphere_is_the_first_coefficient() -> None:
    grid = SphereGrid(2, 6)
    ones = torch.ones(grid.size, 1, dtype=torch.float64)
    expected = torch.zeros(9, 1, dtype=torch.float64)
    expected[0] = 1
    assert (grid.from_grid(ones) - expected).abs().max() < EXACT


def test_derivatives_pass_and_the_dtype_of_features_is_kept() -> None:
    grid = SphereGrid(1, 3)
    x = randn(2, 4, 1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: grid.from_grid(grid.to_grid(x).sin()), x)
    assert grid.from_grid(grid.to_grid(x.float())).dtype == torch.float32
    assert not list(grid.parameters())
    assert not grid.state_dict()


@pytest.mark.parametrize(("l_max", "degree"), [(2, 3), (5, 9), (-1, 4), (1, -1)])
def test_grids_that_can_not_hold_the_features_are_refused(l_max: int, degree: int) -> None:
    with pytest.raises(ConfigError, match="at least"):
        SphereGrid(l_max, degree)
