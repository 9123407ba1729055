"""How far a run is, in plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from molgen.training.schedules import Anneal

__all__ = ["Counters"]


@dataclass
class Counters:
    """How far a run is; saved with its state."""

    step: int = 0  # steps done
    samples: int = 0  # structures seen
    seconds: float = 0.0  # wall-clock time, over all resumptions
    skipped: int = 0  # steps without a finite gradient
    skipped_in_row: int = 0
    averaged: int = 0  # updates of the moving average
    logged: int = 0  # structures of this process in the sums of the log's next row
    best: float | None = None  # lowest validation loss
    validation: float | None = None  # newest validation loss
    anneal: Anneal | None = None

    @classmethod
    def from_dict(cls, data: Mapping) -> Counters:
        """The inverse of `dataclasses.asdict`."""
        anneal = data.get("anneal")
        return cls(**{**data, "anneal": Anneal(**anneal) if anneal else None})
