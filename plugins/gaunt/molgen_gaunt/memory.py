"""Memory for intermediate results that a loop over rows reuses, and that a thread keeps from call to call."""

from __future__ import annotations

import math
import threading
from typing import Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

__all__ = ["Fresh", "Memory", "Reused", "kept_memory"]

_local = threading.local()


class Memory(Protocol):
    """Where a step of a computation puts its result: `out=memory("name", rows, columns)`."""

    def __call__(self, name: str, *shape: int) -> Tensor | None:
        """A place of a shape, or None for a new one."""

    def columns(self, matrix: Tensor, start: int, stop: int) -> Tensor:
        """A range of columns."""

    def over(self, place: Tensor) -> Tensor | None:
        """The place itself, for a result that may take the memory of what it is made of."""


class Fresh:
    """New memory for every result, as differentiation and compilation need it."""

    def __call__(self, name: str, *shape: int) -> None:
        """None."""
        return None

    def columns(self, matrix: Tensor, start: int, stop: int) -> Tensor:
        """A range of columns."""
        return matrix[:, start:stop]

    def over(self, place: Tensor) -> None:
        """None: what is differentiated keeps what it is made of."""
        return None


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

    def over(self, place: Tensor) -> Tensor:
        """The place."""
        return place

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


def kept_memory(x: Tensor) -> Reused:
    """Memory of this thread on a CPU, where mapping pages anew costs as much as a small product; else new memory."""
    # what tracing and fake tensors make must not be found by later calls
    plain = type(x) in (Tensor, torch.nn.Parameter) and _get_current_dispatch_mode() is None
    if x.device.type != "cpu" or not plain:
        return Reused(x.dtype, x.device)
    kept: dict[tuple[torch.dtype, bool], Reused] = _local.__dict__.setdefault("memory", {})
    key = x.dtype, torch.is_inference_mode_enabled()  # what inference mode makes can't be written outside of it
    if key not in kept:
        kept[key] = Reused(x.dtype, x.device)
    return kept[key]
