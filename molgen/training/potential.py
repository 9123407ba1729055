"""The task of potentials: errors of energy, forces and further labels, measured references, and the model file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from molgen.data.labelled import Labelled, read_labelled
from molgen.elements import SYMBOLS
from molgen.errors import ConfigError
from molgen.models.checkpoint import Checkpoint, write_checkpoint
from molgen.models.choice import Named
from molgen.models.document import Document, PotentialRecord
from molgen.models.potential import Potential
from molgen.models.potential_assembly import AssembledPotential, assemble_potential, check_potential
from molgen.nn import REPULSION_REACH
from molgen.random import Streams
from molgen.structures import Structures
from molgen.training.config import TrainingConfig
from molgen.training.edge_batches import EdgeBatches, in_order
from molgen.training.fine_tuning import Start, freeze
from molgen.training.graph_store import GraphStore, Numbered
from molgen.training.held_out import train_and_held_out
from molgen.training.joined import Joined
from molgen.training.objective import Dataset
from molgen.training.potential_losses import losses, means_of, measures, wanted_labels
from molgen.training.references import measure_elements

__all__ = ["PotentialObjective", "PotentialTask"]

_DEFAULT_HEADS = ("energy",)


class PotentialTask:
    """The encoder and the heads of a config.

    Args:
        config: of the run.
        note: is told what was found in the data.

    Raises:
        ConfigError: they don't fit each other, or can't be built of their options.
        PluginError: one of them is broken.
    """

    def __init__(self, config: TrainingConfig, note: Callable[[str], None] = lambda text: None) -> None:
        if config.training.precision == "bf16-mixed":
            raise ConfigError(
                "forces need more digits than bf16-mixed has",
                where="training.precision",
                expected="32-true or 64-true for a potential",
            )
        self._config, self._note = config, note
        self._start = Start.of(config.start_from) if config.start_from else None
        if self._start is not None and config.encoder is not None:
            raise ConfigError(
                "the model that is fine-tuned has an encoder already", where="encoder", remedy="leave it out"
            )
        encoder: Named | None = self._start.encoder if self._start else config.encoder
        assert encoder is not None  # the config's own check
        self._encoder = encoder
        heads: Sequence[Named | str] = config.heads or (self._start.heads if self._start else _DEFAULT_HEADS)
        self._heads = heads
        self._forces_from = config.forces_from
        if self._start is not None and self._forces_from is None and not config.heads:
            self._forces_from = self._start.potential.forces_from
        self._trial = check_potential(self._encoder, self._heads, forces_from=self._forces_from)
        self._isolated: dict[str, float] = {}
        self._own: int | None = None  # structures to train on, where those to validate on are in a file of their own
        if not wanted_labels(config.loss, self._trial.module.provides):
            raise ConfigError("no label has a weight and a head", where="loss", remedy="give forces or energy a weight")

    def dataset(self) -> Dataset:
        """The labelled structures of the config's files."""
        section = self._config.data
        first = self._read(section.path)
        self._isolated = {**_by_symbol(first), **section.isolated_energies}
        if section.validation_path is None:
            return Numbered(first.dataset)
        self._own = len(first.dataset)
        second = self._read(section.validation_path)
        if second.dataset.fingerprint == first.dataset.fingerprint:
            self._note("warning: validation is on the training data themselves, so it says nothing of other structures")
        return Numbered(Joined(first.dataset, second.dataset))

    def split(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """Numbers of the structures to train on, and of those that are held out."""
        section = self._config.data
        if self._own is None:
            train, held_out = train_and_held_out(section, len(dataset))
            if not len(held_out):
                self._note("warning: nothing is held out, so nothing is validated; set data.validation")
            return train, held_out
        train, _ = train_and_held_out(section.model_copy(update={"validation": 0}), self._own)
        return train, torch.arange(self._own, len(dataset))

    def _read(self, path: Path) -> Labelled:
        section = self._config.data
        labelled = read_labelled(path, keys=section.keys, units=section.units)
        for line in labelled.describe():
            self._note(line)
        return labelled

    def objective(self, dataset: Dataset, train: Tensor) -> PotentialObjective:
        """The objective on a data set; edges, references and scales are measured of it."""
        config = self._config
        if not len(train):
            raise ConfigError("there is nothing to train on", where="data.path")
        store = GraphStore(self._trial.module, dataset)
        neighbors = max(float(store.counts[train].sum()) / max(float(dataset.n_atoms[train].sum()), 1.0), 1.0)
        if self._start is not None:  # it is a number in its network
            neighbors = self._start.document.statistics.average_neighbors
        record = self._record(dataset, train)
        assembled = assemble_potential(self._encoder, self._heads, record, neighbors)
        if self._start is not None:
            self._start.load_into(assembled.module, self._note)
            freeze(assembled.module, config.start_from.frozen if config.start_from else ())
        document = assembled.document(config.name, data_fingerprint=dataset.fingerprint, seed=config.training.seed)
        return PotentialObjective(
            assembled, document, store, config, float(dataset.n_atoms[train].double().mean()), self._start
        )

    def _record(self, dataset: Dataset, train: Tensor) -> PotentialRecord:
        config = self._config
        for name in _check_labels(dataset, train, wanted_labels(config.loss, self._trial.module.provides)):
            self._note(f"warning: the data have no {name}, so the model's are not trained")
        if self._start is not None:
            record = self._start.record(dataset, train, self._isolated, repulsion=config.repulsion)
            return record.model_copy(update={"forces_from": self._forces_from})
        wants_energies = "energy" in self._trial.module.provides
        elements, source = measure_elements(dataset, train, self._isolated, wants_energies=wants_energies)
        return PotentialRecord(
            elements=elements,
            isolated_source=source,  # type: ignore[arg-type]
            conditions=_conditions(dataset),  # type: ignore[arg-type]
            repulsion=config.repulsion is not False,
            repulsion_reach=REPULSION_REACH,
            forces_from=self._forces_from,
        )


class PotentialObjective:
    """What a potential is trained on; an `Objective`.

    Args:
        assembled: the potential.
        document: of the model file; `training` is filled in at each export.
        store: the edges of the data set.
        config: of the run.
        atoms: mean number of atoms of the training structures.
        start: the model that it goes on from, where there is one.
    """

    def __init__(
        self,
        assembled: AssembledPotential,
        document: Document,
        store: GraphStore,
        config: TrainingConfig,
        atoms: float,
        start: Start | None = None,
    ) -> None:
        self.model: nn.Module = assembled.module
        self._potential: Potential = assembled.module
        self._document, self._store, self._section, self._atoms = document, store, config.loss, atoms
        self._training = config.training
        self._told: dict[str, object] = {"loss": config.loss.model_dump(mode="json")}
        if start is not None and config.start_from is not None:
            self._told["started_from"] = start.told(config.start_from)
        self._wanted = wanted_labels(config.loss, self._potential.provides)
        # without the measured numbers: the data fix them, but for a last digit that depends on the number of threads
        records = document.model_dump(mode="json", include={"components", "potential"})
        for record in records["components"].values():
            del record["distribution_version"]
        records["potential"]["elements"] = sorted(records["potential"]["elements"])
        self.identity = records

    def batches(self, numbers: Tensor) -> EdgeBatches:
        """The order in which the structures of some numbers are trained on."""
        section = self._training
        edges = self._store.counts[numbers]
        return EdgeBatches(edges, batch_size=section.batch_size, seed=section.seed, max_edges=section.max_edges)

    def every_batch(self, numbers: Tensor) -> list[Tensor]:
        """Batches that hold each of some structures once."""
        section = self._training
        return in_order(self._store.counts[numbers], batch_size=section.batch_size, max_edges=section.max_edges)

    def loss(self, batch: Structures, streams: Streams, *, final: bool = False) -> dict[str, Tensor]:
        """The weighted loss and its parts, each [B]."""
        return losses(self._predict(batch, create_graph=True), batch, self._section, self._atoms, final=final)

    def validation(self, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """Errors of the labels, and the loss with the weights of the last part of the run."""
        found = self._predict(batch, create_graph=False)
        found = {name: value.detach() for name, value in found.items() if name in self._wanted}
        loss = losses(found, batch, self._section, self._atoms, final=True)
        return {"loss": loss["loss"], **measures(found, batch)}

    def _predict(self, batch: Structures, *, create_graph: bool) -> dict[str, Tensor]:
        return self._potential(
            batch,
            self._store.graph(batch),
            forces="forces" in self._wanted,
            stress="stress" in self._wanted,
            create_graph=create_graph,
        )

    def measured(self, parts: Sequence[str]) -> Sequence[str]:
        """Loss, squared and absolute errors."""
        names = [name for name in parts if name != "loss"]
        return ["loss", *(f"{name}_{error}" for name in names for error in ("mse", "mae"))]

    def figures(self, means: Mapping[str, float]) -> dict[str, float]:
        """Mean squared and absolute errors over all numbers that are known."""
        return means_of(means)

    def describe(self, means: Mapping[str, float]) -> str:
        """The errors in the units that people compare: RMSE / MAE."""
        parts = []
        for name, factor, unit in _SHOWN:
            if f"{name}_mse" in means:
                root, mean = math.sqrt(means[f"{name}_mse"]), means[f"{name}_mae"]
                parts.append(f"{name} {factor * root:.3g}/{factor * mean:.3g} {unit}")
        return "RMSE/MAE " + ", ".join(parts) if parts else f"loss {means['loss']:.5g}"

    def export(self, path: Path, weights: Mapping[str, Tensor], training: Mapping[str, object]) -> None:
        """Write the model file."""
        dtype = str(self._potential.dtype).removeprefix("torch.")
        further = {"training": {**training, **self._told}, "dtype": dtype}
        document = Document.model_validate(self._document.model_dump() | further)
        write_checkpoint(path, Checkpoint(document, weights))


_SHOWN = (
    ("energy", 1e3, "meV/atom"),
    ("forces", 1e3, "meV/Å"),
    ("stress", 1e3, "meV/Å³"),
    ("dipole", 1e3, "me·Å"),
    ("charges", 1e3, "me"),
)


def _by_symbol(labelled: Labelled) -> dict[str, float]:
    return {SYMBOLS[number]: energy for number, energy in labelled.isolated_energies.items()}


def _conditions(dataset: Dataset) -> list[str]:
    """Charge and spin, where the data have more than neutral singlets."""
    found = set()
    for chosen in torch.arange(len(dataset)).split(4096):
        structures = dataset.structures(chosen)
        if bool((structures.charge != 0).any()):
            found.add("charge")
        if bool((structures.spin != 1).any()):
            found.add("spin")
    return sorted(found)


def _check_labels(dataset: Dataset, train: Tensor, wanted: tuple[str, ...]) -> list[str]:
    """Refuse data without any label that is to be learned, or without the label of a further head.

    Returns:
        Labels that have a weight and that the data lack.
    """
    structures = dataset.structures(train[:1])
    labels = set(structures.atom_labels) | set(structures.structure_labels)
    missing = [name for name in wanted if name not in labels]
    if len(missing) == len(wanted) or {"dipole", "charges", "stress"} & set(missing):
        raise ConfigError(
            f"the data have no {' and no '.join(missing)}",
            where="data.path",
            expected=", ".join(wanted),
            remedy="name the keys in data.keys, or set the weight in loss to 0",
        )
    return missing
