"""A certificate stands in the file with its tensors' hash; broken models do not get one that passes."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ase.build import molecule
from simulation.potentials import potential, written

from molgen.certify import Certificate, certificate_lines, certify
from molgen.certify import certifying as module
from molgen.certify.certificate import write_certificate
from molgen.certify.potentials import QUICK, measure_potential
from molgen.certify.samples import chosen_samples
from molgen.errors import CheckpointError, OutputError
from molgen.models.checkpoint import Checkpoint, certification, read_checkpoint
from molgen.models.potential import Potential
from molgen.simulation import Calculator, NotCertifiedWarning

SHORT = replace(QUICK, structures=2, coordinates=3, picoseconds=0.1, runs=1, relaxation_steps=30)
MEASURED = {
    "force_error",
    "stress_error",
    "symmetry_error_float64",
    "symmetry_error_float32",
    "drift_float64",
    "drift_float32",
}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUICK", SHORT)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "small.safetensors", symbols=("H", "C", "O"))


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Of a potential with random weights, with its errors on three frames."""
    folder = tmp_path_factory.mktemp("certified")
    frames = []
    for seed in range(3):
        atoms = molecule("CH3OH")
        atoms.rattle(0.02, seed=seed)
        text = "\n".join(f"{s} {x} {y} {z} 0 0 0" for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True))
        frames.append(f"6\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-60.0\n{text}\n")
    (folder / "held_out.extxyz").write_text("".join(frames))
    path = written(folder / "small.safetensors", symbols=("H", "C", "O"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "QUICK", SHORT)
        return certify(path, quick=True, data=folder / "held_out.extxyz", structures=molecule("CH3OH"))


def test_everything_is_measured_and_bound_to_the_tensors(certified: Certificate) -> None:
    content = certified.content
    assert set(content["measurements"]) == MEASURED
    for name in MEASURED - {"drift_float64", "drift_float32"}:
        assert content["measurements"][name]["verdict"] == "passes", name
    assert content["quick"] is True
    assert content["protocol"] == 1
    assert content["conditions"]["dtype"] == ["float32", "float64"]
    assert content["structures"]["elements_covered"] == ["H", "C", "O"]
    assert content["test_errors"]["structures"] == 3
    assert content["test_errors"]["errors"]["forces"]["rmse"]["n"] == 54
    text = json.dumps(content, allow_nan=False)
    assert certified.path is not None
    assert str(certified.path.parent) not in text, "a certificate goes with its file, places on a machine don't"
    assert content["test_errors"]["data"] == "held_out.extxyz"


def test_the_file_holds_it_and_its_tensors_are_as_before(certified: Certificate) -> None:
    assert certified.path is not None
    found = read_checkpoint(certified.path)
    assert found.document.certificate == certified.content
    assert certification(found.document) == (True, "certified")
    fresh = potential(symbols=("H", "C", "O")).state_dict()
    assert all(torch.equal(tensor.double(), fresh[name]) for name, tensor in found.tensors.items())


def test_calculators_in_both_dtypes_are_covered(certified: Certificate, recwarn: pytest.WarningsRecorder) -> None:
    for dtype in ("float32", "float64"):
        Calculator(certified.path, dtype=dtype)
    assert not [each for each in recwarn if each.category is NotCertifiedWarning]


def test_nothing_is_written_where_that_is_not_wanted(model: Path) -> None:
    before = model.read_bytes()
    found = certify(read_checkpoint(model), quick=True, write=False, structures=molecule("H2O"))
    # of one structure several copies are displaced
    assert len(found.content["measurements"]["force_error"]["by_structure"]) == SHORT.structures
    assert found.path is None
    assert model.read_bytes() == before
    assert "not measured with the elements C" in found.table()


def test_a_certificate_can_go_to_a_copy(model: Path, tmp_path: Path) -> None:
    before, place = model.read_bytes(), tmp_path / "copy.safetensors"
    assert write_certificate(read_checkpoint(model), {"verdict": "passes"}, place) == place
    assert model.read_bytes() == before
    assert read_checkpoint(place).document.certificate == {"verdict": "passes"}
    with pytest.raises(OutputError, match="exists already"):
        write_certificate(read_checkpoint(model), {"verdict": "passes"}, place)
    with pytest.raises(OutputError, match="exists already"):
        certify(model, out=place)
    with pytest.raises(OutputError, match="no such folder"):
        certify(model, out=tmp_path / "absent" / "copy.safetensors")
    write_certificate(read_checkpoint(model), {"verdict": "fails"}, place, overwrite=True)
    assert read_checkpoint(place).document.certificate == {"verdict": "fails"}


def test_a_file_that_changed_while_it_was_measured_is_left_alone(model: Path) -> None:
    checkpoint = read_checkpoint(model)
    written(model, symbols=("H", "C", "O"), seed=1)
    before = model.read_bytes()
    with pytest.raises(CheckpointError, match="changed since it was measured"):
        write_certificate(checkpoint, {"verdict": "passes"})
    assert model.read_bytes() == before


def test_who_is_killed_while_writing_leaves_the_file_whole(model: Path) -> None:
    before = model.read_bytes()
    code = f"""
import os
from molgen import atomic
from molgen.certify.certificate import write_certificate
from molgen.models.checkpoint import read_checkpoint
atomic._flush = lambda path: os._exit(9)
write_certificate(read_checkpoint({str(model)!r}), {{"verdict": "passes"}})
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600)
    assert ended.returncode == 9
    assert model.read_bytes() == before
    assert read_checkpoint(model).document.certificate is None


def test_a_certificate_of_other_tensors_does_not_count(certified: Certificate, tmp_path: Path) -> None:
    from molgen.models.checkpoint import write_checkpoint

    assert certified.path is not None
    found = read_checkpoint(certified.path)
    tensors = {name: tensor + 1e-3 for name, tensor in found.tensors.items()}
    write_checkpoint(tmp_path / "other.safetensors", Checkpoint(found.document, tensors))
    document = read_checkpoint(tmp_path / "other.safetensors").document
    assert certification(document) == (False, "not certified: its certificate was made of other tensors")


@pytest.mark.parametrize(
    ("name", "failing"),
    [
        ("twisted", {"force_error", "symmetry_error_float64", "drift_float64"}),
        ("directed", {"symmetry_error_float64"}),
        ("scaled", {"force_error"}),
    ],
)
def test_a_broken_model_fails_where_it_is_broken(name: str, failing: set[str], request: pytest.FixtureRequest) -> None:
    broken: Potential = request.getfixturevalue(name)
    found = measure_potential({torch.float64: broken}, chosen_samples(broken, molecule("CH3OH")), "O3", SHORT)
    assert failing <= {each for each, measured in found.items() if measured.verdict == "fails"}


def test_a_right_model_fails_nowhere(right: Potential) -> None:
    models = {torch.float64: right, torch.float32: copy.deepcopy(right).float()}
    found = measure_potential(models, chosen_samples(right, molecule("CH3OH")), "O3", SHORT)
    assert {measured.verdict for measured in found.values()} == {"passes"}


def test_a_model_without_an_energy_says_what_it_lacks() -> None:
    model = potential(heads=("direct-forces",))
    found = measure_potential({torch.float64: model}, chosen_samples(model, molecule("CH3OH")), "O3", SHORT)
    assert found["force_error"].verdict == "fails"
    assert found["drift_float64"].verdict == "not measured"
    for name in ("force_error", "drift_float64"):
        assert found[name].value is None
        assert found[name].reason is not None
        assert "no energy" in found[name].reason
    assert found["symmetry_error_float64"].verdict == "passes"


def test_a_generator_is_measured_for_its_equivariance() -> None:
    found = certify("qm9", write=False)
    assert found.verdict == "passes"
    assert found.content["measurements"]["symmetry_error_float64"]["value"] < 1e-9
    assert found.content["measurements"]["validity"]["verdict"] == "not measured"


def test_lines_pass_over_what_they_do_not_understand() -> None:
    assert certificate_lines({"verdict": "passes"})[0] == "passes"
    strange = {"measurements": {"a": 3, "b": {"value": "x", "limit": None}}, "conditions": 4, "test_errors": []}
    assert any(line.startswith("b") for line in certificate_lines(strange))
