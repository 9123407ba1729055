"""Processes that are each held to one core and to as many threads, with what they say in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from molgen.errors import ConfigError, TrainingError

__all__ = ["Pinned", "pinned"]

# What `molgen.allocation.keep_freed_memory` asks of glibc in the programs of molgen; everyone who is timed gets it.
_KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_ARENA_MAX": "1"}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LAST_LINES = 3  # of its output that an error shows


class Pinned:
    """A process that runs.

    Args:
        words: the command.
        log: the file that gets its output.
        core: that it is held to; None for any.
        threads: that it may use.
        folder: that it works in.

    Raises:
        ConfigError: it can't be started, or there is no such core.
    """

    def __init__(
        self, words: Sequence[str | Path], log: Path, *, core: int | None, threads: int, folder: Path | None = None
    ) -> None:
        self._words, self._path = [str(word) for word in words], log
        log.parent.mkdir(parents=True, exist_ok=True)
        _end_in_order()
        environment = {**os.environ, **_KEEP_FREED_MEMORY, **dict.fromkeys(_THREADS, str(threads))}
        with log.open("w", encoding="utf-8") as output, pinned(core):
            self._process = _started(self._words, environment, folder, output.fileno())

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self) -> None:
        """Until it ends.

        Raises:
            TrainingError: it ended with an error; the message has its last lines.
        """
        if self._process.wait():
            lines = [line for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines() if line]
            raise TrainingError(
                f"{self._words[0]} ended with {self._process.returncode}: {' / '.join(lines[-_LAST_LINES:])}",
                where=str(self._path),
            )

    def stop(self) -> None:
        """End it, if it still runs."""
        if self.running:
            self._process.terminate()
        self._process.wait()

    def __enter__(self) -> Pinned:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Hold this process, and what it starts, to one core while the context lasts.

    Raises:
        ConfigError: there is no such core, or the system can't do it.
    """
    if core is None:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise ConfigError("this system can't hold a process to a core", remedy="leave the cores out")
    before = os.sched_getaffinity(0)
    if core not in before:
        raise ConfigError(f"there is no core {core}", expected=f"one of {', '.join(map(str, sorted(before)))}")
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _end_in_order() -> None:
    """Let SIGTERM unwind this process, so that those that it has started end with it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _started(
    words: Sequence[str], environment: Mapping[str, str], folder: Path | None, output: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder
        )
    except OSError as error:
        raise ConfigError(f"{words[0]} can't be started: {error.strerror}") from error
