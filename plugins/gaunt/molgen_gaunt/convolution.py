"""The equivariant convolution x ⊗ Y(r̂): the filter turned onto the polar axis, where it has only components m = 0.

In the frame of the edge the filter is a function of θ alone, so that a product keeps m (an odd path turns m into −m):
one quadrature in θ for each m instead of one on the sphere (Luo et al. 2024, sec. 3.2, after Passaro and Zitnick 2023).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError, InputError
from molgen.nn import SphericalHarmonics, WignerD, edge_frames, rotate, rotate_back
from molgen_gaunt.config import GauntConfig, Normalization, Parity
from molgen_gaunt.form import Form, Slot
from molgen_gaunt.harmonics import components, legendre, polar_tables
from molgen_gaunt.paths import forms_of, read_irreps
from molgen_gaunt.product import GauntTensorProduct
from molgen_gaunt.quadrature import gauss_legendre
from molgen_gaunt.tables import Tables

__all__ = ["GauntConvolution"]


class GauntConvolution(nn.Module):
    """Product of channel-wise functions with the filter Σ_l w_l,u Y_l(r̂) of each edge.

    The same function as :class:`~molgen_gaunt.product.GauntTensorProduct` of x and component-normalised harmonics.

    Args:
        irreps_in: of x; every channel meets the edge's filter.
        l_filter: highest degree of the filter.
        irreps_out: of the output; every one must be reached by a path.
        weighted: whether `forward` takes a weight for each degree of the filter and channel, `weight_numel` in all.
        method: `rotated`, as the module says: least arithmetic; or `product`, on the sphere, which was the faster at
            every degree up to 10 on a CPU (see the README), and which `auto` takes.
        parity: as of the product.
        normalization: as of the product.

    Raises:
        ConfigError: an irrep of the output that no path reaches, l_filter below 0.

    >>> import torch
    >>> convolution = GauntConvolution("8x0e + 8x1o", 2, "8x0e + 8x1o + 8x2e")
    >>> convolution(torch.randn(10, 32), torch.randn(10, 3), torch.randn(10, convolution.weight_numel)).shape
    torch.Size([10, 72])
    """

    def __init__(
        self,
        irreps_in: o3.Irreps | str,
        l_filter: int,
        irreps_out: o3.Irreps | str,
        *,
        weighted: bool = True,
        method: Literal["auto", "rotated", "product"] = "auto",
        parity: Parity = "even",
        normalization: Normalization = "component",
    ) -> None:
        super().__init__()
        if l_filter < 0:
            raise ConfigError(f"l_filter is {l_filter}", expected="0 or more")
        if method not in ("auto", "rotated", "product"):
            raise ConfigError(f"method is {method!r}", expected="auto, rotated or product")
        self.irreps_in, self.irreps_out = read_irreps(irreps_in, "irreps_in"), read_irreps(irreps_out, "irreps_out")
        self.l_filter, self.weighted = l_filter, weighted
        self._widths = self.irreps_in.dim, self.irreps_out.dim
        config = GauntConfig.model_validate({"parity": parity, "normalization": normalization})
        harmonics = o3.Irreps.spherical_harmonics(l_filter)
        forms = forms_of(config, self.irreps_in, harmonics, self.irreps_out)
        self.channels = max(form.slots[2].channels for form in forms)
        self.weight_numel = self.channels * (l_filter + 1) if weighted else 0
        self.method = "product" if method == "auto" else method
        if self.method == "rotated":
            self.frames = WignerD(max(self.irreps_in.lmax, self.irreps_out.lmax))
            self.terms = nn.ModuleList(_InFrame(form, l_filter) for form in forms)
            return
        self.harmonics = SphericalHarmonics(l_filter)
        filters = o3.Irreps([(self.channels if weighted else 1, ir) for _, ir in harmonics])
        self.product = GauntTensorProduct(config, irreps1=self.irreps_in, irreps2=filters, irreps_out=self.irreps_out)
        if weighted:
            # [u, l] of the weights and (l, m) of the harmonics at each place of the filters' mul_ir layout
            places = [(u, l, m) for l in range(l_filter + 1) for u in range(self.channels) for m in range(2 * l + 1)]
            self.register_buffer("of_weight", torch.tensor([u * (l_filter + 1) + l for u, l, _ in places]), False)
            self.register_buffer("of_harmonic", torch.tensor([l * l + m for _, l, m in places]), False)

    def forward(self, x: Tensor, vectors: Tensor, weights: Tensor | None = None) -> Tensor:
        """[E, irreps_out.dim] of x [E, irreps_in.dim], edges [E, 3] (any length) and weights [E, weight_numel].

        Weights are [channels, degrees of the filter], the last running fastest.

        Raises:
            InputError: shapes, dtypes or weights that don't fit.
        """
        self._check(x, vectors, weights)
        if self.method == "product":
            filters = self.harmonics(vectors)
            if weights is not None:
                filters = filters.index_select(1, self.of_harmonic) * weights.index_select(1, self.of_weight)
            out: Tensor = self.product(x, filters)
            return out
        blocks = self.frames(edge_frames(vectors))
        shape = len(x), self.channels if weights is not None else 1, self.l_filter + 1
        coefficients = x.new_ones(shape) if weights is None else weights.view(shape)
        terms = [term(x, blocks, coefficients) for term in self.terms]
        return sum(terms[1:], terms[0])

    def _check(self, x: Tensor, vectors: Tensor, weights: Tensor | None) -> None:
        if (weights is None) == self.weighted:
            raise InputError(
                "no weights" if weights is None else "weights that are not asked for", where=f"weighted={self.weighted}"
            )
        wanted = {"x": (x, self._widths[0]), "vectors": (vectors, 3), "weights": (weights, self.weight_numel)}
        for name, (tensor, width) in wanted.items():
            if tensor is None:
                continue
            if tensor.shape != (len(x), width):
                raise InputError(
                    f"the shape is {tuple(tensor.shape)}", where=name, expected=f"({len(x)}, {width}), one row per edge"
                )
            if tensor.dtype != x.dtype or tensor.device != x.device:
                raise InputError(
                    f"{name} is {tensor.dtype} on {tensor.device}", expected=f"{x.dtype} on {x.device}, as x is"
                )


class _InFrame(Tables):
    """One form with a filter along the polar axis."""

    def __init__(self, form: Form, l_filter: int) -> None:
        super().__init__(torch.get_default_dtype(), "cpu")
        first, filters, last = form.slots
        self.channels, self.width_out = max(first.channels, last.channels), last.width
        theta, weight = gauss_legendre(form.degree)
        self.rings = len(theta)
        l_max = min(first.l_max, last.l_max)  # no m above it is in both
        self.orders, self.degrees = 2 * l_max + 1, (first.l_max, last.l_max)
        self._enter(first)
        self._leave(last)
        # x in the frame: [m, l, θ]; ∂φ takes m to −m, which the order of the output says, with a factor −m
        m = np.arange(-l_max, l_max + 1)
        polar = polar_tables(first.l_max, theta)[2 if form.odd else 0]
        table = _by_order(polar, first, m)
        self.constant("synthesis", table * m[:, None, None] if form.odd else table)
        back = _by_order(legendre(last.l_max, theta), last, -m if form.odd else m)
        self.constant("analysis", (back * weight).transpose(0, 2, 1) * 2 * np.pi)
        self.constant("place_in", np.maximum(_order(first, m), 0).ravel())
        self.constant("place_out", _back(_order(last, -m if form.odd else m), (last.l_max + 1) ** 2))
        # the filter: Y_l0 at the pole times Y_l0(θ), or its slope
        along = polar_tables(l_filter, theta)[1 if form.odd else 0][:, 0]
        scale = np.zeros(l_filter + 1)
        scale[list(filters.degrees)] = filters.scale
        self.constant("filter", along * (np.sqrt(2 * np.arange(l_filter + 1) + 1) * scale)[:, None])

    def _enter(self, slot: Slot) -> None:
        """Where each component, packed by degree from 0 to l_max, stands in x."""
        full = np.full((slot.channels, (slot.l_max + 1) ** 2), -1)
        full[:, [l * l + l + m for l, m in components(slot.degrees)]] = slot.positions
        self.constant("take", np.maximum(full, 0).ravel())
        self.constant("there", (full >= 0).astype(np.float64).ravel())

    def _leave(self, slot: Slot) -> None:
        """Where each place of the output stands in the packed result; one past the end for zero."""
        size = (slot.l_max + 1) ** 2
        put = np.full(slot.width, slot.channels * size)
        columns = np.array([l * l + l + m for l, m in components(slot.degrees)])
        there = slot.positions >= 0
        source = np.arange(slot.channels)[:, None] * size + columns
        put[slot.positions[there]] = source[there]
        self.constant("put", put)

    def forward(self, x: Tensor, blocks: list[Tensor], coefficients: Tensor) -> Tensor:
        """[E, width] of x [E, width], frames and coefficients [E, C or 1, degrees]."""
        E, C, m, theta = len(x), self.channels, self.orders, self.rings
        n_in, n_out = ((l_max + 1) ** 2 for l_max in self.degrees)
        packed = (x.index_select(1, self.table("take")) * self.table("there")).view(E, C, n_in)
        turned = rotate(packed, blocks[: self.degrees[0] + 1]).view(E * C, n_in)
        place = self.table("place_in")
        rows = turned.index_select(1, place).view(E * C, m, len(place) // m).transpose(0, 1)
        rings = torch.bmm(rows, self.table("synthesis"))  # [m, E·C, θ]
        filters = coefficients @ self.table("filter")  # [E, C or 1, θ]
        rings = (rings.view(m, E, C, theta) * filters).view(m, E * C, theta)
        found = torch.bmm(rings, self.table("analysis"))  # [m, E·C, l]
        found = found.transpose(0, 1).reshape(E * C, m * found.shape[2])
        result = nn.functional.pad(found, (0, 1)).index_select(1, self.table("place_out")).view(E, C, n_out)
        out = rotate_back(result, blocks[: self.degrees[1] + 1]).reshape(E, C * n_out)
        return nn.functional.pad(out, (0, 1)).index_select(1, self.table("put"))


def _by_order(polar: np.ndarray, slot: Slot, m: np.ndarray) -> np.ndarray:
    """[m, l, θ] of a table [l, |m|, θ]; zero for l < |m|."""
    found = polar[list(slot.degrees)][:, abs(m)].transpose(1, 0, 2) * slot.scale[:, None]
    return np.where((np.array(slot.degrees) >= abs(m)[:, None])[..., None], found, 0.0)


def _order(slot: Slot, m: np.ndarray) -> np.ndarray:
    """[m, l] places of the components in the packing by degree; −1 for l < |m|."""
    l = np.array(slot.degrees)
    return np.where(l >= abs(m)[:, None], l * l + l + m[:, None], -1)


def _back(order: np.ndarray, size: int) -> np.ndarray:
    """Where each packed component stands among [m, l]; one past the end for none."""
    back = np.full(size, order.size)
    places = np.flatnonzero(order >= 0)
    back[order.ravel()[places]] = places
    return back
