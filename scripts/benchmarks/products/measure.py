"""What is measured of a case: its passes in turn with others', what it keeps for backward, its error, its building."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from harness import Timing, saved_bytes, timed
from torch import Tensor

from molgen.errors import MolgenError
from products.peers import Case, e3nn_code, ours
from products.problem import Problem

__all__ = [
    "PASSES",
    "build_in_this_process",
    "build_seconds",
    "crossing",
    "exponent",
    "passes",
    "relative_error",
    "rounds",
    "saved_per_call",
]

PASSES = ("forward", "forward+backward", "double backward")
_WARM_UP = 3  # TorchScript optimises at its second and third call
_FEWEST = 3
_QUICK = 0.2  # s
_SETTLING = 0.02  # s
_FAILURES = (RuntimeError, MemoryError, MolgenError)  # RuntimeError: out of GPU memory too


def passes(cases: Sequence[Case], problem: Problem, kind: str) -> dict[str, Callable[[], object]]:
    """One of PASSES of every case, as something to call; inputs are in the case's own layout already.

    `double backward` is what training on forces costs: the gradients of both inputs, and the derivatives of their
    squares. A case that fails is left out.
    """
    found = {}
    for case in cases:
        try:
            found[case.name] = _pass(case, problem, kind)
        except _FAILURES as error:
            _tell(case.name, error)
    return found


def _pass(case: Case, problem: Problem, kind: str) -> Callable[[], object]:
    x, y, _ = problem.inputs()
    x, y = case.enter(x).contiguous(), case.enter(y).contiguous()
    if kind == "forward":
        return _finished(lambda: case.call(x, y), problem)
    g = torch.randn_like(case.call(x, y))
    x.requires_grad_()
    y.requires_grad_()

    def gradients(create_graph: bool) -> tuple[Tensor, ...]:
        return torch.autograd.grad(case.call(x, y), (x, y), g, create_graph=create_graph)

    def twice() -> tuple[Tensor, ...]:
        dx, dy = gradients(True)
        return torch.autograd.grad(dx.square().sum() + dy.square().sum(), (x, y))

    return _finished(twice if kind == "double backward" else lambda: gradients(False), problem)


def rounds(cases: Mapping[str, Callable[[], object]], repeats: int, budget: float) -> dict[str, Timing]:
    """Timings of cases in turn: all of them once, then all of them again.

    A quick case runs untimed for 20 ms before each timed run: what the case before it left in the caches and in the
    heap is none of its own.

    Args:
        cases: by name; a case that fails is left out.
        repeats: rounds.
        budget: seconds that a case may take; a slow one sits out the last rounds, after three at least.
    """
    wanted: dict[str, int] = {}
    quick: set[str] = set()
    for name, run in cases.items():
        try:
            seconds = [timed(run)]
            while len(seconds) < _WARM_UP and sum(seconds) < budget / 4:
                seconds.append(timed(run))
        except _FAILURES as error:
            _tell(name, error)
            continue
        wanted[name] = min(repeats, max(_FEWEST, int(budget / max(min(seconds), 1e-9))))
        if min(seconds) < _QUICK:
            quick.add(name)
    found: dict[str, list[float]] = {name: [] for name in wanted}
    for number in range(repeats):
        for name, count in wanted.items():
            if number >= count:
                continue
            before = time.perf_counter()
            while name in quick and time.perf_counter() - before < _SETTLING:
                cases[name]()
            found[name].append(timed(cases[name]))
    return {name: Timing(tuple(seconds)) for name, seconds in found.items()}


def saved_per_call(case: Case, problem: Problem) -> int:
    """Bytes that autograd keeps of a call, the inputs among them, each storage once.

    Tables that don't grow with the rows are left out: the difference between two batches is taken, and scaled.
    """
    more = max(1, problem.batch // 16)

    def kept(batch: int) -> int:
        x, y, _ = problem.inputs(batch=batch)
        x, y = case.enter(x).requires_grad_(), case.enter(y).requires_grad_()
        return saved_bytes(lambda: case.call(x, y), [])

    return (kept(problem.batch + more) - kept(problem.batch)) * problem.batch // more


def relative_error(case: Case, problem: Problem, reference: Tensor | None = None) -> float:
    """Largest deviation over the largest number of the float64 reference."""
    x, y, _ = problem.inputs()
    expected = problem.reference(x, y) if reference is None else reference
    out = case.leave(case.call(case.enter(x), case.enter(y))).double().cpu()
    return float((out - expected).abs().max() / expected.abs().max())


def build_seconds(script: str, name: str, problem: Problem, repeats: int) -> Timing:
    """Seconds to build a case, each time in a process of its own, so that nothing is cached."""
    words = [sys.executable, script, "--build", name, str(problem.l_max), str(problem.channels), problem.parity]
    runs = [subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout for _ in range(repeats)]
    return Timing(tuple(float(run.split()[-1]) for run in runs))


def build_in_this_process(name: str, l_max: int, channels: int, parity: str) -> None:
    """Prints the seconds that building takes, after imports and one product of scalars."""

    def build(problem: Problem) -> Case:
        return e3nn_code(problem, "eager") if name == "e3nn" else ours(problem, name)

    build(Problem(0, 1, 1))
    start = time.perf_counter()
    build(Problem(l_max, 1, channels, parity))
    print(time.perf_counter() - start)


def exponent(seconds: Mapping[int, float], low: int = 0) -> tuple[float, float] | None:
    """(p, ln a) of the fit t = a·Lᵖ to degrees from `low` on; None with fewer than two."""
    points = [(math.log(degree), math.log(t)) for degree, t in seconds.items() if degree >= low]
    if len(points) < 2:
        return None
    slope, offset = statistics.linear_regression(*zip(*points, strict=True))
    return slope, offset


def crossing(ours: Mapping[int, float], other: Mapping[int, float], low: int) -> str:
    """From which degree on `ours` is faster than `other`: measured, or else from both fits above `low`."""
    shared = sorted(set(ours) & set(other))
    slower = [degree for degree in shared if ours[degree] >= other[degree]]
    later = [degree for degree in shared if not slower or degree > slower[-1]]
    if later:
        return f"L = {later[0]}" + (" or below" if later == shared else "")
    mine, others = exponent(ours, low), exponent(other, low)
    if not shared or mine is None or others is None:
        return "not measured"
    (p, a), (q, b) = mine, others
    if p >= q:
        return "never, by the fits"
    at = (a - b) / (q - p)
    if at <= math.log(shared[-1]):
        return f"above L = {shared[-1]}"
    return f"L ≈ {math.exp(at):.0f}, extrapolated" if at < math.log(1e4) else "beyond L = 10 000, extrapolated"


def _tell(name: str, error: Exception) -> None:
    print(f"  {name} fails: {(str(error).splitlines() or [repr(error)])[0][:150]}", file=sys.stderr)


def _finished(run: Callable[[], object], problem: Problem) -> Callable[[], object]:
    if problem.device == "cpu":
        return run

    def synchronised() -> None:
        run()
        torch.cuda.synchronize()

    return synchronised
