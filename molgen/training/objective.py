"""What the loop knows of a task: a model, losses per structure, and how the model is written to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from molgen.random import Streams
from molgen.structures import Structures

__all__ = ["Batches", "Dataset", "Objective", "Task"]


class Objective(Protocol):
    """A task to be trained. `Streams` are those of the samples, counted over the whole run."""

    model: nn.Module

    @property
    def identity(self) -> Mapping[str, object]:
        """Plain data: what shapes the model. A saved state of another is refused."""
        ...

    def batches(self, numbers: Tensor) -> Batches:
        """The order in which the structures of some numbers [n] are trained on."""
        ...

    def every_batch(self, numbers: Tensor) -> list[Tensor]:
        """Batches, places in `numbers`, that hold each structure once: for validation."""
        ...

    def loss(self, batch: Structures, streams: Streams, *, final: bool) -> dict[str, Tensor]:
        """`loss` and its named parts, each [B], differentiable in the model's parameters.

        `final` says that the run is in its last part, where the learning rate falls.
        """
        ...

    def validation(self, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """`loss` and parts as measured on held-out structures, without a graph."""
        ...

    def measured(self, parts: Sequence[str]) -> Sequence[str]:
        """The names that `figures` returns, given those that `loss` returned."""
        ...

    def figures(self, means: Mapping[str, float]) -> dict[str, float]:
        """What is logged of the means of `validation`; `loss` is one of them."""
        ...

    def describe(self, means: Mapping[str, float]) -> str:
        """What a person is told of the figures."""
        ...

    def export(self, path: Path, weights: Mapping[str, Tensor], training: Mapping[str, object]) -> None:
        """Write the model file whole or not at all.

        Args:
            path: of the file.
            weights: the model's state_dict, as it is to be shipped.
            training: what the file is to tell of the run: samples, steps, hours, hardware, losses.
        """
        ...


class Batches(Protocol):
    """An endless sequence of batches, each drawn by its step."""

    def batch(self, step: int) -> Tensor:
        """[B] int64: which structures make the batch of this step."""
        ...


class Dataset(Protocol):
    """Structures that are read by number; `molgen.data.cache.Cache` is one."""

    @property
    def n_atoms(self) -> Tensor:
        """[n] int64."""
        ...

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

    def dataset(self) -> Dataset:
        """The data that the config names."""
        ...

    def split(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """Numbers of the structures to train on, and of those that are held out."""
        ...

    def objective(self, dataset: Dataset, train: Tensor) -> Objective:
        """The objective on a data set.

        Args:
            dataset: all structures.
            train: [n] int64, those to train on; statistics are measured of them.
        """
        ...
