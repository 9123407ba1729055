"""The columns of a cache in the making, waiting on disk until the number of all rows is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from molgen.errors import InputError

__all__ = ["Column", "Spool"]

_BLOCK_ROWS = 1 << 18


class Column:
    """Rows of one tensor."""

    def __init__(self, file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.file, self.dtype, self.shape = file, dtype, shape
        self.rows = 0
        self.largest: float = 0.0  # of the absolute values

    def append(self, values: np.ndarray) -> None:
        """Add rows [n, ...] at the end."""
        values = np.ascontiguousarray(values)
        self.file.write(values.data if values.size else b"")
        self.rows += len(values)
        if values.size and self.dtype != np.bool_:
            self.largest = max(self.largest, float(np.abs(values).max()))

    def blocks(self) -> Iterator[np.ndarray]:
        """The rows in order, some at a time."""
        self.file.seek(0)
        width = int(np.prod(self.shape, dtype=np.int64))
        for start in range(0, self.rows, _BLOCK_ROWS):
            rows = min(_BLOCK_ROWS, self.rows - start)
            data = self.file.read(rows * width * self.dtype.itemsize)
            yield np.frombuffer(data, self.dtype).reshape(rows, *self.shape)


class Spool:
    """The columns by name, and what is known of all rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.columns: dict[str, Column] = {}
        self.elements: set[int] = set()
        self.structures = 0
        self.batches = 0
        self.seen: dict[str, int] = {}  # in how many batches a label was
        self.gaps: set[str] = set()  # labels that are NaN somewhere
        self.rounded = False  # some positions came with more digits than float32 holds

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for column in self.columns.values():
            column.file.close()

    def append(self, name: str, values: np.ndarray) -> None:
        """Add rows to a column, which is made of the first ones.

        Raises:
            InputError: rows of another type or shape than those before.
        """
        column = self.columns.get(name)
        if column is None:
            file = (self.folder / str(len(self.columns))).open("w+b")
            column = self.columns[name] = Column(file, values.dtype, values.shape[1:])
        if (column.dtype, column.shape) != (values.dtype, values.shape[1:]):
            raise InputError(
                f"{name} changes from {column.dtype} {list(column.shape)} to {values.dtype} {list(values.shape[1:])}",
                where=f"batch {self.batches}",
                expected="labels of one type and shape",
            )
        column.append(values)

    def append_labels(self, prefix: str, labels: Mapping[str, np.ndarray], before: int, rows: int) -> None:
        """The labels of a batch; floating ones that some batches lack are NaN there.

        Args:
            prefix: of the columns' names.
            labels: [rows, ...] each.
            before: rows that a label of all earlier batches has.
            rows: of this batch.
        """
        for short, values in labels.items():
            name = prefix + short
            floating = values.dtype.kind == "f"
            if name not in self.columns and before and floating:
                self._fill(name, before, values.dtype, values.shape[1:])
            self.append(name, values)
            self.seen[name] = self.seen.get(name, 0) + 1
            if floating and np.isnan(values).any():
                self.gaps.add(name)
        for name in [name for name in self.seen if name.startswith(prefix) and name[len(prefix) :] not in labels]:
            column = self.columns[name]
            if column.dtype.kind == "f":
                self._fill(name, rows, column.dtype, column.shape)

    def _fill(self, name: str, rows: int, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.gaps.add(name)
        for start in range(0, rows, _BLOCK_ROWS):
            self.append(name, np.full((min(_BLOCK_ROWS, rows - start), *shape), np.nan, dtype))
