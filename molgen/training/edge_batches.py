"""Batches of structures with about as many edges each, drawn by step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from molgen.errors import ConfigError

__all__ = ["EdgeBatches", "in_order"]

_WINDOW = 16  # batches that are sorted by edges together


class EdgeBatches:
    """An endless sequence of batches; which structures make one is a pure function of (seed, step).

    An epoch is a permutation of all structures. Stretches of it are sorted by number of edges and cut into batches, so
    that a batch holds structures of like size, and the batches are shuffled. A batch that would have more than
    `max_edges` ends earlier; it has one structure at least.

    Args:
        edges: [n] edges of each structure.
        batch_size: structures in a batch, at most.
        seed: of the order, not negative.
        max_edges: edges in a batch, at most.

    Raises:
        ConfigError: no structures, or a parameter that is not positive.

    >>> batches = EdgeBatches(torch.tensor([6, 2, 6]), batch_size=2, seed=0)
    >>> sorted(len(batches.batch(step)) for step in range(2))
    [1, 2]
    """

    def __init__(self, edges: Tensor, *, batch_size: int, seed: int, max_edges: int | None = None) -> None:
        _check(edges, batch_size, max_edges)
        self._edges = edges.numpy().astype(np.int64)
        self._size, self._seed, self._max = batch_size, seed, max_edges
        self._begins = [0]  # first step of each epoch that is known, and of the next
        self._plan: tuple[int, list[np.ndarray]] = (-1, [])

    def batch(self, step: int) -> Tensor:
        """[B] int64: which structures make the batch of this step."""
        while self._begins[-1] <= step:
            self._begins.append(self._begins[-1] + len(self._planned(len(self._begins) - 1)))
        epoch = int(np.searchsorted(self._begins, step, side="right")) - 1
        return torch.from_numpy(self._planned(epoch)[step - self._begins[epoch]])

    def _planned(self, epoch: int) -> list[np.ndarray]:
        if self._plan[0] != epoch:
            random = np.random.default_rng([self._seed, epoch])
            order = random.permutation(len(self._edges))
            batches: list[np.ndarray] = []
            for start in range(0, len(order), _WINDOW * self._size):
                window = order[start : start + _WINDOW * self._size]
                window = window[np.argsort(self._edges[window], kind="stable")]
                batches.extend(_cut(window, self._edges, self._size, self._max))
            self._plan = epoch, [batches[index] for index in random.permutation(len(batches))]
        return self._plan[1]


def in_order(edges: Tensor, *, batch_size: int, max_edges: int | None = None) -> list[Tensor]:
    """Batches that hold each structure once, those of few edges first: for evaluation. Arguments as `EdgeBatches`."""
    if not len(edges):
        return []
    _check(edges, batch_size, max_edges)
    counts = edges.numpy()
    return [torch.from_numpy(each) for each in _cut(np.argsort(counts, kind="stable"), counts, batch_size, max_edges)]


def _cut(order: np.ndarray, edges: np.ndarray, size: int, most: int | None) -> list[np.ndarray]:
    if most is None:
        return [order[start : start + size] for start in range(0, len(order), size)]
    batches, start, total = [], 0, 0
    for place, number in enumerate(order):
        if place > start and (place - start >= size or total + edges[number] > most):
            batches.append(order[start:place])
            start, total = place, 0
        total += edges[number]
    return [*batches, order[start:]]


def _check(edges: Tensor, batch_size: int, max_edges: int | None) -> None:
    if batch_size < 1 or (max_edges is not None and max_edges < 1):
        raise ConfigError(f"batches of {batch_size} structures and {max_edges} edges", expected="at least 1")
    if not len(edges):
        raise ConfigError("there are no structures to make batches of")
