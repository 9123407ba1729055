"""`MemoryDataset`: structures held in memory and picked by index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from molgen.structures import Structures

__all__ = ["MemoryDataset"]


class MemoryDataset:
    """Structures in memory, with the same face as a cache: `n_atoms`, `elements`, `fingerprint`, `structures(indices)`.

    >>> water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> dataset = MemoryDataset(water)
    >>> len(dataset), dataset.elements, dataset.structures([0]).formulas()
    (1, (1, 8), ['H2O'])
    """

    def __init__(self, structures: Structures) -> None:
        self._all = structures.to("cpu")
        self.n_atoms = self._all.n_atoms  # [n] int64

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(torch.unique(self._all.species).tolist())

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 of positions, species, cells, charges, spins and labels."""
        held = self._all
        tensors = {
            name: getattr(held, name) for name in ("positions", "species", "n_atoms", "cell", "pbc", "charge", "spin")
        }
        tensors |= {f"atom:{name}": values for name, values in held.atom_labels.items()}
        tensors |= {f"structure:{name}": values for name, values in held.structure_labels.items()}
        running = hashlib.sha256(b"molgen structures")
        for name in sorted(tensors):
            values = tensors[name].contiguous()
            running.update(json.dumps([name, str(values.dtype), list(values.shape)]).encode())
            running.update(values.view(-1).view(torch.uint8).numpy().data)
        return running.hexdigest()

    def __len__(self) -> int:
        return len(self._all)

    def structures(self, indices: Sequence[int] | Tensor | None = None) -> Structures:
        """The structures of some numbers, in that order; all of them if none are named."""
        return self._all if indices is None else self._all.select(indices)

    def select(self, indices: Sequence[int] | Tensor) -> MemoryDataset:
        """A data set of some of the structures."""
        return MemoryDataset(self._all.select(indices))
