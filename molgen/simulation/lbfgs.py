"""L-BFGS of many structures at once, each with its own history, step length and way back.

Nocedal and Wright, "Numerical Optimization" (2006), algorithm 7.4, without a line search: a step is as long as the
quadratic model says, at most a trust radius, and is taken back, with half the radius, where the energy rises.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

__all__ = ["Descent"]

_MEMORY: Final = 20  # pairs of steps and gradients
_LONGEST: Final = 0.2  # Å that an atom moves in a step
_SHORTEST: Final = 1e-5  # Å; a descent that can't move so far any more is stuck
_STIFFNESS: Final = 70.0  # eV/Å², of the first step, as ASE has it
_FLAT: Final = 1e-10  # cosine between a step and the change of the gradient along it, below which it teaches nothing
_NOISE: Final = 1e-4  # eV by which an energy may rise: float32 weights are no better, and valleys bend


class Descent:
    """The way down of B structures with N atoms in all.

    Args:
        positions: [N, 3] Å, float64.
        energies: [B] eV.
        forces: [N, 3] eV/Å.
        batch: [N] the structure of each atom.
        conservative: False for forces that are no derivatives of the energy, so that a rise of it says nothing.
    """

    def __init__(
        self, positions: Tensor, energies: Tensor, forces: Tensor, batch: Tensor, *, conservative: bool = True
    ) -> None:
        self.positions, self.energies, self.forces, self.batch = positions, energies, forces, batch  # as it stands
        self._n, self._conservative = len(energies), conservative
        self._radius = positions.new_full((self._n,), _LONGEST)  # [B] Å
        self._steps: list[Tensor] = []  # each [N, 3] Å, the oldest first
        self._changes: list[Tensor] = []  # each [N, 3] eV/Å, of the gradient along each step
        self._weights: list[Tensor] = []  # each [B], 1 / (step · change); 0 for what is forgotten

    @property
    def stuck(self) -> Tensor:
        """[B] whether no step is short enough to lower the energy."""
        return self._radius < _SHORTEST

    def propose(self) -> Tensor:
        """[N, 3] Å, the positions to try next."""
        direction = self._direction()
        slope = self._dot(direction, self.forces)  # [B]
        uphill = ~(slope > 0)
        if uphill.any():
            self._forget(uphill)
            direction = torch.where(uphill[self.batch, None], self.forces / _STIFFNESS, direction)
        longest = self.longest(direction)
        shorter = (self._radius / longest.clamp_min(1e-300)).clamp_max(1.0)  # [B]
        return self.positions + shorter[self.batch, None] * direction

    def accept(self, positions: Tensor, energies: Tensor, forces: Tensor, refused: Tensor) -> None:
        """Go where the energy has not risen, and stay, with half the radius, where it has.

        Args:
            positions: [N, 3] Å, those proposed.
            energies: [B] eV, there.
            forces: [N, 3] eV/Å, there.
            refused: [B] structures that must not go there whatever their energy is.
        """
        moved = ~refused
        if self._conservative:
            moved = moved & (energies <= self.energies + _NOISE)
        by_atom = moved[self.batch, None]
        step = torch.where(by_atom, positions - self.positions, 0.0)
        change = torch.where(by_atom, self.forces - forces, 0.0)
        self._forget(~moved)
        self._remember(step, change)
        self._radius = torch.where(moved, (1.5 * self._radius).clamp_max(_LONGEST), 0.5 * self._radius)
        self.positions = torch.where(by_atom, positions, self.positions)
        self.forces = torch.where(by_atom, forces, self.forces)
        self.energies = torch.where(moved, energies, self.energies)

    def keep(self, structures: Tensor) -> None:
        """Go on with some of the structures: [B] bool."""
        atoms = structures[self.batch]
        places = torch.cumsum(structures, 0) - 1
        self.positions, self.forces = self.positions[atoms], self.forces[atoms]
        self.energies = self.energies[structures]
        self._radius = self._radius[structures]
        self._steps = [each[atoms] for each in self._steps]
        self._changes = [each[atoms] for each in self._changes]
        self._weights = [each[structures] for each in self._weights]
        self.batch, self._n = places[self.batch[atoms]], int(structures.sum())

    def largest_forces(self) -> Tensor:
        """[B] eV/Å."""
        return self.longest(self.forces)

    def _direction(self) -> Tensor:
        """[N, 3] Å: the inverse Hessian that the history tells of, times the forces (the two loops of 7.4)."""
        direction = self.forces
        factors: list[Tensor] = []
        for step, change, weight in zip(self._steps[::-1], self._changes[::-1], self._weights[::-1], strict=True):
            factor = weight * self._dot(step, direction)  # [B]
            direction = direction - factor[self.batch, None] * change
            factors.append(factor)
        direction = self._softness()[self.batch, None] * direction
        for step, change, weight, factor in zip(self._steps, self._changes, self._weights, factors[::-1], strict=True):
            rest = factor - weight * self._dot(change, direction)
            direction = direction + rest[self.batch, None] * step
        return direction

    def _softness(self) -> Tensor:
        """[B] Å²/eV: the scale of the inverse Hessian, from the newest pair that is not forgotten (eq. 7.20)."""
        softness = self._radius.new_full((self._n,), 1.0 / _STIFFNESS)
        for change, weight in zip(self._changes, self._weights, strict=True):
            known = weight > 0
            scale = 1.0 / (torch.where(known, weight, 1.0) * self._dot(change, change))
            softness = torch.where(known, scale, softness)
        return softness

    def _remember(self, step: Tensor, change: Tensor) -> None:
        curvature = self._dot(step, change)  # [B], zero where nothing moved
        useful = curvature > _FLAT * torch.sqrt(self._dot(step, step) * self._dot(change, change))
        weight = torch.where(useful, 1.0 / torch.where(useful, curvature, 1.0), 0.0)
        self._steps.append(step)
        self._changes.append(change)
        self._weights.append(weight)
        if len(self._steps) > _MEMORY:
            del self._steps[0], self._changes[0], self._weights[0]

    def _forget(self, structures: Tensor) -> None:
        self._weights = [torch.where(structures, 0.0, weight) for weight in self._weights]

    def _dot(self, a: Tensor, b: Tensor) -> Tensor:
        """[B] sums over each structure's atoms."""
        return a.new_zeros(self._n).index_add(0, self.batch, (a * b).sum(1))

    def longest(self, vectors: Tensor) -> Tensor:
        """[B] the longest vector of each structure."""
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        return lengths.new_zeros(self._n).scatter_reduce(0, self.batch, lengths, "amax")
