"""A neighbour list with a skin, searched anew only where it could miss a pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from molgen.errors import ConfigError
from molgen.neighbors import Graph
from molgen.structures import Structures

__all__ = ["NeighborReuse"]


class NeighborReuse:
    """Graphs of one structure that moves.

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
        if not 0 <= skin < np.inf:
            raise ConfigError(f"skin is {skin}", expected="a length from 0, in Å")
        self._search, self._cutoff, self._skin = search, cutoff, skin
        self._list: Graph | None = None
        self._positions = np.zeros((0, 3))
        self._lattice = np.zeros((0, 3))  # periodic cell vectors alone
        self._pbc = np.zeros(3, dtype=bool)
        self._offsets: tuple[np.ndarray, torch.Tensor] | None = None  # of the images that senders are in, and the cell
        self.searches = 0  # so far

    def graph(self, structures: Structures, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Graph:
        """The edges of one structure that are shorter than the cutoff, as a search would find them.

        Args:
            structures: the structure, on any device.
            positions: [N, 3] Å, float64, those of the structure.
            cell: [3, 3] Å, float64, likewise.
            pbc: [3] bool, likewise.

        Raises:
            StructureError: as `molgen.neighbors.radius_graph`.
        """
        if self._list is None or not self._serves(positions, cell, pbc):
            self._list = None  # not left behind where the search fails
            self._list = self._search(structures, self._skin if self._cutoff is not None else 0.0)
            self._positions, self._lattice, self._pbc = positions.copy(), cell[pbc], pbc.copy()
            self._offsets = None
            self.searches += 1
        if self._cutoff is None:
            return self._list.with_positions(structures)
        return self._moved(self._list, structures, cell).within(self._cutoff)

    def _moved(self, edges: Graph, structures: Structures, cell: np.ndarray) -> Graph:
        """The list with today's vectors; as `Graph.with_positions`, in a third of the time."""
        if self._offsets is None or not np.array_equal(cell, self._offsets[0]):
            images = edges.cell_shifts.to(structures.cell.dtype) @ structures.cell[0]  # [E, 3] Å
            self._offsets = (cell.copy(), images)
        positions = structures.positions
        ends = positions.index_select(0, edges.senders) - positions.index_select(0, edges.receivers)
        vectors = ends + self._offsets[1]
        return replace(edges, vectors=vectors, lengths=torch.linalg.vector_norm(vectors, dim=-1))

    def _serves(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> bool:
        if len(positions) != len(self._positions) or not np.array_equal(pbc, self._pbc):
            return False
        if self._cutoff is None:
            return True
        if self._skin == 0:
            return False
        still, stretch = self._positions, 1.0
        lattice = cell[pbc]
        if not np.array_equal(lattice, self._lattice):
            # the least change that carries the old lattice vectors to the new ones; none across them
            change = np.eye(3) + np.linalg.pinv(self._lattice) @ (lattice - self._lattice)
            still, stretch = still @ change, float(np.linalg.svd(change, compute_uv=False)[-1])
        departed = positions - still
        departed -= departed.mean(0)
        furthest = float(np.sqrt(np.einsum("ni,ni->n", departed, departed).max()))
        return stretch * (self._cutoff + self._skin) - 2 * furthest >= self._cutoff
