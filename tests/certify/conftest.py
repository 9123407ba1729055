"""Potentials that are right, and some that are wrong in one way each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from simulation.potentials import cohesive
from torch import Tensor

from molgen.models.potential import Potential
from molgen.neighbors import Graph
from molgen.structures import Structures

Wrong = Callable[[Structures, dict[str, Tensor]], None]


def altered(model: Potential, wrong: Wrong) -> Potential:
    """A copy of a potential whose results a function changes in place."""

    class Altered(Potential):
        def forward(self, structures: Structures, graph: Graph | None = None, **options: Any) -> dict[str, Tensor]:
            out = super().forward(structures, graph, **options)
            wrong(structures, out)
            return out

    copied = copy.deepcopy(model)
    copied.__class__ = Altered
    return copied


def _twist(structures: Structures, out: dict[str, Tensor]) -> None:
    """Forces that turn each structure about z, which no energy has."""
    if "forces" in out:
        arms = structures.positions - _centres(structures)
        out["forces"] = out["forces"] + 0.2 * torch.stack((-arms[:, 1], arms[:, 0], 0 * arms[:, 0]), dim=1)


def _field(structures: Structures, out: dict[str, Tensor]) -> None:
    """A well along z, with its forces: conservative, and not the same in all directions."""
    arms = (structures.positions - _centres(structures))[:, 2]
    well = torch.zeros(len(structures), dtype=arms.dtype).index_add(0, structures.batch, 0.05 * arms.square())
    for name in ("energy", "interaction_energy"):
        out[name] = out[name] + well
    if "forces" in out:
        push = torch.zeros_like(out["forces"])
        push[:, 2] = -0.1 * arms
        out["forces"] = out["forces"] + push


def _scale(structures: Structures, out: dict[str, Tensor]) -> None:
    """Forces that are one per mille too large."""
    if "forces" in out:
        out["forces"] = 1.001 * out["forces"]


def _order(structures: Structures, out: dict[str, Tensor]) -> None:
    """Forces that depend on the place of the atom."""
    if "forces" in out:
        place = torch.arange(len(out["forces"])) - structures.offsets[structures.batch]
        out["forces"] = out["forces"] * (1 + 1e-3 * (place == 0))[:, None]


def _centres(structures: Structures) -> Tensor:
    sums = torch.zeros(len(structures), 3, dtype=structures.positions.dtype)
    sums = sums.index_add(0, structures.batch, structures.positions)
    return (sums / structures.n_atoms[:, None])[structures.batch]


@pytest.fixture(scope="session")
def right() -> Potential:
    """A potential with minima, of H, C, O and Si, float64."""
    return cohesive()


@pytest.fixture(scope="session")
def twisted(right: Potential) -> Potential:
    """Its forces are no derivatives."""
    return altered(right, _twist)


@pytest.fixture(scope="session")
def directed(right: Potential) -> Potential:
    """Its energy depends on the orientation, with the right forces."""
    return altered(right, _field)


@pytest.fixture(scope="session")
def scaled(right: Potential) -> Potential:
    """Its forces are too large."""
    return altered(right, _scale)


@pytest.fixture(scope="session")
def ordered(right: Potential) -> Potential:
    """Its forces depend on the order of the atoms."""
    return altered(right, _order)
