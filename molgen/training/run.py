"""`train`: a config becomes a run, and a run a model file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from lightning_fabric import Fabric

from molgen.atomic import write_atomically
from molgen.certify import certify
from molgen.errors import ConfigError, MolgenError, TrainingError
from molgen.interruption import Interruption
from molgen.structures import Structures
from molgen.training.batches import Feed
from molgen.training.config import TrainingConfig, read_config
from molgen.training.counters import Counters
from molgen.training.duration import parse_duration
from molgen.training.folder import newest_state, prepare_folder, refuse_difference
from molgen.training.generator import GeneratorTask
from molgen.training.loop import Loop, Outcome
from molgen.training.objective import Task
from molgen.training.optimizers import check_optimizer
from molgen.training.potential import PotentialTask
from molgen.training.progress import ProgressDisplay
from molgen.training.validation import validation_samples

__all__ = ["train"]

# what builds the objective of each task
_TASKS: dict[str, Callable[[TrainingConfig, Callable[[str], None]], Task]] = {
    "generator": GeneratorTask,
    "potential": PotentialTask,
}
_ENDS: dict[Outcome, str] = {
    "finished": "finished",
    "budget": "time is up; --resume goes on from here, saved",
    "signal": "interrupted; --resume goes on from here, saved",
}
_CERTIFIED = 5  # held-out structures that a certificate is measured on
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def train(
    config: TrainingConfig | str | Path | Mapping,
    *,
    overrides: Mapping[str, object] | None = None,
    resume: bool = False,
    devices: int = 1,
    budget: float | str | None = None,
    anneal: int | str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Train a model; returns the path of its file.

    Args:
        config: path of a YAML file, its content, or a checked config.
        overrides: values by dotted key, as `{"encoder.config.layers": 6}`.
        resume: go on from the newest state in the run's folder, to the bit where the first run would have gone; starts
            anew where there is none. `training.steps`, `hours`, the schedule and all else that shapes neither the
            model nor the order of the data may be changed.
        devices: processes, each with a device (or, on CPU, a share of the cores), that share each step's structures.
        budget: s, or text such as "20m": wall-clock time after which the run saves and stops.
        anneal: with `resume`, let the learning rate fall from here on over so many steps, or so long ("20m"; made
            steps by the speed so far), and end the run there.
        overwrite: remove an earlier run from the folder first.
        progress: show it on stderr.

    Raises:
        ConfigError: a config that can't work.
        OutputError: the folder holds another run, or can't be written; the last checkpoint is whole.
        TrainingError: no finite gradient, memory that doesn't suffice, a state that doesn't fit.
        KeyboardInterrupt: SIGINT or SIGTERM came; the state is saved.
    """

    if not isinstance(config, TrainingConfig):
        config = read_config(config, overrides)
    elif overrides:
        config = read_config(config.model_dump(mode="json"), overrides)
    if resume and overwrite:
        raise ConfigError("a run can't be resumed and overwritten", remedy="choose one of resume and overwrite")
    if anneal is not None and not resume:
        raise ConfigError("only a run that is resumed can be annealed", remedy="give --resume and the run's folder")
    seconds = None if budget is None else parse_duration(budget)
    # what can't work is refused before the folder is touched
    check_optimizer(config.training)
    task = _TASKS[config.task](config, _silent)
    dataset = task.dataset()
    _, held_out = task.split(dataset)
    prepare_folder(config.out, resume=resume, overwrite=overwrite)
    # a loss of forces alone says nothing of some parameters, such as the last bias of energies
    strategy = "ddp_spawn_find_unused_parameters_true" if devices > 1 else "auto"
    section = config.training
    with _explained(config), _quiet_fabric():
        fabric = Fabric(
            accelerator=section.accelerator, devices=devices, strategy=strategy, precision=section.precision
        )
        arguments = config.model_dump(mode="json"), resume, seconds, anneal, progress
        outcome: Outcome = fabric.launch(_run, *arguments)  # type: ignore[arg-type]
    if outcome == "signal":
        raise KeyboardInterrupt
    path = config.out / "last.safetensors"
    if outcome == "finished" and config.task == "potential" and config.certify:
        _certify(path, dataset.structures(held_out[:_CERTIFIED]) if len(held_out) else None, progress)
    return path


def _certify(path: Path, structures: Structures | None, progress: bool) -> None:
    """Measure the finished model; that it can't be measured takes nothing from the run."""
    with ProgressDisplay(progress) as display:
        try:
            certificate = certify(
                path, quick=True, structures=structures, note=lambda text: display.note(f"measuring {text}")
            )
            display.note(certificate.table())
        except MolgenError as error:
            display.note(f"not certified: {error}")


def _measuring(display: ProgressDisplay) -> Callable[[str], None]:
    return lambda what: display.note(f"measuring {what}")


def _run(
    fabric: Fabric, data: dict, resume: bool, budget: float | None, anneal: int | str | None, progress: bool
) -> Outcome:
    config = read_config(data)  # processes are handed plain data
    section = config.training
    with (
        _threads(section.threads),
        torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []),
        ProgressDisplay(progress and fabric.is_global_zero) as display,
        Interruption(budget) as interruption,
    ):
        loop = _build(fabric, config, display)
        _restore(loop, config.out, resume, anneal, display)
        if fabric.is_global_zero:
            write_atomically(
                config.out / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
            )
        outcome = loop.run(interruption)
        display.note(f"{_ENDS[outcome]} at step {loop.counters.step}: {config.out / 'last.safetensors'}")
    return outcome


def _build(fabric: Fabric, config: TrainingConfig, display: ProgressDisplay) -> Loop:
    section, data = config.training, config.data
    task = _TASKS[config.task](config, display.note)
    dataset = task.dataset()
    train_set, held_out = task.split(dataset)
    torch.manual_seed(section.seed)
    objective = task.objective(dataset, train_set)
    objective.model.to(fabric.device)
    rank, world = fabric.global_rank, fabric.world_size
    feed = Feed(dataset, train_set, objective.batches(train_set), section.seed, fabric.device, rank, world)
    held_out = held_out[: section.validation_structures]
    batches = objective.every_batch(held_out) if len(held_out) else []
    validation = validation_samples(dataset, held_out, batches, fabric.device, rank=rank, world=world)
    identity = {
        "task": config.task,
        **objective.identity,
        "data": {
            "fingerprint": dataset.fingerprint,
            **data.model_dump(mode="json", exclude={"path", "validation_path"}),
            "train": len(train_set),
        },
        "training": section.model_dump(mode="json", include={"seed", "optimizer", "batch_size", "max_edges"}),
    }
    return Loop(section, objective, feed, validation, fabric, config.out, display, identity)


def _silent(text: str) -> None:
    """Takes notes of what is looked at before the run."""


def _restore(loop: Loop, folder: Path, resume: bool, anneal: int | str | None, display: ProgressDisplay) -> None:
    found = newest_state(folder, display.note) if resume else None
    if found is not None:
        tensors, document = found
        refuse_difference(document["identity"], dict(loop.identity), folder)
        loop.restore(tensors, Counters.from_dict(document["counters"]))
        display.note(f"going on from step {loop.counters.step}")
    if anneal is not None:
        counters = loop.counters
        if not counters.step:
            raise ConfigError("there is no run to anneal", where=str(folder), remedy="name the folder of a run as out")
        if isinstance(anneal, int) or anneal.isdecimal():
            length = int(anneal)
        else:
            length = round(parse_duration(anneal) * counters.step / counters.seconds)
        loop.begin_anneal(max(length, 1))


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet_fabric() -> Iterator[None]:
    """Fabric logs its choices on stderr; a run tells what matters itself."""
    logger = logging.getLogger("lightning_fabric")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _explained(config: TrainingConfig) -> Iterator[None]:
    """Memory that doesn't suffice is the user's to mend; the last checkpoint is whole whatever happens."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if not isinstance(error, MemoryError) and not any(sign in text for sign in _OUT_OF_MEMORY):
            raise
        raise TrainingError(
            "out of memory",
            where=f"batches of {config.training.batch_size} structures",
            remedy="lower training.batch_size or set training.max_edges; the last checkpoint is whole",
        ) from error
