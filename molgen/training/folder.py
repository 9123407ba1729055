"""The folder of a run: made new, or taken up again, and never another's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from molgen.errors import CheckpointError, OutputError, TrainingError
from molgen.training.state import load_state, saved_states

__all__ = ["newest_state", "prepare_folder", "refuse_difference"]

_FILES = ("config.yaml", "last.safetensors", "best.safetensors", "log.csv")


def prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Make the folder of a run.

    Args:
        folder: of the run.
        resume: what is there stays.
        overwrite: what an earlier run left there is removed, and nothing else.

    Raises:
        OutputError: something is there, or the folder can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = any(folder.iterdir())
        if not found or resume:
            return
        if not overwrite:
            raise OutputError(
                f"{folder} is not empty",
                remedy="give --resume to go on with the run, --overwrite to start anew, or another folder",
            )
        for state in [*saved_states(folder), *folder.glob(".state-*.partial")]:
            shutil.rmtree(state)
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"can't use {folder}: {error.strerror}", remedy="choose another folder") from error


def newest_state(folder: Path, note: Callable[[str], None]) -> tuple[dict[str, Tensor], dict] | None:
    """The newest whole state of a run, or None where there is none.

    Args:
        folder: of the run.
        note: is told of states that can't be read.

    Raises:
        CheckpointError: there are states, but none can be read.
    """
    states = saved_states(folder)
    for state in states:
        try:
            return load_state(state)
        except CheckpointError as error:
            if state == states[-1]:
                raise
            note(f"{error}; going on from the state before it")
    return None


def refuse_difference(saved: dict, now: dict, folder: Path) -> None:
    """Raise unless a saved state was made with the model, data and order of now.

    Raises:
        TrainingError: names the first key that differs.
    """
    before, after = _flat(saved), _flat(now)
    # a key that only one of them has is an option that came or went with a version, at its default
    for key in sorted(before.keys() & after.keys()):
        if before[key] != after[key]:
            raise TrainingError(
                f"the saved run has {key} = {before[key]!r}, the config {after[key]!r}",
                where=str(folder),
                remedy="resume with the same config, or start anew in another folder",
            )


def _flat(data: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(data, dict):
        return {prefix: data}
    flat: dict[str, object] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
