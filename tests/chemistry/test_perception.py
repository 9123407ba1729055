"""Molecules from coordinates: right where there is one, marked where there is none, and always in time."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from molgen.chemistry.perception import MAX_ATOMS, perceive
from molgen.conversion import from_rdkit
from molgen.structures import Structures, concatenate

WATER = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])


def embedded(smiles: str) -> Structures:
    """A molecule with coordinates from RDKit, its bonds forgotten."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    AllChem.MMFFOptimizeMolecule(mol)
    structures = from_rdkit(mol)
    none = torch.zeros(0, dtype=torch.int64)
    return structures.replace(
        bonds=none.reshape(0, 2),
        bond_orders=none,
        formal_charges=torch.zeros_like(structures.formal_charges),
        bonds_known=torch.tensor([False]),
    )


def flat(smiles: str) -> str:
    from rdkit import Chem

    mol = Chem.MolFromSmiles(smiles)
    Chem.RemoveStereochemistry(mol)
    return Chem.MolToSmiles(mol)


def test_real_molecules_are_recognised(real, neutral):
    found = perceive(real)
    assert [flat(one.smiles) for one in found] == [flat(smiles) for smiles in neutral.values()]
    assert {one.source for one in found} == {"rdkit"}


@pytest.mark.parametrize("smiles", ["C[C@H](N)O", "C[C@@H](N)O", "C/C=C/C", r"C/C=C\C", "CC(C)=N"])
def test_the_smiles_has_the_stereochemistry_of_the_coordinates_but_no_hydrogens(smiles):
    from rdkit import Chem

    assert perceive(embedded(smiles))[0].smiles == Chem.CanonSmiles(smiles)


def test_zwitterions_and_ions_get_their_formal_charges():
    zwitterion, cation = embedded("C[N+](=O)[O-]"), embedded("C[NH3+]")
    assert cation.charge.tolist() == [1.0]
    found = perceive(concatenate([zwitterion, cation]))
    assert [one.smiles for one in found] == ["C[N+](=O)[O-]", "C[NH3+]"]
    assert [int(one.formal_charges.sum()) for one in found] == [0, 1]


@pytest.mark.parametrize("smiles", ["CC(C#N)C12CC(C1)C2", "C1CC2C3CC(O3)C2O1", "OC1C2(O)CC1(O)C2"])
def test_small_rings_that_rdkit_joins_across_are_saved_by_the_table(smiles):
    found = perceive(embedded(smiles))[0]
    assert (found.source, flat(found.smiles)) == ("table+rdkit", flat(smiles))
    assert found.reason.startswith("rdkit: ")


def test_a_radical_is_written_as_one_with_the_tables_bonds():
    methyl = Structures.build([[0.0, 0, 0], [1.08, 0, 0], [-0.54, 0.935, 0], [-0.54, -0.935, 0]], [6, 1, 1, 1])
    found = perceive(methyl)[0]
    assert (found.source, found.smiles) == ("table", "[CH3]")
    assert "rdkit: " in found.reason
    assert found.bonds.tolist() == [[0, 1], [0, 2], [0, 3]]


def test_bonds_are_kekulised_and_sorted(real, neutral):
    benzene = perceive(real)[list(neutral).index("C6H6")]
    assert sorted(benzene.bond_orders.tolist()) == [1] * 9 + [2] * 3
    assert (benzene.bonds[:, 0] < benzene.bonds[:, 1]).all()
    assert benzene.mol.GetAtomWithIdx(0).GetIsAromatic()


def test_bonds_that_came_with_a_structure_are_taken_as_they_are():
    stretched = WATER.replace(
        positions=WATER.positions * 3,
        bonds=torch.tensor([[0, 1], [0, 2]]),
        bond_orders=torch.tensor([1, 1]),
        bonds_known=torch.tensor([True]),
        pbc=torch.tensor([[True, True, True]]),
    )
    assert [(one.smiles, one.source) for one in perceive(stretched)] == [("O", "given")]


def test_given_bonds_that_are_impossible_are_marked_and_not_replaced():
    wrong = WATER.replace(
        bonds=torch.tensor([[0, 1], [0, 2]]), bond_orders=torch.tensor([2, 2]), bonds_known=torch.tensor([True])
    )
    found = perceive(wrong)[0]
    assert (found.mol, found.smiles, found.source) == (None, None, "none")
    assert "valence" in found.reason


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (Structures.build(torch.zeros(0, 3), [], n_atoms=[0]), "no atoms"),
        (WATER.replace(positions=WATER.positions * float("nan")), "not a finite number"),
        (WATER.replace(pbc=torch.tensor([[True, False, False]])), "periodic"),
        (WATER.replace(charge=torch.tensor([0.5])), "whole number"),
        (Structures.build(torch.zeros(MAX_ATOMS + 1, 3), [6] * (MAX_ATOMS + 1)), "bonds are perceived up to"),
        (Structures.build(torch.eye(3).repeat(2, 1) * torch.arange(1, 7)[:, None] / 6, [7] * 6), "rdkit: "),
    ],
)
def test_what_is_no_molecule_is_kept_with_the_reason(broken, reason):
    found = perceive(concatenate([WATER, broken.to(torch.float32), WATER]))
    assert [one.smiles for one in found] == ["O", None, "O"]
    assert reason in found[1].reason
    assert len(found[1].formal_charges) == len(broken.species)


def test_a_molecule_with_too_many_combinations_of_valences_is_given_up_in_time():
    sulfates = "[N-]=[N+]=NCC1OC(OS(=O)(=O)[O-])C(OS(=O)(=O)[O-])C(OS(=O)(=O)[O-])C1OS(=O)(=O)[O-]"
    structures = embedded(sulfates)
    start = time.perf_counter()
    found = perceive(structures)[0]
    assert time.perf_counter() - start < 5
    assert found.source == "none"
    assert "Max Iterations" in found.reason


@settings(max_examples=40, deadline=5000)
@given(st.integers(0, 2**31), st.integers(1, 40), st.floats(0.5, 3.0))
def test_nonsense_is_answered_for_every_structure(seed, n, spacing):
    rng = np.random.default_rng(seed)
    positions = rng.random((n, 3)) * spacing * n ** (1 / 3)
    species = rng.choice([1, 5, 6, 7, 8, 9, 15, 16, 17, 26, 92], n)
    found = perceive(Structures.build(torch.from_numpy(positions), torch.from_numpy(species)))
    assert len(found) == 1
    assert (found[0].mol is None) == (found[0].source == "none") == (found[0].smiles is None)
    assert (found[0].mol is None) <= bool(found[0].reason)
