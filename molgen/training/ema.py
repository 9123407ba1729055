"""An exponential moving average of the weights: what is validated and shipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage"]


class MovingAverage:
    """The moving average of a module's parameters, in float32 or better.

    The decay of update n (from 0) is min(decay, (1 + n)/(10 + n)), so that the first, random weights fade fast.
    Buffers are not averaged: they are constants, or counts that the module keeps itself.

    Args:
        module: whose parameters are averaged.
        decay: between 0 (no averaging) and 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._module = module
        self._names = [name for name, _ in module.named_parameters()]
        self._parameters = [parameter for _, parameter in module.named_parameters()]
        self._averages = [
            parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32), copy=True)
            for parameter in self._parameters
        ]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights of now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = [
            parameter.to(average.dtype) for parameter, average in zip(self._parameters, self._averages, strict=True)
        ]
        torch._foreach_lerp_(self._averages, weights, 1.0 - decay)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the module has the averaged weights; afterwards its own again, to the bit."""
        own = [parameter.detach().clone() for parameter in self._parameters]
        self._overwrite(self._averages)
        try:
            yield
        finally:
            self._overwrite(own)

    def weights(self) -> dict[str, Tensor]:
        """The module's state_dict with averaged parameters, in the module's dtype."""
        with self.applied():
            return {name: value.detach().clone() for name, value in self._module.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """The averages by parameter name."""
        return dict(zip(self._names, self._averages, strict=True))

    @torch.no_grad()
    def load(self, averages: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a saved state."""
        for name, average in zip(self._names, self._averages, strict=True):
            average.copy_(averages[name])
        self.updates = updates

    @torch.no_grad()
    def _overwrite(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
