"""Errors in crystals and liquids of potentials trained for some minutes: liquid water, and silicon with stress.

python scripts/benchmarks/water_silicon.py --water water_deepmd.npz --silicon si64_csi.npz

Water: 64 molecules in a cube, PBE0+TS, energies and forces; frames that occur twice count once. Silicon: 64 atoms,
perturbed diamond and liquid, PBE, with an array `virial`. It is no virial but the stress in eV/Å³ and in ASE's sign,
stress = (1/V) ∂E/∂ε: before anything is trained that is verified by finite differences of the data's own energies,
E₂ − E₁ ≈ −½ (F₁ + F₂)·Δr + ½ (V₁σ₁ + V₂σ₂):ε between frames that lie close together.

Frames are dealt at random by the seed, so that tests tell of the same conditions as the training, and of no others.
What is done already is not done again, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy import frames
from accuracy.rows import sentence
from accuracy.runs import configured, measured
from harness import ended, machine, parser, publish

from molgen.data.work import fitted_work
from molgen.errors import FileFormatError
from molgen.structures import Structures

_HERE = Path(__file__).parent / "accuracy"
_SHARES = {"validation": 0.05, "test": 0.10}
_QUICK_FRAMES = {"train": 4, "validation": 2, "test": 2}
_NEAR_ONE = (0.5, 2.0)  # a factor whose interval lies outside is not 1


@dataclass(frozen=True)
class Case:
    """A data set."""

    name: str
    path: Path
    config: Path
    stress: bool


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate, print and write."""
    arguments = _options().parse_args(argv)
    if arguments.quick:
        arguments.minutes = 0.02
    torch.set_num_threads(arguments.threads)
    where = machine()
    given = [
        Case("water", arguments.water, arguments.water_config, stress=False),
        Case("silicon", arguments.silicon, arguments.silicon_config, stress=True),
    ]
    results = [_measured(case, arguments) for case in given if case.path is not None]
    settings = {key: getattr(arguments, key) for key in ("minutes", "seed", "threads", "core")}
    publish(
        "water_silicon",
        f"{arguments.minutes:g} min each; RMSE / MAE",
        [_row(result) for result in results] or [{"data": "none given"}],
        settings=settings | {"shares": _SHARES},
        results=results,
        where=where,
        path=arguments.json,
        quick=arguments.quick,
    )


def _options() -> argparse.ArgumentParser:
    options = parser("water_silicon", __doc__, repeats=None, threads=1)
    add = options.add_argument
    add("--water", type=Path, metavar="FILE", help="water_deepmd.npz")
    add("--silicon", type=Path, metavar="FILE", help="si64_csi.npz")
    add("--minutes", type=float, default=10.0, help="of training, of each (default 10)")
    add("--water-config", type=Path, default=_HERE / "water.yaml", metavar="YAML", help="(%(default)s)")
    add("--silicon-config", type=Path, default=_HERE / "silicon.yaml", metavar="YAML", help="(%(default)s)")
    add("--seed", type=int, default=0, help="of dealing and of the weights (default 0)")
    add("--core", type=int, help="that training is held to")
    add("--folder", type=Path, default=Path("build/benchmarks/water_silicon"), help="of runs and files (%(default)s)")
    return options


def _measured(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    folder = arguments.folder / f"{case.config.stem}-{arguments.seed}"
    source = _distinct(frames.read(case.path, keys={"stress": "virial"} if case.stress else {}))
    verified = _verified_stress(source, case.path) if case.stress else {}
    sizes = {name: round(share * len(source)) for name, share in _SHARES.items()}
    sizes = {"train": len(source) - sum(sizes.values()), **sizes}
    dealt = frames.deal(len(source), tuple(sizes.values()), arguments.seed)
    parts = {name: source.select(chosen) for name, chosen in zip(sizes, dealt, strict=True)}
    if arguments.quick:
        parts = {name: part.select(range(_QUICK_FRAMES[name])) for name, part in parts.items()}
    config = configured(
        case.config,
        out=folder / "run",
        minutes=arguments.minutes,
        threads=arguments.threads,
        train=frames.write(folder / "train.extxyz", parts["train"]),
        validation=frames.write(folder / "validation.extxyz", parts["validation"]),
        further={"training.seed": arguments.seed},
    )
    found = measured(config, {"test": parts["test"]}, core=arguments.core, stress=case.stress)
    print(f"{case.name}: {sentence(found['errors'], {'test': 'test'})}", flush=True)
    counts = {name: len(part) for name, part in parts.items()}
    return {"data": case.name, "frames": counts, "spread": _spread(parts["test"]), **verified, **found}


def _distinct(structures: Structures) -> Structures:
    """Without the frames whose positions occurred before."""
    flat = np.round(structures.positions.numpy().reshape(len(structures), -1), 6)
    _, first = np.unique(flat, axis=0, return_index=True)
    return structures.select(torch.from_numpy(np.sort(first)))


def _verified_stress(structures: Structures, path: Path) -> dict[str, Any]:
    """By which factor the energies change with strain, in terms of the stress; about 1 or refused."""
    _, fit = fitted_work(structures)
    if fit is None or fit.excludes(*_NEAR_ONE):
        factor = "unknown" if fit is None else f"{fit.factor:.3g}"
        raise FileFormatError(
            f"energies change with strain by {factor} times the work of the stress",
            where=str(path),
            expected="about 1: a stress in eV/Å³ in ASE's sign",
        )
    print(f"stress: differences of energies are {fit.factor:.2f} times its work", flush=True)
    return {"energy_per_work_of_stress": fit.factor}


def _spread(structures: Structures) -> dict[str, float]:
    """Root mean squares of the labels, which errors are compared with: forces in meV/Å, stress in meV/Å³."""
    labels = {"forces": structures.atom_labels["forces"]}
    if "stress" in structures.structure_labels:
        labels["stress"] = structures.structure_labels["stress"]
    return {name: 1e3 * float(label.square().mean().sqrt()) for name, label in labels.items()}


def _row(result: dict[str, Any]) -> dict[str, object]:
    found, frames_of = result["errors"]["test"], result["frames"]
    row: dict[str, object] = {"data": result["data"], "train / test": f"{frames_of['train']} / {frames_of['test']}"}
    row |= {"parameters": result["parameters"], "min": f"{result['minutes']:.1f}", "steps": result["steps"]}
    units = {"energy_per_atom": "E, meV/atom", "forces": "F, meV/Å", "stress": "stress, meV/Å³"}
    for name, title in units.items():
        if f"{name}_rmse" in found:
            row[title] = f"{found[f'{name}_rmse']:.2f} / {found[f'{name}_mae']:.2f}"
        if name in result["spread"]:
            row[f"RMS of {title}"] = f"{result['spread'][name]:.1f}"
    return row


if __name__ == "__main__":
    raise SystemExit(ended(main))
