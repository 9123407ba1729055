"""The fused kernels against the grid in float64.

Tests marked `on_device` run on a CUDA device where there is one; elsewhere one test starts this file again in a process
of its own, where Triton interprets the kernels on the CPU.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from e3nn import o3
from molgen_gaunt.autograd import contract
from molgen_gaunt.form import Form, channels_of, slot_of
from molgen_gaunt.memory import Fresh
from molgen_gaunt.methods.fused import Fused
from molgen_gaunt.methods.grid import Grid
from torch import Tensor

from molgen.errors import ConfigError

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
ROUNDING = 2e-6  # of float32 sums over points and components, relative to the largest result
COARSE = {"3xtf32": 2e-6, "tf32": 3e-3, "bfloat16": 3e-2}  # relative likewise; the interpreter has no tf32

# both inputs and the output
SIDES = {
    "one channel": ("0e + 1o", "0e + 1o + 2e", "0e + 1o + 2e + 3o"),
    "channels": ("3x0e + 3x1o", "3x0e + 3x1o + 3x2e", "3x1o + 3x2e"),
    "first shared": ("0e + 1o", "3x0e + 3x1o", "3x0e + 3x1o"),
    "second shared": ("3x0e + 3x1o + 3x2e", "0e + 1o", "3x0e + 3x1o"),
    "missing channels": ("3x0e + 2x1o", "1x0e + 3x1o + 2x2e", "3x0e + 2x1o + 1x2e"),
    "scattered": ("1x1o + 2x0e + 1x0e + 2x1o + 1e", "3x0e + 3x1o", "2x1o + 3x0e + 1x1o"),
    "one parity": ("2x0e + 2x2e", "2x1o + 2x3o", "2x1o + 2x2e"),
}


def on_device(test: Callable[..., None]) -> Callable[..., None]:
    return test if INTERPRETED else pytest.mark.gpu(test)


def form_of(irreps1: str, irreps2: str, irreps_out: str, *, odd: bool = False) -> Form:
    sides = [o3.Irreps(irreps) for irreps in (irreps1, irreps2, irreps_out)]
    _, counts = channels_of(*sides)
    slots = [
        slot_of(side, naturals=True, channels=count, scale={0: 0.7, 1: 1.2, 2: 0.9})
        for side, count in zip(sides, counts, strict=True)
    ]
    assert all(slot is not None for slot in slots)
    return Form((slots[0], slots[1], slots[2]), odd=odd)  # type: ignore[arg-type]


def inputs(form: Form, rows: int, s: int, device: str = DEVICE) -> Tensor:
    generator = torch.Generator().manual_seed(17 * s + rows)
    return torch.randn(rows, form.slots[s].width, generator=generator).to(device)


def error(found: Tensor, exact: Tensor) -> float:
    return ((found.double() - exact).abs().max() / exact.abs().max()).item()


def engines(form: Form, **options: Any) -> tuple[Fused, Grid]:
    return Fused(form, torch.float32, DEVICE, **options), Grid(form, torch.float64, DEVICE)


# the six orders of two given arguments, three for each symmetry
ORDERS = {"none": [(0, 1), (1, 2), (2, 0)], "inversion": [(1, 0), (2, 1), (0, 2)]}


@on_device
@pytest.mark.parametrize("symmetry", ["none", "inversion"])
@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
def test_every_argument_of_the_form_can_be_the_result(sides: tuple[str, str, str], odd: bool, symmetry: str) -> None:
    form = form_of(*sides, odd=odd)
    fused, exact = engines(form, symmetry=symmetry)
    for i, j in ORDERS[symmetry]:
        x, y = inputs(form, 5, i), inputs(form, 5, j)
        assert error(fused.contract(x, y, i, j), exact.contract(x.double(), y.double(), i, j)) < ROUNDING


@on_device
@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
def test_both_gradients_come_from_one_pass(sides: tuple[str, str, str], odd: bool) -> None:
    form = form_of(*sides, odd=odd)
    for symmetry in ("none", "inversion"):
        fused, exact = engines(form, symmetry=symmetry)
        for i, j in ORDERS[symmetry][:2]:
            given = [inputs(form, 6, s) for s in (i, j, 3 - i - j)]
            found = fused.gradients(*given, i, j, memory=Fresh())
            expected = exact.gradients(*(each.double() for each in given), i, j, memory=Fresh())
            assert max(map(error, found, expected)) < ROUNDING


@on_device
@pytest.mark.parametrize("rows", [0, 1, 16, 17])
def test_any_number_of_rows_fits_the_blocks(rows: int) -> None:
    form = form_of(*SIDES["missing channels"])
    fused, exact = engines(form)
    x, y = inputs(form, rows, 0), inputs(form, rows, 1)
    found = fused.contract(x, y, 0, 1)
    assert found.shape == (rows, form.slots[2].width)
    if rows:
        assert error(found, exact.contract(x.double(), y.double(), 0, 1)) < ROUNDING


@on_device
def test_a_result_goes_where_it_is_told_and_leaves_no_old_numbers() -> None:
    form = form_of("2x0e + 2x1o", "2x0e + 2x1o", "2x0e + 1x1e + 2x1o")  # no product reaches 1e here
    fused, _ = engines(form)
    x, y = inputs(form, 3, 0), inputs(form, 3, 1)
    out = torch.full((3, form.slots[2].width), float("nan"), device=DEVICE)
    assert fused.contract(x, y, 0, 1, out=out) is out
    torch.testing.assert_close(out, fused.contract(x, y, 0, 1), rtol=0, atol=0)
    strided = torch.full((form.slots[2].width, 3), float("nan"), device=DEVICE).T
    assert fused.contract(x, y, 0, 1, out=strided) is strided
    torch.testing.assert_close(strided, out, rtol=0, atol=0)


@on_device
def test_inputs_need_not_be_contiguous() -> None:
    form = form_of(*SIDES["channels"])
    fused, _ = engines(form)
    x, y = inputs(form, 4, 0), inputs(form, 4, 1)
    found = fused.contract(x.T.contiguous().T, y.repeat_interleave(2, 0)[::2], 0, 1)
    torch.testing.assert_close(found, fused.contract(x, y, 0, 1), rtol=0, atol=0)


@on_device
@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
def test_torch_differentiates_it_twice(odd: bool) -> None:
    form = form_of(*SIDES["second shared"], odd=odd)
    results = []
    for engine in engines(form):
        x, y = (inputs(form, 3, s).to(engine.dtype).requires_grad_() for s in (0, 1))
        z = contract(x, y, engine)
        first = torch.autograd.grad(z.square().sum(), (x, y), create_graph=True)
        second = torch.autograd.grad(sum(each.square().sum() for each in first), (x, y))
        results.append((*first, *second))
    assert max(map(error, *results)) < 5 * ROUNDING  # numbers of numbers of numbers


@on_device
@pytest.mark.parametrize("precision", COARSE)
def test_a_precision_is_as_exact_as_it_says(precision: str) -> None:
    form = form_of("2x0e + 2x1o + 2x2e", "2x0e + 2x1o + 2x2e", "2x0e + 2x1o + 2x2e")
    fused, exact = engines(form, precision=precision)
    given = [inputs(form, 40, s) for s in (0, 1, 2)]
    doubles = [each.double() for each in given]
    assert error(fused.contract(*given[:2], 0, 1), exact.contract(*doubles[:2], 0, 1)) < COARSE[precision]
    found = fused.gradients(*given, 0, 1, memory=Fresh())
    assert max(map(error, found, exact.gradients(*doubles, 0, 1, memory=Fresh()))) < COARSE[precision]


@on_device
def test_a_row_does_not_depend_on_its_neighbours() -> None:
    form = form_of(*SIDES["first shared"])
    fused, _ = engines(form)
    x, y = inputs(form, 20, 0), inputs(form, 20, 1)
    y[3] = float("nan")
    others = torch.arange(20) != 3
    found = fused.contract(x, y, 0, 1)
    assert found[3].isnan().any()
    torch.testing.assert_close(found[others], fused.contract(x[others], y[others], 0, 1), rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "3xtf32"])
@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("l_max", range(1, 11))
def test_every_degree_agrees_with_the_grid_on_a_gpu(l_max: int, odd: bool, precision: str) -> None:
    irreps = " + ".join(f"8x{degree}{'eo'[degree % 2]}" for degree in range(l_max + 1))
    form = form_of(irreps, irreps, irreps, odd=odd)
    fused = Fused(form, torch.float32, "cuda", precision=precision)  # type: ignore[arg-type]
    exact = Grid(form, torch.float64, "cuda")
    given = [inputs(form, 301, s, "cuda") for s in (0, 1, 2)]
    doubles = [each.double() for each in given]
    assert error(fused.contract(*given[:2], 0, 1), exact.contract(*doubles[:2], 0, 1)) < 3e-6
    found = fused.gradients(*given, 0, 1, memory=Fresh())
    assert max(map(error, found, exact.gradients(*doubles, 0, 1, memory=Fresh()))) < 3e-6
    again = fused.gradients(*given, 0, 1, memory=Fresh())
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


@pytest.mark.skipif(INTERPRETED, reason="it starts the interpreter")
def test_the_kernels_are_right_under_tritons_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", str(Path(__file__)), "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_importing_the_method_imports_no_triton() -> None:
    code = "import sys, molgen_gaunt.methods.fused; sys.exit('molgen_gaunt.methods.kernels' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_float64_is_computed_by_the_grid() -> None:
    form = form_of(*SIDES["channels"])
    x, y = (inputs(form, 4, s, "cpu").double() for s in (0, 1))
    exact = Grid(form, torch.float64, "cpu").contract(x, y, 0, 1)
    for engine in (Fused(form, torch.float64, "cpu"), Fused(form, torch.float32, "cpu").double()):
        assert engine.floats_per_row > 1
        torch.testing.assert_close(engine.contract(x, y, 0, 1), exact, rtol=1e-13, atol=1e-13)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter computes on a CPU")
def test_a_cpu_is_refused_with_the_method_that_fits() -> None:
    form = form_of(*SIDES["channels"])
    with pytest.raises(ConfigError, match=r"CUDA device only.*cpu.*method grid"):
        Fused(form, torch.float32, "cpu").contract(inputs(form, 2, 0, "cpu"), inputs(form, 2, 1, "cpu"), 0, 1)


def test_without_triton_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("molgen_gaunt.methods.fused.find_spec", lambda name: None if name == "triton" else found(name))
    with pytest.raises(ConfigError, match=r"molgen-gaunt\[fused\]"):
        Fused(form_of(*SIDES["channels"]), torch.float32, "cpu")


@pytest.mark.parametrize("options", [{"precision": "float16"}, {"symmetry": "inversion-half-turn"}])
def test_an_unknown_option_is_refused_with_the_known_ones(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected (float32, 3xtf32|none, inversion)"):
        Fused(form_of(*SIDES["channels"]), torch.float32, "cpu", **options)


def test_the_compiler_gets_the_grid() -> None:
    form = form_of(*SIDES["channels"])
    fused = Fused(form, torch.float32, "cpu")
    x, y = (inputs(form, 4, s, "cpu").requires_grad_() for s in (0, 1))
    compiled = torch.compile(lambda x, y: contract(x, y, fused), fullgraph=True, backend="aot_eager")
    (gradient,) = torch.autograd.grad(compiled(x, y).sum(), x)
    (expected,) = torch.autograd.grad(contract(x, y, fused.grid).sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_work_counts_traffic_and_operations_by_the_row() -> None:
    form = form_of("4x0e + 4x1o", "0e + 1o", "4x0e + 4x1o")
    fused = Fused(form, torch.float32, "cpu", symmetry="none")
    bytes_, operations = fused.work(1)
    assert bytes_ == 4 * (16 + 4 + 16)
    assert operations == 4 * 2 * 3 * 16 * fused.plan.points  # four components fill one block of 16
    assert fused.work(10) == (10 * bytes_, 10 * operations)
    backward = fused.work(1, backward=True)
    assert backward == (4 * (16 + 4 + 16 + 16 + 4), operations * 5 // 3)
