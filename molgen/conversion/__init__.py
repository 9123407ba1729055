"""Structures from ASE and RDKit, and back."""

from molgen.conversion.ase import from_ase as from_ase
from molgen.conversion.ase import to_ase as to_ase
from molgen.conversion.rdkit import from_rdkit as from_rdkit
from molgen.conversion.rdkit import to_rdkit as to_rdkit
