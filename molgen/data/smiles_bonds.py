"""Bonds and formal charges of geometries whose SMILES are known.

As many pairs of atoms as the SMILES has bonds, those that are closest for their covalent radii, are mapped onto the
graph of the SMILES: elements, hydrogens per atom and neighbours have to agree; bond orders and charges are those of
the SMILES. Where several mappings agree, the one that puts high orders on short bonds is taken. What does not agree
keeps `bonds_known` False.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from molgen.data.arrays import read_arrays
from molgen.data.records import wrong
from molgen.errors import StructureError
from molgen.structures import Structures

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["bonds_from_smiles", "read_smiles", "with_smiles"]

_LONGEST_BOND = 1.35  # in sums of covalent radii
_MAX_MAPPINGS = 64  # of symmetric molecules; more change no bond order


def read_smiles(path: str | Path) -> list[str]:
    """The array `smiles` of an npz file.

    Raises:
        FileFormatError: no npz file, or one without such an array of text.
    """
    arrays = read_arrays(Path(path))
    smiles = arrays.get("smiles")
    if smiles is None or smiles.ndim != 1 or smiles.dtype.kind not in "SU":
        raise wrong("no array 'smiles' of text", Path(path), expected="one SMILES per molecule")
    return [s.decode("ascii", "replace") if isinstance(s, bytes) else str(s) for s in smiles.tolist()]


def with_smiles(batches: Iterable[Structures], smiles: Sequence[str]) -> Iterator[Structures]:
    """Batches with the bonds that :func:`bonds_from_smiles` gives.

    A structure with the label `gdb_index` i belongs to entry i − 1 (QM9 counts from 1); without that label, the
    structures of all batches belong to the entries in order.

    Raises:
        StructureError: a structure that has no entry.
    """
    start = 0
    for batch in batches:
        labels = batch.structure_labels.get("gdb_index")
        entries = list(range(start, start + len(batch))) if labels is None else (labels.long() - 1).tolist()
        start += len(batch)
        for index, entry in enumerate(entries):
            if not 0 <= entry < len(smiles):
                raise StructureError(
                    f"there is no SMILES for structure {start - len(batch) + index}",
                    expected=f"an entry from 0 to {len(smiles) - 1}, not {entry}",
                )
        yield bonds_from_smiles(batch, [smiles[entry] for entry in entries])


def bonds_from_smiles(structures: Structures, smiles: Sequence[str]) -> Structures:
    """The same structures with bonds, bond orders and formal charges of their SMILES.

    Args:
        structures: B molecules with all their hydrogens, without periodic boundaries.
        smiles: [B] of the same molecules.

    Returns:
        `bonds_known` tells which structures have the graph of their SMILES; the others get no bonds.

    >>> water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> bonds_from_smiles(water, ["O"]).bonds.tolist()
    [[0, 1], [0, 2]]
    """
    from rdkit import rdBase

    pairs: list[list[int]] = []
    orders: list[int] = []
    known: list[bool] = []
    charges = torch.zeros_like(structures.species, device="cpu")
    species, positions = structures.species.tolist(), structures.positions.detach().double().cpu().numpy()
    with rdBase.BlockLogs():
        for start, count, text in zip(structures.offsets.tolist(), structures.n_atoms.tolist(), smiles, strict=True):
            atoms = slice(start, start + count)
            found = _mapped(species[atoms], positions[atoms], text)
            known.append(found is not None)
            if found is None:
                continue
            for i, j, order in found[0]:
                pairs.append([start + i, start + j])
                orders.append(order)
            for atom, charge in found[1].items():
                charges[start + atom] = charge
    device = structures.positions.device
    return structures.replace(
        bonds=torch.tensor(pairs, dtype=torch.int64, device=device).reshape(-1, 2),
        bond_orders=torch.tensor(orders, dtype=torch.int64, device=device),
        bonds_known=torch.tensor(known, dtype=torch.bool, device=device),
        formal_charges=charges.to(device),
    )


Graph = tuple[list[tuple[int, int, int]], dict[int, int]]  # (i, j, order) with i < j, and charges of charged atoms


def _mapped(species: Sequence[int], positions: np.ndarray, smiles: str) -> Graph | None:
    from rdkit import Chem

    reference = Chem.MolFromSmiles(smiles)
    if reference is None:
        return None
    reference = Chem.AddHs(reference)
    Chem.Kekulize(reference, clearAromaticFlags=True)
    if sorted(atom.GetAtomicNum() for atom in reference.GetAtoms()) != sorted(species):
        return None
    geometry = _skeleton(species, positions, reference.GetNumBonds())
    return None if geometry is None else _match(reference, geometry, positions)


def _skeleton(species: Sequence[int], positions: np.ndarray, n_bonds: int) -> Mol | None:
    """The molecule in which the pairs that are closest for their radii are bonded; None if one of them is far apart."""
    from rdkit import Chem

    radius = Chem.GetPeriodicTable().GetRcovalent
    radii = np.array([radius(int(number)) for number in species])
    first, second = np.triu_indices(len(species), 1)
    ratios = np.linalg.norm(positions[first] - positions[second], axis=1) / (radii[first] + radii[second])
    closest = np.argsort(ratios, kind="stable")[:n_bonds]
    if len(closest) and ratios[closest[-1]] > _LONGEST_BOND:
        return None
    editable = Chem.RWMol()
    for number in species:
        editable.AddAtom(Chem.Atom(int(number)))
    for pair in closest:
        editable.AddBond(int(first[pair]), int(second[pair]), Chem.BondType.SINGLE)
    return editable.GetMol()


def _match(reference: Mol, geometry: Mol, positions: np.ndarray) -> Graph | None:
    pattern, pattern_atoms = _heavy(reference)
    target, target_atoms = _heavy(geometry)
    hydrogens = _hydrogens(geometry)
    if hydrogens is None or pattern.GetNumBonds() != target.GetNumBonds() or not pattern_atoms:
        return None
    matches = target.GetSubstructMatches(pattern, uniquify=False, maxMatches=_MAX_MAPPINGS)
    if not matches:
        return None
    orders = [
        (pattern_atoms[b.GetBeginAtomIdx()], pattern_atoms[b.GetEndAtomIdx()], b.GetBeginAtomIdx(), b.GetEndAtomIdx())
        for b in pattern.GetBonds()
    ]
    candidates = []
    for match in matches:
        bonds = []
        strain = 0.0
        for i, j, first, second in orders:
            order = int(reference.GetBondBetweenAtoms(i, j).GetBondTypeAsDouble())
            a, b = target_atoms[match[first]], target_atoms[match[second]]
            strain += order * float(((positions[a] - positions[b]) ** 2).sum()) ** 0.5
            bonds.append((min(a, b), max(a, b), order))
        # rounded, so that mappings that are equal by symmetry are chosen by their order
        candidates.append((round(strain, 3), bonds, match))
    _, bonds, match = min(candidates, key=lambda candidate: candidate[0])
    charges = {}
    for index, atom in enumerate(pattern_atoms):
        if charge := reference.GetAtomWithIdx(atom).GetFormalCharge():
            charges[target_atoms[match[index]]] = charge
    return sorted(bonds + hydrogens), charges


def _heavy(molecule: Mol) -> tuple[Mol, list[int]]:
    """The graph of the atoms that are no hydrogens, with the number of hydrogens as isotope, and their indices."""
    from rdkit import Chem

    editable = Chem.RWMol()
    kept: dict[int, int] = {}
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() > 1:
            bare = Chem.Atom(atom.GetAtomicNum())
            bare.SetNoImplicit(True)
            # an isotope of 0 would match any
            bare.SetIsotope(1 + sum(neighbour.GetAtomicNum() == 1 for neighbour in atom.GetNeighbors()))
            kept[atom.GetIdx()] = editable.AddAtom(bare)
    for bond in molecule.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if i in kept and j in kept:
            editable.AddBond(kept[i], kept[j], Chem.BondType.SINGLE)
    return editable.GetMol(), list(kept)


def _hydrogens(molecule: Mol) -> list[tuple[int, int, int]] | None:
    """The bonds of the hydrogens, or None where one has not exactly one neighbour, heavier than itself."""
    bonds = []
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() == 1:
            neighbours = [neighbour.GetIdx() for neighbour in atom.GetNeighbors() if neighbour.GetAtomicNum() > 1]
            if len(neighbours) != 1 or atom.GetDegree() != 1:
                return None
            i, j = sorted((atom.GetIdx(), neighbours[0]))
            bonds.append((i, j, 1))
    return bonds
