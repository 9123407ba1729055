"""Structures from RDKit and back."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem
from strategies import equal, structures

from molgen.conversion import from_rdkit, to_rdkit
from molgen.errors import DroppedDataWarning, StructureError
from molgen.structures import Structures

RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]


def embedded(smiles: str, *, hydrogens: bool = True) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0  # type: ignore[attr-defined]
    return mol if hydrogens else Chem.RemoveHs(mol)


@given(batch=structures(periodic=False))
def test_structures_come_back_from_rdkit_as_they_were(batch: Structures) -> None:
    batch = batch.replace(bonds_known=torch.ones_like(batch.bonds_known))
    # rdkit has no place for per-atom labels and vectors, and its radicals follow from the valences, not from the spin
    lost = ("spin", "atom_labels", "structure_labels")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = from_rdkit(to_rdkit(batch))
    assert equal(again, batch, leave_out=lost)
    if len(batch):
        assert torch.equal(again.structure_labels["energy"], batch.structure_labels["energy"])


@pytest.mark.parametrize("smiles", ["CCO", "c1ccccc1", "c1ccc2[nH]ccc2c1", "C[NH3+]", "CC(=O)[O-]", "C#N", "[CH3]"])
def test_molecules_come_back_as_they_were(smiles: str) -> None:
    mol = embedded(smiles)
    held = from_rdkit(mol)
    assert set(held.bond_orders.tolist()) <= {1, 2, 3}
    (again,) = to_rdkit(held)
    Chem.SanitizeMol(again)
    assert Chem.MolToSmiles(Chem.RemoveHs(again)) == Chem.CanonSmiles(smiles)
    assert np.array_equal(again.GetConformer().GetPositions(), mol.GetConformer().GetPositions())
    assert equal(from_rdkit(again), held)


def test_charges_and_radicals_give_charge_and_multiplicity() -> None:
    held = from_rdkit([embedded("C[NH3+]"), embedded("CC(=O)[O-]"), embedded("[CH3]"), embedded("C[N+](=O)[O-]")])
    assert held.charge.tolist() == [1, -1, 0, 0]
    assert held.spin.tolist() == [1, 1, 2, 1]


def test_an_atom_with_valences_to_spare_survives_an_sdf_file_without_new_hydrogens() -> None:
    methyl = Structures.build(
        np.random.default_rng(0).normal(size=(4, 3)),
        [6, 1, 1, 1],
        spin=[2],
        bonds=[[0, 1], [0, 2], [0, 3]],
        bond_orders=[1, 1, 1],
        bonds_known=[True],
    )
    block = Chem.MolToMolBlock(to_rdkit(methyl)[0])
    again = from_rdkit(Chem.MolFromMolBlock(block, removeHs=False))
    assert again.formulas() == ["CH3"]
    assert again.spin.tolist() == [2]


def test_impossible_valences_are_kept_to_be_looked_at() -> None:
    bonds = [[0, i] for i in range(1, 6)]
    positions = np.random.default_rng(0).normal(size=(6, 3))
    held = Structures.build(positions, [6] + [1] * 5, bonds=bonds, bond_orders=[1] * 5, bonds_known=[True])
    (mol,) = to_rdkit(held)
    assert mol.GetNumBonds() == 5
    with pytest.raises(Chem.AtomValenceException):
        Chem.SanitizeMol(mol)


def test_properties_that_are_numbers_everywhere_become_labels() -> None:
    mols = [embedded("C"), embedded("CC")]
    for mol, gap in zip(mols, ("1.5", "2"), strict=True):
        mol.SetProp("gap", gap)
        mol.SetProp("name", "alkane")
    mols[0].SetDoubleProp("only_here", 1.0)
    labels = from_rdkit(mols).structure_labels
    assert {name: value.tolist() for name, value in labels.items()} == {"gap": [1.5, 2.0]}


def test_labels_of_one_number_become_properties() -> None:
    held = from_rdkit([embedded("C"), embedded("CC")])
    held = held.replace(structure_labels={"gap": torch.tensor([1.5, 2.0]), "seed": torch.tensor([3, 4])})
    assert [mol.GetPropsAsDict() for mol in to_rdkit(held)] == [{"gap": 1.5, "seed": 3}, {"gap": 2.0, "seed": 4}]


def test_the_first_of_several_conformers_is_taken_and_the_molecule_left_as_it_was() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("c1ccccc1CC"))
    AllChem.EmbedMultipleConfs(mol, 3, randomSeed=1)  # type: ignore[attr-defined]
    held = from_rdkit(mol)
    assert np.array_equal(held.positions, mol.GetConformers()[0].GetPositions())
    assert mol.GetNumConformers() == 3
    assert any(bond.GetIsAromatic() for bond in mol.GetBonds())


def bent(bond: Chem.BondType) -> Chem.Mol:
    mol = Chem.RWMol(embedded("[H][H]"))
    mol.GetBondWithIdx(0).SetBondType(bond)
    return mol.GetMol()


def dummy() -> Chem.Mol:
    mol = Chem.RWMol(embedded("CC"))
    mol.GetAtomWithIdx(3).SetAtomicNum(0)
    return mol.GetMol()


def query() -> Chem.Mol:
    mol = Chem.MolFromSmarts("[C,N]")
    mol.AddConformer(Chem.Conformer(1))
    return mol


def unkekulisable() -> Chem.Mol:
    mol = Chem.MolFromSmiles("c1cccc1", sanitize=False)
    mol.AddConformer(Chem.Conformer(5))
    return mol


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: None, r"could not read it \(molecule 1\)"),
        (lambda: Chem.MolFromSmiles("CC"), r"no conformer \(molecule 1\); embed"),
        (dummy, r"dummy.*\(molecule 1, atom 3\)"),
        (query, r"query.*\(molecule 1, atom 0\)"),
        (lambda: bent(Chem.BondType.ZERO), r"type ZERO \(molecule 1, atoms 0 and 1\)"),
        (lambda: bent(Chem.BondType.DATIVE), r"type DATIVE \(molecule 1"),
        (unkekulisable, r"Kekulé structure \(molecule 1\)"),
    ],
)
def test_what_no_structure_can_hold_is_refused_by_its_index(make, what: str) -> None:
    with pytest.raises(StructureError, match=what):
        from_rdkit([embedded("C"), make()])


def test_hydrogens_without_positions_give_a_warning() -> None:
    with pytest.warns(DroppedDataWarning, match=r"1 of 2 molecules imply hydrogens .*molecule 1.*addCoords"):
        held = from_rdkit([embedded("C"), embedded("CCO", hydrogens=False)])
    assert held.formulas() == ["CH4", "C2O"]


def test_a_flat_drawing_gives_a_warning() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.Compute2DCoords(mol)  # type: ignore[attr-defined]
    with pytest.warns(DroppedDataWarning, match="drawings"):
        from_rdkit(mol)


def test_bonds_that_are_not_known_are_refused_by_structure() -> None:
    held = from_rdkit([embedded("C"), embedded("CC")]).replace(bonds_known=torch.tensor([True, False]))
    with pytest.raises(StructureError, match=r"not known \(structure 1\); perceive"):
        to_rdkit(held)


def test_bond_orders_that_rdkit_has_no_kekule_name_for_are_refused() -> None:
    held = from_rdkit(embedded("C"))
    with pytest.raises(StructureError, match=r"order 4 \(bond 2\)"):
        to_rdkit(held.replace(bond_orders=torch.tensor([1, 1, 4, 1])))
