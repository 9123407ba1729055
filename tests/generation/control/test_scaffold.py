"""Substructures: what is read, what is refused, and rigid superposition against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import write
from rdkit import Chem
from rdkit.Chem import AllChem
from scipy.spatial.transform import Rotation

from molgen.errors import FileFormatError, MolgenError, RequestError
from molgen.generation.control import Scaffold
from molgen.generation.control.scaffold import superpose
from molgen.interfaces import Schema
from molgen.structures import Structures

SCHEMA = Schema(elements=(1, 6, 7, 8), size_counts={9: 1, 12: 3})


def test_superposition_is_the_best_proper_rotation():
    rng = np.random.default_rng(0)
    body = rng.normal(size=(5, 3))
    body -= body.mean(0)
    onto = rng.normal(size=(3, 5, 3)) + 2.0
    found = superpose(torch.from_numpy(body), torch.from_numpy(onto))
    for one, other in zip(found.numpy(), onto, strict=True):
        turn, _ = Rotation.align_vectors(other - other.mean(0), body)
        assert np.allclose(one, turn.apply(body) + other.mean(0), atol=1e-8)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_atoms_and_mirrored_ones_keep_their_geometry(size):
    generator = torch.Generator().manual_seed(size)
    body = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    body = body - body.mean(0)
    onto = -body[None] + torch.randn(1, size, 3, generator=generator, dtype=torch.float64) * 1e-3
    found = superpose(body, onto)[0]
    assert torch.allclose(torch.cdist(found, found), torch.cdist(body, body), atol=1e-9)
    assert torch.allclose(found.mean(0), onto[0].mean(0))


def test_a_chiral_body_is_never_mirrored():
    body = torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0], [0, 0, 0]], dtype=torch.float64)
    body = body - body.mean(0)
    found = superpose(body, -body[None])[0]
    volume = torch.linalg.det((found - found[3])[:3])
    assert float(volume) == pytest.approx(6.0)


def test_atoms_that_are_not_finite_stay_so_and_harm_no_other_molecule():
    scaffold = Scaffold.read(molecule("H2O"), SCHEMA)
    positions = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    positions[4] = torch.nan
    placed = scaffold.placed(positions, torch.tensor([3, 3]))
    assert torch.isfinite(placed[:3]).all()
    assert torch.isnan(placed[4]).all()


def test_everything_that_holds_one_molecule_is_read(tmp_path):
    ethanol = molecule("CH3CH2OH")
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    write(tmp_path / "ethanol.xyz", ethanol)
    Chem.MolToMolFile(mol, str(tmp_path / "ethanol.mol"))
    structures = Structures.build(ethanol.positions, ethanol.numbers.tolist())
    for given in (ethanol, mol, structures, tmp_path / "ethanol.xyz", str(tmp_path / "ethanol.mol")):
        scaffold = Scaffold.read(given, SCHEMA)
        assert dict(scaffold.counts) == {6: 2, 8: 1, 1: 6}
        assert float(scaffold.positions.mean(0).abs().max()) < 1e-9


def test_what_can_not_be_built_on_is_refused_with_its_reason(tmp_path):
    water = molecule("H2O")
    write(tmp_path / "two.xyz", [water, water])
    flat = Chem.MolFromSmiles("CCO")
    for given, words in (
        (tmp_path / "two.xyz", "two.xyz holds 2 structures with 6 atoms"),
        (Atoms("F2", [[0, 0, 0], [0, 0, 1.4]]), "knows no F"),
        (molecule("C6H6") + molecule("C6H6"), "has 24 atoms, and the model's largest molecule 12"),
        (Atoms("C2"), "0 Å apart"),
        (7, "a int is no substructure"),
    ):
        with pytest.raises(RequestError, match=words):
            Scaffold.read(given, SCHEMA)
    with pytest.raises(FileFormatError, match=r"nothing\.sdf"):
        Scaffold.read(tmp_path / "nothing.sdf", SCHEMA)
    with pytest.raises(MolgenError):
        Scaffold.read(flat, SCHEMA)
