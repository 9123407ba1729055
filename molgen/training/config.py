"""What a training run is told: a YAML file, checked as a whole before anything is built."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from molgen.errors import ConfigError
from molgen.host.component import ComponentKind, ComponentRef
from molgen.host.config import validate

__all__ = [
    "DataSection",
    "FineTuningSection",
    "LossSection",
    "TrainingConfig",
    "TrainingSection",
    "parse_override",
    "read_config",
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSection(_Section):
    """Which structures are trained on, and which are held out."""

    path: Path = Field(
        description="a cache that `molgen data convert` wrote, or for a potential any file of labelled structures; "
        "relative to the working folder"
    )
    train: int | None = Field(None, gt=0, description="structures to train on; all that is not held out if left out")
    validation: int | None = Field(
        None,
        ge=0,
        description="structures held out for validation; if left out 1000, of fewer than 10000 structures one in ten",
    )
    split_seed: int = Field(0, description="seed of the split into training, validation and test")
    validation_path: Path | None = Field(
        None, description="potential: a file of its own to validate on; then none of `path` is held out"
    )
    keys: dict[str, str] = Field({}, description="potential: names of labels in the file, where they can't be detected")
    units: dict[str, str] = Field({}, description="potential: units of labels in the file, where they are not ASE's")
    isolated_energies: dict[str, float] = Field(
        {}, description="potential: eV by symbol, of the same method as the data; fitted to the data if left out"
    )


class LossSection(_Section):
    """What a potential's loss is made of: weights of squared errors in eV per atom, eV/Å, eV/Å³, e·Å and e."""

    kind: Literal["mse", "huber", "mae"] = Field("mse", description="of the error: squared, Huber's, or absolute")
    huber_delta: float = Field(0.01, gt=0, description="huber: error from which it grows linearly")
    energy: float = Field(1.0, ge=0, description="weight of energies per atom")
    forces: float = Field(100.0, ge=0, description="weight of forces")
    stress: float = Field(0.0, ge=0, description="weight of stress")
    dipole: float = Field(1.0, ge=0, description="weight of dipoles, where a head gives them")
    charges: float = Field(1.0, ge=0, description="weight of charges, where a head gives them")
    final_energy: float | None = Field(
        None,
        ge=0,
        description="weight of energies in the last part of the run, `decay_fraction`; 1000 times `energy` if left out",
    )


class FineTuningSection(_Section):
    """What a potential starts from."""

    model: str = Field(description="name or path of a potential, whose weights the run starts from")
    frozen: tuple[str, ...] = Field(
        (), description="what stays as it is: names of parameters begin with one of these, as in `encoder.`"
    )


class TrainingSection(_Section):
    """How the loop runs."""

    seed: int = Field(0, ge=0, lt=2**31, description="seed of the first weights, the order of the data and the noise")
    steps: int | None = Field(None, gt=0, description="optimiser steps of the whole run; unlimited if left out")
    hours: float | None = Field(
        None, gt=0, description="h, wall-clock time of the whole run, resumptions included; unlimited if left out"
    )
    batch_size: int = Field(64, gt=0, description="structures per step, over all devices")
    max_edges: int | None = Field(
        None,
        gt=0,
        description="most edges of a step's graphs, so that large structures come in smaller batches",
    )
    optimizer: Literal["adamw", "muon"] = Field("adamw", description="muon needs torch 2.9")
    learning_rate: float = Field(1e-3, gt=0, description="the highest learning rate of the schedule")
    weight_decay: float = Field(0.01, ge=0, description="decoupled decay of weights; not of biases, norms and scales")
    betas: tuple[float, float] = Field((0.9, 0.99), description="AdamW's decay rates of its two moments")
    epsilon: float = Field(1e-8, gt=0, description="AdamW's ε")
    amsgrad: bool = Field(False, description="AdamW: divide by the largest second moment so far")
    momentum: float = Field(0.95, ge=0, lt=1, description="Muon's momentum")
    schedule: Literal["cosine", "constant", "warmup-stable-decay"] = Field(
        "cosine", description="of the learning rate, by step; cosine needs steps"
    )
    warmup_steps: int = Field(500, ge=0, description="steps over which the learning rate rises")
    decay_fraction: float = Field(
        0.25, gt=0, le=1, description="last part of the run over which warmup-stable-decay falls"
    )
    final_fraction: float = Field(0.01, ge=0, le=1, description="last learning rate as a fraction of the highest")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the moving average of the weights per step")
    precision: Literal["32-true", "64-true", "bf16-mixed"] = Field(
        "32-true", description="of the weights, or with bf16-mixed of matrix products, while training"
    )
    validate_every: int = Field(2000, gt=0, description="steps from one validation to the next")
    validation_structures: int = Field(2000, gt=0, description="of the held-out structures, how many are used")
    log_every: int = Field(100, gt=0, description="steps from one row of the log to the next")
    checkpoint_minutes: float = Field(5.0, ge=0, description="min, wall-clock time from one checkpoint to the next")
    max_skipped: int = Field(10, gt=0, description="steps in a row without a finite gradient that end the run")
    threads: int | None = Field(None, gt=0, description="CPU threads; torch's own choice if left out")
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="kind of device")

    @model_validator(mode="after")
    def _ends(self) -> TrainingSection:
        if self.steps is None and self.hours is None:
            raise ValueError("neither steps nor hours is given, so the run would never end")
        if self.schedule == "cosine" and self.steps is None:
            raise ValueError("schedule cosine needs steps; with hours alone use warmup-stable-decay")
        return self


_OF_POTENTIALS = ("heads", "forces_from", "start_from")
_DATA_OF_POTENTIALS = ("validation_path", "keys", "units", "isolated_energies")


class TrainingConfig(_Section):
    """One training run."""

    name: str = Field("model", min_length=1, description="what the model is called in its file")
    task: Literal["generator", "potential"] = Field(description="what is trained")
    encoder: Annotated[ComponentRef, ComponentKind("encoder")] | None = Field(
        None, description="the network that sees the structures; may be left out where `start_from` names a model"
    )
    sampler: Annotated[ComponentRef, ComponentKind("sampler")] | None = Field(
        None, description="generator: what noises, denoises and is trained"
    )
    heads: tuple[Annotated[ComponentRef, ComponentKind("head")], ...] = Field(
        (), description="potential: what is read of the encoder's features; the head `energy` if left out"
    )
    forces_from: str | None = Field(
        None, description="potential: the head whose forces count, where one gives energies and another forces"
    )
    repulsion: bool | None = Field(
        None,
        description="potential: screened nuclear repulsion of atoms that nearly touch; true if left out, or as in the "
        "model that `start_from` names",
    )
    loss: LossSection = Field(
        default_factory=lambda: LossSection.model_validate({}), description="potential: weights of its parts"
    )
    certify: bool = Field(
        True, description="potential: measure the finished model's forces, symmetry and drift, in about a minute"
    )
    start_from: FineTuningSection | None = Field(None, description="potential: fine-tune a trained model")
    data: DataSection
    training: TrainingSection
    out: Path = Field(description="folder of the run; relative to the working folder")

    @model_validator(mode="after")
    def _complete(self) -> TrainingConfig:
        generator = self.task == "generator"
        if generator and self.sampler is None:
            raise ValueError("a generator needs a sampler")
        if not generator and self.sampler is not None:
            raise ValueError("a potential has no sampler")
        if self.encoder is None and (generator or self.start_from is None):
            raise ValueError(f"a {self.task} needs an encoder")
        if generator:
            given = [name for name in _OF_POTENTIALS if getattr(self, name)]
            given += ["loss"] if self.loss != LossSection.model_validate({}) else []
            given += [f"data.{name}" for name in _DATA_OF_POTENTIALS if getattr(self.data, name)]
            if given:
                raise ValueError(f"{given[0]} is for potentials, and the task is {self.task}")
        return self


def read_config(source: str | Path | Mapping, overrides: Mapping[str, object] | None = None) -> TrainingConfig:
    """A checked config from a YAML file, or from plain data.

    Args:
        source: path of a YAML file, or its content as a mapping.
        overrides: values by dotted key: `{"encoder.config.layers": 6}`.

    Raises:
        ConfigError: no such file, no YAML, an unknown key, a wrong type, a combination that can't work.
        PluginError: a component that is unknown, ambiguous or broken.
    """
    data = copy.deepcopy(dict(source)) if isinstance(source, Mapping) else _read_yaml(Path(source))
    for key, value in (overrides or {}).items():
        _set(data, key, value)
    return validate(TrainingConfig, data)


def parse_override(text: str) -> tuple[str, object]:
    """Key and value of KEY=VALUE; the value is read as YAML.

    Raises:
        ConfigError: no `=`, or a value that is no YAML.

    >>> parse_override("training.steps=100")
    ('training.steps', 100)
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r} has no value", expected="KEY=VALUE, as in training.steps=1000")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {text!r} has a value that is no YAML", remedy="quote it") from None


def _read_yaml(path: Path) -> dict:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read config {path}: {error.strerror}", remedy="name a YAML file") from None
    except UnicodeDecodeError:
        raise ConfigError("a config is text in UTF-8", where=str(path)) from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError("not YAML", where=f"{path}{line}", remedy="check indentation and quotes") from None
    if not isinstance(data, dict):
        raise ConfigError("a config is a mapping of keys to values", where=str(path))
    return data


def _set(data: dict, dotted: str, value: object) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        below = data.setdefault(parent, {})
        if isinstance(below, str):  # a component by its id alone
            below = data[parent] = {"use": below}
        if not isinstance(below, dict):
            raise ConfigError(f"{parent!r} has no keys below it", where=dotted)
        data = below
    data[last] = value
