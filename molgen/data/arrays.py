"""Structures of npz files: flat arrays over all atoms, or frames of one molecule.

Flat files hold positions [N, 3], atomic numbers [N] and the number of atoms of each structure [B]; without the latter,
one structure. Trajectories hold positions [B, n, 3] or [B, 3n] and atomic numbers [n]. A cell is [B, 3, 3] or [B, 9],
or [3, 3] for all; what has a cell is periodic, unless `pbc` says otherwise. `charge` and `spin` are those of the
structures. Other arrays of numbers with a row per structure or per atom become labels of the same name.
"""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from molgen.data.compression import COMPRESSED, open_binary
from molgen.data.records import reason, wrong
from molgen.errors import DroppedDataWarning
from molgen.structures import Structures

__all__ = ["Flat", "iterate_arrays", "read_arrays", "read_flat"]

_POSITIONS = ("pos", "positions", "R", "coords", "coord")
_NUMBERS = ("Z", "z", "numbers", "species", "atomic_numbers", "nuclear_charges")
_COUNTS = ("n_atoms", "natoms")
_CELLS = ("cell", "cells", "box", "lattice")
_PBC = ("pbc",)


def iterate_arrays(path: Path, chunk: int, keys: Mapping[str, str] | None = None) -> Iterator[Structures]:
    """The structures of an npz file.

    Raises:
        FileFormatError: no npz file, arrays that don't fit each other, numbers that are no coordinates or elements.
    """
    data = read_flat(path, keys)
    if data.left_out:
        warnings.warn(
            f"{path}: arrays that have no row per structure or atom are left out: {', '.join(data.left_out)}",
            DroppedDataWarning,
            stacklevel=2,
        )
    offsets = np.concatenate([[0], np.cumsum(data.counts)])
    own = {name: data.structure_labels.pop(name) for name in ("charge", "spin") if name in data.structure_labels}
    for start in range(0, len(data.counts), chunk):
        stop = min(start + chunk, len(data.counts))
        atoms = slice(int(offsets[start]), int(offsets[stop]))
        yield Structures.build(
            torch.from_numpy(data.positions[atoms]),
            torch.from_numpy(data.species[atoms]),
            torch.from_numpy(data.counts[start:stop]),
            cell=torch.from_numpy(data.cell[start:stop]),
            pbc=torch.from_numpy(data.pbc[start:stop]),
            **{name: torch.from_numpy(rows[start:stop].reshape(-1)) for name, rows in own.items()},
            atom_labels={name: torch.from_numpy(rows[atoms]) for name, rows in data.atom_labels.items()},
            structure_labels={name: torch.from_numpy(rows[start:stop]) for name, rows in data.structure_labels.items()},
        )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, which may be compressed as a whole; nothing in it is executed.

    Raises:
        FileFormatError: no npz file, or one that is damaged or holds objects.
    """
    try:
        with open_binary(path) as whole:
            # numpy picks arrays from anywhere in the file, which is slow while it is decompressed
            seekable = io.BytesIO(whole.read()) if path.suffix.lower() in COMPRESSED else whole
            with np.load(seekable, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError, MemoryError) as error:
        raise wrong(f"not a readable npz file: {reason(error)}", path) from error
    except (RuntimeError, SyntaxError, TypeError, OverflowError, AttributeError) as error:
        raise wrong("not a readable npz file", path) from error


@dataclass(frozen=True)
class Flat:
    """The arrays of an npz file, flat over all atoms."""

    positions: np.ndarray  # [N, 3]
    species: np.ndarray  # [N] int64
    counts: np.ndarray  # [B] int64
    cell: np.ndarray  # [B, 3, 3]
    pbc: np.ndarray  # [B, 3] bool
    atom_labels: dict[str, np.ndarray]
    structure_labels: dict[str, np.ndarray]
    texts: dict[str, str]  # arrays of a single text, such as a unit
    left_out: tuple[str, ...]  # arrays that have no row per structure or atom


def read_flat(path: Path, keys: Mapping[str, str] | None = None) -> Flat:
    """The structures and labels of an npz file; `keys` maps names of arrays to labels.

    Raises:
        FileFormatError: no npz file, arrays that don't fit each other, numbers that are no coordinates or elements.
    """
    keys = keys or {}
    arrays = read_arrays(path)
    positions = _take(arrays, _POSITIONS, "positions", path)
    numbers = _take(arrays, _NUMBERS, "atomic numbers", path)
    if positions.dtype.kind not in "fiu" or numbers.dtype.kind not in "iu":
        raise wrong("positions or atomic numbers are no numbers", path, expected="floating positions, integer numbers")
    positions = positions.astype(np.float32 if positions.dtype.str[1:] == "f4" else np.float64)
    frames = 0
    if positions.shape == (*numbers.shape, 3):
        counts = _counts(arrays, len(numbers), path)
    elif numbers.ndim == 1 and positions.shape[1:] in ((len(numbers), 3), (3 * len(numbers),)):
        frames = len(positions)
        counts = np.full(frames, len(numbers), dtype=np.int64)
        numbers, positions = np.tile(numbers, frames), positions.reshape(-1, 3)
    else:
        shapes = f"positions {list(positions.shape)} and atomic numbers {list(numbers.shape)}"
        raise wrong(f"{shapes} don't fit", path, expected="[N, 3] and [N], or [B, n, 3] and [n]")
    if len(counts) == 0 or counts.min() < 1:
        raise wrong("there are no structures in the file" if len(counts) == 0 else "a structure without atoms", path)
    _check(positions, numbers, counts, path)
    if missing := sorted(set(keys) - set(arrays)):
        raise wrong(f"there is no array {missing[0]!r}", path, expected=", ".join(sorted(arrays)))
    cell, pbc = _cells(arrays, len(counts), positions.dtype, path)
    texts = {name: _text(arrays.pop(name)) for name in sorted(arrays) if _is_text(arrays[name])}
    labels = _labels(arrays, len(numbers), len(counts), frames, keys)
    return Flat(positions, numbers.astype(np.int64), counts, cell, pbc, *labels[:2], texts, labels[2])


def _is_text(values: np.ndarray) -> bool:
    return values.dtype.kind in "US" and values.size == 1


def _text(values: np.ndarray) -> str:
    value = values.reshape(-1)[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _cells(arrays: dict[str, np.ndarray], b: int, dtype: np.dtype, path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not any(name in arrays for name in _CELLS):
        return np.zeros((b, 3, 3), dtype), np.zeros((b, 3), bool)
    given = _take(arrays, _CELLS, "a cell", path)
    if given.dtype.kind not in "fiu" or given.shape not in ((b, 3, 3), (b, 9), (3, 3), (9,)):
        raise wrong(f"the cell has shape {list(given.shape)}", path, expected=f"[{b}, 3, 3], [{b}, 9] or [3, 3]")
    cell = np.broadcast_to(given.astype(dtype).reshape(-1, 3, 3), (b, 3, 3)).copy()
    if not np.isfinite(cell).all():
        raise wrong("a cell vector is not finite", path, f"structure {int(np.argwhere(~np.isfinite(cell))[0, 0])}")
    pbc = np.abs(cell).sum(axis=2) > 0
    if any(name in arrays for name in _PBC):
        stated = _take(arrays, _PBC, "periodicity", path)
        if stated.dtype.kind not in "biu" or stated.shape not in ((b, 3), (3,)):
            raise wrong(f"pbc has shape {list(stated.shape)}", path, expected=f"[{b}, 3] or [3] of True and False")
        pbc = np.broadcast_to(stated.astype(bool), (b, 3)).copy()
    return cell, pbc


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
    arrays: dict[str, np.ndarray], n: int, b: int, frames: int, keys: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], tuple[str, ...]]:
    atoms: dict[str, np.ndarray] = {}
    structures: dict[str, np.ndarray] = {}
    left_out = []
    for name, values in sorted(arrays.items()):
        label = keys.get(name, name)
        values = values.astype(values.dtype.newbyteorder("="))  # torch takes none but the machine's own
        numeric = values.dtype.kind in "biuf" and values.dtype.itemsize <= 8
        if numeric and frames and values.ndim > 1 and values.shape[:2] == (frames, n // frames):
            atoms[label] = values.reshape(n, *values.shape[2:])
        elif numeric and frames and values.shape == (frames, 3 * (n // frames)):
            atoms[label] = values.reshape(n, 3)
        elif numeric and values.ndim and len(values) == b:
            structures[label] = values
        elif numeric and values.ndim and len(values) == n and not frames:
            atoms[label] = values
        else:
            left_out.append(name)
    return atoms, structures, tuple(left_out)
