"""A run that starts from a trained potential: its weights, its elements, and what of it stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from molgen.elements import SYMBOLS
from molgen.errors import ConfigError, nearest
from molgen.models.document import ComponentRecord, Document, PotentialRecord
from molgen.models.loading import LoadedPotential, load_potential
from molgen.models.potential import Potential
from molgen.models.potential_assembly import HEAD_ROLE
from molgen.training.config import FineTuningSection
from molgen.training.objective import Dataset

__all__ = ["Start", "freeze"]

_MOST = 2000  # structures that the shifts of energies are fitted to
_CHUNK = 32


@dataclass(frozen=True, eq=False)
class Start:
    """The model that a run starts from."""

    loaded: LoadedPotential

    @classmethod
    def of(cls, section: FineTuningSection) -> Start:
        """The model of a config. Errors are those of `load_potential`."""
        return cls(load_potential(section.model))

    @property
    def document(self) -> Document:
        """Of the model."""
        return self.loaded.document

    @property
    def encoder(self) -> ComponentRecord:
        """The encoder with its options."""
        return self.document.components["encoder"]

    @property
    def heads(self) -> list[ComponentRecord]:
        """The heads with their options."""
        return [record for role, record in self.document.components.items() if role.startswith(HEAD_ROLE)]

    @property
    def potential(self) -> PotentialRecord:
        """Its elements, conditions and repulsion."""
        assert self.document.potential is not None  # the document's own check
        return self.document.potential

    def told(self, section: FineTuningSection) -> dict[str, Any]:
        """What the new model's file says of it: its name, not its place on this machine, and what it had seen."""
        seen = {key: self.document.training.get(key) for key in ("samples", "hours", "started_from")}
        own = {"model": self.document.name, "tensors_sha256": self.document.tensors_sha256}
        return {
            **section.model_dump(mode="json"),
            **own,
            **{k: value for k, value in seen.items() if value is not None},
        }

    def record(
        self, dataset: Dataset, train: Tensor, isolated: Mapping[str, float], *, repulsion: bool | None = None
    ) -> PotentialRecord:
        """The model's elements, their shifts moved by what the new data's energies have more than the model says.

        Raises:
            ConfigError: an element that the model doesn't know, isolated energies of some of the data's elements only,
                repulsion where it has none, or the reverse.
        """
        old = self.potential
        if repulsion not in (None, old.repulsion):
            raise ConfigError(
                f"the model was trained with repulsion {str(old.repulsion).lower()}",
                where="repulsion",
                remedy="leave it out, or train a model from the beginning",
            )
        unknown = [SYMBOLS[number] for number in dataset.elements if SYMBOLS[number] not in old.elements]
        if unknown:
            raise ConfigError(
                f"the model doesn't know {', '.join(unknown)}",
                where="start_from.model",
                expected=f"data of {', '.join(old.elements)}",
                remedy="train a model from the beginning, or leave these structures out",
            )
        used = [SYMBOLS[number] for number in dataset.elements]
        missing = [symbol for symbol in used if symbol not in isolated]
        if isolated and missing:
            raise ConfigError(
                f"there is no isolated energy of {', '.join(missing)}",
                where="data.isolated_energies",
                expected=f"energies in eV of {', '.join(used)}, or of none, which keeps the model's",
            )
        moved = self._excess(dataset, train[:_MOST], list(old.elements), list(self.loaded.module.elements))
        elements = {}
        for symbol, element in old.elements.items():
            energy = isolated.get(symbol, element.isolated_energy)
            shift = element.shift + moved[symbol] + element.isolated_energy - energy
            elements[symbol] = element.model_copy(update={"isolated_energy": energy, "shift": shift})
        # elements that the data lack keep what they had
        source = "given" if old.elements.keys() <= isolated.keys() else old.isolated_source
        return old.model_copy(update={"elements": elements, "isolated_source": source})

    def load_into(self, module: Potential, note: Callable[[str], None]) -> None:
        """Put the model's weights in place of a new one's, where names and shapes are the same."""
        given, wanted = self.loaded.module.state_dict(), module.state_dict()
        fitting = {name: value for name, value in given.items() if name in wanted and value.shape == wanted[name].shape}
        module.load_state_dict({**wanted, **fitting})
        fresh = sorted({".".join(name.split(".")[:2]) for name in wanted.keys() - fitting.keys()})
        told = f"; new: {', '.join(fresh)}" if fresh else ""
        note(f"starting from {self.loaded.path}: {len(fitting)} of {len(wanted)} tensors{told}")

    def _excess(self, dataset: Dataset, numbers: Tensor, symbols: list[str], elements: list[int]) -> dict[str, float]:
        """eV per atom by element that labels have beyond the model's energies; of the smallest norm."""
        order = sorted(range(len(symbols)), key=lambda place: SYMBOLS.index(symbols[place]))
        ordered = [symbols[place] for place in order]
        model, rows, values = self.loaded.module, [], []
        for chosen in numbers.split(_CHUNK):
            structures = dataset.structures(chosen)
            if "energy" not in structures.structure_labels:
                break
            found = model(structures, forces=False)["energy"]
            excess = structures.structure_labels["energy"].to(torch.float64) - found
            place = torch.searchsorted(torch.tensor(elements), structures.species)
            cells = structures.batch * len(elements) + place
            counts = torch.bincount(cells, minlength=len(structures) * len(elements)).view(-1, len(elements))
            known = torch.isfinite(excess)
            rows.append(counts[known].numpy())
            values.append(excess[known].numpy())
        if not values or not sum(len(value) for value in values):
            return dict.fromkeys(symbols, 0.0)
        fitted = np.linalg.lstsq(np.concatenate(rows).astype(float), np.concatenate(values), rcond=None)[0]
        return dict(zip(ordered, fitted.tolist(), strict=True))


def freeze(module: nn.Module, prefixes: Sequence[str]) -> int:
    """Keep parameters as they are whose names begin with one of some prefixes; returns how many.

    Raises:
        ConfigError: a prefix of no parameter, or nothing left to train.
    """
    names = [name for name, _ in module.named_parameters()]
    frozen = 0
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            begins = sorted({".".join(name.split(".")[:depth]) for name in names for depth in (1, 2, 3)})
            raise ConfigError(
                f"no parameter begins with {prefix!r}",
                where="start_from.frozen",
                remedy=nearest(prefix, begins) or f"choose of {', '.join(begins[:20])}",
            )
    for name, parameter in module.named_parameters():
        if name.startswith(tuple(prefixes)) and prefixes:
            parameter.requires_grad_(False)
            frozen += parameter.numel()
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ConfigError("all parameters are frozen, so there is nothing to train", where="start_from.frozen")
    return frozen
