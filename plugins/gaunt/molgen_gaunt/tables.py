"""Constant tables that keep float64 precision through every change of dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from molgen.errors import ConfigError

__all__ = ["DTYPES", "Tables"]

DTYPES: Final = (torch.float32, torch.float64)


class Tables(nn.Module):
    """A module whose constants are made from float64 at whatever dtype and device it is moved to.

    A plain buffer that was made in float32 keeps float32's digits after `module.double()`; these don't.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        self._masters: dict[str, NDArray[Any]] = {}
        self.dtype, self.device = dtype, torch.device(device)

    def constant(self, name: str, values: NDArray[Any]) -> None:
        """A buffer `name`, of the module's dtype; integers stay integers."""
        self._masters[name] = values = np.ascontiguousarray(values)
        self.register_buffer(name, self._made(values), persistent=False)

    def _made(self, values: NDArray[Any]) -> Tensor:
        dtype = self.dtype if values.dtype.kind == "f" else torch.int64
        return torch.as_tensor(values, dtype=dtype, device=self.device)

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
        if probe.dtype not in DTYPES:
            raise ConfigError(
                f"a tensor product can't compute in {probe.dtype}",
                expected="float32 or float64",
                remedy="for training in mixed precision leave it float32 and use autocast",
            )
        lost = probe.dtype != self.dtype or (self.device.type == "meta" and probe.device.type != "meta")
        super()._apply(fn, recurse)
        self.dtype, self.device = probe.dtype, probe.device
        if lost:
            for name, values in self._masters.items():
                setattr(self, name, self._made(values))
        return self
