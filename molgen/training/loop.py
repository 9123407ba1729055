"""The loop that trains any objective: steps, moving average, validation, log, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal, TypeVar, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from molgen.errors import TrainingError
from molgen.interruption import Interruption
from molgen.training.batches import Feed, Sample
from molgen.training.config import TrainingSection
from molgen.training.counters import Counters
from molgen.training.ema import MovingAverage
from molgen.training.hardware import describe_hardware
from molgen.training.log import Log
from molgen.training.objective import Objective
from molgen.training.optimizers import build_optimizers
from molgen.training.progress import ProgressDisplay
from molgen.training.schedules import Anneal, learning_rate_factor
from molgen.training.snapshot import gather, put_back
from molgen.training.state import save_state
from molgen.training.validation import summed, validate

__all__ = ["Loop", "Outcome"]

Outcome = Literal["finished", "budget", "signal"]
_T = TypeVar("_T")


class _Losses(nn.Module):
    """The objective as a module, so that Fabric's precision and process strategy see its forward."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.model = objective.model
        self._loss = objective.loss

    def forward(self, sample: Sample) -> dict[str, Tensor]:
        return self._loss(sample.batch, sample.streams, final=sample.final)


class Loop:
    """Trains an objective until the config's end, a budget's, or a signal.

    Args:
        section: how.
        objective: what.
        feed: the training samples.
        validation: this process' share of the held-out samples.
        fabric: launched.
        folder: of the run; gets `last.safetensors`, `best.safetensors`, `log.csv` and the state.
        display: shows the progress.
        identity: plain data that a saved state is marked with.
    """

    def __init__(
        self,
        section: TrainingSection,
        objective: Objective,
        feed: Feed,
        validation: list[Sample],
        fabric: Fabric,
        folder: Path,
        display: ProgressDisplay,
        identity: Mapping[str, object],
    ) -> None:
        self._section, self._objective, self._feed, self._validation = section, objective, feed, validation
        self._fabric, self._folder, self._display = fabric, folder, display
        self.identity = identity
        self._losses = fabric.setup_module(_Losses(objective))
        self._parameters = [p for p in objective.model.parameters() if p.requires_grad]
        self._optimizers = build_optimizers(objective.model, section)
        self._steppers = [cast(Optimizer, fabric.setup_optimizers(optimizer)) for optimizer in self._optimizers]
        self._average = MovingAverage(objective.model, section.ema_decay)
        self._sums: dict[str, Tensor] = {}  # of losses, float64, since the last row of the log
        self._shown_loss: float | None = None
        self.counters = Counters()

    def restore(self, tensors: Mapping[str, Tensor], counters: Counters) -> None:
        """Go on from a saved state.

        Raises:
            TrainingError: the state is of another model or optimiser.
        """
        sums = put_back(tensors, self._objective.model, self._average, counters.averaged, self._optimizers)
        self._sums = {name: value.to(self._fabric.device) for name, value in sums.items()}
        self.counters = counters

    def run(self, interruption: Interruption) -> Outcome:
        """Train; model and state are saved when this returns.

        Raises:
            TrainingError: no finite gradient for `max_skipped` steps in a row.
            OutputError: the run's folder can't be written.
        """
        counters, before = self.counters, self.counters.seconds
        log = Log(self._folder / "log.csv", counters.step) if self._fabric.is_global_zero else None
        start = saved = time.monotonic()
        outcome: Outcome | None = "finished" if self._finished() else None
        while outcome is None:
            total = self._step()
            counters.seconds = before + time.monotonic() - start
            outcome = self._agreed(self._outcome(interruption))
            self._observe(log, validating=outcome == "finished" or counters.step % self._section.validate_every == 0)
            decaying = self._agreed(self._decay_length())
            if decaying:
                self.begin_anneal(decaying)
            due = time.monotonic() - saved >= 60.0 * self._section.checkpoint_minutes
            if outcome or decaying or self._agreed(due):
                self.save()
                saved = time.monotonic()
            left = self._seconds_left(interruption)
            self._display.step(counters.step, self._end(), total, self._shown_loss, left)
        return outcome

    def save(self) -> None:
        """Write the model of now, and the state."""
        self._fabric.barrier()
        if self._fabric.is_global_zero:
            self._export("last.safetensors")
            tensors = gather(self._objective.model, self._average, self._optimizers, self._sums)
            document = {"counters": asdict(self.counters), "identity": dict(self.identity)}
            save_state(self._folder, self.counters.step, tensors, document)

    def begin_anneal(self, length: int) -> None:
        """Let the learning rate fall from now on, over `length` steps, to the end of the run."""
        self.counters.anneal = Anneal(self.counters.step, length)

    def _step(self) -> int:
        """One step of the optimiser; returns the number of structures, over all processes."""
        section, counters, fabric = self._section, self.counters, self._fabric
        sample = self._feed.sample(counters.step, counters.samples, final=self._final())
        self._seed()
        losses: dict[str, Tensor] = self._losses(sample)
        # processes average their gradients, and the mean is over the structures of all
        scale = sample.weight * fabric.world_size / sample.total
        fabric.backward(losses["loss"].sum() * scale)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, section.clip_norm)
        finite = math.isfinite(float(norm))
        if finite:
            self._move()
            counters.logged += sample.mine
            for name, value in losses.items():
                self._add(name, value.detach().sum(dtype=torch.float64) * sample.weight)
            self._add("gradient_norm", norm.detach().double() * sample.mine)
        for parameter in self._parameters:
            parameter.grad = None
        counters.step += 1
        counters.samples += sample.total
        counters.skipped += not finite
        counters.skipped_in_row = 0 if finite else counters.skipped_in_row + 1
        if counters.skipped_in_row >= section.max_skipped:
            raise TrainingError(
                f"no finite gradient for {counters.skipped_in_row} steps in a row",
                where=f"step {counters.step}, loss {float(losses['loss'].detach().mean()):.4g}",
                remedy="lower training.learning_rate or check the data; --resume goes on from the last checkpoint",
            )
        return sample.total

    def _seed(self) -> None:
        # models that drop out at random draw from torch's own generators, so these too are a function of the step
        fabric = self._fabric
        seed = (self._section.seed << 32) + self.counters.step * fabric.world_size + fabric.global_rank
        torch.default_generator.manual_seed(seed)
        if fabric.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _move(self) -> None:
        factor = learning_rate_factor(self._section, self.counters.step, self.counters.anneal)
        for optimizer in self._steppers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            optimizer.step()
        self._average.update()
        self.counters.averaged = self._average.updates

    def _add(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def _observe(self, log: Log | None, *, validating: bool) -> None:
        """Validate, and write a row of the log, where it is time."""
        counters, section = self.counters, self._section
        validated = self._validate() if validating and self._validation else {}
        if not validated and counters.step % section.log_every:
            return
        means = summed(self._sums, counters.logged, self._fabric)
        self._sums, counters.logged = {}, 0
        self._shown_loss = means.get("loss", self._shown_loss)
        if log is not None and means:
            factor = learning_rate_factor(section, counters.step - 1, counters.anneal)
            row: dict[str, object] = {"step": counters.step, "samples": counters.samples}
            row |= {"hours": counters.seconds / 3600.0, "molecules_per_second": self._display.speed}
            row |= {"learning_rate": section.learning_rate * factor, "skipped": counters.skipped, **means}
            parts = [name for name in means if name != "gradient_norm"]
            log.write(row | {f"validation_{name}": validated.get(name) for name in self._objective.measured(parts)})

    def _validate(self) -> dict[str, float]:
        counters = self.counters
        with self._average.applied():
            means = self._objective.figures(validate(self._objective, self._validation, self._fabric))
        counters.validation = means["loss"]
        if counters.best is None or means["loss"] < counters.best:
            counters.best = means["loss"]
            if self._fabric.is_global_zero:
                self._export("best.safetensors")
        self._display.note(
            f"step {counters.step}: validation {self._objective.describe(means)} (best loss {counters.best:.5g}), "
            f"{counters.samples} samples in {counters.seconds / 3600.0:.2f} h"
        )
        return means

    def _export(self, name: str) -> None:
        counters = self.counters
        training = {
            "steps": counters.step,
            "samples": counters.samples,
            "hours": counters.seconds / 3600.0,
            "validation_loss": counters.validation,
            "hardware": describe_hardware(self._fabric.device, self._fabric.world_size),
            "options": self._section.model_dump(mode="json"),
        }
        self._objective.export(self._folder / name, self._average.weights(), training)

    def _end(self) -> int | None:
        """The step at which the run is done; None where only the clock ends it."""
        return self.counters.anneal.end if self.counters.anneal else self._section.steps

    def _final(self) -> bool:
        """Whether the run is in its last part: a decay that was begun, or the last of its steps."""
        section, counters = self._section, self.counters
        if counters.anneal is not None:
            return True
        before = 1.0 - section.decay_fraction
        if section.steps is not None:
            return counters.step >= before * section.steps
        return section.hours is not None and counters.seconds >= before * 3600.0 * section.hours

    def _finished(self) -> bool:
        end, hours = self._end(), self._section.hours
        if end is not None and self.counters.step >= end:
            return True
        # a decay that has begun is carried out, so that its end is a matter of steps
        return hours is not None and self.counters.anneal is None and self.counters.seconds >= 3600.0 * hours

    def _outcome(self, interruption: Interruption) -> Outcome | None:
        if self._finished():
            return "finished"
        return "signal" if interruption.signalled else "budget" if interruption.due else None

    def _decay_length(self) -> int:
        """Steps of the decay that is to begin now because of the clock, or 0."""
        section, counters = self._section, self.counters
        if section.hours is None or section.schedule != "warmup-stable-decay" or counters.anneal is not None:
            return 0
        left = 3600.0 * section.hours - counters.seconds
        if left > section.decay_fraction * 3600.0 * section.hours:
            return 0
        return max(int(counters.step / counters.seconds * left), 1)

    def _seconds_left(self, interruption: Interruption) -> float | None:
        ends = [interruption.seconds_left]
        if self._section.hours is not None and self.counters.anneal is None:
            ends.append(3600.0 * self._section.hours - self.counters.seconds)
        return min((end for end in ends if end is not None), default=None)

    def _agreed(self, value: _T) -> _T:
        """The first process' word, so that clocks and signals stop all of them at the same step."""
        return self._fabric.broadcast(value) if self._fabric.world_size > 1 else value
