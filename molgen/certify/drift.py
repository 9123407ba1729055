"""The drift of the total energy at constant energy: its slope, and how well the run tells it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from molgen.certify.measurement import FAILS, Measurement
from molgen.certify.verlet import Run, thermal_velocities, verlet
from molgen.models.potential import Potential
from molgen.structures import Structures

__all__ = ["LIMITS", "QUICK_LIMIT", "TEMPERATURE", "TIMESTEP", "Slope", "energy_drift", "slope_of"]

TEMPERATURE: Final = 300.0  # K
TIMESTEP: Final = 0.5  # fs
LIMITS: Final = {torch.float64: 0.01, torch.float32: 0.1}  # meV/atom/ps

QUICK_LIMIT: Final = 1.0  # meV/atom/ps, of either; a picosecond resolves no finer

# a run of energies is cut into so many blocks; the largest error counts, since averages of short blocks are correlated
_BLOCKS: Final = (5, 10, 20)
_SETTLING = 6  # the first sixth of a run is left out: energy spreads from the minimum over all motions
_HOT = 3.0  # times the temperature: a structure that heats itself up has left its minimum
_FEWEST_STEPS = 240  # before a time limit ends a run; blocks of ten then
_UNIT = "meV/atom/ps"


@dataclass(frozen=True)
class Slope:
    """A least-squares slope and its standard error."""

    value: float
    error: float


def energy_drift(
    model: Potential,
    structures: Structures,
    *,
    picoseconds: float,
    limit: float,
    seed: int,
    seconds: float | None = None,
) -> Measurement:
    """The slope of the total energy of structures that are at a minimum, at 300 K and 0.5 fs.

    Velocities are drawn for 600 K: half of their energy goes into the bonds. The value is the slope of that structure
    for which |slope| + 2 standard errors is largest. Verlet's own error of second order in the step is taken off the
    energy: it swings with the motion and has no slope in the long run, so the slope is the same, and better resolved.
    The slope of the plain total energy stands beside it.

    Args:
        model: in the dtype that is to be measured.
        structures: relaxed.
        picoseconds: length of the run, after a fifth of it in which the energy spreads over all motions.
        limit: meV/atom/ps.
        seed: of the velocities.
        seconds: after which the run ends early, as the certificate then tells by its length.
    """
    structures = structures.to(model.device)
    velocities = thermal_velocities(structures, 2 * TEMPERATURE, seed)
    ends = None if seconds is None else time.monotonic() + seconds
    run = verlet(
        model,
        structures,
        velocities,
        steps=round(picoseconds * 1e3 / TIMESTEP * _SETTLING / (_SETTLING - 1)),
        timestep=TIMESTEP,
        on_step=lambda step: ends is None or step < _FEWEST_STEPS or time.monotonic() < ends,
    )
    if run.stopped is not None or len(run.total) < _FEWEST_STEPS // 2:
        reason = run.stopped or f"it ended after {run.picoseconds:.3g} ps"
        return Measurement(None, _UNIT, limit, FAILS, None, reason)
    run = run.after(len(run.total) // _SETTLING)
    rows = _rows(run, structures.formulas())
    worst = max(rows, key=lambda row: abs(row["slope"]) + 2 * row["standard_error"])
    hottest = max(rows, key=lambda row: row["temperature"])
    details = {
        "picoseconds": run.picoseconds,
        "timestep": TIMESTEP,
        "temperature": float(run.temperature.mean()),
        "by_structure": rows,
    }
    judged = Measurement.judged(worst["slope"], _UNIT, limit, uncertainty=worst["standard_error"], **details)
    if hottest["temperature"] <= _HOT * TEMPERATURE:
        return judged
    reason = (
        f"{hottest['formula']} heated itself up to {hottest['temperature']:.0f} K: it left its minimum for a hole of "
        "the model, or is no molecule that the model was made for"
    )
    return replace(judged, verdict=FAILS, reason=reason)


def _rows(run: Run, formulas: Sequence[str]) -> list[dict[str, Any]]:
    """What a certificate tells of each structure."""
    slopes, plain = _slopes(run, run.conserved), _slopes(run, run.total)
    spread = run.kinetic.std(0)
    return [
        {
            "formula": formula,
            "slope": slopes[k].value,
            "standard_error": slopes[k].error,
            "slope_of_total_energy": plain[k].value,
            "standard_error_of_total_energy": plain[k].error,
            "temperature": float(run.temperature[k]),
            # the change over the run, by the standard deviation of the kinetic energy
            "relative": slopes[k].value * 1e-3 * run.picoseconds * int(run.n_atoms[k]) / max(float(spread[k]), 1e-12),
        }
        for k, formula in enumerate(formulas)
    ]


def slope_of(times: np.ndarray, values: np.ndarray) -> Slope:
    """The slope of values [T] over times [T], with its standard error from the scatter of block averages.

    >>> slope_of(np.arange(100.0), 2.0 * np.arange(100.0)).value
    2.0
    """
    found = [_of_blocks(times, values, blocks) for blocks in _BLOCKS]
    return Slope(found[-1].value, max(each.error for each in found))


def _of_blocks(times: np.ndarray, values: np.ndarray, blocks: int) -> Slope:
    t = np.array([block.mean() for block in np.array_split(times, blocks)])
    y = np.array([block.mean() for block in np.array_split(values, blocks)])
    t, y = t - t.mean(), y - y.mean()
    slope = float((t * y).sum() / np.square(t).sum())
    scatter = float(np.square(y - slope * t).sum()) / (blocks - 2)
    return Slope(slope, float(np.sqrt(scatter / np.square(t).sum())))


def _slopes(run: Run, energies: Tensor) -> list[Slope]:
    """meV/atom/ps of each structure, of energies [T, B] in eV."""
    times = np.arange(len(energies)) * run.timestep * 1e-3
    per_atom = (1e3 * energies / run.n_atoms).numpy()
    return [slope_of(times, per_atom[:, k]) for k in range(per_atom.shape[1])]
