"""Products of ν equivariant features, as MACE's symmetric contraction takes them, by functions on the sphere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError, InputError
from molgen_gaunt.form import Slot, natural, slot_of
from molgen_gaunt.harmonics import Array, components
from molgen_gaunt.powers import OnSphere, Pairwise, Sphere
from molgen_gaunt.recompute import SHARED, call
from molgen_gaunt.tables import Memory, Tables

__all__ = ["ManyBodyProduct", "mean_squares"]

Method = Literal["auto", "grid", "separable", "fourier", "pairwise"]
Normalization = Literal["component", "integral"]
Weights = Literal["none", "internal", "external"]

_SEPARABLE_FROM: Final = {"cpu": 40, "cuda": 60}  # degree of the integrand, as measured


class ManyBodyProduct(nn.Module):
    """Σ_ν w_ν · (f^ν), ν = 1 … correlation: powers of functions on the sphere, channel by channel.

    The components of channel u are those of a function f_u, and the output holds the components of its powers,
    weighted per (ν, l, channel). All of it happens at the points of a quadrature that is exact for the degree
    ν·l_in + l_out (`grid`, `separable`) or on the torus of the Fourier basis (`fourier`), by f^ν = f^⌊ν/2⌋ · f^⌈ν/2⌉.

    An irrep with fewer channels than another has the first ones; its components are zero in the others. Only irreps of
    natural parity, (−1)^l, belong to functions.

    Args:
        irreps_in: of the input.
        irreps_out: of the output; every irrep must be one of a power's.
        correlation: ν, the number of factors of the highest power.
        method: `grid`, `separable`, `fourier`, `pairwise` (one explicit Gaunt product after another: the slow
            reference), or `auto`.
        normalization: `integral`: the powers themselves, of functions with the input's components in orthonormal
            harmonics; `component`: each (ν, l) divided by its root mean square for standard normal inputs, so that
            outputs have components of mean square 1 (with weights: standard normal ones).
        weights: `none`: the single power ν = correlation; `internal`: a parameter `weights` [weight_numel] and all
            powers; `external`: weights are handed to forward, so that they may depend on the element.
        dtype: float32 or float64; by default torch's default.
        device: of the tables.

    Raises:
        ConfigError: irreps of pseudotensors; an output that no power reaches; correlation below 1; unknown options.

    Weights are in the order of `paths`, channels running fastest: [len(paths) · channels].

    Source: Luo, Chen and Krishnapriyan 2024, arXiv:2401.10216, sec. 3.3; Batatia et al. 2022, arXiv:2206.07697.

    >>> import torch
    >>> power = ManyBodyProduct("8x0e + 8x1o + 8x2e", "8x0e + 8x1o", correlation=3, weights="internal")
    >>> power(torch.randn(10, 72)).shape
    torch.Size([10, 32])
    >>> power.paths
    ((1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1))
    """

    def __init__(
        self,
        irreps_in: o3.Irreps | str,
        irreps_out: o3.Irreps | str,
        *,
        correlation: int,
        method: Method = "auto",
        normalization: Normalization = "component",
        weights: Weights = "none",
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        _check_options(correlation, method=method, normalization=normalization, weights=weights)
        dtype = dtype or torch.get_default_dtype()
        if dtype not in (torch.float32, torch.float64):
            raise ConfigError(f"dtype is {dtype}", where="dtype", expected="torch.float32 or torch.float64")
        self.irreps_in, self.irreps_out = _read(irreps_in, "irreps_in"), _read(irreps_out, "irreps_out")
        self.correlation, self.normalization, self.weighted = correlation, normalization, weights
        source, target = _slots(self.irreps_in, self.irreps_out)
        self.channels = source.channels
        orders = range(1, correlation + 1) if weights != "none" else (correlation,)
        reached = _reached(source.degrees, correlation)
        #: (ν, l) of each weight
        self.paths = tuple((n, l) for n in orders for l in target.degrees if l in reached[n])
        _refuse_unreached(self.irreps_in, self.irreps_out, target, self.paths, correlation)
        self.method = _chosen(method, correlation * source.l_max + target.l_max, torch.device(device))
        sphere: Sphere
        if self.method == "pairwise":
            sphere = Pairwise((source, target), correlation, dtype, device)
        else:
            sphere = OnSphere(self.method, (source, target), correlation, dtype, device)
        sharing = {"none": None, "internal": SHARED, "external": "weights"}[weights]
        scale = _scales(source, target, self.paths, normalization)
        self._sum = _PowerSum(sphere, self.paths, scale, sharing)
        self._shared = _PowerSum(sphere, self.paths, scale, SHARED) if weights == "external" else self._sum
        self._product = _Product(sphere, source, target, normalization)
        numel = len(self.paths) * self.channels if weights != "none" else 0
        self.weight_numel = numel if weights == "external" else 0
        if weights == "internal":
            self.weights = nn.Parameter(torch.randn(numel, dtype=dtype, device=device))

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """[..., irreps_out.dim] of x [..., irreps_in.dim], both in `mul_ir` layout.

        Args:
            x: input.
            weights: [..., weight_numel] with `weights="external"`, leading dimensions broadcast with x's; else None.

        Raises:
            InputError: a wrong last dimension, weights too many or too few, mixed dtypes or devices.
        """
        wanted = self.weight_numel
        if (weights is None) != (wanted == 0):
            raise InputError(
                f"weights are {'missing' if weights is None else 'given'}",
                where="weights",
                expected=f"[..., {wanted}], one per path (ν, l) and channel" if wanted else "none",
                remedy=f"the product was built with weights={self.weighted!r}",
            )
        given = {"x": (x, self.irreps_in.dim, f" ({self.irreps_in})")}
        if weights is not None:
            given["weights"] = (weights, wanted, f" ({len(self.paths)} paths × {self.channels} channels)")
        kind = x.device.type
        with torch.autocast(kind, enabled=False):  # tables of half precision would cost equivariance
            tensors, leading = self._rows(given)
            if weights is None:
                own = (self.weights,) if self.weighted == "internal" else ()
                out = call(self._sum, tensors[0], *own)
            elif weights.ndim == 1:
                out = call(self._shared, *tensors)
            else:
                out = call(self._sum, *tensors)
        return out.reshape(*leading, self.irreps_out.dim)

    def product_of(self, *factors: Tensor) -> Tensor:
        """[..., irreps_out.dim] of the product of different factors, each [..., irreps_in.dim], without weights.

        With `normalization="component"` its components have mean square 1 for independent standard normal factors.
        Leading dimensions broadcast.

        Raises:
            InputError: fewer than two factors or more than `correlation`; shapes, dtypes or devices that don't fit.
        """
        if not 2 <= len(factors) <= self.correlation:
            raise InputError(
                f"{len(factors)} factors", where="product_of", expected=f"2 to {self.correlation}, the correlation"
            )
        given = {f"x{i}": (x, self.irreps_in.dim, f" ({self.irreps_in})") for i, x in enumerate(factors, 1)}
        with torch.autocast(factors[0].device.type, enabled=False):
            tensors, leading = self._rows(given)
            out = call(self._product.of(len(factors)), *tensors)
        return out.reshape(*leading, self.irreps_out.dim)

    def extra_repr(self) -> str:
        """What it is of."""
        return f"{self.irreps_in} -> {self.irreps_out}, correlation={self.correlation}, method={self.method!r}"

    def _rows(self, given: Mapping[str, tuple[Tensor, int, str]]) -> tuple[list[Tensor], tuple[int, ...]]:
        """The tensors as rows [B, dim] of equal number, but weights that are a vector, and the leading dimensions."""
        own = self._sum
        autocast = any(torch.is_autocast_enabled(x.device.type) for x, _, _ in given.values())
        for name, (x, dim, what) in given.items():
            if x.ndim == 0 or x.shape[-1] != dim:
                shown = "no dimension" if x.ndim == 0 else f"last dimension {x.shape[-1]}"
                raise InputError(f"{name} has {shown}", where=name, expected=f"{dim}{what}")
            if (x.dtype != own.dtype and not autocast) or x.device != own.device:
                raise InputError(
                    f"{name} is {x.dtype} on {x.device}, the product {own.dtype} on {own.device}",
                    where=name,
                    expected="one dtype and one device",
                    remedy="move one with .to(...)",
                )
        shapes = {name: tuple(x.shape[:-1]) for name, (x, _, _) in given.items()}
        try:
            leading = tuple(torch.broadcast_shapes(*shapes.values()))
        except RuntimeError as error:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise InputError(f"leading dimensions don't broadcast: {listed}", expected="equal ones, or 1") from error
        count = math.prod(leading)
        tensors = []
        for name, (x, dim, _) in given.items():
            x = x.to(own.dtype)
            shared = name == "weights" and x.ndim == 1
            tensors.append(x if shared else x.expand(*leading, dim).reshape(count, dim))
        return tensors, leading
