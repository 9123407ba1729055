"""A neighbour list with a skin, searched anew only where it could miss a pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

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
        if not 0 <= skin < np.inf:
            raise ConfigError(f"skin is {skin}", expected="a length from 0, in Å")
        self._search, self._cutoff, self._skin = search, cutoff, skin
        self._list: _PairList | None = None
        self._positions = np.zeros((0, 3))
        self._lattice = np.zeros((0, 3))  # periodic cell vectors alone
        self._pbc = np.zeros(3, dtype=bool)
        self.searches = 0  # so far

    def edges(
        self, structures: Structures, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> tuple[Graph, float]:
        """The edges that are shorter than the cutoff, as a search would find them, and the length of the shortest, Å.

        Their vectors and lengths are left out, as NaN: models compute them anew (`Graph.with_positions`).

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
            self._list = _PairList.of(self._search(structures, self._skin if self._cutoff is not None else 0.0))
            self._positions, self._lattice, self._pbc = positions.copy(), cell[pbc], pbc.copy()
            self.searches += 1
        squares = self._list.squares(structures, cell)  # [P] Å²
        shortest = math.sqrt(float(squares.min())) if len(squares) else np.inf
        if self._cutoff is None:
            return self._list.graph, shortest
        return self._list.among(squares < self._cutoff**2), shortest

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
        spare = 0.5 * (stretch * (self._cutoff + self._skin) - self._cutoff)  # that every atom may depart by, Å
        return _furthest(departed) <= spare or _furthest(departed - departed.mean(0)) <= spare


def _furthest(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.einsum("ni,ni->n", vectors, vectors).max()))


@dataclass(eq=False)
class _PairList:
    """A graph with skin, and its P pairs, each once: half the lengths to compute, and half the memory to read."""

    graph: Graph  # E = 2 P edges, without vectors
    columns: Tensor  # [3, E] int64: senders, receivers, reverse
    images: Tensor  # [E, 3] cell shifts, as bytes where they are small
    senders: Tensor  # [P] int32, likewise below: indices of half the size
    receivers: Tensor  # [P]
    pairs: Tensor  # [E], the pair of each edge
    shifts: Tensor  # [P, 3] in lattice vectors
    vectors: Tensor  # [P, 3] Å, and
    starts: Tensor  # [P, 3] Å: room for what is computed; new memory costs more than the computation
    ones: Tensor  # [3]
    offsets: Tensor | None = None  # [P, 3] Å, the shifts in the cell of the last call
    cell: np.ndarray | None = None  # of the last call

    @classmethod
    def of(cls, graph: Graph) -> _PairList:
        every = torch.arange(len(graph.senders), device=graph.senders.device)
        once = (every < graph.reverse).nonzero()[:, 0]
        place = torch.empty_like(every)
        place[once] = every[: len(once)]
        shifts = graph.cell_shifts
        small = len(shifts) == 0 or int(shifts.abs().max()) < 128
        nothing = graph.lengths.new_full((1,), torch.nan).detach()
        return cls(
            graph=replace(graph, vectors=nothing.expand(len(every), 3), lengths=nothing.expand(len(every))),
            columns=torch.stack((graph.senders, graph.receivers, graph.reverse)),
            images=shifts.to(torch.int8) if small else shifts,
            senders=graph.senders[once].int(),
            receivers=graph.receivers[once].int(),
            pairs=place[torch.minimum(every, graph.reverse)].int(),
            shifts=shifts[once],
            vectors=graph.vectors.new_empty(len(once), 3),
            starts=graph.vectors.new_empty(len(once), 3),
            ones=graph.vectors.new_ones(3),
        )

    def squares(self, structures: Structures, cell: np.ndarray) -> Tensor:
        """[P] Å², of the lengths."""
        if self.offsets is None or not np.array_equal(cell, self.cell):  # type: ignore[arg-type]
            self.offsets, self.cell = self.shifts.to(structures.cell.dtype) @ structures.cell[0], cell.copy()
        torch.index_select(structures.positions, 0, self.senders, out=self.vectors)
        torch.index_select(structures.positions, 0, self.receivers, out=self.starts)
        # sums over three columns are fastest as a product
        return torch.mv(self.vectors.sub_(self.starts).add_(self.offsets).square_(), self.ones)

    def among(self, near: Tensor) -> Graph:
        """The edges of some pairs, by a mask [P]; `Graph.within`, in a third of the time."""
        mask = near.index_select(0, self.pairs)  # [E]
        if mask.device.type == "cpu":
            # numpy finds and takes several times as fast
            kept = np.flatnonzero(mask.numpy())
            columns, images = (
                torch.from_numpy(part.numpy().take(kept, axis=axis))
                for part, axis in ((self.columns, 1), (self.images, 0))
            )
        else:
            chosen = mask.nonzero()[:, 0]
            columns, images = self.columns.index_select(1, chosen), self.images.index_select(0, chosen)
        whole, count = self.graph, columns.shape[1]
        if count == len(mask):
            return whole
        return Graph(
            senders=columns[0],
            receivers=columns[1],
            cell_shifts=images.to(torch.int64),
            vectors=whole.vectors[:count],
            lengths=whole.lengths[:count],
            batch=whole.batch,
            n_atoms=whole.n_atoms,
            reverse=torch.cumsum(mask, 0).index_select(0, columns[2]).sub_(1),
            dense=False,
        )
