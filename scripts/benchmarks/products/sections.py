"""The tables of `tensor_products.py`, one function each: what was measured as plain data, and the rows to print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from harness import Timing

from products.measure import PASSES, build_seconds, crossing, exponent, passes, relative_error, rounds, saved_per_call
from products.peers import METHODS, Case, NotHereError, cue, e3nn_code, fft2d, ours
from products.problem import REFERENCE_L_MAX, Problem

__all__ = ["Settings", "accuracy", "builds", "growth", "rates", "saved", "times"]

Rows = list[dict[str, object]]

E3NN_KINDS = ("eager", "script")
CUE_KINDS = ("naive", "uniform_1d", "fused_tp")
# bytes/s of memory and float32 operations/s of the arithmetic units, by the makers' data sheets
PEAKS = {"H200": (4.8e12, 67e12), "H100": (3.35e12, 67e12), "A100": (2.04e12, 19.5e12)}


AGAINST = ("e3nn", "compiled", "cuequivariance", "2d-fft")


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Args:
        degrees: L of each problem.
        sizes: (batch, channels) of each.
        methods: of ours.
        repeats: rounds of each measurement.
        budget: seconds for the rounds of one case and pass; a slow case gets fewer rounds, three at least.
        compile_l_max: highest L at which e3nn is compiled too, and
        compile_seconds: how long that may take.
        peers: whether the others are measured.
        against: which of them, in the tables of times.
        device: cpu or cuda.
    """

    degrees: tuple[int, ...] = (2, 4, 6, 8, 10)
    sizes: tuple[tuple[int, int], ...] = ((256, 16), (1024, 64))
    methods: tuple[str, ...] = METHODS
    repeats: int = 20
    budget: float = 60.0
    compile_l_max: int = 4
    compile_seconds: float = 120.0
    peers: bool = True
    against: tuple[str, ...] = AGAINST
    device: str = "cpu"


def times(settings: Settings, parity: str, size: tuple[int, int], kinds: Sequence[str] = PASSES) -> tuple[Rows, Rows]:
    """Milliseconds of every pass, degree and case; of e3nn and cuEquivariance their fastest code."""
    shown: Rows = []
    results: Rows = []
    for degree in settings.degrees:
        problem = Problem(degree, *size, parity, settings.device)
        groups = _groups(settings, problem)
        for kind in kinds:
            chosen = [
                case if len(group) == 1 else _fastest(group, problem, kind, settings)
                for group in groups
                for case in group[:1]
            ]
            timings = rounds(passes(chosen, problem, kind), settings.repeats, settings.budget)
            row, found = _compared(problem, kind, timings)
            shown.append(row)
            results += found
    return shown, results


def accuracy(settings: Settings, parity: str) -> tuple[Rows, Rows]:
    """Largest deviation from the float64 reference over its largest number, in both precisions."""
    shown: Rows = []
    results: Rows = []
    for degree in settings.degrees:
        if degree > REFERENCE_L_MAX:
            continue
        for dtype in (torch.float32, torch.float64):
            problem = Problem(degree, 16, 4, parity, settings.device, dtype)
            x, y, _ = problem.inputs()
            reference = problem.reference(x, y)
            name = str(dtype).removeprefix("torch.")
            row: dict[str, object] = {"L": degree, "dtype": name}
            for case in _cases(settings, problem, kinds=("eager",)):
                error = relative_error(case, problem, reference)
                row[case.name] = f"{error:.1e}"
                results.append({"l_max": degree, "dtype": name, "case": case.name, "relative_error": error})
            shown.append(row)
    return shown, results


def saved(settings: Settings, parity: str, size: tuple[int, int]) -> tuple[Rows, Rows]:
    """Megabytes that autograd keeps of a call, the inputs among them."""
    shown: Rows = []
    results: Rows = []
    for degree in settings.degrees:
        problem = Problem(degree, *size, parity, settings.device)
        row: dict[str, object] = {"L": degree, "rows": problem.rows}
        found = {}
        for case in _cases(settings, problem, kinds=("eager", "script")):
            found[case.name] = saved_per_call(case, problem)
            row[case.name] = f"{found[case.name] / 1e6:.2f}"
            results.append({"l_max": degree, "rows": problem.rows, "case": case.name, "bytes": found[case.name]})
        theirs = [kept for name, kept in found.items() if name.startswith("e3nn")]
        if theirs and "molgen auto" in found:
            row["e3nn ÷ auto"] = f"{min(theirs) / found['molgen auto']:.2f}"
        shown.append(row)
    return shown, results


def builds(settings: Settings, script: str, channels: int, repeats: int) -> tuple[Rows, Rows]:
    """Milliseconds to build a product, in a process where nothing is cached."""
    names = [
        "auto",
        *(m for m in settings.methods if m not in ("auto", "fused")),
        *(["e3nn"] if settings.peers else []),
    ]
    shown: Rows = []
    results: Rows = []
    for degree in settings.degrees:
        row: dict[str, object] = {"L": degree}
        # every method at the highest degree, below it the two that matter
        for name in [each for each in names if degree == max(settings.degrees) or each in ("auto", "e3nn")]:
            timing = build_seconds(script, name, Problem(degree, 1, channels), repeats)
            row[name] = timing.text(1e3, 0)
            results.append({"l_max": degree, "case": name, **timing.as_dict()})
        shown.append(row)
    return shown, results


def growth(settings: Settings, size: tuple[int, int], peer_l_max: int) -> tuple[Rows, Rows]:
    """Exponent of the forward pass's time against L, and from which L on `fourier` is faster than each."""
    seconds: dict[str, dict[int, float]] = {}
    for degree in settings.degrees:
        problem = Problem(degree, *size, device=settings.device)
        few = replace(settings, peers=settings.peers and degree <= peer_l_max)
        cases = [case for case in _cases(few, problem, kinds=("eager",)) if case.name != "molgen auto"]
        timings = rounds(passes(cases, problem, "forward"), settings.repeats, settings.budget)
        for name, timing in timings.items():
            seconds.setdefault(name, {})[degree] = timing.median
    middle = settings.degrees[len(settings.degrees) // 2]
    shown: Rows = []
    results: Rows = []
    for name, found in seconds.items():
        fits = {"exponent": exponent(found), f"exponent from L = {middle}": exponent(found, middle)}
        row: dict[str, object] = {"case": name, "L": f"{min(found)}–{max(found)}"}
        row |= {label: "" if fit is None else f"{fit[0]:.2f}" for label, fit in fits.items()}
        if "molgen fourier" in seconds and name != "molgen fourier":
            row["fourier is faster from"] = crossing(seconds["molgen fourier"], found, middle)
        row |= {f"ms at {degree}": f"{1e3 * t:.2f}" for degree, t in found.items()}
        shown.append(row)
        results.append({**row, "median_s": found})
    return shown, results


def rates(results: Rows, settings: Settings) -> Rows:
    """What a GPU was used for by the forward pass, beside its peaks where they are known: estimates."""
    name = torch.cuda.get_device_name()
    peaks = next((peak for chip, peak in PEAKS.items() if chip in name), None)
    shown: Rows = []
    for result in results:
        if result["pass"] != "forward":
            continue
        problem = Problem(int(str(result["l_max"])), int(str(result["batch"])), int(str(result["channels"])))
        seconds = float(str(result["median_s"]))
        moved, worked = problem.minimal_bytes() / seconds, problem.quadrature_flops() / seconds
        row: dict[str, object] = {"L": problem.l_max, "rows": problem.rows, "case": result["case"]}
        row |= {"least traffic, GB/s": f"{moved / 1e9:.0f}", "as dense quadrature, TFLOP/s": f"{worked / 1e12:.2f}"}
        if peaks is not None:
            row |= {"of memory peak": f"{moved / peaks[0]:.1%}", "of float32 peak": f"{worked / peaks[1]:.1%}"}
        shown.append(row)
    return shown


def _groups(settings: Settings, problem: Problem) -> list[list[Case]]:
    """Cases; those of one group are one competitor's, of which the fastest counts."""
    mine = [_made(partial(ours, problem, method)) for method in settings.methods]
    if not settings.peers:
        return [group for group in mine if group]
    compiled = partial(e3nn_code, problem, "compiled", limit=settings.compile_seconds)
    theirs = {
        "e3nn": [partial(e3nn_code, problem, kind) for kind in E3NN_KINDS],
        "compiled": [compiled] if problem.l_max <= settings.compile_l_max else [],
        "cuequivariance": [partial(cue, problem, kind) for kind in CUE_KINDS],
        "2d-fft": [partial(fft2d, problem)] if problem.parity == "even" else [],
    }
    others = [[case for make in theirs[name] for case in _made(make)] for name in settings.against]
    return [group for group in mine + others if group]


def _cases(settings: Settings, problem: Problem, kinds: Sequence[str]) -> list[Case]:
    found = [_made(partial(ours, problem, method)) for method in settings.methods]
    if settings.peers:
        found += [_made(partial(e3nn_code, problem, kind)) for kind in kinds]
        found.append(_made(partial(cue, problem, "naive")))
        found.append(_made(partial(fft2d, problem)) if problem.parity == "even" else [])
    return [case for group in found for case in group]


def _made(make: Callable[[], Case]) -> list[Case]:
    try:
        return [make()]
    except NotHereError as reason:
        words = [str(word) for word in (getattr(make, "func", make).__name__, *make.args[1:])]  # type: ignore[attr-defined]
        note = f"  left out at L = {make.args[0].l_max}: {' '.join(words)}: {reason}"  # type: ignore[attr-defined]
        if "kernel" not in str(reason):
            print(note, file=sys.stderr)
        return []


def _fastest(group: list[Case], problem: Problem, kind: str, settings: Settings) -> Case:
    timings = rounds(passes(group, problem, kind), 3, settings.budget / 4)
    best = min(timings, key=lambda name: timings[name].median, default=group[0].name)
    return next(case for case in group if case.name == best)


def _compared(problem: Problem, kind: str, timings: dict[str, Timing]) -> tuple[dict[str, object], Rows]:
    row: dict[str, object] = {"pass": kind, "L": problem.l_max}
    first = timings.get("molgen auto")
    results: Rows = []
    for name, timing in timings.items():
        label, code = _labelled(name)
        row[label] = f"{1e3 * timing.median:.2f}" + (f" {code}" if code else "")
        result = {"pass": kind, "l_max": problem.l_max, "batch": problem.batch, "channels": problem.channels}
        result |= {"parity": problem.parity, "threads": torch.get_num_threads(), "case": name, **timing.as_dict()}
        results.append(result)
    for name, timing in timings.items():
        if first is not None and not name.startswith("molgen"):
            row[f"{_labelled(name)[0]} ÷ auto"] = f"{timing.median / first.median:.1f}"
    rounded = {len(timing.seconds) for timing in timings.values()}
    row["rounds"] = f"{min(rounded)}–{max(rounded)}" if len(rounded) > 1 else str(max(rounded, default=0))
    return row, results


def _labelled(name: str) -> tuple[str, str]:
    """Of a case, whose figures are in one column, and which of its codes was the fastest."""
    label, _, code = name.partition(" ")
    return (label, code) if label in ("e3nn", "cuequivariance") and code != "compiled" else (name, "")
