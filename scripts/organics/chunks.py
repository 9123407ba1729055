"""Molecules labelled in chunks, each a small file of its own, so that a run that was killed goes on where it was."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Final

from molgen.atomic import write_atomically
from molgen.errors import InputError
from organics.files import frame_text
from organics.labelling import labelled

__all__ = ["CHUNK", "label_all", "records"]

CHUNK: Final = 20  # molecules


def label_all(smiles: list[str], seed: int, folder: Path, processes: int, tell: Callable[[str], None] = print) -> None:
    """Label every molecule that no chunk in the folder holds yet.

    Args:
        smiles: the molecules, in the order of their numbers.
        seed: of all frames.
        folder: of the chunks; made where it is not there.
        processes: how many work at once, one core each; the frames are the same for any number.
        tell: called with a line per chunk.

    Raises:
        InputError: a process ended by itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [start for start in range(0, len(smiles), CHUNK) if _read(folder, smiles, seed, start) is None]
    tell(f"{len(smiles)} molecules in chunks of {CHUNK}: {len(missing)} chunks to label, {processes} at once")
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes read it when they start
    begun = time.monotonic()
    with ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with, initargs=(os.getpid(),)
    ) as pool:
        waiting = {
            pool.submit(_label_chunk, smiles[start : start + CHUNK], start, seed, _path(folder, start)): start
            for start in missing
        }
        try:
            for count, done in enumerate(as_completed(waiting), 1):
                left = (time.monotonic() - begun) / count * (len(missing) - count) / 60
                tell(f"chunk {waiting[done] // CHUNK}: {done.result()}; {left:.0f} min left")
        except BrokenProcessPool as error:
            raise InputError(
                "a process that labels ended by itself", remedy="start again: what is done is kept"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def records(smiles: list[str], seed: int, folder: Path) -> Iterator[dict[str, Any]]:
    """One record per molecule: number, smiles, gradients, dropped (reason to count), frames (kind and text of each).

    Raises:
        InputError: a chunk is missing.
    """
    for start in range(0, len(smiles), CHUNK):
        chunk = _read(folder, smiles, seed, start)
        if chunk is None:
            raise InputError(f"{_path(folder, start)} is missing or of other molecules", remedy="label first")
        yield from chunk["molecules"]


def _end_with(parent: int) -> None:
    """Let this process end soon after its parent, which may be killed without a chance to tell."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _label_chunk(smiles: list[str], start: int, seed: int, path: Path) -> str:
    begun = time.monotonic()
    molecules: list[dict[str, Any]] = []
    for number, molecule in enumerate(smiles, start):
        made = labelled(molecule, seed)
        molecules.append(
            {
                "number": number,
                "smiles": molecule,
                "gradients": made.gradients,
                "dropped": dict(sorted(made.dropped.items())),
                "frames": [{"kind": frame.kind, "text": frame_text(frame, molecule, number)} for frame in made.frames],
            }
        )
    seconds = time.monotonic() - begun
    chunk = {"seed": seed, "smiles": smiles, "seconds": round(seconds, 1), "molecules": molecules}
    write_atomically(path, json.dumps(chunk, indent=0) + "\n")
    frames = sum(len(molecule["frames"]) for molecule in molecules)
    gradients = sum(molecule["gradients"] for molecule in molecules)
    dropped = sum(sum(molecule["dropped"].values()) for molecule in molecules)
    return (
        f"{frames} frames, {dropped} dropped, {gradients} gradients, {1000 * seconds / max(gradients, 1):.2f} ms each"
    )


def _path(folder: Path, start: int) -> Path:
    return folder / f"chunk-{start // CHUNK:05d}.json"


def _read(folder: Path, smiles: list[str], seed: int, start: int) -> dict[str, Any] | None:
    """A chunk of just these molecules and this seed, or none."""
    path = _path(folder, start)
    if not path.is_file():
        return None
    chunk = json.loads(path.read_text())
    return chunk if chunk["smiles"] == smiles[start : start + CHUNK] and chunk["seed"] == seed else None
