from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import e3nn
import numpy as np
import pytest
import torch
from e3nn import o3
from molgen_gaunt.clebsch_gordan import ClebschGordan, build, path_coefficient
from molgen_gaunt.config import ClebschGordanConfig
from torch import Tensor

from molgen.errors import ConfigError, InputError

EXACT = 1e-12  # of float64, relative to numbers of order one

# what the channels of two inputs and an output can be to each other
SIDES = {
    "regular": ("3x0e + 3x1o + 3x2e", "3x0e + 3x1o", "3x0e + 3x1o + 3x1e + 3x2e"),
    "broadcast second": ("3x0e + 3x1o", "0e + 1o + 2e", "3x0e + 3x1o + 3x2o"),
    "broadcast first": ("1o + 2e", "2x0e + 2x1o", "2x0e + 2x1e + 2x1o"),
    "occurs twice": ("2x0e + 1o + 1x0e + 2x1o", "3x0e + 1x1o + 2x1o", "1o + 3x0e + 2x1o"),
    "too few channels": ("4x0e + 2x1o", "3x0e + 4x1o", "2x0e + 4x1o + 1x2e"),
    "one channel": ("0e + 1o + 2e", "1o + 1e", "0o + 1e + 2o"),
}


def product(
    irreps1: o3.Irreps | str = "2x0e + 2x1o",
    irreps2: o3.Irreps | str = "2x0e + 2x1o",
    irreps_out: o3.Irreps | str = "2x0e + 2x1o",
    **options: str,
) -> ClebschGordan:
    torch.manual_seed(0)
    return build(ClebschGordanConfig(**options), irreps1=irreps1, irreps2=irreps2, irreps_out=irreps_out)


def as_channels(x: Tensor, irreps: o3.Irreps, count: int) -> dict[o3.Irrep, Tensor]:
    """[count, 2l + 1] of every irrep of one row, zeros where it has fewer; a side of single ones is repeated."""
    found: dict[o3.Irrep, list[Tensor]] = {}
    for (multiplicity, ir), place in zip(irreps, irreps.slices(), strict=True):
        found.setdefault(ir, []).extend(x[place].reshape(multiplicity, ir.dim))
    if all(len(each) == 1 for each in found.values()):
        return {ir: torch.stack(each * count) for ir, each in found.items()}
    zero = {ir: [x.new_zeros(ir.dim)] * (count - len(each)) for ir, each in found.items()}
    return {ir: torch.stack([*each, *zero[ir]]) for ir, each in found.items()}


def slow(made: ClebschGordan, x1: Tensor, x2: Tensor, weights: Tensor | None = None) -> Tensor:
    """One row by loops over channels, components and paths, as the documentation tells it."""
    sides = [as_channels(x, irreps, 9) for x, irreps in ((x1, made.irreps1), (x2, made.irreps2))]
    multiplicities: list[dict[o3.Irrep, int]] = []
    for irreps in (made.irreps1, made.irreps2, made.irreps_out):
        multiplicities.append({})
        for multiplicity, ir in irreps:
            multiplicities[-1][ir] = multiplicities[-1].get(ir, 0) + multiplicity
    C = max(max(each.values()) for each in multiplicities[:2])
    chosen = [
        (a, b, c)
        for a in multiplicities[0]
        for b in multiplicities[1]
        for c in multiplicities[2]
        if c in a * b and (made.config.parity == "full" or (a.l + b.l + c.l) % 2 == 0)
    ]
    assert [tuple(path) for path in made.paths] == chosen
    total = {ir: x1.new_zeros(C, ir.dim) for ir in multiplicities[2]}
    for number, (a, b, c) in enumerate(chosen):
        coupled = o3.wigner_3j(a.l, b.l, c.l, dtype=x1.dtype)
        factor = math.sqrt(c.dim / sum(path[2] == c for path in chosen))
        if made.config.normalization == "integral":
            factor = path_coefficient(a.l, b.l, c.l)
        for u in range(C):
            weight = 1.0 if weights is None else weights[number * C + u]
            term = torch.einsum("i,j,ijk->k", sides[0][a][u], sides[1][b][u], coupled)
            total[c][u] += weight * factor * term
    used = dict.fromkeys(total, 0)
    rows = []
    for multiplicity, ir in made.irreps_out:
        rows.append(total[ir][used[ir] : used[ir] + multiplicity].reshape(-1))
        used[ir] += multiplicity
    return torch.cat(rows)


def inputs(made: ClebschGordan, *shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(  # type: ignore[return-value]
        torch.randn(*shape, irreps.dim, dtype=torch.float64, generator=generator)
        for irreps in (made.irreps1, made.irreps2)
    )


@pytest.fixture
def exact_rotations() -> Iterator[None]:
    """e3nn makes its rotation matrices of irreps in the default dtype, whatever the dtype of the rotation."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("normalization", ["component", "integral"])
@pytest.mark.parametrize("parity", ["even", "full"])
@pytest.mark.parametrize("weights", ["none", "internal", "external"])
@pytest.mark.parametrize("sides", SIDES)
def test_is_the_sum_over_paths_and_channels(sides: str, weights: str, parity: str, normalization: str) -> None:
    irreps1, irreps2, irreps_out = (o3.Irreps(side) for side in SIDES[sides])
    if parity == "even":
        pairs = [(a, b) for _, a in irreps1 for _, b in irreps2]
        reached = {c for a, b in pairs for c in a * b if (a.l + b.l + c.l) % 2 == 0}
        irreps_out = o3.Irreps([(multiplicity, ir) for multiplicity, ir in irreps_out if ir in reached])
    options = {"parity": parity, "normalization": normalization, "weights": weights}
    made = product(irreps1, irreps2, irreps_out, **options).double()
    x1, x2 = inputs(made, 3)
    numel = len(made.paths) * made.channels
    assert made.weight_numel == (numel if weights == "external" else 0)
    given = torch.randn(3, numel, dtype=torch.float64) if weights == "external" else None
    own = made.weights.expand(3, -1) if weights == "internal" else given
    expected = torch.stack([slow(made, x1[n], x2[n], None if own is None else own[n]) for n in range(3)])
    torch.testing.assert_close(made(x1, x2, given), expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.usefixtures("exact_rotations")
def test_is_equivariant_under_rotations_and_inversion(sides: str) -> None:
    for mode in ("channelwise", "fully-connected"):
        made = product(*SIDES[sides], mode=mode).double()
        x1, x2 = inputs(made, 5)
        for matrix in (o3.rand_matrix(), -o3.rand_matrix(), -torch.eye(3)):
            D1, D2, D3 = (ir.D_from_matrix(matrix) for ir in (made.irreps1, made.irreps2, made.irreps_out))
            expected = made(x1, x2) @ D3.T
            torch.testing.assert_close(made(x1 @ D1.T, x2 @ D2.T), expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(
    ("l1", "l2", "l3"), [(0, 0, 0), (1, 1, 2), (2, 3, 1), (4, 4, 4), (1, 1, 1), (2, 2, 1), (2, 3, 4), (3, 4, 4)]
)
def test_integral_coefficients_are_those_of_quadrature(l1: int, l2: int, l3: int) -> None:
    nodes, node_weights = np.polynomial.legendre.leggauss(12)
    angle = torch.arange(24, dtype=torch.float64) * (2 * math.pi / 24)
    height = torch.from_numpy(nodes)[:, None].expand(-1, 24)
    ring = (1 - height.square()).sqrt()
    points = torch.stack((ring * angle.sin(), height, ring * angle.cos()), dim=-1).reshape(-1, 3)
    area = (torch.from_numpy(node_weights)[:, None] * (2 * math.pi / 24)).expand(-1, 24).reshape(-1)

    def harmonics(degree: int) -> Tensor:
        return o3.spherical_harmonics(degree, points, normalize=True, normalization="integral")

    def gradients(degree: int) -> Tensor:  # [G, 2 degree + 1, 3]
        columns = [
            torch.func.jvp(
                lambda r: o3.spherical_harmonics(degree, r, normalize=True, normalization="integral"),
                (points,),
                (torch.eye(3, dtype=torch.float64)[k].expand_as(points),),
            )[1]
            for k in range(3)
        ]
        return torch.stack(columns, dim=-1)

    if (l1 + l2 + l3) % 2 == 0:
        couples = torch.einsum("gi,gj->gij", harmonics(l1), harmonics(l2))
    else:
        crossed = torch.linalg.cross(gradients(l1)[:, :, None], gradients(l2)[:, None, :], dim=-1)
        couples = torch.einsum("gd,gijd->gij", points, crossed)
    integral = torch.einsum("g,gij,gk->ijk", area, couples, harmonics(l3))
    expected = path_coefficient(l1, l2, l3) * o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
    torch.testing.assert_close(expected, integral, rtol=0, atol=1e-11)


def test_integral_product_is_the_product_of_functions() -> None:
    irreps, out = o3.Irreps.spherical_harmonics(2), o3.Irreps.spherical_harmonics(4)
    made = product(irreps, irreps, out, parity="even", normalization="integral").double()
    points = torch.nn.functional.normalize(torch.randn(7, 3, dtype=torch.float64), dim=-1)
    Y = o3.spherical_harmonics(out, points, normalize=True, normalization="integral")
    x1, x2 = inputs(made)
    values = (Y[:, : irreps.dim] @ x1) * (Y[:, : irreps.dim] @ x2)
    torch.testing.assert_close(Y @ made(x1, x2), values, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("parity", ["even", "full"])
@pytest.mark.parametrize("mode", ["channelwise", "fully-connected"])
def test_outputs_of_normal_inputs_have_unit_variance(parity: str, mode: str) -> None:
    irreps = "32x0e + 32x1o + 32x2e"
    made = product(irreps, irreps, irreps, parity=parity, mode=mode)
    x1, x2 = torch.randn(2, 4000, o3.Irreps(irreps).dim)
    out = made(x1, x2)
    for place in made.irreps_out.slices():
        assert out[:, place].square().mean().item() == pytest.approx(1.0, abs=0.05 if mode == "channelwise" else 0.4)


@pytest.mark.parametrize("mode", ["channelwise", "fully-connected"])
@pytest.mark.parametrize("weights", ["none", "external"])
@pytest.mark.parametrize("sides", ["regular", "broadcast second", "too few channels"])
def test_derivatives_are_right_to_second_order(sides: str, weights: str, mode: str) -> None:
    made = product(*SIDES[sides], weights=weights, mode=mode).double()
    given = [x.requires_grad_() for x in inputs(made, 2)]
    if weights == "external":
        given.append(torch.randn(2, made.weight_numel, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(made, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(made, given, fast_mode=True)


@pytest.fixture(params=["eager", "script"])
def jit_mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """How e3nn makes its code; the default is `script` below torch 2.10."""
    before = e3nn.get_optimization_defaults()["jit_mode"]
    e3nn.set_optimization_defaults(jit_mode=request.param)
    yield request.param
    e3nn.set_optimization_defaults(jit_mode=before)


@pytest.mark.usefixtures("jit_mode")
@pytest.mark.parametrize("options", [{}, {"weights": "internal"}, {"mode": "fully-connected", "weights": "internal"}])
def test_copies_and_state_give_the_same_product(options: dict[str, str]) -> None:
    made = product(**options)
    x1, x2 = (x.float() for x in inputs(made, 4))
    again = product(**options)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.add_(1.0)
    again.load_state_dict(made.state_dict())
    for twin in (again, copy.deepcopy(made)):
        torch.testing.assert_close(twin(x1, x2), made(x1, x2), rtol=0, atol=0)


def test_state_holds_what_is_learned_and_nothing_else() -> None:
    assert not product().state_dict()
    assert list(product(weights="internal").state_dict()) == ["weights"]


@pytest.mark.usefixtures("jit_mode")
def test_moving_to_float64_gives_full_precision() -> None:
    made = product("3o", "2e", "4o + 1o + 5o", parity="full").double()
    x1, x2 = inputs(made)
    torch.testing.assert_close(made(x1, x2), slow(made, x1, x2), rtol=EXACT, atol=EXACT)
    back = made.float()
    assert back(x1.float(), x2.float()).dtype == torch.float32


def test_leading_dimensions_broadcast_and_may_be_empty_or_strided() -> None:
    made = product(weights="external").double()
    D, W = made.irreps1.dim, made.weight_numel
    x1, x2 = (torch.randn(D, n, m, dtype=torch.float64).permute(1, 2, 0) for n, m in ((4, 1), (1, 3)))
    weights = torch.randn(W, 3, dtype=torch.float64).T
    expected = made(*(t.expand(4, 3, -1).contiguous() for t in (x1, x2, weights)))
    torch.testing.assert_close(made(x1, x2, weights), expected, rtol=EXACT, atol=EXACT)
    shared = made(x1, x2, weights[0])
    torch.testing.assert_close(shared[:, 0], expected[:, 0], rtol=EXACT, atol=EXACT)
    assert made(x1[0, 0], x2[0, 0], weights[0]).shape == (made.irreps_out.dim,)
    assert made(x1[:0], x2, weights).shape == (0, 3, made.irreps_out.dim)
    assert made(x1[:0, 0].requires_grad_(), x2[0, 0], weights[0]).sum().backward() is None


def test_regular_irreps_are_not_copied() -> None:
    made = product()
    assert made.index1 is made.index2 is made.index_out is None


def test_autocast_leaves_the_product_in_its_own_precision() -> None:
    made = product()
    x1, x2 = (x.float() for x in inputs(made, 4))
    with torch.autocast("cpu", torch.bfloat16):
        out = made(x1.bfloat16(), x2)
    torch.testing.assert_close(out, made(x1.bfloat16().float(), x2), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("sides", "options", "words"),
    [
        (("2x1o", "2x1o", "2x0e + 2x3o"), {}, ["3o", "2x1o", "irreps_out"]),
        (("1o", "1o", "1e"), {"parity": "even"}, ["1e", "parity: full"]),
        (("12e", "0e", "12e"), {}, ["12", "11", "gaunt", "irreps1"]),
        (("2x0e", "0e", "3x0e"), {}, ["3", "2x0e", "fully-connected"]),
        (("0e", "q", "0e"), {}, ["'q'", "irreps2"]),
        (("0e", "0x1o", "0e"), {}, ["irreps2"]),
    ],
)
def test_irreps_that_cannot_work_are_refused(
    sides: tuple[str, str, str], options: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        product(*sides, **options)
    assert all(word in str(caught.value) for word in words)


def test_inputs_that_do_not_fit_are_refused_with_both_sides_named() -> None:
    made, weighted = product(), product(weights="external")
    x, w = torch.randn(3, 8), torch.randn(3, weighted.weight_numel)
    cases = [
        (made, (x[:, :7], x), ["x1", "7", "8", "2x0e+2x1o"]),
        (made, (x, x[0, 0]), ["x2", "no dimension"]),
        (made, (x, x.double()), ["x2", "float64", "float32"]),
        (made, (x.double(), x.double()), ["float64", "float32"]),
        (made, (x, x.to("meta")), ["x2", "meta", "cpu"]),
        (made, (x, x[:2]), ["(3,)", "(2,)"]),
        (made, (x, x, w), ["weights are given", "none"]),
        (weighted, (x, x), ["weights are missing", str(weighted.weight_numel)]),
        (weighted, (x, x, w[:, 1:]), [str(weighted.weight_numel), str(weighted.weight_numel - 1), "paths"]),
    ]
    for used, given, words in cases:
        with pytest.raises(InputError) as caught:
            used(*given)
        assert all(word in str(caught.value) for word in words), str(caught.value)
