"""Structures read as molecules: nothing is dropped, and bonds go back into structures."""

import torch

from molgen.chemistry.molecules import Molecules
from molgen.conversion import to_rdkit
from molgen.structures import Structures, concatenate

WATER = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
NONSENSE = Structures.build([[0.0, 0, 0], [0.6, 0, 0], [0, 0.6, 0], [0, 0, 0.6]], [8, 8, 8, 8])
FAR_APART = Structures.build([[0.0, 0, 0], [0.74, 0, 0], [9, 0, 0], [9.74, 0, 0]], [1, 1, 1, 1])


def test_lists_are_as_long_as_the_batch_and_in_its_order():
    molecules = Molecules(concatenate([WATER, NONSENSE, FAR_APART]))
    assert len(molecules) == 3
    assert molecules.smiles == ["O", None, "[H][H].[H][H]"]
    assert [mol is None for mol in molecules.rdkit()] == [False, True, False]


def test_flags_tell_what_the_metrics_count_and_where_bonds_come_from():
    flags = Molecules(concatenate([WATER, NONSENSE, FAR_APART])).flags
    assert [row["stable"] for row in flags] == [True, False, True]
    assert [row["valid"] for row in flags] == [True, False, True]
    assert [row["connected"] for row in flags] == [True, False, False]
    assert [row["bonds"] for row in flags] == ["rdkit", "none", "rdkit"]
    assert [row["status"] for row in flags] == ["ok", "no bonds", "ok"]
    assert [row["reason"] is None for row in flags] == [True, False, True]


def test_bonded_structures_give_rdkit_the_same_molecules(real):
    from rdkit import Chem

    molecules = Molecules(real)
    bonded = molecules.bonded()
    bonded.check()
    assert bonded.bonds_known.all()
    for mol, smiles in zip(to_rdkit(bonded), molecules.smiles, strict=True):
        Chem.SanitizeMol(mol)
        Chem.AssignStereochemistryFrom3D(mol)
        assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == smiles


def test_bonds_of_what_is_no_molecule_stay_unknown():
    bonded = Molecules(concatenate([NONSENSE, WATER])).bonded()
    assert bonded.bonds_known.tolist() == [False, True]
    assert bonded.bonds.tolist() == [[4, 5], [4, 6]]
    assert torch.equal(bonded.positions, concatenate([NONSENSE, WATER]).positions)


def test_no_molecules_are_fine():
    empty = Molecules(Structures.build(torch.zeros(0, 3), [], n_atoms=[]))
    assert (empty.smiles, empty.flags, len(empty.bonded())) == ([], [], 0)
