"""The folder of a run: what may be written there, and finished batches that outlive a killed process.

While a run goes on, `.partial/` holds `run.json` (request and planned batches) and one safetensors file per finished
batch (with `trajectory-*.extxyz` beside it on demand). Since a batch depends on the request alone, a later run of the
same request could take them as they are. When the results are written, `.partial/` goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from molgen.atomic import atomic_path, write_atomically
from molgen.errors import OutputError
from molgen.generation.sampling import Sampled

__all__ = ["FILES", "RunFolder"]

FILES = (
    "molecules.sdf",
    "molecules.extxyz",
    "molecules.csv",
    "metrics.json",
    "run.json",
    "trajectory.extxyz",
    "report.html",
)
"""All that molgen writes into a run's folder, and all that it ever replaces there."""


class RunFolder:
    """A folder that is ours to write results to.

    Args:
        path: made with its parents if it is not there.
        overwrite: replace molgen's own files of an earlier run; other files in the folder are never touched.

    Raises:
        OutputError: it is a file, holds something and is not to be overwritten, or can't be written to.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.partial = self.path / ".partial"
        try:
            self._refuse_occupied(overwrite)
            self._made = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _output_error(self.path, error) from error
        self._written: set[str] = set()
        self._offsets: dict[int, tuple[int, int, int]] = {}  # molecule: trajectory part, start and end in bytes

    def _refuse_occupied(self, overwrite: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file", expected="a folder", remedy="choose another name")
        if overwrite or not self.path.exists():
            return
        if any(self.path.iterdir()):
            raise OutputError(
                f"{self.path} exists already and is not empty",
                remedy="choose another folder, or replace molgen's files in it with --overwrite",
            )

    def begin(self, record: dict) -> None:
        """Start the run: forget the batches of an earlier one, and write down what is planned."""
        self._clear_partial()
        try:
            self.partial.mkdir(exist_ok=True)
        except OSError as error:
            raise _output_error(self.partial, error) from error
        write_atomically(self.partial / "run.json", json.dumps(record))

    def keep(self, number: int, sampled: Sampled) -> None:
        """Write a finished batch beside the results to come."""
        from safetensors.torch import save

        s = sampled.structures
        tensors = {
            name: getattr(s, name).contiguous()
            for name in ("positions", "species", "n_atoms", "formal_charges", "bonds", "bond_orders", "bonds_known")
        }
        marks = {"indices": json.dumps(sampled.indices), "failures": json.dumps(sampled.failures)}
        write_atomically(self.partial / f"batch-{number:06d}.safetensors", save(tensors, marks))

    def keep_trajectory(self, number: int, texts: dict[int, str]) -> None:
        """Write the trajectories of a finished batch: the frames of each molecule by its index."""
        start, encoded = 0, []
        for index, text in texts.items():
            encoded.append(text.encode())
            self._offsets[index] = (number, start, start + len(encoded[-1]))
            start += len(encoded[-1])
        write_atomically(self._trajectory_part(number), b"".join(encoded))

    def join_trajectories(self) -> None:
        """Write `trajectory.extxyz`, the frames of every molecule together, in the order of their indices.

        Nothing is written where no trajectory was kept.
        """
        if not self._offsets:
            return
        with atomic_path(self.path / "trajectory.extxyz") as temporary, temporary.open("wb") as joined:
            for _, (number, start, end) in sorted(self._offsets.items()):
                with self._trajectory_part(number).open("rb") as part:
                    part.seek(start)
                    joined.write(part.read(end - start))
        self._written.add("trajectory.extxyz")

    def write(self, name: str, data: str) -> None:
        """Write one of :data:`FILES`, whole or not at all."""
        write_atomically(self.path / name, data)
        self._written.add(name)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[str]]:
        """A text file to write one of :data:`FILES` to; it appears when the block ends."""
        with atomic_path(self.path / name) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        self._written.add(name)

    def finish(self, *, complete: bool) -> None:
        """Take away what an earlier run left and this one did not replace; finished batches stay if some are missing.

        Raises:
            OutputError: a file of the earlier run can't be removed.
        """
        for name in set(FILES) - self._written:
            self._remove(self.path / name)
        if complete:
            self._clear_partial()
            with suppress(OSError):  # never made, or something of somebody else's is in there: not ours to remove
                self.partial.rmdir()

    def discard(self) -> None:
        """Leave no trace of a run that gave nothing."""
        self._clear_partial()
        with suppress(OSError):  # as above
            self.partial.rmdir()
            if self._made:
                self.path.rmdir()

    def _trajectory_part(self, number: int) -> Path:
        return self.partial / f"trajectory-{number:06d}.extxyz"

    def _clear_partial(self) -> None:
        for pattern in ("run.json", "batch-*.safetensors", "trajectory-*.extxyz"):
            for path in self.partial.glob(pattern):
                self._remove(path)

    @staticmethod
    def _remove(path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _output_error(path, error) from error


def _output_error(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(
        f"can't write {path}: {reason[:1].lower()}{reason[1:]}", remedy="choose a place that you may write to"
    )
