"""Files with labels of a known surface, as people have them, and what is read of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import write

from molgen.data.labelled import Labelled

NUMBERS = [8, 1, 1]
RESTS = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
STIFFNESS = 20.0  # eV/Å²
LOWEST = -2070.0  # eV, about the total energy of water


def frames(
    n: int = 12, *, energy: str = "REF_energy", forces: str = "REF_forces", scale: float = 1.0, force_scale: float = 1.0
) -> list[Atoms]:
    """Waters with springs between all atoms, energies and forces under these keys, times these factors."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(n):
        positions = RESTS + 0.05 * rng.normal(size=(3, 3))
        value, gradient = LOWEST, np.zeros((3, 3))
        for i in range(3):
            for j in range(i):
                vector = positions[i] - positions[j]
                stretch = np.linalg.norm(vector) - np.linalg.norm(RESTS[i] - RESTS[j])
                value += 0.5 * STIFFNESS * stretch**2
                pull = STIFFNESS * stretch * vector / np.linalg.norm(vector)
                gradient[i] += pull
                gradient[j] -= pull
        atoms = Atoms(NUMBERS, positions)
        atoms.info[energy] = scale * value
        atoms.set_array(forces, -force_scale * gradient)
        made.append(atoms)
    return made


def isolated(energies: Mapping[str, float], key: str = "REF_energy", mark: str = "IsolatedAtom") -> list[Atoms]:
    """Frames of one atom each, marked as isolated."""
    return [Atoms(symbol, info={key: energy, "config_type": mark}) for symbol, energy in energies.items()]


def extxyz(folder: Path, atoms: list[Atoms], name: str = "data.xyz") -> Path:
    """Written by ASE as extended xyz."""
    write(folder / name, atoms, format="extxyz")
    return folder / name


def energies(labelled: Labelled) -> torch.Tensor:
    """[B] eV."""
    return labelled.structures.structure_labels["energy"]


def forces(labelled: Labelled) -> torch.Tensor:
    """[N, 3] eV/Å."""
    return labelled.structures.atom_labels["forces"]
