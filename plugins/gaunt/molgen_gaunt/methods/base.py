"""What every method has: components gathered from irreps and put back, and a form contracted in any argument."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from molgen_gaunt.form import Form, Slot
from molgen_gaunt.memory import Fresh, Memory
from molgen_gaunt.tables import Tables

__all__ = ["Engine", "OnGrid"]

Pair = tuple[Tensor | None, Tensor | None]
Order = NDArray[np.int64]  # component of each packed place; −1 for a place that stays empty


class Engine(Tables):
    """Computes one form. Slots are numbered 0, 1 and 2; `contract(x, y, i, j)` gives what belongs in the third.

    Args:
        form: what to compute.
        dtype: float32 or float64, of inputs and results.
        device: of inputs and results.
    """

    def __init__(self, form: Form, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__(dtype, device)
        self.form = form
        self.channels = max(slot.channels for slot in form.slots)

    @abstractmethod
    def contract(
        self, x: Tensor, y: Tensor, i: int, j: int, *, memory: Memory | None = None, out: Tensor | None = None
    ) -> Tensor:
        """[B, width of slot k] of x [B, width of slot i] and y [B, width of slot j], with i, j and k all different."""

    def gradients(
        self, x: Tensor, y: Tensor, g: Tensor, i: int, j: int, *, memory: Memory, out: Pair = (None, None)
    ) -> tuple[Tensor, Tensor]:
        """Gradients of x and y of a product whose own gradient is g [B, width of slot k]."""
        k = 3 - i - j
        return (
            self.contract(y, g, j, k, memory=memory, out=out[0]),
            self.contract(x, g, i, k, memory=memory, out=out[1]),
        )

    @property
    @abstractmethod
    def floats_per_row(self) -> int:
        """Numbers of intermediate results per row of x, by which rows are dealt out in chunks."""

    # gathering and putting back

    def places(self, s: int, order: Order, name: str = "", *, back: bool = True) -> None:
        """Makes the tables that `pack` and, where `back`, `unpack` use for slot s."""
        slot = self.form.slots[s]
        positions = np.where(order < 0, -1, slot.positions[:, order])  # [channels, packed]
        self.constant(f"take{name}{s}", np.maximum(positions, 0).ravel())
        there = positions >= 0
        if (~there & (order >= 0)).any():
            self.constant(f"mask{name}{s}", there.ravel().astype(np.float64))
        if not back:
            return
        target, source = positions[there], np.flatnonzero(there)
        put = np.full(slot.width, -1, dtype=np.int64)
        put[target] = source
        if (put >= 0).all():
            self.constant(f"put{s}", put)
        else:
            self.constant(f"put_to{s}", np.flatnonzero(put >= 0))
            self.constant(f"put_from{s}", put[put >= 0])

    def pack(self, x: Tensor, s: int, memory: Memory, key: str, name: str = "") -> Tensor:
        """[B·channels, packed] of x [B, width]."""
        take = self.table(f"take{name}{s}")
        rows, width, channels = x.shape[0], take.shape[0], self.form.slots[s].channels
        packed = torch.index_select(x, 1, take, out=memory(key, rows, width))
        if self.has(mask := f"mask{name}{s}"):
            packed = torch.mul(packed, self.table(mask), out=memory(key, rows, width))
        whole = memory(key, rows * channels, width // channels)
        return packed.view(rows * channels, width // channels) if whole is None else whole

    def unpack(self, packed: Tensor, s: int, out: Tensor | None) -> Tensor:
        """[B, width] of [B·channels, packed], zero where the slot has no components."""
        slot = self.form.slots[s]
        rows = packed.reshape(packed.shape[0] // slot.channels, slot.channels * packed.shape[1])
        if self.has(put := f"put{s}"):
            return torch.index_select(rows, 1, self.table(put), out=out)
        to, source = self.table(f"put_to{s}"), self.table(f"put_from{s}")
        base = rows.new_zeros(rows.shape[0], slot.width) if out is None else out.zero_()
        if out is None:
            return base.index_copy(1, to, rows.index_select(1, source))
        return base.index_copy_(1, to, rows.index_select(1, source))


Jet = tuple[Any, ...]  # the values of functions; or their derivatives along θ and along φ


class OnGrid(Engine):
    """A method that multiplies values at points: three transforms for an even form, five for an odd one."""

    @abstractmethod
    def synthesise(self, x: Tensor, s: int, memory: Memory, key: str, *, slopes: bool) -> Jet:
        """Values of the functions of slot s at the points, or both derivatives."""

    @abstractmethod
    def analyse(self, values: Any, s: int, memory: Memory, out: Tensor | None) -> Tensor:
        """[B, width] integrals against the harmonics of slot s."""

    @abstractmethod
    def multiply(self, f: Jet, g: Jet, channels: tuple[int, int, int], memory: Memory) -> Any:
        """Products of the values, or brackets of the derivatives; summed over channels where the result has one."""

    def contract(
        self, x: Tensor, y: Tensor, i: int, j: int, *, memory: Memory | None = None, out: Tensor | None = None
    ) -> Tensor:
        """See Engine."""
        memory = memory or Fresh()
        f = self.synthesise(x, i, memory, "f", slopes=self.form.odd)
        g = self.synthesise(y, j, memory, "g", slopes=self.form.odd)
        return self._finish(f, g, i, j, memory, out)

    def gradients(
        self, x: Tensor, y: Tensor, g: Tensor, i: int, j: int, *, memory: Memory, out: Pair = (None, None)
    ) -> tuple[Tensor, Tensor]:
        """See Engine; each of the three arguments is transformed once."""
        k = 3 - i - j
        at_x = self.synthesise(x, i, memory, "f", slopes=self.form.odd)
        at_y = self.synthesise(y, j, memory, "g", slopes=self.form.odd)
        at_g = self.synthesise(g, k, memory, "z", slopes=self.form.odd)
        return self._finish(at_y, at_g, j, k, memory, out[0]), self._finish(at_x, at_g, i, k, memory, out[1])

    def _finish(self, f: Jet, g: Jet, i: int, j: int, memory: Memory, out: Tensor | None) -> Tensor:
        k = 3 - i - j
        slots: tuple[Slot, ...] = self.form.slots
        # the odd form changes its sign when two arguments change places
        if self.form.odd and (j - i) % 3 != 1:
            f, g, i, j = g, f, j, i
        values = self.multiply(f, g, (slots[i].channels, slots[j].channels, slots[k].channels), memory)
        return self.analyse(values, k, memory, out)
