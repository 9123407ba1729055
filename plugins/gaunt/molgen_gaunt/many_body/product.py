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
from molgen_gaunt.many_body.power_sums import PowerSum, Product, ProductTables
from molgen_gaunt.many_body.powers import OnSphere, Pairwise, Sphere
from molgen_gaunt.many_body.recompute import SHARED, call
from molgen_gaunt.paths import read_irreps

__all__ = ["ManyBodyProduct", "mean_squares"]

Method = Literal["auto", "grid", "separable", "fourier", "pairwise"]
Normalization = Literal["component", "integral"]
Weights = Literal["none", "internal", "external"]

_SEPARABLE_FROM: Final = 32  # degree of the integrand, as measured


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
        self.irreps_in, self.irreps_out = read_irreps(irreps_in, "irreps_in"), read_irreps(irreps_out, "irreps_out")
        self.correlation, self.normalization, self.weighted = correlation, normalization, weights
        # what forward needs of the irreps, which torch.compile can't look into
        self._dims, self._shown = (self.irreps_in.dim, self.irreps_out.dim), f" ({self.irreps_in})"
        source, target = _slots(self.irreps_in, self.irreps_out)
        self.channels = source.channels
        orders = range(1, correlation + 1) if weights != "none" else (correlation,)
        reached = _reached(source.degrees, correlation)
        #: (ν, l) of each weight
        self.paths = tuple((n, l) for n in orders for l in target.degrees if l in reached[n])
        _refuse_unreached(self.irreps_in, self.irreps_out, target, self.paths, correlation)
        degree = correlation * source.l_max + target.l_max
        if method == "auto":
            method = "separable" if degree >= _SEPARABLE_FROM else "grid"
        self.method = method
        sphere: Sphere
        if self.method == "pairwise":
            sphere = Pairwise((source, target), correlation, dtype, device)
        else:
            sphere = OnSphere(self.method, (source, target), correlation, dtype, device)
        kind = {"none": None, "internal": SHARED, "external": "weights"}[weights]
        self._sum = PowerSum(sphere, self.paths, _scales(source, target, self.paths, normalization), kind)
        self._products = ProductTables(sphere, _product_scales(source, target, correlation, normalization))
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
        kind, wanted = self._sum.device.type, self.weight_numel
        if torch.is_autocast_enabled(kind):  # tables of half precision would cost equivariance
            with torch.autocast(kind, enabled=False):
                dtype = self._sum.dtype
                return self(x.to(dtype), weights if weights is None else weights.to(dtype))
        if (weights is None) != (wanted == 0):
            raise InputError(
                f"weights are {'missing' if weights is None else 'given'}",
                where="weights",
                expected=f"[..., {wanted}], one per path (ν, l) and channel" if wanted else "none",
                remedy=f"the product was built with weights={self.weighted!r}",
            )
        given = {"x": (x, self._dims[0], self._shown)}
        if weights is not None:
            given["weights"] = (weights, wanted, f" ({len(self.paths)} paths × {self.channels} channels)")
        rows, leading = self._rows(given)
        if self.weighted == "internal":
            rows.append(self.weights)
        return call(self._sum, *rows).view(*leading, self._dims[1])

    def product_of(self, *factors: Tensor) -> Tensor:
        """[..., irreps_out.dim] of the product of different factors, each [..., irreps_in.dim], without weights.

        With `normalization="component"` its components have mean square 1 for independent standard normal factors.
        Leading dimensions broadcast.

        Raises:
            InputError: fewer than two factors or more than `correlation`; shapes, dtypes or devices that don't fit.
        """
        if not 2 <= len(factors) <= self.correlation:
            raise InputError(
                f"product_of takes factors, and got {len(factors)}",
                expected=f"2 to {self.correlation}, the correlation",
                remedy="build the product with a higher correlation" if len(factors) > 1 else None,
            )
        kind = self._sum.device.type
        if torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                return self.product_of(*(x.to(self._sum.dtype) for x in factors))
        rows, leading = self._rows({f"x{i}": (x, self._dims[0], self._shown) for i, x in enumerate(factors, 1)})
        return call(Product(self._products, len(factors)), *rows).view(*leading, self._dims[1])

    def extra_repr(self) -> str:
        """What it is of."""
        return f"{self.irreps_in} -> {self.irreps_out}, correlation={self.correlation}, method={self.method!r}"

    def _rows(self, given: Mapping[str, tuple[Tensor, int, str]]) -> tuple[list[Tensor], tuple[int, ...]]:
        """The tensors as equally many rows [B, dim], and their leading dimensions."""
        own = self._sum
        for name, (x, dim, what) in given.items():
            if x.ndim == 0 or x.shape[-1] != dim:
                shown = "no dimension" if x.ndim == 0 else f"last dimension {x.shape[-1]}"
                raise InputError(f"{name} has {shown}", where=name, expected=f"{dim}{what}")
            if x.dtype != own.dtype or x.device != own.device:
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
        return [x.expand(*leading, dim).reshape(count, dim) for x, dim, _ in given.values()], leading


def mean_squares(degrees: Sequence[int], factors: int, l_max: int, *, distinct: bool = False) -> Array:
    """[l_max + 1] mean square of a component of degree l of f^ν, f with standard normal components of the degrees.

    With the covariance K(cos γ) = Σ (2l+1)/4π P_l(cos γ) of f, σ² = K(1) and ρ = K/σ², powers expand in Hermite
    polynomials, E[He_j(f) He_k(f')] = δ_jk k! ρ^k, so that f^ν has the covariance
    σ^2ν Σ_j (ν! / (2^j j! (ν−2j)!))² (ν−2j)! ρ^(ν−2j); a component's mean square is its integral 2π ∫ … P_l dt.

    Args:
        degrees: of f.
        factors: ν.
        l_max: highest degree of the result.
        distinct: of the product of ν independent functions instead, whose covariance is K^ν.

    >>> mean_squares([0], 2, 0).round(4).tolist()  # of x²/√4π: 3/4π
    [0.2387]
    """
    t, weights = np.polynomial.legendre.leggauss((factors * max(degrees) + l_max) // 2 + 1)
    P = np.polynomial.legendre.legvander(t, max(*degrees, l_max))  # [points, l]
    sizes = np.array([2 * l + 1 for l in degrees]) / (4 * np.pi)
    variance = sizes.sum()
    rho = P[:, list(degrees)] @ sizes / variance
    if distinct:
        covariance = rho**factors
    else:
        covariance = np.zeros_like(t)
        for j in range(factors // 2 + 1):
            k = factors - 2 * j
            hermite = math.factorial(factors) / (2**j * math.factorial(j) * math.factorial(k))
            covariance += hermite**2 * math.factorial(k) * rho**k
    found: Array = variance**factors * 2 * np.pi * (covariance * weights) @ P[:, : l_max + 1]
    return found


def _scales(source: Slot, target: Slot, paths: Sequence[tuple[int, int]], normalization: str) -> Array:
    """[C, paths]; zero where a channel lacks the degrees that would reach it."""
    scale = np.ones((source.channels, len(paths)))
    if normalization == "integral":
        return scale
    correlation = max(n for n, _ in paths)
    for degrees, chosen in _channels_by_degrees(source).items():
        reached = _reached(degrees, correlation)
        for i, (n, l) in enumerate(paths):
            terms = sum(l == other and l in reached[m] for m, other in paths)
            mean = mean_squares(degrees, n, target.l_max)[l]
            scale[chosen, i] = 1 / math.sqrt(mean * terms) if l in reached[n] else 0
    return scale


def _product_scales(source: Slot, target: Slot, correlation: int, normalization: str) -> dict[int, Array]:
    """[C, degrees] for each number of factors."""
    scales = {n: np.ones((source.channels, len(target.degrees))) for n in range(2, correlation + 1)}
    if normalization == "integral":
        return scales
    for degrees, chosen in _channels_by_degrees(source).items():
        reached = _reached(degrees, correlation)
        for n, scale in scales.items():
            mean = mean_squares(degrees, n, target.l_max, distinct=True)
            scale[chosen] = [1 / math.sqrt(mean[l]) if l in reached[n] else 0 for l in target.degrees]
    return scales


def _channels_by_degrees(slot: Slot) -> dict[tuple[int, ...], list[int]]:
    """Which channels have which degrees."""
    centres = [i for i, (_, m) in enumerate(components(slot.degrees)) if m == 0]
    found: dict[tuple[int, ...], list[int]] = {}
    for channel, there in enumerate(slot.positions[:, centres] >= 0):
        degrees = tuple(l for l, each in zip(slot.degrees, there, strict=True) if each)
        found.setdefault(degrees, []).append(channel)
    return found


def _reached(degrees: Sequence[int], correlation: int) -> dict[int, set[int]]:
    """Degrees of each power: l₁, l₂, l₃ obey the triangle rule and have an even sum, factor by factor."""
    found = {1: set(degrees)}
    for n in range(2, correlation + 1):
        found[n] = {l for a in found[n - 1] for b in degrees for l in range(abs(a - b), a + b + 1, 2)}
    return found


def _slots(irreps_in: o3.Irreps, irreps_out: o3.Irreps) -> tuple[Slot, Slot]:
    for name, irreps in (("irreps_in", irreps_in), ("irreps_out", irreps_out)):
        pseudo = sorted({str(ir) for mul, ir in irreps if mul and not natural(ir.l, ir.p)})
        if pseudo:
            raise ConfigError(
                f"{', '.join(pseudo)} in {irreps} are no functions on the sphere",
                where=name,
                expected="irreps of parity (−1)^l: 0e, 1o, 2e, …",
                remedy=f"leave {', '.join(pseudo)} out",
            )
    counts = [max(irreps.count(ir) for _, ir in irreps) for irreps in (irreps_in, irreps_out)]
    if counts[1] > counts[0]:
        raise ConfigError(
            f"irreps_out has {counts[1]} channels and irreps_in {counts[0]}",
            where="irreps_out",
            expected=f"at most {counts[0]}, since channel u comes of channel u",
        )
    slots = [slot_of(irreps, naturals=True, channels=counts[0], scale={}) for irreps in (irreps_in, irreps_out)]
    if slots[0] is None or slots[1] is None:
        raise ConfigError("there are no irreps", expected="at least one, such as 16x0e")
    return slots[0], slots[1]


def _refuse_unreached(
    irreps_in: o3.Irreps, irreps_out: o3.Irreps, target: Slot, paths: Sequence[tuple[int, int]], correlation: int
) -> None:
    reached = {l for _, l in paths}
    missing = [str(o3.Irrep(l, (-1) ** l)) for l in target.degrees if l not in reached]
    if missing:
        raise ConfigError(
            f"no power of {irreps_in} at correlation {correlation} reaches {', '.join(missing)} in {irreps_out}",
            where="irreps_out",
            expected=f"degrees among {', '.join(map(str, sorted(reached)))}" if reached else None,
            remedy=f"leave {', '.join(missing)} out, or raise the correlation",
        )


def _check_options(correlation: int, **options: str) -> None:
    if isinstance(correlation, bool) or not isinstance(correlation, int) or correlation < 1:
        raise ConfigError(f"correlation is {correlation!r}", where="correlation", expected="an integer from 1")
    for name, known in (("method", Method), ("normalization", Normalization), ("weights", Weights)):
        if options[name] not in get_args(known):
            raise ConfigError(
                f"{options[name]!r} is no {name}", where=name, expected=f"one of {', '.join(get_args(known))}"
            )
