"""Spherical harmonics on both backends, against e3nn's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from e3nn import o3
from torch import Tensor

from molgen.errors import ConfigError, InputError
from molgen.nn import SphericalHarmonics, unit_components
from molgen.nn import spherical_harmonics as module

EXACT, SINGLE = 1e-12, 5e-6  # float32 values reach √(2l + 1); e3nn's own error is of this size
_MISSING = module._sphericart_missing()
NEEDS_SPHERICART = pytest.mark.skipif(_MISSING is not None, reason=f"sphericart can't be used: {_MISSING}")
BACKENDS = [pytest.param("sphericart", marks=NEEDS_SPHERICART), "e3nn"]


def vectors(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def no_sphericart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fails(name: str) -> None:
        raise OSError("undefined symbol: _ZN3c105")

    module._sphericart_missing.cache_clear()
    monkeypatch.setattr(module.importlib, "import_module", fails)
    yield
    module._sphericart_missing.cache_clear()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalization", ["component", "integral", "norm"])
@pytest.mark.parametrize("l_max", [0, 1, 4, 11])
def test_values_are_those_of_e3nn(l_max: int, normalization: str, backend: str) -> None:
    r = torch.cat([vectors(30), torch.eye(3).double(), -torch.eye(3).double()])
    Y = SphericalHarmonics(l_max, normalization=normalization, backend=backend)
    for dtype, tolerance in ((torch.float64, EXACT), (torch.float32, SINGLE)):
        expected = o3.spherical_harmonics(list(range(l_max + 1)), r.to(dtype), True, normalization)
        found = Y(r.to(dtype))
        assert found.dtype == dtype
        assert (found - expected).abs().max() < tolerance


@NEEDS_SPHERICART
def test_degrees_beyond_e3nn_stay_normalised() -> None:
    Y = SphericalHarmonics(20)(vectors(10))
    for degree in range(21):
        square = Y[:, degree * degree : (degree + 1) ** 2].square().sum(1)
        assert torch.allclose(square, torch.full_like(square, 2 * degree + 1), rtol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalization", ["component", "norm"])
def test_two_derivatives_are_those_of_finite_differences(normalization: str, backend: str) -> None:
    Y = SphericalHarmonics(3, normalization=normalization, backend=backend)
    r = torch.cat([vectors(2), torch.tensor([[0.0, 2.0, 0.0], [1e-3, -1.0, 0.0]]).double()]).requires_grad_()
    assert torch.autograd.gradcheck(Y, r, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(Y, r)


@NEEDS_SPHERICART
def test_a_third_derivative_is_refused_where_there_is_none() -> None:
    r = vectors(2).requires_grad_()
    derivative = SphericalHarmonics(3, backend="sphericart")(r).square().sum() + r.sum()
    derivative = derivative + SphericalHarmonics(3, backend="sphericart")(r).sum() ** 3
    for _ in range(2):
        (derivative,) = torch.autograd.grad(derivative.sum(), r, create_graph=True)
    with pytest.raises(ConfigError, match="third derivatives"):
        torch.autograd.grad(derivative.sum(), r)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_zero_vector_has_degree_zero_alone_and_no_derivative(dtype: torch.dtype, backend: str) -> None:
    r = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1e-20, 0.0], [0.0, 1e-14, 0.0]], dtype=dtype, requires_grad=True)
    Y = SphericalHarmonics(5, backend=backend)(r)
    assert (Y[:2, 0] == Y[2, 0]).all()
    assert (Y[:2, 1:] == 0).all()
    assert Y[2, 1:].abs().max() > 1
    (first,) = torch.autograd.grad(Y[:2].sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    assert not first.any()
    assert not second.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_strides_leading_axes_and_no_rows_are_welcome(backend: str) -> None:
    Y, r = SphericalHarmonics(3, backend=backend), vectors(4, 5)
    assert torch.allclose(Y(r.permute(2, 0, 1).contiguous().permute(1, 2, 0)), Y(r))
    assert torch.allclose(Y(r[1:2].expand(3, 5, 3)), Y(r[1:2]).expand(3, 5, 16))
    assert Y(r[0, 0]).shape == (16,)
    empty = torch.zeros(0, 7, 3, requires_grad=True)
    assert Y(empty).shape == (0, 7, 16)
    (grad,) = torch.autograd.grad(Y(empty).sum(), empty, create_graph=True)
    assert torch.autograd.grad(grad.sum(), empty)[0].shape == (0, 7, 3)
    assert Y(r.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("backend", BACKENDS)
def test_function_transforms_give_what_loops_give(backend: str) -> None:
    Y, r = SphericalHarmonics(3, backend=backend), vectors(4, 5)
    weights = torch.linspace(-1, 1, 16, dtype=torch.float64)
    assert torch.allclose(torch.func.vmap(Y)(r), Y(r))
    assert torch.allclose(torch.func.vmap(Y, in_dims=1, out_dims=1)(r), Y(r))
    assert torch.allclose(torch.func.vmap(torch.func.vmap(Y))(r), Y(r))
    hessians = torch.func.vmap(torch.func.hessian(lambda v: Y(v) @ weights))(r[0])
    reverse = torch.autograd.functional.hessian(lambda v: (Y(v) @ weights).sum(), r[0])
    assert torch.allclose(hessians, reverse.diagonal(dim1=0, dim2=2).permute(2, 0, 1))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalization", ["component", "norm"])
def test_it_compiles_whole(normalization: str, backend: str) -> None:
    Y, r = SphericalHarmonics(3, normalization=normalization, backend=backend), vectors(6).requires_grad_()
    compiled = torch.compile(Y, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(r), Y(r))
    (expected,) = torch.autograd.grad(Y(r).square()[:, ::3].sum(), r)
    (found,) = torch.autograd.grad(compiled(r).square()[:, ::3].sum(), r)
    assert torch.allclose(found, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["auto", "e3nn"])
def test_a_gpu_gives_the_values_and_derivatives_of_the_cpu(backend: str) -> None:
    Y, r = SphericalHarmonics(6, backend=backend), vectors(50)
    results = []
    for device in ("cpu", "cuda"):
        x = r.to(device).requires_grad_()
        (first,) = torch.autograd.grad(Y(x).square()[:, ::3].sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        results.append([t.detach().cpu() for t in (Y(x), first, second)])
    for cpu, gpu in zip(*results, strict=True):
        assert torch.allclose(cpu, gpu, atol=1e-10)


def test_a_library_that_does_not_load_leaves_e3nn(no_sphericart: None) -> None:
    Y = SphericalHarmonics(3)
    assert Y.backend == "e3nn"
    assert Y(vectors(2)).shape == (2, 16)
    with pytest.raises(ConfigError, match=r"undefined symbol.*molgen\[fast\]"):
        SphericalHarmonics(3, backend="sphericart")
    with pytest.raises(ConfigError, match=r"l_max ≤ 11.*molgen\[fast\]"):
        SphericalHarmonics(12)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'component'"):
        SphericalHarmonics(2, normalization="componnent")
    with pytest.raises(ConfigError, match="unknown backend"):
        SphericalHarmonics(2, backend="cuda")
    with pytest.raises(ConfigError, match="negative"):
        SphericalHarmonics(-1)
    with pytest.raises(ConfigError, match="l_max ≤ 11"):
        SphericalHarmonics(12, backend="e3nn")
    with pytest.raises(InputError, match=r"\(4, 2\)"):
        SphericalHarmonics(2)(torch.zeros(4, 2))
    with pytest.raises(InputError, match="int64"):
        SphericalHarmonics(2)(torch.zeros(4, 3, dtype=torch.int64))


def test_unit_components_are_those_of_the_direction() -> None:
    r = vectors(20)
    assert torch.allclose(torch.stack(unit_components(r), -1), r / r.norm(dim=1, keepdim=True))


@NEEDS_SPHERICART
def test_sphericart_is_imported_when_asked_for_and_leaves_torch_as_it_was() -> None:
    code = """
import sys, torch
import molgen.nn
assert not any(name.startswith("sphericart") for name in sys.modules)
state = lambda: (torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed())
before, e3nn_function = state(), __import__("e3nn").o3.spherical_harmonics
molgen.nn.SphericalHarmonics(3)(torch.ones(2, 3))
assert "sphericart" in sys.modules and state() == before
assert __import__("e3nn").o3.spherical_harmonics is e3nn_function
"""
    subprocess.run([sys.executable, "-c", code], check=True)
