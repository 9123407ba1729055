"""How tensors may lie, and what may be done to a product: batches, strides, copies, dtypes, modes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from gaunt_reference import DOUBLE, METHODS, error, slow_product
from molgen_gaunt import autograd
from molgen_gaunt.config import GauntConfig
from molgen_gaunt.product import GauntTensorProduct, build
from torch import Tensor

SIDES = ("2x0e + 3x1o + 2x2e", "3x0e + 1o", "3x0e + 2x1o + 1x2e + 1x1e")
WIDTHS = (21, 6, 17)

methods = pytest.mark.parametrize("method", METHODS)


def product(method: str = "grid", **options: Any) -> GauntTensorProduct:
    torch.manual_seed(0)
    config = GauntConfig(method=method, **{"parity": "full", **options})
    return build(config, irreps1=SIDES[0], irreps2=SIDES[1], irreps_out=SIDES[2])


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@methods
def test_leading_dimensions_broadcast(method: str) -> None:
    made = product(method).double()
    x1, x2 = rows(5, 1, 21), rows(7, 6)
    out = made(x1, x2)
    assert out.shape == (5, 7, 17)
    expected = slow_product(
        x1.expand(5, 7, 21).reshape(35, 21), x2.expand(5, 7, 6).reshape(35, 6), SIDES, parity="full"
    )
    assert error(out.view(35, 17), expected) < DOUBLE
    torch.testing.assert_close(made(x1[0, 0], x2), out[0], rtol=0, atol=1e-13)
    torch.testing.assert_close(made(x1[0, 0], x2[0]), out[0, 0], rtol=0, atol=1e-13)


@methods
def test_weights_broadcast_like_inputs(method: str) -> None:
    made = product(method, weights="external", rank=2).double()
    x1, x2, weights = rows(5, 1, 21), rows(7, 6), rows(5, 1, made.weight_numel)
    found = made(x1, x2, weights)
    assert found.shape == (5, 7, 17)
    torch.testing.assert_close(found[3], made(x1[3].expand(7, -1), x2, weights[3, 0]), rtol=0, atol=1e-13)
    by_weights = made(x1[0, 0], x2[0], rows(4, made.weight_numel))
    assert by_weights.shape == (4, 17)


@methods
def test_strides_do_not_matter(method: str) -> None:
    made = product(method).double()
    x1, x2 = rows(8, 21), rows(8, 6)
    expected = made(x1, x2)
    strided1, strided2 = rows(21, 8).T, rows(8, 12)[:, ::2]
    strided1.copy_(x1)
    strided2.copy_(x2)
    assert not strided1.is_contiguous()
    assert not strided2.is_contiguous()
    torch.testing.assert_close(made(strided1, strided2), expected, rtol=0, atol=0)
    torch.testing.assert_close(made(x1[:1].expand(8, -1), x2), made(x1[:1].repeat(8, 1), x2), rtol=0, atol=0)
    gradients = []
    for a, b in ((strided1, strided2), (x1, x2)):
        leaves = [a.detach().requires_grad_(), b.detach().requires_grad_()]
        made(*leaves).transpose(0, 1).square().sum().backward()  # and a gradient that is strided
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"weights": "internal"}, {"mode": "fully-connected"}], ids=str)
@methods
def test_no_rows_give_no_rows_and_no_gradient(method: str, options: dict[str, Any]) -> None:
    made = product(method, **options).double()
    for leading in ((0,), (3, 0), (0, 3)):
        x1, x2 = rows(*leading, 21).requires_grad_(), rows(*leading, 6).requires_grad_()
        out = made(x1, x2)
        assert out.shape == (*leading, 17)
        out.sum().backward()
        assert x1.grad is not None
        assert x1.grad.shape == x1.shape


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows per chunk."""
    monkeypatch.setitem(autograd._CHUNK_BYTES, "cpu", 40_000)


@methods
@pytest.mark.usefixtures("small_chunks")
def test_chunks_of_rows_change_nothing(method: str) -> None:
    made = product(method).double()
    x1, x2, g = rows(211, 21).requires_grad_(), rows(211, 6).requires_grad_(), rows(211, 17)
    engine = made.terms[0].engines[method][0]  # type: ignore[index, union-attr]
    assert autograd._rows(engine, x1) < 211 / 2  # type: ignore[arg-type]
    out = made(x1, x2)
    assert error(out, slow_product(x1.detach(), x2.detach(), SIDES, parity="full")) < DOUBLE
    dx1, dx2 = torch.autograd.grad(out, (x1, x2), g)
    for n in (0, 17, 210):
        one1, one2 = x1[n].detach().requires_grad_(), x2[n].detach().requires_grad_()
        single = made(one1, one2)
        torch.testing.assert_close(single, out[n], rtol=0, atol=1e-12)
        expected = torch.autograd.grad(single, (one1, one2), g[n])
        torch.testing.assert_close((dx1[n], dx2[n]), expected, rtol=0, atol=1e-12)


@methods
def test_results_are_not_overwritten_by_later_calls(method: str) -> None:
    made = product(method).double()
    x1, x2 = rows(9, 21).requires_grad_(), rows(9, 6).requires_grad_()
    out = made(x1, x2)
    gradients = torch.autograd.grad(out.sum(), (x1, x2), retain_graph=True)
    before = [t.clone() for t in (out.detach(), *gradients)]
    again = made(rows(11, 21).requires_grad_(), rows(11, 6).requires_grad_())
    again.sum().backward()
    torch.testing.assert_close([out.detach(), *gradients], before, rtol=0, atol=0)


@methods
def test_a_row_of_nan_or_infinity_harms_no_other(method: str) -> None:
    made = product(method).double()
    x1, x2 = rows(6, 21), rows(6, 6)
    expected = made(x1, x2)
    for value in (torch.nan, torch.inf):
        broken = x1.clone()
        broken[2] = value
        found = made(broken, x2)
        assert not found[2].isfinite().any()
        others = [0, 1, 3, 4, 5]
        torch.testing.assert_close(found[others], expected[others], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "options", [{}, {"weights": "internal", "rank": 2}, {"mode": "fully-connected", "weights": "internal"}], ids=str
)
@methods
def test_copies_and_state_give_the_same_product(method: str, options: dict[str, Any]) -> None:
    made, again = product(method, **options), product(method, **options)
    x1, x2 = rows(4, 21).float(), rows(4, 6).float()
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.add_(1.0)
    again.load_state_dict(made.state_dict())
    for twin in (again, copy.deepcopy(made)):
        torch.testing.assert_close(twin(x1, x2), made(x1, x2), rtol=0, atol=0)


def test_state_holds_what_is_learned_and_no_tables() -> None:
    assert not product().state_dict()
    assert list(product(weights="internal").state_dict()) == ["degree_weights.weights"]
    other = product("fourier", weights="internal")
    other.load_state_dict(product(weights="internal").state_dict())  # whatever the method


@methods
def test_moving_to_float64_gives_full_precision_and_back(method: str) -> None:
    made = product(method)
    x1, x2 = rows(4, 21), rows(4, 6)
    single = made(x1.float(), x2.float())
    assert (made.dtype, single.dtype) == (torch.float32, torch.float32)
    assert error(made.to(torch.float64)(x1, x2), slow_product(x1, x2, SIDES, parity="full")) < DOUBLE
    torch.testing.assert_close(made.float()(x1.float(), x2.float()), single, rtol=0, atol=0)


@pytest.fixture
def double_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@methods
@pytest.mark.usefixtures("double_by_default")
def test_is_built_in_the_default_dtype(method: str) -> None:
    made = product(method)
    x1, x2 = rows(4, 21), rows(4, 6)
    assert made.dtype == torch.float64
    assert error(made(x1, x2), slow_product(x1, x2, SIDES, parity="full")) < DOUBLE


@pytest.mark.parametrize("options", [{}, {"weights": "external"}, {"mode": "fully-connected"}], ids=str)
@methods
def test_autocast_leaves_the_product_in_its_own_precision(method: str, options: dict[str, Any]) -> None:
    made = product(method, **options)
    given = [rows(4, 21).bfloat16(), rows(4, 6).bfloat16()]
    if made.weight_numel:
        given.append(rows(4, made.weight_numel).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        out = made(*given)
        mixed = made(given[0], *(x.float() for x in given[1:]))
    expected = made(*(x.float() for x in given))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=0)


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_works_without_gradients_and_afterwards_with_them(method: str) -> None:
    made = product(method).double()
    x1, x2 = rows(4, 21), rows(4, 6)
    with torch.inference_mode():
        inferred = made(x1, x2)
    with torch.no_grad():
        free = made(x1.requires_grad_(), x2)
    assert inferred.is_inference()
    assert not free.requires_grad
    out = made(x1, x2)
    out.square().sum().backward()
    torch.testing.assert_close(out.detach(), free, rtol=0, atol=0)
    torch.testing.assert_close(out.detach(), inferred.clone(), rtol=0, atol=0)


@pytest.mark.parametrize("place", [0, 1])
@methods
def test_one_input_alone_may_want_a_gradient(method: str, place: int) -> None:
    made = product(method).double()
    x = [rows(4, 21), rows(4, 6)]
    both = [each.clone().requires_grad_() for each in x]
    expected = torch.autograd.grad(made(*both).square().sum(), both)[place]
    x[place].requires_grad_()
    made(*x).square().sum().backward()
    assert x[1 - place].grad is None
    torch.testing.assert_close(x[place].grad, expected, rtol=0, atol=1e-13)
