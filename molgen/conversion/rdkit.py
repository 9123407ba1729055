"""Structures from RDKit molecules, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from molgen.conversion.labels import as_numpy, atom_ranges, joined, numbers_of, shared_labels, warn_dropped
from molgen.errors import StructureError
from molgen.structures import Structures

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["from_rdkit", "to_rdkit"]


def from_rdkit(molecules: Mol | Sequence[Mol]) -> Structures:
    """Structures of one or several RDKit molecules.

    Kept are atoms, positions of the first conformer (float64), formal charges and their sum, kekulised bonds, the
    multiplicity that the radical electrons give (all of them parallel), and properties that are numbers in every
    molecule, as structure labels.

    Raises:
        StructureError: names the molecule: None, no conformer, dummy or query atoms, bonds that are not single, double,
            triple or aromatic, aromatic rings without a Kekulé structure.

    Warns:
        DroppedDataWarning: hydrogens that the molecules imply but have no positions of; flat drawings.

    >>> from rdkit import Chem
    >>> from rdkit.Chem import AllChem
    >>> ethanol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    >>> AllChem.EmbedMolecule(ethanol, randomSeed=1)
    0
    >>> from_rdkit(ethanol).bonds.shape
    torch.Size([8, 2])
    """
    mols: list[Mol | None] = [molecules] if hasattr(molecules, "GetAtoms") else list(molecules)  # type: ignore[list-item]
    if not mols:
        return Structures.build([], [], n_atoms=[])
    parts = [_read(mol, f"molecule {index}") for index, mol in enumerate(mols)]
    _warn_of_incomplete(parts)
    counts = np.array([len(part.species) for part in parts])
    starts = np.cumsum(counts) - counts
    labels = shared_labels([part.properties for part in parts])
    return Structures.build(
        positions=joined(part.positions for part in parts),
        species=joined(part.species for part in parts),
        n_atoms=counts.tolist(),
        charge=[int(part.formal_charges.sum()) for part in parts],
        spin=[1 + part.radical_electrons for part in parts],
        formal_charges=joined(part.formal_charges for part in parts),
        bonds=joined(part.bonds + start for part, start in zip(parts, starts, strict=True)),
        bond_orders=joined(part.bond_orders for part in parts),
        bonds_known=[True] * len(parts),
        structure_labels={name: torch.from_numpy(np.stack(values)) for name, values in labels.items()},
    )


def to_rdkit(structures: Structures) -> list[Mol]:
    """One RDKit molecule per structure, with the structure's own bonds; the inverse of :func:`from_rdkit`.

    Bonds stay kekulised and no hydrogen is implied: an atom with valences to spare has radical electrons. The molecules
    are not sanitised, so that impossible valences can be looked at: `Chem.SanitizeMol` refuses them. Labels of one
    number per structure become properties.

    Raises:
        StructureError: a structure whose bonds are not known, a bond order that is not 1, 2 or 3.

    >>> single = {"bonds": [[0, 1]], "bond_orders": [1], "bonds_known": [True]}
    >>> to_rdkit(Structures.build([[0.0, 0, 0], [0, 0, 0.74]], [1, 1], **single))[0].GetNumBonds()
    1
    """
    unknown = (~structures.bonds_known).nonzero()
    if len(unknown):
        raise StructureError(
            "its bonds are not known",
            where=f"structure {int(unknown[0])}",
            remedy="perceive bonds first (molgen.chemistry)",
        )
    wrong = ((structures.bond_orders < 1) | (structures.bond_orders > 3)).nonzero()
    if len(wrong):
        order = int(structures.bond_orders[wrong[0]])
        raise StructureError(f"a bond of order {order}", where=f"bond {int(wrong[0])}", expected="1, 2 or 3")
    positions = as_numpy(structures.positions).astype(np.float64)
    species, charges = structures.species.tolist(), structures.formal_charges.tolist()
    bonds_of = _bonds_of_each(structures)
    numbers = {n: v for n, v in structures.structure_labels.items() if v.ndim == 1}
    molecules = []
    for index, (start, n) in enumerate(atom_ranges(structures)):
        atoms = slice(start, start + n)
        molecule = _make(species[atoms], charges[atoms], bonds_of[index], positions[atoms])
        for name, values in numbers.items():
            value = values[index].item()
            if isinstance(value, float):
                molecule.SetDoubleProp(name, value)
            else:
                molecule.SetIntProp(name, int(value))
        molecules.append(molecule)
    return molecules


@dataclass(frozen=True)
class _Part:
    """What one RDKit molecule gives."""

    positions: np.ndarray  # [n, 3] Å
    species: np.ndarray  # [n]
    formal_charges: np.ndarray  # [n]
    bonds: np.ndarray  # [m, 2], i < j
    bond_orders: np.ndarray  # [m]
    radical_electrons: int
    properties: dict[str, np.ndarray]
    lacks_hydrogens: bool
    flat: bool


def _read(mol: Mol | None, where: str) -> _Part:
    from rdkit import Chem

    if mol is None:
        raise StructureError("RDKit could not read it", where=where, remedy="leave it out")
    if mol.GetNumConformers() == 0:
        raise StructureError("it has no conformer", where=where, remedy="embed it first (AllChem.EmbedMolecule)")
    atoms = list(mol.GetAtoms())
    for atom in atoms:
        if atom.GetAtomicNum() == 0 or atom.HasQuery():
            raise StructureError(
                f"{atom.GetSymbol()!r} is a dummy or query atom",
                where=f"{where}, atom {atom.GetIdx()}",
                expected="an element",
            )
    if any(bond.GetIsAromatic() for bond in mol.GetBonds()):
        mol = Chem.Mol(mol)
        try:
            Chem.Kekulize(mol, clearAromaticFlags=True)
        except Chem.KekulizeException as error:
            raise StructureError("it has no Kekulé structure", where=where, remedy="mend its aromatic bonds") from error
    orders = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}
    bonds, bond_orders = [], []
    for bond in mol.GetBonds():
        i, j, kind = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondType()
        if kind not in orders:
            raise StructureError(
                f"a bond of type {kind}",
                where=f"{where}, atoms {i} and {j}",
                expected="single, double, triple or aromatic",
            )
        bonds.append((min(i, j), max(i, j)))
        bond_orders.append(orders[kind])
    species = np.array([atom.GetAtomicNum() for atom in atoms], dtype=np.int64)
    conformer = mol.GetConformer()
    return _Part(
        positions=conformer.GetPositions().reshape(-1, 3),
        species=species,
        formal_charges=np.array([atom.GetFormalCharge() for atom in atoms], dtype=np.int64),
        bonds=np.array(bonds, dtype=np.int64).reshape(-1, 2),
        bond_orders=np.array(bond_orders, dtype=np.int64),
        radical_electrons=sum(atom.GetNumRadicalElectrons() for atom in atoms),
        properties=numbers_of(mol.GetPropsAsDict()),
        lacks_hydrogens=not (species == 1).any() and _implies_hydrogens(mol),
        flat=not conformer.Is3D() and len(atoms) > 3,
    )


def _implies_hydrogens(mol: Mol) -> bool:
    from rdkit import Chem

    if mol.NeedsUpdatePropertyCache():
        mol = Chem.Mol(mol)
        mol.UpdatePropertyCache(strict=False)
    return any(atom.GetTotalNumHs() for atom in mol.GetAtoms())


def _bonds_of_each(structures: Structures) -> list[list[tuple[int, int, int]]]:
    """Per structure its bonds: atom indices within the structure, and order."""
    owners = structures.batch[structures.bonds[:, 0]]
    pairs = (structures.bonds - structures.offsets[owners][:, None]).tolist()
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(structures.n_structures)]
    for owner, (i, j), order in zip(owners.tolist(), pairs, structures.bond_orders.tolist(), strict=True):
        found[owner].append((i, j, order))
    return found


def _make(species: list[int], charges: list[int], bonds: list[tuple[int, int, int]], positions: np.ndarray) -> Mol:
    from rdkit import Chem

    types = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
    editable = Chem.RWMol()
    for number, charge in zip(species, charges, strict=True):
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        atom.SetFormalCharge(charge)
        editable.AddAtom(atom)
    for i, j, order in bonds:
        editable.AddBond(i, j, types[order])
    conformer = Chem.Conformer(len(species))
    conformer.SetPositions(np.ascontiguousarray(positions))
    editable.AddConformer(conformer)
    molecule = editable.GetMol()
    molecule.UpdatePropertyCache(strict=False)
    # written as "M  RAD" to SDF files, where a reader would otherwise imply hydrogens
    Chem.AssignRadicals(molecule)
    return molecule


def _warn_of_incomplete(parts: Sequence[_Part]) -> None:
    bare = [index for index, part in enumerate(parts) if part.lacks_hydrogens]
    if bare:
        warn_dropped(
            f"{len(bare)} of {len(parts)} molecules imply hydrogens but hold none (first: molecule {bare[0]}); "
            "read them with removeHs=False, or add them with Chem.AddHs(molecule, addCoords=True)"
        )
    flat = [index for index, part in enumerate(parts) if part.flat]
    if flat:
        warn_dropped(
            f"{len(flat)} of {len(parts)} molecules are marked as flat drawings (first: molecule {flat[0]}); "
            "their positions are taken as they are"
        )
