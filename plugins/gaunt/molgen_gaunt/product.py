"""The component `gaunt`: functions on the sphere, one per channel, multiplied."""

from __future__ import annotations

from collections.abc import Callable

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import InputError
from molgen.interfaces import TensorProduct
from molgen_gaunt.autograd import contract
from molgen_gaunt.channels import joined
from molgen_gaunt.config import GauntConfig, Precision
from molgen_gaunt.costs import fastest
from molgen_gaunt.form import Form
from molgen_gaunt.methods import Engine, engines_of
from molgen_gaunt.paths import forms_of, paired, read_irreps
from molgen_gaunt.tables import Tables
from molgen_gaunt.weights import DegreeWeights

__all__ = ["GauntTensorProduct", "Term", "build"]

_NOMINAL_ROWS = 4096  # for which `auto` chooses where the number of rows is not known: while compiling


def build(
    config: GauntConfig, *, irreps1: o3.Irreps | str, irreps2: o3.Irreps | str, irreps_out: o3.Irreps | str
) -> GauntTensorProduct:
    """The `gaunt` product of a config; see :class:`GauntTensorProduct`."""
    return GauntTensorProduct(config, irreps1=irreps1, irreps2=irreps2, irreps_out=irreps_out)


class Term(Tables):
    """The form of two kinds of functions, natural or pseudo, or both forms of them, even and odd."""

    def __init__(self, forms: list[Form], method: str, precision: Precision) -> None:
        super().__init__(torch.get_default_dtype(), "cpu")
        self.forms, self.method, self.precision = forms, method, precision
        self.rows_per_row = max(slot.channels for slot in forms[0].slots)
        self.engines = nn.ModuleDict()
        self.chosen: dict[int, tuple[Engine, ...]] = {}
        self.nominal = self._choose(_NOMINAL_ROWS // self.rows_per_row)

    def _choose(self, rows: int) -> tuple[Engine, ...]:
        """What computes about `rows` rows, made when it is first asked for."""
        method = self.method
        if method == "auto":
            method = fastest(self.forms, rows * self.rows_per_row, self.device, self.dtype)
        if method not in self.engines:
            made = engines_of(method, self.forms, self.dtype, self.device, self.precision)
            self.engines[method] = nn.ModuleList(made)
        return tuple(self.engines[method])  # type: ignore[arg-type]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Term:
        super()._apply(fn, recurse)
        self.chosen.clear()
        self.nominal = self._choose(_NOMINAL_ROWS // self.rows_per_row)  # another device or dtype, another method
        return self

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[B, width of slot 2] of [B, width of slot 0] and [B, width of slot 1]."""
        engines = self.nominal
        if not torch.compiler.is_compiling():
            size = x.shape[0].bit_length()
            if size not in self.chosen:
                # one choice for all of this size, whichever comes first: runs repeat to the bit
                self.chosen[size] = self._choose(1 << size)
            engines = self.chosen[size]
        out = contract(x, y, engines[0])
        for engine in engines[1:]:
            out = out + contract(x, y, engine)
        return out


class GauntTensorProduct(TensorProduct):
    """Channel-wise product of functions on the sphere, Σ_lm x_lm Y_lm(r̂) · Σ_lm y_lm Y_lm(r̂), projected on irreps_out.

    Channel u of the first input meets channel u of the second. An input whose irreps all have one channel meets all
    channels of the other; an irrep with fewer channels than the most has the first ones. Irreps that occur twice count
    as one with the sum of their channels.

    With `parity: even` the paths are those with l₁ + l₂ + l₃ even: true tensors from true tensors. `full` adds the
    others, r̂·(∇f × ∇g), which make pseudotensors of true tensors: every Clebsch-Gordan path has its part.

    With `normalization: integral` the result is the product of the functions, coefficients being those of orthonormal
    harmonics. With `component` each output irrep is scaled so that its components have variance one where those of the
    inputs are standard normal, and gradients are divided by √(l(l+1)).

    Args:
        config: see :class:`GauntConfig`.
        irreps1: of the first input.
        irreps2: of the second input.
        irreps_out: of the output; every one must be reached by a path.

    Raises:
        ConfigError: an irrep of the output that no path reaches, degrees beyond the dtype's quadrature, no irreps.

    Source: Luo, Chen and Krishnapriyan 2024, arXiv:2401.10216, eq. 3; the odd paths after Bochkarev, Lysogorskiy and
    Drautz 2026, arXiv:2605.15073.

    >>> import molgen, torch
    >>> irreps = "4x0e + 4x1o + 4x2e"
    >>> product = molgen.build("tensor_product", "gaunt", irreps1=irreps, irreps2=irreps, irreps_out=irreps)
    >>> product(torch.randn(10, 36), torch.randn(10, 36)).shape
    torch.Size([10, 36])
    """

    def __init__(
        self,
        config: GauntConfig,
        *,
        irreps1: o3.Irreps | str,
        irreps2: o3.Irreps | str,
        irreps_out: o3.Irreps | str,
    ) -> None:
        super().__init__()
        self.config, self.channelwise = config, config.mode == "channelwise"
        sides = [
            read_irreps(irreps, name)
            for irreps, name in zip((irreps1, irreps2, irreps_out), ("irreps1", "irreps2", "irreps_out"), strict=True)
        ]
        self.irreps1, self.irreps2, self.irreps_out = sides
        self.channels = max(max(joined(side).values()) for side in sides)
        mixed = config.mode == "fully-connected"
        inner = [o3.Irreps([(self.channels, ir) for ir in joined(side)]) for side in sides] if mixed else sides
        self.mix = nn.ModuleList(
            [o3.Linear(self.irreps1, inner[0]), o3.Linear(self.irreps2, inner[1]), o3.Linear(inner[2], self.irreps_out)]
            if mixed
            else []
        )
        self.degree_weights = None
        if config.weights != "none":
            self.degree_weights = DegreeWeights(inner, config.rank, internal=config.weights == "internal")
            self.weight_numel = 0 if config.weights == "internal" else self.degree_weights.numel
            inner = self.degree_weights.weighted
        # the compiler can't look into irreps
        self._widths = self.irreps1.dim, self.irreps2.dim, self.weight_numel
        self.terms = nn.ModuleList(
            Term(forms, config.method, config.precision) for forms in paired(forms_of(config, *inner))
        )
        self._terms = tuple(self.terms)  # a ModuleList's slices are new modules

    @property
    def dtype(self) -> torch.dtype:
        """Of the tables, and so of inputs and output."""
        return self._terms[0].dtype

    @property
    def device(self) -> torch.device:
        """Of the tables, and so of inputs and output."""
        return self._terms[0].device

    def forward(self, x1: Tensor, x2: Tensor, weights: Tensor | None = None) -> Tensor:
        """[..., irreps_out.dim]; x1 [..., irreps1.dim], x2 [..., irreps2.dim], leading dimensions broadcast.

        Args:
            x1: first input, `mul_ir`.
            x2: second input, `mul_ir`.
            weights: [..., weight_numel] with `weights: external`, else None.

        Raises:
            InputError: a wrong last dimension, weights too many or too few, mixed dtypes or devices.
        """
        x1, x2, weights = self._checked(x1, x2, weights)
        if torch.is_autocast_enabled(self.device.type):
            with torch.autocast(self.device.type, enabled=False):
                return self._forward(x1, x2, weights)
        return self._forward(x1, x2, weights)

    def _forward(self, x1: Tensor, x2: Tensor, weights: Tensor | None) -> Tensor:
        if self.mix:
            x1, x2 = self.mix[0](x1), self.mix[1](x2)
        given = [x1, x2] if weights is None else [x1, x2, weights]
        leading = x1.shape[:-1]
        if any(tensor.shape[:-1] != leading for tensor in given):
            try:
                leading = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in given))
            except RuntimeError as error:
                shapes = " and ".join(str(tuple(tensor.shape)) for tensor in given)
                raise InputError(
                    f"the shapes {shapes} don't broadcast", expected="leading dimensions that are equal or 1"
                ) from error
            given = [tensor.expand(*leading, tensor.shape[-1]) for tensor in given]
        x1, x2, *rest = (tensor.reshape(-1, tensor.shape[-1]) for tensor in given)
        if self.degree_weights is None:
            out = self._product(x1, x2)
        else:
            out = self.degree_weights(x1, x2, rest[0] if rest else None, self._product)
        out = out.view(*leading, out.shape[-1])
        return self.mix[2](out) if self.mix else out

    def _product(self, x1: Tensor, x2: Tensor) -> Tensor:
        first, *others = self._terms
        out = first(x1, x2)
        for term in others:
            out = out + term(x1, x2)
        return out

    def _checked(self, x1: Tensor, x2: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        widths = self._widths
        if (weights is None) != (self.weight_numel == 0):
            asked = f"weights: {self.config.weights}"
            if weights is None:
                raise InputError("no weights", where=asked, expected=f"weights of shape [..., {self.weight_numel}]")
            raise InputError("weights that are not asked for", where=asked, remedy="set `weights: external`")
        given = (x1, x2) if weights is None else (x1, x2, weights)
        first = self._terms[0]
        for place, (tensor, width) in enumerate(zip(given, widths, strict=False)):
            if tensor.shape[-1:] != (width,) or tensor.dtype != first.dtype or tensor.device != first.device:
                self._refuse(place, tensor, width)
        converted = [tensor if tensor.dtype == first.dtype else tensor.to(first.dtype) for tensor in given]
        return converted[0], converted[1], converted[2] if weights is not None else None

    def _refuse(self, place: int, tensor: Tensor, width: int) -> None:
        """Says what doesn't fit, unless it is a floating dtype while autocast chooses dtypes."""
        name = ("x1", "x2", "weights")[place]
        if tensor.shape[-1:] != (width,):
            irreps = "" if place == 2 else f" of {(self.irreps1, self.irreps2)[place]}"
            raise InputError(
                f"the shape is {tuple(tensor.shape)}", where=name, expected=f"a last dimension of {width}{irreps}"
            )
        if tensor.device != self.device:
            raise InputError(
                f"{name} is on {tensor.device}",
                expected=f"{self.device}, where the product is",
                remedy="move either by .to(device)",
            )
        if not (torch.is_autocast_enabled(self.device.type) and tensor.is_floating_point()):
            raise InputError(
                f"{name} is {tensor.dtype}",
                expected=f"{self.dtype}, the product's dtype",
                remedy="convert either by .to(dtype)",
            )
