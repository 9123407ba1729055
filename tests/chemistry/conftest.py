"""Real molecules for the tests of chemistry: geometries of ASE's G2 set, which were optimised by quantum chemistry."""

from __future__ import annotations

import pytest

from molgen.conversion import from_ase
from molgen.structures import Structures, concatenate

# name in the G2 set: flat SMILES
NEUTRAL = {
    "H2O": "O",
    "CH4": "C",
    "NH3": "N",
    "CH3CH2OH": "CCO",
    "C6H6": "c1ccccc1",
    "C2H4": "C=C",
    "C2H2": "C#C",
    "HCN": "C#N",
    "CH3CHO": "CC=O",
    "CH3COOH": "CC(=O)O",
    "CH3CONH2": "CC(N)=O",
    "C5H5N": "c1ccncc1",
    "C4H4O": "c1ccoc1",
    "C4H4NH": "c1cc[nH]c1",
    "bicyclobutane": "C1C2CC12",
    "isobutane": "CC(C)C",
    "CO2": "O=C=O",
    "N2": "N#N",
    "cyclobutene": "C1=CCC1",
}


def g2(name: str) -> Structures:
    from ase.build import molecule

    structures = from_ase(molecule(name))
    return structures.replace(spin=structures.spin * 0 + 1, charge=structures.charge * 0)


@pytest.fixture(scope="session")
def neutral() -> dict[str, str]:
    """Names of the molecules in `real`, and their SMILES without stereochemistry."""
    return NEUTRAL


@pytest.fixture(scope="session")
def real() -> Structures:
    """The molecules of `neutral`, in one batch."""
    return concatenate([g2(name) for name in NEUTRAL])
