"""Generators of the shipped plugins with few random weights: what they draw is junk, but they draw it in a moment."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from molgen.interfaces import Schema
from molgen.models.assembly import assemble_generator
from molgen.models.checkpoint import Checkpoint, write_checkpoint


def written(path: Path, **sampler: Any) -> Path:
    """Writes one that `karras` with these options trained; its molecules have four atoms, so that a batch has all."""
    statistics = {"sigma_data": 1.4, "average_neighbors": 3.0}
    schema = Schema(elements=(1, 6, 7, 8), size_counts={4: 1})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = assemble_generator(
            SimpleNamespace(use="egnn", config={"channels": 8, "layers": 1}),
            SimpleNamespace(use="karras", config=sampler),
            schema,
            statistics,
        )
    reference = {"validity": {"value": 0.9775, "low": 0.97, "high": 0.98, "n": 10000}}
    document = made.document("tiny", schema, statistics, training={"reference_metrics": reference})
    write_checkpoint(path, Checkpoint(document, made.module.state_dict()))
    return path
