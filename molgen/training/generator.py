"""The task of generators: a sampler's objective on an encoder, measured statistics, and the model file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from molgen.data.batches import Buckets, every_batch
from molgen.data.cache import Cache
from molgen.errors import ConfigError
from molgen.interfaces import Sampler
from molgen.models.assembly import assemble_generator, check_generator
from molgen.models.checkpoint import Checkpoint, write_checkpoint
from molgen.models.document import Document
from molgen.random import Streams
from molgen.structures import Structures
from molgen.training.config import TrainingConfig, TrainingSection
from molgen.training.held_out import train_and_held_out
from molgen.training.objective import Dataset
from molgen.training.statistics import measure_schema, measure_statistics

__all__ = ["GeneratorObjective", "GeneratorTask"]


class GeneratorTask:
    """The encoder and the sampler of a config.

    Raises:
        ConfigError: they don't fit each other, or can't be built of their options.
        PluginError: one of them is broken.
    """

    def __init__(self, config: TrainingConfig, note: Callable[[str], None] = lambda text: None) -> None:
        if config.sampler is None or config.encoder is None:
            raise ConfigError("a generator needs an encoder and a sampler", where="sampler")
        check_generator(config.encoder, config.sampler)
        self._config = config
        self._encoder, self._sampler = config.encoder, config.sampler

    def dataset(self) -> Dataset:
        """The cache that the config names."""
        return Cache.open(self._config.data.path, verify=False)

    def split(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """Numbers of the structures to train on, and of those that are held out."""
        return train_and_held_out(self._config.data, len(dataset))

    def objective(self, dataset: Dataset, train: Tensor) -> GeneratorObjective:
        """The objective on a data set; elements, sizes and statistics are measured of it."""
        schema = measure_schema(dataset, train)
        statistics = measure_statistics(dataset, train)
        assembled = assemble_generator(self._encoder, self._sampler, schema, statistics)
        section = self._config.training
        given = {"data_fingerprint": dataset.fingerprint, "seed": section.seed}
        document = assembled.document(self._config.name, schema, statistics, **given)
        return GeneratorObjective(assembled.sampler, assembled.module, document, dataset.n_atoms, section)


class GeneratorObjective:
    """What a sampler trains its model on; an `Objective`.

    Args:
        sampler: gives the loss.
        model: is trained.
        document: of the model file; `training` is filled in at each export.
        n_atoms: [n] atoms of the data set's structures.
        section: sizes of batches, and the seed of their order.
    """

    def __init__(
        self, sampler: Sampler, model: nn.Module, document: Document, n_atoms: Tensor, section: TrainingSection
    ) -> None:
        self._sampler, self._document, self._n_atoms, self._section = sampler, document, n_atoms, section
        self.model = model
        # without the statistics: the data fix them, but for a last digit that depends on the number of threads
        records = document.model_dump(mode="json", include={"components", "schema"})
        for record in records["components"].values():
            del record["distribution_version"]  # what shapes the model is the component's version
        self.identity = records

    def batches(self, numbers: Tensor) -> Buckets:
        """Batches of one size each, whose graphs are dense."""
        section = self._section
        given = {"batch_size": section.batch_size, "max_edges": section.max_edges}
        return Buckets(self._n_atoms[numbers], seed=section.seed, **given)  # type: ignore[arg-type]

    def every_batch(self, numbers: Tensor) -> list[Tensor]:
        """Batches of one size each that hold each structure once."""
        section = self._section
        return every_batch(self._n_atoms[numbers], batch_size=section.batch_size, max_edges=section.max_edges)

    def loss(self, batch: Structures, streams: Streams, *, final: bool = False) -> dict[str, Tensor]:
        """The sampler's loss and its parts, each [B]."""
        return self._sampler.objective(self.model, batch, streams)

    def validation(self, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """The same without a graph."""
        with torch.no_grad():
            return self.loss(batch, streams)

    def measured(self, parts: Sequence[str]) -> Sequence[str]:
        """The same parts as in training."""
        return parts

    def figures(self, means: Mapping[str, float]) -> dict[str, float]:
        """The means themselves."""
        return dict(means)

    def describe(self, means: Mapping[str, float]) -> str:
        """The loss."""
        return f"loss {means['loss']:.5g}"

    def export(self, path: Path, weights: Mapping[str, Tensor], training: Mapping[str, object]) -> None:
        """Write the model file."""
        document = Document.model_validate(self._document.model_dump() | {"training": dict(training)})
        write_checkpoint(path, Checkpoint(document, weights))
