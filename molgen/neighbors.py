"""`Graph` of `Structures`: who sees whom, and along which vector.

Edges point from a sender j to a receiver i and are sorted by receiver, so that sums over neighbours are segment
reductions, the same in every run. Vectors come from positions and cell each time, so that forces, strain and reuse of
a neighbour list with a skin are right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from molgen.structures import Structures

__all__ = ["Graph", "complete_graph", "edge_vectors", "safe_norm"]

# Å; lengths are √(r² + ε²), so that their gradient is zero, not NaN, where two atoms coincide
SOFTENING = 1e-9


@dataclass(frozen=True, eq=False)
class Graph:
    """Directed edges of a batch of structures with N atoms and E edges.

    Complete graphs come in canonical order (structure, receiver, sender). Where all structures have n atoms, `dense`
    is true and `x.view(B, n, n - 1, ...)` is legal for every edge tensor.
    """

    senders: Tensor  # [E] int64
    receivers: Tensor  # [E] int64, ascending
    cell_shifts: Tensor  # [E, 3] int64: the sender's image, in lattice vectors
    vectors: Tensor  # [E, 3] Å: positions[senders] - positions[receivers] + cell_shifts @ cell
    lengths: Tensor  # [E] Å
    batch: Tensor  # [N] int64
    n_atoms: Tensor  # [B] int64
    reverse: Tensor  # [E] int64: index of the edge j→i for each i→j
    dense: bool  # complete, and every structure has the same number of atoms

    @property
    def n_nodes(self) -> int:
        """N, all nodes that carry features."""
        return len(self.batch)

    @property
    def n_local(self) -> int:
        """Nodes whose read-outs count; all of them today, fewer where a decomposed simulation feeds ghosts."""
        return len(self.batch)

    def with_positions(self, structures: Structures) -> Graph:
        """The same edges with vectors and lengths of other positions or another cell (differentiable)."""
        vectors = edge_vectors(structures, self.senders, self.receivers, self.cell_shifts)
        return replace(self, vectors=vectors, lengths=safe_norm(vectors))

    def exchange(self, features: Tensor) -> Tensor:
        """Called by message-passing encoders before each layer after the first.

        The identity today; the one place where a decomposed simulation will copy features to ghost atoms.
        """
        return features


def edge_vectors(structures: Structures, senders: Tensor, receivers: Tensor, cell_shifts: Tensor) -> Tensor:
    """[E, 3] Å, from receiver to sender, with periodic images; differentiable in positions and cell."""
    vectors = structures.positions[senders] - structures.positions[receivers]
    if cell_shifts.any():
        cells = structures.cell[structures.batch[senders]]  # [E, 3, 3]
        vectors = vectors + torch.einsum("ei,eij->ej", cell_shifts.to(vectors.dtype), cells)
    return vectors


def safe_norm(vectors: Tensor) -> Tensor:
    """[...] lengths of [..., 3] vectors, with gradient zero at zero length."""
    return torch.sqrt(vectors.square().sum(-1) + SOFTENING**2)


def complete_graph(structures: Structures) -> Graph:
    """Every atom sees every other atom of its structure; no periodic images.

    >>> two = Structures.build([[0.0, 0, 0], [0, 0, 1], [0, 0, 0]], [1, 1, 8], n_atoms=[2, 1])
    >>> complete_graph(two).senders.tolist()
    [1, 0]
    """
    senders, receivers, reverse, dense = _complete_indices(structures.n_atoms)
    shifts = torch.zeros(len(senders), 3, dtype=torch.int64, device=senders.device)
    vectors = structures.positions[senders] - structures.positions[receivers]
    return Graph(
        senders=senders,
        receivers=receivers,
        cell_shifts=shifts,
        vectors=vectors,
        lengths=safe_norm(vectors),
        batch=structures.batch,
        n_atoms=structures.n_atoms,
        reverse=reverse,
        dense=dense,
    )


def _complete_indices(n_atoms: Tensor) -> tuple[Tensor, Tensor, Tensor, bool]:
    counts = n_atoms.tolist()
    if len(set(counts)) == 1:
        senders, receivers, reverse = _dense_indices(len(counts), counts[0])
        device = n_atoms.device
        return senders.to(device), receivers.to(device), reverse.to(device), True
    parts, atom, edge = [], 0, 0
    for n in counts:
        senders, receivers, reverse = _dense_indices(1, n)
        parts.append((senders + atom, receivers + atom, reverse + edge))
        atom, edge = atom + n, edge + n * (n - 1)
    if not parts:
        empty = torch.zeros(0, dtype=torch.int64, device=n_atoms.device)
        return empty, empty, empty, False
    joined = (torch.cat(column).to(n_atoms.device) for column in zip(*parts, strict=True))
    return (*joined, False)  # type: ignore[return-value]


@lru_cache(maxsize=256)
def _dense_indices(b: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Senders, receivers and reverse of b complete graphs of n atoms, on the CPU."""
    receiver = torch.arange(n).repeat_interleave(max(n - 1, 0))  # [n(n-1)]
    slot = torch.arange(max(n - 1, 0)).repeat(n)
    sender = slot + (slot >= receiver)
    # edge j→i stands in the row of receiver i; its reverse in the row of j, where i fills slot i - (i > j)
    back = sender * (n - 1) + receiver - (receiver > sender).long()
    graph = torch.arange(b)[:, None]
    return (
        (sender + graph * n).reshape(-1),
        (receiver + graph * n).reshape(-1),
        (back + graph * n * (n - 1)).reshape(-1),
    )
