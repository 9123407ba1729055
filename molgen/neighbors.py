"""`Graph` of `Structures`: who sees whom, and along which vector.

Edges point from a sender j to a receiver i and are sorted by receiver, so that sums over neighbours are segment
reductions, the same in every run. Vectors come from positions and cell each time, so that forces, strain and reuse of
a neighbour list with a skin are right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from molgen.errors import ConfigError, StructureError
from molgen.structures import Structures

__all__ = ["Graph", "complete_graph", "edge_vectors", "radius_graph", "safe_norm"]

# Å; lengths are √(r² + ε²), so that their gradient is zero, not NaN, where two atoms coincide
SOFTENING = 1e-9

# volume of a cell over the product of its edges, below which its vectors are taken to lie in a plane
_FLAT = 1e-6

# vesin divides by zero where it must merge cells of a sheet or a needle, above 1e5 cells: half of it is left to spare
_MOST_CELLS = 5e4

# vesin visits so many images of the cell for each atom at most; a skewed cell needs fewer once it is reduced
_MOST_VISITS = 1e6

# cells between an atom and the origin; vesin counts them in 32 bits
_MOST_DRIFT = 1e8

# Å; vesin refuses cutoffs up to here
_SHORTEST_REACH = 1e-6

# images of atoms that a search may lay out, about 2 GB
_MOST_IMAGES = 3e7

# relative error of coordinates that were projected and wrapped, some operations long
_ROUNDING = 64 * float(np.finfo(np.float64).eps)


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

    def within(self, cutoff: float) -> Graph:
        """The same graph without the edges that are `cutoff` Å long or longer, such as those of a skin."""
        near = self.lengths.detach() < cutoff
        near = near & near.index_select(0, self.reverse)  # rounding may tell the two directions apart
        kept = near.nonzero()[:, 0]
        if len(kept) == len(near):
            return self
        place = torch.cumsum(near, 0) - 1
        names = ("senders", "receivers", "cell_shifts", "vectors", "lengths")
        chosen = {name: getattr(self, name).index_select(0, kept) for name in names}
        return replace(self, **chosen, reverse=place.index_select(0, self.reverse.index_select(0, kept)), dense=False)

    def exchange(self, features: Tensor) -> Tensor:
        """Called by message-passing encoders before each layer after the first.

        The identity today; the one place where a decomposed simulation will copy features to ghost atoms.
        """
        return features


def edge_vectors(structures: Structures, senders: Tensor, receivers: Tensor, cell_shifts: Tensor) -> Tensor:
    """[E, 3] Å, from receiver to sender, with periodic images; differentiable in positions and cell."""
    vectors = _rows(structures.positions, senders) - _rows(structures.positions, receivers)
    if structures.pbc.any():
        shifts = cell_shifts.to(vectors.dtype)
        if len(structures) == 1:  # several times as fast
            return vectors + shifts @ structures.cell[0]
        cells = structures.cell[structures.batch[senders]]  # [E, 3, 3]
        vectors = vectors + torch.einsum("ei,eij->ej", shifts, cells)
    return vectors


def _rows(positions: Tensor, index: Tensor) -> Tensor:
    # the derivative of index_select is faster on a CPU, and on a GPU its sums have no fixed order
    return positions.index_select(0, index) if positions.device.type == "cpu" else positions[index]


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
    if len(set(counts)) == 1 and counts[0] > 0:
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
    with torch.inference_mode(False):  # what is kept must serve derivatives too, whoever asks first
        return _new_dense_indices(b, n)


def _new_dense_indices(b: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
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


def radius_graph(structures: Structures, cutoff: float, *, skin: float = 0.0) -> Graph:
    """Every atom sees the atoms, and the periodic images of atoms, that are nearer than `cutoff + skin`.

    Any cell, any mixture of boundary conditions, atoms outside the cell, cells smaller than the cutoff (where an atom
    sees its own images). Edges are sorted by receiver, sender and shift. With a skin, the same edges suffice until an
    atom has moved by skin / 2: `graph.with_positions` gives their new vectors, some of them longer than the cutoff.

    Args:
        structures: on any device; the search runs on the CPU, without gradient. The vectors have one.
        cutoff: Å.
        skin: Å.

    Raises:
        ConfigError: a cutoff that is no positive length.
        StructureError: a periodic direction without a cell vector, numbers that are not finite, an atom so far from
            its periodic cell that its place there is lost in rounding, or a cell so small that the images in reach
            don't fit in memory.

    >>> chain = Structures.build([[0.0, 0, 0]], [2], cell=[[[0, 0, 0], [0, 0, 0], [0, 0, 1.5]]], pbc=[[0, 0, 1]])
    >>> radius_graph(chain, cutoff=2.0).vectors.tolist()
    [[0.0, 0.0, -1.5], [0.0, 0.0, 1.5]]
    """
    reach = cutoff + skin
    if not (cutoff > 0 and skin >= 0 and math.isfinite(reach)):
        raise ConfigError(f"cutoff is {cutoff} and skin is {skin}", expected="a positive length and one from 0, in Å")
    edges = _both_ways(*_half_list(structures, reach))
    senders, receivers, shifts, reverse = (torch.from_numpy(e).to(structures.positions.device) for e in edges)
    vectors = edge_vectors(structures, senders, receivers, shifts)
    return Graph(
        senders=senders,
        receivers=receivers,
        cell_shifts=shifts,
        vectors=vectors,
        lengths=safe_norm(vectors),
        batch=structures.batch,
        n_atoms=structures.n_atoms,
        reverse=reverse,
        dense=False,
    )


def _half_list(structures: Structures, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair once: receivers [P], senders [P], and the senders' shifts [P, 3], all int64."""
    from vesin import NeighborList

    if not (torch.isfinite(structures.positions).all() and torch.isfinite(structures.cell).all()):
        structures.check()  # names the atom
    positions = structures.positions.detach().cpu().to(torch.float64).numpy()
    cells = structures.cell.detach().cpu().to(torch.float64).numpy()
    pbc = structures.pbc.cpu().numpy()
    search = NeighborList(cutoff=reach, full_list=False, n_threads=torch.get_num_threads())
    first, second, shifts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 3), np.int64)]
    furthest = float(np.abs(positions).max(initial=0.0))
    # one look at the batch spares molecules one look each
    small = not pbc.any() and reach > _SHORTEST_REACH and 2.02 * furthest / reach + 1 < _MOST_CELLS ** (1 / 3)
    start = 0
    for index, n in enumerate(structures.n_atoms.tolist()):
        if n > 1 or (n == 1 and pbc[index].any()):
            where = f"structure {index}"
            box = _full_cell(cells[index], pbc[index], where)
            own = positions[start : start + n]
            if small or _suits_a_grid(own, box, pbc[index], reach):
                i, j, s = search.compute(own, box, pbc[index], "ijS")
            else:
                i, j, s = _half_list_by_tree(own, box, pbc[index], reach, where)
            first.append(i.astype(np.int64) + start)
            second.append(j.astype(np.int64) + start)
            shifts.append(s.astype(np.int64))
        start += n
    return np.concatenate(first), np.concatenate(second), np.concatenate(shifts)


def _full_cell(cell: np.ndarray, pbc: np.ndarray, where: str) -> np.ndarray:
    """[3, 3] Å, with unit vectors across the periodic ones where there is no period."""
    for axis in np.flatnonzero(pbc):
        if not cell[axis].any():
            raise StructureError(
                f"it is periodic along cell vector {axis}, which is zero",
                where=where,
                remedy="give the cell vector, or set pbc to False there",
            )
    full = cell.copy()
    if not pbc.all():
        full[~pbc] = np.linalg.svd(cell[pbc])[2][pbc.sum() :]
    if abs(np.linalg.det(full)) < _FLAT * np.prod(np.linalg.norm(full, axis=1)):
        raise StructureError("its periodic cell vectors are not independent", where=where)
    return full


def _suits_a_grid(positions: np.ndarray, box: np.ndarray, pbc: np.ndarray, reach: float) -> bool:
    """Whether vesin's grid of cells can take the structure; where it can't, vesin ends the process or misses pairs."""
    heights = _heights(box)[pbc]
    if reach <= _SHORTEST_REACH or np.abs(positions).max() > _MOST_DRIFT * heights.min(initial=reach):
        return False
    if pbc.all():
        widths = heights
    else:
        # which directions across the periodic ones vesin measures is its own affair: the widest
        widths = np.ptp(positions, axis=0)
        if pbc.any():
            widths = np.maximum(widths, np.linalg.norm(np.ptp(positions @ box[~pbc].T, axis=0)))
            widths[pbc] = heights
    cells = np.maximum(1.02 * widths / reach, 1.0).prod()
    return bool(cells < _MOST_CELLS and (2 * reach / heights + 1).prod() < _MOST_VISITS)


def _half_list_by_tree(
    positions: np.ndarray, box: np.ndarray, pbc: np.ndarray, reach: float, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What vesin returns, slower, for any extent: a k-d tree of the atoms, and one of their images in reach."""
    from ase.geometry import minkowski_reduce
    from scipy.spatial import KDTree

    blur = _check_drift(positions, box, pbc, reach, where)
    _, change = minkowski_reduce(box / np.linalg.norm(box, axis=1).max(), pbc)  # its tolerances are for lengths of one
    reduced = change @ box
    places = positions @ np.linalg.inv(reduced) if pbc.any() else positions.copy()  # [n, 3] in vectors of the cell
    wraps = np.where(pbc, np.floor(places), 0.0)
    places -= wraps
    for axis in np.flatnonzero(~pbc):
        places[:, axis] = _without_gaps(places[:, axis], 2 * reach)
    blur += _ROUNDING * len(positions) * places[:, ~pbc].max(initial=0.0)
    generous = reach + blur  # the tree proposes, the vectors decide
    atoms, images, shifts = _images(places, generous / _heights(reduced), pbc, where)
    found = KDTree(places @ reduced).sparse_distance_matrix(KDTree(images @ reduced), generous, output_type="ndarray")
    first, second = found["i"], atoms[found["j"]]
    steps = wraps.astype(np.int64)
    between = (shifts[found["j"]] - steps[second] + steps[first]) @ change  # [P, 3] of the cell that was given
    sign = np.sign(between) @ (9, 3, 1)  # of the first component that isn't zero
    once = (first < second) | ((first == second) & (sign > 0))
    first, second, between = first[once], second[once], between[once]
    vectors = positions[second] - positions[first] + between @ box
    near = np.square(vectors).sum(1) < reach * reach
    return first[near], second[near], between[near]


def _check_drift(positions: np.ndarray, box: np.ndarray, pbc: np.ndarray, reach: float, where: str) -> float:
    """Å, the rounding of positions in a periodic cell."""
    if not pbc.any():
        return 0.0
    distances = np.abs(positions).max(1)
    blur = _ROUNDING * float(distances.max() + np.abs(box[pbc]).max())
    if blur > 0.1 * _heights(box)[pbc].min(initial=reach):
        atom = int(distances.argmax())
        raise StructureError(
            f"it is {distances[atom]:.3g} Å from the origin of a cell of {np.abs(box[pbc]).max():.3g} Å, and its place "
            "in the cell is lost in rounding",
            where=f"{where}, atom {atom}",
            remedy="a simulation that gets there has exploded: take a shorter time step, or relax the structure first",
        )
    return blur


def _without_gaps(x: np.ndarray, widest: float) -> np.ndarray:
    """[n] the same order along a line, from 0, with every gap cut to `widest`."""
    order = np.argsort(x)
    line = np.empty_like(x)
    with np.errstate(over="ignore"):  # a gap that overflows is wide
        line[order] = np.minimum(np.diff(x[order], prepend=x[order[:1]]), widest).cumsum()
    return line


def _images(
    places: np.ndarray, reach: np.ndarray, pbc: np.ndarray, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms [M], places [M, 3] and shifts [M, 3] of the images that `reach`, in cell vectors, can see from the cell."""
    count = len(places) * (2 * reach[pbc] + 1).prod()
    if count > _MOST_IMAGES:
        raise StructureError(
            f"{count:.1g} periodic images of its atoms are within the cutoff",
            where=where,
            expected=f"at most {_MOST_IMAGES:.0g}",
            remedy="check the cell vectors and the cutoff, both in Å",
        )
    atoms, shifts = np.arange(len(places)), np.zeros(places.shape, np.int64)
    for axis in np.flatnonzero(pbc):
        steps = np.arange(-math.ceil(reach[axis]), math.ceil(reach[axis]) + 1)
        along = places[:, axis, None] + steps  # [M, steps]
        kept, step = np.nonzero((along >= -reach[axis]) & (along <= 1 + reach[axis]))
        atoms, places, shifts = atoms[kept], places[kept], shifts[kept]
        places[:, axis] += steps[step]
        shifts[:, axis] = steps[step]
    return atoms, places, shifts


def _heights(box: np.ndarray) -> np.ndarray:
    """[3] Å, the distances between the faces of a cell."""
    return 1 / np.linalg.norm(np.linalg.inv(box), axis=0)


def _both_ways(first: np.ndarray, second: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Senders, receivers, shifts and reverse of both directions of every pair, sorted."""
    receivers, senders = np.concatenate((first, second)), np.concatenate((second, first))
    both = np.concatenate((shifts, -shifts))
    order = _order(receivers, senders, both)
    pairs = len(first)
    place = np.empty_like(order)
    place[order] = np.arange(2 * pairs)
    back = np.concatenate((place[pairs:], place[:pairs]))  # where the other direction of each pair went
    return senders[order], receivers[order], both[order], back[order]


def _order(receivers: np.ndarray, senders: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """What sorts edges by receiver, sender and shift."""
    columns = [receivers, senders, *shifts.T]
    spans = [int(column.max(initial=0)) - int(column.min(initial=0)) + 1 for column in columns]
    if math.prod(spans) >= 2**63:  # atoms that drifted through very many cells
        return np.lexsort(columns[::-1])
    # edges are unique, so one number each sorts them, ten times faster than column by column
    key = np.zeros_like(receivers)
    for column, span in zip(columns, spans, strict=True):
        key = key * span + (column - column.min(initial=0))
    return np.argsort(key)
