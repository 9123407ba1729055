"""What a person sees of a run: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

__all__ = ["ProgressDisplay"]

_QUIET_SECONDS = 30.0  # between two lines where there is no terminal
_MEMORY_SECONDS = 20.0  # over which the speed is averaged


class ProgressDisplay:
    """Shows step, loss, molecules/s and time left on stderr, so that stdout stays free for results.

    Args:
        shown: False for no output at all.
    """

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_line = self._last_time = time.monotonic()
        self.speed = 0.0  # molecules/s, averaged over the last seconds

    def __enter__(self) -> ProgressDisplay:
        if self._shown and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("step {task.completed:,.0f}"),
                BarColumn(bar_width=None),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._task = self._bar.add_task("starting", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, step: int, total: int | None, samples: int, loss: float | None, seconds_left: float | None) -> None:
        """One step more is done.

        Args:
            step: steps done.
            total: steps of the whole run, None where only the clock ends it.
            samples: of this step.
            loss: the newest known mean, None before there is one.
            seconds_left: until the clock ends the run, None without such an end.
        """
        now = time.monotonic()
        passed = max(now - self._last_time, 1e-9)
        self._last_time = now
        weight = min(passed / _MEMORY_SECONDS, 1.0) if self.speed else 1.0
        self.speed += weight * (samples / passed - self.speed)
        if not self._shown:
            return
        if self._bar is not None and self._task is not None:
            text = self._describe(step, total, samples, loss, seconds_left)
            self._bar.update(self._task, completed=step, total=total, description=text)
        elif now - self._last_line >= _QUIET_SECONDS:
            self._last_line = now
            of = "" if total is None else f" of {total}"
            self.note(f"step {step}{of}: {self._describe(step, total, samples, loss, seconds_left)}")

    def note(self, text: str) -> None:
        """A line of its own."""
        if self._shown:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _describe(
        self, step: int, total: int | None, samples: int, loss: float | None, seconds_left: float | None
    ) -> str:
        ends = [] if seconds_left is None else [seconds_left]
        if total is not None and self.speed > 0:
            ends.append((total - step) * samples / self.speed)
        parts = [] if loss is None else [f"loss {loss:.4g}"]
        parts.append(f"{self.speed:.0f} molecules/s")
        if ends:
            parts.append(f"{_clock(min(ends))} left")
        return " · ".join(parts)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
