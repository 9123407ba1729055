"""Stability and validity against the samples that a model has seen, of several checkpoints of one run.

python scripts/benchmarks/d1_curve.py runs/snapshots/*.safetensors --svg d1.svg

The same request for each: N molecules of the data's sizes, one seed, the sampler of the checkpoint that has seen most
with its options. Without checkpoints it measures the shipped model alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from harness import ended, machine, parser, percent, publish

import molgen
from molgen.allocation import keep_freed_memory
from molgen.atomic import write_atomically
from molgen.models.checkpoint import read_document
from molgen.models.document import Document
from molgen.models.zoo import locate

_METRICS = {
    "d1_atom_stability": "D1 atoms",
    "d1_molecule_stability": "D1 molecules",
    "connected_validity": "connected validity",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, draw and write."""
    options = parser("d1_curve", __doc__, repeats=None, threads=2)
    options.add_argument("checkpoints", nargs="*", default=["qm9"], help="model files, or names of registered models")
    options.add_argument("-n", "--molecules", type=int, default=500, help="molecules of each")
    options.add_argument("--steps", type=int, default=50)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--device", default="cpu")
    options.add_argument("--svg", type=Path, default=Path("build/benchmarks/d1_curve.svg"), help="the curve")
    arguments = options.parse_args(argv)
    if arguments.quick:
        arguments.molecules, arguments.steps = 4, 3
    keep_freed_memory()  # as `molgen generate` does
    torch.set_num_threads(arguments.threads)
    where = machine()
    documents = {checkpoint: read_document(locate(checkpoint)) for checkpoint in arguments.checkpoints}
    ordered = sorted(documents, key=lambda checkpoint: _samples(documents[checkpoint]))
    last = documents[ordered[-1]].components["sampler"]
    sampler = {"use": last.use, "config": dict(last.config)}
    points = [_point(checkpoint, sampler, arguments) for checkpoint in ordered]
    shown = [
        {
            "samples": f"{point['samples']:,}",
            "hours": f"{point['hours']:.2f}",
            "validation loss": "–" if point["validation_loss"] is None else f"{point['validation_loss']:.4f}",
            **{f"{title} %": percent(point["metrics"][name]) for name, title in _METRICS.items()},
        }
        for point in points
    ]
    settings = {key: getattr(arguments, key) for key in ("molecules", "steps", "seed", "device")} | {"sampler": sampler}
    title = f"{arguments.molecules} molecules of each, {arguments.steps} steps, seed {arguments.seed}; 95 % intervals"
    path, quick = arguments.json, arguments.quick
    publish("d1_curve", title, shown, settings=settings, results=points, where=where, path=path, quick=quick)
    arguments.svg.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.svg, draw(points))
    print(arguments.svg)


def _samples(document: Document) -> int:
    training: Mapping[str, Any] = document.training
    return int(training.get("samples", 0))


def _point(checkpoint: str, sampler: Mapping[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Metrics of one checkpoint, and what it says of its training."""
    generator = molgen.load(checkpoint, device=arguments.device)
    training: Mapping[str, Any] = generator.document.training
    n, seed, steps = arguments.molecules, arguments.seed, arguments.steps
    found = generator.generate(n, seed=seed, sampler=sampler, n_steps=steps, progress=False)
    return {
        "checkpoint": Path(checkpoint).name,
        "tensors_sha256": generator.document.tensors_sha256,
        "samples": _samples(generator.document),
        "hours": float(training.get("hours", 0.0)),
        "validation_loss": training.get("validation_loss"),
        "dtype": generator.precision.name,
        "metrics": {name: found.metrics[name].as_dict() for name in _METRICS},
    }


def draw(points: Sequence[Mapping[str, Any]]) -> str:
    """SVG of the metrics in per cent against millions of samples, with their intervals."""
    import matplotlib

    # text stays text, and the same points give the same file
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "molgen"}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        x = [point["samples"] / 1e6 for point in points]
        for name, title in _METRICS.items():
            values = [point["metrics"][name] for point in points]
            y = [100 * value["value"] for value in values]
            below = [100 * (value["value"] - value["low"]) for value in values]
            above = [100 * (value["high"] - value["value"]) for value in values]
            axes.errorbar(x, y, yerr=(below, above), marker="o", markersize=3, linewidth=1.2, capsize=2, label=title)
        axes.set_xlabel("samples seen, millions")
        axes.set_ylabel("%")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


if __name__ == "__main__":
    raise SystemExit(ended(main))
