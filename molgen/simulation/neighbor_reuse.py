"""A neighbour list with a skin, searched anew only where it could miss a pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from numbers import Real

import numpy as np
import torch

from molgen.errors import ConfigError
from molgen.neighbors import Graph
from molgen.structures import Structures

__all__ = ["NeighborReuse"]


class NeighborReuse:
    """The edges of one structure that moves.

    The list holds every pair (i, j, image) that was nearer than cutoff + skin. Since then a lattice vector c₀ became
    c₀F, and atom i has departed by dᵢ = xᵢ − x₀ᵢF from where the deformation F alone would have carried it; what all
    atoms have in common moves no pair. A pair that is missing from the list is then no nearer than
    σ(F)·(cutoff + skin) − 2·max|d|, with σ the smallest singular value of F. While that is at least the cutoff, the
    list has every pair that counts. Positions are those that are given: an atom that is put back into the cell has
    departed by a lattice vector, and the list is searched anew.

    Args:
        search: the graph of structures with a skin in Å; `Potential.graph`.
        cutoff: Å; None for complete graphs, which always serve.
        skin: Å, 0 to search every time.

    Raises:
        ConfigError: a skin that is no length.
    """

    def __init__(self, search: Callable[[Structures, float], Graph], cutoff: float | None, skin: float) -> None:
        if not _is_length(skin):
            raise ConfigError(f"skin is {skin!r}", expected="a length from 0, in Å")
        self._search, self._cutoff, self._skin = search, cutoff, skin
        self._list: _PairList | Graph | None = None
        self._positions = np.zeros((0, 3))
        self._lattice = np.zeros((0, 3))  # periodic cell vectors alone
        self._cell, self._pbc = np.zeros((3, 3)), np.zeros(3, dtype=bool)
        self.searches = 0  # so far

    def edges(
        self, structures: Structures, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> tuple[Graph, float]:
        """The edges that are shorter than the cutoff, as a search would find them, and the length of the shortest, Å.

        Their vectors and lengths may be left out, as NaN: models compute them anew (`Graph.with_positions`).

        Args:
            structures: one structure, on any device.
            positions: [N, 3] Å, float64, those of the structure.
            cell: [3, 3] Å, float64, likewise.
            pbc: [3] bool, likewise.

        Raises:
            StructureError: as `molgen.neighbors.radius_graph`.
        """
        if self._list is None or not self._serves(positions, cell, pbc):
            self._list = None  # not left behind where the search fails
            found = self._search(structures, self._skin if self._cutoff is not None else 0.0)
            self._list = _PairList(found) if found.senders.device.type == "cpu" else found
            self._positions, self._lattice, self._pbc = positions.copy(), cell[pbc], pbc.copy()
            self._cell = cell.copy()
            self.searches += 1
        if isinstance(self._list, _PairList):
            return self._list.within(self._cutoff, positions, cell)
        moved = self._list.with_positions(structures)
        if self._cutoff is not None:
            moved = moved.within(self._cutoff)
        return moved, float(moved.lengths.min()) if len(moved.lengths) else np.inf

    def _serves(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> bool:
        if len(positions) != len(self._positions) or not np.array_equal(pbc, self._pbc):
            return False
        if self._cutoff is None:
            return True
        if self._skin == 0:
            return False
        still, stretch = self._positions, 1.0
        if not np.array_equal(cell, self._cell):
            lattice = cell[pbc]
            # the least change that carries the old lattice vectors to the new ones; none across them
            change = np.eye(3) + np.linalg.pinv(self._lattice) @ (lattice - self._lattice)
            still, stretch = still @ change, float(np.linalg.svd(change, compute_uv=False)[-1])
        departed = positions - still
        spare = 0.5 * (stretch * (self._cutoff + self._skin) - self._cutoff)  # that every atom may depart by, Å
        return _furthest(departed) <= spare or _furthest(departed - departed.mean(0)) <= spare


def _is_length(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < np.inf


def _furthest(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.einsum("ni,ni->n", vectors, vectors).max()))


class _PairList:
    """A graph with skin on a CPU, and its P pairs, each once: half the lengths to compute, half the memory to read.

    All of it in numpy, whose calls cost a third of torch's in a loop in which a model has the caches to itself.
    """

    def __init__(self, graph: Graph) -> None:
        every, reverse = np.arange(len(graph.senders)), graph.reverse.numpy()
        once = np.flatnonzero(every < reverse)
        place = np.empty_like(every)
        place[once] = np.arange(len(once))
        self._senders, self._receivers, self._reverse = graph.senders.numpy(), graph.receivers.numpy(), reverse
        self._pairs = place[np.minimum(every, reverse)]  # [E], the pair of each edge
        self._starts, self._ends = self._receivers[once], self._senders[once]  # [P]
        shifts = graph.cell_shifts.numpy()
        self._shifts = shifts[once]  # [P, 3] in lattice vectors
        small = np.abs(shifts).max(initial=0) < 128
        self._edge_shifts = shifts.astype(np.int8) if small else shifts  # [E, 3]
        self._offsets, self._cell = np.zeros((len(once), 3)), np.zeros((3, 3))  # Å, those shifts in a cell
        # room for what is computed, as new memory costs more than the computation
        self._room = np.empty((2, len(once), 3))
        nothing = torch.full((1,), torch.nan, dtype=graph.lengths.dtype)
        self._graph = replace(graph, vectors=nothing.expand(len(every), 3), lengths=nothing.expand(len(every)))

    def within(self, cutoff: float | None, positions: np.ndarray, cell: np.ndarray) -> tuple[Graph, float]:
        """The edges shorter than the cutoff, without vectors, and the length of the shortest, Å."""
        if not np.array_equal(cell, self._cell):
            self._offsets, self._cell = self._shifts @ cell, cell.copy()
        vectors, starts = self._room
        positions.take(self._ends, axis=0, out=vectors, mode="clip")
        positions.take(self._starts, axis=0, out=starts, mode="clip")
        vectors -= starts
        vectors += self._offsets
        squares = np.einsum("pi,pi->p", vectors, vectors)  # [P] Å²
        shortest = math.sqrt(squares.min(initial=np.inf))
        if cutoff is None:
            return self._graph, shortest
        return self._among((squares < cutoff * cutoff).take(self._pairs)), shortest

    def _among(self, mask: np.ndarray) -> Graph:
        """Some of the edges, by a mask [E]; `Graph.within`, in a third of the time."""
        kept = np.flatnonzero(mask)
        if len(kept) == len(mask):
            return self._graph
        reverse = np.cumsum(mask).take(self._reverse.take(kept))
        reverse -= 1
        whole = self._graph
        return Graph(
            senders=torch.from_numpy(self._senders.take(kept)),
            receivers=torch.from_numpy(self._receivers.take(kept)),
            cell_shifts=torch.from_numpy(self._edge_shifts.take(kept, axis=0).astype(np.int64)),
            vectors=whole.vectors[: len(kept)],
            lengths=whole.lengths[: len(kept)],
            batch=whole.batch,
            n_atoms=whole.n_atoms,
            reverse=torch.from_numpy(reverse),
            dense=False,
        )
