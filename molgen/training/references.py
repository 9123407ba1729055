"""What a potential adds to its network, measured of the training data: isolated atoms, shifts and scales."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from molgen.elements import SYMBOLS
from molgen.errors import ConfigError, FittedEnergiesWarning
from molgen.models.document import ElementRecord
from molgen.training.objective import Dataset

__all__ = ["measure_elements"]

_CHUNK = 4096  # structures held in memory at a time
_LEAST_SCALE = 1e-3  # eV, where all forces are zero


def measure_elements(
    dataset: Dataset, train: Tensor, isolated: Mapping[str, float], *, wants_energies: bool = True
) -> tuple[dict[str, ElementRecord], str]:
    """The record of each element of a data set, and whether its isolated energies were given, fitted, or are unknown.

    The shift of an element is the mean energy of its atoms beyond the isolated one, by least squares over the training
    structures; its scale is the root mean square of a component of the forces on its atoms. Without isolated energies
    their place is taken by the fit, with a warning: dissociation has no meaning then.

    Args:
        dataset: all structures.
        train: [n] int64, those to measure.
        isolated: eV by symbol, for all elements or for none.
        wants_energies: whether the model gives energies, so that it matters.

    Raises:
        ConfigError: isolated energies of some elements only.
    """
    numbers = list(dataset.elements)
    symbols = [SYMBOLS[number] for number in numbers]
    missing = [symbol for symbol in symbols if symbol not in isolated]
    if isolated and missing:
        raise ConfigError(
            f"there is no isolated energy of {', '.join(missing)}",
            where="data.isolated_energies",
            expected=f"energies in eV of {', '.join(symbols)}, or of none",
        )
    counts, energies, squares, atoms = _sums(dataset, train, numbers)
    known = np.array([isolated[symbol] for symbol in symbols]) if isolated else np.zeros(len(numbers))
    fitted, rank = np.zeros(len(numbers)), len(numbers)
    if len(energies):
        fitted, _, rank, _ = np.linalg.lstsq(counts, energies - counts @ known, rcond=None)
    if not isolated and wants_energies:
        warnings.warn(
            _told(symbols, fitted, unique=rank == len(numbers), any_energy=len(energies) > 0),
            FittedEnergiesWarning,
            stacklevel=2,
        )
    scales = np.sqrt(squares / np.maximum(3 * atoms, 1))
    scales = np.where(scales > _LEAST_SCALE, scales, 1.0)
    records = {
        symbol: ElementRecord(
            isolated_energy=float(known[place] if isolated else fitted[place]),
            shift=float(fitted[place]) if isolated else 0.0,
            scale=float(scales[place]),
        )
        for place, symbol in enumerate(symbols)
    }
    return records, "given" if isolated else "fitted" if len(energies) else "unknown"


def _told(symbols: list[str], fitted: np.ndarray, *, unique: bool, any_energy: bool) -> str:
    remedy = "give data.isolated_energies of the same method"
    if not any_energy:
        return f"the data have no energies, so those of the model are counted from an arbitrary zero; {remedy}"
    values = ", ".join(f"{symbol} {value:.4f} eV" for symbol, value in zip(symbols, fitted, strict=True))
    many = "" if unique else " (one of many fits, as the compositions are too alike)"
    return (
        f"no energies of isolated atoms are given, so they are fitted to the data: {values}{many}; energies of "
        f"dissociation have no meaning; {remedy}"
    )


def _sums(dataset: Dataset, train: Tensor, numbers: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Compositions [n, V] and energies [n] of structures with an energy, Σ|F|² [V] and atoms with forces [V]."""
    columns = torch.full((max(numbers) + 1,), -1)
    columns[numbers] = torch.arange(len(numbers))
    compositions, energies = [], []
    squares, atoms = torch.zeros(2, len(numbers), dtype=torch.float64)
    for chosen in train.split(_CHUNK):
        structures = dataset.structures(chosen)
        place = columns[structures.species]
        if "energy" in structures.structure_labels:
            energy = structures.structure_labels["energy"].to(torch.float64)
            cells = structures.batch * len(numbers) + place
            composition = torch.bincount(cells, minlength=len(structures) * len(numbers)).view(-1, len(numbers))
            has = torch.isfinite(energy)
            energies.append(energy[has].numpy())
            compositions.append(composition[has].numpy())
        if "forces" in structures.atom_labels:
            forces = structures.atom_labels["forces"].to(torch.float64)
            has = torch.isfinite(forces).all(1)
            squares.index_add_(0, place[has], forces[has].square().sum(1))
            atoms.index_add_(0, place[has], torch.ones(int(has.sum()), dtype=torch.float64))
    joined = np.concatenate(compositions).astype(np.float64) if compositions else np.zeros((0, len(numbers)))
    return joined, np.concatenate(energies) if energies else np.zeros(0), squares.numpy(), atoms.numpy()
