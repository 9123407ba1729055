"""Quality against the cost of sampling: several samplers on one checkpoint, at several numbers of evaluations.

python scripts/benchmarks/samplers.py --model qm9

Every sampler draws the same request, and takes as many evaluations of the network as the column says: a step of Heun
has two (the last one has one), every other step one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from harness import ended, machine, parser, percent, publish

import molgen
from molgen.allocation import keep_freed_memory

# name, sampler, its options, evaluations of a step
_CASES: tuple[tuple[str, str, dict[str, Any], int], ...] = (
    ("karras, Euler, churn", "karras", {"order": 1}, 1),
    ("karras, Euler, no churn", "karras", {"order": 1, "churn": 0.0}, 1),
    ("karras, Heun, churn", "karras", {"order": 2}, 2),
    ("karras, Heun, no churn", "karras", {"order": 2, "churn": 0.0}, 2),
    ("edm, ancestral", "edm", {}, 1),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = parser("samplers", __doc__, repeats=None, threads=2)
    options.add_argument("--model", default="qm9", help="a registered model's name, or the path of a file")
    options.add_argument("--evaluations", type=int, nargs="+", default=[10, 25, 50, 100, 250])
    options.add_argument("-n", "--molecules", type=int, default=500, help="molecules of each")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--device", default="cpu")
    arguments = options.parse_args(argv)
    if arguments.quick:
        arguments.molecules, arguments.evaluations = 2, [3]
    keep_freed_memory()  # as `molgen generate` does
    torch.set_num_threads(arguments.threads)
    where = machine()
    generator = molgen.load(arguments.model, device=arguments.device)
    generator.generate(2, n_steps=2, progress=False)  # warms up
    results = [
        _result(generator, name, {"use": use, "config": config}, evaluations, per_step, arguments)
        for evaluations in arguments.evaluations
        for name, use, config, per_step in _CASES
    ]
    shown = [
        {
            "sampler": row["name"],
            "steps": row["steps"],
            "evaluations": row["evaluations"],
            "D1 atoms %": percent(row["metrics"]["d1_atom_stability"]),
            "D1 molecules %": percent(row["metrics"]["d1_molecule_stability"]),
            "connected validity %": percent(row["metrics"]["connected_validity"]),
            "molecules/s": f"{row['molecules_per_second']:.2f}",
        }
        for row in results
    ]
    document = generator.document
    settings = {key: getattr(arguments, key) for key in ("evaluations", "molecules", "seed", "device")}
    settings |= {"dtype": generator.precision.name, "model": document.name, "tensors_sha256": document.tensors_sha256}
    drawn = f"{arguments.molecules} molecules of each, seed {arguments.seed}"
    title = f"{document.name}, {settings['dtype']}, {drawn}; 95 % intervals"
    path, quick = arguments.json, arguments.quick
    publish("samplers", title, shown, settings=settings, results=results, where=where, path=path, quick=quick)


def _result(
    generator: Any, name: str, sampler: dict[str, Any], evaluations: int, per_step: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    steps = (evaluations + 1) // 2 if per_step == 2 else evaluations
    found = generator.generate(arguments.molecules, seed=arguments.seed, sampler=sampler, n_steps=steps, progress=False)
    return {
        "name": name,
        "sampler": found.record["request"]["sampler"],
        "options": found.record["request"]["sampler_config"],
        "steps": steps,
        "evaluations": per_step * steps - (per_step - 1),
        "molecules_per_second": found.record["timing"]["molecules_per_second"],
        "metrics": {
            metric: found.metrics[metric].as_dict()
            for metric in ("d1_atom_stability", "d1_molecule_stability", "connected_validity")
        },
    }


if __name__ == "__main__":
    raise SystemExit(ended(main))
