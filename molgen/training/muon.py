"""Muon for matrices and for stacks of them, which torch's own doesn't take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch.optim import Muon
else:  # torch 2.9 or later
    Muon = getattr(torch.optim, "Muon", torch.optim.Optimizer)

__all__ = ["StackedMuon"]


class StackedMuon(Muon):
    """torch's Muon (Jordan 2024), where a parameter [L, n, m] is L matrices [n, m], each with a step of its own.

    Args:
        parameters: of two or three dimensions.
        **options: as torch's.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], **options: object) -> None:
        # torch's optimiser moves the slices, which share the parameters' memory
        self._slices = [(p, [nn.Parameter(each) for each in p.detach().view(-1, *p.shape[-2:])]) for p in parameters]
        super().__init__([each for _, slices in self._slices for each in slices], **options)  # type: ignore[arg-type]

    def step(self, closure: Callable | None = None) -> float | None:  # type: ignore[override]
        """One step of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for parameter, slices in self._slices:
            gradients = [None] * len(slices)
            if parameter.grad is not None:
                gradients = parameter.grad.view(-1, *parameter.shape[-2:]).unbind()  # type: ignore[assignment]
            for each, gradient in zip(slices, gradients, strict=True):
                each.grad = gradient
        super().step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of the parameters themselves."""
        for parameter, _ in self._slices:
            parameter.grad = None if set_to_none or parameter.grad is None else parameter.grad.zero_()
