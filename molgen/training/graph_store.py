"""The edges of every structure of a data set, found once and joined to batches as they are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from molgen.models.potential import Potential
from molgen.neighbors import Graph
from molgen.structures import Structures
from molgen.training.objective import Dataset

__all__ = ["NUMBER", "GraphStore", "Numbered"]

NUMBER = "number"  # the structure label that holds a structure's place in its data set

_CHUNK = 256  # structures whose edges are found at a time


class Numbered:
    """A data set whose structures carry their numbers; a `Dataset`."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.n_atoms = dataset.n_atoms

    @property
    def fingerprint(self) -> str:
        """Hash of the content."""
        return self._dataset.fingerprint

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return self._dataset.elements

    def __len__(self) -> int:
        return len(self._dataset)

    def structures(self, indices: Tensor) -> Structures:
        """The structures of some numbers, in that order."""
        found = self._dataset.structures(indices)
        return found.replace(structure_labels={**found.structure_labels, NUMBER: indices.to(torch.int64)})


class GraphStore:
    """Edges of the structures of a data set, about 20 bytes each.

    Args:
        model: whose edges they are.
        dataset: numbered.

    Raises:
        StructureError: a structure that the model can't take.
    """

    def __init__(self, model: Potential, dataset: Dataset) -> None:
        parts: dict[str, list[Tensor]] = {"senders": [], "receivers": [], "reverse": [], "shifts": [], "counts": []}
        for chosen in torch.arange(len(dataset)).split(_CHUNK):
            structures = dataset.structures(chosen)
            graph = model.graph(structures)
            owner = structures.batch[graph.receivers]
            counts = torch.bincount(owner, minlength=len(structures))
            first = (torch.cumsum(counts, 0) - counts)[owner]
            atoms = structures.offsets[owner]
            parts["counts"].append(counts)
            for name, values in (
                ("senders", graph.senders - atoms),
                ("receivers", graph.receivers - atoms),
                ("reverse", graph.reverse - first),
                ("shifts", graph.cell_shifts),
            ):
                parts[name].append(values.to(torch.int32))
        joined = {name: torch.cat(values) for name, values in parts.items()}
        self.counts = joined["counts"]  # [n] edges of each structure
        self._starts = torch.cumsum(self.counts, 0) - self.counts
        self._senders, self._receivers = joined["senders"], joined["receivers"]
        self._reverse, self._shifts = joined["reverse"], joined["shifts"]
        self._periodic = bool(self._shifts.any())

    def graph(self, structures: Structures) -> Graph:
        """The graph of structures that a `Numbered` data set gave.

        Its vectors are left empty, since `Potential.forward` computes them of the positions.
        """
        device = structures.positions.device
        numbers = structures.structure_labels[NUMBER].cpu()
        counts = self.counts[numbers]
        total = int(counts.sum())
        first = torch.cumsum(counts, 0) - counts
        edges = torch.arange(total) + torch.repeat_interleave(self._starts[numbers] - first, counts, output_size=total)
        atoms = torch.repeat_interleave(structures.offsets.cpu(), counts, output_size=total)
        first = torch.repeat_interleave(first, counts, output_size=total)
        shifts = self._shifts[edges] if self._periodic else torch.zeros(total, 3)
        none = structures.positions.new_zeros(0)
        return Graph(
            senders=(self._senders[edges] + atoms).to(device),
            receivers=(self._receivers[edges] + atoms).to(device),
            cell_shifts=shifts.to(device, torch.int64),
            vectors=none,
            lengths=none,
            batch=structures.batch,
            n_atoms=structures.n_atoms,
            reverse=(self._reverse[edges] + first).to(device),
            dense=False,
        )
