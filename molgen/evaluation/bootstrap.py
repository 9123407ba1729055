"""95 % intervals of errors by resampling structures, since the atoms of one structure share their fate."""

from __future__ import annotations

import numpy as np

__all__ = ["intervals"]

_RESAMPLES = 1000
_MOST_GROUPS = 2000  # structures that are resampled one by one; of more, random groups are


def intervals(sums: np.ndarray, counts: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
    """Lower and upper ends of the 95 % intervals of means, by the percentiles of resampled data sets.

    Args:
        sums: [B, K] sums over the numbers of each structure, of K quantities.
        counts: [B] how many numbers each structure has, none of them zero.
        seed: of the resampling.

    Returns:
        [K] and [K]; None of fewer than two structures, of which nothing can be told.

    >>> low, high = intervals(np.array([[1.0], [2.0], [3.0]]), np.ones(3))
    >>> bool(low[0] < 2.0 < high[0])
    True
    """
    if len(counts) < 2:
        return None
    random = np.random.default_rng(seed)
    table = np.column_stack((sums, counts))
    if len(table) > _MOST_GROUPS:
        # sums of random groups vary from one to another as much as their members make them
        group = random.permutation(len(table)) % _MOST_GROUPS
        grouped = np.zeros((_MOST_GROUPS, table.shape[1]))
        np.add.at(grouped, group, table)
        table = grouped
    n = len(table)
    times = random.multinomial(n, np.full(n, 1.0 / n), size=_RESAMPLES)  # [resamples, n] how often each is drawn
    drawn = times @ table
    means = drawn[:, :-1] / drawn[:, -1:]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low, high
