"""What the loop knows of a task: a model, losses per structure, and how the model is written to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from molgen.random import Streams
from molgen.structures import Structures

__all__ = ["Dataset", "Objective", "Task"]


class Objective(Protocol):
    """A task to be trained. `Streams` are those of the samples, counted over the whole run."""

    model: nn.Module

    @property
    def identity(self) -> Mapping[str, object]:
        """Plain data: what shapes the model. A saved state of another is refused."""
        ...

    def loss(self, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """`loss` and its named parts, each [B], differentiable in the model's parameters."""
        ...

    def validation(self, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """The same as measured on held-out structures, without a graph."""
        ...

    def export(self, path: Path, weights: Mapping[str, Tensor], training: Mapping[str, object]) -> None:
        """Write the model file whole or not at all.

        Args:
            path: of the file.
            weights: the model's state_dict, as it is to be shipped.
            training: what the file is to tell of the run: samples, steps, hours, hardware, losses.
        """
        ...


class Dataset(Protocol):
    """Structures that are read by number; `molgen.data.cache.Cache` is one."""

    n_atoms: Tensor  # [n] int64

    @property
    def fingerprint(self) -> str:
        """Hash of the content."""
        ...

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        ...

    def __len__(self) -> int: ...

    def structures(self, indices: Tensor) -> Structures:
        """The structures of some numbers, in that order."""
        ...


class Task(Protocol):
    """The components of a config, resolved and checked."""

    def objective(self, dataset: Dataset, train: Tensor) -> Objective:
        """The objective on a data set.

        Args:
            dataset: all structures.
            train: [n] int64, those to train on; statistics are measured of them.
        """
        ...
