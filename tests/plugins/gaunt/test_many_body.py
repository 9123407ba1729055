from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from e3nn import o3
from molgen_gaunt import many_body
from molgen_gaunt.clebsch_gordan import path_coefficient
from molgen_gaunt.many_body import ManyBodyProduct, mean_squares, recompute
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from molgen.errors import ConfigError, InputError

METHODS = ("grid", "separable", "fourier", "pairwise")
RAGGED = "2x0e + 2x1o + 1x2e", "2x2e + 1x1o + 2x0e"  # channels that lack a degree, another order in the output
EXACT = 1e-13  # of float64, relative to the largest number


def product(irreps_in: str = RAGGED[0], irreps_out: str = RAGGED[1], **options: Any) -> ManyBodyProduct:
    torch.manual_seed(0)
    options = {"correlation": 3, "dtype": torch.float64} | options
    return ManyBodyProduct(irreps_in, irreps_out, **options)


def inputs(made: ManyBodyProduct, *rows: int, grad: bool = False) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    sizes = (made.irreps_in.dim, made.weight_numel) if made.weight_numel else (made.irreps_in.dim,)
    dtype = made._sum.dtype
    return tuple(torch.randn(*rows, n, generator=generator, dtype=dtype).requires_grad_(grad) for n in sizes)


def error(found: Tensor, wanted: Tensor) -> float:
    return float(((found - wanted).abs().max() / wanted.abs().max()).detach())


def rotation(irreps: o3.Irreps, angles: Tensor, inversions: int) -> Tensor:
    """e3nn's matrix, whose generators have the digits of torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return irreps.D_from_angles(*angles, torch.tensor(float(inversions)))
    finally:
        torch.set_default_dtype(before)


def channels(x: Tensor, irreps: o3.Irreps) -> list[dict[int, Tensor]]:
    """{l: [2l + 1]} of each channel of one row."""
    found: list[dict[int, Tensor]] = [{} for _ in range(max(mul for mul, _ in irreps))]
    for (mul, ir), place in zip(irreps, irreps.slices(), strict=True):
        for u, component in enumerate(x[place].view(mul, ir.dim)):
            found[u][ir.l] = component
    return found


def times(f: dict[int, Tensor], g: dict[int, Tensor]) -> dict[int, Tensor]:
    """The product of two functions by e3nn's coefficients."""
    found: dict[int, Tensor] = {}
    for (a, x), (b, y) in itertools.product(f.items(), g.items()):
        for l in range(abs(a - b), a + b + 1, 2):
            gaunt = path_coefficient(a, b, l) * o3.wigner_3j(a, b, l, dtype=torch.float64)
            found[l] = found.get(l, 0) + torch.einsum("i,j,ijk->k", x, y, gaunt)
    return found


def slow(made: ManyBodyProduct, *factors: Tensor) -> Tensor:
    """One row of the product of factors, channel by channel."""
    out = torch.zeros(made.irreps_out.dim, dtype=torch.float64)
    each = [channels(x, made.irreps_in) for x in factors]
    for u in range(made.channels):
        f = each[0][u]
        for other in each[1:]:
            f = times(f, other[u])
        for (mul, ir), place in zip(made.irreps_out, made.irreps_out.slices(), strict=True):
            if u < mul and ir.l in f:
                out[place].view(mul, ir.dim)[u] = f[ir.l]
    return out


@pytest.mark.parametrize("correlation", [1, 2, 3, 4])
@pytest.mark.parametrize("method", METHODS)
def test_powers_are_those_of_explicit_coefficients(method: str, correlation: int) -> None:
    made = product(method=method, correlation=correlation, normalization="integral")
    (x,) = inputs(made, 2)
    wanted = torch.stack([slow(made, *[row] * correlation) for row in x])
    assert error(made(x), wanted) < EXACT


@pytest.mark.parametrize("method", METHODS)
def test_the_product_of_different_factors_is_that_of_explicit_coefficients(method: str) -> None:
    made = product(method=method, correlation=4, normalization="integral")
    for count in (2, 3, 4):
        factors = [inputs(made, 4)[0].roll(i, 0) for i in range(count)]
        wanted = torch.stack([slow(made, *rows) for rows in zip(*factors, strict=True)])
        assert error(made.product_of(*factors), wanted) < EXACT


@pytest.mark.parametrize("weights", ["internal", "external"])
def test_weights_stand_in_the_order_of_paths_with_channels_running_fastest(weights: str) -> None:
    made = product(weights=weights, normalization="integral")
    x, *given = inputs(made, 3)
    by_path = (given[0] if given else made.weights.expand(3, -1)).view(3, len(made.paths), made.channels)
    for row, w, found in zip(x, by_path, made(x, *given), strict=True):
        wanted = 0
        for (power, l), of_channels in zip(made.paths, w, strict=True):
            full = channels(slow(made, *[row] * power), made.irreps_out)
            scaled = [{k: of_channels[u] * (k == l) * v for k, v in f.items()} for u, f in enumerate(full)]
            parts = [scaled[u][ir.l] for mul, ir in made.irreps_out for u in range(mul)]
            wanted = wanted + torch.cat(parts)
        assert error(found, wanted) < EXACT


def test_only_paths_that_exist_have_weights() -> None:
    assert product("4x1o", "4x0e + 4x1o", weights="external").paths == ((1, 1), (2, 0), (3, 1))


@pytest.mark.parametrize("method", ["grid", "separable", "fourier"])
@pytest.mark.parametrize("l_max", [4, 6])
def test_high_degrees_agree_with_the_reference(method: str, l_max: int) -> None:
    irreps = " + ".join(f"2x{l}{'eo'[l % 2]}" for l in range(l_max + 1))
    options = {"weights": "external", "correlation": 3}
    made, reference = product(irreps, irreps, method=method, **options), product(irreps, irreps, **options)
    given = inputs(made, 3)
    assert error(made(*given), reference(*given)) < EXACT
    single = product(irreps, irreps, method=method, dtype=torch.float32, **options)
    assert error(single(*(x.float() for x in given)).double(), reference(*given)) < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_rotations_and_inversion_go_through(method: str) -> None:
    made = product("3x0e + 2x1o + 3x2e + 1x3o", "3x3o + 2x0e + 3x1o", method=method, weights="external")
    x, w = inputs(made, 4)
    angles = torch.tensor([0.7, 2.1, -1.3], dtype=torch.float64)
    for turns, inversions in ((angles, 0), (angles, 1), (0 * angles, 1)):
        before, after = (rotation(irreps, turns, inversions) for irreps in (made.irreps_in, made.irreps_out))
        assert error(made(x @ before.T, w), made(x, w) @ after.T) < 1e-12


@pytest.mark.parametrize("weights", ["none", "internal", "external"])
@pytest.mark.parametrize("method", METHODS)
def test_first_second_and_third_derivatives_are_right(method: str, weights: str) -> None:
    made = product(method=method, weights=weights, correlation=3 if weights == "none" else 2)
    given = inputs(made, 1, grad=True)
    call: Callable[..., Tensor] = made
    if weights == "internal":
        given = (*given, made.weights.detach().clone().requires_grad_())

        def call(x: Tensor, w: Tensor) -> Tensor:
            return torch.func.functional_call(made, {"weights": w}, (x,))

    assert gradcheck(call, given)
    assert gradgradcheck(call, given)

    def twice(*given: Tensor) -> Tensor:
        once = torch.autograd.grad(call(*given).square().sum(), given, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in once), given[0], create_graph=True)[0]

    assert gradcheck(twice, given)


@pytest.mark.parametrize("method", ["grid", "pairwise"])
def test_derivatives_of_the_product_of_different_factors_are_right(method: str) -> None:
    made = product("1x0e + 1x1o", "1x0e + 1x1o", method=method)
    factors = [inputs(made, 3, grad=True)[0].detach()[i : i + 1].clone().requires_grad_() for i in range(3)]
    assert gradcheck(made.product_of, factors)
    assert gradgradcheck(made.product_of, factors)


@pytest.mark.parametrize("weights", ["none", "internal", "external"])
def test_rows_in_chunks_give_the_same_results_and_gradients(monkeypatch: pytest.MonkeyPatch, weights: str) -> None:
    made = product(weights=weights)

    def results() -> list[Tensor]:
        given = inputs(made, 7, grad=True)
        sources = [*given, *made.parameters()]
        once = torch.autograd.grad(made(*given).sin().sum(), sources, create_graph=True)
        return [*once, *torch.autograd.grad(sum(g.sin().sum() for g in once), sources)]

    whole = results()
    monkeypatch.setitem(recompute._CHUNK_BYTES, "cpu", 2 * made._sum.floats_per_row() * 8)
    for found, wanted in zip(results(), whole, strict=True):
        assert error(found, wanted) < EXACT


def test_only_inputs_are_kept_for_backward() -> None:
    made = product(weights="external", irreps_in="8x0e + 8x1o", irreps_out="8x0e + 8x1o")
    given = inputs(made, 5, grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        made(*given)
    assert sum(x.numel() for x in kept) == sum(x.numel() for x in given)


def test_forces_cost_no_gradients_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    made = product(weights="internal")
    (positions,) = inputs(made, 5, grad=True)

    def refuse(*_: object) -> None:
        raise AssertionError("weights' gradients were computed")

    y = made(positions.sin())
    with monkeypatch.context() as patch:
        patch.setattr(type(made._sum), "_of_weights", refuse)
        (found,) = torch.autograd.grad(y.sum(), positions)
    (wanted, _) = torch.autograd.grad(made(positions.sin()).sum(), (positions, made.weights))
    assert error(found, wanted) < EXACT


def test_torch_func_goes_through() -> None:
    made = product(weights="external")
    x, w = inputs(made, 4)
    assert error(torch.func.vmap(made)(x, w), made(x, w)) < EXACT
    jacobian = torch.func.vmap(torch.func.jacrev(made))(x, w)
    _, tangent = torch.func.jvp(lambda x: made(x, w), (x,), (x,))
    assert error(tangent, torch.einsum("bij,bj->bi", jacobian, x)) < 1e-12
    with torch.autograd.forward_ad.dual_level():
        dual = made(torch.autograd.forward_ad.make_dual(x, x), w)
        assert error(torch.autograd.forward_ad.unpack_dual(dual).tangent, tangent) < EXACT


def test_batched_gradients_are_refused() -> None:
    made = product()
    (x,) = inputs(made, 2)
    with pytest.raises(InputError, match=r"torch\.func"):
        torch.autograd.functional.jacobian(made, x, vectorize=True)


@pytest.mark.parametrize("weights", ["internal", "external"])
def test_it_compiles_as_one_graph(weights: str) -> None:
    torch._dynamo.reset()
    made = product(weights=weights, correlation=2)
    given = inputs(made, 3, grad=True)
    compiled = torch.compile(made, fullgraph=True, backend="aot_eager")
    found, wanted = (torch.autograd.grad(call(*given).sin().sum(), given) for call in (compiled, made))
    for a, b in zip(found, wanted, strict=True):
        assert error(a, b) < EXACT


@pytest.mark.parametrize("degrees", [(0,), (1,), (0, 1, 2), (0, 1, 2, 3)])
def test_mean_squares_are_those_of_the_exact_moments(degrees: tuple[int, ...]) -> None:
    # f² and products of two: E[(Σ G x x)²] by the moments of normal numbers, from the coefficients
    sources = [(l, m) for l in degrees for m in range(2 * l + 1)]
    for l3 in range(4):
        G = np.zeros((len(sources), len(sources)))
        for (i, (a, m)), (j, (b, n)) in itertools.product(enumerate(sources), repeat=2):
            if abs(a - b) <= l3 <= a + b and (a + b + l3) % 2 == 0:
                G[i, j] = path_coefficient(a, b, l3) * float(o3.wigner_3j(a, b, l3, dtype=torch.float64)[m, n, l3])
        same, apart = 2 * (G * G).sum() + np.trace(G) ** 2, (G * G).sum()
        assert mean_squares(degrees, 2, 3)[l3] == pytest.approx(same, abs=1e-13)
        assert mean_squares(degrees, 2, 3, distinct=True)[l3] == pytest.approx(apart, abs=1e-13)


@pytest.mark.parametrize("correlation", [2, 3, 4])
def test_components_have_mean_square_one(correlation: int) -> None:
    irreps = "20000x0e + 20000x1o + 10000x2e"  # channels of two sorts
    made = product(irreps, irreps, correlation=correlation, dtype=torch.float32)
    x = torch.randn(4, made.irreps_in.dim, generator=torch.Generator().manual_seed(0))
    tolerance = {2: 0.05, 3: 0.1, 4: 0.3}[correlation]  # the tails of high powers are long
    for y in (made(x), made.product_of(*(x.roll(i, 0) for i in range(correlation)))):
        for (mul, ir), place in zip(made.irreps_out, made.irreps_out.slices(), strict=True):
            halves = y[:, place].view(4, mul, ir.dim).split(10000, 1)
            assert all(float(half.square().mean()) == pytest.approx(1, rel=tolerance) for half in halves)


def test_the_sum_of_weighted_powers_has_mean_square_one() -> None:
    made = product("5000x0e + 5000x1o", "5000x0e + 5000x1o", weights="external", dtype=torch.float32)
    x, w = inputs(made, 10)
    for place in made.irreps_out.slices():
        assert float(made(x, w)[:, place].square().mean()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_leading_dimensions_zero_rows_and_layouts(method: str) -> None:
    made = product(method=method, weights="external")
    x, w = inputs(made, 6)
    whole = made(x, w)
    assert error(made(x.view(2, 3, -1), w.view(2, 3, -1)), whole.view(2, 3, -1)) < EXACT
    assert error(made(x[0], w[0]), whole[0]) < EXACT
    assert error(made(x, w[0]), made(x, w[:1].expand(6, -1))) < EXACT
    assert error(made(x[:2, None], w[None, :3]), made(x[[0, 0, 0, 1, 1, 1]], w[[0, 1, 2] * 2]).view(2, 3, -1)) < EXACT
    strided = x.t().contiguous().t()
    assert error(made(strided, w), whole) < EXACT
    empty, no_weights = x[:0].requires_grad_(), w[:0]
    y = made(empty, no_weights)
    y.sum().backward()
    assert y.shape == (0, made.irreps_out.dim)
    assert empty.grad.shape == empty.shape


def test_gradients_of_a_broadcast_gradient() -> None:
    made = product()
    (x,) = inputs(made, 4, grad=True)
    (found,) = torch.autograd.grad(made(x).sum(), x)  # sum hands back one number, expanded
    (wanted,) = torch.autograd.grad(made(x), x, torch.ones(4, made.irreps_out.dim, dtype=torch.float64))
    assert torch.equal(found, wanted)


def test_moved_to_float64_it_has_all_digits() -> None:
    made, reference = product(dtype=torch.float32, weights="external").double(), product(weights="external")
    given = inputs(reference, 3)
    assert error(made(*given), reference(*given)) < EXACT


def test_autocast_keeps_single_precision() -> None:
    made = product(dtype=torch.float32, weights="external")
    given = inputs(made, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made(*given)
        factors = made.product_of(given[0], given[0])
    assert found.dtype == factors.dtype == torch.float32
    assert torch.equal(found, made(*given))


def test_inference_mode_and_its_end() -> None:
    made = product()
    (x,) = inputs(made, 4)
    with torch.inference_mode():
        inside = made(x)
    assert torch.equal(inside, made(x))


def test_auto_takes_the_fast_transform_at_high_degree() -> None:
    low, high = product(method="auto"), product("1x0e + 1x8e", "1x8e", method="auto")
    assert (low.method, high.method) == ("grid", "separable")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correlation": 0}, "correlation is 0.*integer from 1"),
        ({"correlation": 2.5}, r"correlation is 2\.5"),
        ({"irreps_in": "4x0e + 4x1e"}, r"1e in 4x0e\+4x1e.*irreps_in.*parity"),
        ({"irreps_out": "4x0o"}, "0o in 4x0o.*irreps_out"),
        ({"irreps_in": "4x0e + 4x1o", "irreps_out": "4x4e"}, r"4x0e\+4x1o at correlation 3 reaches 4e in 4x4e"),
        ({"irreps_in": "4x1o", "irreps_out": "4x0e"}, "reaches 0e"),
        ({"irreps_in": "2x0e", "irreps_out": "4x0e"}, "irreps_out has 4 channels and irreps_in 2"),
        ({"irreps_in": "nonsense"}, "'nonsense' are no irreps.*irreps_in"),
        ({"irreps_out": ""}, "irreps_out is empty"),
        ({"method": "direct"}, "'direct' is no method.*grid"),
        ({"weights": "shared"}, "'shared' is no weights"),
        ({"normalization": "norm"}, "'norm' is no normalization"),
        ({"dtype": torch.float16}, "float16.*float64"),
    ],
)
def test_what_can_not_work_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        product(**{"irreps_in": "4x0e + 4x1o", "irreps_out": "4x0e + 4x1o"} | change)


@pytest.mark.parametrize(
    ("weights", "call", "message"),
    [
        ("none", lambda p, x, w: p(x[:, :-1]), "last dimension 12.*13.*2x0e"),
        ("none", lambda p, x, w: p(x[0, 0]), "no dimension.*13"),
        ("none", lambda p, x, w: p(x.float()), "torch.float32.*torch.float64"),
        ("none", lambda p, x, w: p(x.to("meta")), "meta.*cpu"),
        ("none", lambda p, x, w: p(x, x), "weights are given.*none"),
        ("external", lambda p, x, w: p(x), "weights are missing.*18"),
        ("external", lambda p, x, w: p(x, w[:, 1:]), "last dimension 17.*18.*9 paths × 2 channels"),
        ("external", lambda p, x, w: p(x, w[:2]), r"x \(3,\), weights \(2,\)"),
        ("none", lambda p, x, w: p.product_of(x), "got 1.*2 to 3"),
        ("none", lambda p, x, w: p.product_of(x, x, x, x), "got 4.*2 to 3.*higher correlation"),
        ("none", lambda p, x, w: p.product_of(x, x[:, 1:]), "x2 has last dimension 12.*13"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(weights: str, call: Callable[..., Tensor], message: str) -> None:
    made = product(weights=weights)
    x, *w = inputs(made, 3)
    with pytest.raises(InputError, match=message):
        call(made, x, *w or [None])


def test_weights_are_all_its_state() -> None:
    assert list(product(weights="internal").state_dict()) == ["weights"]
    assert not product(weights="external").state_dict()
    assert math.prod(product(weights="internal").weights.shape) == 9 * 2
    assert {name for name in vars(many_body) if name[0].isupper()} == {"ManyBodyProduct"}
