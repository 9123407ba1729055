"""The ablation of the encoder `gaunt` trains all alike, goes on where it stopped, and writes what it prints."""

from __future__ import annotations

import json
from types import ModuleType

import numpy as np
import pytest
import torch

from molgen.errors import ConfigError, FileFormatError

ROUNDING = 1e-4  # of sums of forces of some eV/Å in float32


@pytest.fixture
def program(script) -> ModuleType:
    return script("benchmarks/gaunt_encoder")


def molecule(path, frames: int = 30) -> None:
    draw = np.random.default_rng(0)
    rest = np.array([[0.0, 0, 0], [1.0, 0, 0], [-0.3, 0.9, 0]])
    np.savez(
        path,
        Z=np.array([8, 1, 1], np.uint8),
        R=(rest + 0.05 * draw.normal(size=(frames, 3, 3))).astype(np.float32),
        E=100.0 + draw.normal(size=frames),
        F=draw.normal(size=(frames, 3, 3)).astype(np.float32),
        split_train_01=np.arange(20, dtype=np.int32),
        split_test_01=np.arange(20, frames, dtype=np.int32),
    )


def test_the_quick_run_trains_and_times_the_network_and_its_twin(program, tmp_path, capsys):
    path = tmp_path / "gaunt_encoder.json"
    program.main(["--quick", "--json", str(path)])
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["quick"] is True
    assert set(found["results"]) == {"gaunt", "clebsch-gordan"}
    table = capsys.readouterr().out
    for name, one in found["results"].items():
        (trained,) = one["trained"]
        assert 0 < trained["force_mae"] <= trained["force_rmse"]
        assert trained["parameters"] == one["cost"]["parameters"]
        assert one["cost"]["saved_bytes"] > 10_000
        assert len(one["cost"]["step"]["runs_s"]) == 2
        assert f"\n{name} " in table


def test_every_variant_is_another_network_of_the_same_size_but_for_its_option(program):
    data = program._invented(9)
    energies = {}
    for name in program.VARIANTS:
        model = program._model(name, 0, data)
        structures = data.test.batch(torch.arange(3))
        energies[name] = tuple(model.energy(structures, model.graph(structures)).tolist())
        assert model.encoder.config.channels == program.BASE["channels"]
    assert len(set(energies.values())) == len(program.VARIANTS)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(program, tmp_path):
    data = program._invented(18)
    program._train("gaunt", 0, data, 5, tmp_path / "whole")
    stopped = program._Run("gaunt", 0, data, 5, tmp_path / "parts")
    for _ in range(3):
        stopped.forward()
    stopped.save()
    program._train("gaunt", 0, data, 5, tmp_path / "parts")
    whole, parts = (program._collected(tmp_path / name)["gaunt"]["trained"][0] for name in ("whole", "parts"))
    for key in ("force_mae", "force_rmse", "energy_mae", "config", "data"):
        assert parts[key] == whole[key]
    assert program._Run("gaunt", 0, data, 5, tmp_path / "parts").step == 5


def test_a_run_with_other_settings_is_not_gone_on_with(program, tmp_path):
    data = program._invented(18)
    program._train("gaunt", 0, data, 2, tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        program._train("gaunt", 0, data, 3, tmp_path)


def test_an_epoch_has_every_frame_once_and_the_next_another_order(program):
    epochs = [torch.cat([program._rows(step, 20, 0) for step in range(start, start + 4)]) for start in (0, 4)]
    assert [sorted(epoch.tolist()) for epoch in epochs] == [list(range(20))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()
    assert torch.equal(epochs[1][:5], program._rows(4, 20, 0))


def test_the_learning_rate_warms_up_and_falls_to_its_last(program):
    rates = [program._rate(step, 4000) for step in range(4000)]
    assert rates[0] < rates[50] < max(rates) <= program._RATE
    assert rates[-1] == pytest.approx(program._LAST_RATE, rel=0.1)


def test_a_molecule_is_read_in_electronvolts_beside_the_mean_of_its_training_frames(program, tmp_path):
    molecule(tmp_path / "water.npz")
    data = program._read(tmp_path / "water.npz")
    with np.load(tmp_path / "water.npz") as file:
        energies, forces = 0.0433641153 * file["E"], 0.0433641153 * file["F"]
    np.testing.assert_allclose(data.test.energies.numpy(), energies[20:] - energies[:20].mean())
    np.testing.assert_allclose(data.train.forces.numpy(), forces[:20], rtol=1e-5)
    assert data.average_neighbors == pytest.approx(2.0)


def test_a_file_without_splits_is_refused(program, tmp_path):
    np.savez(tmp_path / "other.npz", Z=np.array([1]))
    with pytest.raises(FileFormatError, match="revised MD17"):
        program._read(tmp_path / "other.npz")


def test_the_invented_molecule_is_neither_pushed_nor_turned_by_its_forces(program):
    train = program._invented(60).train
    assert train.forces.abs().mean() > 0.1
    torque = torch.linalg.cross(train.positions, train.forces).sum(1)
    for total in (train.forces.sum(1), torque):
        torch.testing.assert_close(total, torch.zeros_like(total), atol=ROUNDING, rtol=0)
