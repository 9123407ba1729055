"""Start velocities, and the noise of Langevin dynamics as a pure function of (seed, step, atom)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from molgen.random import Streams

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["StepNoise", "draw_momenta", "free_directions", "remove_drift"]

# numbers drawn at once: a call of the generator costs as much as some thousands of them
_BLOCK = 12_000

_FLAT = 1e-9  # moment of inertia about a line of atoms, relative to the largest


def draw_momenta(atoms: Atoms, temperature: float, seed: int) -> None:
    """Set momenta of the Maxwell–Boltzmann distribution, without drift, and without rotation where nothing is periodic.

    Structures with constraints keep both: there the constraints decide what can move.

    Args:
        atoms: are changed.
        temperature: K.
        seed: same seed, same momenta.
    """
    from ase import units

    drawn = Streams(seed, [0]).normal("velocities", counts=[len(atoms)], width=3, dtype=torch.float64).numpy()
    atoms.set_momenta(drawn * np.sqrt(atoms.get_masses() * units.kB * temperature)[:, None])
    if not atoms.constraints:
        remove_drift(atoms)


def remove_drift(atoms: Atoms) -> None:
    """Take away the momentum, and the angular momentum of structures that are not periodic."""
    masses = atoms.get_masses()[:, None]
    velocities = atoms.get_momenta() / masses
    velocities -= (masses * velocities).sum(0) / masses.sum()
    if not atoms.pbc.any():
        arms = atoms.positions - atoms.get_center_of_mass()
        angular = (masses * np.cross(arms, velocities)).sum(0)
        # the pseudoinverse, since a line of atoms has no inertia about itself
        spin = np.linalg.pinv(_inertia(arms, masses), rcond=_FLAT, hermitian=True) @ angular
        velocities -= np.cross(spin, arms)
    atoms.set_momenta(masses * velocities)


def free_directions(atoms: Atoms, *, drift: bool, rotation: bool) -> int:
    """Directions that hold kinetic energy, by which a temperature is told.

    Args:
        atoms: their constraints are counted.
        drift: whether the centre of mass may move.
        rotation: whether a structure that isn't periodic may rotate.
    """
    free = 3 * len(atoms) - sum(constraint.get_removed_dof(atoms) for constraint in atoms.constraints)
    if atoms.constraints:
        return max(free, 0)
    if not drift:
        free -= 3
    if not rotation and not atoms.pbc.any():
        moments = np.linalg.eigvalsh(
            _inertia(atoms.positions - atoms.get_center_of_mass(), atoms.get_masses()[:, None])
        )
        free -= int((moments > _FLAT * moments.max()).sum())
    return max(free, 0)


def _inertia(arms: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """[3, 3] amu Å²."""
    squared = (masses * arms * arms).sum()
    return squared * np.eye(3) - (masses * arms).T @ arms


class StepNoise:
    """What ASE's Langevin dynamics takes for a random generator: each step draws the same numbers in every run.

    So a run that was stopped goes on exactly as if it had not been. Call `begin` before each step.

    Args:
        seed: of the run.
        n_atoms: N; each step draws two arrays [N, 3].
    """

    def __init__(self, seed: int, n_atoms: int) -> None:
        self._seed, self._n_atoms = seed, n_atoms
        self._steps = max(_BLOCK // (6 * n_atoms), 1)  # in a block
        self._block = -1
        self._numbers = np.empty((0, 0, 0))  # [steps of the block, N, 6]
        self._place = self._used = 0

    def begin(self, step: int) -> None:
        """The next draws belong to this step, counted from 1."""
        block, self._place = divmod(step, self._steps)
        self._used = 0
        if block != self._block:
            streams = Streams(self._seed, range(block * self._steps, (block + 1) * self._steps))
            counts = [self._n_atoms] * self._steps
            drawn = streams.normal("langevin", counts=counts, width=6, dtype=torch.float64)
            self._numbers = drawn.view(self._steps, self._n_atoms, 6).numpy()
            self._block = block

    def standard_normal(self, size: tuple[int, int]) -> np.ndarray:
        """The step's first or second array [N, 3]."""
        drawn = self._numbers[self._place, :, 3 * self._used : 3 * self._used + 3]
        if drawn.shape != tuple(size):
            raise ValueError(f"a step draws two arrays of shape ({self._n_atoms}, 3), not {tuple(size)}")
        self._used += 1
        return drawn.copy()
