"""The task of generators: a sampler's objective on an encoder, measured statistics, and the model file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.interfaces import Process, Sampler
from molgen.models.checkpoint import Checkpoint, write_checkpoint
from molgen.models.choice import choose
from molgen.models.document import Document, Statistics, library_versions
from molgen.random import Streams
from molgen.structures import Structures
from molgen.training.config import TrainingConfig
from molgen.training.objective import Dataset
from molgen.training.statistics import measure_schema, measure_statistics

__all__ = ["GeneratorObjective", "GeneratorTask"]


class GeneratorTask:
    """The encoder and the sampler of a config.

    Raises:
        ConfigError: there is no sampler, or one that can't be built of its options.
    """

    def __init__(self, config: TrainingConfig) -> None:
        if config.sampler is None:
            raise ConfigError("a generator needs a sampler", where="sampler")
        self._config = config
        self._encoder, self._choice = choose("encoder", config.encoder), choose("sampler", config.sampler)
        self._sampler: Sampler = self._choice.build()

    def objective(self, dataset: Dataset, train: Tensor) -> GeneratorObjective:
        """The objective on a data set; elements, sizes and statistics are measured of it."""
        schema = measure_schema(dataset, train)
        statistics = measure_statistics(dataset, train)
        model = self._sampler.build_model(self._encoder.build, schema, statistics)
        # whatever its sampler, a generator tells what function it has learned
        process: Process = model.process  # type: ignore[assignment]
        document = Document(
            name=self._config.name,
            task="generator",
            components={"encoder": self._encoder.record("encoder."), "sampler": self._choice.record()},
            schema=schema.as_dict(),
            process=process.as_dict(),
            statistics=Statistics(**statistics),
            data_fingerprint=dataset.fingerprint,
            seed=self._config.training.seed,
            library_versions=library_versions(),
        )
        return GeneratorObjective(self._sampler, model, document)


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
        self.identity = document.model_dump(mode="json", include={"components", "schema", "statistics"})

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
