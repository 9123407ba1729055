"""`split`: which structures train, validate and test, by a seed that is recorded with the model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from molgen.errors import ConfigError

__all__ = ["split"]


def split(n: int, train: int, validation: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the training, validation and test structures, drawn without replacement; the rest tests.

    The first `train` entries of `numpy.random.default_rng(seed).permutation(n)` (PCG64) train, the next `validation`
    validate.

    Args:
        n: structures in all.
        train: how many train, at least one.
        validation: how many validate.
        seed: of the permutation, not negative.

    Returns:
        Three int64 tensors that share no index and together hold each of 0 … n − 1 once.

    Raises:
        ConfigError: more structures are asked for than there are, or a number is negative.

    >>> [len(part) for part in split(10, 6, 2, seed=0)]
    [6, 2, 2]
    """
    if train < 1 or validation < 0 or seed < 0:
        raise ConfigError(
            f"a split into {train} training and {validation} validation structures with seed {seed}",
            expected="at least one to train on, and nothing negative",
        )
    if train + validation > n:
        raise ConfigError(
            f"{train} training and {validation} validation structures are more than the data's {n}",
            remedy="ask for fewer",
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    return order[:train], order[train : train + validation], order[train + validation :]
