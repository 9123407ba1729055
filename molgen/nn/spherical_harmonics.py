"""Real spherical harmonics of directions in e3nn's convention, on sphericart's kernels where they are installed.

sphericart (Bigi et al. 2023) is several times faster than e3nn's polynomials and knows no largest degree. Its axes,
normalisation and derivatives are translated here; the two give the same numbers to rounding.
"""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any, Final, Literal, get_args

import torch
from e3nn.o3 import _spherical_harmonics as e3nn_harmonics
from torch import Tensor, nn

from molgen.errors import ConfigError, InputError, nearest

__all__ = ["SphericalHarmonics", "unit_components"]

Normalization = Literal["component", "integral", "norm"]
Backend = Literal["auto", "sphericart", "e3nn"]

# the last degree that e3nn's polynomials are written out for and tested to
E3NN_L_MAX: Final = 11
# sphericart has kernels for values, gradients and Hessians
_OPERATORS: Final = ("solid_harmonics", "solid_harmonics_with_gradients", "solid_harmonics_with_hessians")
# a squared length (Å²) below which there is no direction; its inverse and that of its square root are finite in float32
_ZERO: Final = 1e-30
_Y00: Final = 1 / math.sqrt(4 * math.pi)


class SphericalHarmonics(nn.Module):
    """Y_lm(r/|r|) for l = 0 … `l_max`, m = −l … l of each degree; polar axis y, signs and order of e3nn.

    Equals `e3nn.o3.spherical_harmonics(range(l_max + 1), r, normalize=True, normalization=…)`. The zero vector has no
    direction: there (below a length of 1e-15) degree 0 has its constant value, all others are zero, and so are their
    derivatives. Elsewhere derivatives along r vanish, those across it grow as 1/|r|.

    Args:
        l_max: the largest degree.
        normalization: "component" (mean square 1), "integral" (orthonormal on the sphere), "norm" (|Y_l| = 1).
        backend: "sphericart", "e3nn" (l_max ≤ 11), or "auto" for sphericart where it can be imported. sphericart
            differentiates twice, e3nn any number of times.

    Raises:
        ConfigError: an unknown option, sphericart asked for where it can't be imported, or l_max out of reach.

    >>> SphericalHarmonics(1)(torch.tensor([[0.0, 2.0, 0.0]])).square().round().tolist()
    [[1.0, 0.0, 3.0, 0.0]]
    """

    def __init__(self, l_max: int, *, normalization: Normalization = "component", backend: Backend = "auto") -> None:
        super().__init__()
        _choose("normalization", normalization, get_args(Normalization))
        _choose("backend", backend, get_args(Backend))
        if l_max < 0:
            raise ConfigError("spherical harmonics of negative degree", where=f"l_max={l_max}", expected="0 or more")
        reason = _sphericart_missing() if backend != "e3nn" else None
        if backend == "sphericart" and reason:
            raise ConfigError(
                f"sphericart can't be used: {reason}", where="backend='sphericart'", remedy="pip install 'molgen[fast]'"
            )
        self.l_max, self.normalization = l_max, normalization
        self.backend = "e3nn" if backend == "e3nn" or reason else "sphericart"
        if self.backend == "e3nn" and l_max > E3NN_L_MAX:
            raise ConfigError(
                "e3nn has no spherical harmonics of this degree",
                where=f"l_max={l_max}",
                expected=f"l_max ≤ {E3NN_L_MAX} without sphericart",
                remedy=None if backend == "e3nn" else f"pip install 'molgen[fast]' ({reason})",
            )

    def forward(self, vectors: Tensor) -> Tensor:
        """[..., (l_max + 1)²] of vectors [..., 3] of any length, in their dtype."""
        if vectors.shape[-1:] != (3,) or not vectors.is_floating_point():
            raise InputError(
                "no vectors",
                where=f"{vectors.dtype} of shape {tuple(vectors.shape)}",
                expected="floating point [..., 3]",
            )
        # half precision keeps too few digits for recurrences
        work = vectors if vectors.dtype in (torch.float32, torch.float64) else vectors.float()
        values = self._by_sphericart(work) if self._on_sphericart(vectors.device) else self._by_e3nn(work)
        return values.to(vectors.dtype)

    def _on_sphericart(self, device: torch.device) -> bool:
        if self.backend == "e3nn" or device.type == "cpu" or self.l_max > E3NN_L_MAX:
            return self.backend == "sphericart"
        # a compiler fuses e3nn's polynomials; a wheel without kernels for the device says so when called
        return not torch.compiler.is_compiling() and _runs_on(device.type)

    def _by_e3nn(self, vectors: Tensor) -> Tensor:
        values = e3nn_harmonics._spherical_harmonics(self.l_max, *unit_components(vectors))
        return _scaled(values, self._scale(vectors, _Y00))  # e3nn's polynomials are component normalised

    def _by_sphericart(self, vectors: Tensor) -> Tensor:
        x, y, z = unit_components(vectors.reshape(-1, 3))
        points = torch.stack((z, x, y), -1)  # [N, 3]: sphericart's polar axis is its third
        scale = self._scale(vectors, 1.0)
        if torch.compiler.is_compiling():
            values = _scaled(_operators()[0](points, self.l_max), scale)
        else:
            values = _Derivative.apply(points, scale, self.l_max, 0)
        return values.reshape(*vectors.shape[:-1], (self.l_max + 1) ** 2)

    def _scale(self, like: Tensor, orthonormal: float) -> Tensor | float:
        """What takes values to the asked normalisation, where `orthonormal` takes them to the orthonormal one."""
        if self.normalization == "integral":
            return orthonormal
        if self.normalization == "component":
            return orthonormal / _Y00
        index = torch.arange((self.l_max + 1) ** 2, device=like.device, dtype=torch.float64)
        degree = index.sqrt().floor()
        return (orthonormal / _Y00 / (2 * degree + 1).sqrt()).to(like.dtype)


def unit_components(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x, y, z [...] of the unit vectors along vectors [..., 3]; zero, with zero derivatives, where shorter than 1e-15.

    >>> unit_components(torch.tensor([[0.0, 0.0, -4.0], [0.0, 0.0, 0.0]]))[2].tolist()
    [-1.0, 0.0]
    """
    x, y, z = vectors.unbind(-1)
    square = x * x + y * y + z * z
    zero = square < _ZERO
    inverse = (1 / square.masked_fill(zero, 1.0).sqrt()).masked_fill(zero, 0.0)
    return x * inverse, y * inverse, z * inverse


class _Derivative(torch.autograd.Function):
    """sphericart's derivatives of `order` 0, 1 or 2 of points [N, 3]: [N, 3, …, 3, (l_max + 1)²] of unit harmonics.

    Written out because sphericart's own rules are wrong under `torch.func.vmap` and stop at `torch.func.grad`.
    """

    @staticmethod
    def forward(points: Tensor, scale: Tensor | float, l_max: int, order: int) -> Tensor:
        values = _operators()[order](points, l_max)
        values = values if order == 0 else values[order]
        return values if _is_one(scale) else values.mul_(scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        points, ctx.scale, ctx.l_max, ctx.order = inputs
        ctx.save_for_backward(points)
        ctx.save_for_forward(points)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        following = _following(ctx)  # [N, 3, …, K]
        n, size = len(following), following.shape[2:].numel()
        # forces may be taken inside an autocast region, which must not round geometry
        with torch.autocast(following.device.type, enabled=False):
            rows = torch.bmm(following.reshape(n, 3, size), grads[0].reshape(n, size, 1))
        return rows.squeeze(-1), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        following = _following(ctx)
        return (tangents[0].reshape(*tangents[0].shape, *[1] * (following.ndim - 2)) * following).sum(1)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], points: Tensor, *rest: Any) -> tuple[Tensor, int]:
        rows = points.movedim(in_dims[0], 0)  # [B, N, 3]
        values = _Derivative.apply(rows.flatten(0, 1), *rest)
        return values.reshape(*rows.shape[:2], *values.shape[1:]), 0


def _following(ctx: Any) -> Tensor:
    if ctx.order + 1 == len(_OPERATORS):
        raise ConfigError(
            "sphericart has no third derivatives of spherical harmonics", remedy="choose backend='e3nn' (l_max ≤ 11)"
        )
    return _Derivative.apply(ctx.saved_tensors[0], ctx.scale, ctx.l_max, ctx.order + 1)


def _is_one(scale: Tensor | float) -> bool:
    return isinstance(scale, float) and scale == 1.0


def _scaled(values: Tensor, scale: Tensor | float) -> Tensor:
    return values if _is_one(scale) else values * scale


def _choose(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"unknown {key} {value!r}", expected=", ".join(allowed), remedy=nearest(value, allowed))


@functools.cache
def _sphericart_missing() -> str | None:
    """Why sphericart can't be used, or None; a binary wheel can fail in any way that a shared library can."""
    try:
        importlib.import_module("sphericart.torch")
        _operators()  # which versions before 2 lack
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


@functools.cache
def _runs_on(device_type: str) -> bool:
    try:
        _operators()[0](torch.ones(1, 3, device=device_type), 1)
    except RuntimeError:
        return False
    return True


def _operators() -> tuple[Any, ...]:
    return tuple(getattr(torch.ops.sphericart_torch, name) for name in _OPERATORS)
