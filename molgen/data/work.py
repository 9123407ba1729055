"""How differences of the energy between close frames go with the work of forces and stresses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from molgen.structures import Structures

__all__ = ["Fit", "fitted_work"]

_LOOKED_AT = 4000  # frames among which frames of the same atoms are looked for
_FRAMES = 200  # of one kind of structure
_NUMBERS = 4_000_000  # displacements held at once
_FEWEST = 4  # frames
_NEAREST = 3  # neighbours of each frame in configuration space
_KEPT = 0.5  # share of the pairs, the closest, that are used
_COPY = 1e-8  # Å², below which two frames are the same
_STIFFNESS = 0.1  # Å⁻¹: a strain ε of volume V is as far as displacements of √(0.1 V) ε
_CORRELATION = 0.8  # of differences with works, below which the frames lie too far apart to tell
_ERRORS = 4.0  # standard errors of an interval: pairs share frames, so that they are too small


@dataclass(frozen=True)
class Fit:
    """A least-squares factor and its standard error."""

    factor: float
    error: float

    def excludes(self, low: float, high: float) -> bool:
        """Whether the factor is outside an interval, with all its error."""
        return self.factor + _ERRORS * self.error < low or self.factor - _ERRORS * self.error > high


def fitted_work(structures: Structures) -> tuple[Fit | None, Fit | None]:
    """Factors of the works of forces and of stresses in differences of the energy, both 1 if all is well.

    Args:
        structures: with the labels energy and forces, and stress if there is one; NaN where there are none.

    Returns:
        None where there are too few frames of the same atoms, all too far apart, or no strains between them.
    """
    some = _alike(structures)
    if len(some) < _FEWEST:
        return None, None
    n = int(some.n_atoms[0])
    positions = some.positions.double().reshape(-1, n, 3)
    forces = some.atom_labels["forces"].double().reshape(-1, n, 3)
    cell, volume = some.cell.double(), torch.linalg.det(some.cell.double()).abs()
    strained = "stress" in some.structure_labels and bool((volume > 0).all())
    if not bool(some.pbc[0].any()):
        positions, forces = _aligned(positions, forces)
        strained = False
    first, second = _pairs(positions, cell, some.pbc[0])
    steps, strain = _steps(positions[first], positions[second], cell[first], cell[second], some.pbc[0])
    works = [-0.5 * ((forces[first] + forces[second]) * steps).sum(dim=(1, 2))]
    if strained:
        virial = volume[:, None, None] * some.structure_labels["stress"].double()
        works.append(0.5 * ((virial[first] + virial[second]) * strain).sum(dim=(1, 2)))
    energy = some.structure_labels["energy"].double()
    # squares of absurd labels are infinite, and their fit excludes nothing
    with np.errstate(over="ignore", invalid="ignore"):
        fits = _fitted(torch.stack(works, dim=1).numpy(), (energy[second] - energy[first]).numpy())
    return fits[0], fits[1] if strained else None


def _alike(structures: Structures) -> Structures:
    """Frames of the same atoms with all labels, as many as are worth it; of one cell if there is no stress."""
    bad = torch.isnan(structures.structure_labels["energy"])
    bad[structures.batch[torch.isnan(structures.atom_labels["forces"]).any(dim=1)]] = True
    strained = "stress" in structures.structure_labels
    if strained:
        bad |= torch.isnan(structures.structure_labels["stress"]).flatten(1).any(dim=1)
    usable = (~bad & (structures.n_atoms > 1)).nonzero()[:, 0][:_LOOKED_AT]
    kinds: dict[bytes, list[int]] = {}
    species, cells, pbc = structures.species.to(torch.uint8).numpy(), structures.cell.numpy(), structures.pbc.numpy()
    states = torch.stack((structures.charge.double(), structures.spin.double()), dim=1).numpy()
    offsets, counts = structures.offsets.tolist(), structures.n_atoms.tolist()
    for frame in usable.tolist():
        atoms = species[offsets[frame] : offsets[frame] + counts[frame]].tobytes()
        cell = b"" if strained else np.round(cells[frame] * pbc[frame][:, None], 6).tobytes()
        kinds.setdefault(atoms + cell + pbc[frame].tobytes() + states[frame].tobytes(), []).append(frame)
    frames = max(kinds.values(), key=len, default=[])
    if frames:
        frames = frames[: min(_FRAMES, int((_NUMBERS / (3 * counts[frames[0]])) ** 0.5))]
    return structures.select(torch.tensor(frames, dtype=torch.int64))


def _aligned(positions: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    """All frames turned onto the first one (Kabsch 1976), with their forces."""
    centred = positions - positions.mean(dim=1, keepdim=True)
    left, _, right = torch.linalg.svd(centred.transpose(1, 2) @ centred[0])
    mirror = torch.ones(len(positions), 3, dtype=positions.dtype)
    mirror[:, 2] = torch.sign(torch.linalg.det(left @ right))
    rotation = (left * mirror[:, None]) @ right  # [f, 3, 3], applied from the right
    return centred @ rotation, forces @ rotation


def _steps(start: Tensor, end: Tensor, cell: Tensor, end_cell: Tensor, pbc: Tensor) -> tuple[Tensor, Tensor]:
    """Displacements [p, n, 3] beyond the homogeneous strain [p, 3, 3], without a shift of all atoms."""
    if not bool(pbc.any()):
        steps = end - start
        return steps - steps.mean(dim=1, keepdim=True), torch.zeros_like(cell)
    fractional = end @ torch.linalg.pinv(end_cell) - start @ torch.linalg.pinv(cell)
    fractional = fractional - torch.round(fractional) * pbc
    middle = 0.5 * (cell + end_cell)
    steps = fractional @ middle
    strain = torch.linalg.pinv(middle) @ (end_cell - cell)
    return steps - steps.mean(dim=1, keepdim=True), 0.5 * (strain + strain.transpose(1, 2))


def _pairs(positions: Tensor, cell: Tensor, pbc: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest neighbours of each frame, and of those pairs the closer ones; each pair once."""
    n = len(positions)
    stiffness = _STIFFNESS * torch.linalg.det(cell).abs()
    distance = torch.full((n, n), torch.inf, dtype=torch.float64)
    for frame in range(n):
        steps, strain = _steps(positions[frame].expand_as(positions), positions, cell[frame].expand_as(cell), cell, pbc)
        distance[frame] = steps.square().sum(dim=(1, 2)) + stiffness * strain.square().sum(dim=(1, 2))
    distance[distance < _COPY] = torch.inf  # itself, and copies
    nearest = distance.topk(min(_NEAREST, n - 1), largest=False)
    first = torch.arange(n).repeat_interleave(nearest.indices.shape[1])
    second, value = nearest.indices.reshape(-1), nearest.values.reshape(-1)
    order = value.argsort()[: max(_FEWEST, int(_KEPT * len(value)))]
    order = order[torch.isfinite(value[order])]
    pairs = torch.unique(torch.sort(torch.stack((first[order], second[order]), dim=1), dim=1).values, dim=0)
    return pairs[:, 0], pairs[:, 1]


def _fitted(works: np.ndarray, differences: np.ndarray) -> list[Fit | None]:
    """The factors of the columns of `works` [p, k] in `differences` [p]."""
    k = works.shape[1]
    squares = (works**2).sum(axis=0)
    if len(differences) <= k + 1 or not squares.all():
        return [None] * k
    normal = works.T @ works
    try:
        inverse = np.linalg.inv(normal)
    except np.linalg.LinAlgError:
        return [None] * k
    factors = inverse @ works.T @ differences
    variance = ((differences - works @ factors) ** 2).sum() / (len(differences) - k)
    explained, total = float(((works @ factors) ** 2).sum()), float((differences**2).sum())
    if explained < _CORRELATION**2 * total or total == 0:
        return [None] * k
    # frames that are not so close give works with errors of their own, which make a fit's factors too small
    scale = (total / explained) ** 0.5
    errors = np.sqrt(variance * np.diag(inverse))
    return [Fit(scale * float(f), scale * float(error)) for f, error in zip(factors, errors, strict=True)]
