"""Errors on molecules of revised MD17 of a potential trained for some minutes: MAE of energy and forces.

python scripts/benchmarks/rmd17.py --data rmd17_ethanol.npz --minutes 120
python scripts/benchmarks/rmd17.py --data rmd17_ethanol.npz rmd17_aspirin.npz --minutes 120 --config mine.yaml

Each file has Z, R, E and F in Å and kcal/mol (Christensen and von Lilienfeld 2020) with the published splits. Of the
1000 training frames of a split, 50 drawn by the seed validate (the best weights are chosen by them) and 950 train; the
1000 test frames of the split test and choose nothing. Energies of isolated atoms are not part of the data. What is done
already is not done again, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy import frames
from accuracy.rows import cell, sentence
from accuracy.runs import configured, measured
from harness import ended, machine, parser, publish

from molgen.errors import FileFormatError
from molgen.structures import Structures

_VALIDATION = 50
_QUICK_FRAMES = 4
_PUBLISHED = {  # MAE, meV and meV/Å
    "ethanol": "NequIP 0.4 / 2.8, MACE and Allegro 0.4 / 2.1",
    "aspirin": "NequIP 2.3 / 8.2, PΘNITA 1.7 / 5.8",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate, print and write."""
    arguments = _options().parse_args(argv)
    if arguments.quick:
        arguments.minutes, arguments.seeds = 0.02, arguments.seeds[:1]
    torch.set_num_threads(arguments.threads)
    where = machine()
    results: list[dict[str, Any]] = []
    for path in arguments.data:
        found = [_measured(path, seed, arguments) for seed in arguments.seeds]
        results.append({"molecule": _name(path), "file": path.name, "runs": found})
    settings = {key: getattr(arguments, key) for key in ("minutes", "split", "seeds", "threads", "core")}
    publish(
        "rmd17",
        f"revised MD17, split {arguments.split}, {arguments.minutes:g} min each; mean of seeds (range)",
        [_row(result) for result in results],
        settings=settings | {"config": str(arguments.config), "validation": _VALIDATION},
        results=results,
        where=where,
        path=arguments.json,
        quick=arguments.quick,
    )


def _options() -> argparse.ArgumentParser:
    options = parser("rmd17", __doc__, repeats=None, threads=1)
    add = options.add_argument
    add("--data", type=Path, nargs="+", required=True, metavar="FILE", help="molecules of revised MD17, npz")
    add("--minutes", type=float, default=120.0, help="of training, of each (default 120)")
    add("--config", type=Path, default=Path(__file__).parent / "accuracy/rmd17.yaml", metavar="YAML")
    add("--split", default="01", help="of the published five (default 01)")
    add("--seeds", type=int, nargs="+", default=[0], help="of weights and validation frames (default 0)")
    add("--core", type=int, help="that training is held to")
    add("--folder", type=Path, default=Path("build/benchmarks/rmd17"), help="of runs and files (%(default)s)")
    return options


def _measured(path: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run on one molecule."""
    folder = arguments.folder / f"{arguments.config.stem}-{_name(path)}-{arguments.split}-{seed}"
    train, validation, test = _parts(path, arguments.split, seed)
    if arguments.quick:
        test = test.select(range(_QUICK_FRAMES))
    config = configured(
        arguments.config,
        out=folder / "run",
        minutes=arguments.minutes,
        threads=arguments.threads,
        train=frames.write(folder / "train.extxyz", train),
        validation=frames.write(folder / "validation.extxyz", validation),
        further={"training.seed": seed},
    )
    found = measured(config, {"test": test}, core=arguments.core)
    print(f"{_name(path)}, seed {seed}: {sentence(found['errors'], {'test': 'test'}, 'mae')}", flush=True)
    return {"seed": seed, **found}


def _parts(path: Path, split: str, seed: int) -> tuple[Structures, Structures, Structures]:
    """Frames that train, validate and test, in eV."""
    whole = frames.read(path, units={"energy": "kcal/mol"})
    try:
        with np.load(path, allow_pickle=False) as file:
            train, test = (torch.from_numpy(file[f"split_{side}_{split}"]).long() for side in ("train", "test"))
    except KeyError as error:
        raise FileFormatError(f"no molecule of revised MD17: {error}", where=str(path)) from error
    chosen, held = frames.deal(len(train), (len(train) - _VALIDATION, _VALIDATION), seed)
    return whole.select(train[chosen]), whole.select(train[held]), whole.select(test)


def _name(path: Path) -> str:
    return path.stem.removeprefix("rmd17_")


def _row(result: dict[str, Any]) -> dict[str, object]:
    runs = result["runs"]
    row: dict[str, object] = {"molecule": result["molecule"], "parameters": runs[0]["parameters"]}
    row |= {"min": cell([run["minutes"] for run in runs]), "steps": cell([run["steps"] for run in runs], 0)}
    for name, title in (("energy_mae", "E MAE, meV"), ("forces_mae", "F MAE, meV/Å"), ("forces_rmse", "F RMSE, meV/Å")):
        row[title] = cell([run["errors"]["test"][name] for run in runs], 2)
    return row | {"published E / F MAE": _PUBLISHED.get(result["molecule"], "–")}


if __name__ == "__main__":
    raise SystemExit(ended(main))
