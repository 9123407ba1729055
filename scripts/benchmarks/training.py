"""Molecules per second that a generator is trained on: EGNN 6 × 128 with the objective of `karras`.

python scripts/benchmarks/training.py

Runs `molgen.train` itself on random molecules of QM9's sizes (the cost knows nothing of chemistry) and reads the speed
from the log that it writes, the first rows left out. Each case is a process of its own, in turns: with and without
`keep_freed_memory`, which holds for a whole process, in float32 and in mixed precision.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from harness import QM9_SIZES, Timing, ended, machine, parser, publish

import molgen
from molgen.allocation import keep_freed_memory
from molgen.data.cache import write_cache

_WARM_UP = 2  # rows of the log


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = parser("training", __doc__, repeats=3, threads=2)
    options.add_argument("--precisions", nargs="+", default=["bf16-mixed", "32-true"], metavar="PRECISION")
    options.add_argument("--channels", type=int, default=128)
    options.add_argument("--layers", type=int, default=6)
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--optimizer", default="muon", help="muon (torch 2.9 or later) or adamw")
    options.add_argument("--molecules", type=int, default=20_000, help="of the random data")
    options.add_argument("--rows", type=int, default=5, help="measured stretches of each run")
    options.add_argument("--steps", type=int, default=10, help="of a stretch")
    options.add_argument("--case", nargs=2, metavar=("PRECISION", "KEEP"), help="measure one case: JSON on stdout")
    arguments = options.parse_args(argv)
    if arguments.quick:
        arguments.channels, arguments.layers, arguments.batch_size, arguments.molecules = 8, 1, 4, 60
        arguments.rows, arguments.steps, arguments.repeats, arguments.precisions = 2, 2, 1, ["32-true"]
    if arguments.case:
        precision, keep = arguments.case
        if keep == "yes":
            keep_freed_memory()
        print(json.dumps(stretches(arguments, precision)))
        return
    torch.set_num_threads(arguments.threads)
    where = machine()
    cases = [(precision, keep) for precision in arguments.precisions for keep in ("yes", "no")]
    found: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    for _ in range(arguments.repeats):
        for case in cases:
            found[case] += _in_a_process(arguments, case)
    shown, results = [], []
    for (precision, keep), rates in found.items():
        timing = Timing(tuple(1.0 / rate for rate in rates))  # of a molecule
        kept = Timing(tuple(1.0 / rate for rate in found[precision, "yes"]))
        row = {"precision": precision, "freed memory kept": keep, "molecules/s": timing.rate_text(1, 0)}
        shown.append(row | {"time × kept": f"{timing.median / kept.median:.2f}"})
        results.append(
            {
                "precision": precision,
                "keep_freed_memory": keep == "yes",
                "molecules_per_second": 1 / timing.median,
                "ratio_to_kept": timing.median / kept.median,
                "runs_molecules_per_second": rates,
            }
        )
    settings = {key: value for key, value in vars(arguments).items() if key not in ("json", "quick", "case")}
    title = (
        f"EGNN {arguments.layers} × {arguments.channels}, karras, {arguments.optimizer}, batches of "
        f"{arguments.batch_size} molecules of QM9's sizes; median (min–max)"
    )
    path, quick = arguments.json, arguments.quick
    publish("training", title, shown, settings=settings, results=results, where=where, path=path, quick=quick)


def stretches(arguments: argparse.Namespace, precision: str) -> list[float]:
    """Molecules per second of every stretch of a run, the first ones left out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cache([random_molecules(arguments.molecules)], folder / "random.cache")
        steps = (_WARM_UP + arguments.rows) * arguments.steps
        training = {"steps": steps, "log_every": arguments.steps, "checkpoint_minutes": 1e6, "warmup_steps": 1}
        training |= {"batch_size": arguments.batch_size, "threads": arguments.threads, "accelerator": "cpu"}
        training |= {"optimizer": arguments.optimizer, "learning_rate": 1e-4, "precision": precision}
        config = {
            "task": "generator",
            "encoder": {"use": "egnn", "config": {"channels": arguments.channels, "layers": arguments.layers}},
            "sampler": {"use": "karras", "config": {"codec": {"kind": "masked"}}},
            "data": {"path": str(folder / "random.cache"), "validation": 0},
            "training": training,
            "out": str(folder / "run"),
        }
        molgen.train(config, progress=False)
        with (folder / "run/log.csv").open(encoding="utf-8") as file:
            rows = [(int(row["samples"]), 3600.0 * float(row["hours"])) for row in csv.DictReader(file)]
    return [(b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(rows[_WARM_UP - 1 :])]


def random_molecules(n: int) -> molgen.Structures:
    """n structures of QM9's sizes and shares of elements, with coordinates of its spread, without sense."""
    random = torch.Generator().manual_seed(0)
    sizes = torch.tensor(list(QM9_SIZES))
    weights = torch.tensor(list(QM9_SIZES.values()), dtype=torch.float64)
    n_atoms = sizes[torch.multinomial(weights, n, replacement=True, generator=random)]
    atoms = int(n_atoms.sum())
    shares = torch.tensor([0.51, 0.35, 0.06, 0.08])  # H, C, N, O
    species = torch.tensor([1, 6, 7, 8])[torch.multinomial(shares, atoms, replacement=True, generator=random)]
    return molgen.Structures.build(1.4 * torch.randn(atoms, 3, generator=random), species, n_atoms)


def _in_a_process(arguments: argparse.Namespace, case: tuple[str, str]) -> list[float]:
    words = [sys.executable, __file__, "--case", *case, "--optimizer", arguments.optimizer]
    for name in ("threads", "channels", "layers", "batch_size", "molecules", "rows", "steps"):
        words += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    found = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    if found.returncode:
        raise SystemExit(found.returncode)  # it has told why on stderr
    return json.loads(found.stdout)


if __name__ == "__main__":
    raise SystemExit(ended(main))
