"""Many structures at once: batches of like size, each one pass of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from molgen.errors import ConfigError, StructureError
from molgen.neighbors import Graph
from molgen.simulation.admission import Admission, refuse_coincident, renamed
from molgen.simulation.evaluation import Model, OutOfMemoryError, evaluate, out_of_memory, results_of
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["evaluate_batches", "plan"]


def plan(sizes: Sequence[int], batch_size: int | None, max_atoms: int) -> list[list[int]]:
    """Which structures go together: neighbours in the order of their sizes, the largest first.

    Args:
        sizes: atoms of each structure.
        batch_size: most structures in a batch; None for as many as `max_atoms` lets in.
        max_atoms: most atoms in a batch, but for a single structure that has more.

    Raises:
        ConfigError: a limit below one.

    >>> plan([3, 9, 3, 8], None, 12)
    [[1], [3, 0], [2]]
    """
    for name, limit in (("batch_size", batch_size), ("max_atoms", max_atoms)):
        if limit is not None and limit < 1:
            raise ConfigError(f"{name} is {limit}", where=name, expected="at least 1")
    batches: list[list[int]] = []
    atoms = 0
    # memory that the first batch gets suffices for those that follow
    for index in sorted(range(len(sizes)), key=lambda each: -sizes[each]):
        full = batches and batch_size is not None and len(batches[-1]) >= batch_size
        if not batches or full or atoms + sizes[index] > max_atoms:
            batches.append([])
            atoms = 0
        batches[-1].append(index)
        atoms += sizes[index]
    return batches


def evaluate_batches(
    model: Model,
    admission: Admission,
    frames: Sequence[Atoms],
    *,
    forces: bool,
    stress: bool,
    batch_size: int | None,
    max_atoms: int,
) -> list[dict[str, Any]]:
    """What `results_of` gives for each of the frames, in their order.

    A batch that doesn't fit in memory is halved.

    Raises:
        StructureError: with the index of the frame.
        OutOfMemoryError: a single frame that doesn't fit.
    """
    results: list[dict[str, Any]] = [{} for _ in frames]
    for batch in plan([len(frame) for frame in frames], batch_size, max_atoms):
        for indices, found in _halved(model, admission, frames, batch, forces=forces, stress=stress):
            for index, own in zip(indices, found, strict=True):
                results[index] = own
    return results


def _halved(
    model: Model, admission: Admission, frames: Sequence[Atoms], batch: list[int], *, forces: bool, stress: bool
) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    """The results of a batch, in as many parts as memory makes necessary."""
    waiting = [batch]
    while waiting:
        indices = waiting.pop()
        try:
            found = _together(model, admission, [frames[i] for i in indices], indices, forces=forces, stress=stress)
        except OutOfMemoryError as error:
            if len(indices) == 1:
                where = f"structure {indices[0]}"
                raise OutOfMemoryError(error.what, where=where, remedy=error.remedy) from error
            found = None  # the next try is made when the error, and what it holds, is gone
        if found is not None:
            yield indices, found
            continue
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(indices) // 2
        waiting += [indices[half:], indices[:half]]


def _together(
    model: Model, admission: Admission, frames: Sequence[Atoms], numbers: list[int], *, forces: bool, stress: bool
) -> list[dict[str, Any]]:
    with out_of_memory(sum(map(len, frames)), model.device):
        structures = admission.many(frames, numbers, model.device)
        graph = _graph(model, structures, numbers)
        refuse_coincident(graph, structures, numbers)
        return results_of(evaluate(model, structures, graph, forces=forces, stress=stress), structures, numbers)


def _graph(model: Model, structures: Structures, numbers: list[int]) -> Graph:
    try:
        return model.graph(structures)
    except StructureError:
        # which of them it is, in the numbers of the caller
        for place, number in enumerate(numbers):
            try:
                model.graph(structures.select([place]))
            except StructureError as error:
                raise renamed(error, number) from None
        raise
