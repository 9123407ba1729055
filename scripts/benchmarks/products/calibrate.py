"""Measures what each method costs on this machine, for `method: auto` to choose by."""

from __future__ import annotations

import json
import re
import statistics
import time
from pathlib import Path

import torch
from e3nn import o3
from molgen_gaunt import costs
from molgen_gaunt.autograd import contract
from molgen_gaunt.config import GauntConfig
from molgen_gaunt.methods import Engine, engine_of
from molgen_gaunt.paths import forms_of

from molgen.atomic import write_atomically

__all__ = ["COSTS", "calibrate"]

COSTS = Path(costs.__file__).with_name("costs.json")

CHANNELS = 16
DEGREES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
ROWS = (64, 1024, 16384)
_SLOWEST = 0.5  # s; a method that takes longer at fewer rows or lower degrees is not tried further
_SPENT = 0.25  # s for one cell
_SHOWN = ("processor", "cores", "threads", "torch")  # of the machine
_LISTS = re.compile(r"\[\s+([^\[\]]*?)\s+\]")  # of numbers, which go on one line


def calibrate(device: str, where: dict[str, object], *, path: Path = COSTS, quick: bool = False) -> Path:
    """Measures and rewrites one device's tables in a file, keeping other devices'; its path.

    Args:
        device: "cpu" or "cuda".
        where: the machine, to be kept beside the figures.
        path: the file, by default the one that `auto` reads.
        quick: the smallest sizes alone.
    """
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"tables": {}}
    write_atomically(path, _text(document))  # before the minutes of measuring: it can be written
    degrees, rows = ((1, 2), ROWS[:2]) if quick else (DEGREES, ROWS)
    document["tables"][device] = {
        str(dtype).removeprefix("torch."): {
            kind: _tables(device, dtype, kind == "odd", degrees, rows) for kind in ("even", "odd")
        }
        for dtype in (torch.float32, torch.float64)
    }
    document.setdefault("measured_on", {})[device] = {key: where[key] for key in _SHOWN if key in where}
    write_atomically(path, _text(document))
    return path


def _text(document: dict[str, object]) -> str:
    return _LISTS.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(document, indent=1)) + "\n"


def _tables(
    device: str, dtype: torch.dtype, odd: bool, degrees: tuple[int, ...], rows: tuple[int, ...]
) -> dict[str, dict[str, object]]:
    methods = [m for m in costs.METHODS if m != "fused" or (device == "cuda" and dtype == torch.float32)]
    found: dict[str, list[list[float | None]]] = {method: [] for method in methods}
    for l_max in degrees:
        natural = o3.Irreps([(CHANNELS, (l, (-1) ** l)) for l in range(l_max + 1)])
        pseudo = o3.Irreps([(CHANNELS, (l, -((-1) ** l))) for l in range(1, l_max + 1)])
        config = GauntConfig.model_validate({"parity": "full" if odd else "even"})
        (form,) = forms_of(config, natural, natural, pseudo if odd else natural)
        for method in methods:
            last = [line[-1] for line in found[method][-1:]]
            line: list[float | None] = [None] * len(rows)
            if not last or last[0] is not None:
                engine = engine_of(method, form, dtype, torch.device(device), "float32")
                for place, count in enumerate(rows):
                    line[place] = seconds = _microseconds(engine, count // CHANNELS, natural.dim)
                    if seconds > _SLOWEST * 1e6:
                        break
            found[method].append(line)
            print(f"{device} {dtype} {'odd' if odd else 'even'} L={l_max} {method}: {line}", flush=True)
    return {
        method: {"l_max": list(degrees), "rows": list(rows), "microseconds": lines} for method, lines in found.items()
    }


def _microseconds(engine: Engine, batch: int, width: int) -> float:
    x, y = (torch.randn(batch, width, dtype=engine.dtype, device=engine.device) for _ in range(2))

    def once() -> float:
        start = time.perf_counter()
        with torch.no_grad():
            contract(x, y, engine)
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    once()
    first = once()
    taken = [once() for _ in range(max(3, min(50, int(_SPENT / first))))]
    return round(statistics.median(taken) * 1e6, 1)
