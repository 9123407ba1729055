"""What a simulation may not leave: finite numbers, forces, temperatures, energies and distances within reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from molgen.errors import ConfigError
from molgen.neighbors import radius_graph
from molgen.simulation.state import State
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["FORCE_LIMIT", "Guard", "Limits", "Violation", "closest_pair", "collapsed", "lone_atoms", "refuse_forces"]

# a molecule just made at random has several times its mean kinetic energy, and one that starts strained warms up
_TEMPERATURE_FACTOR = 10.0
_TEMPERATURE_MARGIN = 3000.0  # K

# eV/Å; higher in relaxations, since atoms that start on top of each other are pushed apart in small steps
FORCE_LIMIT: Final = 1000.0

# Å; the shortest bond, that of H2, has 0.74: what a relaxation leaves below has fallen into a hole of the model
_COLLAPSED: Final = 0.4

# atoms whose distances are compared pair by pair; more than that go through a neighbour search
_FEW_ATOMS = 300


@dataclass(frozen=True)
class Limits:
    """How far a simulation may go before it is stopped."""

    force: float = 100.0  # eV/Å, on any atom
    temperature: float | None = None  # K, of the kinetic energy; None: ten times the target or start, and 3000 K
    energy: float = 5.0  # eV/atom that the potential energy may depart from where it started
    drift: float = 0.1  # eV/atom that the total energy may depart from where it started, at constant energy
    distance: float = 0.3  # Å between two atoms; no two nuclei are ever so close

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ConfigError(f"the limit of {name} is {value}", expected="a positive number")


@dataclass(frozen=True)
class Violation:
    """What left reason, in the words of an error."""

    what: str
    remedy: str


class Guard:
    """Compares each state of a run of dynamics with where it started.

    Args:
        limits: of the run.
        start: first state of the trajectory.
        temperature: K, the highest of the target and the start.
        conserved: whether the ensemble conserves the total energy.
    """

    def __init__(self, limits: Limits, start: State, *, temperature: float, conserved: bool) -> None:
        self.limits = limits
        self._hottest = limits.temperature or _TEMPERATURE_FACTOR * temperature + _TEMPERATURE_MARGIN
        self._start, self._conserved = start, conserved

    def judge(self, atoms: Atoms, state: State, temperature: float) -> Violation | None:
        """What is wrong with a state of these atoms and its temperature in K, or None."""
        limits, n = self.limits, len(atoms)
        wrong = refuse_forces(atoms, state.energy, state.forces, limits.force)
        if wrong is not None:
            return wrong
        if not temperature <= self._hottest:
            return Violation(
                f"a temperature of {temperature:.0f} K, above the limit of {self._hottest:.0f} K",
                "take a smaller timestep, relax the structure first (molgen relax), or use another model",
            )
        departure = (state.energy - self._start.energy) / n
        if not abs(departure) <= limits.energy:
            return Violation(
                f"the potential energy is {departure:+.2f} eV/atom from where it started, beyond the limit of "
                f"{limits.energy:g}",
                "the model has probably not seen such structures: use another one, or train it on them",
            )
        if self._conserved:
            drift = (state.total_energy - self._start.total_energy) / n
            if not abs(drift) <= limits.drift:
                return Violation(
                    f"the total energy is {drift:+.3f} eV/atom from where it started, beyond the limit of "
                    f"{limits.drift:g} eV/atom",
                    "take a smaller timestep, or a model whose forces conserve energy",
                )
        return None

    def judge_distances(self, atoms: Atoms) -> Violation | None:
        """Two atoms on top of each other, or None; dearer than `judge`, so asked at frames alone."""
        return _overlap(atoms, self.limits.distance)


def refuse_forces(atoms: Atoms, energy: float, forces: np.ndarray, limit: float) -> Violation | None:
    """An energy or a force that is not finite, or a force beyond the limit in eV/Å; None where all is well."""
    remedy = "take a smaller timestep, relax the structure first (molgen relax), or check what the model was trained on"
    strongest = np.sqrt(np.einsum("ni,ni->n", forces, forces))  # [N] eV/Å
    if not np.isfinite(energy):
        return Violation(f"an energy of {energy} eV", remedy)
    if not np.isfinite(strongest).all():
        atom = int(np.flatnonzero(~np.isfinite(strongest))[0])
        return Violation(f"a force that is not finite on atom {atom} ({atoms.symbols[atom]})", remedy)
    atom = int(strongest.argmax())
    if strongest[atom] > limit:
        force = f"{strongest[atom]:.4g} eV/Å on atom {atom} ({atoms.symbols[atom]})"
        return Violation(f"a force of {force}, above the limit of {limit:g}", remedy)
    return None


def collapsed(atoms: Atoms) -> str | None:
    """Why a relaxed structure is no minimum, where two of its atoms are on top of each other."""
    found = closest_pair(atoms, _COLLAPSED)
    return None if found is None else f"collapsed: atoms {found[0]} and {found[1]} are {found[2]:.2g} Å apart"


def closest_pair(atoms: Atoms, within: float) -> tuple[int, int, float] | None:
    """The closest two atoms and their distance in Å, periodic images counted; None if none are closer than `within`."""
    if len(atoms) <= _FEW_ATOMS and not atoms.pbc.any():
        positions = atoms.positions
        squared = np.square(positions[:, None] - positions).sum(-1)
        np.fill_diagonal(squared, np.inf)
        if not squared.size or not squared.min() < within**2:
            return None
        i, j = divmod(int(squared.argmin()), len(atoms))
        return i, j, float(np.sqrt(squared[i, j]))
    periodic = {"cell": atoms.cell.array[None], "pbc": atoms.pbc[None]}
    graph = radius_graph(Structures.build(atoms.positions, atoms.numbers, **periodic), within)
    if not len(graph.lengths):
        return None
    edge = int(graph.lengths.argmin())
    return int(graph.receivers[edge]), int(graph.senders[edge]), float(graph.lengths[edge])


def lone_atoms(atoms: Atoms, beyond: float = 3.5) -> set[int]:
    """Atoms that have no neighbour within so many Å; none where there are periodic images."""
    if len(atoms) < 2 or atoms.pbc.any():
        return set()
    from scipy.spatial import KDTree

    lengths, _ = KDTree(atoms.positions).query(atoms.positions, k=2)
    return set(np.flatnonzero(lengths[:, 1] > beyond).tolist())


def _overlap(atoms: Atoms, limit: float) -> Violation | None:
    found = closest_pair(atoms, limit)
    if found is None:
        return None
    i, j, length = found
    symbols = atoms.symbols
    return Violation(
        f"atoms {i} ({symbols[i]}) and {j} ({symbols[j]}) are {length:.3g} Å apart, below the limit of {limit:g}",
        "use a model with short-range repulsion, or one that was trained on such structures",
    )
