"""`evaluate`: a potential's errors on labelled data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from molgen.data.label_names import LABELS
from molgen.data.labelled import Labelled, read_labelled
from molgen.errors import ConfigError, InputError
from molgen.evaluation.errors import LabelErrors, errors_by_label, number
from molgen.evaluation.predictions import predict
from molgen.evaluation.table import errors_table
from molgen.models.committee import Committee
from molgen.models.potential import Potential
from molgen.simulation.serving import Given, dtype_named, serve
from molgen.structures import Structures

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A potential's errors on a data set; see :func:`evaluate`."""

    model: str
    source: str  # of the data
    tensors_sha256: tuple[str, ...]  # of the model's files
    device: str
    dtype: str  # of the weights
    seconds: float
    errors: tuple[LabelErrors, ...]
    energy_shift: float | None  # eV/atom, the mean error of energies per atom
    notes: tuple[str, ...]
    structures: Structures = field(repr=False)  # B, with labels, float64
    numbers: Tensor = field(repr=False)  # [B] of the structures in the data
    predictions: Mapping[str, Tensor] = field(repr=False)  # [B, ...] or [N, ...] float64 by label

    def __getitem__(self, name: str) -> LabelErrors:
        """The errors of energy_per_atom, energy, forces, forces_H, stress, dipole or charges."""
        for each in self.errors:
            if each.name == name:
                return each
        raise KeyError(name)

    def table(self) -> str:
        """Errors as people read them, in meV and the like, with their 95 % intervals."""
        return errors_table(self.errors)

    def to_json(self) -> dict[str, Any]:
        """All of it but structures and predictions, as plain data: eV, Å and e; None for what is not finite."""
        return {
            "model": self.model,
            "tensors_sha256": list(self.tensors_sha256),
            "data": self.source,
            "structures": len(self.structures),
            "atoms": len(self.structures.species),
            "device": self.device,
            "dtype": self.dtype,
            "seconds": round(self.seconds, 3),
            "energy_shift": number(self.energy_shift),
            "errors": {each.name: each.as_dict() for each in self.errors},
            "notes": list(self.notes),
        }


def evaluate(
    model: Given | Sequence[Given],
    data: Labelled | Structures | str | Path,
    *,
    keys: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    dtype: str | torch.dtype | None = None,
    batch_size: int = 64,
    max_edges: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """How far a potential's predictions are from the labels of data.

    Args:
        model: a registered name, the path of a model file, a potential, or several of these for their mean.
        data: a file of `molgen.data.labelled.read_labelled`, what it returned, or structures with labels.
        keys: label to key in the file, such as `{"energy": "REF_energy"}`.
        units: label to the unit that the file's numbers are in.
        device: "cpu", "cuda", …
        dtype: "float32" or "float64"; that which the model was trained in if left out. Geometry is float64 anyway.
        batch_size: structures in a batch, at most.
        max_edges: edges in a batch, at most; by default as the device can take.
        limit: take so many structures, drawn at random.
        seed: of the drawing.
        on_batch: told how many structures of how many are done.

    Returns:
        RMSE and MAE of energies per atom and in all, of the components of forces (by element too), stress and dipole,
        and of charges. Their 95 % intervals come from resampling structures.

    Raises:
        InputError: labels and model have nothing in common; or as `read_labelled`.
        StructureError: an element, a charge or a spin that the model doesn't know, atoms on top of each other; with the
            number of the structure.
        ConfigError, CheckpointError, PluginError: as `molgen.Calculator`.

    Example::

        errors = molgen.evaluate("organics", "held_out.extxyz")
        print(errors.table())
        errors["forces"].rmse.value  # eV/Å
    """
    started = time.perf_counter()
    served = serve(model, device, dtype_named(dtype))
    module = served.module
    structures, source, notes = _read(data, keys, units)
    numbers = torch.arange(len(structures))
    if limit is not None:
        if limit < 1:
            raise ConfigError(f"the limit is {limit} structures", expected="at least 1")
        drawn = torch.randperm(len(structures), generator=torch.Generator().manual_seed(seed))[:limit]
        numbers = drawn.sort().values
    held = [label for label in LABELS if label in structures.atom_labels or label in structures.structure_labels]
    labels = _compared(module, held, source)
    module.check(structures.to(module.device))  # before the limit is drawn, so that numbers are those of the data
    structures = structures.select(numbers)
    total = len(structures)
    predictions = predict(
        module,
        structures,
        labels,
        numbers=numbers.tolist(),
        batch_size=batch_size,
        max_edges=max_edges,
        on_batch=None if on_batch is None else lambda done: on_batch(done, total),
    )
    found = tuple(errors_by_label(structures, predictions, numbers))
    if not found:
        raise InputError("none of the structures has a label", where=source)
    without = [label for label in held if label not in labels]
    if without:
        notes = [*notes, f"not given by the model: {', '.join(without)}"]
    return Evaluation(
        model=_name(served.name),
        source=source,
        tensors_sha256=tuple(served.tensors_sha256),
        device=module.device.type,
        dtype=str(module.dtype).removeprefix("torch."),
        seconds=time.perf_counter() - started,
        errors=found,
        energy_shift=_shift(structures, predictions),
        notes=tuple(notes),
        structures=structures,
        numbers=numbers,
        predictions=predictions,
    )


def _read(
    data: Labelled | Structures | str | Path, keys: Mapping[str, str] | None, units: Mapping[str, str] | None
) -> tuple[Structures, str, list[str]]:
    if isinstance(data, Structures):
        return data.to("cpu").to(torch.float64), "structures", []
    labelled = data if isinstance(data, Labelled) else read_labelled(data, keys=keys, units=units)
    return labelled.structures.to(torch.float64), str(labelled.path), labelled.describe()


def _compared(module: Potential | Committee, held: list[str], source: str) -> list[str]:
    labels = [label for label in held if label in module.provides]
    if not labels:
        raise InputError(
            f"there is nothing to compare: it has {', '.join(held) or 'no labels'}",
            where=source,
            expected=f"some of what the model gives: {', '.join(name for name in LABELS if name in module.provides)}",
            remedy="name the keys of the labels (--key energy=REF_energy), or choose other data",
        )
    return labels


def _shift(structures: Structures, predictions: Mapping[str, Tensor]) -> float | None:
    if "energy" not in predictions or "energy" not in structures.structure_labels:
        return None
    errors = (predictions["energy"] - structures.structure_labels["energy"]) / structures.n_atoms
    known = errors[torch.isfinite(errors)]
    return float(known.mean()) if len(known) else None


def _name(name: str | list[str] | None) -> str:
    if name is None:
        return "potential in memory"
    return name if isinstance(name, str) else ", ".join(name)
