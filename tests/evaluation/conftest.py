"""Structures whose labels are a model's own predictions with known errors."""

from __future__ import annotations

import pytest
import torch
from simulation.potentials import potential

from molgen.conversion import from_ase
from molgen.evaluation.predictions import predict
from molgen.models.potential import Potential
from molgen.structures import Structures


@pytest.fixture(scope="session")
def model() -> Potential:
    """A potential of H, C, N, O and Si with dipoles and charges."""
    return potential(heads=("energy", "dipole", "charges"))


@pytest.fixture(scope="session")
def molecules() -> Structures:
    """Twelve molecules of three sizes, off equilibrium."""
    from ase.build import molecule

    frames = []
    for seed in range(4):
        for name in ("H2O", "CH3OH", "CH3CN"):
            atoms = molecule(name)
            atoms.rattle(0.05, seed=seed)
            frames.append(atoms)
    return from_ase(frames).to(torch.float64)


@pytest.fixture(scope="session")
def labelled(model: Potential, molecules: Structures) -> Structures:
    """Energies too low by 10 meV/atom, forces off by 0.02 eV/Å on every hydrogen's z, dipoles right."""
    right = predict(model, molecules, ["energy", "forces", "dipole"])
    forces = right["forces"].clone()
    forces[molecules.species == 1, 2] -= 0.02
    labels = {"energy": right["energy"] - 0.01 * molecules.n_atoms, "dipole": right["dipole"]}
    return molecules.replace(structure_labels=labels, atom_labels={"forces": forces})
