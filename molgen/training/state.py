"""The state of a run on disk: everything that it takes to go on as if nothing had happened.

One folder per state, `state-00001200` for the state after 1200 steps: tensors in safetensors shards of at most 15 MB,
the rest in `state.json` with a hash of each shard. The folder is written under another name and renamed when all of it
is on the disk, so a folder of that name is whole. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from molgen.atomic import write_atomically
from molgen.errors import CheckpointError, OutputError

__all__ = ["load_state", "save_state", "saved_states"]

FORMAT_VERSION = 1
SHARD_BYTES = 15_000_000  # files stay small enough to be kept and moved everywhere
_HEADER_BYTES = 200_000  # left free in each shard for safetensors' own header
_KEPT = 2  # the newest, and the one before in case the newest is damaged


def save_state(folder: Path, step: int, tensors: Mapping[str, Tensor], document: Mapping) -> Path:
    """Write a state, whole or not at all, and remove all but the last two.

    Args:
        folder: of the run.
        step: steps done.
        tensors: by name, any shapes and dtypes.
        document: plain data for JSON.

    Raises:
        OutputError: the disk is full, or the folder can't be written; older states are as they were.
    """
    target = folder / f"state-{step:08d}"
    temporary = folder / f".{target.name}.partial"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        hashes = {}
        for number, shard in enumerate(_shards(tensors)):
            data = save(shard)
            hashes[f"{number:03d}.safetensors"] = hashlib.sha256(data).hexdigest()
            write_atomically(temporary / f"{number:03d}.safetensors", data)
        content = {"format_version": FORMAT_VERSION, "shards": hashes, "shapes": shapes, **document}
        write_atomically(temporary / "state.json", json.dumps(content, indent=1))
        shutil.rmtree(target, ignore_errors=True)  # there only if a run was resumed from before it
        temporary.rename(target)
    except OSError as error:
        raise OutputError(f"can't write {target}: {error.strerror}", remedy="choose another place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in saved_states(folder)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def saved_states(folder: Path) -> list[Path]:
    """The folders of whole states, newest first."""
    found = [path for path in folder.glob("state-*") if path.name[6:].isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name[6:]), reverse=True)


def load_state(state: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and document of a state.

    Raises:
        CheckpointError: a file is missing, altered, or from a later version.
    """
    remedy = f"delete {state} to go on from the state before it"
    try:
        document = json.loads((state / "state.json").read_text(encoding="utf-8"))
        if document["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"training state of format {document['format_version']}",
                where=str(state),
                expected=f"format {FORMAT_VERSION}",
                remedy="resume with the version of molgen that wrote it",
            )
        pieces: dict[str, Tensor] = {}
        for name, digest in document.pop("shards").items():
            data = (state / Path(name).name).read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise CheckpointError("a shard of the training state is altered", where=name, remedy=remedy)
            pieces |= load(data)
        tensors = {name: _joined(pieces, name, shape) for name, shape in document.pop("shapes").items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"the training state can't be read: {error}", where=str(state), remedy=remedy) from None
    return tensors, document


def _shards(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Flat pieces `name@offset`, in shards that stay below the limit."""
    room = SHARD_BYTES - _HEADER_BYTES
    shard: dict[str, Tensor] = {}
    used = 0
    for name, tensor in tensors.items():
        flat = tensor.detach().reshape(-1).cpu()
        length = max(room // flat.element_size(), 1)
        for start in range(0, max(len(flat), 1), length):
            piece = flat[start : start + length].clone()  # safetensors refuses tensors that share memory
            size = piece.numel() * piece.element_size() + 200  # and its entry in the header
            if shard and used + size > room:
                yield shard
                shard, used = {}, 0
            shard[f"{name}@{start}"] = piece
            used += size
    yield shard


def _joined(pieces: Mapping[str, Tensor], name: str, shape: list[int]) -> Tensor:
    parts, start = [], 0
    with suppress(KeyError):
        while True:
            parts.append(pieces[f"{name}@{start}"])
            start += max(len(parts[-1]), 1)
    return torch.cat(parts).reshape(shape)
