"""Learned radial functions: gone smoothly at the cutoff, finite at every length without one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from molgen.errors import ConfigError
from molgen.neighbors import Graph, complete_graph
from molgen.nn import RadialNetwork
from molgen.structures import Structures

CUTOFF = 3.0


def make(cutoff: float | None, edge_inputs: int = 0, **options: int) -> RadialNetwork:
    torch.manual_seed(0)
    network = RadialNetwork(cutoff, 6, edge_inputs, 8, 5, **options).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def pairs(lengths: Tensor) -> Graph:
    """A graph with two edges of each length [P], one each way."""
    zero = torch.zeros_like(lengths)
    ends = torch.stack((zero, lengths, zero), dim=1)  # [P, 3]
    x = torch.stack((torch.zeros_like(ends), ends), dim=1).reshape(-1, 3)
    numbers = [1] * len(x)
    plain = Structures.build(x.detach(), numbers, n_atoms=[2] * len(lengths))
    return complete_graph(plain.replace(positions=x))


def three_orders(network: RadialNetwork, length: float) -> list[float]:
    """Largest value, slope and curvature of all functions at a length."""
    r = torch.tensor([length], dtype=torch.float64, requires_grad=True)
    values = network(pairs(r))[0]
    found = [float(values.detach().abs().max())]
    slopes = torch.stack([torch.autograd.grad(v, r, create_graph=True)[0] for v in values])
    found.append(float(slopes.detach().abs().max()))
    return [*found, max(abs(float(torch.autograd.grad(s, r, retain_graph=True)[0])) for s in slopes)]


def test_all_is_zero_at_and_beyond_the_cutoff() -> None:
    lengths = torch.tensor([CUTOFF, 3.0001, 5.0, 1000.0], dtype=torch.float64)
    assert not make(CUTOFF)(pairs(lengths)).any()
    assert make(CUTOFF)(pairs(lengths - 1.0))[0].all()


@pytest.mark.parametrize("exponent", [3, 6, 9])
def test_value_slope_and_curvature_vanish_at_the_cutoff_as_third_second_and_first_power(exponent: int) -> None:
    network = make(CUTOFF, envelope_exponent=exponent)
    near, nearer = three_orders(network, CUTOFF - 1e-2), three_orders(network, CUTOFF - 1e-3)
    for power, (far, close) in zip((3, 2, 1), zip(near, nearer, strict=True), strict=True):
        assert math.log10(far / close) == pytest.approx(power, abs=0.15)


@settings(max_examples=20)
@given(exponent=st.floats(-12, 3), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_without_a_cutoff_values_and_slopes_are_finite_at_every_length(exponent: float, dtype: torch.dtype) -> None:
    network = make(None).to(dtype)
    r = torch.tensor([0.0, 10**exponent, 1000.0], dtype=dtype, requires_grad=True)
    values = network(pairs(r))
    assert torch.isfinite(values).all()
    (slope,) = torch.autograd.grad(values.sum(), r, create_graph=True)
    assert torch.isfinite(slope).all()
    assert torch.isfinite(torch.autograd.grad(slope.sum(), r)[0]).all()


def test_lengths_from_a_hundredth_to_a_hundred_are_told_apart_without_a_cutoff() -> None:
    lengths = torch.logspace(-2, 2, 30, dtype=torch.float64)
    values = make(None)(pairs(lengths))[::2]  # [30, 5]
    assert ((values[1:] - values[:-1]).abs().max(1).values > 1e-4).all()


@pytest.mark.parametrize("cutoff", [None, CUTOFF])
def test_derivatives_are_right_to_second_order_in_lengths_and_scalars(cutoff: float | None) -> None:
    network = make(cutoff, edge_inputs=2)
    r = torch.tensor([0.7, 2.4], dtype=torch.float64, requires_grad=True)
    scalars = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r, s: network(pairs(r), s), (r, scalars))
    assert torch.autograd.gradgradcheck(lambda r, s: network(pairs(r), s), (r, scalars))


@pytest.mark.parametrize("cutoff", [None, CUTOFF])
def test_its_output_is_a_linear_map_of_its_features_times_the_envelope(cutoff: float | None) -> None:
    network, graph = make(cutoff), pairs(torch.tensor([0.7, 2.9, 3.1], dtype=torch.float64))
    envelope = network.envelope(graph)
    assert (envelope is None) == (cutoff is None)
    expected = network.last(network.features(graph))
    expected = expected if envelope is None else expected * envelope[:, None]
    assert torch.allclose(network(graph), expected, rtol=1e-12, atol=0)


def test_features_alone_need_no_outputs() -> None:
    network, graph = RadialNetwork(CUTOFF, 6, 0, 8, 0), pairs(torch.tensor([1.0]))
    assert network.features(graph).shape == (2, 8)
    with pytest.raises(ConfigError, match="features"):
        network(graph)


def test_its_output_has_the_dtype_of_the_lengths() -> None:
    assert make(CUTOFF).float()(pairs(torch.tensor([1.0]))).dtype == torch.float32
    assert make(None)(pairs(torch.tensor([1.0], dtype=torch.float64))).shape == (2, 5)


@pytest.mark.parametrize(("cutoff", "size"), [(0.0, 4), (-1.0, 4), (3.0, 0)])
def test_a_basis_that_can_not_be_is_refused(cutoff: float, size: int) -> None:
    with pytest.raises(ConfigError, match="cutoff > 0"):
        RadialNetwork(cutoff, size, 0, 8, 2)
