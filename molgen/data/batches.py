"""Batches of structures that all have the same number of atoms, so that their graphs are dense.

Each number of atoms n has an endless stream: the permutations of its members, one per epoch, end to end. Batches are
cut from it one after the other, so all have full size and nothing is left over; epoch e takes those whose end lies
beyond what e epochs filled and within what e + 1 fill. So the number of batches before an epoch has a closed form,
and any batch is a pure function of (seed, step): a run resumes from its step number alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from molgen.errors import ConfigError

__all__ = ["Buckets", "every_batch"]

_LARGEST_STEP = 1 << 40  # far beyond any run, and with room for the products in int64
_ORDER = 1 << 32  # a stream of its own for the order of batches; no structure has as many atoms


class Buckets:
    """An endless sequence of batches of equal-sized structures, in a shuffled order, each drawn by its step.

    Over E epochs each structure is drawn E times, at most one less while its batch waits to be filled.

    Args:
        n_atoms: [n] atoms of each structure.
        batch_size: structures in a batch; fewer where only fewer have this number of atoms.
        seed: of the order, not negative.
        max_edges: upper bound on B·n·(n − 1) of a batch, so that large structures come in smaller batches (a batch
            has at least one structure).

    Raises:
        ConfigError: no structures, or a parameter that is not positive.

    >>> buckets = Buckets(torch.tensor([3, 5, 3, 3]), batch_size=2, seed=0)
    >>> sorted(len(buckets.batch(step)) for step in range(buckets.batches_before(1)))
    [1, 2]
    """

    def __init__(self, n_atoms: Tensor, *, batch_size: int, seed: int, max_edges: int | None = None) -> None:
        self.seed = seed
        self._members = _members(n_atoms, batch_size, max_edges)
        if seed < 0:
            raise ConfigError(f"the seed {seed} of the batches is negative", expected="0 or more")
        sizes = sorted(self._members)
        self._sizes = sizes
        self._counts = np.array([len(self._members[size][0]) for size in sizes], dtype=np.int64)
        self._widths = np.array([self._members[size][1] for size in sizes], dtype=np.int64)
        self._epoch = -1
        self._plan: list[np.ndarray] = []

    def batches_before(self, epoch: int) -> int:
        """How many batches all earlier epochs have; with 1, the length of the first."""
        return int((epoch * self._counts // self._widths).sum())

    def epoch_of(self, step: int) -> int:
        """The epoch that a step lies in.

        Raises:
            ConfigError: a negative step.
        """
        if not 0 <= step < _LARGEST_STEP:
            raise ConfigError(f"there is no step {step}", expected=f"0 to {_LARGEST_STEP - 1}")
        # a batch per epoch at least, since no batch is wider than its bucket
        low, high = 0, step + 1
        rate = float((self._counts / self._widths).sum())
        low = max(low, int(step / rate) - 1)
        high = min(high, int((step + len(self._sizes)) / rate) + 2)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.batches_before(middle) <= step else (low, middle)
        return low

    def batch(self, step: int) -> Tensor:
        """[B] int64: which structures make the batch of this step, all with the same number of atoms.

        Raises:
            ConfigError: a negative step.
        """
        epoch = self.epoch_of(step)
        if epoch != self._epoch:
            self._plan, self._epoch = self._planned(epoch), epoch
        return torch.from_numpy(self._plan[step - self.batches_before(epoch)])

    def _planned(self, epoch: int) -> list[np.ndarray]:
        batches: list[np.ndarray] = []
        for size, count, width in zip(self._sizes, self._counts.tolist(), self._widths.tolist(), strict=True):
            first, last = epoch * count // width, (epoch + 1) * count // width
            start = first * width  # in the stream of this size; in this epoch's permutation or the one before
            origin = start // count
            stream = np.concatenate([self._permuted(size, number) for number in range(origin, epoch + 1)])
            piece = stream[start - origin * count : last * width - origin * count]
            batches.extend(piece.reshape(-1, width))
        order = np.random.default_rng([self.seed, epoch, _ORDER]).permutation(len(batches))
        return [batches[index] for index in order]

    def _permuted(self, size: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch, size]).permutation(self._members[size][0])


def every_batch(n_atoms: Tensor, *, batch_size: int, max_edges: int | None = None) -> list[Tensor]:
    """Batches that hold each structure once, small ones first, the last of each size shorter: for evaluation.

    Args and errors are those of :class:`Buckets`.

    >>> every_batch(torch.tensor([3, 5, 3, 3]), batch_size=2)
    [tensor([0, 2]), tensor([3]), tensor([1])]
    """
    return [
        torch.from_numpy(members[start : start + width])
        for _, (members, width) in sorted(_members(n_atoms, batch_size, max_edges).items())
        for start in range(0, len(members), width)
    ]


def _members(n_atoms: Tensor, batch_size: int, max_edges: int | None) -> dict[int, tuple[np.ndarray, int]]:
    """For each number of atoms, the structures that have it, and how many of them make a batch."""
    if batch_size < 1 or (max_edges is not None and max_edges < 1):
        raise ConfigError(f"batches of {batch_size} structures and {max_edges} edges", expected="at least 1")
    counts = n_atoms.detach().cpu().numpy().astype(np.int64)
    if counts.size == 0:
        raise ConfigError("there are no structures to make batches of")
    members: dict[int, tuple[np.ndarray, int]] = {}
    order = np.argsort(counts, kind="stable")
    sizes, starts = np.unique(counts[order], return_index=True)
    for size, group in zip(sizes.tolist(), np.split(order, starts[1:]), strict=True):
        room = batch_size if max_edges is None else max_edges // max(size * (size - 1), 1)
        members[size] = (group, max(1, min(batch_size, room, len(group))))
    return members
