"""Errors on the molecule 3BPA of potentials trained for some minutes on one core, beside MACE at the same time.

python scripts/benchmarks/three_bpa.py --data 3bpa --minutes 30 --mace-python MACE/bin/python
python scripts/benchmarks/three_bpa.py --data 3bpa --minutes 240 --config mine.yaml

DATA is a folder with 3bpa_train_300K.xyz (500 frames), 3bpa_isolated_atoms.xyz, and for tests alone
3bpa_ood_600K.xyz and 3bpa_ood_1200K.xyz, which were cut from the published train_mixedT: figures on them are
"mixedT-derived" and not those of the published test sets. The 500 frames are dealt once, by a seed: 400 train, 50
validate (the best weights are chosen by them), and 50, the held-out tenth, test. No test frame chooses anything.

MACE is trained by its own program on the same files, with the settings that its authors gave for this molecule at a
size that fits (accuracy/mace_3bpa.yaml), for as many epochs as fit into the same minutes; how long an epoch takes is
measured before, while the other core is as busy as it will be. Both start at the same time, each held to one core; with
--repeats the cores are swapped from run to run, and the seed changes. MACE's best weights by validation are evaluated
through its calculator in float64; ours in float64 too. What is done already is not done again.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from accuracy import frames
from accuracy.mace_runs import Mace
from accuracy.rows import cell, sentence
from accuracy.runs import best, configured, kept, outcome, started
from harness import ended, machine, parser, publish
from harness.errors import errors, predictions

from molgen.errors import ConfigError
from molgen.structures import Structures
from molgen.training import TrainingConfig

_HERE = Path(__file__).parent
_SPLIT = {"train": 400, "validation": 50, "held_out": 50}
_TESTS = {"held_out": "held-out tenth", "ood_600K": "ood_600K*", "ood_1200K": "ood_1200K*"}
_QUICK_FRAMES = 2  # of each test, with --quick
_PUBLISHED = "published test sets, not these: MACE 8.8 / 21.8 / 62.0, NequIP 10.8 / 26.4 / 76.2 meV/Å"


def main(argv: Sequence[str] | None = None) -> None:
    """Deal, train, evaluate, print and write."""
    arguments = _options().parse_args(argv)
    if arguments.quick:
        arguments.minutes, arguments.repeats = 0.02, 1
    torch.set_num_threads(arguments.threads)
    where = machine()
    most = _QUICK_FRAMES if arguments.quick else None
    files = _dealt(arguments.data, arguments.folder / "data", arguments.split_seed, most)
    isolated = frames.isolated_energies(arguments.data / "3bpa_isolated_atoms.xyz")
    mace = None
    if arguments.mace_python is not None:
        settings = yaml.safe_load(arguments.mace_settings.read_text(encoding="utf-8"))
        mace = Mace(arguments.mace_python, settings, files["train"], files["validation"], isolated, arguments.threads)
    tests = {name: frames.read(files[name]) for name in _TESTS}
    results: list[dict[str, Any]] = []
    for path in arguments.config:
        for turn in range(arguments.repeats):
            found = _pair(path, turn, arguments, files, isolated, mace, tests)
            results += found
            for one in found:
                print(f"{one['name']}, run {turn}: {sentence(one['errors'], _TESTS)}", flush=True)
    settings = {key: str(value) for key, value in vars(arguments).items() if key not in ("json", "quick", "config")}
    settings |= {"configs": [str(path) for path in arguments.config], "split": _SPLIT}
    publish(
        "three_bpa",
        f"3BPA, {arguments.minutes:g} min on one core each; *: mixedT-derived; mean of runs (range); {_PUBLISHED}",
        _table(results),
        settings=settings | {"mace_settings_content": None if mace is None else dict(mace.settings)},
        results=results,
        where=where,
        path=arguments.json,
        quick=arguments.quick,
    )


def _options() -> argparse.ArgumentParser:
    options = parser("three_bpa", __doc__, repeats=1, threads=1)
    add = options.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="the files of 3BPA")
    add("--minutes", type=float, default=30.0, help="of training, of everyone (default 30)")
    add("--config", type=Path, nargs="+", default=[_HERE / "accuracy/three_bpa.yaml"], metavar="YAML", help="of ours")
    add("--mace-python", type=Path, metavar="PATH", help="of an environment with mace-torch; without it no MACE")
    add("--mace-settings", type=Path, default=_HERE / "accuracy/mace_3bpa.yaml", metavar="YAML", help="(%(default)s)")
    add("--mace-epochs", type=int, metavar="N", help="instead of measuring how many fit into the minutes")
    add("--cores", type=int, nargs=2, metavar=("OURS", "MACE"), help="that they are held to; without MACE none")
    add("--split-seed", type=int, default=0, help="of dealing the 500 frames (default 0)")
    add("--folder", type=Path, default=Path("build/benchmarks/three_bpa"), help="of runs and files (%(default)s)")
    return options


def _dealt(data: Path, folder: Path, seed: int, most: int | None) -> dict[str, Path]:
    """The files that everyone gets, the test files with so many frames at most."""
    source = frames.read(data / "3bpa_train_300K.xyz")
    if len(source) < sum(_SPLIT.values()):
        raise ConfigError(f"3BPA has {sum(_SPLIT.values())} frames, and there are {len(source)}", where=str(data))
    parts = {
        name: source.select(chosen)
        for name, chosen in zip(_SPLIT, frames.deal(len(source), tuple(_SPLIT.values()), seed), strict=True)
    }
    parts |= {name: frames.read(data / f"3bpa_{name}.xyz") for name in _TESTS if name not in parts}
    parts |= {name: parts[name].select(range(len(parts[name]))[:most]) for name in _TESTS}
    return {name: frames.write(folder / f"{name}.extxyz", part) for name, part in parts.items()}


def _pair(
    path: Path,
    turn: int,
    arguments: argparse.Namespace,
    files: Mapping[str, Path],
    isolated: Mapping[str, float],
    mace: Mace | None,
    tests: Mapping[str, Structures],
) -> list[dict[str, Any]]:
    """One run of ours, and one of MACE beside it."""
    folder = arguments.folder / f"{path.stem}-{turn}"
    config = configured(
        path,
        out=folder / "molgen",
        minutes=arguments.minutes,
        threads=arguments.threads,
        train=files["train"],
        validation=files["validation"],
        isolated=isolated,
        further={"training.seed": turn},
    )
    cores: list[int | None] = list(arguments.cores or ((0, 1) if mace else (None, None)))
    if turn % 2:
        cores.reverse()
    settings = {"config": config.model_dump(mode="json"), "cores": cores, "split_seed": arguments.split_seed}
    if mace is not None:
        settings |= {"mace": dict(mace.settings), "mace_epochs": arguments.mace_epochs}

    def measure() -> dict[str, Any]:
        shutil.rmtree(folder, ignore_errors=True)  # both start from the beginning, or neither
        pair = {"cores": cores, **_side_by_side(config, mace, turn, cores, arguments, folder)}
        ours = {name: predictions(best(config.out), test) for name, test in tests.items()}
        rows = [{"name": path.stem, "seed": turn, "core": cores[0], **outcome(config.out), "errors": ours}]
        if mace is not None:
            parameters, theirs = mace.predictions(folder / "mace", {name: files[name] for name in tests}, core=cores[1])
            took = mace.outcome(folder / "mace")
            rows.append(
                {"name": "MACE", "seed": turn, "core": cores[1], "parameters": parameters, **took, "errors": theirs}
            )
        for row in rows:
            row["errors"] = {name: errors(tests[name], found) for name, found in row["errors"].items()}
        return pair | {"runs": rows}

    return kept(folder.with_suffix(".json"), settings, measure)["runs"]


def _side_by_side(
    config: TrainingConfig,
    mace: Mace | None,
    seed: int,
    cores: Sequence[int | None],
    arguments: argparse.Namespace,
    folder: Path,
) -> dict[str, Any]:
    """Train both at the same time; how many epochs of MACE there were, and how long one took before."""
    if mace is None:
        with started(config, core=cores[0]) as ours:
            ours.wait()
        return {}
    seconds, epochs = None, arguments.mace_epochs
    if epochs is None:
        away = folder / "calibration"
        endless = config.model_copy(
            update={"out": away / "molgen", "training": config.training.model_copy(update={"hours": 24.0})}
        )
        with started(endless, core=cores[0]):
            seconds = mace.seconds_per_epoch(away / "mace", core=cores[1])
        shutil.rmtree(away)
        epochs = max(round(60.0 * arguments.minutes / seconds), 1)
        print(f"MACE: an epoch takes {seconds:.1f} s, so {epochs} are trained", flush=True)
    with (
        started(config, core=cores[0]) as ours,
        mace.started(folder / "mace", epochs=epochs, seed=seed, core=cores[1]) as theirs,
    ):
        ours.wait()
        theirs.wait()
    return {"epochs": epochs, "seconds_per_epoch": seconds}


def _table(results: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name in dict.fromkeys(result["name"] for result in results):
        runs = [result for result in results if result["name"] == name]
        row: dict[str, object] = {"model": name, "parameters": runs[0]["parameters"]}
        row |= {"min": cell([run["minutes"] for run in runs]), "steps": cell([run["steps"] for run in runs], 0)}
        for kind, unit in (("forces", "meV/Å"), ("energy", "meV")):
            for test, title in _TESTS.items():
                values = [run["errors"][test][f"{kind}_rmse"] for run in runs]
                row[f"{kind[0].upper()} RMSE {title}, {unit}"] = cell(values)
        rows.append(row)
    return rows


if __name__ == "__main__":
    raise SystemExit(ended(main))
