"""Which encoder wins at which cost: errors on small organic molecules after some minutes on one core, against time.

python scripts/benchmarks/encoders_on_organics.py --data data/organics --minutes 10
python scripts/benchmarks/encoders_on_organics.py --data data/organics --times        on a quiet machine: times anew

DATA is a folder with train, validation, test_molecules and test_frames (.extxyz, or packed .extxyz.xz) and
isolated_atoms.extxyz. Networks and how each is trained stand in accuracy/encoders.yaml; each is trained for the same
time on one core, from the same seed. Errors are in float64, of the best weights by validation. Times are of float32, a
call for energy and forces of one molecule of 27 atoms, and of 64 such molecules together, edges found before, in turns.

What is done already is not done again, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from accuracy import frames
from accuracy.rows import cell, sentence
from accuracy.runs import best, configured, kept, measured
from harness import Timing, ended, in_turn, machine, parser, publish
from potentials.cases import molecule

from molgen.errors import ConfigError, InputError, nearest
from molgen.models.loading import load_potential
from molgen.training import TrainingConfig

_TESTS = {"test_molecules": "held-out molecules", "test_frames": "held-out frames"}
_QUICK_FRAMES = 4
_TOGETHER = 64  # molecules
_WARM_UP = 3  # calls


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate, time, print and write."""
    arguments = _options().parse_args(argv)
    if arguments.quick:
        arguments.minutes, arguments.repeats, arguments.seeds = 0.02, 2, arguments.seeds[:1]
    torch.set_num_threads(arguments.threads)
    where = machine()
    told = yaml.safe_load(arguments.networks_file.read_text(encoding="utf-8"))
    configs = _configs(told, arguments)
    tests = {name: frames.read(_file(arguments.data, name)) for name in _TESTS}
    if arguments.quick:
        tests = {name: test.select(range(_QUICK_FRAMES)) for name, test in tests.items()}
    results: dict[str, dict[str, Any]] = {}
    for (name, seed), config in configs.items():
        found = measured(config, tests, core=arguments.core)
        print(f"{name}, seed {seed}: {sentence(found['errors'], _TESTS)}", flush=True)
        results.setdefault(name, {"runs": []})["runs"].append({"seed": seed, **found})
    models = {name: best(config.out) for (name, _), config in configs.items()}
    for name, times in _times(models, arguments).items():
        results[name]["times"] = times
    settings = {key: getattr(arguments, key) for key in ("minutes", "seeds", "threads", "core", "repeats")}
    publish(
        "encoders_on_organics",
        f"{arguments.minutes:g} min on one core each; errors: mean of seeds (range); times: median (range)",
        [_row(name, found) for name, found in results.items()],
        settings=settings | {"networks": told},
        results=results,
        where=where,
        path=arguments.json,
        quick=arguments.quick,
    )


def _options() -> argparse.ArgumentParser:
    options = parser("encoders_on_organics", __doc__, repeats=15, threads=1)
    add = options.add_argument
    here = Path(__file__).parent / "accuracy/encoders.yaml"
    add("--data", type=Path, required=True, metavar="DIR", help="the files of the molecules")
    add("--minutes", type=float, default=10.0, help="of training, of each (default 10)")
    add("--networks-file", type=Path, default=here, metavar="YAML", help="(%(default)s)")
    add("--networks", nargs="+", metavar="NAME", help="of those in the file (default all)")
    add("--seeds", type=int, nargs="+", default=[0], help="of the weights (default 0)")
    add("--times", action="store_true", help="measure the times anew")
    add("--core", type=int, help="that training is held to")
    add("--folder", type=Path, default=Path("build/benchmarks/encoders_on_organics"), help="of runs (%(default)s)")
    return options


def _configs(told: Mapping[str, Any], arguments: argparse.Namespace) -> dict[tuple[str, int], TrainingConfig]:
    """The run of each network and seed; all are checked before the first is trained."""
    networks: Mapping[str, Mapping[str, Any]] = told["networks"]
    chosen = arguments.networks or list(networks)
    for name in chosen:
        if name not in networks:
            raise ConfigError(f"there is no network {name!r}", remedy=nearest(name, networks))
    train, validation = (_file(arguments.data, name) for name in ("train", "validation"))
    isolated = frames.isolated_energies(arguments.data / "isolated_atoms.extxyz")
    return {
        (name, seed): configured(
            told["common"],
            out=arguments.folder / f"{name}-{seed}",
            minutes=arguments.minutes,
            threads=arguments.threads,
            train=train,
            validation=validation,
            isolated=isolated,
            further={**networks[name], "name": name, "training.seed": seed},
        )
        for name in chosen
        for seed in arguments.seeds
    }


def _file(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.extxyz.xz", folder / f"{name}.extxyz"):
        if path.exists():
            return path
    raise InputError(f"there is no {name}.extxyz.xz", where=str(folder), remedy="name the folder of the data set")


def _times(models: Mapping[str, Path], arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Seconds of calls for energy and forces, in turns; those of before where all are there."""
    place = arguments.folder / "times.json"
    if arguments.times:
        place.unlink(missing_ok=True)

    def measure() -> dict[str, Any]:
        cases = {}
        for name, path in models.items():
            module = load_potential(path, dtype=torch.float32).module
            for copies in (1, _TOGETHER):
                structures = molecule(copies)
                cases[name, copies] = partial(module, structures, module.graph(structures))
        in_turn(cases, _WARM_UP)
        found: dict[str, dict[str, Any]] = {name: {} for name in models}
        for (name, copies), timing in in_turn(cases, arguments.repeats).items():
            found[name][str(copies)] = timing.as_dict()
        return {"machine": machine(), "networks": found}

    settings = {"models": {name: str(path) for name, path in models.items()}, "repeats": arguments.repeats}
    return kept(place, settings | {"threads": arguments.threads}, measure, anew=True)["networks"]


def _row(name: str, found: Mapping[str, Any]) -> dict[str, object]:
    runs = found["runs"]
    row: dict[str, object] = {"network": name, "parameters": runs[0]["parameters"]}
    row["steps"] = cell([run["steps"] for run in runs], 0)
    for kind, title in (("forces_rmse", "F RMSE {}, meV/Å"), ("energy_per_atom_mae", "E MAE {}, meV/atom")):
        for test, what in _TESTS.items():
            row[title.format(what)] = cell([run["errors"][test][kind] for run in runs], 1 if kind[0] == "f" else 2)
    row["27 atoms, ms"] = Timing(tuple(found["times"]["1"]["runs_s"])).text(1e3, 1)
    row[f"of {_TOGETHER} together, ms each"] = Timing(tuple(found["times"][str(_TOGETHER)]["runs_s"])).text(
        1e3 / _TOGETHER, 2
    )
    return row


if __name__ == "__main__":
    raise SystemExit(ended(main))
