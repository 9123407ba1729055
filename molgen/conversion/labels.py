"""What both conversions need: numbers that become labels, and the way to numpy and back."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from molgen.errors import DroppedDataWarning
from molgen.structures import Structures

__all__ = [
    "PER_ATOM",
    "as_numpy",
    "atom_ranges",
    "filled_labels",
    "joined",
    "numbers_of",
    "shared_labels",
    "warn_dropped",
]

# ASE's results that have a row per atom; all others have one value per structure
PER_ATOM = frozenset({"forces", "energies", "stresses", "charges", "magmoms", "born_effective_charges"})


def numbers_of(values: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Those values that are numbers or arrays of numbers, as float64."""
    numbers = {}
    for name, value in values.items():
        if isinstance(value, (bool, int, float, np.number, np.ndarray)) and np.asarray(value).dtype.kind in "biuf":
            numbers[name] = np.asarray(value, dtype=np.float64)
    return numbers


def shared_labels(found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """Per name one value for each structure, for the names that all structures have, in one shape."""
    names = set(found[0]).intersection(*found[1:])
    return {
        name: [values[name] for values in found]
        for name in sorted(names)
        if len({values[name].shape for values in found}) == 1
    }


def filled_labels(found: Sequence[Mapping[str, np.ndarray]], n_atoms: Sequence[int]) -> dict[str, list[np.ndarray]]:
    """Per name one value for each structure, NaN for those that lack it; names that differ in shape are left out."""
    labels, odd, filled = {}, [], []
    for name in sorted({name for values in found for name in values}):
        rows = [values[name] for values in found if name in values]
        per_atom = name in PER_ATOM
        shapes = {row.shape[1:] if per_atom else row.shape for row in rows}
        if len(shapes) > 1:
            odd.append(name)
            continue
        if len(rows) < len(found):
            filled.append(f"{name} ({len(found) - len(rows)} of {len(found)})")
        shape = shapes.pop()
        labels[name] = [
            values[name] if name in values else np.full((n, *shape) if per_atom else shape, np.nan)
            for values, n in zip(found, n_atoms, strict=True)
        ]
    if odd:
        warn_dropped(f"labels that differ in shape between structures are left out: {', '.join(odd)}")
    if filled:
        warn_dropped(f"labels that some structures lack are NaN there: {', '.join(filled)}")
    return labels


def atom_ranges(structures: Structures) -> list[tuple[int, int]]:
    """First atom and number of atoms of each structure."""
    return list(zip(structures.offsets.tolist(), structures.n_atoms.tolist(), strict=True))


def joined(arrays: Iterable[np.ndarray]) -> Tensor:
    """The arrays one after the other, as one tensor."""
    return torch.from_numpy(np.concatenate(list(arrays)))


def as_numpy(tensor: Tensor) -> np.ndarray:
    """On the CPU, without gradient; shares memory where it can."""
    return tensor.detach().cpu().numpy()


def warn_dropped(message: str) -> None:
    """Tell the caller of a conversion what it leaves out."""
    warnings.warn(message, DroppedDataWarning, stacklevel=3)
