"""The component `gaunt`: functions on the sphere, one per channel, multiplied."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError, InputError
from molgen.interfaces import TensorProduct
from molgen_gaunt.autograd import contract
from molgen_gaunt.channels import joined
from molgen_gaunt.config import GauntConfig
from molgen_gaunt.costs import fastest
from molgen_gaunt.form import Form, channels_of, natural, slot_of, strengths
from molgen_gaunt.methods import engine_of
from molgen_gaunt.methods.base import Engine
from molgen_gaunt.tables import Tables
from molgen_gaunt.weights import DegreeWeights

__all__ = ["GauntTensorProduct", "Term", "build"]

_NOMINAL_ROWS = 4096  # for which `auto` chooses where the number of rows is not known: while compiling
# degree l₁+l₂+l₃ up to which the quadrature was measured to keep the accuracy that the tests state
_LARGEST_DEGREE = {torch.float32: 96, torch.float64: 192}


def build(
    config: GauntConfig, *, irreps1: o3.Irreps | str, irreps2: o3.Irreps | str, irreps_out: o3.Irreps | str
) -> GauntTensorProduct:
    """The `gaunt` product of a config; see :class:`GauntTensorProduct`."""
    return GauntTensorProduct(config, irreps1=irreps1, irreps2=irreps2, irreps_out=irreps_out)


class Term(Tables):
    """One form of the product: functions of two kinds, natural or pseudo, and the kind of the result."""

    def __init__(self, form: Form, method: str, precision: str) -> None:
        super().__init__(torch.get_default_dtype(), "cpu")
        self.form, self.method, self.precision = form, method, precision
        self.rows_per_row = max(slot.channels for slot in form.slots)
        self.engines = nn.ModuleDict()
        self.chosen: dict[int, str] = {}
        self.nominal = self._choose(_NOMINAL_ROWS // self.rows_per_row)

    def _choose(self, rows: int) -> str:
        """The method for about `rows` rows, its engine made when it is first asked for."""
        method = self.method
        if method == "auto":
            method = fastest(self.form, rows * self.rows_per_row, self.device, self.dtype)
        if method not in self.engines:
            self.engines[method] = engine_of(method, self.form, self.dtype, self.device, self.precision)
        return method

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Term:
        super()._apply(fn, recurse)
        self.chosen.clear()
        return self

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[B, width of slot 2] of [B, width of slot 0] and [B, width of slot 1]."""
        if torch.compiler.is_compiling():
            return contract(x, y, self.engines[self.nominal])
        size = x.shape[0].bit_length()
        method = self.chosen.get(size)
        if method is None:
            method = self.chosen[size] = self._choose(x.shape[0])
        return contract(x, y, self.engines[method])


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
        self.config = config
        sides = [_read(irreps, name) for irreps, name in zip((irreps1, irreps2, irreps_out), _SIDES, strict=True)]
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
        self.terms = nn.ModuleList(Term(form, config.method, config.precision) for form in _forms(config, *inner))
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


_SIDES = ("irreps1", "irreps2", "irreps_out")


def _read(irreps: o3.Irreps | str, name: str) -> o3.Irreps:
    try:
        read = o3.Irreps(irreps)
    except (ValueError, TypeError, AssertionError) as error:
        raise ConfigError(f"{irreps!r} are no irreps", where=name, expected="irreps like '16x0e + 16x1o'") from error
    if read.dim == 0:
        raise ConfigError(f"{name} is empty", expected="irreps like '16x0e + 16x1o'")
    return read


def _forms(config: GauntConfig, irreps1: o3.Irreps, irreps2: o3.Irreps, irreps_out: o3.Irreps) -> list[Form]:
    """Every combination of natural and pseudo functions that reaches the output."""
    where = f"{irreps1} ⊗ {irreps2}"
    channels, per_side = channels_of(irreps1, irreps2)
    if max(joined(irreps_out).values()) > channels:
        raise ConfigError(
            f"irreps_out {irreps_out} has more channels than the inputs", where=where, expected=f"at most {channels}"
        )
    _check_degree(irreps1, irreps2, irreps_out)
    per_side.append(channels)
    component = config.normalization == "component"
    kinds = [(True, irreps1), (False, irreps1)], [(True, irreps2), (False, irreps2)]
    paths = _paths(config, irreps1, irreps2)
    out_scale: dict[o3.Irrep, float] = {}
    for ir in joined(irreps_out):
        variance = sum(strength for target, _, _, _, strength in paths if target == ir)
        if variance == 0:
            raise ConfigError(
                f"no path leads to {ir} of irreps_out",
                where=where,
                remedy="set `parity: full` for the antisymmetric paths" if config.parity == "even" else "take it out",
            )
        out_scale[ir] = 1 / math.sqrt(variance) if component else 1.0
    forms = []
    for odd in (False, True):
        for kind1, _ in kinds[0]:
            for kind2, _ in kinds[1]:
                kind3 = (kind1 == kind2) != odd
                reached = {t for t, k1, k2, o, _ in paths if (k1, k2, o) == (kind1, kind2, odd)} & set(out_scale)
                if not reached:
                    continue
                slope = {l: 1 / math.sqrt(l * (l + 1)) for l in range(1, 1000)} if odd and component else {}
                scales = [
                    slope,
                    slope,
                    {ir.l: scale for ir, scale in out_scale.items() if natural(ir.l, ir.p) == kind3},
                ]
                slots = [
                    slot_of(irreps, naturals=kind, channels=c, scale=scale)
                    for irreps, kind, c, scale in zip(
                        (irreps1, irreps2, irreps_out), (kind1, kind2, kind3), per_side, scales, strict=True
                    )
                ]
                if all(slot is not None for slot in slots):
                    forms.append(Form((slots[0], slots[1], slots[2]), odd))  # type: ignore[arg-type]
    return forms


def _paths(
    config: GauntConfig, irreps1: o3.Irreps, irreps2: o3.Irreps
) -> list[tuple[o3.Irrep, bool, bool, bool, float]]:
    """(output, kind of each input, odd, variance) of every path."""
    found = []
    sides = [list(joined(irreps1)), list(joined(irreps2))]
    l_max = max(ir.l for ir in sides[0]), max(ir.l for ir in sides[1])
    for odd in (False, True) if config.parity == "full" else (False,):
        table = strengths((*l_max, sum(l_max)), odd=odd)
        for ir1 in sides[0]:
            for ir2 in sides[1]:
                for l3 in range(abs(ir1.l - ir2.l), ir1.l + ir2.l + 1):
                    if strength := float(table[ir1.l, ir2.l, l3]):
                        target = o3.Irrep(l3, ir1.p * ir2.p)
                        found.append((target, natural(ir1.l, ir1.p), natural(ir2.l, ir2.p), odd, strength))
    return found


def _check_degree(*sides: o3.Irreps) -> None:
    degree = sum(side.lmax for side in sides)
    largest = _LARGEST_DEGREE.get(torch.get_default_dtype())
    if largest is None:
        raise ConfigError(
            f"the default dtype is {torch.get_default_dtype()}", expected="float32 or float64 when a product is built"
        )
    if degree > largest:
        raise ConfigError(
            f"l₁ + l₂ + l₃ = {degree} is beyond what {torch.get_default_dtype()} resolves",
            where=" ⊗ ".join(str(side) for side in sides[:2]) + f" → {sides[2]}",
            expected=f"at most {largest}",
        )
