"""`molgen relax` with a small potential of random weights."""

from __future__ import annotations

import json
import runpy
import signal
import sys
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from simulation.potentials import ethanol, silicon, written

from molgen.cli.main import main
from molgen.errors import OutputError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Two molecules that the model knows, and one that it doesn't."""
    path = tmp_path / "three.extxyz"
    ase.io.write(path, [ethanol(), molecule("SO2"), ethanol(seed=1)])
    return path


def run(file: Path, model: Path, out: Path, *options: str) -> int:
    return main(["relax", str(file), "--model", str(model), "--out", str(out), *options])


def test_structures_are_relaxed_and_told_in_a_table(model, tmp_path, capsys):
    ase.io.write(tmp_path / "in.xyz", ethanol())
    out = tmp_path / "out.extxyz"
    assert run(tmp_path / "in.xyz", model, out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["structure", "formula", "steps"]
    assert lines[1].split()[:2] == ["0", "C2H6O"]
    assert lines[1].endswith("converged")
    assert lines[-2:] == ["1 of 1 converged", str(out)]
    assert ase.io.read(out).info["converged"] == True  # noqa: E712  numpy's own


def test_what_does_not_converge_is_written_and_marked_and_ends_with_three(model, three, tmp_path, capsys):
    out, summary = tmp_path / "out.extxyz", tmp_path / "out.json"
    assert run(three, model, out, "--json", str(summary), "--fmax", "0.02") == 3
    assert "2 of 3 converged" in capsys.readouterr().out
    told = json.loads(summary.read_text())
    assert (told["converged"], told["out"]) == (2, str(out))
    assert [row["formula"] for row in told["structures"]] == ["C2H6O", "O2S", "C2H6O"]
    assert told["structures"][1]["energy_after"] is None
    frames = ase.io.read(out, ":")
    assert [bool(frame.info["converged"]) for frame in frames] == [True, False, True]
    assert "S, an element" in frames[1].info["reason"]


def test_json_on_standard_output_is_all_that_is_printed(model, three, tmp_path, capsys):
    assert run(three, model, tmp_path / "out.extxyz", "--json", "-", "--steps", "2") == 3
    assert len(json.loads(capsys.readouterr().out)["structures"]) == 3


def test_every_option_is_taken(model, tmp_path):
    ase.io.write(tmp_path / "POSCAR", silicon(rattle=0.02))
    options = "--cell --optimizer fire --fmax 5 --steps 20 --max-force 900 --device cpu --dtype float32 --threads 1"
    assert run(tmp_path / "POSCAR", model, tmp_path / "out.cif", *options.split()) == 0
    assert len(ase.io.read(tmp_path / "out.cif")) == 8


@pytest.mark.parametrize("name", ["traj", "extxyz", "db", "vasp"])
def test_what_a_file_says_of_its_atoms_is_kept_and_labels_are_not(model, tmp_path, name):
    atoms = silicon()
    atoms.set_constraint(FixAtoms([0]))
    atoms.info |= {"name": "diamond", "REF_energy": -3.0} if name in ("traj", "extxyz") else {}
    ase.io.write(tmp_path / f"in.{name}", atoms)
    assert run(tmp_path / f"in.{name}", model, tmp_path / "out.extxyz", "--fmax", "1e-4") == 0
    found = ase.io.read(tmp_path / "out.extxyz")
    assert found.positions[0] == pytest.approx(atoms.positions[0])
    assert found.positions[1] != pytest.approx(atoms.positions[1])
    assert len(found.constraints) == 1
    assert found.info.get("name") == atoms.info.get("name")
    assert "REF_energy" not in found.info


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fmax", "0"], "fmax is 0.0"),
        (["--steps", "0"], "steps is 0"),
        (["--max-force", "-1"], "force_limit is -1.0"),
        (["--optimizer", "newton"], "'newton' is not one of"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--dtype", "bf16-mixed"], "'bf16-mixed' is not one of"),
        (["--cell"], "its cell can't be relaxed"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line_and_leaves_nothing(model, tmp_path, capsys, options, words):
    (tmp_path / "in").mkdir()
    ase.io.write(tmp_path / "in" / "in.xyz", ethanol())
    assert run(tmp_path / "in" / "in.xyz", model, tmp_path / "out.extxyz", *options) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("file", "out", "words"),
    [
        ("gone.xyz", "out.xyz", "no such file or directory"),
        ("iron.xyz", "out.xyz", "atom 0 is Fe, an element that the model doesn't know"),
        ("in.xyz", "out.thing", "structures can't be written to 'out.thing'"),
        ("in.xyz", "no/out.xyz", "there is no folder"),
        ("in.xyz", "in.xyz", "in.xyz exists; replace it (--overwrite)"),
    ],
)
def test_files_that_can_not_be_used_are_told_in_one_line(model, tmp_path, capsys, file, out, words):
    ase.io.write(tmp_path / "in.xyz", ethanol())
    ase.io.write(tmp_path / "iron.xyz", bulk("Fe", cubic=True))
    before = (tmp_path / "in.xyz").read_bytes()
    assert run(tmp_path / file, model, tmp_path / out) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert (tmp_path / "in.xyz").read_bytes() == before


def test_a_model_that_is_none_is_told_in_one_line(tmp_path, capsys):
    ase.io.write(tmp_path / "in.xyz", ethanol())
    assert run(tmp_path / "in.xyz", Path("orgnics"), tmp_path / "out.xyz") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_interrupt_writes_what_there_is_and_ends_with_130(model, tmp_path, capsys, monkeypatch):
    ase.io.write(tmp_path / "in.extxyz", [ethanol(), ethanol(seed=1)])
    from molgen.simulation import relaxation

    usual = relaxation._Relaxer.steps

    def interrupted(self, most):
        for step, force in usual(self, most):
            if step == 1:
                signal.raise_signal(signal.SIGTERM)
            yield step, force

    monkeypatch.setattr(relaxation._Relaxer, "steps", interrupted)
    assert run(tmp_path / "in.extxyz", model, tmp_path / "out.extxyz") == 130
    assert "interrupted" in capsys.readouterr().err
    (frame,) = ase.io.read(tmp_path / "out.extxyz", ":")
    assert frame.info["reason"] == "interrupted"


def test_the_script_prints_the_table_and_the_file(model, tmp_path, capsys, monkeypatch):
    script = Path(__file__).parents[2] / "scripts" / "relax.py"
    ase.io.write(tmp_path / "in.xyz", ethanol())
    places = [str(tmp_path / name) for name in ("in.xyz", "out.sdf")]
    monkeypatch.setattr(sys, "argv", [str(script), *places, "--model", str(model)])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-2:] == ["1 of 1 converged", places[1]]


def test_cells_are_not_relaxed_into_a_file_without_a_place_for_them(model, tmp_path, capsys):
    ase.io.write(tmp_path / "in.cif", silicon())
    assert run(tmp_path / "in.cif", model, tmp_path / "out.sdf", "--cell") == 2
    assert "SDF has no place for the cells" in capsys.readouterr().err
    assert not (tmp_path / "out.sdf").exists()
    run(tmp_path / "in.cif", model, tmp_path / "out.sdf", "--steps", "1")
    assert "are left out, since SDF has no place for them" in capsys.readouterr().err


def test_a_format_that_can_not_hold_the_structures_is_refused_before_they_are_relaxed(
    model, three, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("molgen.simulation.relaxation.relax", lambda *_, **__: pytest.fail("it was relaxed"))
    assert run(three, model, tmp_path / "out.vasp") == 2
    assert "vasp holds one structure, and there are 3" in capsys.readouterr().err
    ase.io.write(tmp_path / "one.xyz", ethanol())
    assert run(tmp_path / "one.xyz", model, tmp_path / "out.vasp") == 2
    assert "ASE can't write these structures as vasp" in capsys.readouterr().err
    assert not (tmp_path / "out.vasp").exists()


def test_what_can_not_be_written_after_all_is_kept_as_extended_xyz(model, tmp_path, capsys, monkeypatch):
    ase.io.write(tmp_path / "in.extxyz", silicon())
    (tmp_path / "out.extxyz").write_text("of another run")
    from molgen.simulation import relaxed

    usual = relaxed._write_frames

    def broken(path, kind, frames, where=None):
        if kind == "vasp" and where is None:
            raise OutputError("ASE can't write these structures as vasp", where=str(path))
        usual(path, kind, frames, where)

    monkeypatch.setattr(relaxed, "_write_frames", broken)
    assert run(tmp_path / "in.extxyz", model, tmp_path / "out.vasp", "--fmax", "5") != 0
    assert f"the structures are in {tmp_path / 'out.1.extxyz'}" in capsys.readouterr().err
    assert ase.io.read(tmp_path / "out.1.extxyz").info["converged"]
    assert (tmp_path / "out.extxyz").read_text() == "of another run"
