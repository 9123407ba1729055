"""Constant tables that keep float64 precision through changes of dtype, and memory that a loop over rows reuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Fresh", "Memory", "Reused", "Tables"]


class Tables(nn.Module):
    """A module whose constants are made from float64 at whatever dtype and device it is moved to.

    A plain buffer that was made in float32 keeps float32's digits after `module.double()`; these don't.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        self._masters: dict[str, NDArray[np.float64]] = {}
        self.dtype, self.device = dtype, torch.device(device)

    def constant(self, name: str, values: NDArray[Any]) -> None:
        """A buffer `name`, of the module's dtype; integers stay integers."""
        values = np.ascontiguousarray(values)
        if values.dtype.kind == "f":
            self._masters[name] = values
            self.register_buffer(name, torch.as_tensor(values, dtype=self.dtype, device=self.device), persistent=False)
        else:
            self.register_buffer(name, torch.as_tensor(values, device=self.device), persistent=False)

    def table(self, name: str) -> Tensor:
        """A constant; without the search that attributes of modules take, which small products would notice."""
        found = self._buffers[name]
        assert found is not None
        return found

    def has(self, name: str) -> bool:
        """Whether there is a constant of this name."""
        return name in self._buffers

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Tables:
        probe = fn(torch.empty(0, dtype=self.dtype, device=self.device))
        super()._apply(fn, recurse)
        if probe.dtype != self.dtype:
            for name, values in self._masters.items():
                setattr(self, name, torch.as_tensor(values, dtype=probe.dtype, device=probe.device))
        self.dtype, self.device = probe.dtype, probe.device
        return self


class Memory(Protocol):
    """Where a step of a computation puts its result: `out=memory("name", rows, columns)`."""

    def __call__(self, name: str, *shape: int) -> Tensor | None:
        """A place of a shape, or None for a new one."""

    def columns(self, matrix: Tensor, start: int, stop: int) -> Tensor:
        """A range of columns."""


class Fresh:
    """New memory for every result, as differentiation and compilation need it."""

    def __call__(self, name: str, *shape: int) -> None:
        """None."""
        return None

    def columns(self, matrix: Tensor, start: int, stop: int) -> Tensor:
        """A range of columns."""
        return matrix[:, start:stop]


class Reused:
    """One block per name, kept from one chunk of rows to the next: it stays in the cache and is mapped once.

    Views are kept too, since making one costs as much as a small matrix product.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.blocks: dict[str, Tensor] = {}
        self.views: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """A place of a shape; its former content is lost."""
        view = self.views.get((name, shape))
        return self._view(name, shape) if view is None else view

    def columns(self, matrix: Tensor, start: int, stop: int) -> Tensor:
        """A range of columns of a place."""
        key = id(matrix), start, stop  # a place lives as long as its columns: both are kept here
        found = self.views.get(key)
        if found is None:
            found = matrix[:, start:stop]
            if any(matrix is view for view in self.views.values()):
                self.views[key] = found
        return found

    def _view(self, name: str, shape: tuple[int, ...]) -> Tensor:
        size = math.prod(shape)
        block = self.blocks.get(name)
        if block is None or block.numel() < size or len(self.views) >= _MOST_VIEWS:
            self.views.clear()
            if block is None or block.numel() < size:
                block = self.blocks[name] = torch.empty(size, dtype=self.dtype, device=self.device)
        view = self.views[name, shape] = block[:size].view(shape)
        return view


_MOST_VIEWS = 512  # then all are forgotten: inputs of ever new sizes must not fill the memory
