"""Velocity Verlet for a batch of structures at constant energy, and the energies that tell whether it is constant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from molgen.neighbors import Graph
from molgen.random import Streams
from molgen.simulation.evaluation import Model
from molgen.structures import Structures

__all__ = ["KELVIN", "Run", "masses_of", "thermal_velocities", "verlet"]

# ASE's units: energies in eV, lengths in Å, masses in amu
KELVIN: Final = 8.617330337217213e-05  # eV
FEMTOSECOND: Final = 0.09822694788464063  # Å √(amu / eV)

_SKIN = 1.0  # Å: lists serve some hundred steps at room temperature


@dataclass(frozen=True, eq=False)
class Run:
    """Energies of B structures along T steps, in eV."""

    timestep: float  # fs
    n_atoms: Tensor  # [B]
    kinetic: Tensor  # [T, B]
    total: Tensor  # [T, B] kinetic and interaction energy
    conserved: Tensor  # [T, B] the total energy with Verlet's own error of second order in the step taken off
    free: Tensor  # [B] directions that hold kinetic energy
    stopped: str | None = None  # why it ended early

    @property
    def picoseconds(self) -> float:
        """Length of the run."""
        return len(self.total) * self.timestep * 1e-3

    @property
    def temperature(self) -> Tensor:
        """[B] K, mean of the run."""
        return 2 * self.kinetic.mean(0) / (self.free * KELVIN)

    def after(self, step: int) -> Run:
        """The run without its first steps."""
        kept = {name: getattr(self, name)[step:] for name in ("kinetic", "total", "conserved")}
        return replace(self, **kept)


@dataclass(eq=False)
class _List:
    """Neighbours with a skin, searched anew when an atom has moved by half of it."""

    model: Model
    graph: Graph | None = None
    positions: Tensor = field(default_factory=lambda: torch.zeros(0, 3))

    def of(self, structures: Structures) -> Graph:
        cutoff = self.model.cutoff
        if cutoff is None:
            self.graph = self.graph or self.model.graph(structures)
            return self.graph
        moved = math.inf
        if self.graph is not None:
            moved = float((structures.positions - self.positions).square().sum(1).max().sqrt())
        if not moved < _SKIN / 2:
            self.graph, self.positions = self.model.graph(structures, _SKIN), structures.positions
        assert self.graph is not None
        return self.graph.with_positions(structures).within(cutoff)


def verlet(
    model: Model,
    structures: Structures,
    velocities: Tensor,
    *,
    steps: int,
    timestep: float,
    hottest: float = 10_000.0,
    on_step: Callable[[int], bool] | None = None,
) -> Run:
    """Energies along a run of velocity Verlet, all structures as one batch.

    Verlet's scheme conserves H + Δt² (v·V″·v / 12 − F·F / 24 m) but for terms of fourth order in the step (Hairer,
    Lubich and Wanner 2003, section 4), so the total energy swings by the term of second order however well the model
    conserves energy. `Run.conserved` has that term, with v·V″ as the central difference of the forces.

    Args:
        model: gives interaction energies and forces.
        structures: to start from, positions in float64.
        velocities: [N, 3] Å √(eV / amu).
        steps: T.
        timestep: fs.
        hottest: K; a run that gets hotter, or where a number is not finite, is stopped.
        on_step: told of each step; the run ends where it returns False.
    """
    h = timestep * FEMTOSECOND
    masses = masses_of(structures)[:, None]
    neighbors = _List(model)
    free = _free(structures)
    limit = 0.5 * free * KELVIN * hottest
    x, v = structures.positions, velocities
    energy, forces = _energy(model, structures, neighbors)
    states: list[tuple[Tensor, Tensor, Tensor]] = []  # kinetic and total energy, and the correction but v·V″·v
    curvatures: list[Tensor] = []
    before, stopped = None, None
    for step in range(steps):
        half = v + 0.5 * h * forces / masses
        x = x + h * half
        ahead, new_forces = _energy(model, structures.replace(positions=x), neighbors)
        kinetic = _sum(0.5 * masses * v.square(), structures)
        if not bool((kinetic <= limit).all()) or not bool(torch.isfinite(ahead).all()):
            stopped = f"it left reason after {step * timestep * 1e-3:.3f} ps"
            break
        if before is not None:
            curvatures.append(_sum(v * (before - new_forces), structures) / (2 * h))
            states.append((kinetic, kinetic + energy, _sum(forces.square() / masses, structures)))
        v = half + 0.5 * h * new_forces / masses
        before, forces, energy = forces, new_forces, ahead
        if on_step is not None and not on_step(step):
            break
    kinetic, total, squares = (_stacked([state[k] for state in states], structures) for k in range(3))
    correction = h**2 * (_stacked(curvatures, structures) / 12 - squares / 24)
    return Run(timestep, structures.n_atoms.cpu(), kinetic, total, total + correction, free.cpu(), stopped)


def thermal_velocities(structures: Structures, temperature: float, seed: int) -> Tensor:
    """[N, 3] Å √(eV / amu), Maxwell–Boltzmann, without drift, and of molecules without rotation.

    Args:
        structures: positions in float64.
        temperature: K.
        seed: the numbers of a structure depend on it and on the structure's place alone.
    """
    streams = Streams(seed, range(len(structures)), structures.positions.device)
    drawn = streams.normal("velocities", counts=structures.n_atoms, width=3, dtype=torch.float64)
    masses = masses_of(structures)
    velocities = drawn * torch.sqrt(KELVIN * temperature / masses)[:, None]
    start = 0
    for index, n in enumerate(structures.n_atoms.tolist()):
        rows = slice(start, start + n)
        start += n
        m, v, x = masses[rows, None], velocities[rows], structures.positions[rows]
        v = v - (m * v).sum(0) / m.sum()
        if not structures.pbc[index].any():
            arms = x - (m * x).sum(0) / m.sum()
            # the pseudoinverse, since a line of atoms has no inertia about itself
            spin = torch.linalg.pinv(_inertia(arms, m), rtol=1e-9, hermitian=True) @ (
                m * torch.linalg.cross(arms, v)
            ).sum(0)
            v = v - torch.linalg.cross(spin.expand_as(arms), arms)
        velocities[rows] = v
    return velocities


def masses_of(structures: Structures) -> Tensor:
    """[N] amu, float64."""
    from ase.data import atomic_masses

    table = torch.tensor(atomic_masses, dtype=torch.float64, device=structures.species.device)
    return table[structures.species]


def _energy(model: Model, structures: Structures, neighbors: _List) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        found = model(structures, neighbors.of(structures), forces=True)
    return found["interaction_energy"], found["forces"].to(torch.float64)


def _sum(values: Tensor, structures: Structures) -> Tensor:
    """[B] of [N, 3]."""
    return values.new_zeros(len(structures)).index_add(0, structures.batch, values.sum(1))


def _stacked(values: list[Tensor], structures: Structures) -> Tensor:
    return (torch.stack(values) if values else torch.zeros(0, len(structures), dtype=torch.float64)).cpu()


def _inertia(arms: Tensor, masses: Tensor) -> Tensor:
    squared = (masses * arms.square()).sum()
    return squared * torch.eye(3, dtype=arms.dtype, device=arms.device) - (masses * arms).T @ arms


def _free(structures: Structures) -> Tensor:
    """[B] directions that hold kinetic energy: none for drift, nor for the rotation of molecules."""
    free = 3 * structures.n_atoms - 3
    masses, start = masses_of(structures), 0
    for index, n in enumerate(structures.n_atoms.tolist()):
        rows = slice(start, start + n)
        start += n
        if not structures.pbc[index].any():
            m, x = masses[rows, None], structures.positions[rows]
            moments = torch.linalg.eigvalsh(_inertia(x - (m * x).sum(0) / m.sum(), m))
            free[index] -= int((moments > 1e-9 * moments.max()).sum())
    return free.clamp(min=1)
