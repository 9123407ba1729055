"""Whether the numbers of a data set fit the units that they are taken to be in.

Two checks, both of what a wrong unit changes by a large and known factor. Energies against forces: between frames of
the same atoms that lie close together, E₂ − E₁ ≈ −½ (F₁ + F₂)·(r₂ − r₁), exact for a quadratic surface. Energies alone:
those of codes that treat all electrons are within a percent of the sum of the free atoms' energies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from molgen.data.label_units import UNITS_OF, factor
from molgen.structures import Structures

__all__ = ["Taken", "force_ratio", "suspicions"]

_LOOKED_AT = 4000  # frames among which frames of the same atoms are looked for
_FRAMES = 200  # of one kind of structure
_NUMBERS = 4_000_000  # displacements held at once
_NEAREST = 3  # neighbours of each frame in configuration space
_MOST_PAIRS = 0.5  # share of the pairs, the closest, that are used
_CORRELATION = 0.8  # below it the frames lie too far apart to tell
_WRONG = 1.6  # ratio beyond which energies and forces don't fit
_NEAR = 0.25  # relative distance from a known factor: the ratio is known to some 15 %
_CAUSES = 2  # that are named

# Ha, non-relativistic energies of the free atoms H to Ne (Chakravorty et al. 1993, table I)
_ATOMS = (0.5, 2.90372, 7.47806, 14.66736, 24.65391, 37.8450, 54.5892, 75.0673, 99.7339, 128.9376)
_TOTAL = 0.02  # relative distance of a total energy from the atoms' sum times a known factor


@dataclass(frozen=True)
class Taken:
    """A label's key in the file, and the unit that its numbers were taken to be in."""

    key: str
    unit: str


def suspicions(structures: Structures, taken: Mapping[str, Taken]) -> list[str]:
    """What doesn't fit, in sentences.

    Args:
        structures: with labels as they were read, NaN where there are none.
        taken: of each label.
    """
    if "energy" not in taken:
        return []
    found = _total_energies(structures, taken["energy"])
    if "forces" in taken:
        found += _energies_and_forces(structures, taken["energy"], taken["forces"])
    return found


def _energies_and_forces(structures: Structures, energy: Taken, forces: Taken) -> list[str]:
    ratio = force_ratio(structures)
    if ratio is None:
        return []
    if ratio < 0:
        return [
            f"{forces.key!r} point up the energy {energy.key!r} (its differences are {ratio:.3g} times the work of the "
            "forces): are they gradients? Then change their sign"
        ]
    if 1 / _WRONG < ratio < _WRONG:
        return []
    own = factor("energy", energy.unit), factor("forces", forces.unit)
    causes = {f"{energy.key!r} in {unit}": own[0] / factor("energy", unit) for unit in UNITS_OF["energy"]}
    causes |= {f"{forces.key!r} in {unit}": factor("forces", unit) / own[1] for unit in UNITS_OF["forces"]}
    causes |= {f"the positions in {unit}": factor("length", unit) for unit in UNITS_OF["length"]}
    near = sorted((abs(np.log(ratio / value)), cause) for cause, value in causes.items())
    likely = [cause for distance, cause in near if distance < _NEAR][:_CAUSES]
    says = (
        f"differences of {energy.key!r} are {ratio:.3g} times the work of {forces.key!r}, where 1 is expected "
        f"(they are taken in {energy.unit} and {forces.unit})"
    )
    return [f"{says}: is {' or '.join(likely)}?" if likely else f"{says}: do the forces belong to this energy?"]


def force_ratio(structures: Structures) -> float | None:
    """Differences of energy over the work of the forces between frames of the same atoms; about 1 if all is well.

    Returns:
        None where there are too few frames of the same atoms, or none that lie close enough.
    """
    energy, forces = structures.structure_labels["energy"], structures.atom_labels["forces"]
    frames = _alike(structures, energy, forces)
    if len(frames) < 4:
        return None
    some = structures.select(frames)
    n = int(some.n_atoms[0])
    positions = some.positions.double().reshape(-1, n, 3)
    own_forces = some.atom_labels["forces"].double().reshape(-1, n, 3)
    periodic = bool(some.pbc[0].any())
    if not periodic:
        positions, own_forces = _aligned(positions, own_forces)
    steps = positions[None] - positions[:, None]  # [f, g, n, 3], from the first frame of a pair to the second
    if periodic:
        inverse = torch.linalg.pinv(some.cell[0].double())
        shifts = torch.round(steps @ inverse) * some.pbc[0]
        steps = steps - shifts @ some.cell[0].double()
    steps = steps - steps.mean(dim=2, keepdim=True)  # the energy knows nothing of a shift of all atoms
    distance = steps.square().sum(dim=(2, 3))
    first, second = _closest(distance)
    work = -0.5 * ((own_forces[first] + own_forces[second]) * steps[first, second]).sum(dim=(1, 2))
    difference = (some.structure_labels["energy"][second] - some.structure_labels["energy"][first]).double()
    powers = torch.stack(((difference * work).sum(), difference.square().sum(), work.square().sum()))
    product, of_energy, of_work = powers.tolist()
    if of_energy <= 0 or of_work <= 0 or abs(product) < _CORRELATION * (of_energy * of_work) ** 0.5:
        return None
    return float(np.sign(product) * (of_energy / of_work) ** 0.5)


def _alike(structures: Structures, energy: Tensor, forces: Tensor) -> Tensor:
    """Frames of the same atoms in the same cell that have energy and forces, as many as are worth it."""
    bad = torch.zeros(len(structures), dtype=torch.bool)
    bad[structures.batch[torch.isnan(forces).any(dim=1)]] = True
    usable = (~bad & ~torch.isnan(energy) & (structures.n_atoms > 1)).nonzero()[:, 0][:_LOOKED_AT]
    kinds: dict[bytes, list[int]] = {}
    species, cells = structures.species.to(torch.uint8).numpy(), structures.cell.numpy()
    charges = torch.stack((structures.charge.double(), structures.spin.double()), dim=1).numpy()
    offsets, counts = structures.offsets.tolist(), structures.n_atoms.tolist()
    pbc = structures.pbc.numpy()
    for frame in usable.tolist():
        atoms = species[offsets[frame] : offsets[frame] + counts[frame]].tobytes()
        cell = np.round(cells[frame] * pbc[frame][:, None], 6).tobytes() + pbc[frame].tobytes()
        kinds.setdefault(atoms + cell + charges[frame].tobytes(), []).append(frame)
    frames = max(kinds.values(), key=len, default=[])
    if not frames:
        return torch.zeros(0, dtype=torch.int64)
    most = min(_FRAMES, int((_NUMBERS / (3 * counts[frames[0]])) ** 0.5))
    return torch.tensor(frames[:most], dtype=torch.int64)


def _aligned(positions: Tensor, forces: Tensor) -> tuple[Tensor, Tensor]:
    """All frames turned onto the first one (Kabsch 1976), with their forces."""
    centred = positions - positions.mean(dim=1, keepdim=True)
    left, _, right = torch.linalg.svd(centred.transpose(1, 2) @ centred[0])
    mirror = torch.ones(len(positions), 3, dtype=positions.dtype)
    mirror[:, 2] = torch.sign(torch.linalg.det(left @ right))
    rotation = (left * mirror[:, None]) @ right  # [f, 3, 3], applied from the right
    return centred @ rotation, forces @ rotation


def _closest(distance: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of frames: the nearest neighbours of each, and of those pairs the closer ones."""
    n = len(distance)
    apart = distance + torch.diag(torch.full((n,), torch.inf, dtype=distance.dtype))
    apart[apart < 1e-8] = torch.inf  # copies of one frame
    nearest = apart.topk(min(_NEAREST, n - 1), largest=False)
    first = torch.arange(n).repeat_interleave(nearest.indices.shape[1])
    second, value = nearest.indices.reshape(-1), nearest.values.reshape(-1)
    order = value.argsort()[: max(2, int(_MOST_PAIRS * int(torch.isfinite(value).sum())))]
    order = order[torch.isfinite(value[order])]
    return first[order], second[order]


def _total_energies(structures: Structures, energy: Taken) -> list[str]:
    labels = structures.structure_labels["energy"]
    usable = (~torch.isnan(labels)).nonzero()[:_LOOKED_AT, 0]
    some = structures.select(usable)
    if not len(some) or int(some.species.max()) > len(_ATOMS):
        return []
    atoms = torch.tensor((0.0, *_ATOMS), dtype=torch.float64)[some.species]
    sums = torch.zeros(len(some), dtype=torch.float64).index_add_(0, some.batch, atoms) * -factor("energy", "Ha")
    ratio = float((labels[usable].double() / sums).median())
    if abs(ratio - 1) < _TOTAL:
        return []
    for unit in UNITS_OF["energy"]:
        # what they would be, had they been read in this unit
        if abs(ratio * factor("energy", unit) / factor("energy", energy.unit) - 1) < _TOTAL:
            return [
                f"{energy.key!r} is about what these molecules' total energies are in {unit}, but is taken in "
                f"{energy.unit}: is the unit of energy {unit}?"
            ]
    return []
