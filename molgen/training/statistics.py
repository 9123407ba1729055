"""What is measured of the training data before the first step, and stored with the model."""

from __future__ import annotations

import torch
from torch import Tensor

from molgen.interfaces import Schema
from molgen.training.objective import Dataset

__all__ = ["measure_schema", "measure_statistics"]

_CHUNK = 10_000  # structures held in memory at a time


def measure_schema(dataset: Dataset, train: Tensor) -> Schema:
    """The elements of the data, and how many training molecules have how many atoms."""
    sizes, counts = torch.unique(dataset.n_atoms[train], return_counts=True)
    histogram = dict(zip(sizes.tolist(), counts.tolist(), strict=True))
    return Schema(elements=tuple(int(number) for number in dataset.elements), size_counts=histogram)


def measure_statistics(dataset: Dataset, train: Tensor) -> dict[str, float]:
    """`sigma_data` and `average_neighbors` of the training molecules.

    `sigma_data` (Å) is the standard deviation of a coordinate about its molecule's centre, over all atoms.
    `average_neighbors` is the mean over atoms of how many others their molecule has, as complete graphs count.
    """
    squares, atoms, neighbors = 0.0, 0, 0
    for chosen in train.split(_CHUNK):
        batch = dataset.structures(chosen)
        positions = batch.positions.to(torch.float64)
        sums = torch.zeros(len(batch), 3, dtype=torch.float64).index_add_(0, batch.batch, positions)
        centred = positions - (sums / batch.n_atoms[:, None])[batch.batch]
        squares += float(centred.square().sum())
        atoms += len(positions)
        neighbors += int((batch.n_atoms * (batch.n_atoms - 1)).sum())
    return {"sigma_data": (squares / (3 * atoms)) ** 0.5, "average_neighbors": max(neighbors / atoms, 1.0)}
