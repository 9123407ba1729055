"""Model files: one safetensors file with one JSON document in its metadata. Reading one executes nothing from it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from molgen.atomic import write_atomically
from molgen.errors import CheckpointError
from molgen.models import strict_json
from molgen.models.container import DTYPES, Container, Entry, open_container, parse_container
from molgen.models.document import FORMAT_VERSION, Document, document_sha256

__all__ = ["Checkpoint", "certification", "read_checkpoint", "read_document", "tensors_sha256", "write_checkpoint"]

_KEY = "molgen"  # the one key of the metadata
_MAX_DOCUMENT_CHARACTERS = 2 * 2**20
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

# what turns a document of format N into one of format N + 1
_MIGRATIONS: dict[int, Callable[[dict], dict]] = {}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model at rest: its document, and its tensors by name."""

    document: Document
    tensors: Mapping[str, Tensor]  # on the CPU, contiguous
    path: Path | None = field(default=None, compare=False)  # where it was read from


def write_checkpoint(path: Path | str, checkpoint: Checkpoint) -> Document:
    """Write a model file, whole or not at all, and give its document with both hashes filled in.

    Raises:
        CheckpointError: a tensor or a document that could not be read again.
        OutputError: a place that can't be written.
    """
    path = Path(path)
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in checkpoint.tensors.items()}
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            raise CheckpointError(f"tensor {name!r} is {tensor.dtype}", where=str(path), expected=", ".join(DTYPES))
    digest = tensors_sha256((name, _NAMES[t.dtype], tuple(t.shape), _bytes(t)) for name, t in tensors.items())
    content = checkpoint.document.model_dump(mode="json") | {"tensors_sha256": digest, "document_sha256": ""}
    content["document_sha256"] = document_sha256(content)
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)  # options stay in their order, for people
    data = safetensors.torch.save(tensors, metadata={_KEY: text})
    # what could not be read again must not replace a file that can
    container = parse_container(io.BytesIO(data), len(data), str(path))
    document = _document(container, str(path))
    write_atomically(path, data)
    return document


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read and verify a model file.

    Raises:
        CheckpointError: no such file; truncated, altered or malformed; of a newer format.
    """
    path = Path(path)
    container, file = open_container(path)
    with file:
        document = _document(container, str(path))
        parts = {entry.name: (entry, _read(file, entry, str(path))) for entry in container.entries}
    digest = tensors_sha256((name, entry.dtype, entry.shape, raw) for name, (entry, raw) in parts.items())
    if digest != document.tensors_sha256:
        raise _altered("its tensors are not those that were written", str(path))
    return Checkpoint(document, {name: _tensor(*part, str(path)) for name, part in parts.items()}, path)


def read_document(path: Path | str) -> Document:
    """The document of a model file alone; its tensors are neither read nor verified.

    Raises:
        CheckpointError: as `read_checkpoint`, but for the tensors.
    """
    container, file = open_container(Path(path))
    with file:
        return _document(container, str(path))


def tensors_sha256(tensors: Iterable[tuple[str, str, tuple[int, ...], bytes | bytearray]]) -> str:
    """The hash of tensors, each a name, a safetensors dtype, a shape and little-endian bytes; any order."""
    digest = hashlib.sha256()
    for name, dtype, shape, raw in sorted(tensors, key=lambda part: part[0]):
        # dtype and shape fix the number of bytes, so no two lists of tensors are hashed as the same stream
        digest.update(strict_json.canonical([name, dtype, list(shape)]))
        digest.update(raw)
    return digest.hexdigest()


def certification(document: Document) -> tuple[bool, str]:
    """Whether the certificate was made of these tensors, and why not.

    A certificate is a record of measurements and no proof of origin.
    """
    if document.certificate is None:
        return False, "not certified"
    if not document.tensors_sha256 or document.certificate.get("tensors_sha256") != document.tensors_sha256:
        return False, "not certified: its certificate was made of other tensors"
    return True, "certified"


def _document(container: Container, where: str) -> Document:
    text = container.metadata.get(_KEY)
    if text is None or set(container.metadata) != {_KEY}:
        raise CheckpointError(
            "this safetensors file is not a molgen model",
            where=where,
            expected=f"one document in its metadata under {_KEY!r}",
            remedy="choose a file that molgen has written",
        )
    if len(text) > _MAX_DOCUMENT_CHARACTERS:
        raise _altered(f"its document is longer than {_MAX_DOCUMENT_CHARACTERS} characters", where)
    try:
        content = strict_json.parse(text)
    except ValueError as error:
        raise _altered(f"its document is damaged: {error}", where) from error
    content = _migrate(content, where)
    try:
        return Document.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(strict_json.shown(str(part)) for part in first["loc"][:8]) or "document"
        raise _altered(f"its document is not valid: {place}: {strict_json.shown(first['msg'], 200)}", where) from error


def _migrate(content: object, where: str) -> dict:
    """The content of a document in today's format, its hash verified in the format that it was written in."""
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(content, dict) or type(version) is not int or version < 1:
        raise _altered("its document states no format version", where)
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"the model file has format version {version}, and this molgen reads up to {FORMAT_VERSION}",
            where=where,
            remedy="update molgen (pip install --upgrade molgen)",
        )
    if content.get("document_sha256") != document_sha256(content):
        raise _altered("its document is not the one that was written", where)
    for step in range(version, FORMAT_VERSION):
        content = _MIGRATIONS[step](content) | {"format_version": step + 1}
    return content


def _altered(what: str, where: str) -> CheckpointError:
    return CheckpointError(
        f"the model file has been altered: {what}", where=where, remedy="get the file again from where it came"
    )


def _read(file: BinaryIO, entry: Entry, where: str) -> bytearray:
    raw = bytearray(entry.end - entry.begin)
    if file.readinto(raw) != len(raw):  # type: ignore[attr-defined]
        raise _altered("it became shorter while it was read", where)
    return raw


def _tensor(entry: Entry, raw: bytearray, where: str) -> Tensor:
    dtype = DTYPES[entry.dtype]
    if not raw:
        return torch.empty(entry.shape, dtype=dtype)
    if dtype == torch.bool and max(raw) > 1:
        raise _altered(f"tensor {entry.name[:60]!r} holds a byte that is neither true nor false", where)
    return torch.frombuffer(raw, dtype=dtype).reshape(entry.shape)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
