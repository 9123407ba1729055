"""MACE trained by its own program `mace_run_train`, for a number of epochs that fits into the minutes of everyone."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from accuracy.processes import Pinned
from molgen.atomic import write_atomically
from molgen.elements import NUMBERS
from molgen.errors import ConfigError, TrainingError

__all__ = ["Mace", "epochs_of", "scaled"]

_PREDICT = Path(__file__).with_name("mace_predict.py")
_EPOCH = re.compile(r"^(\S+ \S+) INFO: Epoch (\d+): .*?loss=\s*([-+.\deEinfa]+).*RMSE_F=\s*([\d.]+) meV", re.MULTILINE)
_STARTED = re.compile(r"^(\S+ \S+) INFO: Started training", re.MULTILINE)
_LOOKED_AT = 1.0  # s, between two looks at the log
_CALIBRATING = 3  # epochs; the first is left out


@dataclass(frozen=True)
class Epoch:
    """A line of the log: an epoch has ended and was validated."""

    number: int
    ended: float  # s
    loss: float
    forces_rmse: float  # meV/Å


@dataclass(frozen=True)
class Mace:
    """How MACE is trained here.

    Args:
        python: of the environment that has `mace-torch`.
        settings: options of `mace_run_train`.
        train: extended xyz with REF_energy and REF_forces.
        validation: the same.
        isolated: eV by symbol.
        threads: of the CPU.
    """

    python: Path
    settings: Mapping[str, Any]
    train: Path
    validation: Path
    isolated: Mapping[str, float]
    threads: int

    def started(self, folder: Path, *, epochs: int, seed: int, core: int | None) -> Pinned:
        """A process that trains in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        energies = {NUMBERS[symbol]: energy for symbol, energy in self.isolated.items()}
        told = scaled(self.settings, epochs) | {
            "name": "mace",
            "seed": seed,
            "device": "cpu",
            "train_file": str(self.train.resolve()),
            "valid_file": str(self.validation.resolve()),
            "E0s": str(energies),
            "work_dir": str(folder.resolve()),
            "plot": False,
            "error_table": "TotalRMSE",
        }
        write_atomically(folder / "settings.yaml", yaml.safe_dump(told, sort_keys=False))
        words = [self.python, "-m", "mace.cli.run_train", "--config", (folder / "settings.yaml").resolve()]
        return Pinned(words, folder / "output.log", core=core, threads=self.threads, folder=folder)

    def seconds_per_epoch(self, folder: Path, *, core: int | None) -> float:
        """Measured of a short run in a folder.

        Raises:
            TrainingError: the run ended before.
        """
        with self.started(folder, epochs=1000, seed=0, core=core) as process:
            while len(found := epochs_of(folder)) < _CALIBRATING:
                if not process.running:
                    process.wait()
                    raise TrainingError("MACE ended before its first epochs", where=str(folder / "output.log"))
                time.sleep(_LOOKED_AT)
        return (found[-1].ended - found[0].ended) / (found[-1].number - found[0].number)

    def outcome(self, folder: Path) -> dict[str, Any]:
        """What a finished run took, from its first validation to its last epoch.

        Raises:
            TrainingError: it has trained no epoch.
        """
        epochs, start = epochs_of(folder), _STARTED.search(_log(folder))
        if not epochs or start is None:
            raise TrainingError("MACE has trained no epoch", where=str(folder / "output.log"))
        least = min(epochs, key=lambda epoch: epoch.loss)
        batch = int(self.settings.get("batch_size", 10))
        frames = sum(1 for line in self.train.read_text(encoding="utf-8").splitlines() if "REF_energy=" in line)
        steps = len(epochs) * (frames // batch)  # it drops the last, smaller batch
        return {
            "steps": steps,
            "samples": steps * batch,
            "minutes": (epochs[-1].ended - _seconds(start[1])) / 60.0,
            "epochs": len(epochs),
            "best_step": (least.number + 1) * (frames // batch),
            "validation_forces_rmse": least.forces_rmse,
        }

    def predictions(
        self, folder: Path, files: Mapping[str, Path], *, core: int | None
    ) -> tuple[int, dict[str, dict[str, Tensor]]]:
        """Number of parameters, and energies [B] and forces [N, 3] of each file by its calculator in float64.

        Raises:
            ConfigError: the run wrote no model.
            TrainingError: the calculator failed.
        """
        models = sorted((folder / "checkpoints").glob("*_stagetwo.model"))
        models = models or sorted((folder / "checkpoints").glob("*.model"))
        if not models:
            raise ConfigError("MACE wrote no model", where=str(folder))
        words = [self.python, _PREDICT.resolve(), models[0].resolve(), *(path.resolve() for path in files.values())]
        with Pinned(words, folder / "predict.log", core=core, threads=self.threads, folder=folder) as process:
            process.wait()
        found: dict[str, dict[str, Tensor]] = {}
        for name, path in files.items():
            with np.load(folder / f"{path.stem}.npz", allow_pickle=False) as arrays:
                found[name] = {key: torch.from_numpy(arrays[key]) for key in ("energy", "forces")}
                parameters = int(arrays["parameters"])
        return parameters, found


def scaled(settings: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """The settings for another number of epochs: what is counted in epochs is in proportion.

    >>> scaled({"max_num_epochs": 2000, "scheduler_patience": 50, "patience": 256}, 80)
    {'max_num_epochs': 80, 'scheduler_patience': 2, 'patience': 256}
    """
    share = epochs / settings["max_num_epochs"]
    counted = {
        key: max(round(settings[key] * share), 1)
        for key in ("scheduler_patience", "start_swa", "start_stage_two")
        if key in settings
    }
    return {**settings, **counted, "max_num_epochs": epochs}


def epochs_of(folder: Path) -> list[Epoch]:
    """What the log of a run says of its epochs so far."""
    return [
        Epoch(int(number), _seconds(when), float(loss), float(forces))
        for when, number, loss, forces in _EPOCH.findall(_log(folder))
    ]


def _log(folder: Path) -> str:
    paths = sorted(path for path in (folder / "logs").glob("*.log") if not path.stem.endswith("_debug"))
    return paths[0].read_text(encoding="utf-8") if paths else ""


def _seconds(when: str) -> float:
    return datetime.fromisoformat(when).timestamp()
