"""Energies and forces of a trained MACE model by its own ASE calculator; runs in an environment that has mace-torch.

python mace_predict.py MODEL FRAMES.extxyz OUT.npz
"""

from __future__ import annotations

import sys

import numpy as np
from ase.io import read
from mace.calculators import MACECalculator


def main() -> None:
    """Evaluate frame by frame in float64."""
    model, frames, out = sys.argv[1:]
    calculator = MACECalculator(model_paths=model, device="cpu", default_dtype="float64")
    energies, forces = [], []
    for atoms in read(frames, ":"):
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    parameters = sum(parameter.numel() for parameter in calculator.models[0].parameters())
    np.savez(out, energy=np.array(energies), forces=np.concatenate(forces), parameters=parameters)


if __name__ == "__main__":
    main()
