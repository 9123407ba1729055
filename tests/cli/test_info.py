"""`molgen info` tells what a model file says, in lines or as JSON, and refuses what is broken in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from molgen.cli.main import main
from molgen.interfaces import Codec, Process, Schema
from molgen.models.checkpoint import Checkpoint, write_checkpoint
from molgen.models.document import ComponentRecord, Document, Statistics


@pytest.fixture
def checkpoint() -> Checkpoint:
    record = {"distribution_version": "0.4.0", "component_version": 1}
    document = Document(
        name="small molecules",
        task="generator",
        components={
            "encoder": ComponentRecord(use="molgen-egnn:egnn", config={"layers": 6, "cutoff": None}, **record),
            "sampler": ComponentRecord(use="molgen-diffusion:karras", config={"codec": {"kind": "masked"}}, **record),
        },
        schema=Schema(elements=(1, 6, 9), size_counts={5: 1, 11: 3}).as_dict(),
        process=Process("karras", 1.4, 0.01, 15.0, {"species": Codec("masked")}).as_dict(),
        statistics=Statistics(sigma_data=1.4, average_neighbors=17.0),
        training={"samples": 120000, "hours": 1.5, "hardware": "2 CPU cores \x1b[31m"},
        data_fingerprint="f" * 64,
        seed=7,
    )
    tensors = {"weight": torch.zeros(10, 10), "bias": torch.zeros(10), "steps": torch.tensor(3)}
    return Checkpoint(document, tensors)


@pytest.fixture
def model(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    write_checkpoint(tmp_path / "small.safetensors", checkpoint)
    return tmp_path / "small.safetensors"


def test_the_lines_tell_what_a_user_asks_for(model: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["info", str(model)]) == 0
    printed = capsys.readouterr().out
    for words in (
        "small molecules",
        "generator, 110 parameters, float32",
        "molgen-egnn:egnn 0.4.0, component version 1",
        "layers 6, cutoff none",
        "codec.kind masked",
        "H, C, F",
        "5 to 11 atoms, 9.5 on average, counted over 4 of the data",
        "samples 120000, hours 1.5",
        "sigma_max 15",
        "f" * 64,
        "not certified",
    ):
        assert words in printed


def test_nothing_that_a_terminal_obeys_is_printed(model: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["info", str(model)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert r"\x1b[31m" in printed


def test_json_holds_the_same_for_programs(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["info", str(model), "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["molecules"]["elements"] == ["H", "C", "F"]
    assert told["parameters"] == 110
    assert told["components"]["encoder"]["config"] == {"layers": 6, "cutoff": None}
    assert told["certified"] is False
    assert main(["info", str(model), "--json", str(tmp_path / "info.json")]) == 0
    assert json.loads((tmp_path / "info.json").read_text()) == told


def test_a_certificate_is_shown_only_where_it_belongs_to_the_tensors(
    tmp_path: Path, checkpoint: Checkpoint, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "certified.safetensors"
    digest = write_checkpoint(path, checkpoint).tensors_sha256
    for stated, shown in ((digest, "validity 0.93"), ("0" * 64, "not certified: its certificate was made of other")):
        certificate = {"tensors_sha256": stated, "validity": 0.93}
        certified = checkpoint.document.model_copy(update={"certificate": certificate})
        write_checkpoint(path, Checkpoint(certified, checkpoint.tensors))
        assert main(["info", str(path)]) == 0
        printed = capsys.readouterr().out
        assert shown in printed
        assert ("validity" in printed) == (stated == digest)


def test_a_broken_file_is_one_line_and_code_two(model: Path, capsys: pytest.CaptureFixture) -> None:
    model.write_bytes(model.read_bytes()[:-5])
    assert main(["info", str(model)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert str(model) in err


def test_an_unknown_name_is_one_line_and_code_two(capsys: pytest.CaptureFixture) -> None:
    assert main(["info", "no-such-model-anywhere"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "no-such-model-anywhere" in err
