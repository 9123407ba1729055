"""Potentials are trained on files of labelled structures, and what is wrong with files is told."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from training.potential_data import ATOM_ENERGIES, config, frames, written

from molgen.cli.main import main
from molgen.errors import ConfigError, FileFormatError, FittedEnergiesWarning
from molgen.models.checkpoint import certification, read_checkpoint, read_document
from molgen.models.loading import load_potential
from molgen.training import train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("clusters") / "clusters.extxyz", frames())


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


def test_a_potential_learns_energies_and_forces(data, tmp_path):
    training = {"steps": 150, "learning_rate": 5e-3, "clip_norm": 10, "ema_decay": 0.9, "validate_every": 25}
    path = train(config(tmp_path, data, training=training), progress=False)
    validated = [row for row in rows(path.parent) if row["validation_forces_mse"]]
    first, last = validated[0], validated[-1]
    assert float(last["validation_forces_mse"]) < 0.2 * float(first["validation_forces_mse"])
    assert float(last["validation_energy_mae"]) < float(first["validation_energy_mae"])
    document = load_potential(path).document
    assert {s: e.isolated_energy for s, e in document.potential.elements.items()} == ATOM_ENERGIES
    assert document.potential.isolated_source == "given"
    assert document.training["options"]["steps"] == 150


def test_a_finished_model_is_certified_and_says_so(data, tmp_path, capsys):
    path = train(config(tmp_path, data, certify=True))
    document = read_document(path)
    assert certification(document) == (True, "certified")
    assert "forces against differences" in capsys.readouterr().err


def test_what_the_log_calls_errors_are_errors_of_the_model_that_is_written(data, tmp_path):
    path = train(config(tmp_path, data), progress=False)
    model = load_potential(path).module
    from molgen.data.labelled import read_labelled
    from molgen.data.splits import split

    _, held_out, _ = split(24, 20, 4, 0)
    structures = read_labelled(data).dataset.structures(held_out)
    out = model(structures)
    error = out["forces"] - structures.atom_labels["forces"]
    energies = (out["energy"] - structures.structure_labels["energy"]) / structures.n_atoms
    assert float(rows(path.parent)[-1]["validation_energy_mae"]) == pytest.approx(
        float(energies.abs().mean()), rel=1e-4
    )
    assert float(rows(path.parent)[-1]["validation_forces_mse"]) == pytest.approx(
        float(error.square().mean()), rel=1e-4
    )


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_stress_is_learned_in_either_precision(tmp_path, precision):
    data = written(tmp_path / "crystals.extxyz", frames(12, periodic=True))
    training = {"steps": 40, "learning_rate": 5e-3, "validate_every": 10, "precision": precision}
    path = train(config(tmp_path, data, training=training, loss={"stress": 1000.0}, repulsion=False), progress=False)
    validated = [float(row["validation_stress_mse"]) for row in rows(path.parent) if row["validation_stress_mse"]]
    assert validated[-1] < validated[0]
    assert read_document(path).dtype == {"32-true": "float32", "64-true": "float64"}[precision]


def test_energies_weigh_more_in_the_last_part(data, tmp_path):
    loss = {"energy": 0.0, "forces": 1.0, "final_energy": 1e6}
    sections = {"loss": loss, "training": {"steps": 8, "log_every": 1, "learning_rate": 1e-6}}
    path = train(config(tmp_path, data, **sections), progress=False)
    ratios = [float(row["loss"]) / float(row["forces"]) for row in rows(path.parent)]
    assert all(ratio == pytest.approx(1.0, rel=1e-4) for ratio in ratios[:6])
    assert all(ratio > 10 for ratio in ratios[6:])


def test_a_stopped_run_ends_as_one_that_was_not(data, tmp_path):
    whole, parts = config(tmp_path, data, "whole"), config(tmp_path, data, "parts")
    train(whole, progress=False)
    for _ in range(6):
        train(parts, resume=True, budget=1e-9, progress=False)
    one, other = (read_checkpoint(tmp_path / name / "last.safetensors").tensors for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_isolated_atoms_they_are_fitted_with_a_warning(data, tmp_path):
    with pytest.warns(FittedEnergiesWarning, match=r"fitted to the data: H -\d+\.\d+ eV, C -\d+\.\d+ eV"):
        path = train(config(tmp_path, data, data={"isolated_energies": {}}), progress=False)
    record = load_potential(path).document.potential
    assert record.isolated_source == "fitted"
    assert record.elements["C"].isolated_energy == pytest.approx(-100, abs=3)


def test_frames_of_isolated_atoms_are_taken_as_such(tmp_path):
    from ase import Atoms

    atoms = []
    for symbol, energy in ATOM_ENERGIES.items():
        single = Atoms(symbol, [[0.0, 0, 0]])
        single.info |= {"REF_energy": energy, "config_type": "IsolatedAtom"}
        single.arrays["REF_forces"] = np.zeros((1, 3))
        atoms.append(single)
    data = written(tmp_path / "all.extxyz", atoms + frames())
    path = train(config(tmp_path, data, data={"isolated_energies": {}}), progress=False)
    record = load_potential(path).document.potential
    assert {s: e.isolated_energy for s, e in record.elements.items()} == ATOM_ENERGIES


def test_isolated_energies_of_some_elements_alone_are_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="no isolated energy of C"):
        train(config(tmp_path, data) | {"data": {"path": str(data), "isolated_energies": {"H": -1.0}}}, progress=False)


def test_frames_without_forces_teach_their_energies(tmp_path):
    found = frames()
    for atoms in found[::2]:
        del atoms.arrays["REF_forces"]
    data = written(tmp_path / "some.extxyz", found)
    with pytest.warns(UserWarning, match=r"12 of 24 frames have no forces \('REF_forces'\), the first: .*0"):
        path = train(config(tmp_path, data), progress=False)
    assert all(math.isfinite(float(row["loss"])) for row in rows(path.parent))


def test_nan_labels_are_refused_by_frame_and_key(tmp_path):
    found = frames()
    found[5].arrays["REF_forces"][1, 2] = np.nan
    data = written(tmp_path / "nan.extxyz", found)
    with pytest.raises(FileFormatError, match=r"(?s)REF_forces.*5|5.*REF_forces"):
        train(config(tmp_path, data), progress=False)


def test_a_head_without_labels_is_refused_before_the_run(data, tmp_path):
    with pytest.raises(ConfigError, match=r"the data have no dipole \(data.path\)"):
        train(config(tmp_path, data, heads=["energy", "dipole"]), progress=False)


def test_half_precision_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match=r"more digits than bf16-mixed has \(training.precision\)"):
        train(config(tmp_path, data, training={"precision": "bf16-mixed"}), progress=False)


def test_charges_of_the_data_become_a_condition(tmp_path):
    found = frames()
    for number, atoms in enumerate(found):
        atoms.info["charge"] = number % 2
    path = train(config(tmp_path, written(tmp_path / "ions.extxyz", found)), progress=False)
    assert load_potential(path).module.conditions == {"charge"}


def test_forces_without_energies_are_learned_with_a_word_about_their_zero(tmp_path, capsys):
    found = frames()
    for atoms in found:
        del atoms.info["REF_energy"]
    data = written(tmp_path / "forces.extxyz", found)
    with pytest.warns(FittedEnergiesWarning, match="counted from an arbitrary zero"):
        path = train(config(tmp_path, data, data={"isolated_energies": {}}))
    assert "the data have no energy" in capsys.readouterr().err
    assert load_potential(path).document.potential.isolated_source == "unknown"


def test_more_held_out_than_there_is_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match=r"100 of 24 structures are to be held out \(data.validation\)"):
        train(config(tmp_path, data, data={"validation": 100}), progress=False)


def test_a_file_of_its_own_can_validate(data, tmp_path):
    other = written(tmp_path / "others.extxyz", frames(8, seed=1))
    path = train(config(tmp_path, data, data={"validation_path": str(other), "validation": None}), progress=False)
    assert rows(path.parent)[-1]["validation_forces_mae"]


def test_crystals_are_refused_by_an_encoder_of_complete_graphs(tmp_path):
    data = written(tmp_path / "crystals.extxyz", frames(8, periodic=True))
    encoder = {"use": "egnn", "config": {"channels": 8, "layers": 1, "cutoff": None}}
    with pytest.raises(Exception, match="it is periodic") as error:
        train(config(tmp_path, data, encoder=encoder), progress=False)
    assert type(error.value).__module__ == "molgen.errors"


def test_the_command_tells_what_was_read(data, tmp_path, capsys):
    import yaml

    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config(tmp_path, data)))
    assert main(["train", str(file)]) == 0
    told = capsys.readouterr()
    assert told.out.strip().endswith("last.safetensors")
    assert "energy from 'REF_energy' in eV (assumed), all frames" in told.err.replace("\n", " ")
    assert "RMSE/MAE" in told.err


def test_the_command_tells_warnings_in_lines_of_its_own(data, tmp_path, capsys):
    import yaml

    whole = config(tmp_path, data, training={"steps": 1})
    whole["data"]["isolated_energies"] = {}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(whole))
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    told = capsys.readouterr().err
    assert told.count("molgen: warning: no energies of isolated atoms are given") == 1
    assert "FittedEnergiesWarning" not in told
