"""Structures of ASE trajectories (`.traj`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from molgen.data.frames import from_frames
from molgen.data.records import Record, converted, reason, wrong
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["iterate_images", "iterate_trajectory"]


def iterate_trajectory(path: Path, chunk: int, keys: Mapping[str, str] | None = None) -> Iterator[Structures]:
    """The images of a trajectory, in their order.

    Raises:
        FileFormatError: no trajectory of ASE, or one that is damaged or truncated.
    """
    return converted(iterate_images(path), path, chunk, lambda frames: from_frames(frames, keys or {}, path))


def iterate_images(path: Path) -> Iterator[Record[Atoms]]:
    """The images of a trajectory as ASE reads them.

    Raises:
        FileFormatError: no trajectory of ASE, or one that is damaged or truncated.
    """
    from ase.io.trajectory import TrajectoryReader

    try:
        reader = TrajectoryReader(path)
    except Exception as error:  # ASE raises errors of many kinds for bytes that are no trajectory
        raise wrong(f"not a readable trajectory: {reason(error)}", path) from error
    with reader:
        for number in range(len(reader)):
            where = f"structure {number}"
            try:
                atoms = reader[number]
            except Exception as error:
                raise wrong(f"the trajectory is damaged: {reason(error)}", path, where) from error
            if len(atoms) == 0:
                raise wrong("it has no atoms", path, where)
            yield Record(where, atoms)
