"""The task of generators: a sampler's objective on an encoder, measured statistics, and the model file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.interfaces import Sampler
from molgen.models.assembly import assemble_generator, check_generator
from molgen.models.checkpoint import Checkpoint, write_checkpoint
from molgen.models.document import Document
from molgen.random import Streams
from molgen.structures import Structures
from molgen.training.config import TrainingConfig
from molgen.training.objective import Dataset
from molgen.training.statistics import measure_schema, measure_statistics

__all__ = ["GeneratorObjective", "GeneratorTask"]


class GeneratorTask:
    """The encoder and the sampler of a config.

    Raises:
        ConfigError: they don't fit each other, or can't be built of their options.
        PluginError: one of them is broken.
    """

    def __init__(self, config: TrainingConfig) -> None:
        if config.sampler is None:
            raise ConfigError("a generator needs a sampler", where="sampler")
        check_generator(config.encoder, config.sampler)
        self._name, self._seed = config.name, config.training.seed
        self._encoder, self._sampler = config.encoder, config.sampler

    def objective(self, dataset: Dataset, train: Tensor) -> GeneratorObjective:
        """The objective on a data set; elements, sizes and statistics are measured of it."""
        schema = measure_schema(dataset, train)
        statistics = measure_statistics(dataset, train)
        assembled = assemble_generator(self._encoder, self._sampler, schema, statistics)
        given = {"data_fingerprint": dataset.fingerprint, "seed": self._seed}
        document = assembled.document(self._name, schema, statistics, **given)
        return GeneratorObjective(assembled.sampler, assembled.module, document)


class GeneratorObjective:
    """What a sampler trains its model on; an `Objective`.

    Args:
        sampler: gives the loss.
        model: is trained.
        document: of the model file; `training` is filled in at each export.
    """

    def __init__(self, sampler: Sampler, model: nn.Module, document: Document) -> None:
        self._sampler, self._document = sampler, document
        self.model = model
        # without the statistics: the data fix them, but for a last digit that depends on the number of threads
        records = document.model_dump(mode="json", include={"components", "schema"})
        for record in records["components"].values():
            del record["distribution_version"]  # what shapes the model is the component's version
        self.identity = records

    def loss(self, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """The sampler's loss and its parts, each [B]."""
        return self._sampler.objective(self.model, batch, streams)

    def validation(self, batch: Structures, streams: Streams) -> dict[str, Tensor]:
        """The same without a graph."""
        with torch.no_grad():
            return self.loss(batch, streams)

    def export(self, path: Path, weights: Mapping[str, Tensor], training: Mapping[str, object]) -> None:
        """Write the model file."""
        document = Document.model_validate(self._document.model_dump() | {"training": dict(training)})
        write_checkpoint(path, Checkpoint(document, weights))
