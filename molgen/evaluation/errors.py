"""Errors of one label over a data set: RMSE and MAE with their intervals, and where the largest error is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from molgen.data.label_names import ATOM_LABELS, LABELS
from molgen.elements import SYMBOLS
from molgen.evaluation.bootstrap import intervals
from molgen.structures import Structures

__all__ = ["LabelErrors", "Measured", "errors_by_label", "number"]


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval."""

    value: float
    low: float | None  # None of a single structure
    high: float | None
    n: int  # numbers that it is a mean over

    def as_dict(self) -> dict[str, float | int | None]:
        """Plain data for JSON."""
        return {"value": number(self.value), "low": number(self.low), "high": number(self.high), "n": self.n}


@dataclass(frozen=True)
class LabelErrors:
    """Errors of a label, all components together."""

    name: str  # energy_per_atom, energy, forces, forces_H, stress, …
    title: str
    unit: str
    rmse: Measured
    mae: Measured
    structures: int  # that have the label
    largest: float  # absolute error of a component
    structure: int  # that has the largest
    atom: int | None = None  # likewise, counted in its structure

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "unit": self.unit,
            "rmse": self.rmse.as_dict(),
            "mae": self.mae.as_dict(),
            "structures": self.structures,
            "largest": {"value": number(self.largest), "structure": self.structure, "atom": self.atom},
        }


def number(value: float | None) -> float | None:
    """A number as JSON has it, which knows neither infinity nor NaN: None for these.

    >>> number(1.5), number(float("inf"))
    (1.5, None)
    """
    return value if value is not None and math.isfinite(value) else None


_UNITS = {"forces": "eV/Å", "stress": "eV/Å³", "dipole": "e·Å", "charges": "e"}


def errors_by_label(structures: Structures, predictions: Mapping[str, Tensor], numbers: Tensor) -> list[LabelErrors]:
    """The errors of every label that is predicted and that some structure has.

    Args:
        structures: B structures with labels, NaN where one is missing.
        predictions: by label, [B, ...] or [N, ...], NaN where there is none.
        numbers: [B] what the structures are called.
    """
    found: list[LabelErrors] = []
    for label in LABELS:
        labels = structures.atom_labels if label in ATOM_LABELS else structures.structure_labels
        if label not in labels or label not in predictions:
            continue
        wanted = labels[label].to(torch.float64)
        errors = predictions[label] - wanted
        known = torch.isfinite(errors).reshape(len(errors), -1).all(1)
        if not known.any():
            continue
        rows = known.nonzero()[:, 0]
        found += _of_energy(errors, rows, structures) if label == "energy" else _of(label, errors, rows, structures)
    return [replace(each, structure=int(numbers[each.structure])) for each in found]


def _of_energy(errors: Tensor, rows: Tensor, structures: Structures) -> Iterator[LabelErrors]:
    per_atom = (errors / structures.n_atoms)[rows]
    yield _summary("energy_per_atom", "energy per atom", "eV/atom", per_atom, rows)
    if len(rows) > 1:
        # another level of theory, or other isolated atoms, shift all energies alike
        shifted = per_atom - per_atom.mean()
        yield _summary("energy_per_atom_shifted", "energy per atom, mean error removed", "eV/atom", shifted, rows)
    yield _summary("energy", "energy", "eV", errors[rows], rows)


def _of(label: str, errors: Tensor, rows: Tensor, structures: Structures) -> Iterator[LabelErrors]:
    unit = _UNITS[label]
    if label not in ATOM_LABELS:
        yield _summary(label, label, unit, errors[rows], rows)
        return
    yield _summary(label, label, unit, errors[rows], structures.batch[rows], rows, structures)
    if label == "forces":
        species = structures.species[rows]
        for number in torch.unique(species).tolist():
            own = rows[species == number]
            symbol = SYMBOLS[number]
            name, title = f"forces_{symbol}", f"forces on {symbol}"
            yield _summary(name, title, unit, errors[own], structures.batch[own], own, structures)


def _summary(
    name: str,
    title: str,
    unit: str,
    errors: Tensor,
    owners: Tensor,
    atoms: Tensor | None = None,
    structures: Structures | None = None,
) -> LabelErrors:
    """Of errors [M, ...] that belong to structures [M] and, where they are of atoms, to atoms [M]."""
    flat = errors.reshape(len(errors), -1).abs().numpy()  # [M, components]
    _, owner = np.unique(owners.numpy(), return_inverse=True)
    counts = np.bincount(owner) * float(flat.shape[1])
    # the square of an absurd label may be infinite, and so are its errors then
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.column_stack([np.bincount(owner, values.sum(1)) for values in (np.square(flat), flat)])
        squared, absolute = sums.sum(0) / counts.sum()
        ends = intervals(sums, counts)
    low, high = (None, None) if ends is None else ends

    def measured(value: float, column: int) -> Measured:
        root = np.sqrt if column == 0 else float
        if low is None or high is None:
            return Measured(float(root(value)), None, None, flat.size)
        return Measured(float(root(value)), float(root(low[column])), float(root(high[column])), flat.size)

    worst = int(flat.max(1).argmax())
    structure, atom = int(owners[worst]), None
    if atoms is not None and structures is not None:
        atom = int(atoms[worst] - structures.offsets[structure])
    return LabelErrors(
        name, title, unit, measured(squared, 0), measured(absolute, 1), len(counts), float(flat.max()), structure, atom
    )
