"""`read` and `iterate`: the structures of a file, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from molgen.data.arrays import iterate_arrays
from molgen.data.ase_database import iterate_database
from molgen.data.ase_trajectory import iterate_trajectory
from molgen.data.cache import Cache
from molgen.data.compression import COMPRESSED, inner_suffix, open_binary
from molgen.data.records import wrong
from molgen.data.sdf import iterate_sdf
from molgen.data.xyz import iterate_xyz
from molgen.errors import InputError
from molgen.structures import Structures, concatenate

__all__ = ["format_of", "iterate", "read"]

_SUFFIXES = {
    ".sdf": "sdf",
    ".sd": "sdf",
    ".mol": "sdf",
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".db": "database",
    ".traj": "trajectory",
    ".npz": "arrays",
    ".cache": "cache",
}
_HEAD_BYTES = 4096


def iterate(path: str | Path, chunk: int = 1000, *, keys: Mapping[str, str] | None = None) -> Iterator[Structures]:
    """The structures of a file, some at a time.

    Args:
        path: an SDF, xyz, extended xyz, ASE database or trajectory, npz or cache file; known by its suffix, else by
            its content. Files of xyz and npz may be compressed (`.xz`, `.gz`, `.bz2`).
        chunk: how many structures each part has at most.
        keys: further labels to read: name in the file (ASE's `info`, `arrays` or `data`, an array of an npz file) to
            name of the label.

    Raises:
        FileFormatError: the file is missing, empty, truncated, of an unknown format, or holds what is no structure;
            names the structure (counted from 0) and the line (from 1) where they are known.

    Warns:
        DroppedDataWarning: numbers in the file that no label was asked for.
    """
    path = Path(path)
    if chunk < 1:
        raise InputError(f"parts of {chunk} structures", expected="at least 1")
    kind = format_of(path)
    if keys and kind in ("sdf", "cache"):
        raise InputError("labels of this format keep their names", where=str(path), remedy="leave the keys out")
    try:
        match kind:
            case "sdf":
                yield from iterate_sdf(path, chunk)
            case "xyz":
                yield from iterate_xyz(path, chunk, keys)
            case "database":
                yield from iterate_database(path, chunk, keys)
            case "trajectory":
                yield from iterate_trajectory(path, chunk, keys)
            case "arrays":
                yield from iterate_arrays(path, chunk, keys)
            case _:
                yield from _iterate_cache(path, chunk)
    except OSError as error:
        raise wrong(f"can't read the file: {error.strerror or error}", path) from error


def read(path: str | Path, *, index: int | slice | None = None, keys: Mapping[str, str] | None = None) -> Structures:
    """The structures of a file in one batch. Labels that only some of its parts have are left out.

    Args:
        path: as in :func:`iterate`, and with its errors and warnings.
        index: only this structure, or this slice of them, counted from 0.
        keys: as in :func:`iterate`.

    Raises:
        InputError: the file has no structure of this index.
    """
    parts, count = [], 0
    wanted = _wanted(index)
    for part in iterate(path, keys=keys):
        parts.append(part)
        count += len(part)
        if wanted is not None and count >= wanted:
            break
    structures = parts[0] if len(parts) == 1 else concatenate(parts)
    if index is None:
        return structures
    if isinstance(index, slice):
        return structures.select(range(count)[index])
    if not -count <= index < count:
        raise InputError(f"there is no structure {index}", where=str(path), expected=f"0 to {count - 1}")
    return structures.select([range(count)[index]])


def format_of(path: str | Path) -> str:
    """The format of a file: "sdf", "xyz", "database", "trajectory", "arrays" or "cache".

    Raises:
        FileFormatError: the file is missing or empty, or its format is none of these.
    """
    path = Path(path)
    try:
        with open_binary(path) as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        reason = error.strerror or str(error)
        raise wrong(f"can't read the file: {reason[:1].lower()}{reason[1:]}", path) from error
    if not head.strip():
        raise wrong("the file is empty", path)
    kind = _SUFFIXES.get(inner_suffix(path)) or _sniffed(head)
    if path.suffix.lower() in COMPRESSED and kind not in (None, "xyz", "arrays"):
        raise wrong("of compressed files only xyz and npz are read", path, remedy="unpack it first")
    if kind is None:
        known = ", ".join(sorted(_SUFFIXES))
        raise wrong("unknown file format", path, expected=known, remedy="convert the file, or mend its suffix")
    return kind


def _sniffed(head: bytes) -> str | None:
    if head.startswith(b"SQLite format 3\0"):
        return "database"
    if head.startswith(b"- of UlmASE-Trajectory"):
        return "trajectory"
    if head.startswith(b"PK\x03\x04"):
        return "arrays"
    if head[8:9] == b"{" and b"__metadata__" in head:
        return "cache"
    if b"V2000" in head or b"V3000" in head:
        return "sdf"
    return "xyz" if head.split(b"\n", 1)[0].strip().isdigit() else None


def _iterate_cache(path: Path, chunk: int) -> Iterator[Structures]:
    cache = Cache.open(path)
    for start in range(0, len(cache), chunk):
        yield cache.structures(range(start, min(start + chunk, len(cache))))


def _wanted(index: int | slice | None) -> int | None:
    """How many structures from the start suffice; None for all."""
    if isinstance(index, int) and index >= 0:
        return index + 1
    if isinstance(index, slice) and (index.step or 1) > 0 and (index.start or 0) >= 0 and (index.stop or -1) >= 0:
        return index.stop
    return None
