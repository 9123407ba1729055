"""How the cost of energy and forces grows: with the number of atoms, and with the degree at a fixed m_max."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from harness import Timing, in_turn

from potentials.cases import Case, water
from potentials.contenders import Contender, Field, encoder
from potentials.workers import NoAnswerError

__all__ = ["exponent", "of_atoms", "of_degrees", "table"]

# network → its timings by size
Found = dict[str, dict[int, Timing]]


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """k of the best fit of seconds = c · size^k, in logarithms.

    >>> round(exponent([1, 2, 4], [3.0, 12.0, 48.0]), 6)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def of_atoms(field: Field, names: Sequence[str], molecules: Sequence[int], repeats: int, threads: int) -> Found:
    """Seconds against the atoms of boxes of water; who fails at a size is left out from there on.

    Each size has a process of its own, so that one too large for the memory takes no other with it.
    """
    found: Found = {}
    cases = {3 * count: Case(f"water of {3 * count} atoms", partial(water, count)) for count in molecules}
    for case in cases.values():
        case.write(field.folder)
    for contender in [contender for contender in field.contenders if contender.name in names]:
        keys: dict[int, tuple[Contender, str]] = {}
        with ExitStack() as stack:
            for size, case in cases.items():
                worker = stack.enter_context(contender.worker.again())
                one = replace(contender, worker=worker)
                try:
                    worker.ask("threads", count=threads)
                    keys[size] = one, one.prepare(case, warm_up=1)
                except NoAnswerError as error:
                    field.left_out[f"{contender.name}, {case.name}"] = str(error)
                    break
            found[contender.name] = _timings(keys, repeats)
    return found


def of_degrees(field: Field, name: str, degrees: Sequence[int], case: Case, repeats: int, **changes: Any) -> Found:
    """Seconds of one encoder against its l_max; nothing where it takes no part."""
    keys = {}
    for contender in field.contenders:
        if contender.name == name:
            for l_max in degrees:
                network = encoder(name, l_max=l_max, **changes)
                keys[l_max] = contender, contender.prepare(case, network=network)
    return {name: _timings(keys, repeats)} if keys else {}


def table(found: Found, axis: str) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Rows to print and plain data: ms of each size, the exponent of all, and that between the last two."""
    shown, plain = [], []
    for name, timings in found.items():
        points = [(size, timing.median) for size, timing in timings.items()]
        steps = [exponent(*zip(*pair, strict=True)) for pair in pairwise(points)]
        fitted = exponent(*zip(*points, strict=True)) if steps else None
        row: dict[str, object] = {"network": name}
        row |= {f"{axis} {size}": timing.text(1e3, 1) for size, timing in timings.items()}
        if steps:
            row |= {"exponent": f"{fitted:.2f}", "of the last two": f"{steps[-1]:.2f}"}
        shown.append(row)
        runs = {str(size): timing.as_dict() for size, timing in timings.items()}
        plain.append({"network": name, "exponent": fitted, "exponents_of_steps": steps, "timings": runs})
    return shown, plain


def _timings(keys: Mapping[Any, tuple[Contender, str]], repeats: int) -> dict[Any, Timing]:
    turns = {name: partial(contender.seconds, key) for name, (contender, key) in keys.items()}
    return in_turn(turns, repeats, clock=lambda run: run())
