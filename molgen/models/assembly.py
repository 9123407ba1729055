"""Components put together into a model that can be trained, and a checkpoint brought back to life."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from molgen.errors import BrokenPluginError, ConfigError
from molgen.host.registry import Registry
from molgen.interfaces import Encoder, EncoderBuilder, Process, Sampler, Schema
from molgen.models.choice import Choice, Named, choose
from molgen.models.denoiser import Denoiser
from molgen.models.document import ComponentRecord, Document, Statistics, library_versions

__all__ = ["Assembled", "EncoderChoice", "assemble_generator", "check_generator", "encoder_builder"]

# what a config is tried with before its data are known
_TRIAL_SCHEMA = Schema(elements=(1, 6, 7, 8), size_counts={9: 1})
_TRIAL_STATISTICS = {"sigma_data": 1.0, "average_neighbors": 8.0}


@dataclass(frozen=True, eq=False)
class Assembled:
    """A generator that is ready to be trained: the sampler has its objective, the module its weights."""

    sampler: Sampler
    module: nn.Module
    components: dict[str, ComponentRecord]  # by role, for the document

    @property
    def process(self) -> Process:
        """What function the module learns."""
        return self.module.process  # type: ignore[return-value]

    def document(self, name: str, schema: Schema, statistics: Mapping[str, float], **further: Any) -> Document:
        """The document of this model; `further` are other fields of `Document`: seed, training, …"""
        return Document(
            name=name,
            task="generator",
            components=self.components,
            schema=schema.as_dict(),
            process=self.process.as_dict(),
            statistics=Statistics(**statistics),
            library_versions=library_versions(),
            **further,
        )


class EncoderChoice:
    """An `EncoderBuilder` that remembers what it built, so that its place in the model can be found."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.built: list[Encoder] = []

    def __call__(self, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> Encoder:
        """As `EncoderBuilder`."""
        encoder = self.choice.build(inputs=inputs, edge_inputs=edge_inputs, average_neighbors=average_neighbors)
        self.built.append(encoder)
        return encoder

    def prefix_in(self, module: nn.Module) -> str | None:
        """What the names of the encoder's tensors begin with in a model, or None where it isn't there."""
        for name, child in module.named_modules():
            if any(child is encoder for encoder in self.built):
                return f"{name}." if name else ""
        return None


def encoder_builder(ref: Named | str, source: Registry | None = None) -> EncoderBuilder:
    """Builds the encoder that a config names, once the task knows how many scalars it feeds.

    Args:
        ref: an id, or anything with `use` and `config`.
        source: where it is looked up; the registry of this process if left out.

    Raises:
        PluginError: it is unknown, ambiguous or broken.
        ConfigError: options that it doesn't take.

    >>> build = encoder_builder("egnn")
    >>> build(inputs=4, average_neighbors=8.0).irreps_out
    128x0e+1x1o
    """
    return EncoderChoice(choose("encoder", ref, source=source))


def assemble_generator(
    encoder: Named | str,
    sampler: Named | str,
    schema: Schema,
    statistics: Mapping[str, float],
    *,
    source: Registry | None = None,
) -> Assembled:
    """A generator with fresh weights, drawn from torch's global generator as every module's are.

    Args:
        encoder: an id, or anything with `use` and `config`.
        sampler: likewise.
        schema: what the molecules are made of.
        statistics: measured of the training data: `sigma_data` Å, `average_neighbors`.
        source: where components are looked up; the registry of this process if left out.

    Raises:
        PluginError: a component is unknown, ambiguous or broken.
        ConfigError: options that a component doesn't take, or components that don't fit each other; with the key.
    """
    builder = EncoderChoice(choose("encoder", encoder, source=source))
    choice = choose("sampler", sampler, source=source)
    made: Sampler = choice.build()
    module = made.build_model(builder, schema, statistics)
    if module is None:
        module = Denoiser(builder, schema, made.process(statistics), statistics["average_neighbors"])
    prefix = builder.prefix_in(module)
    if prefix is None or not isinstance(getattr(module, "process", None), Process):
        raise BrokenPluginError(
            "its model holds no encoder or no process",
            where=f"sampler {choice.resolved.id}",
            expected="the encoder as a submodule, and a Process as `process`",
            remedy=f"update {choice.resolved.distribution}",
        )
    assembled = Assembled(made, module, {"encoder": builder.choice.record(prefix), "sampler": choice.record()})
    reason = made.accepts(assembled.process)
    if reason is not None:
        raise ConfigError(f"the sampler can't invert what it trains: {reason}", where="sampler.config")
    return assembled


def check_generator(encoder: Named | str, sampler: Named | str, *, source: Registry | None = None) -> None:
    """Refuse what can't fit, as soon as the config is read: a trial assembly, whose weights are thrown away.

    Raises:
        PluginError, ConfigError: as `assemble_generator`.
    """
    with torch.random.fork_rng(devices=[]):
        assemble_generator(encoder, sampler, _TRIAL_SCHEMA, _TRIAL_STATISTICS, source=source)
