"""Maps and gates in a frame: they commute with turns about its axis, and are what the slow formulas say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from molgen_spherical_channels.frames import frame_order, roll_matrices
from molgen_spherical_channels.so2 import SO2Gate, SO2Linear
from torch import Tensor

EXACT = 1e-12
L_MAX, M_MAX, CHANNELS = 3, 2, 2
SIZES = [CHANNELS * (L_MAX + 1 - m) for m in range(M_MAX + 1)]


def features(seed: int) -> Tensor:
    """[S, M, C] in a frame."""
    n = len(frame_order(L_MAX, M_MAX))
    return torch.randn(5, n, CHANNELS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mirror() -> Tensor:
    """[M] signs of the mirror that holds the axis and +m: it turns −m round."""
    return torch.tensor([1.0 if m >= 0 else -1.0 for _, m in frame_order(L_MAX, M_MAX)], dtype=torch.float64)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), reflections=st.booleans())
def test_linear_maps_commute_with_turns_about_the_axis(seed: int, reflections: bool) -> None:
    torch.manual_seed(seed)
    linear = SO2Linear(SIZES, SIZES, bias=True, reflections=reflections).double()
    torch.nn.init.normal_(linear.bias)
    x, turn = features(seed), roll_matrices(L_MAX, M_MAX, 7)[3]

    def of(x: Tensor) -> Tensor:
        return linear(x.flatten(1)).view_as(x)

    assert (of(turn @ x) - turn @ of(x)).abs().max() < EXACT
    mirrored = (of(mirror()[:, None] * x) - mirror()[:, None] * of(x)).abs().max()
    assert (mirrored < EXACT) == reflections


def test_complex_products_are_products_of_complex_numbers() -> None:
    torch.manual_seed(0)
    linear = SO2Linear([1, 3], [1, 2], bias=False, reflections=False).double()
    x = torch.randn(4, 7, dtype=torch.float64)
    a, b = linear.weights[1].detach()
    expected = torch.complex(x[:, 1:4], x[:, 4:]) @ torch.complex(a, b)
    found = linear(x)
    assert (torch.complex(found[:, 1:3], found[:, 3:]) - expected).abs().max() < EXACT


@pytest.mark.parametrize("reflections", [True, False])
def test_linear_maps_have_derivatives_of_second_order(reflections: bool) -> None:
    torch.manual_seed(0)
    linear = SO2Linear([2, 1, 1], [1, 2, 1], bias=True, reflections=reflections).double()
    weights = [parameter.detach().clone().requires_grad_() for parameter in linear.parameters()]
    names = [name for name, _ in linear.named_parameters()]

    def of(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(linear, dict(zip(names, weights, strict=True)), (x,))

    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(of, (x, *weights))
    assert torch.autograd.gradgradcheck(of, (x, *weights))


@pytest.mark.parametrize("m_max", [0, 1, 2])
def test_gates_are_those_of_the_formula_with_derivatives_of_second_order(m_max: int) -> None:
    torch.manual_seed(0)
    h = 2
    gate = SO2Gate(m_max, h)
    x = torch.randn(3, h * (1 + 3 * m_max), dtype=torch.float64, requires_grad=True)
    radial = torch.randn(3, h * (1 + m_max), dtype=torch.float64, requires_grad=True)
    found = gate(x, radial)
    plain, gates, pairs = x[:, :h], x[:, h : h * (1 + m_max)], x[:, h * (1 + m_max) :]
    expected = [torch.nn.functional.silu(plain * radial[:, :h])]
    for m in range(m_max):
        factor = torch.sigmoid(gates[:, m * h : (m + 1) * h]) * radial[:, (m + 1) * h : (m + 2) * h]
        expected += [pairs[:, (2 * m + s) * h : (2 * m + s + 1) * h] * factor for s in (0, 1)]
    assert (found - torch.cat(expected, 1)).abs().max() < EXACT
    assert torch.autograd.gradcheck(gate, (x, radial))
    assert torch.autograd.gradgradcheck(gate, (x, radial))


def test_where_radial_functions_are_zero_nothing_passes() -> None:
    x = torch.randn(3, 8)
    assert torch.equal(SO2Gate(1, 2)(x, torch.zeros(3, 4)), torch.zeros(3, 6))
