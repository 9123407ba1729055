"""The safetensors container, read with limits: every number in its header is checked before anything is allocated.

A file is 8 bytes of header length (little-endian), the header (JSON), and the tensors' bytes, one after another:
https://huggingface.co/docs/safetensors (format). Writing is left to the safetensors library.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from molgen.errors import CheckpointError
from molgen.models import strict_json

__all__ = ["DTYPES", "MAX_HEADER_BYTES", "MAX_TENSORS", "Container", "Entry", "open_container", "parse_container"]

MAX_HEADER_BYTES = 4 * 2**20  # a model with 10 000 tensors needs 1.2 MiB
MAX_TENSORS = 65_536
_MAX_DIMENSIONS = 16
_MAX_ELEMENTS = 2**44  # of one tensor, empty axes counted as 1: strides stay far from overflow
_LENGTH_BYTES = 8

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

_GET_IT_AGAIN = "get the file again from where it came"


@dataclass(frozen=True)
class Entry:
    """One tensor as the header describes it."""

    name: str
    dtype: str  # a key of DTYPES
    shape: tuple[int, ...]
    begin: int  # bytes from the start of the tensors
    end: int


@dataclass(frozen=True)
class Container:
    """A header that agrees with the size of its file."""

    entries: tuple[Entry, ...]  # in the order of their bytes, without gaps
    metadata: dict[str, str]
    start: int  # of the tensors' bytes, from the start of the file


def open_container(path: Path) -> tuple[Container, BinaryIO]:
    """The header of a file, and the file, open for reading.

    Raises:
        CheckpointError: no such file, or not a safetensors file that is whole.
    """
    if path.is_dir():
        inside = sorted(found.name for found in path.glob("*.safetensors"))[:5]
        remedy = f"choose a file in it: {', '.join(inside)}" if inside else "choose a model file"
        raise CheckpointError("the model file is a folder", where=str(path), remedy=remedy)
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise CheckpointError(f"the model file {what}", where=str(path), remedy="check the path")
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(
            f"the model file can't be read: {error.strerror}", where=str(path), remedy="check its permissions"
        ) from error
    try:
        return parse_container(file, os.fstat(file.fileno()).st_size, str(path)), file
    except BaseException:
        file.close()
        raise


def parse_container(file: BinaryIO, size: int, where: str) -> Container:
    """The header of an open file of `size` bytes, which is then placed at the first tensor.

    Raises:
        CheckpointError: truncated, too long, malformed, or out of step with the size of the file.
    """
    first = file.read(_LENGTH_BYTES)
    if len(first) < _LENGTH_BYTES:
        raise _broken(f"the model file is {'empty' if not first else 'truncated'}", where)
    length = int.from_bytes(first, "little")
    if length > MAX_HEADER_BYTES:
        raise _broken(f"its header claims {length} bytes, above the limit of {MAX_HEADER_BYTES}", where)
    if length > size - _LENGTH_BYTES:
        raise _broken(f"its header claims {length} bytes, and the whole file has {size}", where)
    raw = file.read(length)
    try:
        header = strict_json.parse(raw.decode())
        if not isinstance(header, dict) or not raw.startswith(b"{"):
            raise ValueError("it is no JSON object")
        metadata = _metadata(header.pop("__metadata__", {}))
        entries = tuple(sorted(_entries(header), key=lambda e: (e.begin, e.end)))
        _check_layout(entries, size - _LENGTH_BYTES - length)
    except ValueError as error:
        raise _broken(f"its header is damaged: {error}", where) from error
    return Container(entries, metadata, _LENGTH_BYTES + length)


def _broken(what: str, where: str) -> CheckpointError:
    return CheckpointError(what, where=where, expected="a molgen model file (safetensors)", remedy=_GET_IT_AGAIN)


def _metadata(found: object) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("__metadata__ is no table of texts")
    return found


def _entries(header: dict[str, object]) -> Iterator[Entry]:
    if len(header) > MAX_TENSORS:
        raise ValueError(f"{len(header)} tensors, above the limit of {MAX_TENSORS}")
    for name, found in header.items():
        if not isinstance(found, dict) or set(found) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"tensor {name[:60]!r} is not described by dtype, shape and data_offsets")
        dtype, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ValueError(f"tensor {name[:60]!r} has a dtype other than {', '.join(DTYPES)}")
        if not _are_counts(shape) or len(shape) > _MAX_DIMENSIONS:
            raise ValueError(f"tensor {name[:60]!r} has an impossible shape")
        if math.prod(max(axis, 1) for axis in shape) > _MAX_ELEMENTS:
            raise ValueError(f"tensor {name[:60]!r} is impossibly large")
        if not _are_counts(offsets) or len(offsets) != 2:
            raise ValueError(f"tensor {name[:60]!r} has impossible offsets")
        entry = Entry(name, dtype, tuple(shape), *offsets)
        if entry.end - entry.begin != math.prod(shape) * DTYPES[dtype].itemsize:
            raise ValueError(f"tensor {name[:60]!r} has a shape that doesn't fit its bytes")
        yield entry


def _are_counts(value: object) -> bool:
    # type() and not isinstance(): JSON's true is an int in Python
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_layout(entries: tuple[Entry, ...], available: int) -> None:
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise ValueError(f"tensor {entry.name[:60]!r} leaves a gap or overlaps another")
        position = entry.end
    if position != available:
        raise ValueError(f"its tensors need {position} bytes, and the file has {available}")
