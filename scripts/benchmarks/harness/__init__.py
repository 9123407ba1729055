"""What the benchmarks share: options, runs in turn, medians with their range, the machine, table and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

import molgen
from molgen.atomic import write_atomically
from molgen.errors import MolgenError
from molgen.training.hardware import describe_hardware

__all__ = [
    "QM9_SIZES",
    "Timing",
    "ended",
    "in_turn",
    "machine",
    "parser",
    "percent",
    "plain_table",
    "publish",
    "saved_bytes",
    "timed",
]

_Key = TypeVar("_Key")
_Run = TypeVar("_Run", bound=Callable[[], object])

# how many molecules of QM9 without fluorine have n atoms; random stand-ins of the same sizes cost the same to compute
QM9_SIZES: Mapping[int, int] = {
    **{3: 2, 4: 4, 5: 4, 6: 11, 7: 18, 8: 57, 9: 138, 10: 379, 11: 863, 12: 1908, 13: 3639, 14: 6363, 15: 9947},
    **{16: 13640, 17: 16882, 18: 17376, 19: 18115, 20: 12385, 21: 13151, 22: 4425, 23: 6353, 24: 711, 25: 1923},
    **{26: 59, 27: 356, 29: 35},
}


@dataclass(frozen=True)
class Timing:
    """Seconds of several runs of one thing."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the runs, s."""
        return statistics.median(self.seconds)

    def text(self, scale: float = 1.0, digits: int = 2) -> str:
        """`median (min–max)` of scale × s."""
        low, high = (f"{scale * end:.{digits}f}" for end in (min(self.seconds), max(self.seconds)))
        return f"{scale * self.median:.{digits}f} ({low}–{high})"

    def rate_text(self, amount: float, digits: int = 1) -> str:
        """`median (min–max)` of amount/s."""
        low, high = (f"{amount / end:.{digits}f}" for end in (max(self.seconds), min(self.seconds)))
        return f"{amount / self.median:.{digits}f} ({low}–{high})"

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "median_s": self.median,
            "min_s": min(self.seconds),
            "max_s": max(self.seconds),
            "runs_s": list(self.seconds),
        }


def timed(run: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(cases: Mapping[_Key, _Run], repeats: int, *, clock: Callable[[_Run], float] = timed) -> dict[_Key, Timing]:
    """Timings of every case: all of them once, then all of them again, so that a busy spell hits none alone.

    Args:
        cases: what to run.
        repeats: rounds.
        clock: the seconds of one run; those that it takes here, unless a case is run elsewhere.
    """
    seconds: dict[_Key, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, run in cases.items():
            seconds[name].append(clock(run))
    return {name: Timing(tuple(runs)) for name, runs in seconds.items()}


def saved_bytes(forward: Callable[[], Tensor], known: Sequence[Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass, beside tensors that are there anyway."""
    there = {tensor.untyped_storage().data_ptr() for tensor in known}
    kept: dict[int, torch.UntypedStorage] = {}  # holding them keeps their addresses from being given out again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(storage.nbytes() for storage in kept.values())


def parser(
    name: str, summary: str | None, *, repeats: int | None, threads: int | None = None
) -> argparse.ArgumentParser:
    """Options that all benchmarks have: --quick, --json, and --repeats and --threads where a default is given."""
    made = argparse.ArgumentParser(description=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="so small that it takes seconds: does it run, not how fast")
    if repeats is not None:
        made.add_argument("--repeats", type=int, default=repeats, help=f"runs of each case (default {repeats})")
    made.add_argument("--json", type=Path, default=Path(f"build/benchmarks/{name}.json"), metavar="FILE")
    if threads is not None:
        made.add_argument("--threads", type=int, default=threads, help=f"CPU threads (default {threads})")
    return made


def machine() -> dict[str, object]:
    """What the figures were measured on, and how busy it was."""
    hardware = describe_hardware(torch.device("cpu"))
    return {
        "processor": hardware["processor"],
        "cores": os.cpu_count(),
        "threads": hardware["threads"],
        "torch": hardware["torch"],
        "python": platform.python_version(),
        "molgen": molgen.__version__,
        "system": platform.platform(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def percent(metric: Mapping[str, float]) -> str:
    """`value (low–high)` of a measured fraction in per cent."""
    return f"{100 * metric['value']:.1f} ({100 * metric['low']:.1f}–{100 * metric['high']:.1f})"


def plain_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Text with a column per key of the rows."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def publish(
    name: str,
    title: str,
    shown: Sequence[Mapping[str, object]],
    *,
    settings: Mapping[str, object],
    results: object,
    where: Mapping[str, object],
    path: Path,
    quick: bool = False,
) -> None:
    """Print the table with the machine below it, and write the JSON.

    Args:
        name: of the benchmark.
        title: what was measured, in a line.
        shown: rows of the table.
        settings: what was measured.
        results: plain data, every single run in it.
        where: from `machine`, taken before the measurement.
        path: of the JSON.
        quick: marks figures that say nothing of speed.
    """
    print(f"{title}\n\n{plain_table(shown)}")
    load = "" if where["load"] is None else f", load {where['load']:.1f} before"
    print(f"\n{where['processor']}, {where['threads']} of {where['cores']} cores, torch {where['torch']}{load}")
    if quick:
        print("--quick: these figures say nothing of speed or quality")
    data = {"benchmark": name, "quick": quick, "machine": where, "settings": settings, "results": results}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    print(path)


def ended(main: Callable[[Sequence[str] | None], None]) -> int:
    """Exit code of a benchmark; what its user can mend is one line on stderr."""
    try:
        main(None)
    except MolgenError as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        return 2
    return 0
