"""What a person sees of relaxations and dynamics on a terminal, and of long dynamics in a file of messages."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["DynamicsDisplay", "ns_per_day", "relaxation_bar"]

_QUIET_SECONDS = 30.0  # between two lines where there is no terminal
_REDRAW_SECONDS = 0.1


def ns_per_day(steps: int, timestep: float, seconds: float) -> float:
    """Simulated ns per day of wall-clock time, for a timestep in fs.

    >>> ns_per_day(steps=1000, timestep=0.5, seconds=43.2)
    1.0
    """
    return steps * timestep * 1e-6 * 86400.0 / seconds if seconds > 0 else 0.0


@contextmanager
def relaxation_bar() -> Iterator[Callable[[int, int, float], None]]:
    """What is told of each step of a relaxation (structure, step, largest force) appears on stderr, if a terminal."""
    console = Console(stderr=True)
    bar = Progress(TextColumn("{task.description}"), console=console, disable=not console.is_terminal, transient=True)
    with bar:
        task = bar.add_task("")
        last = 0.0

        def tell(structure: int, step: int, force: float) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > _REDRAW_SECONDS:
                last = now
                bar.update(task, description=f"structure {structure} · step {step} · largest force {force:.3g} eV/Å")

        yield tell


class DynamicsDisplay:
    """Shows step, ns/day, temperature and drift on stderr.

    Args:
        start: step that the run starts from.
        total: step that it ends with.
        timestep: fs.
        shown: False for no output at all.
    """

    def __init__(self, start: int, total: int, timestep: float, *, shown: bool) -> None:
        self._start, self._total, self._timestep, self._shown = start, total, timestep, shown
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._began = self._last = time.monotonic()

    def __enter__(self) -> DynamicsDisplay:
        if self._shown and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("step {task.completed:,.0f} of {task.total:,.0f}"),
                BarColumn(bar_width=None),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=self._total, completed=self._start)
            self._bar.start()
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, step: int, temperature: float, drift: float | None) -> None:
        """One step more is done; temperature in K, departure of the total energy in eV/atom where it is conserved."""
        if not self._shown:
            return
        now = time.monotonic()
        if now - self._last < (_QUIET_SECONDS if self._bar is None else _REDRAW_SECONDS):
            return
        self._last = now
        parts = [f"{ns_per_day(step - self._start, self._timestep, now - self._began):.3g} ns/day"]
        parts.append(f"{temperature:.0f} K")
        if drift is not None:
            parts.append(f"energy {1000 * drift:+.2g} meV/atom")
        text = " · ".join(parts)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, description=text)
        else:
            self.note(f"step {step} of {self._total}: {text}")

    def note(self, text: str) -> None:
        """A line of its own."""
        if self._shown:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
