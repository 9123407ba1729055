"""GFN2-xTB frames of one molecule: relaxed ones, the way there, thermal ones, rattled ones. Å, eV, e, fs, amu."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses
from ase.optimize import BFGS
from rdkit import Chem

from organics.conformers import Bonds, Gradient, embedded, force_field, minimum
from organics.seeds import generator, integer
from organics.theory import ForASE, Frame, Theory

__all__ = ["Labelled", "labelled"]

_THERMAL: Final = ((300, 2), (600, 3), (1000, 3))  # K, frames of each molecule
_CONFORMERS: Final = 10
_FLEXIBLE: Final = Chem.MolFromSmarts("[!$(*#*)&!D1]-&!@[!$(*#*)&!D1]")  # a bond to turn about
_FORCE_FIELD_STEPS: Final = 600
_STEPS: Final = 20
_STEP: Final = 1.0  # fs
_FRICTION_FORCE_FIELD: Final = 0.02  # 1/fs
_FRICTION: Final = 0.05  # 1/fs: strong, as the run is short
_RELAXED_FORCE: Final = 0.01  # eV/Å
_LARGEST_FORCE: Final = 30.0  # eV/Å
_RATTLED_SHARE: Final = 0.8  # of the molecules get one rattled frame
_RATTLE: Final = (0.05, 0.15)  # Å, standard deviation per coordinate


@dataclass
class Labelled:
    """The frames of one molecule, what was left out and why, and how many gradients it took."""

    frames: list[Frame] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    gradients: int = 0


def labelled(smiles: str, seed: int) -> Labelled:
    """All frames of one molecule; the same for the same SMILES and seed.

    Args:
        smiles: canonical SMILES; stereochemistry that it leaves open is drawn anew for each conformer.
        seed: of conformers, velocities, noise.

    Raises:
        InputError: tblite is not installed.
    """
    molecule = embedded(smiles, _CONFORMERS, integer("embed", seed, smiles) % 2**31)
    if molecule.GetNumConformers() == 0:
        return Labelled(dropped=Counter(["molecule: not embedded"]))
    return _Run(molecule, generator("frames", seed, smiles)).done()


class _Run:
    """One molecule at work."""

    def __init__(self, molecule: Chem.Mol, rng: np.random.Generator) -> None:
        self._molecule, self._rng = molecule, rng
        self._numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
        self._starts = [minimum(molecule, conformer) for conformer in range(molecule.GetNumConformers())]
        self._theory = Theory(self._numbers, self._starts[0])
        self._bonds = Bonds(molecule)
        self._labelled = Labelled()

    def done(self) -> Labelled:
        """All frames; none of a molecule that does not survive its relaxation."""
        relaxed = self._relaxations()
        if relaxed is not None:
            self._rattled(relaxed)
            kelvins = [kelvin for kelvin, count in _THERMAL for _ in range(count)]
            for index, kelvin in enumerate(kelvins):
                self._thermal(index % len(self._starts), kelvin)
        self._labelled.gradients = self._theory.evaluations
        return self._labelled

    def _relaxations(self) -> np.ndarray | None:
        """Keeps one or two relaxed conformers and the way there; returns the first, or none if that one reacts."""
        flexible = self._molecule.HasSubstructMatch(_FLEXIBLE)
        first = None
        for which, start in enumerate(self._starts[: 2 if flexible else 1]):
            path, problem = self._path(start)
            if problem is not None:
                self._labelled.dropped[f"relaxation: {problem}"] += 1
                if which == 0:
                    return None
                continue
            if first is None:
                first = path[-1]
            self._keep("relaxed", path[-1], decimals=4)
            # the force field's geometry, and of the first conformer one more of the first half of the way
            steps = {0} if which else {0, int(self._rng.integers(1, max(2, len(path) // 2)))}
            for step in sorted(steps):
                if step < len(path) - 2:
                    self._keep("path", path[step])
        return first

    def _path(self, start: np.ndarray) -> tuple[list[np.ndarray], str | None]:
        """The geometries of a relaxation, and what went wrong with it."""
        atoms = Atoms(self._numbers, start)
        atoms.calc = ForASE(self._theory)
        path: list[np.ndarray] = []
        optimizer = BFGS(atoms, logfile=None)
        optimizer.attach(lambda: path.append(atoms.get_positions()))
        try:
            converged = optimizer.run(fmax=_RELAXED_FORCE, steps=250)
        except RuntimeError:  # of tblite
            converged = False
        if not converged:
            return path, "not converged"
        return path, None if self._bonds.hold(path[-1]) else "reacted"

    def _rattled(self, relaxed: np.ndarray) -> None:
        if self._rng.random() < _RATTLED_SHARE:
            noise = self._rng.uniform(*_RATTLE) * self._rng.standard_normal(relaxed.shape)
            self._keep("rattled", relaxed + noise)

    def _thermal(self, conformer: int, kelvin: int) -> None:
        """A frame at a temperature: a long run of the force field, then a short one of GFN2-xTB."""
        masses = atomic_masses[self._numbers][:, None]
        velocities = np.sqrt(units.kB * kelvin / masses) * self._rng.standard_normal((len(masses), 3))
        positions = self._starts[conformer]
        forces = force_field(self._molecule, conformer)
        if forces is not None:
            positions, velocities = _langevin(
                forces, positions, velocities, masses, kelvin, _FRICTION_FORCE_FIELD, _FORCE_FIELD_STEPS, self._rng
            )
        try:
            positions, _ = _langevin(
                lambda x: self._theory.moving(x)[1], positions, velocities, masses, kelvin, _FRICTION, _STEPS, self._rng
            )
        except RuntimeError:  # of tblite
            self._labelled.dropped[f"{kelvin}K: density not converged"] += 1
            return
        self._keep(f"{kelvin}K", positions)

    def _keep(self, kind: str, positions: np.ndarray, decimals: int = 3) -> None:
        if not self._bonds.hold(positions):
            self._labelled.dropped[f"{kind}: reacted"] += 1
            return
        try:
            frame = self._theory.frame(kind, positions, decimals)
        except RuntimeError:  # of tblite
            self._labelled.dropped[f"{kind}: density not converged"] += 1
            return
        if np.linalg.norm(frame.forces, axis=1).max() > _LARGEST_FORCE:
            self._labelled.dropped[f"{kind}: a force above {_LARGEST_FORCE:g} eV/Å"] += 1
            return
        self._labelled.frames.append(frame)


def _langevin(
    forces: Gradient,
    positions: np.ndarray,
    velocities: np.ndarray,
    masses: np.ndarray,
    kelvin: float,
    friction: float,
    steps: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities (N, 3) after a Langevin run in the BAOAB splitting (Leimkuhler and Matthews 2013)."""
    step = _STEP * units.fs
    inverse = 1 / masses  # [N, 1]
    keep = np.exp(-friction * _STEP)
    kick = np.sqrt((1 - keep**2) * units.kB * kelvin * inverse)
    force = forces(positions)
    for _ in range(steps):
        velocities = velocities + 0.5 * step * force * inverse
        positions = positions + 0.5 * step * velocities
        velocities = keep * velocities + kick * rng.standard_normal(velocities.shape)
        positions = positions + 0.5 * step * velocities
        force = forces(positions)
        velocities = velocities + 0.5 * step * force * inverse
    return positions, velocities
