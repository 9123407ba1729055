"""Small potentials with random weights over registered encoders, and structures for them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

import molgen
from molgen.interfaces import Features, Head
from molgen.models.checkpoint import Checkpoint, write_checkpoint
from molgen.models.document import ElementRecord, PotentialRecord
from molgen.models.potential import Potential
from molgen.models.potential_assembly import AssembledPotential, assemble_potential
from molgen.neighbors import Graph
from molgen.nn import polynomial_envelope
from molgen.structures import Structures

CUTOFF = 4.0  # Å

# more of the network in the energy than a trained model would have of its first epoch
SCALE = 2.0  # eV

# of the usual lengths; random weights hold nothing together, but nuclei repel each other
NARROW = 0.8

# eV, eV/Å, eV/Å³; the same sums over again round differently where tensors lie elsewhere in memory
ROUNDING = 1e-9

LJ_SIGMA, LJ_EPSILON = 2.1, 0.3  # Å, eV

ENCODERS: dict[str, dict[str, Any]] = {
    "egnn": {"channels": 12, "layers": 2, "cutoff": CUTOFF},
    "gaunt": {"channels": 6, "layers": 1, "cutoff": CUTOFF},
}


@dataclass(frozen=True)
class Named:
    """A component with its options, as a config names it."""

    use: str
    config: dict[str, Any] = field(default_factory=dict)


def assembled(
    use: str = "egnn",
    *,
    symbols: tuple[str, ...] = ("H", "C", "N", "O", "Si"),
    heads: tuple[str, ...] = ("energy",),
    seed: int = 0,
    encoder: dict[str, Any] | None = None,
    average_neighbors: float = 12.0,
    scale: float = SCALE,
    **record: Any,
) -> AssembledPotential:
    """A potential with fresh weights and what a document says of it."""
    elements = {
        symbol: ElementRecord(isolated_energy=-13.6 * (number + 1), scale=scale)
        for number, symbol in enumerate(symbols)
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return assemble_potential(
            Named(use, ENCODERS[use] if encoder is None else encoder),
            [Named(head) for head in heads],
            PotentialRecord(elements=elements, **record),
            average_neighbors,
        )


@lru_cache(maxsize=32)
def _kept(use: str, heads: tuple[str, ...], seed: int, record: tuple) -> Potential:
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in record}
    if "encoder" in options:
        options["encoder"] = dict(options["encoder"])
    made = assembled(use, heads=heads, seed=seed, **options)
    return made.module.double().eval().requires_grad_(False)


def potential(use: str = "egnn", heads: tuple[str, ...] = ("energy",), seed: int = 0, **options: Any) -> Potential:
    """A frozen potential in float64, the same for the same arguments."""
    flat = {name: tuple(v.items()) if isinstance(v, dict) else v for name, v in options.items()}
    return _kept(use, heads, seed, tuple(sorted(flat.items())))


class Cohesive(Head):
    """The energies of a registered head, and a Lennard-Jones potential that holds atoms together."""

    provides = frozenset({"energies"})

    def __init__(self, irreps: Any, edge_channels: int) -> None:
        super().__init__()
        self.read = molgen.build("head", "energy", irreps=irreps, config={})

    def forward(self, features: Features, structures: Structures, graph: Graph) -> dict[str, torch.Tensor]:
        sixth = (LJ_SIGMA / graph.lengths) ** 6  # [E]
        pairs = 2 * LJ_EPSILON * (sixth**2 - sixth) * polynomial_envelope(graph.lengths, CUTOFF, 6)
        energies = self.read(features, structures, graph)["energies"]
        return {"energies": 0.02 * energies + energies.new_zeros(len(energies)).index_add(0, graph.receivers, pairs)}


@lru_cache(maxsize=8)
def cohesive(use: str = "egnn") -> Potential:
    """A frozen potential in float64 in which molecules and crystals have minima."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Potential(
            lambda **inputs: molgen.build("encoder", use, config=ENCODERS[use], **inputs),
            {"cohesive": Cohesive},
            PotentialRecord(
                elements={symbol: ElementRecord(isolated_energy=-10.0) for symbol in ("H", "C", "O", "Si")}
            ),
            12.0,
        )
    return made.double().eval().requires_grad_(False)


def written(path: Path, *, certificate: dict | None = None, **options: Any) -> Path:
    """A model file of a potential with fresh weights."""
    made = assembled(**options)
    document = made.document(path.stem, certificate=certificate)
    write_checkpoint(path, Checkpoint(document, made.module.state_dict()))
    return path


def close(found: Any, expected: Any) -> bool:
    """The same numbers, up to rounding in float64."""
    return np.shape(found) == np.shape(expected) and np.allclose(found, expected, rtol=0, atol=ROUNDING)


def poisoned(model: Potential, name: str = "") -> Potential:
    """The potential with a weight that is not a number, the first or one whose name holds some text."""
    broken = copy.deepcopy(model)
    weight = next(weight for found, weight in broken.named_parameters() if name in found)
    weight.data.view(-1)[0] = float("nan")
    return broken


def ethanol(rattle: float = 0.05, seed: int = 0) -> Atoms:
    """Nine atoms of three elements, so near to each other that they repel."""
    atoms = molecule("CH3CH2OH")
    atoms.positions *= NARROW
    atoms.rattle(rattle, seed=seed)
    return atoms


def silicon(rattle: float = 0.1, seed: int = 0) -> Atoms:
    """Eight atoms in a skewed cell, so near to each other that they repel."""
    atoms = bulk("Si", a=5.43 * NARROW, cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + SKEW), scale_atoms=True)
    atoms.rattle(rattle, seed=seed)
    return atoms


@lru_cache(maxsize=32)
def _mixture(n: int, seed: int, size: float, pbc: Any) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = Atoms(cell=np.eye(3) * size + 0.3 * rng.normal(size=(3, 3)), pbc=pbc)
    while len(atoms) < n:
        atoms += Atoms(rng.choice(["H", "C", "N", "O"]), [rng.random(3) @ atoms.cell.array])
        if len(atoms) > 1 and atoms.get_distances(-1, range(len(atoms) - 1), mic=True).min() < 1.1:
            del atoms[-1]
    return atoms


def mixture(n: int = 12, seed: int = 0, size: float = 6.0, pbc: Any = True) -> Atoms:
    """Atoms of several elements at random places that are not too near to each other."""
    return _mixture(n, seed, size, pbc).copy()


SKEW = np.array([[0.03, 0.01, 0.0], [-0.02, 0.0, 0.04], [0.02, -0.01, -0.02]])
