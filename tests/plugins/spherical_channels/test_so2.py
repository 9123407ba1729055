"""Maps and gates in a frame: they commute with turns about its axis, and are what the slow formulas say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from molgen_spherical_channels.frames import frame_order, roll_matrices
from molgen_spherical_channels.so2 import SO2Linear, gated
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
        return torch.cat(linear(x.flatten(1)), dim=1).view_as(x)

    assert (of(turn @ x) - turn @ of(x)).abs().max() < EXACT
    mirrored = (of(mirror()[:, None] * x) - mirror()[:, None] * of(x)).abs().max()
    assert (mirrored < EXACT) == reflections


def test_complex_products_are_products_of_complex_numbers() -> None:
    torch.manual_seed(0)
    linear = SO2Linear([1, 3], [1, 2], bias=False, reflections=False).double()
    x = torch.randn(4, 7, dtype=torch.float64)
    a, b = linear.weights[1].detach()
    expected = torch.complex(x[:, 1:4], x[:, 4:]) @ torch.complex(a, b)
    found = torch.cat(linear(x), dim=1)
    assert (torch.complex(found[:, 1:3], found[:, 3:]) - expected).abs().max() < EXACT


@pytest.mark.parametrize("m_max", [0, 1, 2])
def test_gates_commute_with_turns_about_the_axis(m_max: int) -> None:
    h = 2
    features = [torch.randn(3, h * (1 + m_max)), *(torch.randn(3, h) for _ in range(2 * m_max))]
    radial = torch.randn(3, h * (1 + m_max))
    before = gated(features, radial)
    assert before.shape == (3, h * (1 + 2 * m_max))
    for m in range(1, m_max + 1):
        plus, minus = features[2 * m - 1], features[2 * m]
        turned = [*features]
        turned[2 * m - 1], turned[2 * m] = 0.6 * plus + 0.8 * minus, 0.6 * minus - 0.8 * plus
        after = gated(turned, radial)
        place = slice((2 * m - 1) * h, (2 * m + 1) * h)
        p, n = before[:, place].chunk(2, dim=1)
        expected = before.clone()
        expected[:, place] = torch.cat((0.6 * p + 0.8 * n, 0.6 * n - 0.8 * p), dim=1)
        assert (after - expected).abs().max() < 1e-5


def test_where_radial_functions_are_zero_nothing_passes() -> None:
    features = [torch.randn(3, 4), torch.randn(3, 2), torch.randn(3, 2)]
    assert not gated(features, torch.zeros(3, 4)).any()
