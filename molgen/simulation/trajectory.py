"""Trajectories that can be continued: ASE's own .traj, and extended xyz with every digit.

A frame that a killed process left unfinished is cut off, and a disk that runs full leaves the frames before whole.
"""

from __future__ import annotations

import os
import struct
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from molgen.errors import FileFormatError, InputError, OutputError
from molgen.simulation.extended_xyz import extended_xyz, read_extended_xyz, whole_frames

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["SUFFIXES", "Trajectory", "open_trajectory", "trajectory_kind"]

_ITEMS_AT: Final = 32  # byte of a .traj file where the number of its frames stands
_LEAST_FRAME: Final = 48  # bytes that a frame of a .traj file takes at least


class Trajectory(ABC):
    """Frames in a file, appended one at a time; each is whole on the disk or not there.

    Args:
        path: of the file; there, with frames, unless it is `new`.
        new: start a file, replacing one that is there.
    """

    all_constraints: ClassVar[bool] = True  # whether frames have others than fixed atoms

    def __init__(self, path: Path, *, new: bool) -> None:
        self.path = path
        self._cut = False  # whether the last frame gives way to the next
        try:
            self._open(new)
        except OSError as error:
            raise self._full(error) from error

    @abstractmethod
    def __len__(self) -> int:
        """Frames that are whole."""

    @abstractmethod
    def frame(self, index: int) -> Atoms:
        """One of the frames as it was written."""

    @abstractmethod
    def close(self) -> None:
        """Flush to the disk; nothing can be appended any more."""

    @abstractmethod
    def _open(self, new: bool) -> None: ...

    @abstractmethod
    def _append(self, atoms: Atoms) -> None: ...

    @abstractmethod
    def _drop_last(self) -> None: ...

    def replace_last(self) -> None:
        """Let the next frame take the place of the last one, which stays until then."""
        self._cut = True

    def append(self, atoms: Atoms) -> None:
        """Add a frame: positions, momenta, cell, info and the results of its calculator.

        Raises:
            OutputError: the disk is full; the frames before stay as they are.
        """
        try:
            if self._cut:
                self._drop_last()
                self._cut = False
            self._append(atoms)
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> OutputError:
        # numpy tells how much it wrote, not why it couldn't write more
        reason = error.strerror or f"the disk may be full ({error})"
        return OutputError(
            f"can't write {self.path}: {reason[:1].lower()}{reason[1:]}",
            remedy="make room or choose another place; what was written before can be read, and continued by --restart",
        )


class _Ulm(Trajectory):
    """ASE's .traj: its header counts frames after they are whole, so what follows the last of them doesn't matter."""

    def _open(self, new: bool) -> None:
        self._file: IO[bytes] | None = None
        self._writer: Any = None
        if new:
            self._file = self.path.open("w+b")
        else:
            self._mend()

    def __len__(self) -> int:
        if self._writer is not None:
            return len(self._writer)
        return 0 if self._file is not None else self._n_frames()

    def frame(self, index: int) -> Atoms:
        from ase.io.trajectory import TrajectoryReader

        with TrajectoryReader(str(self.path)) as reader:
            atoms: Atoms = reader[index]
        return atoms

    def close(self) -> None:
        if self._file is not None:
            self._file.flush()
            with suppress(OSError):
                os.fsync(self._file.fileno())
            self._file.close()
            self._file = self._writer = None

    def _append(self, atoms: Atoms) -> None:
        size = 0
        try:
            writer = self._ready()
            size = self.path.stat().st_size
            writer.write(atoms)
        except OSError:
            self._abandon(size)
            raise

    def _ready(self) -> Any:
        """ASE's writer, on a file that is ours: so that a full disk leaves no half-flushed buffer behind."""
        from ase.io.trajectory import TrajectoryWriter

        if self._writer is None:
            mode = "w" if self._file is not None else "a"
            self._file = self._file or self.path.open("r+b")
            self._writer = TrajectoryWriter(self._file, mode=mode)
            self._file.seek(0, os.SEEK_END)  # it has read the first frame
        return self._writer

    def _abandon(self, size: int) -> None:
        """Close without flushing what did not fit, and cut off what of it is there already."""
        if self._file is not None:
            with suppress(OSError):
                self._file.raw.close()  # type: ignore[attr-defined]
            self._file = self._writer = None
        with suppress(OSError):
            os.truncate(self.path, size)

    def _drop_last(self) -> None:
        self.close()
        self._count(self._n_frames() - 1)

    def _n_frames(self) -> int:
        with self.path.open("rb") as file:
            file.seek(_ITEMS_AT)
            return int(struct.unpack("<q", file.read(8))[0])

    def _count(self, frames: int) -> None:
        with self.path.open("r+b") as file:
            file.seek(_ITEMS_AT)
            file.write(struct.pack("<q", frames))

    def _mend(self) -> None:
        """Count frames that can be read alone: a machine that lost power may have lost what stands at the end."""
        try:
            found = self._n_frames()
        except struct.error as error:
            raise self._no_trajectory() from error
        whole = min(found, self.path.stat().st_size // _LEAST_FRAME)
        while whole and not self._readable(whole - 1):
            whole -= 1
        if found and not whole:
            raise FileFormatError(
                "none of its frames can be read", where=str(self.path), remedy="replace it (--overwrite)"
            )
        if whole != found:
            self._count(whole)

    def _no_trajectory(self) -> FileFormatError:
        return FileFormatError("it is no trajectory of ASE", where=str(self.path))

    def _readable(self, index: int) -> bool:
        try:
            frame = self.frame(index)
        except Exception as error:  # whatever ASE makes of bytes that are not what they should be
            if "not an ULM" in str(error) or "not a trajectory" in str(error):
                raise self._no_trajectory() from error
            return False
        return bool(np.isfinite(frame.positions).all())


class _ExtendedXyz(Trajectory):
    """Extended xyz; frames are found by counting lines, and what follows the last whole one is cut off."""

    all_constraints = False

    def _open(self, new: bool) -> None:
        self._starts: list[int] = []  # byte of each whole frame
        self._end = 0
        if not new:
            self._starts, self._end = whole_frames(self.path)
            os.truncate(self.path, self._end)
        self._file = self.path.open("w+b" if new else "r+b", buffering=0)

    def __len__(self) -> int:
        return len(self._starts)

    def frame(self, index: int) -> Atoms:
        place = range(len(self._starts))[index]
        bounds = [*self._starts, self._end]
        with self.path.open("rb") as file:
            file.seek(bounds[place])
            text = file.read(bounds[place + 1] - bounds[place]).decode()
        return read_extended_xyz(text, self.path)

    def close(self) -> None:
        if not self._file.closed:
            with suppress(OSError):
                os.fsync(self._file.fileno())
            self._file.close()

    def _append(self, atoms: Atoms) -> None:
        data = memoryview(extended_xyz(atoms).encode())
        self._file.seek(self._end)
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:]) or 0
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise
        self._starts.append(self._end)
        self._end += len(data)

    def _drop_last(self) -> None:
        self._end = self._starts.pop()
        self._file.truncate(self._end)


_KINDS: Final[dict[str, type[Trajectory]]] = {".traj": _Ulm, ".extxyz": _ExtendedXyz, ".xyz": _ExtendedXyz}
SUFFIXES: Final = tuple(_KINDS)


def open_trajectory(path: Path, *, restart: bool, overwrite: bool) -> Trajectory:
    """A trajectory to append to; its format is told by the suffix.

    Args:
        path: of the file.
        restart: go on with the frames that are there; start anew where there are none.
        overwrite: replace a file that is there.

    Raises:
        InputError: a suffix that no format can be continued in.
        OutputError: the file is there and neither option was given, or the place can't be written to.
        FileFormatError: what is to be continued is no trajectory of this format.
    """
    kind = trajectory_kind(path)
    there = path.exists() and path.stat().st_size > 0
    if there and not (restart or overwrite):
        raise OutputError(
            f"{path} exists", remedy="go on with it (--restart), replace it (--overwrite), or choose another name"
        )
    return kind(path, new=not (there and restart))


def trajectory_kind(path: Path) -> type[Trajectory]:
    """The format of a trajectory by its suffix.

    Raises:
        InputError: a suffix that no format can be continued in.
    """
    try:
        return _KINDS[path.suffix.lower()]
    except KeyError:
        raise InputError(
            f"trajectories can't be written to {path.suffix or 'a file without suffix'}",
            where=str(path),
            expected=" or ".join(_KINDS),
            remedy="`ase convert` turns them into other formats",
        ) from None
