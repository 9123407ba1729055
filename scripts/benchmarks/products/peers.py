"""Who computes the product: our methods and the others, each in the layout that is its own."""

from __future__ import annotations

import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import e3nn
import torch
from e3nn import o3
from molgen_gaunt.clebsch_gordan import path_coefficient
from torch import Tensor

import molgen
from molgen.errors import MolgenError
from products.luo import TwoDimensionalFFT
from products.problem import Problem

__all__ = ["METHODS", "Case", "NotHereError", "cue", "e3nn_code", "fft2d", "ours"]

METHODS = ("auto", "direct", "grid", "separable", "fourier", "fused")
_DENSE_L_MAX = 12  # at it the dense coefficients of `direct` are 19 MB in float32, at 20 they are 343 MB
_FFT2D_BYTES = 4 * 2**30  # of the released formulation's largest intermediate, above which it is left out


class NotHereError(Exception):
    """This one can't compute this problem here; the message says why."""


@dataclass(frozen=True)
class Case:
    """One way to compute a problem.

    Args:
        name: as it is printed.
        call: the product, of two tensors in its own layout.
        enter: from `mul_ir` [batch, dim] to its own layout; not part of what is measured.
        leave: from its own layout to `mul_ir`.
    """

    name: str
    call: Callable[[Tensor, Tensor], Tensor]
    enter: Callable[[Tensor], Tensor] = lambda x: x
    leave: Callable[[Tensor], Tensor] = lambda x: x


def ours(problem: Problem, method: str, *, normalization: str = "integral") -> Case:
    """The component `gaunt`; takes and gives `mul_ir`."""
    if method == "direct" and problem.l_max > _DENSE_L_MAX:
        raise NotHereError(f"dense coefficients, left out above L = {_DENSE_L_MAX}")
    if method == "fused" and problem.device == "cpu":
        raise NotHereError("a kernel for GPUs")
    irreps = str(problem.irreps)
    config = {"method": method, "normalization": normalization, "parity": problem.parity}
    try:
        made = molgen.build(
            "tensor_product",
            "gaunt",
            irreps1=irreps,
            irreps2=irreps,
            irreps_out=str(problem.irreps_out),
            config=config,
        ).to(problem.device, problem.dtype)
        made(*problem.inputs(batch=1)[:2])
    except (MolgenError, ImportError, KeyError) as error:
        raise NotHereError(str(error)) from error
    return Case(f"molgen {method}", made)


def e3nn_code(problem: Problem, kind: str, *, limit: float = 120.0) -> Case:
    """e3nn's `TensorProduct`, `uuu`, with the factors that make it the product of functions.

    Args:
        problem: what to compute.
        kind: `eager`, `script` (TorchScript) or `compiled` (inductor).
        limit: seconds that compiling may take, for the forward and the backward pass together.

    Raises:
        NotHereError: no C++ compiler, or compiling takes too long.
    """
    places = [{ir: i for i, (_, ir) in enumerate(irreps)} for irreps in (problem.irreps, problem.irreps_out)]
    instructions = [
        (places[0][a], places[0][b], places[1][c], "uuu", False, path_coefficient(a.l, b.l, c.l) ** 2)  # it takes roots
        for a, b, c in problem.paths()
    ]
    with _jit_mode("script" if kind == "script" else "eager"), _default_dtype(problem.dtype):
        made = o3.TensorProduct(
            problem.irreps,
            problem.irreps,
            problem.irreps_out,
            instructions,
            irrep_normalization="none",
            path_normalization="none",
        ).to(problem.device, problem.dtype)
    if kind != "compiled":
        return Case(f"e3nn {kind}", made)
    if problem.device == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        raise NotHereError("no C++ compiler")
    torch._dynamo.reset()
    compiled = torch.compile(made, fullgraph=True, dynamic=False)
    x, y, g = problem.inputs()
    try:
        with _within(limit):
            compiled(x, y)
            compiled(x.requires_grad_(), y.requires_grad_()).backward(g)
    except TimeoutError:
        raise NotHereError(f"compiling takes more than {limit:.0f} s") from None
    except torch._dynamo.exc.TorchDynamoException as error:
        raise NotHereError(f"compiling fails: {str(error).splitlines()[0]}") from error
    return Case("e3nn compiled", compiled)


def cue(problem: Problem, method: str) -> Case:
    """cuEquivariance's segmented polynomial of the same paths, in its own `ir_mul` layout.

    Args:
        problem: what to compute.
        method: `naive` (its PyTorch code, the one on a CPU), or its kernels: `uniform_1d`, `fused_tp`.

    Raises:
        NotHereError: the package or its kernels are not installed, or refuse.
    """
    try:
        import cuequivariance
        import cuequivariance_torch
    except ImportError as error:
        raise NotHereError("cuequivariance-torch is not installed") from error
    if method != "naive" and problem.device == "cpu":
        raise NotHereError("kernels for GPUs")
    product = cuequivariance.SegmentedTensorProduct.from_subscripts("iu,ju,ku+ijk")
    sides = problem.irreps, problem.irreps, problem.irreps_out
    places = [
        {ir: product.add_segment(operand, (ir.dim, multiplicity)) for multiplicity, ir in irreps}
        for operand, irreps in enumerate(sides)
    ]
    for a, b, c in problem.paths():
        coupled = o3.wigner_3j(a.l, b.l, c.l, dtype=torch.float64) * path_coefficient(a.l, b.l, c.l)
        product.add_path(places[0][a], places[1][b], places[2][c], c=coupled.numpy())
    if method == "uniform_1d":
        product = product.flatten_coefficient_modes().squeeze_modes()
    polynomial = cuequivariance.SegmentedPolynomial.eval_last_operand(product)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="(?i).*falling back")  # to `naive`, which is a case of its own
        try:
            made = cuequivariance_torch.SegmentedPolynomial(polynomial, method=method, math_dtype=problem.dtype)
            made = made.to(problem.device)
            x, y, _ = problem.inputs(batch=2)
            made([_to_ir_mul(x, problem.irreps), _to_ir_mul(y, problem.irreps)])
        except Exception as error:  # its kernels raise what they like
            raise NotHereError(f"{method}: {str(error).splitlines()[0] if str(error) else error!r}") from error
    return Case(
        f"cuequivariance {method}",
        lambda x, y: made([x, y])[0],
        lambda x: _to_ir_mul(x, problem.irreps),
        lambda x: _from_ir_mul(x, problem.irreps_out),
    )


def fft2d(problem: Problem) -> Case:
    """The released formulation, in its own padded layout; it has no odd paths.

    Raises:
        NotHereError: too much memory.
    """
    L = problem.l_max
    largest = problem.rows * (L + 1) * (2 * L + 1) ** 2 * 2 * 2 * problem.dtype.itemsize
    if largest > _FFT2D_BYTES:
        raise NotHereError(f"an intermediate of {largest / 2**30:.1f} GiB")
    made = TwoDimensionalFFT(L, problem.dtype, problem.device)
    return Case("2D-FFT released", made, lambda x: made.enter(x, problem.channels), made.leave)


def _to_ir_mul(x: Tensor, irreps: o3.Irreps) -> Tensor:
    parts = [x[:, place].view(len(x), mul, ir.dim) for (mul, ir), place in zip(irreps, irreps.slices(), strict=True)]
    return torch.cat([part.transpose(1, 2).flatten(1) for part in parts], dim=1)


def _from_ir_mul(x: Tensor, irreps: o3.Irreps) -> Tensor:
    parts = [x[:, place].view(len(x), ir.dim, mul) for (mul, ir), place in zip(irreps, irreps.slices(), strict=True)]
    return torch.cat([part.transpose(1, 2).flatten(1) for part in parts], dim=1)


@contextmanager
def _jit_mode(mode: str) -> Iterator[None]:
    before = e3nn.get_optimization_defaults()
    e3nn.set_optimization_defaults(jit_mode=mode)
    try:
        yield
    finally:
        e3nn.set_optimization_defaults(jit_mode=before["jit_mode"])


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """e3nn rounds its coefficients to the default dtype, and keeps float32's digits when it is moved to float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block after so many seconds; no limit where there is no SIGALRM."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
