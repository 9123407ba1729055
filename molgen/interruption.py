"""Signals and a clock, asked between two steps: a run stops where its state can be saved."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

__all__ = ["Interruption"]


class Interruption:
    """Within, SIGINT and SIGTERM only set `signalled`; a second SIGINT raises KeyboardInterrupt at once.

    Args:
        budget: s of wall-clock time after which `due` is true; None for no limit.
    """

    def __init__(self, budget: float | None = None) -> None:
        self.signalled = False
        self._deadline = None if budget is None else time.monotonic() + budget
        self._before: dict[signal.Signals, object] = {}

    @property
    def due(self) -> bool:
        """Whether the budget is spent."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def seconds_left(self) -> float | None:
        """s until the budget is spent; None without one."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # others can't set handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signalled = True
