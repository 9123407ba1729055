"""A potential that everyone can compute, and files of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.lj import LennardJones
from ase.io import write

ENCODER = {"use": "egnn", "config": {"channels": 8, "layers": 2, "cutoff": 4.0, "radial_channels": 6}}
ATOM_ENERGIES = {"H": -10.0, "C": -100.0}  # eV


def frames(n: int = 24, *, seed: int = 0, periodic: bool = False) -> list[Atoms]:
    """Clusters of 3 to 6 atoms of H and C with Lennard-Jones energies and forces, and energies of their atoms."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        size = 3 + number % 4
        corners = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)], dtype=float)[:size]
        positions = 1.6 * corners + 0.2 * rng.random((size, 3))
        symbols = [("H", "C")[(number + i) % 2] for i in range(size)]
        atoms = Atoms(symbols, positions, cell=[5.0, 5.2, 5.4] if periodic else None, pbc=periodic)
        atoms.calc = LennardJones(sigma=1.5, epsilon=0.3, rc=4.0, smooth=True)
        atoms.calc.calculate(atoms, ["energy", "forces", "stress"] if periodic else ["energy", "forces"], all_changes)
        results = atoms.calc.results
        bare = Atoms(symbols, positions, cell=atoms.cell, pbc=periodic)
        bare.info["REF_energy"] = float(results["energy"]) + sum(ATOM_ENERGIES[s] for s in symbols)
        bare.arrays["REF_forces"] = results["forces"]
        if periodic:
            bare.info["REF_stress"] = results["stress"]
        found.append(bare)
    return found


def written(path: Path, found: list[Atoms]) -> Path:
    """The frames as an extended xyz file."""
    write(path, found, format="extxyz")
    return path


def config(folder: Path, file: Path, name: str = "run", **sections: Any) -> dict[str, Any]:
    """A config of six steps of four structures; `sections` are merged into those of the same name."""
    whole: dict[str, Any] = {
        "name": "clusters",
        "task": "potential",
        "encoder": ENCODER,
        "data": {"path": str(file), "validation": 4, "isolated_energies": ATOM_ENERGIES},
        "training": {"steps": 6, "batch_size": 4, "validate_every": 3, "log_every": 2, "warmup_steps": 2, "threads": 1},
        "certify": False,
        "out": str(folder / name),
    }
    for key, value in sections.items():
        whole[key] = {**whole[key], **value} if isinstance(value, dict) and isinstance(whole.get(key), dict) else value
    return whole
