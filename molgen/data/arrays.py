"""Structures of npz files: flat arrays over all atoms, or frames of one molecule.

Flat files hold positions [N, 3], atomic numbers [N] and the number of atoms of each structure [B]; without the latter,
one structure. Trajectories hold positions [B, n, 3] and atomic numbers [n]. Other arrays of numbers with a row per
structure or per atom become labels of the same name.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from molgen.data.records import reason, wrong
from molgen.errors import DroppedDataWarning
from molgen.structures import Structures

__all__ = ["iterate_arrays", "read_arrays"]

_POSITIONS = ("pos", "positions", "R", "coords")
_NUMBERS = ("Z", "numbers", "species", "atomic_numbers", "nuclear_charges")
_COUNTS = ("n_atoms", "natoms")


def iterate_arrays(path: Path, chunk: int, keys: Mapping[str, str] | None = None) -> Iterator[Structures]:
    """The structures of an npz file.

    Raises:
        FileFormatError: no npz file, arrays that don't fit each other, numbers that are no coordinates or elements.
    """
    data = _read(path, keys or {})
    offsets = np.concatenate([[0], np.cumsum(data.counts)])
    for start in range(0, len(data.counts), chunk):
        stop = min(start + chunk, len(data.counts))
        atoms = slice(int(offsets[start]), int(offsets[stop]))
        yield Structures.build(
            torch.from_numpy(data.positions[atoms]),
            torch.from_numpy(data.species[atoms]),
            torch.from_numpy(data.counts[start:stop]),
            atom_labels={name: torch.from_numpy(rows[atoms]) for name, rows in data.atom_labels.items()},
            structure_labels={name: torch.from_numpy(rows[start:stop]) for name, rows in data.structure_labels.items()},
        )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file; nothing in it is executed.

    Raises:
        FileFormatError: no npz file, or one that is damaged or holds objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError, MemoryError) as error:
        raise wrong(f"not a readable npz file: {reason(error)}", path) from error
    except (RuntimeError, SyntaxError, TypeError, OverflowError, AttributeError) as error:
        raise wrong("not a readable npz file", path) from error


@dataclass(frozen=True)
class _Flat:
    positions: np.ndarray  # [N, 3]
    species: np.ndarray  # [N] int64
    counts: np.ndarray  # [B] int64
    atom_labels: dict[str, np.ndarray]
    structure_labels: dict[str, np.ndarray]


def _read(path: Path, keys: Mapping[str, str]) -> _Flat:
    arrays = read_arrays(path)
    positions = _take(arrays, _POSITIONS, "positions", path)
    numbers = _take(arrays, _NUMBERS, "atomic numbers", path)
    if positions.dtype.kind not in "fiu" or numbers.dtype.kind not in "iu":
        raise wrong("positions or atomic numbers are no numbers", path, expected="floating positions, integer numbers")
    positions = positions.astype(np.float32 if positions.dtype.str[1:] == "f4" else np.float64)
    frames = 0
    if positions.ndim == 3 and positions.shape[1:] == (*numbers.shape, 3):
        frames = len(positions)
        counts = np.full(frames, len(numbers), dtype=np.int64)
        numbers, positions = np.tile(numbers, frames), positions.reshape(-1, 3)
    elif positions.shape == (*numbers.shape, 3):
        counts = _counts(arrays, len(numbers), path)
    else:
        shapes = f"positions {list(positions.shape)} and atomic numbers {list(numbers.shape)}"
        raise wrong(f"{shapes} don't fit", path, expected="[N, 3] and [N], or [B, n, 3] and [n]")
    if len(counts) == 0 or counts.min() < 1:
        raise wrong("there are no structures in the file" if len(counts) == 0 else "a structure without atoms", path)
    _check(positions, numbers, counts, path)
    if missing := sorted(set(keys) - set(arrays)):
        raise wrong(f"there is no array {missing[0]!r}", path, expected=", ".join(sorted(arrays)))
    atom_labels, structure_labels = _labels(arrays, len(numbers), len(counts), frames, keys, path)
    return _Flat(positions, numbers.astype(np.int64), counts, atom_labels, structure_labels)


def _take(arrays: dict[str, np.ndarray], names: tuple[str, ...], what: str, path: Path) -> np.ndarray:
    found = [name for name in names if name in arrays]
    if len(found) != 1:
        problem = f"no {what}" if not found else f"{what} under several names"
        raise wrong(
            f"{problem} among its arrays {', '.join(sorted(arrays))}", path, expected=f"one of {', '.join(names)}"
        )
    return arrays.pop(found[0])


def _counts(arrays: dict[str, np.ndarray], n: int, path: Path) -> np.ndarray:
    if not any(name in arrays for name in _COUNTS):
        return np.array([n], dtype=np.int64)
    counts = _take(arrays, _COUNTS, "atom counts", path)
    total = int(counts.sum(dtype=np.float64)) if counts.dtype.kind in "iu" and counts.ndim == 1 else -1
    if total != n:
        raise wrong("the atom counts don't add up to the atoms", path, expected=f"whole numbers that sum to {n}")
    return counts.astype(np.int64)


def _check(positions: np.ndarray, numbers: np.ndarray, counts: np.ndarray, path: Path) -> None:
    def raise_at(bad: np.ndarray, what: str, expected: str | None = None) -> None:
        if bad.any():
            atom = int(np.flatnonzero(bad)[0])
            structure = int(np.searchsorted(np.cumsum(counts), atom, side="right"))
            inside = atom - int(counts[:structure].sum())
            raise wrong(what, path, f"structure {structure}, atom {inside}", expected)

    raise_at(~np.isfinite(positions).all(axis=1), "a coordinate is not a finite number")
    raise_at((numbers < 1) | (numbers > 118), "an atomic number that is no element", "1 to 118")


def _labels(
    arrays: dict[str, np.ndarray], n: int, b: int, frames: int, keys: Mapping[str, str], path: Path
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    atoms: dict[str, np.ndarray] = {}
    structures: dict[str, np.ndarray] = {}
    left_out = []
    for name, values in sorted(arrays.items()):
        label = keys.get(name, name)
        values = values.astype(values.dtype.newbyteorder("="))  # torch takes none but the machine's own
        numeric = values.dtype.kind in "biuf" and values.dtype.itemsize <= 8
        if numeric and frames and values.ndim > 1 and values.shape[:2] == (frames, n // frames):
            atoms[label] = values.reshape(n, *values.shape[2:])
        elif numeric and values.ndim and len(values) == b:
            structures[label] = values
        elif numeric and values.ndim and len(values) == n and not frames:
            atoms[label] = values
        else:
            left_out.append(name)
    if left_out:
        warnings.warn(
            f"{path}: arrays that have no row per structure or atom are left out: {', '.join(left_out)}",
            DroppedDataWarning,
            stacklevel=2,
        )
    return atoms, structures
