"""Potentials that are right, and some that are wrong in one way each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ase.data import covalent_radii
from torch import Tensor

import molgen
from molgen.interfaces import Features, Head
from molgen.models.document import ElementRecord, PotentialRecord
from molgen.models.potential import Potential
from molgen.neighbors import Graph
from molgen.nn import polynomial_envelope
from molgen.structures import Structures

CUTOFF = 4.0  # Å
DEPTH, STEEPNESS = 0.4, 2.0  # eV and 1/Å, of each pair: soft enough for half a femtosecond

Wrong = Callable[[Structures, dict[str, Tensor]], None]


class Bound(Head):
    """The energies of a registered head, and pairs that are held at the sum of their covalent radii (Morse)."""

    provides = frozenset({"energies"})

    def __init__(self, irreps: Any, edge_channels: int) -> None:
        super().__init__()
        self.read = molgen.build("head", "energy", irreps=irreps, config={})

    def forward(self, features: Features, structures: Structures, graph: Graph) -> dict[str, Tensor]:
        radii = torch.tensor(covalent_radii).to(graph.lengths)[structures.species]
        beyond = graph.lengths - radii[graph.senders] - radii[graph.receivers]  # [E] Å
        wells = (1 - torch.exp(-STEEPNESS * beyond)) ** 2 - 1
        pairs = 0.5 * DEPTH * wells * polynomial_envelope(graph.lengths, CUTOFF, 6)
        energies = 0.02 * self.read(features, structures, graph)["energies"]
        return {"energies": energies.index_add(0, graph.receivers, pairs)}


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
        out["forces"] = out["forces"] + 0.05 * torch.stack((-arms[:, 1], arms[:, 0], 0 * arms[:, 0]), dim=1)


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
    """A potential of H, C, O and Si in which molecules and crystals have minima, float64."""
    record = PotentialRecord(
        elements={symbol: ElementRecord(isolated_energy=-10.0) for symbol in ("H", "C", "O", "Si")}, repulsion=False
    )
    config = {"channels": 8, "layers": 2, "cutoff": CUTOFF}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Potential(
            lambda **inputs: molgen.build("encoder", "egnn", config=config, **inputs), {"bound": Bound}, record, 8.0
        )
    return made.double().eval().requires_grad_(False)


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
