"""The log of a run as CSV: one row at a time, and never a row past the state that a resumed run starts from."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from molgen.atomic import write_atomically
from molgen.errors import OutputError

__all__ = ["Log"]


class Log:
    """A CSV file with one column per name; the first row decides the columns.

    Args:
        path: of the file.
        resume_at: rows of later steps are removed; a row that a killed process left unfinished, too.
    """

    def __init__(self, path: Path, resume_at: int = 0) -> None:
        self._path = path
        self._columns: list[str] = []
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            rows = [line for line in lines[1:] if line.endswith("\n") and _step(line) <= resume_at]
            if resume_at and lines and lines[0].endswith("\n"):
                write_atomically(path, "".join([lines[0], *rows]))
                self._columns = next(csv.reader([lines[0]]))
            else:
                write_atomically(path, "")

    def write(self, row: Mapping[str, object]) -> None:
        """Append a row; `step` is one of its keys. Keys that are no column are left out.

        Raises:
            OutputError: the disk is full or the file can't be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self._columns:
            self._columns = list(row)
            writer.writerow(self._columns)
        writer.writerow([_text(row.get(column)) for column in self._columns])
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text.getvalue())
        except OSError as error:
            raise OutputError(
                f"can't write {self._path}: {error.strerror}",
                remedy="make room, then go on from the last checkpoint with --resume",
            ) from error


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _step(line: str) -> float:
    try:
        return int(line.split(",", 1)[0])
    except ValueError:
        return float("inf")
