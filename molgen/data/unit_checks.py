"""Whether the numbers of a data set fit the units that they are taken to be in.

Two checks, both of what a wrong unit changes by a large and known factor. Energies against forces and stresses: between
frames of the same atoms that lie close together, E₂ − E₁ ≈ −½ (F₁ + F₂)·Δr + ½ (V₁σ₁ + V₂σ₂):ε, exact for a quadratic
surface. Energies alone: those of codes that treat all electrons are within a percent of the sum of the free atoms'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from molgen.data.label_units import UNITS_OF, factor
from molgen.data.work import Fit, fitted_work
from molgen.structures import Structures

__all__ = ["Taken", "suspicions"]

# a fitted factor whose whole interval is outside 1 / _WRONG … _WRONG can't be 1
_WRONG = 1.7
_NEAR = 0.25  # relative distance from a known factor: fits are good to some 15 %
_CAUSES = 2  # that are named

# Ha, non-relativistic energies of the free atoms H to Ne (Chakravorty et al. 1993, table I)
_ATOMS = (0.5, 2.90372, 7.47806, 14.66736, 24.65391, 37.8450, 54.5892, 75.0673, 99.7339, 128.9376)
_TOTAL = 0.02  # relative distance of a total energy from the atoms' sum times a known factor
_LOOKED_AT = 4000  # frames


@dataclass(frozen=True)
class Taken:
    """A label's key in the file, and the unit that its numbers were taken to be in."""

    key: str
    unit: str
    virial: bool = False  # a stress that was made of a virial


def suspicions(structures: Structures, taken: Mapping[str, Taken]) -> list[str]:
    """What doesn't fit, in sentences.

    Args:
        structures: with labels as they were read, NaN where there are none.
        taken: of each label.
    """
    if "energy" not in taken:
        return []
    found = _total_energies(structures, taken["energy"])
    if "forces" not in taken:
        return found
    forces, stress = fitted_work(structures)
    if forces is not None and forces.excludes(1 / _WRONG, _WRONG):
        found.append(_of_forces(forces, taken["energy"], taken["forces"]))
    elif stress is not None and stress.excludes(1 / _WRONG, _WRONG) and "stress" in taken:
        found.append(_of_stress(stress, structures, taken["energy"], taken["stress"]))
    return found


def _of_forces(fit: Fit, energy: Taken, forces: Taken) -> str:
    if fit.factor < 0:
        return (
            f"{forces.key!r} point up the energy {energy.key!r}, whose differences are {fit.factor:.3g} times the work "
            "of the forces: are they gradients? Then change their sign"
        )
    says = (
        f"differences of {energy.key!r} are {fit.factor:.3g} times the work of {forces.key!r}, where 1 is expected "
        f"(they are taken in {energy.unit} and {forces.unit})"
    )
    own = factor("energy", energy.unit), factor("forces", forces.unit)
    causes = {f"{energy.key!r} in {unit}": own[0] / factor("energy", unit) for unit in UNITS_OF["energy"]}
    causes |= {f"{forces.key!r} in {unit}": factor("forces", unit) / own[1] for unit in UNITS_OF["forces"]}
    causes |= {f"the positions in {unit}": factor("length", unit) for unit in UNITS_OF["length"]}
    likely = _likely(fit.factor, causes)
    return f"{says}: is {likely}?" if likely else f"{says}: do the forces belong to this energy?"


def _of_stress(fit: Fit, structures: Structures, energy: Taken, stress: Taken) -> str:
    says = (
        f"under strain, differences of {energy.key!r} are {fit.factor:.3g} times the work of {stress.key!r}, where 1 "
        f"is expected ({stress.key!r} is taken as a {'virial' if stress.virial else 'stress'} in {stress.unit})"
    )
    volume = float(torch.linalg.det(structures.cell.double()).abs().median())
    causes: dict[str, float] = {}
    if stress.virial:
        own = factor("virial", stress.unit)
        causes |= {f"a virial in {unit}": factor("virial", unit) / own for unit in UNITS_OF["virial"]}
        causes |= {f"a stress in {unit}": -volume * factor("stress", unit) / own for unit in UNITS_OF["stress"]}
    else:
        own = factor("stress", stress.unit)
        causes |= {f"a stress in {unit}": factor("stress", unit) / own for unit in UNITS_OF["stress"]}
        causes |= {f"a virial in {unit}": -factor("virial", unit) / (volume * own) for unit in UNITS_OF["virial"]}
    causes |= {f"{cause} with the other sign": -value for cause, value in causes.items()}
    likely = _likely(fit.factor, causes)
    return f"{says}: is it {likely}?" if likely else f"{says}: does it belong to this energy?"


def _likely(found: float, causes: Mapping[str, float]) -> str:
    same_sign = {cause: value for cause, value in causes.items() if value * found > 0}
    near = sorted((abs(np.log(found / value)), cause) for cause, value in same_sign.items())
    return " or ".join(cause for distance, cause in near[:_CAUSES] if distance < _NEAR)


def _total_energies(structures: Structures, energy: Taken) -> list[str]:
    labels = structures.structure_labels["energy"]
    usable = (~torch.isnan(labels)).nonzero()[:_LOOKED_AT, 0]
    some = structures.select(usable)
    if not len(some) or not len(some.species) or int(some.species.max()) > len(_ATOMS):
        return []
    atoms = torch.tensor((0.0, *_ATOMS), dtype=torch.float64)[some.species]
    sums = torch.zeros(len(some), dtype=torch.float64).index_add_(0, some.batch, atoms) * -factor("energy", "Ha")
    ratio = float((labels[usable].double() / sums).median())
    if abs(ratio - 1) < _TOTAL:
        return []
    for unit in UNITS_OF["energy"]:
        # what they would be, had they been read in this unit
        if abs(ratio * factor("energy", unit) / factor("energy", energy.unit) - 1) < _TOTAL:
            return [
                f"{energy.key!r} is about what these molecules' total energies are in {unit}, but is taken in "
                f"{energy.unit}: is the unit of energy {unit}?"
            ]
    return []
