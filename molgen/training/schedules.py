"""The learning rate as a function of the step, so that a resumed run has the same one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from molgen.training.config import TrainingSection

__all__ = ["Anneal", "learning_rate_factor"]


@dataclass(frozen=True)
class Anneal:
    """A decay to the smallest learning rate that was begun by hand or by the clock, and ends the run."""

    start: int  # step
    length: int  # steps

    @property
    def end(self) -> int:
        """The step at which the run is done."""
        return self.start + self.length


def learning_rate_factor(section: TrainingSection, step: int, anneal: Anneal | None = None) -> float:
    """The learning rate of a step (from 0) as a fraction of `learning_rate`.

    Warm-up is linear. `cosine` falls from its end to `training.steps`. `warmup-stable-decay` stays at 1 and falls as
    1 − √x over its last part (Hägele et al. 2024, "Scaling laws and compute-optimal training beyond fixed training
    durations", section 3), or over an `anneal`, whichever was begun.
    """
    warm = min(1.0, (step + 1) / section.warmup_steps) if section.warmup_steps else 1.0
    return warm * (section.final_fraction + (1.0 - section.final_fraction) * _shape(section, step, anneal))


def _shape(section: TrainingSection, step: int, anneal: Anneal | None) -> float:
    if anneal is not None:
        return 1.0 - math.sqrt(_progress(step, anneal.start, anneal.length))
    if section.schedule == "constant" or section.steps is None:
        return 1.0
    if section.schedule == "cosine":
        done = _progress(step, section.warmup_steps, section.steps - section.warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * done))
    length = round(section.decay_fraction * section.steps)
    return 1.0 - math.sqrt(_progress(step, section.steps - length, length))


def _progress(step: int, start: int, length: int) -> float:
    return min(max((step - start) / max(length, 1), 0.0), 1.0)
