"""Structures with the bonds of EDM's distance table, seen by RDKit: validity, uniqueness and novelty are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from molgen.chemistry.stability import D1, d1
from molgen.structures import Structures

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["TableMolecules"]

# neighbourhoods of this many bonds make up a key; more would tell apart few molecules that differ
KEY_ROUNDS = 4


class TableMolecules:
    """A batch of B structures as molecules with the distance table's bonds; everything is computed when first asked."""

    def __init__(self, structures: Structures) -> None:
        structures = structures.to("cpu")
        # other bonds, charges and labels play no part in these metrics
        self.structures = structures.replace(
            positions=structures.positions.detach(),
            formal_charges=torch.zeros_like(structures.species),
            bonds=torch.zeros(0, 2, dtype=torch.int64),
            bond_orders=torch.zeros(0, dtype=torch.int64),
            atom_labels={},
            structure_labels={},
        )

    def __len__(self) -> int:
        return self.structures.n_structures

    @cached_property
    def d1(self) -> D1:
        """Bonds and stability."""
        return d1(self.structures)

    @cached_property
    def smiles(self) -> list[str | None]:
        """Canonical SMILES of the largest fragment, without stereochemistry; None where RDKit refuses the molecule.

        None also where there are no atoms, or where a coordinate is not finite.

        The whole molecule is sanitised, then its largest fragment taken, as EDM does. An atom with too few bonds is a
        radical: it is written as one and not refused.
        """
        return self._smiles_of(range(len(self)))

    @cached_property
    def n_fragments(self) -> np.ndarray:
        """[B] int64: how many pieces the bonds leave each structure in."""
        first_atoms = np.unique(self._fragments, return_index=True)[1]
        return np.bincount(self._batch[first_atoms], minlength=len(self))

    @cached_property
    def keys(self) -> np.ndarray:
        """[B] uint64: equal for largest fragments that are the same molecule, nearly always different for others.

        A Weisfeiler-Lehman hash of elements and connectivity. Bond orders are left out, since two Kekulé structures of
        one molecule differ in them.
        """
        bonds = self.d1.bonds.numpy()
        colours = _mix(self.structures.species.numpy().astype(np.uint64))
        for _ in range(KEY_ROUNDS):
            message, gathered = _mix(colours), np.zeros_like(colours)
            np.add.at(gathered, bonds[:, 0], message[bonds[:, 1]])
            np.add.at(gathered, bonds[:, 1], message[bonds[:, 0]])
            colours = _mix(colours * np.uint64(3) + gathered)
        keys = np.zeros(len(self), dtype=np.uint64)
        inside = np.isin(self._fragments, self._largest)
        np.add.at(keys, self._batch[inside], _mix(colours[inside]))
        return keys

    def smiles_where(self, wanted: np.ndarray) -> set[str]:
        """The SMILES of those structures for which `wanted` [B] is true and that RDKit accepts."""
        found = self._smiles_of(np.flatnonzero(wanted).tolist())
        return {smiles for smiles in found if smiles is not None}

    def _smiles_of(self, indices: Sequence[int]) -> list[str | None]:
        from rdkit import rdBase

        from molgen.conversion import to_rdkit

        chosen = self.structures.select(torch.as_tensor(list(indices), dtype=torch.int64))
        found = d1(chosen)
        known = torch.ones(len(chosen), dtype=torch.bool)
        bonded = chosen.replace(bonds=found.bonds, bond_orders=found.bond_orders, bonds_known=known)
        with rdBase.BlockLogs():  # RDKit's complaints become None
            return [_smiles(mol) for mol in to_rdkit(bonded)]

    @cached_property
    def _batch(self) -> np.ndarray:
        return self.structures.batch.numpy()

    @cached_property
    def _fragments(self) -> np.ndarray:
        """[N] the fragment of each atom, numbered through the batch."""
        bonds, n = self.d1.bonds.numpy(), len(self._batch)
        graph = coo_array((np.ones(len(bonds), dtype=np.int8), (bonds[:, 0], bonds[:, 1])), shape=(n, n))
        return connected_components(graph, directed=False)[1]

    @cached_property
    def _largest(self) -> np.ndarray:
        """The largest fragment of each structure, and of equally large ones the first."""
        fragments, first_atoms, sizes = np.unique(self._fragments, return_index=True, return_counts=True)
        owner = self._batch[first_atoms]
        order = np.lexsort((first_atoms, -sizes, owner))
        first_of_owner = np.unique(owner[order], return_index=True)[1]
        return fragments[order][first_of_owner]


def _smiles(mol: Mol) -> str | None:
    from rdkit import Chem

    if mol.GetNumAtoms() == 0 or not np.isfinite(mol.GetConformer().GetPositions()).all():
        return None
    try:
        Chem.SanitizeMol(mol)
    except ValueError:  # all of RDKit's sanitisation errors
        return None
    fragments = Chem.GetMolFrags(mol)
    if len(fragments) > 1:
        mol = max(Chem.GetMolFrags(mol, asMols=True), key=lambda fragment: fragment.GetNumAtoms())
    return Chem.MolToSmiles(Chem.RemoveHs(mol))


def _mix(values: np.ndarray) -> np.ndarray:
    """[...] uint64, scrambled (the finaliser of splitmix64, Steele et al. 2014)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
