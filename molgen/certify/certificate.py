"""The certificate: what was measured of a model's tensors, as plain data in its own file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from molgen.certify.measurement import Measurement, overall
from molgen.certify.shown import certificate_lines
from molgen.errors import CheckpointError, OutputError
from molgen.models.checkpoint import Checkpoint, read_document, write_checkpoint
from molgen.models.document import Document, library_versions

__all__ = ["PROTOCOL", "Certificate", "certificate_of", "write_certificate"]

PROTOCOL: Final = 1  # raised when what is measured, or how, changes
_DIGITS = 6  # of every number


@dataclass(frozen=True)
class Certificate:
    """What was measured; a record of measurements and no proof of origin."""

    content: Mapping[str, Any]  # JSON
    path: Path | None  # of the file that holds it

    @property
    def verdict(self) -> str:
        """ "passes", "not resolved", "fails" or "not measured": that of the worst measurement."""
        return str(self.content["verdict"])

    def table(self) -> str:
        """The certificate as people read it."""
        return "\n".join(certificate_lines(self.content))


def certificate_of(
    document: Document,
    measurements: Mapping[str, Measurement],
    *,
    quick: bool,
    conditions: Mapping[str, object],
    structures: Mapping[str, object],
    seconds: float,
    test_errors: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """The content of a certificate.

    Args:
        document: of the model, with the hash of its tensors.
        measurements: by name.
        quick: whether it was measured with few structures and short runs.
        conditions: under which dtypes, on which device and with which methods of products it was measured.
        structures: on what.
        seconds: how long it took.
        test_errors: from `Evaluation.to_json`.
    """
    plugins = {record.use.partition(":")[0]: record.distribution_version for record in document.components.values()}
    content = {
        "protocol": PROTOCOL,
        "task": document.task,
        "verdict": overall(each.verdict for each in measurements.values()),
        "quick": quick,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": library_versions() | plugins,
        "conditions": dict(conditions),
        "structures": dict(structures),
        "seconds": seconds,
        "measurements": {name: each.as_dict() for name, each in measurements.items()},
        "tensors_sha256": document.tensors_sha256,
    }
    if test_errors is not None:
        content["test_errors"] = dict(test_errors)
    return _rounded(content)


def write_certificate(
    checkpoint: Checkpoint, content: Mapping[str, Any], out: Path | None = None, *, overwrite: bool = False
) -> Path:
    """Put a certificate into the model's own file, or into a copy; the tensors stay as they are.

    The file is written beside its place and renamed onto it: who is killed leaves the old one whole.

    Args:
        checkpoint: as it was read.
        content: from `certificate_of`.
        out: the copy.
        overwrite: replace what stands there.

    Raises:
        OutputError: the file can't be written, or the copy's place is taken.
        CheckpointError: the file has changed since it was read.
    """
    path = out or checkpoint.path
    if path is None:
        raise OutputError("the model has no file for its certificate", remedy="name one")
    if out is None or (checkpoint.path is not None and path.exists() and path.samefile(checkpoint.path)):
        if read_document(path).document_sha256 != checkpoint.document.document_sha256:
            raise CheckpointError(
                "the model file has changed since it was measured", where=str(path), remedy="certify it again"
            )
    elif path.exists() and not overwrite:
        raise OutputError("the file exists already", where=str(path), remedy="give --overwrite, or another name")
    document = Document.model_validate(checkpoint.document.model_dump() | {"certificate": dict(content)})
    write_checkpoint(path, Checkpoint(document, checkpoint.tensors))
    return path


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
