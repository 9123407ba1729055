"""Which molecules are drawn together: planned from the request alone, so that a run can be repeated to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["DEFAULT_BATCH_SIZE", "EDGE_BUDGET", "PlannedBatch", "plan_batches"]

DEFAULT_BATCH_SIZE = 128

# Pairs of atoms in one batch. An activation of 128 float32 channels on every pair is then 128 MB.
EDGE_BUDGET = 2**18

# Fewer molecules of one size than this share a batch with the neighbouring sizes: a step has a fixed cost, and a
# handful of molecules is not worth a batch of its own.
_WORTH_A_BATCH = 8


@dataclass(frozen=True)
class PlannedBatch:
    """Molecules that are drawn together."""

    indices: tuple[int, ...]  # number of each molecule in the whole run
    n_atoms: tuple[int, ...]  # atoms of each

    def as_dict(self) -> dict[str, list[int]]:
        """Plain data for JSON."""
        return {"indices": list(self.indices), "n_atoms": list(self.n_atoms)}


def plan_batches(
    sizes: Tensor | Sequence[int], *, batch_size: int = DEFAULT_BATCH_SIZE, edge_budget: int = EDGE_BUDGET
) -> list[PlannedBatch]:
    """Batches that hold every molecule once, in the order of their first molecule.

    Molecules of one size go together, so that complete graphs are dense; what is left of a size shares a batch with
    its neighbours in size.

    Args:
        sizes: [n] atoms of each molecule.
        batch_size: most molecules in a batch.
        edge_budget: most ordered pairs of atoms in a batch; one molecule that has more is a batch of its own.

    >>> [batch.indices for batch in plan_batches([3, 5, 3, 3], batch_size=2)]
    [(0, 2), (3, 1)]
    """
    counts = [int(size) for size in sizes]
    by_size: dict[int, list[int]] = {}
    for index, size in enumerate(counts):
        by_size.setdefault(size, []).append(index)

    groups: list[list[int]] = []
    leftovers: list[int] = []
    for size in sorted(by_size):
        members = by_size[size]
        room = max(1, min(batch_size, edge_budget // max(1, size * (size - 1))))
        for start in range(0, len(members), room):
            group = members[start : start + room]
            if len(group) >= min(room, _WORTH_A_BATCH):
                groups.append(group)
            else:
                leftovers.extend(group)
    groups.extend(_fill(leftovers, counts, batch_size, edge_budget))
    groups = [sorted(group, key=lambda index: (counts[index], index)) for group in groups]
    groups.sort(key=min)
    return [PlannedBatch(tuple(group), tuple(counts[index] for index in group)) for group in groups]


def _fill(members: list[int], counts: list[int], batch_size: int, edge_budget: int) -> list[list[int]]:
    """The members in order, cut where the next one would exceed the batch size or the budget."""
    groups: list[list[int]] = []
    edges = 0
    for index in members:
        cost = counts[index] * (counts[index] - 1)
        if not groups or len(groups[-1]) >= batch_size or edges + cost > edge_budget:
            groups.append([])
            edges = 0
        groups[-1].append(index)
        edges += cost
    return groups
