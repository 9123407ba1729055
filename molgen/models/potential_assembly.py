"""An encoder and heads put together into a potential with fresh weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from molgen.errors import BrokenPluginError, ConfigError
from molgen.host.registry import Registry
from molgen.models.assembly import EncoderChoice
from molgen.models.choice import Choice, Named, choose
from molgen.models.document import (
    ComponentRecord,
    Document,
    ElementRecord,
    PotentialRecord,
    Statistics,
    library_versions,
)
from molgen.models.potential import Potential

__all__ = ["HEAD_ROLE", "AssembledPotential", "assemble_potential", "check_potential"]

HEAD_ROLE = "heads."  # what the roles of heads begin with in a document

_TRIAL_ELEMENTS = {"H": ElementRecord(isolated_energy=0.0), "C": ElementRecord(isolated_energy=0.0)}
UNITS = {"length": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å³", "dipole": "e·Å", "charge": "e"}


@dataclass(frozen=True, eq=False)
class AssembledPotential:
    """A potential that is ready to be trained."""

    module: Potential
    components: dict[str, ComponentRecord]  # by role, for the document
    average_neighbors: float

    def document(self, name: str, **further: Any) -> Document:
        """The document of this model; `further` are other fields of `Document`: seed, training, …"""
        return Document(
            name=name,
            task="potential",
            components=self.components,
            potential=self.module.record.model_copy(update={"conservative": self.module.conservative}),
            statistics=Statistics(average_neighbors=self.average_neighbors),
            units=UNITS,
            library_versions=library_versions(),
            **further,
        )


def assemble_potential(
    encoder: Named | str,
    heads: Sequence[Named | str],
    record: PotentialRecord,
    average_neighbors: float,
    *,
    source: Registry | None = None,
) -> AssembledPotential:
    """A potential with fresh weights, drawn from torch's global generator as every module's are.

    Args:
        encoder: an id, or anything with `use` and `config`.
        heads: likewise, at least one.
        record: elements, conditions, repulsion, where forces come from.
        average_neighbors: edges per atom in the training data.
        source: where components are looked up; the registry of this process if left out.

    Raises:
        PluginError: a component is unknown, ambiguous or broken.
        ConfigError: options that a component doesn't take, or components that don't fit each other; with the key.
    """
    builder = EncoderChoice(choose("encoder", encoder, source=source))
    choices: dict[str, Choice] = {}
    for number, head in enumerate(heads):
        choice = choose("head", head, where=f"heads.{number}", source=source)
        name = choice.resolved.component.name
        if name in choices:
            raise ConfigError(f"the head {name} is named twice", where=f"heads.{number}", remedy="name it once")
        choices[name] = choice
    _refuse_unfit(builder.choice, choices, record)
    module = Potential(
        builder, {name: partial(_head, choice) for name, choice in choices.items()}, record, average_neighbors
    )
    components = {"encoder": builder.choice.record("encoder.")}
    for name, choice in choices.items():
        components[f"{HEAD_ROLE}{name}"] = choice.record(f"heads.{name}.")
    return AssembledPotential(module, components, average_neighbors)


def check_potential(
    encoder: Named | str,
    heads: Sequence[Named | str],
    *,
    forces_from: str | None = None,
    source: Registry | None = None,
) -> AssembledPotential:
    """Refuse what can't fit, as soon as the config is read; returns the trial, whose weights are to be thrown away.

    Raises:
        PluginError, ConfigError: as `assemble_potential`.
    """
    record = PotentialRecord(elements=_TRIAL_ELEMENTS, forces_from=forces_from)
    with torch.random.fork_rng(devices=[]):
        return assemble_potential(encoder, heads, record, 8.0, source=source)


def _head(choice: Choice, **arguments: Any) -> Any:
    head = choice.build(**arguments)
    provided = getattr(head, "provides", None)
    if not isinstance(provided, frozenset):
        raise BrokenPluginError(
            "it doesn't say what it provides",
            where=f"head {choice.resolved.id}",
            expected="`provides`, a frozenset of names",
            remedy=f"update {choice.resolved.distribution}",
        )
    return head


def _refuse_unfit(encoder: Choice, heads: dict[str, Choice], record: PotentialRecord) -> None:
    """Refuse forces as derivatives of an encoder that can't be derived."""
    if "." in "".join(heads):
        raise ConfigError("the name of a head has a dot, which names of tensors can't have", where="heads")
    derived = "energy" in heads and record.forces_from in (None, "energy")
    if derived and not encoder.resolved.component.capabilities.double_backward:
        raise ConfigError(
            f"{encoder.resolved.id} can't be derived twice, as training on forces needs",
            where="encoder.use",
            remedy="choose another encoder, or the head direct-forces alone",
        )
