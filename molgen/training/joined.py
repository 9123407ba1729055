"""Two data sets as one: structures to train on, and others to validate on."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from molgen.elements import SYMBOLS
from molgen.errors import ConfigError
from molgen.structures import Structures, concatenate
from molgen.training.objective import Dataset

__all__ = ["Joined"]


class Joined:
    """The structures of one data set, and after them those of another; a `Dataset`.

    Raises:
        ConfigError: the second one has elements that the first doesn't.
    """

    def __init__(self, first: Dataset, second: Dataset) -> None:
        new = [SYMBOLS[number] for number in second.elements if number not in first.elements]
        if new:
            raise ConfigError(
                f"validation has {', '.join(new)}, which training has not",
                where="data.validation_path",
                remedy="train on all elements",
            )
        self._first, self._second = first, second
        self.n_atoms = torch.cat((first.n_atoms, second.n_atoms))

    @property
    def fingerprint(self) -> str:
        """Hash of both."""
        return hashlib.sha256(f"{self._first.fingerprint}{self._second.fingerprint}".encode()).hexdigest()

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return self._first.elements

    def __len__(self) -> int:
        return len(self.n_atoms)

    def structures(self, indices: Tensor) -> Structures:
        """The structures of some numbers, in that order."""
        size = len(self._first)
        late = indices >= size
        if late.all() and len(indices):
            return self._second.structures(indices - size)
        if not late.any():
            return self._first.structures(indices)
        both = concatenate((self._first.structures(indices[~late]), self._second.structures(indices[late] - size)))
        order = torch.cat((late.logical_not().nonzero()[:, 0], late.nonzero()[:, 0]))
        return both.select(torch.argsort(order))
