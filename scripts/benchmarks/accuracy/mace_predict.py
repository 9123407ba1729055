"""Energies and forces of a trained MACE model by its own ASE calculator; runs in an environment that has mace-torch.

python mace_predict.py MODEL FRAMES.extxyz...        writes FRAMES.npz into the working folder
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ase.io import read
from mace.calculators import MACECalculator


def main() -> None:
    """Evaluate frame by frame in float64."""
    model, *files = sys.argv[1:]
    calculator = MACECalculator(model_paths=model, device="cpu", default_dtype="float64")
    parameters = sum(parameter.numel() for parameter in calculator.models[0].parameters())
    for file in files:
        energies, forces = [], []
        for atoms in read(file, ":"):
            atoms.calc = calculator
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
        found = {"energy": np.array(energies), "forces": np.concatenate(forces), "parameters": parameters}
        np.savez(f"{Path(file).stem}.npz", **found)


if __name__ == "__main__":
    main()
