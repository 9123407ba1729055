"""Σ_ν w_ν · A^ν: powers of what a node gathered, by functions on the sphere or by products one after another."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.host.component import ComponentRef
from molgen.nn import from_mul_ir, spherical_irreps, to_mul_ir
from molgen_gaunt.config import GauntConfig
from molgen_gaunt.encoder.irreps import aligned, copies
from molgen_gaunt.encoder.products import build_product, located
from molgen_gaunt.many_body import ManyBodyProduct

__all__ = ["ChainedPowers", "SpherePowers", "build_powers"]


def build_powers(
    product: ComponentRef, irreps_in: o3.Irreps, irreps_out: o3.Irreps, *, channels: int, correlation: int
) -> SpherePowers | ChainedPowers:
    """Powers by `gaunt`, which keeps every degree in between, or another product, which keeps those of the input."""
    if isinstance(product.config, GauntConfig):
        method = product.config.method
        on_sphere = method if method in ("grid", "separable", "fourier") else "auto"
        return SpherePowers(irreps_in, irreps_out, channels=channels, correlation=correlation, method=on_sphere)
    return ChainedPowers(product, irreps_in, irreps_out, channels=channels, correlation=correlation)


class SpherePowers(nn.Module):
    """[N, K_out, C] of [N, K_in, C] and weights [N, weight_numel], by `ManyBodyProduct`.

    With pseudotensors g beside true tensors f, the powers of f + g and f − g are taken: half their sum is the true part
    of (f + g)^ν, half their difference the pseudo part.
    """

    def __init__(
        self, irreps_in: o3.Irreps, irreps_out: o3.Irreps, *, channels: int, correlation: int, method: str
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out, self.channels = irreps_in, irreps_out, channels
        self.natural_in, self.natural_out = spherical_irreps(irreps_in.lmax), spherical_irreps(irreps_out.lmax)
        self.pseudo_in = o3.Irreps([(1, (ir.l, -ir.p)) for _, ir in self.natural_in])
        self.pseudo = any(ir.p != (-1) ** ir.l for _, ir in irreps_in)
        with located("correlation"):
            self.product = ManyBodyProduct(
                copies(self.natural_in, channels),
                copies(self.natural_out, channels),
                correlation=correlation,
                method=method,  # type: ignore[arg-type]
                weights="external",
            )
        self.weight_numel = self.product.weight_numel

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Of x [N, K_in, C]; weights are external, in the order of `ManyBodyProduct`."""
        if not self.pseudo:
            return self._powers(x, weights)
        true = aligned(x, self.irreps_in, self.natural_in)
        pseudo = aligned(x, self.irreps_in, self.pseudo_in)  # in the place of the true ones of the same degree
        plus, minus = self._powers(torch.cat((true + pseudo, true - pseudo)), weights.repeat(2, 1)).chunk(2)
        parts = {1: (plus + minus) / 2, -1: (plus - minus) / 2}
        return torch.cat([parts[ir.p * (-1) ** ir.l][:, _degree(ir.l)] for _, ir in self.irreps_out], dim=1)

    def _powers(self, x: Tensor, weights: Tensor) -> Tensor:
        return from_mul_ir(self.product(to_mul_ir(x, self.natural_in), weights), self.natural_out, self.channels)


class ChainedPowers(nn.Module):
    """[N, K_out, C] of [N, K_in, C] and weights [N, weight_numel], by A^ν = A^(ν−1) ⊗ A.

    Between factors the irreps of the input are kept. A factor has the product's own weights; a power has one weight for
    each irrep and channel from outside, as those on the sphere have.
    """

    of: Tensor

    def __init__(
        self, product: ComponentRef, irreps_in: o3.Irreps, irreps_out: o3.Irreps, *, channels: int, correlation: int
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out, self.channels = irreps_in, irreps_out, channels
        targets = [irreps_in] * (correlation - 2) + [irreps_out] * (correlation > 1)
        self.products = nn.ModuleList(
            build_product(product, channels, (irreps_in, irreps_in, target)) for target in targets
        )
        self.weight_numel = correlation * len(irreps_out) * channels
        places = torch.tensor([i for i, (_, ir) in enumerate(irreps_out) for _ in range(ir.dim)])
        self.register_buffer("of", places, persistent=False)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Of x [N, K_in, C]; weights [powers, irreps of the output, channels], the last running fastest."""
        powers = len(self.products) + 1
        factors = weights.view(len(x), powers, len(self.irreps_out), self.channels)
        factor = power = to_mul_ir(x, self.irreps_in)
        total = aligned(x, self.irreps_in, self.irreps_out) * factors[:, 0].index_select(1, self.of)
        for n, product in enumerate(self.products, 1):
            power = product(power, factor)
            last = n == len(self.products)
            found = from_mul_ir(power, self.irreps_out if last else self.irreps_in, self.channels)
            found = found if last else aligned(found, self.irreps_in, self.irreps_out)
            total = total + found * factors[:, n].index_select(1, self.of)
        return total


def _degree(l: int) -> slice:
    return slice(l * l, (l + 1) ** 2)
