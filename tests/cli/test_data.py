"""`molgen data` converts and tells; what can't be read is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.units import Hartree
from labelled_files import extxyz, frames, isolated

from molgen.cli.main import main
from molgen.data.cache import Cache

SDF = Path(__file__).parents[2] / "data" / "small_molecules.sdf"


def test_a_file_is_converted_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.cache"
    assert main(["data", "convert", str(SDF), "--out", str(out), "--precision", "compact"]) == 0
    assert "55 structures, 544 atoms, bonds known of 55" in capsys.readouterr().out
    assert main(["data", "info", str(out), "--json", str(tmp_path / "info.json")]) == 0
    text = capsys.readouterr().out
    for part in (
        "compact",
        "positions within",
        "H 308, C 172",
        "known of 55 structures",
        "energy, per structure",
        "eV",
    ):
        assert part in text
    info = json.loads((tmp_path / "info.json").read_text())
    assert info["fingerprint"] == Cache.open(out).fingerprint
    assert info["source"]["name"] == SDF.name
    assert sum(info["atoms_per_structure"].values()) == info["n_structures"] == 55
    assert info["units"]["positions"] == "Å"


def test_bonds_come_from_smiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    water = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    np.savez(tmp_path / "data.npz", pos=np.tile(water, (2, 1)), Z=[8, 1, 1] * 2, n_atoms=[3, 3], gdb_index=[2, 1])
    np.savez(tmp_path / "smiles.npz", smiles=np.array([b"N", b"O"]))
    arguments = ["data", "convert", str(tmp_path / "data.npz"), "--smiles", str(tmp_path / "smiles.npz")]
    assert main([*arguments, "--out", str(tmp_path / "data.cache")]) == 0
    assert "bonds known of 1" in capsys.readouterr().out
    assert Cache.open(tmp_path / "data.cache").structures([0, 1]).bonds_known.tolist() == [True, False]


def test_labels_get_their_names_and_what_is_left_out_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "data.extxyz"
    file.write_text("1\nProperties=species:S:1:pos:R:3 REF=1.5 other=2\nH 0 0 0\n")
    assert main(["data", "info", str(file), "--label", "REF=energy", "--json", "-"]) == 0
    captured = capsys.readouterr()
    (label,) = json.loads(captured.out)["labels"].items()
    assert label[0] == "structure:energy"
    assert label[1] | {"unit": "eV", "count": 1, "minimum": 1.5, "maximum": 1.5, "rms": 1.5} == label[1]
    assert "molgen: warning:" in captured.err
    assert "other left out" in captured.err


@pytest.mark.parametrize("command", [["data", "info"], ["data", "convert", "--out", "{tmp}/out.cache"]])
def test_bad_files_are_told_in_one_line(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"empty.xyz": "", "paper.pdf": "%PDF", "broken.sdf": "no molecule", "nan.xyz": "1\n\nH 0 0 nan\n"}
    for name, text in bad.items():
        (tmp_path / name).write_text(text)
    for name in [*bad, "missing.sdf"]:
        words = [word.format(tmp=tmp_path) for word in command]
        assert main([*words, str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert name in error
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(bad)


def test_a_cache_that_stands_is_kept_without_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.cache"
    out.write_text("mine")
    arguments = ["data", "convert", str(SDF), "--out", str(out)]
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert len(Cache.open(out)) == 55


def test_labels_for_potentials_are_found_converted_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [*isolated({"H": -13.6 / Hartree, "O": -2041.8 / Hartree}), *frames(20, scale=1 / Hartree)]
    source, out = extxyz(tmp_path, made), tmp_path / "data.cache"
    arguments = ["data", "convert", str(source), "--out", str(out)]
    assert main([*arguments, "--unit", "energy=Ha", "--unit", "forces=eV/Å", "--key", "energy=REF_energy"]) == 0
    captured = capsys.readouterr()
    assert "energy from 'REF_energy' in Ha (as given), all frames" in captured.out
    assert "isolated atoms: H -13.6000, O -2041.8000 eV" in captured.out
    assert "20 structures, 60 atoms" in captured.out
    assert captured.err == ""
    cache = Cache.open(out)
    assert cache.document.precision == "float64"
    assert cache.document.label_sources == {
        "energy": "'REF_energy' in Ha (given)",
        "forces": "'REF_forces' in eV/Å (given)",
    }
    energy = cache.structures([0]).structure_labels["energy"].item()
    assert energy == pytest.approx(made[2].info["REF_energy"] * Hartree)
    assert main(["data", "info", str(out), "--json", str(tmp_path / "info.json")]) == 0
    text = capsys.readouterr().out
    info = json.loads((tmp_path / "info.json").read_text())
    assert info["isolated_energies"] == {"H": pytest.approx(-13.6), "O": pytest.approx(-2041.8)}
    low, mean, high = info["energy_per_atom"]
    assert -690 <= low < mean < high < -680
    forces = cache.structures(range(20)).atom_labels["forces"]
    assert info["labels"]["atom:forces"]["rms"] == pytest.approx(forces.square().mean().sqrt().item())
    assert info["labels"]["atom:forces"]["count"] == 60
    for part in (
        "energy per atom ",
        "isolated atoms  H -13.6000",
        "60 have it",
        "energy was 'REF_energy' in Ha (given)",
    ):
        assert part in text
    again = tmp_path / "again.cache"
    assert main(["data", "convert", str(out), "--out", str(again)]) == 0
    assert Cache.open(again).document.label_sources == cache.document.label_sources
    assert Cache.open(again).fingerprint == cache.fingerprint


def test_a_unit_that_does_not_fit_is_told_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = extxyz(tmp_path, frames(20, scale=1 / Hartree))
    assert main(["data", "info", str(source)]) == 0
    captured = capsys.readouterr()
    assert "molgen: warning:" in captured.err
    assert "is 'REF_energy' in Ha" in captured.err
    assert "energy from 'REF_energy' in eV (assumed)" in captured.out


def test_labels_with_gaps_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = frames(20)
    del made[3].arrays["REF_forces"]
    out = tmp_path / "data.cache"
    assert main(["data", "convert", str(extxyz(tmp_path, made)), "--out", str(out)]) == 0
    assert "1 of 20 frames have no forces ('REF_forces'), the first: frame 3, line 16" in capsys.readouterr().err
    assert main(["data", "info", str(out)]) == 0
    assert "57 have it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--key", "energy"], "--key energy; expected LABEL=KEY"),
        (["--unit", "energy="], "--unit energy=; expected LABEL=UNIT"),
        (["--key", "energy=E", "--label", "x=y"], "--key and --unit don't go with --label"),
        (["--unit", "energy=Ry"], "'Ry' is no unit of energy"),
        (["--key", "energy=REF_enrgy"], "did you mean 'REF_energy'"),
    ],
)
def test_wrong_keys_and_units_are_told_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = extxyz(tmp_path, frames(4))
    for command in (["data", "info"], ["data", "convert", "--out", str(tmp_path / "out.cache")]):
        assert main([*command, str(source), *options]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_label_without_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(SDF), "--label", "energy"]) == 2
    assert "KEY=NAME" in capsys.readouterr().err
