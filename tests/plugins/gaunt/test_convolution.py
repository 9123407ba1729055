"""The convolution in the edge's frame is the product with the edge's harmonics, in every direction."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from molgen_gaunt.convolution import GauntConvolution
from torch import Tensor

from molgen.errors import ConfigError, InputError

CASES = [
    ("4x0e + 4x1o + 4x2e", 3, "4x0e + 4x1o + 4x3o", "even"),
    ("4x0e + 3x1o + 4x2e + 2x1e", 2, "4x0e + 4x1o + 4x3o + 4x1e + 2x2o", "full"),
    ("4x1o + 4x3o", 2, "2x2e + 4x1o", "even"),
]
# along the polar axis, against it, and within 1e-6 rad of both, where the angles of a frame are lost
DIRECTIONS = torch.tensor([[0, 1, 0], [0, -2, 0], [1e-6, 1, 0], [1e-6, -2, 0], [0.3, -0.2, 0.9]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pair(case: tuple[str, int, str, str], *, weighted: bool, normalization: str = "component"):
    irreps_in, l_filter, irreps_out, parity = case
    return [
        GauntConvolution(
            irreps_in,
            l_filter,
            irreps_out,
            weighted=weighted,
            method=method,
            parity=parity,
            normalization=normalization,
        )
        for method in ("rotated", "product")
    ]


def inputs(convolution: GauntConvolution) -> list[Tensor]:
    E = len(DIRECTIONS)
    found = [torch.randn(E, convolution.irreps_in.dim), DIRECTIONS.clone()]
    if convolution.weighted:
        found.append(torch.randn(E, convolution.weight_numel))
    return [tensor.requires_grad_() for tensor in found]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("normalization", ["component", "integral"])
def test_both_methods_agree_to_the_second_derivative_at_the_poles_too(case, weighted, normalization):
    rotated, product = pair(case, weighted=weighted, normalization=normalization)
    given = inputs(rotated)
    results = [convolution(*given) for convolution in (rotated, product)]
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(results[0])
    firsts = [torch.autograd.grad(result, given, upstream, create_graph=True) for result in results]
    for a, b in zip(*firsts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    along = torch.randn_like(given[1])
    seconds = [torch.autograd.grad(first[1], given, along) for first in firsts]
    for a, b in zip(*seconds, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2])
def test_it_turns_with_its_edges(case):
    for convolution in pair(case, weighted=True):
        x, vectors, weights = (tensor.detach() for tensor in inputs(convolution))
        angles = torch.tensor(0.7), torch.tensor(1.1), torch.tensor(-0.4)
        turn = -o3.angles_to_matrix(*angles)
        k = torch.tensor(1)
        before, after = (irreps.D_from_angles(*angles, k) for irreps in (convolution.irreps_in, convolution.irreps_out))
        turned = convolution(x @ before.T, vectors @ turn.T, weights)
        torch.testing.assert_close(turned, convolution(x, vectors, weights) @ after.T, rtol=1e-11, atol=1e-11)


def test_the_length_of_an_edge_does_not_matter_and_no_edges_are_fine():
    for convolution in pair(CASES[0], weighted=True):
        x, vectors, weights = (tensor.detach() for tensor in inputs(convolution))
        torch.testing.assert_close(convolution(x, 3 * vectors, weights), convolution(x, vectors, weights))
        assert convolution(x[:0], vectors[:0], weights[:0]).shape == (0, convolution.irreps_out.dim)


def test_what_does_not_fit_is_named():
    convolution = GauntConvolution("4x0e + 4x1o", 2, "4x0e + 4x1o")
    x, vectors, weights = (tensor.detach() for tensor in inputs(convolution))
    with pytest.raises(InputError, match=r"no weights.*weighted=True"):
        convolution(x, vectors)
    with pytest.raises(InputError, match=r"\(5, 3\).*weights.*\(5, 12\)"):
        convolution(x, vectors, vectors)
    with pytest.raises(InputError, match=r"vectors is torch.float32.*torch.float64"):
        convolution(x, vectors.float(), weights)
    with pytest.raises(ConfigError, match=r"no path leads to 1e.*parity: full"):
        GauntConvolution("4x0e + 4x1o", 2, "4x1e")
    with pytest.raises(ConfigError, match=r"l_filter is -1"):
        GauntConvolution("4x0e", -1, "4x0e")
    with pytest.raises(ConfigError, match=r"method is 'fast'"):
        GauntConvolution("4x0e", 1, "4x0e", method="fast")
