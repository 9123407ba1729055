"""One step's structures and random numbers: a pure function of the step, so that nothing of it needs saving."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from molgen.random import Streams
from molgen.structures import Structures
from molgen.training.objective import Batches, Dataset

__all__ = ["Feed", "Sample"]

_INDEX_MASK = 0xFFFFFFFF  # Streams number molecules with 32 bits


class Sample:
    """A batch and its streams; no dataclass, so that Fabric hands it on untouched."""

    def __init__(
        self, batch: Structures, streams: Streams, total: int, weight: float = 1.0, final: bool = False
    ) -> None:
        self.batch = batch
        self.streams = streams
        self.total = total  # structures of the whole step, over all processes
        self.mine = int(len(batch) * weight)  # those of this process
        self.final = final  # whether the run is in its last part
        self.weight = weight  # 0 where a process has a stand-in because the step has fewer structures than processes


@dataclass(frozen=True, eq=False)
class Feed:
    """Training samples by step, shared out over processes."""

    dataset: Dataset
    train: Tensor  # [n] int64 numbers of the training structures in the dataset
    batches: Batches
    seed: int
    device: torch.device
    rank: int = 0  # of this process
    world: int = 1  # processes

    def sample(self, step: int, done: int, *, final: bool = False) -> Sample:
        """This process' part of a step.

        Args:
            step: from 0.
            done: samples seen before it, over all processes; numbers the streams.
            final: whether the run is in its last part.
        """
        positions = self.batches.batch(step)  # [b] in the training set
        mine = torch.arange(len(positions))[self.rank :: self.world]
        weight = 1.0 if len(mine) else 0.0
        mine = mine if len(mine) else torch.zeros(1, dtype=torch.int64)
        batch = self.dataset.structures(self.train[positions[mine]]).to(self.device)
        streams = Streams(self.seed, (mine + done) & _INDEX_MASK, self.device)
        return Sample(batch, streams, len(positions), weight, final)
