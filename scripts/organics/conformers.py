"""Conformers of a molecule from RDKit, the force field that moves them, and whether they still are that molecule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from ase import units
from ase.data import covalent_radii
from rdkit import Chem
from rdkit.Chem import AllChem

__all__ = ["Bonds", "Gradient", "embedded", "force_field", "minimum"]

Gradient = Callable[[np.ndarray], np.ndarray]  # forces (N, 3) in eV/Å of positions (N, 3) in Å


def embedded(smiles: str, count: int, seed: int) -> Chem.Mol:
    """The molecule with its hydrogens and up to so many conformers by ETKDG; none where RDKit can't embed it.

    Args:
        smiles: stereochemistry that it leaves open is drawn anew for each conformer.
        count: of conformers.
        seed: below 2**31.
    """
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False  # or molecular hydrogen would lose an atom
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles, parameters))
    AllChem.EmbedMultipleConfs(molecule, count, randomSeed=seed, useRandomCoords=True, maxAttempts=50)
    return molecule


def minimum(molecule: Chem.Mol, conformer: int) -> np.ndarray:
    """Positions (N, 3) in Å of a conformer at a minimum of its force field; as embedded where there is none.

    Args:
        molecule: the conformer in it is moved too.
        conformer: its place among the conformers.
    """
    made = _made(molecule, conformer)
    if made is not None:
        made.Minimize(maxIts=500)
    return np.array(molecule.GetConformers()[conformer].GetPositions())


def force_field(molecule: Chem.Mol, conformer: int) -> Gradient | None:
    """Forces of MMFF94, or of UFF where that has no parameters, or none where neither has.

    Args:
        molecule: with conformers.
        conformer: its place among them.
    """
    made = _made(molecule, conformer)
    if made is None:
        return None
    per_kcal = units.kcal / units.mol

    def forces(positions: np.ndarray) -> np.ndarray:
        flat = positions.ravel().tolist()
        made.CalcEnergy(flat)  # RDKit's gradient reads the distances that the last energy left behind
        return np.array(made.CalcGrad(flat)).reshape(-1, 3) * -per_kcal

    return forces


def _made(molecule: Chem.Mol, conformer: int) -> Any:
    identifier = molecule.GetConformers()[conformer].GetId()
    properties = AllChem.MMFFGetMoleculeProperties(molecule)
    if properties is not None:
        made = AllChem.MMFFGetMoleculeForceField(molecule, properties, confId=identifier)
    elif AllChem.UFFHasAllMoleculeParams(molecule):
        made = AllChem.UFFGetMoleculeForceField(molecule, confId=identifier)
    else:
        return None
    if made is not None:
        made.Initialize()
    return made


class Bonds:
    """Tells whether a geometry still has the bonds of its molecule, with room for what heat does.

    Args:
        molecule: with all hydrogens.
    """

    _BROKEN: Final = 1.55  # of the sum of the covalent radii
    _FORMED: Final = 1.15

    def __init__(self, molecule: Chem.Mol) -> None:
        radii = covalent_radii[[atom.GetAtomicNum() for atom in molecule.GetAtoms()]]
        self._sums = radii[:, None] + radii[None, :]  # [N, N]
        self._bonded = Chem.GetAdjacencyMatrix(molecule).astype(bool)
        self._free = ~self._bonded & ~np.eye(len(radii), dtype=bool)

    def hold(self, positions: np.ndarray) -> bool:
        """Whether no bond is broken and none is new at the positions (N, 3) in Å; not where they are not finite."""
        if not np.isfinite(positions).all():
            return False
        ratios = np.linalg.norm(positions[:, None] - positions[None, :], axis=-1) / self._sums
        broken = (ratios[self._bonded] > self._BROKEN).any()
        formed = (ratios[self._free] < self._FORMED).any()
        return not (broken or formed)
