"""Derivatives of every order, by every way that torch has of taking them, keeping nothing but the inputs."""

from __future__ import annotations

import itertools
import shutil
from typing import Any

import pytest
import torch
from e3nn import o3
from gaunt_reference import METHODS, error
from molgen_gaunt.config import GauntConfig
from molgen_gaunt.product import GauntTensorProduct, build
from torch import Tensor

CASES: dict[str, tuple[tuple[str, str, str], dict[str, Any]]] = {
    "even": (("2x0e + 2x1o", "2x0e + 2x1o", "2x0e + 2x1o"), {}),
    "full": (("2x1o + 2x1e", "2x1o + 2x0o", "2x1e + 2x0e + 1x1o"), {"parity": "full"}),
    "broadcast": (("0e + 1o", "2x0e + 2x1o", "2x1o + 2x1e"), {"parity": "full"}),
    "missing channels": (("2x1o + 0e", "2x0e + 1x1o", "1x0e + 2x1o"), {}),
    "weighted": (("2x0e + 2x1o", "0e + 1o", "2x1o + 1x0e"), {"weights": "external", "rank": 2}),
    "mixed": (("2x0e + 1o", "2x1o", "2x1o + 0e"), {"mode": "fully-connected"}),
}
cases = pytest.mark.parametrize("case", CASES)
methods = pytest.mark.parametrize("method", METHODS)
plain_cases = pytest.mark.parametrize("case", ["even", "full", "broadcast"])


def product(method: str, case: str) -> GauntTensorProduct:
    sides, options = CASES[case]
    torch.manual_seed(0)
    config = GauntConfig(method=method, **options)
    return build(config, irreps1=sides[0], irreps2=sides[1], irreps_out=sides[2]).double()


def inputs(made: GauntTensorProduct, *shape: int) -> list[Any]:
    generator = torch.Generator().manual_seed(2)
    widths = [made.irreps1.dim, made.irreps2.dim] + [made.weight_numel] * bool(made.weight_numel)
    return [torch.randn(*shape, n, dtype=torch.float64, generator=generator).requires_grad_() for n in widths]


@cases
@methods
def test_first_and_second_derivatives_are_those_of_finite_differences(method: str, case: str) -> None:
    made = product(method, case)
    given = inputs(made, 2)
    assert torch.autograd.gradcheck(made, given, fast_mode=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(made, given, fast_mode=True)


@pytest.mark.parametrize("case", ["even", "full"])
@methods
def test_every_single_entry_of_the_derivatives_is_right(method: str, case: str) -> None:
    """Not only a random projection of them."""
    made = product(method, case)
    given = inputs(made, 1)
    assert torch.autograd.gradcheck(made, given)
    assert torch.autograd.gradgradcheck(made, given)


@pytest.mark.parametrize("case", ["even", "broadcast"])
@methods
def test_only_the_inputs_are_kept_for_the_backward_pass(method: str, case: str) -> None:
    made = product(method, case)
    x1, x2 = inputs(made, 50)
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = made(x1, x2)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    assert storages.keys() == {x.untyped_storage().data_ptr() for x in (x1, x2)}
    assert sum(storages.values()) == 8 * (x1.numel() + x2.numel())
    assert out.requires_grad


@plain_cases
@methods
def test_nothing_is_lost_where_inputs_are_freed_or_used_twice(method: str, case: str) -> None:
    made = product(method, case)
    x1, x2 = inputs(made, 3)
    out = made(x1 * 1.0, x2 * 1.0)  # nobody else holds these
    twice = out + made(x1, x2)
    expected = torch.autograd.grad(made(x1, x2).square().sum(), (x1, x2))
    found = torch.autograd.grad((twice.square() / 4).sum(), (x1, x2))
    torch.testing.assert_close(found, expected)


@methods
def test_the_third_derivative_is_that_of_the_coefficients(method: str) -> None:
    """⟨(x·x), x⟩ has the third derivative Σ over permutations of C_ijk."""
    irreps = "0e + 1o"
    config = GauntConfig(method=method, normalization="integral")
    made = build(config, irreps1=irreps, irreps2=irreps, irreps_out=irreps).double()
    one = torch.eye(4, dtype=torch.float64)
    couples = made(one[:, None], one[None]).detach()  # [4, 4, 4], symmetric
    x = torch.randn(4, dtype=torch.float64)

    def energy(x: Tensor) -> Tensor:
        return (made(x, x) * x).sum()

    ways: dict[str, Any] = {"forward": torch.func.jacfwd, "reverse": torch.func.jacrev}
    for first, second, third in itertools.product(ways, repeat=3):
        found = ways[third](ways[second](ways[first](energy)))(x)
        assert error(found, 6 * couples) < 1e-12, f"{third} of {second} of {first}"

    def plain(x: Tensor, order: int) -> Tensor:
        x = x.requires_grad_()
        value = energy(x)
        for direction in range(order):
            (gradient,) = torch.autograd.grad(value, x, create_graph=True)
            value = gradient[direction]
        return value

    torch.testing.assert_close(plain(x, 3).detach(), 6 * couples[0, 1, 2])


@cases
@methods
def test_double_backward_keeps_the_accuracy_of_float32(method: str, case: str) -> None:
    results = []
    for dtype in (torch.float32, torch.float64):
        made = product(method, case).to(dtype)
        given = [x.detach().to(dtype).requires_grad_() for x in inputs(made.double(), 20)]
        made.to(dtype)
        first = torch.autograd.grad(made(*given).pow(3).sum(), given, create_graph=True)
        results.append(torch.autograd.grad([g.square().sum() for g in first], given))
    for single, double in zip(*results, strict=True):
        assert single.dtype == torch.float32
        assert error(single, double) < 1e-5  # sums of cubes of cubes lose a digit


@plain_cases
@methods
def test_training_on_a_force_is_a_derivative_of_a_derivative(method: str, case: str) -> None:
    """F = −∂E/∂r of E = Σ product(Y(r) a, Y(r) b), then the gradient of |F|² by a and b, against finite differences."""
    made = product(method, case)
    r = torch.randn(3, 3, dtype=torch.float64)

    def harmonics(irreps: o3.Irreps, r: Tensor) -> Tensor:
        parts = [o3.spherical_harmonics(ir.l, r, normalize=True).repeat(1, mul) for mul, ir in irreps]
        return torch.cat(parts, 1)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        place = r.clone().requires_grad_()
        energy = made(harmonics(made.irreps1, place) * a, harmonics(made.irreps2, place) * b).square().sum()
        (force,) = torch.autograd.grad(-energy, place, create_graph=True)
        return force.square().sum()

    a = torch.randn(made.irreps1.dim, dtype=torch.float64).requires_grad_()
    b = torch.randn(made.irreps2.dim, dtype=torch.float64).requires_grad_()
    assert loss(a, b) > 0
    assert torch.autograd.gradcheck(loss, (a, b), fast_mode=True)


@plain_cases
@methods
def test_transformations_of_torch_func_work(method: str, case: str) -> None:
    made = product(method, case)
    x1, x2 = (x.detach() for x in inputs(made, 4))
    v1, v2 = torch.randn_like(x1), torch.randn_like(x2)
    out = made(x1, x2)
    torch.testing.assert_close(torch.func.vmap(made)(x1, x2), out)
    torch.testing.assert_close(torch.func.vmap(made, in_dims=(0, None))(x1, x2[0]), made(x1, x2[0]))
    torch.testing.assert_close(torch.func.vmap(made, in_dims=(None, 1), out_dims=1)(x1[0], x2.T), made(x1[0], x2).T)
    pairs = torch.func.vmap(torch.func.vmap(made, in_dims=(None, 0)), in_dims=(0, None))(x1, x2)
    torch.testing.assert_close(pairs, made(x1[:, None], x2[None]))
    batched = torch.func.vmap(made)(x1.view(2, 2, -1), x2.view(2, 2, -1))
    torch.testing.assert_close(batched.view(4, -1), out)
    value, tangent = torch.func.jvp(made, (x1, x2), (v1, v2))  # type: ignore[misc]
    torch.testing.assert_close(value, out)
    torch.testing.assert_close(tangent, made(v1, x2) + made(x1, v2))
    torch.testing.assert_close(torch.func.jvp(lambda y: made(x1, y), (x2,), (v2,))[1], made(x1, v2))

    def energy(x1: Tensor, x2: Tensor) -> Tensor:
        return made(x1, x2).square().sum()

    leaves = [x.clone().requires_grad_() for x in (x1, x2)]
    expected = torch.autograd.grad(energy(*leaves), leaves)
    torch.testing.assert_close(torch.func.grad(energy, argnums=(0, 1))(x1, x2), expected)
    per_sample = torch.func.vmap(torch.func.grad(energy, argnums=(0, 1)))(x1, x2)
    torch.testing.assert_close(per_sample, expected)
    H = torch.func.hessian(energy)(x1[0], x2[0])
    torch.testing.assert_close(H, torch.autograd.functional.hessian(lambda x: energy(x, x2[0]), x1[0]))
    torch.testing.assert_close(torch.func.jacrev(torch.func.jacfwd(energy))(x1[0], x2[0]), H)


@methods
def test_forward_mode_works_without_torch_func(method: str) -> None:
    made = product(method, "full")
    x1, x2 = (x.detach() for x in inputs(made, 3))
    v1 = torch.randn_like(x1)
    with torch.autograd.forward_ad.dual_level():
        dual = made(torch.autograd.forward_ad.make_dual(x1, v1), x2)
        tangent = torch.autograd.forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(tangent, made(v1, x2))


@methods
def test_gradient_checkpointing_and_hooks_see_the_same_gradients(method: str) -> None:
    from torch.utils.checkpoint import checkpoint

    made = product(method, "even")
    x1, x2 = inputs(made, 3)
    expected = torch.autograd.grad(made(x1, x2).pow(2).sum(), (x1, x2))
    again = checkpoint(made, x1, x2, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(again.pow(2).sum(), (x1, x2)), expected)
    with torch.autograd.graph.save_on_cpu():
        moved = made(x1, x2)
    torch.testing.assert_close(torch.autograd.grad(moved.pow(2).sum(), (x1, x2)), expected)


COMPILED = [(method, "aot_eager", case) for method in METHODS for case in ("full", "weighted")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("method", "backend", "case"), [*COMPILED, ("auto", "aot_eager", "missing channels"), ("grid", "inductor", "even")]
)
def test_compiles_as_one_graph_with_its_first_derivative(method: str, backend: str, case: str) -> None:
    if backend == "inductor" and not any(map(shutil.which, ("g++", "clang++"))):
        pytest.skip("no C++ compiler on this machine, which the compiler of torch needs")
    torch._dynamo.reset()
    made = product(method, case)
    given = inputs(made, 6)
    compiled = torch.compile(made, fullgraph=True, backend=backend, dynamic=False)
    out, expected = compiled(*given), made(*given)
    torch.testing.assert_close(out, expected)
    found = torch.autograd.grad(out.square().sum(), given)
    torch.testing.assert_close(found, torch.autograd.grad(expected.square().sum(), given))
