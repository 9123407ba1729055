"""Trainings of ours: a config completed, a process that trains it and goes on where it stopped, what came out."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from harness.errors import errors, predictions

from accuracy.processes import Pinned
from molgen.atomic import write_atomically
from molgen.errors import ConfigError
from molgen.models.checkpoint import read_checkpoint, read_document
from molgen.structures import Structures
from molgen.training import TrainingConfig, read_config

__all__ = ["best", "configured", "kept", "measured", "outcome", "started", "trained"]

_TRAIN = Path(__file__).parents[2] / "train.py"


def configured(
    base: Path | Mapping[str, Any],
    *,
    out: Path,
    minutes: float,
    threads: int,
    train: Path,
    validation: Path,
    isolated: Mapping[str, float] | None = None,
    further: Mapping[str, Any] | None = None,
) -> TrainingConfig:
    """A config for so many minutes on given files: the learning rate stays, then falls over the last part of the time.

    Args:
        base: YAML file or its content; its data, its length and its folder are replaced.
        out: folder of the run.
        minutes: of training.
        threads: of the CPU.
        train: file to train on.
        validation: file to choose the best weights by.
        isolated: eV by symbol; fitted to the data if left out.
        further: values by dotted key.

    Raises:
        ConfigError: as `molgen.training.read_config`.
    """
    data = {"path": str(train), "validation_path": str(validation), "isolated_energies": dict(isolated or {})}
    overrides: dict[str, Any] = {"data": data, "out": str(out), "certify": False}  # errors alone are compared
    overrides |= {"training.steps": None, "training.hours": minutes / 60.0, "training.threads": threads}
    overrides |= {"training.schedule": "warmup-stable-decay", "training.accelerator": "cpu"}
    return read_config(base, overrides | dict(further or {}))


def started(config: TrainingConfig, *, core: int | None) -> Pinned:
    """A process that trains, or goes on with the run that stands in its folder."""
    place = config.out.parent / f"{config.out.name}.yaml"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    words = [sys.executable, _TRAIN, place]
    return Pinned(words, place.with_suffix(".log"), core=core, threads=config.training.threads or 1)


def trained(config: TrainingConfig, *, core: int | None) -> Path:
    """Train to the end; the file of the best weights.

    Raises:
        TrainingError: the process ended with an error.
    """
    with started(config, core=core) as process:
        process.wait()
    return best(config.out)


def measured(
    config: TrainingConfig, tests: Mapping[str, Structures], *, core: int | None, stress: bool = False
) -> dict[str, Any]:
    """Train, or take what was measured of the same config before: what it took, and `errors` of each test set."""

    def measure() -> dict[str, Any]:
        model = trained(config, core=core)
        found = {name: errors(test, predictions(model, test, stress=stress)) for name, test in tests.items()}
        return {**outcome(config.out), "errors": found}

    settings = {"config": config.model_dump(mode="json"), "tests": {name: len(test) for name, test in tests.items()}}
    return kept(config.out.parent / f"{config.out.name}.json", settings, measure)


def best(folder: Path) -> Path:
    """Of a run: the weights of the lowest validation loss."""
    found = folder / "best.safetensors"
    return found if found.exists() else folder / "last.safetensors"


def outcome(folder: Path) -> dict[str, Any]:
    """What a finished run took: steps, samples, minutes, parameters, and the best validation."""
    training: Mapping[str, Any] = read_document(folder / "last.safetensors").training
    tensors = read_checkpoint(best(folder)).tensors.values()
    with (folder / "log.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("validation_loss")]
    least = min(rows, key=lambda row: float(row["validation_loss"]), default={})
    squares = least.get("validation_forces_mse")
    return {
        "parameters": sum(tensor.numel() for tensor in tensors if tensor.is_floating_point()),
        "steps": training["steps"],
        "samples": training["samples"],
        "minutes": 60.0 * training["hours"],
        "best_step": int(least["step"]) if least else training["steps"],
        "validation_forces_rmse": 1e3 * math.sqrt(float(squares)) if squares else None,
    }


def kept(
    path: Path, settings: Mapping[str, Any], measure: Callable[[], dict[str, Any]], *, anew: bool = False
) -> dict[str, Any]:
    """What was measured with these settings before, or is measured now and kept.

    Args:
        path: of the file that keeps it.
        settings: plain data.
        measure: gives plain data.
        anew: measure again where the settings are others; else that is refused.

    Raises:
        ConfigError: it was measured with other settings.
    """
    wanted = json.loads(json.dumps(settings))
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["settings"] == wanted:
            return found["result"]
        if not anew:
            differing = sorted(key for key in wanted if found["settings"].get(key) != wanted[key])
            raise ConfigError(
                f"it was measured with other settings ({', '.join(differing) or 'fewer'})",
                where=str(path),
                remedy="choose another --folder, or remove the file",
            )
    result = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"settings": wanted, "result": result}, indent=1) + "\n")
    return json.loads(json.dumps(result))
