"""A planned run from its first batch to its files, and what an interrupt leaves of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from molgen.generation.control import Controls
from molgen.generation.frames import state_frames
from molgen.generation.generated import GeneratedMolecules
from molgen.generation.plan import PlannedBatch
from molgen.generation.progress import progress_bar
from molgen.generation.run_folder import RunFolder
from molgen.generation.sampling import Sampled, sample_batch
from molgen.generation.writing import write_results
from molgen.interfaces import Sampler, State
from molgen.structures import Structures, concatenate

__all__ = ["GenerationInterrupted", "Outcome", "Run"]


class GenerationInterrupted(KeyboardInterrupt):
    """The user interrupted a run; `molecules` holds the finished batches, or is None where there were none."""

    def __init__(self, molecules: GeneratedMolecules | None) -> None:
        self.molecules = molecules
        super().__init__("interrupted")


@dataclass(frozen=True, eq=False)
class Outcome:
    """All finished batches of a run, as B molecules in the order of their indices."""

    structures: Structures  # [B] on the CPU
    indices: tuple[int, ...]  # [B]
    failures: tuple[str | None, ...]  # [B]
    timing: dict[str, float]


@dataclass(frozen=True, eq=False)
class Run:
    """A planned run: everything that its molecules depend on."""

    sampler: Sampler
    module: nn.Module
    batches: list[PlannedBatch]
    n_steps: int
    seed: int
    device: torch.device
    mixed: bool = False  # matrix products in bfloat16
    controls: Controls = field(default_factory=Controls)  # what is fixed of the molecules

    def into(
        self,
        folder: RunFolder | None,
        record: dict[str, Any],
        gather: Callable[[Outcome], GeneratedMolecules],
        *,
        trajectory: bool,
        report: bool,
        progress: bool,
    ) -> GeneratedMolecules:
        """Draw every batch, gather the molecules, write them.

        Args:
            folder: where to write, or None.
            record: what is planned, for the folder.
            gather: makes molecules of the finished batches.
            trajectory: also write every state to the folder.
            report: also write the report.
            progress: show a bar.

        Raises:
            GenerationInterrupted: after what was finished has been written.
        """
        finished: list[Sampled] = []
        done: dict[int, Sampled] = {}
        started = time.perf_counter()

        def results() -> GeneratedMolecules:
            drawn = _count(finished) - _count(done.values())
            molecules = gather(_join(finished, drawn, time.perf_counter() - started))
            if folder is not None:
                write_results(molecules, folder, report=report)
            return molecules

        try:
            if folder is not None:
                done = folder.begin(record)
                finished.extend(done.values())
            with self._bar(progress, _count(finished)) as advance:
                for number, batch in enumerate(self.batches):
                    if number not in done:
                        finished.append(self._draw(number, batch, folder, trajectory, advance))
        except KeyboardInterrupt as interrupt:
            raise GenerationInterrupted(results() if finished else None) from interrupt
        finally:
            if folder is not None and not finished:
                folder.discard()
        return results()

    def _draw(
        self,
        number: int,
        batch: PlannedBatch,
        folder: RunFolder | None,
        trajectory: bool,
        advance: Callable[[float], None],
    ) -> Sampled:
        texts: dict[int, list[str]] = {index: [] for index in batch.indices}

        def on_state(state: State) -> None:
            if state.step > 0:
                advance(len(batch.indices) / self.n_steps)
            if trajectory:
                for index, text in state_frames(state, batch.indices).items():
                    texts[index].append(text)

        sampled = sample_batch(
            self.sampler,
            self.module,
            batch,
            n_steps=self.n_steps,
            seed=self.seed,
            device=self.device,
            mixed=self.mixed,
            controls=self.controls,
            on_state=on_state,
        )
        if folder is not None:
            # the trajectory first: a batch that is there is whole
            if trajectory:
                folder.keep_trajectory(number, {index: "".join(parts) for index, parts in texts.items()})
            folder.keep(number, sampled)
        return sampled

    @contextmanager
    def _bar(self, enabled: bool, done: int) -> Iterator[Callable[[float], None]]:
        total = sum(len(batch.indices) for batch in self.batches)
        with progress_bar("molecules", total, enabled=enabled) as advance:
            if done:
                advance(done)
            yield advance


def _count(batches: Iterable[Sampled]) -> int:
    return sum(len(sampled.indices) for sampled in batches)


def _join(finished: list[Sampled], drawn: int, seconds: float) -> Outcome:
    indices = [index for sampled in finished for index in sampled.indices]
    failures = [failure for sampled in finished for failure in sampled.failures]
    order = sorted(range(len(indices)), key=indices.__getitem__)
    timing = {"sampling_seconds": round(seconds, 3), "molecules_per_second": round(drawn / seconds, 3)}
    return Outcome(
        concatenate([sampled.structures for sampled in finished]).select(order),
        tuple(indices[place] for place in order),
        tuple(failures[place] for place in order),
        timing,
    )
