"""A limit on what a model may allocate while it is built from a file that nobody vouches for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["AllocationBudget", "BudgetError"]

_BYTES = 8  # of an element, whatever its dtype: the budget is generous


class BudgetError(RuntimeError):
    """More was asked for than the budget holds."""


class AllocationBudget(TorchDispatchMode):
    """Raises BudgetError before torch allocates more than so many bytes in all, what is freed again included.

    Operators are seen by the argument `size` that torch's factories of empty, constant and random tensors have.

    >>> import torch
    >>> with AllocationBudget(10**6):
    ...     torch.zeros(10**9)
    Traceback (most recent call last):
    molgen.models.budget.BudgetError: it asks for 8000000000 bytes, above the limit of 1000000
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.asked = limit, 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count, then let torch go on."""
        first = func._schema.arguments[0].name if func._schema.arguments else ""
        if first == "size":
            self.asked += _BYTES * math.prod(args[0])
            if self.asked > self.limit:
                raise BudgetError(f"it asks for {self.asked} bytes, above the limit of {self.limit}")
        return func(*args, **(kwargs or {}))
