"""States are whole or not there, in small files, and come back to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from molgen.errors import CheckpointError, OutputError
from molgen.training import state as module
from molgen.training.log import Log
from molgen.training.state import load_state, save_state, saved_states

TENSORS = {
    "model.weight": torch.randn(3, 4),
    "model.bf16": torch.randn(5).bfloat16(),
    "optimizer.0.1.step": torch.tensor(7.0),
    "model.count": torch.tensor(3),
    "model.empty": torch.zeros(0, 2),
    "sums.loss": torch.tensor(0.1, dtype=torch.float64),
}


@given(st.lists(st.lists(st.integers(0, 40), max_size=3), max_size=4), st.integers(300, 3000))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tensors_of_any_shape_come_back_from_small_shards(tmp_path, monkeypatch, shapes, limit):
    monkeypatch.setattr(module, "SHARD_BYTES", 2000 + limit)
    monkeypatch.setattr(module, "_HEADER_BYTES", 2000)
    tensors = {f"t{number}": torch.randn(shape) for number, shape in enumerate(shapes)}
    state = save_state(tmp_path / "run", 1, tensors, {})
    loaded, _ = load_state(state)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    payloads = [sum(t.numel() * t.element_size() for t in load_shard(p).values()) for p in state.glob("*.safetensors")]
    assert max(payloads) <= limit


def load_shard(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_every_file_of_a_large_state_stays_below_the_limit(tmp_path):
    state = save_state(tmp_path, 1, {"a": torch.zeros(5_000_000), "b": torch.zeros(2_000_000)}, {})
    sizes = [path.stat().st_size for path in state.iterdir()]
    assert max(sizes) <= 15_000_000
    assert len(sizes) == 3


def test_dtypes_and_documents_come_back(tmp_path):
    loaded, document = load_state(save_state(tmp_path, 5, TENSORS, {"counters": {"step": 5, "best": 0.1 + 0.2}}))
    assert document["counters"] == {"step": 5, "best": 0.1 + 0.2}
    assert all(
        torch.equal(loaded[name], value) and loaded[name].dtype == value.dtype for name, value in TENSORS.items()
    )


def test_the_last_two_states_are_kept(tmp_path):
    for step in (1, 2, 30, 4):
        save_state(tmp_path, step, TENSORS, {})
    assert [path.name for path in saved_states(tmp_path)] == ["state-00000030", "state-00000004"]


def test_what_is_no_whole_state_is_not_found(tmp_path):
    (tmp_path / ".state-00000009.partial").mkdir()
    (tmp_path / "state-x").mkdir()
    (tmp_path / "state-00000003").write_text("a file")
    assert saved_states(tmp_path) == []


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "json", "version", "list"])
def test_damage_is_found_and_the_remedy_named(tmp_path, damage):
    state = save_state(tmp_path, 5, TENSORS, {})
    shard, document = state / "000.safetensors", state / "state.json"
    data = shard.read_bytes()
    match damage:
        case "truncate":
            shard.write_bytes(data[:-1])
        case "flip":
            shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "remove":
            shard.unlink()
        case "json":
            document.write_text(document.read_text()[:-5])
        case "version":
            document.write_text(json.dumps(json.loads(document.read_text()) | {"format_version": 99}))
        case "list":
            document.write_text("[]")
    with pytest.raises(CheckpointError) as error:
        load_state(state)
    assert error.value.remedy


def test_a_place_that_can_not_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_state(tmp_path / "file", 1, TENSORS, {})


def test_a_resumed_log_loses_the_rows_past_the_state_and_the_unfinished_one(tmp_path):
    path = tmp_path / "log.csv"
    log = Log(path)
    for step in (2, 4, 6):
        log.write({"step": step, "loss": 0.5, "validation_loss": None})
    with path.open("a") as file:
        file.write("8,0.")
    Log(path, resume_at=4).write({"step": 6, "loss": 0.25, "validation_loss": 1.0, "new": 3})
    assert path.read_text() == "step,loss,validation_loss\n2,0.5,\n4,0.5,\n6,0.25,1\n"


def test_a_new_run_begins_a_new_log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n2,0.5\n")
    Log(path).write({"step": 1})
    assert path.read_text() == "step\n1\n"


def test_a_log_that_lost_its_header_begins_anew(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("ste")
    Log(path, resume_at=5).write({"step": 6})
    assert path.read_text() == "step\n6\n"
