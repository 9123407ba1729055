"""A run can start from a trained potential."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from training.potential_data import config, frames, written

from molgen.data.labelled import read_labelled
from molgen.errors import ConfigError, FittedEnergiesWarning
from molgen.models.checkpoint import read_checkpoint, read_document
from molgen.models.loading import load_potential
from molgen.training import train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("clusters") / "clusters.extxyz", frames())


@pytest.fixture(scope="module")
def base(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = {"steps": 60, "learning_rate": 5e-3, "clip_norm": 10, "ema_decay": 0.5}
    return train(config(tmp_path_factory.mktemp("base"), data, training=training), progress=False)


def tuned(folder: Path, file: Path, base: Path, frozen: list[str] | None = None, **sections) -> dict:
    whole = config(folder, file, "tuned", start_from={"model": str(base), "frozen": frozen or []}, **sections)
    del whole["encoder"]
    return whole


def test_frozen_layers_stay_to_the_bit_and_others_move(data, base, tmp_path):
    path = train(tuned(tmp_path, data, base, ["encoder."]), progress=False)
    before, after = read_checkpoint(base).tensors, read_checkpoint(path).tensors
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("encoder."))
    assert not all(torch.equal(before[name], after[name]) for name in before if name.startswith("heads."))


def test_it_starts_where_the_model_was_even_at_another_offset_of_energy(base, tmp_path):
    moved = frames()
    for atoms in moved:
        atoms.info["REF_energy"] += 3.0 * atoms.get_chemical_symbols().count("C")
    data = written(tmp_path / "moved.extxyz", moved)
    training = {"steps": 1, "learning_rate": 1e-12, "ema_decay": 0.0}
    path = train(tuned(tmp_path, data, base, training=training), progress=False)
    structures = read_labelled(data).structures
    before, after = load_potential(base).module(structures), load_potential(path).module(structures)
    assert torch.allclose(before["forces"], after["forces"], atol=1e-6)
    labels = structures.structure_labels["energy"]
    assert (after["energy"] - labels).mean().abs() < 0.3 < 3.0 < (before["energy"] - labels).mean().abs()


def test_a_run_that_does_not_move_is_the_model_that_it_started_from(base, tmp_path):
    dense = [atoms for atoms in frames(40, seed=3) if len(atoms) == 6]  # more neighbours than the model was trained on
    data = written(tmp_path / "dense.extxyz", dense)
    training = {"steps": 1, "learning_rate": 1e-12, "ema_decay": 0.0}
    path = train(tuned(tmp_path, data, base, training=training), progress=False)
    told, started = read_document(path).training["started_from"], read_document(base)
    assert (told["model"], told["tensors_sha256"]) == (started.name, started.tensors_sha256)
    assert told["samples"] == started.training["samples"]
    structures = read_labelled(data).structures
    before, after = (load_potential(each).module(structures)["forces"] for each in (base, path))
    assert torch.allclose(before, after, atol=1e-6)


def test_repulsion_stays_as_the_model_has_it(data, base, tmp_path):
    with pytest.raises(ConfigError, match=r"trained with repulsion true \(repulsion\)"):
        train(tuned(tmp_path, data, base, repulsion=False), progress=False)


def test_a_new_head_joins_what_is_there(base, tmp_path):
    found = frames()
    for atoms in found:
        atoms.info["REF_dipole"] = atoms.positions[0] - atoms.positions[-1]
    data = written(tmp_path / "dipoles.extxyz", found)
    path = train(tuned(tmp_path, data, base, ["encoder.", "heads.energy."], heads=["energy", "dipole"]), progress=False)
    loaded, old = load_potential(path), load_potential(base)
    assert "dipole" in loaded.module.provides
    structures = read_labelled(data).structures
    assert torch.allclose(loaded.module(structures)["forces"], old.module(structures)["forces"], atol=1e-6)


def test_what_can_not_be_is_told(data, base, tmp_path):
    with pytest.raises(ConfigError, match=r"no parameter begins with 'encodr'.*did you mean 'encoder'"):
        train(tuned(tmp_path, data, base, ["encodr"]), progress=False)
    with pytest.raises(ConfigError, match="nothing to train"):
        train(tuned(tmp_path, data, base, ["encoder", "heads"]) | {"out": str(tmp_path / "b")}, progress=False)
    both = tuned(tmp_path, data, base) | {"encoder": {"use": "egnn", "config": {"cutoff": 4.0}}}
    with pytest.raises(ConfigError, match=r"has an encoder already \(encoder\)"):
        train(both, progress=False)


def test_an_element_that_the_model_does_not_know_is_named(base, tmp_path):
    found = frames(12)
    strange = Atoms("OH", [[0.0, 0, 0], [1.0, 0, 0]])
    strange.info["REF_energy"] = -50.0
    strange.arrays["REF_forces"] = np.zeros((2, 3))
    data = written(tmp_path / "oxygen.extxyz", [*found, strange])
    with pytest.raises(ConfigError, match=r"the model doesn't know O"):
        train(tuned(tmp_path, data, base), progress=False)


def test_isolated_energies_of_some_elements_only_are_refused(data, base, tmp_path):
    whole = tuned(tmp_path, data, base)
    whole["data"]["isolated_energies"] = {"H": -13.6}
    with pytest.raises(ConfigError, match=r"no isolated energy of C \(data.isolated_energies\).*of H, C, or of none"):
        train(whole, progress=False)


def test_the_source_of_isolated_energies_is_that_of_those_in_the_file(data, tmp_path):
    fitted = config(tmp_path, data, "fitted", training={"steps": 1})
    fitted["data"]["isolated_energies"] = {}
    with pytest.warns(FittedEnergiesWarning):
        base = train(fitted, progress=False)
    given = tuned(tmp_path, data, base, training={"steps": 1})
    left_out = {**given, "data": {**given["data"], "isolated_energies": {}}, "out": str(tmp_path / "left_out")}
    sources = [load_potential(train(each, progress=False)).module.record.isolated_source for each in (given, left_out)]
    assert sources == ["given", "fitted"]
