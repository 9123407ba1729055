"""The program that makes data/organics/, end to end on two molecules, and the files that it made."""

from __future__ import annotations

import importlib
import io
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import iread, read
from rdkit import Chem

from molgen.errors import InputError

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data/organics"
SPLITS = ("train", "validation", "test_molecules", "test_frames")
KINDS = {"relaxed", "path", "300K", "600K", "1000K", "rattled"}
ROUNDING = 5.1e-4  # forces and charges have three decimals
PREFIX = 300  # frames of each file that are read


@pytest.fixture
def organics(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return lambda name: importlib.import_module(f"organics.{name}")


@pytest.fixture
def tblite() -> ModuleType:
    return pytest.importorskip("tblite.interface", reason="tblite is not installed (the extra `labels`)")


@pytest.fixture(scope="module", params=SPLITS)
def prefix(request: pytest.FixtureRequest) -> list[Atoms]:
    return frames_of(DATA / f"{request.param}.extxyz.xz", PREFIX)


def test_the_same_seed_makes_the_same_molecules_and_another_seed_others(organics: Any) -> None:
    molecules = organics("enumeration").molecules
    made = molecules(1, largest=4)
    assert made == molecules(1, largest=4)
    assert len(made) == len(set(made)) > 100
    assert set(made) != set(molecules(2, largest=4))


def test_every_molecule_is_canonical_neutral_and_closed_shell(organics: Any) -> None:
    for smiles in organics("enumeration").molecules(1, largest=5):
        molecule = Chem.MolFromSmiles(smiles)
        assert Chem.MolToSmiles(molecule) == smiles
        assert Chem.GetFormalCharge(molecule) == 0
        assert {atom.GetSymbol() for atom in molecule.GetAtoms()} <= {"H", "C", "N", "O"}
        assert not any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
        assert "." not in smiles


def test_the_smallest_molecules_come_first(organics: Any) -> None:
    made = organics("enumeration").molecules(1, largest=4)
    assert {"[H][H]", "C", "N", "O", "C#N", "[C-]#[O+]", "N#N", "C=O"} <= set(made[:30])
    assert "O=O" not in made
    assert "O=C=O" in made


def test_small_graphs_are_listed_completely(organics: Any) -> None:
    alkanes_and_rings = {"CC", "C=C", "C#C", "CCC", "C=CC", "C#CC", "C=C=C", "C1CC1", "C1=CC1"}
    hydrocarbons = {s for s in organics("enumeration")._all_graphs(3) if set(s) <= set("C=#1")}
    assert alkanes_and_rings | {"C"} <= hydrocarbons
    assert "CCCC" not in hydrocarbons


def test_the_split_of_a_molecule_depends_on_the_molecule_and_the_seed_alone(organics: Any) -> None:
    split_of = organics("splits").split_of
    assert split_of("C", 1) == split_of("[H][H]", 5) == "train"
    chains = ["C" * length for length in range(3, 203)]
    drawn = [split_of(smiles, 1) for smiles in chains]
    assert drawn == [split_of(smiles, 1) for smiles in reversed(chains)][::-1]
    assert drawn != [split_of(smiles, 2) for smiles in chains]
    assert 160 < drawn.count("train") < 195
    assert set(drawn) == {"train", "validation", "test_molecules"}


def test_no_frame_is_in_two_files_and_frames_are_held_out_of_training_molecules_only(organics: Any) -> None:
    records = [
        {"smiles": "C" * length, "frames": [{"kind": "300K", "text": f"{length} {index}"} for index in range(12)]}
        for length in range(1, 80)
    ]
    splits = organics("splits").dealt(records, 1)
    texts = [frame["text"] for frames in splits.values() for frame in frames]
    assert len(texts) == len(set(texts)) == 12 * len(records)
    held_out = {frame["smiles"] for frame in splits["test_frames"]}
    assert held_out
    assert held_out <= {frame["smiles"] for frame in splits["train"]}
    assert not held_out & {frame["smiles"] for frame in (*splits["validation"], *splits["test_molecules"])}


def test_the_force_field_is_the_derivative_of_its_energy_wherever_it_was_before(organics: Any) -> None:
    conformers = organics("conformers")
    molecule = conformers.embedded("CCO", 1, 3)
    forces = conformers.force_field(molecule, 0)
    positions = molecule.GetConformer().GetPositions()
    fresh = forces(positions)
    forces(positions + 0.3)
    forces(positions * 1.1)
    np.testing.assert_array_equal(forces(positions), fresh)
    assert np.abs(fresh).max() > 0.1


def test_a_broken_a_new_and_a_missing_position_are_told_from_the_molecule(organics: Any) -> None:
    conformers = organics("conformers")
    molecule = conformers.embedded("C", 1, 1)
    bonds = conformers.Bonds(molecule)
    positions = conformers.minimum(molecule, 0)
    assert bonds.hold(positions)
    assert not bonds.hold(positions * 1.6)
    merged = positions.copy()
    merged[1] = positions[2] + 0.2
    assert not bonds.hold(merged)
    assert not bonds.hold(np.full_like(positions, np.nan))


def test_stored_labels_belong_to_the_stored_positions(organics: Any, tblite: Any, tmp_path: Path) -> None:
    smiles = ["O", "C=O"]
    organics("chunks").label_all(smiles, 1, tmp_path / "chunks", 1, lambda line: None)
    records = list(organics("chunks").records(smiles, 1, tmp_path / "chunks"))
    splits = organics("splits")
    dealt = splits.dealt(records, 1)
    assert not dealt["validation"], "tiny molecules are always trained on"
    splits.write(dealt, tmp_path)
    frames = [atoms for name in ("train", "test_frames") for atoms in frames_of(tmp_path / f"{name}.extxyz.xz")]
    assert {atoms.info["smiles"] for atoms in frames} == set(smiles)
    assert {"relaxed", "300K", "600K", "1000K"} <= {atoms.info["config_type"] for atoms in frames} <= KINDS
    assert_labelled_as_stored(tblite, frames)

    before = (tmp_path / "train.extxyz.xz").read_bytes()
    chunk = tmp_path / "chunks/chunk-00000.json"
    written = chunk.stat().st_mtime_ns
    organics("chunks").label_all(smiles, 1, tmp_path / "chunks", 2, lambda line: None)
    assert chunk.stat().st_mtime_ns == written, "a chunk that was done is labelled again"
    again = organics("labelling").labelled("O", 1)
    assert [organics("files").frame_text(frame, "O", 0) for frame in again.frames] == [
        frame["text"] for frame in records[0]["frames"]
    ]
    splits.write(splits.dealt(reversed(records), 1), tmp_path)
    assert (tmp_path / "train.extxyz.xz").read_bytes() == before


def test_chunks_of_other_molecules_or_another_seed_are_not_taken_for_these(organics: Any, tmp_path: Path) -> None:
    chunk = {"seed": 1, "smiles": ["C"], "seconds": 1.0, "molecules": [{"number": 0, "smiles": "C", "frames": []}]}
    (tmp_path / "chunk-00000.json").write_text(json.dumps(chunk))
    records = organics("chunks").records
    assert [record["smiles"] for record in records(["C"], 1, tmp_path)] == ["C"]
    for smiles, seed in ((["N"], 1), (["C"], 2), (["C", "N"], 1)):
        with pytest.raises(InputError, match=r"chunk-00000\.json is missing or of other molecules"):
            list(records(smiles, seed, tmp_path))


def test_without_tblite_the_extra_that_brings_it_is_named(organics: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    with pytest.raises(InputError, match=r"tblite is not installed.*pip install 'molgen\[labels\]'"):
        organics("splits").isolated_atoms()


def test_the_committed_files_are_small_and_hold_all_kinds(prefix: list[Atoms]) -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) <= 10_000_000
    assert {atoms.info["config_type"] for atoms in prefix} == KINDS


def test_committed_labels_are_sane(prefix: list[Atoms]) -> None:
    for atoms in prefix:
        where = (atoms.info["smiles"], atoms.info["config_type"])
        forces, charges = atoms.arrays["REF_forces"], atoms.arrays["REF_charges"]
        assert set(atoms.symbols) <= {"H", "C", "N", "O"}
        assert np.isfinite(forces).all()
        assert np.isfinite(charges).all()
        assert np.isfinite(atoms.info["REF_energy"])
        # no net force and no net charge, but for what rounding leaves
        assert np.abs(forces.sum(0)).max() <= len(atoms) * ROUNDING, where
        assert abs(charges.sum()) <= len(atoms) * ROUNDING, where
        assert np.abs(atoms.positions.mean(0)).max() <= 1e-3, where
        assert np.linalg.norm(forces, axis=1).max() <= 30.01, where
        assert np.linalg.norm(atoms.info["REF_dipole"]) < 5, where
        if atoms.info["config_type"] == "relaxed":
            assert np.linalg.norm(forces, axis=1).max() < 0.05, where
        molecule = Chem.AddHs(Chem.MolFromSmiles(atoms.info["smiles"], smiles_with_hydrogens()))
        assert [atom.GetSymbol() for atom in molecule.GetAtoms()] == list(atoms.symbols), where


def test_no_molecule_is_in_two_splits_and_held_out_frames_are_of_training_molecules(organics: Any) -> None:
    split_of = organics("splits").split_of
    held = {}
    for name in SPLITS:
        with lzma.open(DATA / f"{name}.extxyz.xz", "rt") as file:
            held[name] = {line.split('smiles="')[1].split('"')[0] for line in file if line.startswith("Properties")}
        assert held[name]
        assert {split_of(smiles, 1) for smiles in held[name]} == {"train" if name == "test_frames" else name}
    assert not held["train"] & held["validation"]
    assert not held["train"] & held["test_molecules"]
    assert not held["validation"] & held["test_molecules"]
    # of a molecule with few frames, all may be held out
    assert len(held["test_frames"] - held["train"]) < 5


def test_ase_opens_the_files_as_they_are() -> None:
    frames = list(iread(DATA / "train.extxyz.xz", ":3"))
    assert frames == frames_of(DATA / "train.extxyz.xz", 3)
    assert [atoms.info["REF_energy"] for atoms in frames]


def test_committed_labels_are_those_of_gfn2_xtb(tblite: Any) -> None:
    for name in SPLITS:
        assert_labelled_as_stored(tblite, frames_of(DATA / f"{name}.extxyz.xz", PREFIX)[::60])


def test_the_isolated_atoms_have_energies_of_gfn2_xtb() -> None:
    atoms = {a.symbols[0]: a for a in read(DATA / "isolated_atoms.extxyz", ":")}
    assert set(atoms) == {"H", "C", "N", "O"}
    assert all(a.info["config_type"] == "IsolatedAtom" and len(a) == 1 for a in atoms.values())
    # Bannwarth, Ehlert and Grimme's parameters give these, in Hartree
    for symbol, energy in {"H": -0.393482, "C": -1.793296, "N": -2.605842, "O": -3.767606}.items():
        assert atoms[symbol].info["REF_energy"] == pytest.approx(energy * units.Hartree, abs=1e-3)


def assert_labelled_as_stored(tblite: Any, frames: list[Atoms]) -> None:
    for atoms in frames:
        calculator = tblite.Calculator("GFN2-xTB", atoms.numbers, atoms.positions / units.Bohr)
        calculator.set("verbosity", 0)
        calculator.set("accuracy", 0.01)
        result = calculator.singlepoint()
        forces = -result.get("gradient") * units.Hartree / units.Bohr
        np.testing.assert_allclose(atoms.arrays["REF_forces"], forces, rtol=0, atol=ROUNDING + 1e-4)
        np.testing.assert_allclose(atoms.arrays["REF_charges"], result.get("charges"), rtol=0, atol=ROUNDING + 1e-4)
        assert atoms.info["REF_energy"] == pytest.approx(result.get("energy") * units.Hartree, abs=2e-5)
        dipole = result.get("dipole") * units.Bohr
        np.testing.assert_allclose(atoms.info["REF_dipole"], dipole, rtol=0, atol=5e-4)


def frames_of(path: Path, count: int | None = None) -> list[Atoms]:
    # ASE seeks in what it reads, which within xz takes a time quadratic in the frames
    with lzma.open(path, "rt") as file:
        lines: list[str] = []
        while count is None or count > 0:
            first = file.readline()
            if not first:
                break
            lines += [first, *(file.readline() for _ in range(int(first) + 1))]
            count = None if count is None else count - 1
    return read(io.StringIO("".join(lines)), ":", format="extxyz")


def smiles_with_hydrogens() -> Chem.SmilesParserParams:
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    return parameters
