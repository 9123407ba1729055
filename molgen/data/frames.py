"""`ase.Atoms` as structures, together with the labels that the user names by their keys in the file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from molgen.conversion import from_ase
from molgen.errors import DroppedDataWarning, StructureError
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["from_frames"]

# what from_ase reads itself
_READ = frozenset(
    {"numbers", "positions", "momenta", "tags", "masses", "initial_charges", "initial_magmoms", "charge", "spin"}
)
_PER_ATOM = frozenset({"forces", "energies", "stresses", "charges", "magmoms"})


def from_frames(frames: Sequence[Atoms], keys: Mapping[str, str], path: Path) -> Structures:
    """Structures of frames; `keys` maps names in `info`, `arrays` or `info["data"]` to labels.

    Raises:
        StructureError: a frame without a key, or values that are no numbers or differ in shape.

    Warns:
        DroppedDataWarning: numbers that the file has under names that nobody asked for.
    """
    structures = from_ase(frames)
    atom_labels, structure_labels = dict(structures.atom_labels), dict(structures.structure_labels)
    for key, label in keys.items():
        values = [_value(frame, key, index) for index, frame in enumerate(frames)]
        per_atom = label in _PER_ATOM or all(key in frame.arrays for frame in frames)
        rows = [_shaped(value, frame, per_atom) for value, frame in zip(values, frames, strict=True)]
        try:
            joined = torch.from_numpy(np.concatenate(rows))
        except ValueError:
            raise StructureError(f"{key!r} has other shapes in other structures") from None
        atom_labels.pop(label, None)
        structure_labels.pop(label, None)
        (atom_labels if per_atom else structure_labels)[label] = joined
    _warn_of_unread(frames[0], keys, path)
    structures = structures.replace(atom_labels=atom_labels, structure_labels=structure_labels)
    structures.check()
    return structures


def _value(frame: Atoms, key: str, index: int) -> np.ndarray:
    where = f"structure {index}"
    for place in (frame.arrays, frame.info):
        if key in place:
            try:
                return np.asarray(place[key], dtype=np.float64)
            except (TypeError, ValueError):
                raise StructureError(f"{key!r} is no number or array of numbers", where=where) from None
    raise StructureError(f"there is no {key!r}", where=where, expected=", ".join(sorted({*frame.info, *frame.arrays})))


def _shaped(value: np.ndarray, frame: Atoms, per_atom: bool) -> np.ndarray:
    if per_atom:
        return value
    return value.reshape(1) if value.size == 1 else value[None]


def _warn_of_unread(frame: Atoms, keys: Mapping[str, str], path: Path) -> None:
    found = {**frame.info, **frame.arrays}
    unread = sorted(
        name for name, value in found.items() if name not in _READ and name not in keys and _is_number(value)
    )
    if unread:
        names = ", ".join(unread)
        warnings.warn(
            f"{path}: {names} left out; name the labels that they are to be read", DroppedDataWarning, stacklevel=2
        )


def _is_number(value: object) -> bool:
    try:
        return np.asarray(value).dtype.kind in "if"
    except ValueError:  # nested lists of different lengths
        return False
