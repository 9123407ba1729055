"""The component `gaunt`: any irreps, every option, the same for all methods."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any

import pytest
import torch
from e3nn import o3
from gaunt_reference import DOUBLE, METHODS, SINGLE, error, representation, rotation, slow_product, values
from hypothesis import given, settings
from hypothesis import strategies as st
from molgen_gaunt.config import GauntConfig
from molgen_gaunt.product import GauntTensorProduct, build
from pydantic import BaseModel, ConfigDict
from torch import Tensor

import molgen
from molgen.host.component import ComponentKind, ComponentRef

# irreps of the inputs, of the output, and of the output's further ones under `parity: full`
SIDES: dict[str, tuple[str, str, str, str]] = {
    "regular": ("3x0e + 3x1o + 3x2e", "3x0e + 3x1o", "3x0e + 3x1o + 3x2e", " + 3x1e + 3x2o"),
    "pseudotensors": ("2x0o + 2x1e + 2x1o", "2x0e + 2x1e + 2x2o", "2x0o + 2x1o + 2x2e + 2x1e", ""),
    "one function first": ("0e + 1o + 2e", "3x0e + 3x1o + 3x1e", "3x0e + 3x1o + 3x2e + 3x1e", ""),
    "one function second": ("3x1o + 3x0e", "0e + 1o + 2e", "3x3o + 3x1o", " + 3x2o + 3x1e"),
    "one function of both": ("1o + 2e", "0e + 1o", "1o + 0e + 3o", " + 1e"),
    "repeated": ("2x0e + 2x1o + 3x0e", "1o + 5x0e + 2x1o", "3x1o + 0e + 2x1o + 4x0e", " + 2x1e"),
    "missing channels": ("4x0e + 2x1o", "3x0e + 4x1o", "2x0e + 4x1o + 1x2e", ""),
    "gaps and unordered": ("2x4e + 2x1o", "2x2e + 2x0e", "2x6e + 2x3o + 2x4e + 2x1o", ""),
    "kinds of different reach": ("2x0e + 2x4o", "2x0e + 2x0o", "2x0e + 2x4e", ""),
    "truncated": ("2x0e + 2x1o + 2x2e + 2x3o", "2x0e + 2x1o + 2x2e", "2x0e", ""),
    "extended": ("0e + 1o + 2e + 3o", "0e + 1o + 2e", "0e + 1o + 2e + 3o + 4e + 5o", " + 1e + 2o + 3e + 4o"),
    "to 10": ("2x10e + 2x0e + 2x3o", "2x9o + 2x10e", "2x10e + 2x7o", " + 2x8o"),
}


def product(sides: Sequence[str], **options: Any) -> GauntTensorProduct:
    torch.manual_seed(0)
    return build(GauntConfig(**options), irreps1=sides[0], irreps2=sides[1], irreps_out=sides[2])


def sides_of(name: str, parity: str) -> tuple[str, str, str]:
    first, second, out, more = SIDES[name]
    return first, second, out + more if parity == "full" else out


def inputs(sides: Sequence[str], *shape: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, o3.Irreps(s).dim, dtype=torch.float64, generator=generator) for s in sides[:2]]


@pytest.mark.parametrize("normalization", ["component", "integral"])
@pytest.mark.parametrize("parity", ["even", "full"])
@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_is_the_sum_over_paths_and_channels(method: str, name: str, parity: str, normalization: str) -> None:
    sides = sides_of(name, parity)
    made = product(sides, method=method, parity=parity, normalization=normalization)
    x1, x2 = inputs(sides, 4)
    expected = slow_product(x1, x2, sides, parity=parity, normalization=normalization)
    assert error(made(x1.float(), x2.float()), expected) < SINGLE
    assert error(made.double()(x1, x2), expected) < DOUBLE


@pytest.mark.parametrize("method", METHODS)
def test_is_pointwise_the_product_and_the_bracket_of_functions(method: str) -> None:
    """f·g and r̂·(∇f × ∇g) at points, by the definition: no coefficients and no quadrature."""
    sides = ("0e + 1o + 2e", "0e + 1o + 2e + 3o", "0e + 1o + 2e + 3o + 4e + 5o + 1e + 2o + 3e + 4o")
    made = product(sides, method=method, parity="full", normalization="integral").double()
    x1, x2 = inputs(sides)
    points = torch.nn.functional.normalize(torch.randn(6, 3, dtype=torch.float64), dim=1)

    def slope(coefficients: Tensor, l_max: int) -> Tensor:
        r = points.clone().requires_grad_()
        return torch.autograd.grad((values(list(range(l_max + 1)), r) @ coefficients).sum(), r)[0]

    found = made(x1, x2)
    even, odd = found[:36], found[36:]
    at_points = values([0, 1, 2, 3, 4, 5], points) @ even
    expected = (values([0, 1, 2], points) @ x1) * (values([0, 1, 2, 3], points) @ x2)
    assert error(at_points, expected) < 1e-12
    bracket = (points * torch.linalg.cross(slope(x1, 2), slope(x2, 3))).sum(1)
    assert error(values([1, 2, 3, 4], points) @ odd, bracket) < 1e-12


@pytest.mark.parametrize("options", [{}, {"mode": "fully-connected", "weights": "internal", "rank": 2}], ids=str)
@pytest.mark.parametrize("parity", ["even", "full"])
@pytest.mark.parametrize("name", ["regular", "pseudotensors", "one function first", "repeated", "to 10"])
@pytest.mark.parametrize("method", METHODS)
def test_is_equivariant_under_rotations_and_inversion(
    method: str, name: str, parity: str, options: dict[str, Any]
) -> None:
    sides = sides_of(name, parity)
    made = product(sides, method=method, parity=parity, **options).double()
    x1, x2 = inputs(sides, 3)
    for matrix in (rotation(0), rotation(1, inverted=True), -torch.eye(3, dtype=torch.float64)):
        D1, D2, D3 = (representation(side, matrix) for side in sides)
        assert error(made(x1 @ D1.T, x2 @ D2.T), made(x1, x2) @ D3.T) < 3 * DOUBLE


numbers = st.floats(-3, 3, width=32)


@pytest.mark.parametrize("method", METHODS)
@given(a=numbers, b=numbers, seed=st.integers(0, 99), parity=st.sampled_from(["even", "full"]))
@settings(max_examples=15)
def test_is_bilinear(method: str, a: float, b: float, seed: int, parity: str) -> None:
    sides = sides_of("regular", parity)
    made = product(sides, method=method, parity=parity).double()
    (x, y), (u, v) = inputs(sides, 2, seed=seed), inputs(sides, 2, seed=seed + 100)
    torch.testing.assert_close(made(a * x + b * u, y), a * made(x, y) + b * made(u, y), rtol=0, atol=1e-12)
    torch.testing.assert_close(made(x, a * y + b * v), a * made(x, y) + b * made(x, v), rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 999), l_max=st.integers(1, 4))
@settings(max_examples=10)
def test_even_part_is_symmetric_and_odd_part_antisymmetric(method: str, seed: int, l_max: int) -> None:
    natural = o3.Irreps.spherical_harmonics(l_max)
    pseudo = o3.Irreps([(1, (degree, -((-1) ** degree))) for degree in range(1, l_max + 1)])
    sides = (str(natural), str(natural), str(natural + pseudo))
    made = product(sides, method=method, parity="full").double()
    x, y = inputs(sides, 2, seed=seed)
    sign = torch.cat([torch.ones(natural.dim), -torch.ones(pseudo.dim)])
    torch.testing.assert_close(made(y, x), sign * made(x, y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("parity", ["even", "full"])
@pytest.mark.parametrize("mode", ["channelwise", "fully-connected"])
def test_outputs_of_normal_inputs_have_unit_variance(mode: str, parity: str, method: str) -> None:
    sides = ["16x0e + 16x1o + 16x2e + 16x1e"] * 3
    made = product(sides, method=method, parity=parity, mode=mode)
    with torch.no_grad():
        out = made(*(x.float() for x in inputs(sides, 600)))
    for place in made.irreps_out.slices():
        tolerance = 0.06 if mode == "channelwise" else 0.5  # the weights of the layers are but one sample
        assert out[:, place].square().mean().item() == pytest.approx(1.0, abs=tolerance)


@pytest.mark.parametrize("method", METHODS)
def test_linear_layers_stand_around_the_channelwise_product(method: str) -> None:
    sides = ("3x0e + 2x1o", "2x0e + 1o", "5x0e + 4x1o + 1x1e")
    made = product(sides, method=method, parity="full", mode="fully-connected").double()
    assert made.channels == 5
    x1, x2 = inputs(sides, 4)
    inner = ("5x0e + 5x1o", "5x0e + 5x1o", "5x0e + 5x1o + 5x1e")
    expected = made.mix[2](slow_product(made.mix[0](x1), made.mix[1](x2), inner, parity="full"))
    assert error(made(x1, x2), expected) < 3 * DOUBLE


@pytest.mark.parametrize("parity", ["even", "full"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", [name for name in SIDES if name not in ("to 10", "extended")])
def test_weights_multiply_each_degree_and_channel(name: str, rank: int, parity: str) -> None:
    sides = sides_of(name, parity)
    x1, x2 = inputs(sides, 3)
    given = product(sides, weights="external", rank=rank, parity=parity).double()
    own = product(sides, weights="internal", rank=rank, parity=parity).double()
    assert own.weight_numel == product(sides, parity=parity).weight_numel == 0
    (held,) = own.parameters()
    assert held.shape == (given.weight_numel,)
    assert given.weight_numel % rank == 0
    weights = torch.randn(3, given.weight_numel, dtype=torch.float64)
    options: dict[str, Any] = {"parity": parity, "rank": rank}
    assert error(given(x1, x2, weights), slow_product(x1, x2, sides, weights=weights, **options)) < 3 * DOUBLE
    expected = slow_product(x1, x2, sides, weights=held[None].detach(), **options)
    assert error(own(x1, x2), expected) < 3 * DOUBLE
    assert error(given(x1, x2, held), expected) < 3 * DOUBLE  # one set for all rows


class Layer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tensor_product: Annotated[ComponentRef, ComponentKind("tensor_product")]


def test_the_product_of_a_layer_is_a_choice_of_one_line() -> None:
    sides = {"irreps1": "4x0e + 4x1o + 4x2e", "irreps2": "0e + 1o + 2e", "irreps_out": "4x0e + 4x1o + 4x2e"}
    x1, x2 = inputs(list(sides.values()), 5)
    results, signatures = [], []
    for name in ("gaunt", "clebsch-gordan"):
        plain = Layer.model_validate({"tensor_product": name}).tensor_product
        assert plain.use == f"molgen-gaunt:{name}"
        assert plain.build(**sides)(x1.float(), x2.float()).shape == (5, 36)
        options = {"use": name, "config": {"normalization": "integral", "parity": "even"}}
        made = Layer.model_validate({"tensor_product": options}).tensor_product.build(**sides).double()
        signatures.append(inspect.signature(type(made).forward))
        results.append(made(x1, x2))
    assert signatures[0] == signatures[1]
    assert error(results[0], results[1]) < 1e-12


def test_is_built_by_name_with_its_options() -> None:
    made = molgen.build("tensor_product", "gaunt", irreps1="2x1o", irreps2="2x1o", irreps_out="2x0e + 2x2e",
                        config={"method": "grid", "weights": "external", "rank": 2})  # fmt: skip
    assert isinstance(made, GauntTensorProduct)
    assert (made.config.method, made.config.rank, made.weight_numel) == ("grid", 2, 2 * (2 + 2 + 4))
    assert str(made.irreps_out) == "2x0e+2x2e"
