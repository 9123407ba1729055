"""Bonds of geometries whose SMILES are known are those of the SMILES, or not known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem

from molgen.conversion import to_rdkit
from molgen.data.cache import Cache, write_cache
from molgen.data.readers import iterate
from molgen.data.smiles_bonds import bonds_from_smiles, read_smiles, with_smiles
from molgen.errors import FileFormatError, StructureError
from molgen.structures import Structures


@pytest.fixture(scope="module")
def smiles(sdf: Path) -> list[str]:
    lines = sdf.read_text().splitlines()
    return [lines[number + 1] for number, line in enumerate(lines) if line.startswith(">  <smiles>")]


def bare(structures: Structures) -> Structures:
    """The geometries alone."""
    return Structures.build(structures.positions, structures.species, structures.n_atoms)


def canonical(structures: Structures) -> list[str]:
    found = []
    for molecule in to_rdkit(structures):
        Chem.SanitizeMol(molecule)
        found.append(Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(molecule))))
    return found


def test_each_molecule_gets_the_graph_of_its_smiles(small: Structures, smiles: list[str]) -> None:
    bonded = bonds_from_smiles(bare(small), smiles)
    assert bool(bonded.bonds_known.all())
    assert canonical(bonded) == smiles
    bonded.check()


def test_the_order_of_atoms_does_not_matter(small: Structures, smiles: list[str]) -> None:
    shuffled = []
    rng = np.random.default_rng(0)
    for part in small.split():
        order = torch.from_numpy(rng.permutation(len(part.species)))
        shuffled.append(Structures.build(part.positions[order], part.species[order]))
    for part, text in zip(shuffled, smiles, strict=True):
        assert canonical(bonds_from_smiles(part, [text])) == [text]


def test_double_bonds_go_where_they_are_short(small: Structures, smiles: list[str]) -> None:
    (butadiene,) = [i for i, text in enumerate(smiles) if text == "C=CC=C"]
    molecule = bonds_from_smiles(bare(small.select([butadiene])), ["C=CC=C"])
    vectors = molecule.positions[molecule.bonds[:, 0]] - molecule.positions[molecule.bonds[:, 1]]
    carbons = (molecule.species[molecule.bonds] == 6).all(1)
    lengths = vectors.norm(dim=1)[carbons]
    assert molecule.bond_orders[carbons][lengths.argsort()].tolist() == [2, 2, 1]


def test_charges_go_to_the_atoms_that_carry_them(small: Structures, smiles: list[str]) -> None:
    (nitro,) = [i for i, text in enumerate(smiles) if text == "C[N+](=O)[O-]"]
    molecule = bonds_from_smiles(bare(small.select([nitro])), [smiles[nitro]])
    assert sorted(molecule.formal_charges[molecule.formal_charges != 0].tolist()) == [-1, 1]
    assert int(molecule.formal_charges[molecule.species == 7]) == 1


@pytest.mark.parametrize("other", ["COC", "CC", "C(", "", "CCO.O", "[H][H]"])
def test_another_graph_leaves_the_bonds_unknown(other: str, small: Structures, smiles: list[str]) -> None:
    ethanol = smiles.index("CCO")
    bonded = bonds_from_smiles(bare(small.select([0, ethanol])), ["O", other])
    assert bonded.bonds_known.tolist() == [True, False]
    assert len(bonded.bonds) == 2


def test_a_molecule_torn_apart_is_not_matched(small: Structures) -> None:
    water = small.select([0])
    torn = bare(water.replace(positions=water.positions * 2))
    assert not bonds_from_smiles(torn, ["O"]).bonds_known.any()


def test_entries_follow_gdb_index_where_there_is_one(small: Structures, smiles: list[str], tmp_path: Path) -> None:
    geometries = bare(small.select([4, 0, 2]))
    indexed = geometries.replace(structure_labels={"gdb_index": torch.tensor([5, 1, 3], dtype=torch.int32)})
    (bonded,) = with_smiles([indexed], smiles)
    assert canonical(bonded) == [smiles[4], smiles[0], smiles[2]]
    parts = with_smiles([bare(small.select([0, 1])), bare(small.select([2]))], smiles)
    assert [canonical(part) for part in parts] == [smiles[:2], smiles[2:3]]


def test_a_structure_without_entry_is_told(small: Structures) -> None:
    with pytest.raises(StructureError, match="no SMILES for structure 1"):
        list(with_smiles([bare(small.select([0, 1]))], ["O"]))


def test_a_file_without_smiles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "text.npz", smiles=np.array([b"C", b"O"]), other=np.zeros(2))
    np.savez(tmp_path / "none.npz", other=np.zeros(2))
    assert read_smiles(tmp_path / "text.npz") == ["C", "O"]
    with pytest.raises(FileFormatError, match="no array 'smiles'"):
        read_smiles(tmp_path / "none.npz")


@pytest.mark.data
def test_qm9_with_bonds_fits_into_25_megabytes(data_folder: Path, tmp_path: Path) -> None:
    smiles = read_smiles(data_folder / "qm9_smiles.npz")
    every = 500  # of the whole set
    batches = (part.select([0, 1]) for part in iterate(data_folder / "qm9_noF_3d.npz", chunk=every))
    document = write_cache(with_smiles(batches, smiles), tmp_path / "qm9.cache", precision="compact")
    size = (tmp_path / "qm9.cache").stat().st_size / document.n_structures * 128_744
    assert document.n_bonds_known >= 0.99 * document.n_structures
    assert size < 25e6
    assert Cache.open(tmp_path / "qm9.cache").elements == (1, 6, 7, 8)
