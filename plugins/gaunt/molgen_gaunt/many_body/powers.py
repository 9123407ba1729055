"""Powers of functions on the sphere, and products of several, as rows of packed components (see `methods.base`).

The factors stay at the points, or on the torus, until the product is complete: one transform for each factor, one for
each result, and a product in between that is pointwise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

from molgen_gaunt.form import Form, Slot, slot_of
from molgen_gaunt.memory import Memory
from molgen_gaunt.methods.base import Engine, OnGrid, Order
from molgen_gaunt.methods.direct import Direct
from molgen_gaunt.methods.fourier import Fourier
from molgen_gaunt.methods.grid import Grid
from molgen_gaunt.methods.separable import Separable

__all__ = ["OnSphere", "Pairwise", "Sphere"]


class _Packed:
    """Makes of an engine one whose inputs and outputs are packed already."""

    def pack(self, x: Tensor, s: int, memory: Memory, key: str, name: str = "") -> Tensor:
        return x

    def unpack(self, packed: Tensor, s: int, out: Tensor | None) -> Tensor:
        return packed


class _PackedGrid(_Packed, Grid):
    pass


class _PackedSeparable(_Packed, Separable):
    pass


class _PackedFourier(_Packed, Fourier):
    pass


class _PackedDirect(_Packed, Direct):
    pass


class Sphere(nn.Module):
    """Powers up to `correlation` of functions in one slot, projected to those in another.

    Tensors are [rows · C, places], a place for each component of the slot, some of them empty maybe.
    """

    engine: Engine  # whose slot 0 is the input and slot 2 the output
    slots: tuple[Slot, Slot]
    correlation: int
    explicit = True  # whether there are `pull` and `pull_product`

    @abstractmethod
    def prepare(self, x: Tensor, memory: Memory) -> Any:
        """What `powers` and `pull` both need of the input."""

    @abstractmethod
    def powers(self, prepared: Any, wanted: Sequence[int], memory: Memory) -> Iterator[tuple[int, Tensor]]:
        """The wanted powers ν ≥ 2, ascending; each is to be used before the next is asked for."""

    @abstractmethod
    def pull(self, prepared: Any, of: Mapping[int, Tensor], memory: Memory) -> Tensor:
        """Gradient of the input x of Σ_ν ∫ (power ν of x) · of[ν], of all ν ≥ 2."""

    @abstractmethod
    def product(self, factors: Sequence[Tensor], memory: Memory) -> Tensor:
        """Product of `correlation` factors at most."""

    @abstractmethod
    def pull_product(
        self, factors: Sequence[Tensor], g: Tensor, wanted: Sequence[bool], memory: Memory
    ) -> tuple[Tensor, ...]:
        """Gradients of the wanted factors, where the product's is g."""

    def pack(self, x: Tensor, s: int, memory: Memory, key: str) -> Tensor:
        """[B · C, places] of [B, width]; s is 0 for the input, 2 for the output."""
        return Engine.pack(self.engine, x, s, memory, key)

    def unpack(self, packed: Tensor, s: int) -> Tensor:
        """[B, width] of [B · C, places]."""
        return Engine.unpack(self.engine, packed, s, None)

    def floats_per_row(self) -> int:
        """Numbers of intermediate results per row."""
        return self.engine.floats_per_row * self.correlation // 3

    def places(self, s: int) -> tuple[Order, int]:
        """Place of each component, and the number of places."""
        slot = self.engine.form.slots[s]
        count = len(getattr(self.engine, f"take{s}")) // slot.channels
        numbers = torch.arange(slot.channels * count, dtype=torch.float64, device=self.engine.device)
        columns = self.unpack(numbers.view(slot.channels, count), s)[0]
        return columns.cpu().numpy().astype(np.int64)[slot.positions[0]], count  # channel 0 has every component


class OnSphere(Sphere):
    """By values at points: `grid`, `separable` or `fourier`."""

    engine: OnGrid

    def __init__(
        self, method: str, slots: tuple[Slot, Slot], correlation: int, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        super().__init__()
        # f^ν is f times f^(ν−1): all that the engine takes from the middle slot is how high its degree is
        rest = (correlation - 1) * slots[0].l_max
        middle = Slot((rest,), np.ones(1), 2 * rest + 1, 1, np.arange(2 * rest + 1)[None])
        form = Form((slots[0], middle, slots[1]))
        if method == "grid":
            # symmetry halves the arithmetic of the transforms, of which there are few, and doubles that of the products
            symmetry = "none" if form.degree <= 4 * (correlation + 1) else "inversion"  # as measured
            self.engine = _PackedGrid(form, dtype, device, symmetry)
        else:
            self.engine = {"separable": _PackedSeparable, "fourier": _PackedFourier}[method](form, dtype, device)
        self.slots, self.correlation = slots, correlation

    def prepare(self, x: Tensor, memory: Memory) -> dict[int, Any]:
        """See Sphere; values of the powers, as far as they are known."""
        return {1: self._values(x, 0, memory, "f")}

    def powers(self, prepared: dict[int, Any], wanted: Sequence[int], memory: Memory) -> Iterator[tuple[int, Tensor]]:
        """See Sphere."""
        for n in wanted:
            yield n, self._analyse(self._power(n, prepared, memory), 2, memory)

    def pull(self, prepared: dict[int, Any], of: Mapping[int, Tensor], memory: Memory) -> Tensor:
        """See Sphere. Σ ν f^(ν−1) h_ν, as Horner evaluates it."""
        f, total = prepared[1], None
        for n in range(max(of), 1, -1):
            if n in of:
                h = self._values(of[n], 2, memory, "h", factor=n)
                total = h if total is None else _sum(total, h, memory, "sum")
            total = self._times(f, total, memory, f"pulled{n % 2}")  # not where the total is
        return self._analyse(total, 0, memory)

    def product(self, factors: Sequence[Tensor], memory: Memory) -> Tensor:
        """See Sphere."""
        values = [self._values(x, 0, memory, f"f{i}") for i, x in enumerate(factors)]
        return self._analyse(self._span(0, len(values), values, {}, memory), 2, memory)

    def pull_product(
        self, factors: Sequence[Tensor], g: Tensor, wanted: Sequence[bool], memory: Memory
    ) -> tuple[Tensor, ...]:
        """See Sphere. What the one half gets is multiplied with the product of the other."""
        values = [self._values(x, 0, memory, f"f{i}") for i, x in enumerate(factors)]
        known: dict[tuple[int, int], Any] = {}
        found = []

        def halve(low: int, high: int, h: Any) -> None:
            if not any(wanted[low:high]):
                return
            if high - low == 1:
                found.append(self._analyse(h, 0, memory).clone())  # the next one takes the same memory
                return
            middle = (low + high) // 2
            for (a, b), other in (((low, middle), (middle, high)), ((middle, high), (low, middle))):
                rest = self._span(*other, values, known, memory)
                halve(a, b, self._times(h, rest, memory, f"pulled{a}-{b}"))

        halve(0, len(values), self._values(g, 2, memory, "h"))
        return tuple(found)

    def _values(self, x: Tensor, s: int, memory: Memory, key: str, factor: int = 1) -> Any:
        if factor != 1:
            x = torch.mul(x, factor, out=memory("scaled", *x.shape))
        return self.engine.synthesise(x, s, memory, key, slopes=False)[0]

    def _analyse(self, values: Any, s: int, memory: Memory) -> Tensor:
        return self.engine.analyse(values, s, memory, None)

    def _times(self, f: Any, g: Any, memory: Memory, key: str) -> Any:
        count = self.engine.channels
        return self.engine.multiply((f,), (g,), (count, count, count), _Named(memory, key))

    def _power(self, n: int, known: dict[int, Any], memory: Memory) -> Any:
        if n not in known:
            low, high = self._power(n // 2, known, memory), self._power(n - n // 2, known, memory)
            known[n] = self._times(low, high, memory, f"power{n}")
        return known[n]

    def _span(self, low: int, high: int, values: list[Any], known: dict[tuple[int, int], Any], memory: Memory) -> Any:
        if high - low == 1:
            return values[low]
        if (low, high) not in known:
            middle = (low + high) // 2
            left = self._span(low, middle, values, known, memory)
            right = self._span(middle, high, values, known, memory)
            known[low, high] = self._times(left, right, memory, f"span{low}-{high}")
        return known[low, high]


class Pairwise(Sphere):
    """Factor by factor with explicit coefficients, every degree kept in between: the slow reference."""

    explicit = False

    def __init__(
        self, slots: tuple[Slot, Slot], correlation: int, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        super().__init__()
        first, last = slots
        kept = [first, *(_all_degrees(n * first.l_max, first.channels) for n in range(2, correlation))]
        forms = [Form((a, first, b)) for a, b in pairwise(kept)]
        self.steps = [_PackedDirect(form, dtype, device) for form in forms]
        self.ends = [_PackedDirect(Form((a, first, last)), dtype, device) for a in kept]
        self.engines = nn.ModuleList([*self.steps, *self.ends])
        self.engine = _PackedDirect(Form((first, first, last)), dtype, device)
        self.slots, self.correlation = slots, correlation

    def floats_per_row(self) -> int:
        """See Sphere."""
        return sum(engine.floats_per_row for engine in (*self.steps, *self.ends))

    def prepare(self, x: Tensor, memory: Memory) -> Tensor:
        """See Sphere; the input itself."""
        return x

    def powers(self, prepared: Tensor, wanted: Sequence[int], memory: Memory) -> Iterator[tuple[int, Tensor]]:
        """See Sphere."""
        for n in wanted:
            yield n, self.product([prepared] * n, memory)

    def product(self, factors: Sequence[Tensor], memory: Memory) -> Tensor:
        """See Sphere."""
        x, *others = factors
        for step, y in zip(self.steps, others[:-1], strict=False):
            x = step.contract(x, y, 0, 1)
        return self.ends[len(others) - 1].contract(x, others[-1], 0, 1)


@dataclass(frozen=True)
class _Named:
    """Places of a memory under names of their own."""

    memory: Memory
    name: str

    def __call__(self, name: str, *shape: int) -> Tensor | None:
        return self.memory(self.name + name, *shape)

    def columns(self, matrix: Tensor, start: int, stop: int) -> Tensor:
        return self.memory.columns(matrix, start, stop)

    def over(self, place: Tensor) -> Tensor | None:
        """A place of its own: a factor is used again."""
        return self("over", *place.shape)


def _all_degrees(l_max: int, channels: int) -> Slot:
    irreps = o3.Irreps([(channels, (l, (-1) ** l)) for l in range(l_max + 1)])
    slot = slot_of(irreps, naturals=True, channels=channels, scale={})
    if slot is None:
        raise ValueError("no degrees")
    return slot


def _sum(f: Any, g: Any, memory: Memory, key: str) -> Any:
    if isinstance(f, list):
        return [_sum(a, b, memory, f"{key}-{c}") for c, (a, b) in enumerate(zip(f, g, strict=True))]
    return torch.add(f, g, out=memory(key, *f.shape))
