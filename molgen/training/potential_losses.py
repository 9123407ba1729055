"""The loss of a potential, structure by structure, and the errors that people read."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from molgen.structures import Structures
from molgen.training.config import LossSection

__all__ = ["errors_of", "losses", "means_of", "measures", "wanted_labels"]

_PER_ATOM = ("forces", "charges")
_FINAL = 1000.0  # times the weight of energies, in the last part of a run


def wanted_labels(section: LossSection, provides: frozenset[str]) -> tuple[str, ...]:
    """The labels that have a weight and that the model provides."""
    names = ("energy", "forces", "stress", "dipole", "charges")
    return tuple(
        name for name in names if name in provides and any(_weight(section, name, final=f) for f in (False, True))
    )


def errors_of(name: str, found: Mapping[str, Tensor], structures: Structures) -> tuple[Tensor, Tensor] | None:
    """Errors of a label and which of them are known, or None where no structure has the label.

    Returns:
        [B, ...] or, of forces and charges, [N, ...] float64, zero where the label is missing; energies per atom. And
        [B] or [N] bool.
    """
    labels = structures.atom_labels if name in _PER_ATOM else structures.structure_labels
    if name not in labels or name not in found:
        return None
    label = labels[name].to(torch.float64)
    error = found[name].to(torch.float64) - label
    if name == "energy":
        error = error / structures.n_atoms
    known = torch.isfinite(label).reshape(len(label), -1).all(1)
    if name == "dipole":
        known = known & ~structures.pbc.any(1)  # of an endless crystal it is not defined
    if name == "stress":
        known = known & structures.pbc.all(1)  # without a volume it is not defined
    shape = (-1,) + (1,) * (error.ndim - 1)
    return torch.where(known.view(shape), error, 0.0), known


def losses(
    found: Mapping[str, Tensor], structures: Structures, section: LossSection, atoms: float, *, final: bool
) -> dict[str, Tensor]:
    """`loss` and its parts by label, each [B].

    The parts of forces and charges are sums over a structure's atoms by the mean number of atoms, so that the mean
    over structures weighs each atom alike. A label that a structure lacks adds nothing: one that few have weighs less.

    Args:
        found: what the potential returned.
        structures: with labels; NaN where one is missing.
        section: weights and kind.
        atoms: mean number of atoms of the training structures.
        final: whether the weights are those of the last part of the run.
    """
    parts: dict[str, Tensor] = {}
    loss = structures.positions.new_zeros(len(structures), dtype=torch.float64)
    for name in wanted_labels(section, frozenset(found)):
        errors = errors_of(name, found, structures)
        if errors is None:
            continue
        parts[name] = _by_structure(_penalty(errors[0], section), name, structures, atoms)
        loss = loss + _weight(section, name, final=final) * parts[name]
    return {"loss": loss, **parts}


def measures(found: Mapping[str, Tensor], structures: Structures) -> dict[str, Tensor]:
    """Sums of squared and absolute errors by label, and how many numbers they are of, each [B]; see `means_of`."""
    out: dict[str, Tensor] = {}
    for name in found:
        errors = errors_of(name, found, structures)
        if errors is None:
            continue
        flat = errors[0].reshape(len(errors[0]), -1)
        counts = errors[1].to(flat.dtype) * flat.shape[1]
        for kind, values in (("squares", flat.square().sum(1)), ("sizes", flat.abs().sum(1)), ("counts", counts)):
            out[f"{name}_{kind}"] = _summed(values, name, structures)
    return out


def means_of(sums: Mapping[str, float]) -> dict[str, float]:
    """Mean squared and absolute errors by label, of what `measures` summed; all else as it is."""
    out = {name: value for name, value in sums.items() if not name.endswith(("_squares", "_sizes", "_counts"))}
    for name, count in sums.items():
        label = name.removesuffix("_counts")
        if label != name:
            out[f"{label}_mse"] = sums[f"{label}_squares"] / count if count else math.nan
            out[f"{label}_mae"] = sums[f"{label}_sizes"] / count if count else math.nan
    return out


def _penalty(errors: Tensor, section: LossSection) -> Tensor:
    """[B] or [N] of errors [B, ...] or [N, ...]."""
    flat = errors.reshape(len(errors), -1)
    if section.kind == "mse":
        return flat.square().mean(1)
    if section.kind == "mae":  # of a vector its length, so that no axis is preferred
        return torch.sqrt(flat.square().mean(1) + 1e-24)
    return torch.nn.functional.huber_loss(
        flat, torch.zeros_like(flat), delta=section.huber_delta, reduction="none"
    ).mean(1)


def _by_structure(values: Tensor, name: str, structures: Structures, atoms: float) -> Tensor:
    return _summed(values, name, structures) / atoms if name in _PER_ATOM else values


def _summed(values: Tensor, name: str, structures: Structures) -> Tensor:
    """[B] of values [B], or of values of atoms [N]."""
    if name not in _PER_ATOM:
        return values
    return values.new_zeros(len(structures)).index_add(0, structures.batch, values)


def _weight(section: LossSection, name: str, *, final: bool) -> float:
    if name == "energy" and final:
        return _FINAL * section.energy if section.final_energy is None else section.final_energy
    return getattr(section, name)
