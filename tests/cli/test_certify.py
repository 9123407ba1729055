"""`molgen certify` measures and writes, and `molgen info` shows what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ase.build import molecule
from simulation.potentials import written

from molgen.certify import certifying
from molgen.certify.potentials import QUICK
from molgen.cli.main import main
from molgen.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "small.safetensors", symbols=("H", "O"))


def test_the_certificate_is_measured_written_and_shown(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    short = replace(QUICK, structures=1, coordinates=2, picoseconds=0.1, runs=1, relaxation_steps=10)
    monkeypatch.setattr(certifying, "QUICK", short)
    molecule("H2O").write(tmp_path / "water.xyz")
    told = tmp_path / "certificate.json"
    words = ["certify", str(model), "--quick", "--structures", str(tmp_path / "water.xyz"), "--json", str(told)]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "forces against finite differences …" in printed.err
    for line in ("forces against differences", "equivariance, float32", "energy drift, float64", "(quick", str(model)):
        assert line in printed.out
    content = json.loads(told.read_text())
    assert read_checkpoint(model).document.certificate == content
    assert main(["info", str(model)]) == 0
    shown = capsys.readouterr().out
    assert f"certificate   {content['verdict']} (quick" in shown
    assert "energy drift, float64" in shown
    assert "elements      H, O" in shown
    assert main(["info", str(model), "--json", "-"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["verdict"] == content["verdict"]
    assert summary["potential"]["elements"] == ["H", "O"]


def test_a_certificate_of_other_tensors_is_not_shown(model: Path, capsys: pytest.CaptureFixture) -> None:
    found = read_checkpoint(model)
    certificate = {"verdict": "passes", "measurements": {}, "tensors_sha256": "0" * 64}
    document = found.document.model_copy(update={"certificate": certificate})
    write_checkpoint(model, Checkpoint(document, found.tensors))
    assert main(["info", str(model)]) == 0
    printed = capsys.readouterr().out
    assert "not certified: its certificate was made of other tensors" in printed
    assert "passes" not in printed


def test_what_cannot_be_measured_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    helium = written(tmp_path / "helium.safetensors", symbols=("He",))
    assert main(["certify", str(helium), "--quick"]) == 2
    assert "give some structures (--structures FILE)" in capsys.readouterr().err
    assert main(["certify", str(tmp_path / "none.safetensors")]) == 2
    assert "does not exist" in capsys.readouterr().err
