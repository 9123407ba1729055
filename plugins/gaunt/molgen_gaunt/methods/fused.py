"""The grid without its memory: a Triton kernel goes through the points in pieces and never writes their values.

For float32 on a GPU. Every other dtype, and what `torch.compile` traces, is computed by `grid`, to the same result.
Higher derivatives are contractions of the same form, hence the same kernel with its arguments in other places. Nothing
is added atomically: while autotuning's choice of blocks stands, which is for a process, results repeat bit for bit.

To try it without a GPU set TRITON_INTERPRET=1 before Python starts; it is slow.
"""

from __future__ import annotations

from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any, Final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from molgen.errors import ConfigError
from molgen_gaunt.config import Precision
from molgen_gaunt.form import Form, Slot
from molgen_gaunt.harmonics import components, gradients, harmonics
from molgen_gaunt.memory import Memory
from molgen_gaunt.methods.base import Engine, Order, Pair
from molgen_gaunt.methods.grid import Grid
from molgen_gaunt.quadrature import Rule, sphere_rule, symmetry_class

__all__ = ["Fused"]

_TRITON_NAMES: Final = {"float32": "ieee", "3xtf32": "tf32x3", "tf32": "tf32", "bfloat16": "bfloat16"}
_SYMMETRIES: Final = ("none", "inversion")  # of one and of two classes
_SMALLEST: Final = 16  # extent of a matrix product in Triton; all extents are powers of two
_SMALL: Final = 64  # components, up to which values at 32 points stay in registers; elsewhere at 16


class Fused(Engine):
    """See the module.

    Args:
        form: what to compute.
        dtype: of inputs and results; all but float32 are computed by `grid`.
        device: of inputs and results.
        precision: of the matrix products: `float32`, `3xtf32` (three products on tensor cores, for float32's
            accuracy), `tf32` (factors rounded to 11 bits) or `bfloat16` (to 8); sums are float32's in all of them.
        symmetry: `none` or `inversion` (half the points, and components in two classes); by default what is less work.

    Raises:
        ConfigError: Triton is not installed, or a precision or symmetry is unknown; when contracting in float32, there
            is neither a CUDA device nor Triton's interpreter.
    """

    def __init__(
        self,
        form: Form,
        dtype: torch.dtype,
        device: torch.device | str,
        precision: Precision = "float32",
        symmetry: str | None = None,
    ) -> None:
        super().__init__(form, dtype, device)
        if find_spec("triton") is None:
            raise ConfigError(
                "method fused needs Triton, which is not installed",
                remedy="pip install 'molgen-gaunt[fused]', or choose method grid, which computes the same",
            )
        _expect("precision", precision, get_args(Precision))
        _expect("symmetry", symmetry, (None, *_SYMMETRIES))
        self.precision = precision
        self.grid = Grid(form, dtype, device)
        plans = [_Plan(form, each) for each in (_SYMMETRIES if symmetry is None else (symmetry,))]
        self.plan = min(plans, key=lambda plan: plan.operations())
        theta, phi, weight = self.plan.rule
        self._stepwise: list[bool] = []
        for s, slot in enumerate(form.slots):
            order = self.plan.orders[s]
            places, stepwise = _places(slot, order)
            self.constant(f"places{s}", places)
            self._stepwise.append(stepwise)
            there = order >= 0
            scale = slot.scale_of_components[:, None]
            values = harmonics(slot.degrees, theta, phi) * scale
            at_points = [table * scale for table in gradients(slot.degrees, theta, phi)] if form.odd else [values]
            synthesis = np.zeros((len(at_points), self.plan.points, len(order)))
            synthesis[:, : len(theta), there] = np.stack(at_points)[:, order[there]].transpose(0, 2, 1)
            analysis = np.zeros((len(order), self.plan.points))
            analysis[there, : len(theta)] = (values * weight)[order[there]]
            self.constant(f"synthesis{s}", synthesis)
            self.constant(f"analysis{s}", analysis)
        self.full = [len(np.unique(slot.positions[slot.positions >= 0])) == slot.width for slot in form.slots]

    @property
    def floats_per_row(self) -> int:  # type: ignore[override]
        """See Engine: one, for a kernel keeps nothing and takes any number of rows."""
        return 1 if self.dtype == torch.float32 else self.grid.floats_per_row

    def contract(
        self, x: Tensor, y: Tensor, i: int, j: int, *, memory: Memory | None = None, out: Tensor | None = None
    ) -> Tensor:
        """See Engine."""
        if self._left_to_grid():
            return self.grid.contract(x, y, i, j, memory=memory, out=out)
        if self.form.odd and (j - i) % 3 != 1:  # the odd form changes its sign when two arguments change places
            x, y, i, j = y, x, j, i
        k = 3 - i - j
        z = self._result(x, k, out)
        tables = [self.table(f"synthesis{i}"), self.table(f"synthesis{j}"), self.table(f"analysis{k}")]
        alone = self.form.slots[k].channels < self.channels
        self._launch("contraction", [x.contiguous(), y.contiguous(), z], tables, (i, j, k), looping=alone)
        return z if out is None or out is z else out.copy_(z)

    def gradients(
        self, x: Tensor, y: Tensor, g: Tensor, i: int, j: int, *, memory: Memory, out: Pair = (None, None)
    ) -> tuple[Tensor, Tensor]:
        """See Engine; both in one pass over the points."""
        if self._left_to_grid():
            return self.grid.gradients(x, y, g, i, j, memory=memory, out=out)
        if self.form.odd and (j - i) % 3 != 1:
            dy, dx = self.gradients(y, x, g, j, i, memory=memory, out=out[::-1])
            return dx, dy
        k = 3 - i - j
        dx, dy = self._result(x, i, out[0]), self._result(y, j, out[1])
        tables = [self.table(f"synthesis{s}") for s in (i, j, k)] + [self.table(f"analysis{s}") for s in (i, j)]
        alone = any(self.form.slots[s].channels < self.channels for s in (i, j))
        tensors = [x.contiguous(), y.contiguous(), g.contiguous(), dx, dy]
        self._launch("gradient", tensors, tables, (i, j, k), looping=alone)
        pairs = zip((dx, dy), out, strict=True)
        dx, dy = (made if place is None or made is place else place.copy_(made) for made, place in pairs)
        return dx, dy

    def work(self, rows: int, *, backward: bool = False) -> tuple[int, int]:
        """Least bytes of memory traffic, and operations done, for a product of so many rows or for its two gradients.

        Bytes: each component that is there, read or written once. Operations: of all matrix products, padding included;
        3xtf32 does each three times, which is not counted.
        """
        there = [int((slot.positions >= 0).sum()) for slot in self.form.slots]
        components_moved = sum(there) + (there[0] + there[1] if backward else 0)
        return 4 * rows * components_moved, rows * self.channels * self.plan.operations(backward=backward)

    def _left_to_grid(self) -> bool:
        # the compiler and torch.func differentiate what they trace, and can't look into a kernel
        traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        return traced or self.dtype != torch.float32

    def _result(self, like: Tensor, s: int, out: Tensor | None) -> Tensor:
        """Where the kernel writes: zero where it won't."""
        place = out if out is not None and out.is_contiguous() else like.new_empty(len(like), self.form.slots[s].width)
        return place if self.full[s] else place.zero_()

    def _launch(
        self, name: str, tensors: list[Tensor], tables: list[Tensor], order: tuple[int, int, int], *, looping: bool
    ) -> None:
        from molgen_gaunt.methods import kernels

        x = tensors[0]
        if not kernels.INTERPRETED and x.device.type != "cuda":
            raise ConfigError(
                "method fused computes on a CUDA device only",
                where=f"inputs on {x.device}",
                remedy="choose method grid, which computes the same, or set TRITON_INTERPRET=1 to test the kernel here",
            )
        rows = len(x)
        if rows == 0:
            return
        slots = [self.form.slots[s] for s in order]
        places = [self.table(f"places{s}") for s in order]
        options: dict[str, Any] = {"CHANNELS": self.channels, "ODD": self.form.odd}
        options["P"], options["G"] = self.plan.points, self.plan.piece
        for letter, s, slot in zip("XYZ", order, slots, strict=True):
            options[f"{letter}0"], options[f"{letter}1"] = self.plan.sizes[s]
            options[f"{letter}_MANY"] = slot.channels == self.channels
            options[f"{letter}_STEPS"] = self._stepwise[s]
        options["PRECISION"] = _TRITON_NAMES[self.precision]
        programs = rows if looping else rows * self.channels
        with nullcontext() if kernels.INTERPRETED else torch.cuda.device(x.device):
            kernels.launch(name, programs, [*tensors, *places, *tables, rows, *(slot.width for slot in slots)], options)


class _Plan:
    """Points and padded classes of components, by one symmetry of the quadrature."""

    def __init__(self, form: Form, symmetry: str) -> None:
        self.symmetry = symmetry
        self.odd = form.odd
        self.rule: Rule = sphere_rule(form.degree, symmetry)
        self.sizes: list[tuple[int, int]] = []
        self.orders: list[Order] = []
        for slot in form.slots:
            group = np.array([symmetry_class(*lm, symmetry) for lm in components(slot.degrees)])
            members = [np.flatnonzero(group == c) for c in range(1 if symmetry == "none" else 2)]
            sizes = [max(_SMALLEST, 1 << (len(each) - 1).bit_length()) for each in members]
            self.sizes.append((sizes[0], sizes[1] if len(sizes) > 1 else 0))
            padded = [
                np.pad(each, (0, n - len(each)), constant_values=-1) for each, n in zip(members, sizes, strict=True)
            ]
            self.orders.append(np.concatenate(padded))
        blocks, twos = (-(-len(self.rule.theta) // n) for n in (_SMALLEST, 2 * _SMALLEST))
        small = max(map(sum, self.sizes)) <= _SMALL and not form.odd
        self.piece = (2 if small and 2 * twos <= 1.2 * blocks else 1) * _SMALLEST  # points at a time
        self.points = twos * self.piece if self.piece > _SMALLEST else blocks * self.piece

    def operations(self, *, backward: bool = False) -> int:
        """Of the matrix products of one channel of one row."""
        first, second, last = (sum(sizes) for sizes in self.sizes)
        tables = 2 if self.odd else 1
        if backward:
            return 2 * self.points * (tables * (first + second + last) + first + second)
        return 2 * self.points * (tables * (first + second) + last)


def _places(slot: Slot, order: Order) -> tuple[NDArray[np.int32], bool]:
    """[3, T] first position, step and number of channels of each component, and True; else [channels, T], False."""
    places = np.where(order < 0, -1, slot.positions[:, order])
    count = (places >= 0).sum(0)
    step = np.where(count > 1, places[min(1, len(places) - 1)] - places[0], 0)
    u = np.arange(len(places))[:, None]
    stepwise = bool((np.where(u < count, places[0] + u * step, -1) == places).all())
    return (np.stack([places[0], step, count]) if stepwise else places).astype(np.int32), stepwise


def _expect(what: str, given: object, known: tuple[object, ...]) -> None:
    if given not in known:
        names = ", ".join(str(each) for each in known if each is not None)
        raise ConfigError(f"unknown {what} {given!r}", where="method fused", expected=names)
