"""What a model file says about its model, as plain data: for `molgen info`, for reports and for programs."""

from __future__ import annotations

import math
from typing import Any

from molgen.elements import NUMBERS, SYMBOLS
from molgen.models.checkpoint import Checkpoint, certification
from molgen.models.document import Document, check_schema

__all__ = ["summarise"]


def summarise(checkpoint: Checkpoint, id: str | None = None) -> dict[str, Any]:
    """Plain data about a model, ready for JSON.

    Args:
        checkpoint: from `read_checkpoint`.
        id: of a registered model, `distribution:name`.
    """
    document, path = checkpoint.document, checkpoint.path
    certified, status = certification(document)
    return {
        "name": document.name,
        "id": id,
        "path": str(path) if path else None,
        "bytes": path.stat().st_size if path else None,
        "task": document.task,
        "parameters": sum(t.numel() for t in checkpoint.tensors.values() if t.is_floating_point()),
        "dtype": document.dtype,
        "components": {role: record.model_dump(mode="json") for role, record in document.components.items()},
        "molecules": _molecules(document) if document.task == "generator" else None,
        "potential": _potential(document),
        "process": document.process,
        "statistics": document.statistics.model_dump(),
        "units": document.units,
        "training": document.training,
        "seed": document.seed,
        "data_fingerprint": document.data_fingerprint,
        "library_versions": document.library_versions,
        "certified": certified,
        "certification": status,
        "verdict": document.certificate.get("verdict") if certified and document.certificate else None,
        "certificate": document.certificate,
        "tensors_sha256": document.tensors_sha256,
        "format_version": document.format_version,
    }


def _molecules(document: Document) -> dict[str, Any]:
    """What the model's molecules are made of."""
    schema = check_schema(document.schema)
    sizes = sorted(n for n, count in schema.size_counts.items() if count)
    total = sum(schema.size_counts.values())
    mean = math.fsum(n * count for n, count in schema.size_counts.items()) / total if total else None
    return {
        "elements": [SYMBOLS[number] for number in schema.elements],
        "smallest": sizes[0] if sizes else None,
        "largest": sizes[-1] if sizes else None,
        "mean_atoms": mean,
        "structures": total,  # of the training data
        "formal_charges": list(schema.formal_charges),
        "bond_orders": list(schema.bond_orders),
        "conditions": list(schema.conditions),
    }


def _potential(document: Document) -> dict[str, Any] | None:
    """What a potential knows, and where its energies and forces come from."""
    record = document.potential
    if record is None:
        return None
    return {
        "elements": sorted(record.elements, key=NUMBERS.__getitem__),
        "isolated_energies": record.isolated_source,
        "conditions": list(record.conditions),
        "repulsion": record.repulsion,
        "repulsion_reach": record.repulsion_reach if record.repulsion else None,
        "forces_from": record.forces_from,
        "conservative": record.conservative,
    }
