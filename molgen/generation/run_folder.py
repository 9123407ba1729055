"""The folder of a run: what may be written there, and finished batches that outlive a killed process.

While a run goes on, `.partial/` holds `plan.json` (request and planned batches) and one safetensors file per finished
batch (with `trajectory-*.extxyz` beside it on demand). Since a batch depends on the request alone, a run of the same
request that resumes takes them as they are, whatever ended the first one. Results are staged there too, and moved to
their places when all of them are written: a disk that fills up leaves no half of a run. Then `.partial/` goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from molgen.atomic import atomic_path, write_atomically
from molgen.errors import MolgenError, OutputError
from molgen.generation.sampling import Sampled
from molgen.structures import Structures

__all__ = ["FILES", "RunFolder"]

FILES = (
    "molecules.sdf",
    "molecules.extxyz",
    "molecules.csv",
    "relaxed.sdf",
    "relaxed.extxyz",
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
        resume: go on with the run that was interrupted in it.

    Raises:
        OutputError: it is a file, holds something and is not to be overwritten, or can't be written to; or there is no
            run to go on with.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False, resume: bool = False) -> None:
        self.path = Path(path)
        self.partial = self.path / ".partial"
        self._resume, self._resumed = resume, False
        try:
            if resume:
                self._refuse_nothing()
            self._refuse_occupied(overwrite or resume)
            self._made = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _output_error(self.path, error) from error
        self._staged: list[str] = []
        self._results = False  # whether this run's results are in the folder already
        self._offsets: dict[int, tuple[int, int, int]] = {}  # molecule: trajectory part, start and end in bytes

    def _refuse_occupied(self, overwrite: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file", expected="a folder", remedy="choose another name")
        if overwrite or not self.path.exists():
            return
        if any(self.path.iterdir()):
            others = "choose another folder, or replace molgen's files in it with --overwrite"
            begun = (self.partial / "plan.json").exists()
            raise OutputError(
                f"{self.path} exists already and {'holds an unfinished run' if begun else 'is not empty'}",
                remedy=f"go on with it with --resume, {others}" if begun else others,
            )

    def _refuse_nothing(self) -> None:
        if not (self.partial / "plan.json").exists():
            raise OutputError(
                f"there is no unfinished run in {self.path}",
                remedy="leave out --resume, or name the folder of the run that was interrupted",
            )

    def begin(self, record: dict) -> dict[int, Sampled]:
        """Start the run, and write down what is planned; or go on with it.

        Args:
            record: what is planned.

        Returns:
            The finished batches by number, where the run goes on.

        Raises:
            OutputError: the run that is to go on was of another request.
        """
        if self._resume:
            self._refuse_other(record)
            self._resumed = True
            return self._finished()
        self._clear_partial()
        self._make_partial()
        write_atomically(self.partial / "plan.json", json.dumps(record))
        return {}

    def _refuse_other(self, record: dict) -> None:
        try:
            begun = _decisive(json.loads((self.partial / "plan.json").read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(
                f"the plan of the run in {self.path} can't be read: {error}", remedy="start anew with --overwrite"
            ) from error
        asked = _decisive(json.loads(json.dumps(record)))
        different = [
            f"{name} was {begun.get(name)}, and is {asked.get(name)}"
            for name in begun | asked
            if begun.get(name) != asked.get(name)
        ]
        if different:
            raise OutputError(
                f"the unfinished run in {self.path} is of another request: {'; '.join(different)}",
                remedy="ask for the same, or choose another folder",
            )

    def _finished(self) -> dict[int, Sampled]:
        found = {}
        for path in sorted(self.partial.glob("batch-*.safetensors")):
            batch = _read_batch(path)
            if batch is not None:  # else it is drawn again
                number, (sampled, offsets) = int(path.stem.removeprefix("batch-")), batch
                found[number] = sampled
                self._offsets |= {index: (number, start, end) for index, (start, end) in offsets.items()}
        return found

    def keep(self, number: int, sampled: Sampled) -> None:
        """Write a finished batch beside the results to come."""
        from safetensors.torch import save

        s = sampled.structures
        tensors = {
            name: getattr(s, name).contiguous()
            for name in ("positions", "species", "n_atoms", "formal_charges", "bonds", "bond_orders", "bonds_known")
        }
        offsets = {index: self._offsets[index][1:] for index in sampled.indices if index in self._offsets}
        marks = {
            "indices": json.dumps(sampled.indices),
            "failures": json.dumps(sampled.failures),
            "trajectory": json.dumps(offsets),
        }
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
        with self._staging("trajectory.extxyz") as path, path.open("wb") as joined:
            for _, (number, start, end) in sorted(self._offsets.items()):
                with self._trajectory_part(number).open("rb") as part:
                    part.seek(start)
                    joined.write(part.read(end - start))

    def write(self, name: str, data: str) -> None:
        """Write one of :data:`FILES`."""
        with self.writing(name) as file:
            file.write(data)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[str]]:
        """A text file to write one of :data:`FILES` to."""
        with self._staging(name) as path, path.open("w", encoding="utf-8", newline="\n") as file:
            yield file

    @contextmanager
    def _staging(self, name: str) -> Iterator[Path]:
        self._make_partial()
        with atomic_path(self.partial / name) as temporary:
            yield temporary
        self._staged.append(name)

    def finish(self, *, complete: bool) -> None:
        """Move what was written to its place, and take away what an earlier run left and this one did not replace.

        Called again, it replaces and adds results of the same run.

        Args:
            complete: all molecules are there; if not, the finished batches stay.

        Raises:
            OutputError: a file of the earlier run can't be replaced or removed.
        """
        for name in self._staged:
            try:
                (self.partial / name).replace(self.path / name)
            except OSError as error:
                raise _output_error(self.path / name, error) from error
        for name in () if self._results else set(FILES) - set(self._staged):
            self._remove(self.path / name)
        self._staged, self._results = [], True
        if complete:
            self._clear_partial()
            with suppress(OSError):  # never made, or something of somebody else's is in there: not ours to remove
                self.partial.rmdir()

    def discard(self) -> None:
        """Leave no trace of a run that gave nothing; one that could not be gone on with stays as it is."""
        if self._resume and not self._resumed:
            return
        self._clear_partial()
        with suppress(OSError):  # as above
            self.partial.rmdir()
            if self._made:
                self.path.rmdir()

    def _make_partial(self) -> None:
        try:
            self.partial.mkdir(exist_ok=True)
        except OSError as error:
            raise _output_error(self.partial, error) from error

    def _trajectory_part(self, number: int) -> Path:
        return self.partial / f"trajectory-{number:06d}.extxyz"

    def _clear_partial(self) -> None:
        for pattern in ("plan.json", "batch-*.safetensors", "trajectory-*.extxyz", *FILES):
            for path in self.partial.glob(pattern):
                self._remove(path)

    @staticmethod
    def _remove(path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _output_error(path, error) from error


def _decisive(record: dict[str, Any]) -> dict[str, Any]:
    """What the molecules of a run depend on."""
    plan, request, model = record["plan"], record["request"], record["model"]
    return {
        **request,
        "batch size": plan["batch_size"],
        "trajectory": plan["trajectory"],
        "model": f"{model['name']} ({model['tensors_sha256'][:12]})",
        "device": record["device"].split(":")[0],
        "dtype": record["dtype"],
    }


def _read_batch(path: Path) -> tuple[Sampled, dict[int, tuple[int, int]]] | None:
    """A batch that `RunFolder.keep` wrote, and where its trajectories stand; None for a file that is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            marks = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        structures = Structures.build(**tensors)
        offsets = {int(index): tuple(ends) for index, ends in json.loads(marks["trajectory"]).items()}
        sampled = Sampled(tuple(json.loads(marks["indices"])), structures, tuple(json.loads(marks["failures"])))
    except (SafetensorError, MolgenError, ValueError, KeyError, TypeError):
        return None
    return sampled, offsets


def _output_error(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(
        f"can't write {path}: {reason[:1].lower()}{reason[1:]}", remedy="choose a place that you may write to"
    )
