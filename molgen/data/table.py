"""What a file has of each frame, gathered in columns by the names in the file, before labels are made of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from molgen.data.records import wrong
from molgen.errors import FileFormatError

__all__ = ["Column", "Frame", "Table", "gathered"]

_JSON = "_JSON "  # how ASE writes arrays of several dimensions


@dataclass(slots=True)
class Frame:
    """One frame as a file has it."""

    where: str  # "frame 3, line 41": counted from 0, the line from 1
    numbers: np.ndarray  # [n] int64
    positions: np.ndarray  # [n, 3]
    cell: np.ndarray | None  # [3, 3], rows are lattice vectors
    pbc: tuple[bool, bool, bool]
    info: dict[str, object]  # values of the frame; numbers may still be text
    arrays: dict[str, np.ndarray]  # [n, ...] each


@dataclass
class Column:
    """The values under one name, in those frames that have it."""

    name: str
    per_atom: bool
    present: np.ndarray  # [B] bool
    values: np.ndarray | None  # one row per frame, or per atom, of those frames; None if they are no array of numbers
    texts: list[str] | None = None  # of the frames that have it, where the values are text
    odd: int | None = None  # the first frame whose values have another shape, or are no numbers

    @property
    def count(self) -> int:
        """In how many frames it is."""
        return int(self.present.sum())


@dataclass
class Table:
    """The frames of a file, one after the other."""

    path: Path
    positions: np.ndarray  # [N, 3] float64
    numbers: np.ndarray  # [N] int64
    counts: np.ndarray  # [B] int64
    cell: np.ndarray  # [B, 3, 3]
    pbc: np.ndarray  # [B, 3] bool
    columns: dict[str, Column]  # per structure
    atom_columns: dict[str, Column]
    place: Callable[[int], str]
    arrays: bool = False  # whether it is an npz file
    others: Counter[str] = field(default_factory=Counter)  # names that nobody looks for, and their frames

    def wrong(self, what: str, frame: int, expected: str | None = None, remedy: str | None = None) -> FileFormatError:
        """The error for a frame that isn't as it should be."""
        return wrong(what, self.path, self.place(frame), expected, remedy)

    def wrong_atom(
        self, what: str, atom: int, expected: str | None = None, remedy: str | None = None
    ) -> FileFormatError:
        """The error for an atom, counted over all frames, that isn't as it should be."""
        frame = int(np.searchsorted(np.cumsum(self.counts), atom, side="right"))
        inside = atom - int(self.counts[:frame].sum())
        return wrong(what, self.path, f"{self.place(frame)}, atom {inside}", expected, remedy)


def gathered(frames: Iterable[Frame], path: Path, wanted: Callable[[str], bool]) -> Table:
    """The columns of frames; those that are not wanted are only counted.

    Raises:
        FileFormatError: there are no frames, or a coordinate is not finite; names the frame.
    """
    places: list[str] = []
    numbers, positions, cells, pbc = [], [], [], []
    info: dict[str, tuple[list[int], list[object]]] = {}
    arrays: dict[str, tuple[list[int], list[object]]] = {}
    others: Counter[str] = Counter()
    empty = np.zeros((3, 3))
    for index, frame in enumerate(frames):
        places.append(frame.where)
        numbers.append(frame.numbers)
        positions.append(frame.positions)
        cells.append(empty if frame.cell is None else frame.cell)
        pbc.append(frame.pbc)
        for found, kept in ((frame.info, info), (frame.arrays, arrays)):
            for name, value in found.items():
                if wanted(name):
                    indices, values = kept.setdefault(name, ([], []))
                    indices.append(index)
                    values.append(value)
                else:
                    others[name] += 1
    if not places:
        raise wrong("there are no structures in the file", path)
    counts = np.array([len(own) for own in numbers], dtype=np.int64)
    table = Table(
        path=path,
        positions=np.concatenate(positions).astype(np.float64, copy=False),
        numbers=np.concatenate(numbers),
        counts=counts,
        cell=np.array(cells, dtype=np.float64),
        pbc=np.array(pbc, dtype=bool),
        columns={name: _column(name, False, len(counts), *kept) for name, kept in info.items()},
        atom_columns={name: _column(name, True, len(counts), *kept) for name, kept in arrays.items()},
        place=places.__getitem__,
        others=others,
    )
    _check(table)
    return table


def _check(table: Table) -> None:
    infinite = ~np.isfinite(table.positions).all(axis=1)
    if infinite.any():
        raise table.wrong_atom("a coordinate is not a finite number", int(np.flatnonzero(infinite)[0]))
    none = (table.numbers < 1) | (table.numbers > 118)
    if none.any():
        atom = int(np.flatnonzero(none)[0])
        raise table.wrong_atom(f"atomic number {table.numbers[atom]} is no element", atom, "1 to 118")
    if not np.isfinite(table.cell).all():
        raise table.wrong("a cell vector is not finite", int(np.argwhere(~np.isfinite(table.cell))[0, 0]))
    bare = (table.pbc & (np.abs(table.cell).sum(axis=2) == 0)).any(axis=1)
    if bare.any():
        raise table.wrong("it is periodic where it has no cell vector", int(np.flatnonzero(bare)[0]), "a Lattice")


def _column(name: str, per_atom: bool, n: int, indices: list[int], values: list[object]) -> Column:
    present = np.zeros(n, bool)
    present[indices] = True
    texts = [str(value) for value in values] if isinstance(values[0], str) else None
    parsed: list[np.ndarray] = []
    shape: tuple[int, ...] | None = None
    for index, value in zip(indices, values, strict=True):
        try:
            row = np.array(_numbers(value) if isinstance(value, str) else value, dtype=np.float64)
        except (TypeError, ValueError, RecursionError):
            return Column(name, per_atom, present, None, texts, odd=index)
        if isinstance(value, str) and row.shape == (1,):
            row = row[0]
        own = row.shape[1:] if per_atom else row.shape
        if shape is not None and own != shape:
            return Column(name, per_atom, present, None, texts, odd=index)
        shape = own
        parsed.append(row)
    stacked = np.concatenate(parsed) if per_atom else np.stack(parsed)
    return Column(name, per_atom, present, stacked, texts)


def _numbers(text: str) -> object:
    if text.startswith(_JSON):
        return json.loads(text.removeprefix(_JSON))
    return text.replace(",", " ").split()
