"""Which structures of a run train, and which are held out."""

from __future__ import annotations

from torch import Tensor

from molgen.data.splits import split
from molgen.errors import ConfigError
from molgen.training.config import DataSection

__all__ = ["train_and_held_out"]

_MOST_HELD_OUT = 1000


def train_and_held_out(section: DataSection, size: int) -> tuple[Tensor, Tensor]:
    """Numbers of the structures to train on, and of those to validate on, of a data set of some size.

    Raises:
        ConfigError: more structures are asked for than there are.
    """
    held_out = min(_MOST_HELD_OUT, size // 10) if section.validation is None else section.validation
    if held_out >= size:
        raise ConfigError(
            f"{held_out} of {size} structures are to be held out",
            where="data.validation",
            remedy="hold fewer out, so that some are left to train on",
        )
    train = size - held_out if section.train is None else section.train
    numbers, validation, _ = split(size, train, held_out, section.split_seed)
    return numbers, validation
