"""The reference: one Clebsch-Gordan contraction per path, by e3nn's generated code."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError, InputError
from molgen.interfaces import TensorProduct
from molgen_gaunt.channels import Channels, channels, crop_index, gather, joined, pad_index
from molgen_gaunt.config import ClebschGordanConfig
from molgen_gaunt.paths import read_irreps

__all__ = ["L_MAX", "ClebschGordan", "build", "path_coefficient", "paths"]

L_MAX = 11  # as far as e3nn's spherical harmonics go

Path = tuple[o3.Irrep, o3.Irrep, o3.Irrep]


def build(
    config: ClebschGordanConfig, *, irreps1: o3.Irreps | str, irreps2: o3.Irreps | str, irreps_out: o3.Irreps | str
) -> ClebschGordan:
    """The `clebsch-gordan` product of a config; see :class:`ClebschGordan`."""
    return ClebschGordan(config, irreps1=irreps1, irreps2=irreps2, irreps_out=irreps_out)


def path_coefficient(l1: int, l2: int, l3: int) -> float:
    """What e3nn's `wigner_3j` is multiplied with to give integrals of orthonormal real harmonics over the sphere.

    l₁ + l₂ + l₃ even: ∫ Y₁ Y₂ Y₃ (the Gaunt coefficient); odd: ∫ r̂·(∇Y₁ × ∇Y₂) Y₃. In e3nn's convention of signs
    both are positive.

    >>> round(path_coefficient(0, 0, 0), 6)  # 1/√4π
    0.282095
    """
    w3j = o3.wigner_3j(l1, l2, l3, dtype=torch.float64, device="cpu")
    size = math.sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4.0 * math.pi))
    if (l1 + l2 + l3) % 2 == 0:
        return size * abs(float(w3j[l1, l2, l3]))  # |3j(l₁ l₂ l₃; 0 0 0)|: m = 0 stands at place l
    gradients = math.sqrt(l1 * (l1 + 1) * l2 * (l2 + 1))
    return size * gradients * abs(float(w3j[l1 + 1, l2 - 1, l3]))  # |3j(l₁ l₂ l₃; 1 -1 0)|


def paths(irreps1: o3.Irreps, irreps2: o3.Irreps, irreps_out: o3.Irreps, parity: str) -> list[Path]:
    """(ir₁, ir₂, ir_out) of every path, each irrep once, the last running fastest; `parity` as in the config."""
    return [
        (ir1, ir2, ir3)
        for ir1 in joined(irreps1)
        for ir2 in joined(irreps2)
        for ir3 in joined(irreps_out)
        if ir3 in ir1 * ir2 and (parity == "full" or (ir1.l + ir2.l + ir3.l) % 2 == 0)
    ]


class ClebschGordan(TensorProduct):
    """Channel-wise tensor product, path by path, with e3nn's coefficients; the slow twin of the Gaunt product.

    Irreps that occur twice count as one with the sum of their channels, in order. With C the largest multiplicity of
    the inputs, channel u of every irrep meets channel u of every other; one with fewer channels has the first ones. A
    side whose irreps all have one channel while C > 1 meets all channels. `mode: fully-connected` puts linear layers on
    all three sides, with C the largest multiplicity of the three.

    Args:
        config: see :class:`ClebschGordanConfig`.
        irreps1: of the first input, l up to 11.
        irreps2: of the second input.
        irreps_out: of the output; every one must be reached by a path.

    Raises:
        ConfigError: an irrep of the output that no path reaches; more channels of it than the inputs have; l above 11.

    `weights: internal` and `external` hold one number per path and channel: [n_paths · C], in the order of `paths`.

    Source: Geiger and Smidt 2022, arXiv:2207.09453.

    >>> import molgen, torch
    >>> irreps = {"irreps1": "4x0e + 4x1o", "irreps2": "0e + 1o", "irreps_out": "4x0e + 4x1o + 4x1e"}
    >>> product = molgen.build("tensor_product", "clebsch-gordan", **irreps)
    >>> product(torch.randn(10, 16), torch.randn(10, 4)).shape
    torch.Size([10, 28])
    """

    _product: o3.TensorProduct
    weights: Tensor
    index1: Tensor | None
    index2: Tensor | None
    index_out: Tensor | None

    def __init__(
        self,
        config: ClebschGordanConfig,
        *,
        irreps1: o3.Irreps | str,
        irreps2: o3.Irreps | str,
        irreps_out: o3.Irreps | str,
    ) -> None:
        super().__init__()
        self.config, self.channelwise = config, config.mode == "channelwise"
        self.irreps1 = _read(irreps1, "irreps1")
        self.irreps2 = _read(irreps2, "irreps2")
        self.irreps_out = _read(irreps_out, "irreps_out")
        self.paths = tuple(paths(self.irreps1, self.irreps2, self.irreps_out, config.parity))
        _refuse_unreached(self.irreps1, self.irreps2, self.irreps_out, self.paths, config.parity)
        layout = channels(self.irreps1, self.irreps2, self.irreps_out, mixed=config.mode == "fully-connected")
        self.channels = layout.count
        # not a submodule: its coefficients are no state, and are computed anew for another dtype
        self.__dict__["_product"] = _e3nn_product(config, self.paths, layout)
        self._fill()
        numel = 0 if config.weights == "none" else len(self.paths) * layout.count
        self.weight_numel = numel if config.weights == "external" else 0
        if config.weights == "internal":
            self.weights = nn.Parameter(torch.randn(numel))
        if config.mode == "fully-connected":
            sides = (self.irreps1, layout.irreps1), (self.irreps2, layout.irreps2), (layout.irreps_out, self.irreps_out)
            self.mix1, self.mix2, self.mix_out = (o3.Linear(*side) for side in sides)
            indices: tuple[Tensor | None, ...] = (None, None, None)
        else:
            first, second = (
                pad_index(irreps, layout, side) for side, irreps in enumerate((self.irreps1, self.irreps2))
            )
            indices = first, second, crop_index(self.irreps_out, layout)
        for name, index in zip(("index1", "index2", "index_out"), indices, strict=True):
            self.register_buffer(name, index, persistent=False)

    def forward(self, x1: Tensor, x2: Tensor, weights: Tensor | None = None) -> Tensor:
        """[..., irreps_out.dim]; x1 [..., irreps1.dim], x2 [..., irreps2.dim], leading dimensions broadcast.

        Args:
            x1: first input, `mul_ir`.
            x2: second input, `mul_ir`.
            weights: [..., weight_numel] with `weights: external`, else None.

        Raises:
            InputError: a wrong last dimension, weights too many or too few, mixed dtypes or devices.
        """
        kind = self._product.output_mask.device.type
        if torch.is_autocast_enabled(kind):  # coefficients of half precision would cost equivariance
            with torch.autocast(kind, enabled=False):
                dtype = self._product.output_mask.dtype
                return self(x1.to(dtype), x2.to(dtype), weights if weights is None else weights.to(dtype))
        self._check(x1, x2, weights)
        mixed = self.config.mode == "fully-connected"
        x1 = self.mix1(x1) if mixed else gather(x1, self.index1)  # [..., C × irreps]
        x2 = self.mix2(x2) if mixed else gather(x2, self.index2)
        if self.config.weights == "internal":
            weights = self.weights
        if weights is not None and weights.ndim == 1 and self.weight_numel:  # e3nn wants rows of them
            out = self._product(x1, x2, weights[None])
            out = out.reshape(*torch.broadcast_shapes(x1.shape[:-1], x2.shape[:-1]), out.shape[-1])
        else:
            out = self._product(x1, x2, weights)
        return self.mix_out(out) if mixed else gather(out, self.index_out)

    def _check(self, x1: Tensor, x2: Tensor, weights: Tensor | None) -> None:
        wanted = self.weight_numel
        if (weights is None) != (wanted == 0):
            raise InputError(
                f"weights are {'missing' if weights is None else 'given'}",
                where="weights",
                expected=f"[..., {wanted}], one per path and channel" if wanted else "none",
                remedy=f"the product was built with weights: {self.config.weights}",
            )
        given = {"x1": (x1, self.irreps1.dim, f" ({self.irreps1})"), "x2": (x2, self.irreps2.dim, f" ({self.irreps2})")}
        if weights is not None:
            given["weights"] = (weights, wanted, f" ({len(self.paths)} paths × {self.channels} channels)")
        own = self._product.output_mask
        for name, (tensor, dim, what) in given.items():
            if tensor.ndim == 0 or tensor.shape[-1] != dim:
                shown = "no dimension" if tensor.ndim == 0 else f"last dimension {tensor.shape[-1]}"
                raise InputError(f"{name} has {shown}", where=name, expected=f"{dim}{what}")
            if tensor.dtype != own.dtype or tensor.device.type != own.device.type or tensor.device != x1.device:
                raise InputError(
                    f"{name} is {tensor.dtype} on {tensor.device}, the product {own.dtype} on {own.device}",
                    where=name,
                    expected="one dtype and one device",
                    remedy="move one with .to(...)",
                )
        shapes = [tuple(tensor.shape[:-1]) for tensor, _, _ in given.values()]
        try:
            torch.broadcast_shapes(*shapes)
        except RuntimeError as error:
            names = ", ".join(f"{name} {shape}" for name, shape in zip(given, shapes, strict=True))
            raise InputError(f"leading dimensions don't broadcast: {names}", expected="equal ones, or 1") from error

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClebschGordan:
        super()._apply(fn, recurse)
        self._product._apply(fn)
        self._fill()
        return self

    @torch.no_grad()
    def _fill(self) -> None:
        """Writes the coefficients from float64, so that a product moved to float64 has its full precision."""
        for name, buffer in self._product.named_buffers():
            if found := re.search(r"_w3j_(\d+)_(\d+)_(\d+)$", name):
                l1, l2, l3 = map(int, found.groups())
                buffer.copy_(o3.wigner_3j(l1, l2, l3, dtype=torch.float64, device="cpu"))


def _e3nn_product(config: ClebschGordanConfig, chosen: tuple[Path, ...], layout: Channels) -> o3.TensorProduct:
    mode = {(False, False): "uuu", (False, True): "uvu", (True, False): "uvv"}[layout.broadcast]
    places: list[dict[o3.Irrep, int]] = [
        {ir: place for place, (_, ir) in enumerate(irreps)}
        for irreps in (layout.irreps1, layout.irreps2, layout.irreps_out)
    ]
    integral = config.normalization == "integral"
    instructions = [
        (
            *(place[ir] for place, ir in zip(places, path, strict=True)),
            mode,
            config.weights != "none",
            path_coefficient(*(ir.l for ir in path)) ** 2 if integral else 1.0,  # e3nn takes the root
        )
        for path in chosen
    ]
    options: dict[str, Any] = (
        {"irrep_normalization": "none", "path_normalization": "none"}
        if integral
        else {"irrep_normalization": "component", "path_normalization": "element"}
    )
    return o3.TensorProduct(
        layout.irreps1,
        layout.irreps2,
        layout.irreps_out,
        instructions,
        shared_weights=config.weights != "external",
        internal_weights=False,
        **options,
    )


def _read(irreps: o3.Irreps | str, name: str) -> o3.Irreps:
    read = read_irreps(irreps, name)
    if read.lmax > L_MAX:
        raise ConfigError(
            f"l = {read.lmax}",
            where=name,
            expected=f"l up to {L_MAX}, where e3nn ends",
            remedy="use the product `gaunt`",
        )
    return read


def _refuse_unreached(
    irreps1: o3.Irreps, irreps2: o3.Irreps, irreps_out: o3.Irreps, chosen: tuple[Path, ...], parity: str
) -> None:
    reached = {path[2] for path in chosen}
    for ir in joined(irreps_out):
        if ir not in reached:
            by_odd = parity == "even" and any(path[2] == ir for path in paths(irreps1, irreps2, irreps_out, "full"))
            raise ConfigError(
                f"no path leads from {irreps1} and {irreps2} to {ir}",
                where="irreps_out",
                expected="irreps that l₁, l₂ and the parities allow",
                remedy="set parity: full" if by_odd else f"leave {ir} out",
            )
