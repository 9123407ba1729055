"""`molgen score`: every format, a column per file, errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.db import connect

from molgen.chemistry import Molecules, plausibility, score
from molgen.cli.main import main
from molgen.conversion import from_ase, to_ase
from molgen.structures import Structures

NAMES = ("H2O", "CH4", "C2H4", "CH3CONH2", "OH", "C6H6")
FORMATS = ("sdf", "xyz", "extxyz", "db", "npz", "cache")


@pytest.fixture(scope="module")
def structures() -> Structures:
    return from_ase([molecule(name) for name in NAMES])


@pytest.fixture(scope="module")
def files(structures: Structures, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same molecules in every format."""
    from rdkit import Chem

    from molgen.data.writer import write_cache

    folder = tmp_path_factory.mktemp("molecules")
    paths = {suffix: folder / f"molecules.{suffix}" for suffix in FORMATS}
    with Chem.SDWriter(str(paths["sdf"])) as writer:
        for mol in Molecules(structures).rdkit():
            writer.write(mol)
    frames = to_ase(structures)
    ase.io.write(paths["xyz"], frames, format="xyz")
    ase.io.write(paths["extxyz"], frames, format="extxyz")
    with connect(paths["db"]) as database:
        for frame in frames:
            database.write(frame)
    np.savez(
        paths["npz"],
        n_atoms=structures.n_atoms.numpy().astype(np.uint8),
        Z=structures.species.numpy().astype(np.uint8),
        pos=structures.positions.numpy().astype(np.float32),
    )
    write_cache([structures], paths["cache"])
    return paths


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_scores_of_the_structures(suffix, files, structures, capsys):
    assert main(["score", str(files[suffix]), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"files": {str(files[suffix]): score(structures).as_dict()}}


def test_files_stand_side_by_side_with_the_reference(files, capsys):
    paths = [str(files["sdf"]), str(files["npz"])]
    assert main(["score", *paths, "--reference", str(files["db"])]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["%", "bonds", *paths, "reference"]
    rows = {line.split()[0]: line for line in printed[2 : printed.index("")]}
    assert list(rows)[:8] == [
        *("d1_atom_stability", "d1_molecule_stability", "d2_atom_stability", "d2_molecule_stability", "validity"),
        *("connected_validity", "uniqueness", "novelty"),
    ]
    assert rows["d1_molecule_stability"].count("66.67") == 3  # the radical and benzene are not stable
    assert rows["d2_molecule_stability"].count("83.33") == 3  # the radical is not
    assert rows["novelty"].endswith("–")
    assert "distance table" in rows["validity"]
    assert f"bonds of {paths[0]}: given 6" in printed
    assert f"bonds of {paths[1]}: perceived 5, the distance table's 1" in printed  # the radical
    assert f"distances of {paths[0]} look at" in "\n".join(printed)


@pytest.mark.parametrize("installed", [True, False])
def test_how_to_get_what_is_not_measured_is_told(installed, files, capsys, monkeypatch):
    monkeypatch.setattr(plausibility, "is_installed", lambda: installed)
    monkeypatch.setattr(plausibility, "passes", lambda mols: [mol is not None for mol in mols])
    assert main(["score", str(files["xyz"])]) == 0
    printed = capsys.readouterr().out
    assert ("pip install 'molgen[posebusters]'" in printed) != installed
    assert any(line.startswith("posebusters ") for line in printed.splitlines()) == installed


def test_the_json_file_has_the_files_and_the_reference(files, tmp_path, capsys):
    written = tmp_path / "scores.json"
    command = ["score", str(files["xyz"]), "--reference", str(files["db"]), "--json", str(written)]
    assert main(command) == 0
    assert "d1_atom_stability" in capsys.readouterr().out
    found = json.loads(written.read_text())
    assert found["files"][str(files["xyz"])]["novelty"]["value"] == 0
    assert found["reference"]["path"] == str(files["db"])
    assert "novelty" not in found["reference"]["metrics"]


def test_the_folder_of_a_run_is_scored_with_what_its_sdf_lacks(files, tmp_path, capsys):
    (tmp_path / "molecules.extxyz").write_bytes(files["extxyz"].read_bytes())
    assert main(["score", str(tmp_path), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][str(tmp_path)]["validity"]["n"] == len(NAMES)


def test_a_file_without_hydrogens_is_scored_with_a_warning(tmp_path, capsys):
    path = tmp_path / "heavy.xyz"
    ase.io.write(path, molecule("C6H6")[:6])
    assert main(["score", str(path)]) == 0
    assert "no hydrogens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.sdf", None),
        ("empty.xyz", b""),
        ("truncated.xyz", b"3\n\nO 0 0 0\nH 0.96 0 0\n"),
        ("unknown.what", b"\x00\x01\x02"),
        ("broken.npz", b"PK\x03\x04 nothing"),
        ("infinite.xyz", b"1\n\nH nan 0 0\n"),
        ("element.xyz", b"1\n\nQq 0 0 0\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(name, content, files, tmp_path, capsys):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    written = tmp_path / "scores.json"
    assert main(["score", str(files["xyz"]), str(path), "--json", str(written)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert name in captured.err
    assert not written.exists()


def test_a_file_whose_structures_have_no_atoms_is_told_in_one_line(tmp_path, capsys):
    path = tmp_path / "none.npz"
    np.savez(path, n_atoms=np.zeros(1, np.uint8), Z=np.zeros(0, np.uint8), pos=np.zeros((0, 3), np.float32))
    assert main(["score", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_program_on_the_public_api_prints_the_same_numbers(files, structures, capsys, monkeypatch):
    import runpy
    import sys

    script = Path(__file__).parents[2] / "scripts" / "score.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(files["npz"]), str(files["sdf"])])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip() == score(structures, structures).table()
