"""The other end of a driver: starts its process, asks, and says why there is no answer."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from molgen.errors import MolgenError
from potentials.serving import ANSWER

_HERE = Path(__file__).parent
# What `molgen.allocation.keep_freed_memory` asks of glibc in the programs of molgen; for timing everyone gets it.
_KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_ARENA_MAX": "1"}
# Freed blocks go back to the system at once: the peak is that of memory in use. For measuring it everyone gets it.
_GIVE_BACK_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # bytes


class NoAnswerError(MolgenError):
    """A driver refused or its process ended; the message says why."""


class Worker:
    """A process that runs a driver.

    Args:
        python: of the environment that has the package.
        driver: name of a module beside this one.
        folder: of the cases.
        keep_freed_memory: whether memory that it frees stays its own, for timing; not where memory is measured.
    """

    def __init__(self, python: Path | str, driver: str, folder: Path, *, keep_freed_memory: bool = True) -> None:
        self._told = python, driver, folder
        environment = dict(os.environ)
        if driver == "molgen_driver":  # the one that needs the harness
            paths = [str(_HERE.parent), environment.get("PYTHONPATH")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        environment |= _KEEP_FREED_MEMORY if keep_freed_memory else _GIVE_BACK_MEMORY
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (closed with the process)
        try:
            self._process = subprocess.Popen(
                [str(python), str(_HERE / f"{driver}.py"), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
                encoding="utf-8",
            )
        except OSError as error:
            self._log.close()
            raise NoAnswerError(f"{python} can't be started: {error.strerror}") from error

    def ask(self, do: str, **command: Any) -> dict[str, Any]:
        """The answer to a command of `serving.Server`.

        Raises:
            NoAnswerError: an error there, or the process ended.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            print(json.dumps({"do": do, **command}), file=process.stdin, flush=True)
            line = next((line for line in process.stdout if line.startswith(ANSWER)), None)
        except BrokenPipeError:
            line = None
        if line is None:
            raise NoAnswerError(self._last_words())
        answer = json.loads(line.removeprefix(ANSWER))
        if "error" in answer:
            raise NoAnswerError(answer["error"])
        return answer

    def again(self, *, keep_freed_memory: bool = True) -> Worker:
        """A second process of the same driver."""
        return Worker(*self._told, keep_freed_memory=keep_freed_memory)

    def close(self) -> None:
        """Ends the process."""
        self._process.terminate()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()
        self._log.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        told = f": {lines[-1]}" if lines else ""
        return f"its process ended with {code}{told}"
