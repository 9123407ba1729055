"""Options and exit codes that commands share."""

from __future__ import annotations

import json as json_format
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from molgen.atomic import write_atomically
from molgen.errors import ConfigError

__all__ = [
    "STDOUT",
    "Device",
    "Dtype",
    "ExitCode",
    "Json",
    "Overwrite",
    "Precision",
    "Seed",
    "Threads",
    "apply_threads",
    "choose_device",
    "warnings_told",
    "write_json",
]

STDOUT: Final = Path("-")


class ExitCode(IntEnum):
    """How a command ended. A command raises `typer.Exit(ExitCode.FEWER)`; `molgen.cli.main` sees to the others."""

    DONE = 0
    INTERNAL = 1
    USER = 2  # something that the user can mend, told in one line on stderr
    FEWER = 3  # finished, with fewer results than asked
    INTERRUPTED = 130


class Precision(StrEnum):
    """Floating-point types that a command computes in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    MIXED = "bf16-mixed"


Seed = Annotated[int, typer.Option("--seed", min=0, help="Same seed, same results.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[
    Precision,
    typer.Option(
        "--dtype",
        help="Precision; auto is bf16-mixed where the model was trained so and the device is fast at it, else float32.",
    ),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; by default as torch chooses.")]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write the results as JSON; - for standard output.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands at the output's place.")]


def apply_threads(threads: int | None) -> None:
    """Limit torch, and the libraries that it starts, to this many CPU threads; None leaves them as they are."""
    if threads is None:
        return
    # Read by OpenMP and MKL when torch is first imported, so they are set before.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


def choose_device(name: str) -> str:
    """A device that torch has on this machine.

    Args:
        name: "cpu", "cuda", "cuda:N", or "auto" for the GPU where there is one.

    Raises:
        ConfigError: no such device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}", expected="auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"there is no device {name!r} here", remedy="choose --device cpu")
    return str(device)


@contextmanager
def warnings_told() -> Iterator[None]:
    """Warnings as lines on stderr, each once."""
    told: set[str] = set()

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in told:
            told.add(str(message))
            typer.echo(f"molgen: warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = tell  # type: ignore[assignment]
        yield


def write_json(path: Path, data: Any) -> None:
    """Write results for programs, to a file or, for `-`, to standard output.

    Raises:
        OutputError: the file can't be written.
    """
    text = json_format.dumps(data, indent=2, allow_nan=False)
    if path == STDOUT:
        typer.echo(text)
    else:
        write_atomically(path, text + "\n")
