"""The loss of held-out structures, under the same noise each time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from molgen.random import Streams
from molgen.training.batches import Sample
from molgen.training.objective import Dataset, Objective

__all__ = ["summed", "validate", "validation_samples"]

_SEED = 0x76616C  # the same in every run, so that runs can be compared


def validation_samples(
    dataset: Dataset,
    numbers: Tensor,
    batches: Sequence[Tensor],
    device: torch.device,
    *,
    rank: int = 0,
    world: int = 1,
) -> list[Sample]:
    """Held-out structures with fixed streams; kept in memory, as they are few.

    Args:
        dataset: holds them.
        numbers: [n] int64, which ones.
        batches: places in `numbers`, each once.
        device: where they are wanted.
        rank: of this process, which gets its share.
        world: number of processes.
    """
    # with fewer batches than processes each measures all of them: the mean is the same
    mine = batches[rank::world] if len(batches) >= world else batches
    return [
        Sample(dataset.structures(numbers[chosen]).to(device), Streams(_SEED, chosen, device), len(chosen))
        for chosen in mine
    ]


def validate(objective: Objective, samples: Sequence[Sample], fabric: Fabric) -> dict[str, float]:
    """Mean loss and parts over the samples of all processes."""
    objective.model.eval()
    sums: dict[str, Tensor] = {}
    count = 0
    try:
        with fabric.autocast():
            for sample in samples:
                for name, value in objective.validation(sample.batch, sample.streams).items():
                    part = value.detach().sum(dtype=torch.float64)
                    sums[name] = sums[name] + part if name in sums else part
                count += sample.total
    finally:
        objective.model.train()
    return summed(sums, count, fabric)


def summed(sums: dict[str, Tensor], count: int, fabric: Fabric) -> dict[str, float]:
    """Means by name: sums of all processes by the number of all their structures."""
    if not sums:
        return {}
    total = torch.stack([*sums.values(), next(iter(sums.values())).new_tensor(float(count))])
    total = fabric.all_reduce(total, reduce_op="sum") if fabric.world_size > 1 else total  # type: ignore[assignment]
    *parts, number = total.tolist()
    return {name: part / number for name, part in zip(sums, parts, strict=True)}
