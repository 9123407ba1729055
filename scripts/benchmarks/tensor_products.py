"""The Gaunt tensor product beside e3nn, cuEquivariance and the released 2D-FFT formulation: one function, many ways.

python scripts/benchmarks/tensor_products.py

Inputs and output are 16x0e + 16x1o + … up to L, channel u meets channel u. All compute the product of functions on the
sphere (with `full`: the odd paths too), which is checked against float64 sums over paths with `wigner_3j`. Each has its
tensors in the layout that it likes best, ours in `mul_ir`. Everything runs in one process, in turns, after warm-up; of
e3nn the faster of eager code and TorchScript counts, and apart from it what `torch.compile` makes of it; of
cuEquivariance the fastest of its methods; which one it was stands beside the figure. OpenEquivariance has no
channel-wise product without weights, so it isn't here.

The passes: `forward`; `forward+backward`, the gradients of both inputs; `double backward`, those and the derivatives of
their squares, as training on forces needs them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from harness import ended, machine, parser, plain_table, publish
from products import sections
from products.calibrate import COSTS, calibrate
from products.measure import build_in_this_process
from products.peers import METHODS
from products.problem import Problem
from products.sections import AGAINST, Settings

from molgen.allocation import keep_freed_memory
from molgen.errors import ConfigError
from molgen.training.hardware import describe_hardware

SECTIONS = ("accuracy", "saved", "build", "times", "full", "growth")
_LISTED_L_MAX = 4  # above it the list of paths fills the screen; the JSON has it


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    arguments = _options().parse_args(argv)
    if arguments.build:
        name, l_max, channels, parity = arguments.build
        torch.set_num_threads(1)
        build_in_this_process(name, int(l_max), int(channels), parity)
        return
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device here", where="--device cuda", remedy="use --device cpu")
    keep_freed_memory()
    if arguments.calibrate:
        torch.set_num_threads(1)
        where = machine() if arguments.device == "cpu" else describe_hardware(torch.device(arguments.device))
        print(calibrate(arguments.device, where | {"threads": 1}, path=arguments.calibrate, quick=arguments.quick))
        return
    settings, high, threads = _settings(arguments)
    where = machine() | ({} if settings.device == "cpu" else describe_hardware(torch.device(settings.device)))
    _tell_paths(settings)
    results: dict[str, object] = {}
    headline: sections.Rows = []
    before = torch.get_num_threads()
    for count in threads:
        torch.set_num_threads(count)
        for section in arguments.sections if count == threads[0] else [s for s in arguments.sections if s == "times"]:
            for title, rows, found in _measured(section, settings, high, arguments):
                if not title.startswith("accuracy"):
                    title += f"; {count} thread" + "s" * (count > 1) if settings.device == "cpu" else ""
                print(f"{title}\n\n{plain_table(rows)}\n", flush=True)
                results[title] = found
                headline += _headline(title, rows)
    torch.set_num_threads(before)
    where |= {"threads": " and ".join(map(str, threads))}
    publish(
        "tensor_products",
        "how many times faster than the others `auto` is" if headline else "measured, above",
        headline or [{"section": section} for section in arguments.sections],
        settings=_plain(settings)
        | {"growth": list(high.degrees), "paths": _paths(settings), "sections": arguments.sections},
        results=results,
        where=where,
        path=arguments.json,
        quick=arguments.quick,
    )


def _options() -> argparse.ArgumentParser:
    options = parser("tensor_products", __doc__, repeats=20)
    default = Settings()
    options.add_argument("--l-max", type=int, nargs="+", default=list(default.degrees), metavar="L")
    options.add_argument(
        "--rows",
        type=_size,
        nargs="+",
        default=list(default.sizes),
        metavar="BATCHxCHANNELS",
        help="sizes (default 256x16, which is 4 096 rows, and 1024x64, which is 65 536)",
    )
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="CPU threads (default 1 2)")
    options.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="(default all)")
    options.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="of ours (default all)")
    options.add_argument("--no-peers", action="store_true", help="leave the others out")
    options.add_argument("--against", nargs="+", choices=AGAINST, default=list(AGAINST), help="(default all)")
    options.add_argument(
        "--budget", type=float, default=default.budget, metavar="SECONDS", help="for the rounds of one case and pass"
    )
    options.add_argument(
        "--compile-l-max", type=int, default=default.compile_l_max, metavar="L", help="of e3nn compiled"
    )
    options.add_argument("--compile-seconds", type=float, default=default.compile_seconds, metavar="SECONDS")
    options.add_argument("--growth-l-max", type=int, default=20, metavar="L")
    options.add_argument("--growth-rows", type=_size, default=(64, 16), metavar="BATCHxCHANNELS")
    options.add_argument("--growth-peer-l-max", type=int, default=10, metavar="L", help="up to which e3nn joins")
    options.add_argument(
        "--calibrate",
        nargs="?",
        type=Path,
        const=COSTS,
        metavar="FILE",
        help="measure in 5 minutes what each method costs here, at 1 thread, and rewrite the table that `auto` reads",
    )
    options.add_argument(
        "--build", nargs=4, metavar=("METHOD", "L", "CHANNELS", "PARITY"), help="build one product: seconds on stdout"
    )
    return options


def _settings(arguments: argparse.Namespace) -> tuple[Settings, Settings, list[int]]:
    """Of everything, and of growth; with the numbers of threads."""
    settings = Settings(
        degrees=tuple(arguments.l_max),
        sizes=tuple(arguments.rows),
        methods=tuple(arguments.methods),
        repeats=arguments.repeats,
        budget=arguments.budget,
        compile_l_max=arguments.compile_l_max,
        compile_seconds=arguments.compile_seconds,
        peers=not arguments.no_peers,
        against=tuple(arguments.against),
        device=arguments.device,
    )
    top = arguments.growth_l_max
    threads = arguments.threads if arguments.device == "cpu" else [torch.get_num_threads()]
    if arguments.quick:
        settings = replace(settings, degrees=(2,), sizes=((8, 4),), repeats=2, budget=2.0, compile_l_max=0)
        top, threads = 8, threads[:1]
    high = replace(settings, degrees=tuple(range(4, top + 1, 2)), budget=settings.budget / 3)
    return settings, high, threads


def _measured(
    section: str, settings: Settings, high: Settings, arguments: argparse.Namespace
) -> list[tuple[str, sections.Rows, sections.Rows]]:
    """(title, rows to print, plain data) of each table of a section."""
    first = settings.sizes[0]
    repeats = 1 if arguments.quick else 3
    if section == "accuracy":
        titles = {
            parity: f"accuracy, {parity} paths: largest deviation / largest number" for parity in ("even", "full")
        }
        return [(title, *sections.accuracy(settings, parity)) for parity, title in titles.items()]
    if section == "saved":
        title = f"saved for backward, MB, {first[0]} × {first[1]} rows"
        return [(f"{title}, {parity} paths", *sections.saved(settings, parity, first)) for parity in ("even", "full")]
    if section == "build":
        few = replace(settings, methods=("auto",)) if arguments.quick else settings  # a process each
        return [("building, ms, median (min–max)", *sections.builds(few, __file__, first[1], repeats))]
    if section == "growth":
        size = (4, 4) if arguments.quick else arguments.growth_rows
        title = f"growth of the forward pass with L, {size[0]} × {size[1]} rows"
        return [(title, *sections.growth(high, size, arguments.growth_peer_l_max if not arguments.quick else 4))]
    parity = "full" if section == "full" else "even"
    tables = []
    for size in settings.sizes if section == "times" else settings.sizes[:1]:
        shown, found = sections.times(settings, parity, size)
        name = f"{size[0]} × {size[1]} rows, {parity} paths"
        tables.append((f"ms, {name}", shown, found))
        if settings.device == "cuda":
            tables.append((f"rates of the forward pass, {name}", sections.rates(found, settings), []))
    return tables


def _headline(title: str, rows: sections.Rows) -> sections.Rows:
    """The ratios alone, by degree, of a table of times."""
    if not title.startswith("ms, "):
        return []
    found: dict[str, dict[str, object]] = {}
    for row in rows:
        for name, value in row.items():
            if name.endswith(" ÷ auto"):
                line = {"measured": title.removeprefix("ms, "), "pass": row["pass"], "against": name.split(" ÷ ")[0]}
                found.setdefault(f"{row['pass']} {name}", line)[f"L = {row['L']}"] = f"{value}×"
    return list(found.values())


def _tell_paths(settings: Settings) -> None:
    for degree in settings.degrees:
        problem = Problem(degree, *settings.sizes[0])
        paths = problem.paths()
        listed = " ".join(f"{a.l},{b.l}→{c.l}" for a, b, c in paths) if degree <= _LISTED_L_MAX else ""
        print(f"L = {degree}: {problem.irreps}; {len(paths)} even paths {listed}")
    print()


def _paths(settings: Settings) -> dict[str, list[str]]:
    return {
        f"{degree} {parity}": [f"{a}x{b}->{c}" for a, b, c in Problem(degree, 1, 1, parity).paths()]
        for degree in settings.degrees
        for parity in ("even", "full")
    }


def _plain(settings: Settings) -> dict[str, object]:
    return asdict(settings) | {"dtype": "float32"}


def _size(text: str) -> tuple[int, int]:
    try:
        batch, channels = map(int, text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 256x16") from None
    return batch, channels


if __name__ == "__main__":
    raise SystemExit(ended(main))
