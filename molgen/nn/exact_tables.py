"""Constant tables in float64 that a module keeps whatever it is converted to in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn

__all__ = ["ExactTables"]


class ExactTables(nn.Module):
    """A module whose constants are made anew at each conversion, so that `.float().double()` costs no digits."""

    def __init__(self) -> None:
        super().__init__()
        self._masters: dict[str, Tensor] = {}

    def table(self, name: str, values: Tensor) -> None:
        """Keep a constant as the buffer `name`, which is no part of checkpoints."""
        self._masters[name] = values.detach().clone()
        self.register_buffer(name, values, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for name, values in self._masters.items():
            buffer = getattr(self, name)
            if buffer.device.type != "meta":
                setattr(self, name, values.to(buffer.device, buffer.dtype))
        return self
