"""The energies of a run of dynamics as CSV, and what they tell: mean temperature, drift of the total energy."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import IO, Final

import numpy as np

from molgen.atomic import write_atomically
from molgen.errors import FileFormatError, OutputError

__all__ = ["COLUMNS", "EnergyLog", "drift_of"]

COLUMNS: Final = (
    "step",
    "time_fs",
    "potential_energy_eV",
    "kinetic_energy_eV",
    "total_energy_eV",
    "temperature_K",
)


class EnergyLog:
    """One row per logged step, flushed as it is written.

    Args:
        path: of the file.
        resume_at: rows up to this step stay, and later or unfinished ones are removed; None starts a new file.
        interval: rows of other steps than its multiples are removed, too.

    Raises:
        OutputError: the file can't be written.
        FileFormatError: what stands there is no such log.
    """

    def __init__(self, path: Path, resume_at: int | None, interval: int = 1) -> None:
        self.path = path
        self.rows: list[tuple[float, ...]] = []
        try:
            if resume_at is not None and path.exists():
                self.rows = [row for row in _rows(path, resume_at) if row[0] % interval == 0]
            # whole or as it was: a run that is killed while it starts loses no row
            write_atomically(path, "".join(",".join(row) + "\n" for row in (COLUMNS, *map(_shown, self.rows))))
            self._file: IO[str] = path.open("a", encoding="utf-8", newline="")
            self._writer = csv.writer(self._file, lineterminator="\n")
        except OSError as error:
            raise _full(path, error) from error

    def write(self, step: int, time: float, potential: float, kinetic: float, temperature: float) -> None:
        """Append a row: time in fs, energies in eV, temperature in K.

        Raises:
            OutputError: the disk is full.
        """
        row = (step, time, potential, kinetic, potential + kinetic, temperature)
        try:
            self._writer.writerow(_shown(row))
            self._file.flush()
        except OSError as error:
            raise _full(self.path, error) from error
        self.rows.append(row)

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError as error:  # what a full disk has not taken is tried once more
            raise _full(self.path, error) from error


def drift_of(rows: list[tuple[float, ...]], n_atoms: int) -> float | None:
    """Slope of the total energy in meV/atom/ps, by least squares; None from fewer than two times.

    >>> round(drift_of([(0, 0.0, -1.0, 0.5, -0.5, 300.0), (1, 1000.0, -1.0, 0.52, -0.48, 310.0)], n_atoms=2), 6)
    10.0
    """
    times, energies = (np.array([row[column] for row in rows]) for column in (1, 4))  # fs, eV
    if len(set(times.tolist())) < 2:
        return None
    times = times - times.mean()
    slope = (times * (energies - energies.mean())).sum() / np.square(times).sum()  # eV/fs
    return float(slope * 1e6 / n_atoms)


def _rows(path: Path, resume_at: int) -> list[tuple[float, ...]]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if lines and lines[0] != ",".join(COLUMNS) + "\n":
        raise FileFormatError("it is no log of dynamics", where=str(path), expected=f"the columns {', '.join(COLUMNS)}")
    found: list[tuple[float, ...]] = []
    for line in lines[1:]:
        words = line.split(",")
        if not line.endswith("\n") or len(words) != len(COLUMNS):
            break
        try:
            row = (int(words[0]), *map(float, words[1:]))
        except ValueError:
            break
        if row[0] > resume_at:
            break
        found.append(row)
    return found


def _shown(row: tuple[float, ...]) -> list[str]:
    step, time, *energies, temperature = row
    # every digit of the energies: a drift is a small difference of large numbers
    return [str(step), f"{time:.10g}", *map(repr, energies), f"{temperature:.6g}"]


def _full(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(
        f"can't write {path}: {reason[:1].lower()}{reason[1:]}", remedy="make room, then go on with --restart"
    )
