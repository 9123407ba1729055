"""The progress bar of a run, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(description: str, total: int, *, enabled: bool) -> Iterator[Callable[[float], None]]:
    """A bar over `total` molecules; call what it yields with the molecules done since the last call.

    Parts of a molecule count: each step of a batch of B advances by B / steps. Nothing is shown where it is not
    enabled or stderr is no terminal.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not (enabled and console.is_terminal),
        transient=True,
    ) as bar:
        task = bar.add_task(description, total=total, speed="")

        def advance(molecules: float) -> None:
            bar.advance(task, molecules)
            speed = bar.tasks[task].speed
            bar.update(task, speed=f"{speed:.1f} molecules/s" if speed else "")

        yield advance
