"""`molgen evaluate` prints a table, writes files, and tells in one line what it can't do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from simulation.potentials import written

from molgen.cli.main import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "small.safetensors")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    frame = 'Properties=species:S:1:pos:R:3:my_forces:R:3 my_energy=-{e} pbc="F F F"\n'
    atoms = "O 0 0 0 0.1 0 0\nH 0.96 0 0 0 0.1 0\nH -0.24 {y} 0 0 0 0.1\n"
    text = "".join("3\n" + frame.format(e=40 + k) + atoms.format(y=0.9 + 0.01 * k) for k in range(4))
    (tmp_path / "water.extxyz").write_text(text)
    return tmp_path / "water.extxyz"


KEYS = ("--key", "energy=my_energy", "--key", "forces=my_forces")


def test_the_table_and_the_files_are_written(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "errors"
    assert main(["evaluate", str(model), str(data), *KEYS, "--out", str(out), "--predictions"]) == 0
    printed = capsys.readouterr().out
    for words in ("energy from 'my_energy' in eV", "energy per atom", "forces on O", "meV/Å", "report.html"):
        assert words in printed
    assert sorted(path.name for path in out.iterdir()) == ["errors.json", "predictions.extxyz", "report.html"]
    assert json.loads((out / "errors.json").read_text())["structures"] == 4
    assert main(["evaluate", str(model), str(data), *KEYS, "--out", str(out)]) == 2
    assert "already" in capsys.readouterr().err
    assert main(["evaluate", str(model), str(data), *KEYS, "--out", str(out), "--overwrite"]) == 0


def test_json_goes_to_standard_output(model: Path, data: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", str(model), str(data), *KEYS, "--json", "-", "--max", "2", "--dtype", "float64"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["structures"] == 2
    assert told["dtype"] == "float64"
    assert told["errors"]["forces"]["unit"] == "eV/Å"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "has an energy or forces"),
        ((*KEYS, "--dtype", "bf16-mixed"), "bf16-mixed"),
        ((*KEYS, "--predictions"), "no folder for the predictions"),
        (("--key", "energy"), "LABEL=KEY"),
    ],
)
def test_what_cannot_be_done_is_told(
    model: Path, data: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["evaluate", str(model), str(data), *words]) == 2
    assert message in capsys.readouterr().err


def test_an_absurd_label_is_told_and_written(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data.write_text(data.read_text().replace("my_energy=-41", "my_energy=1e300"))
    out = tmp_path / "errors"
    assert main(["evaluate", str(model), str(data), *KEYS, "--out", str(out), "--json", str(tmp_path / "a.json")]) == 0
    for file in (out / "errors.json", tmp_path / "a.json"):
        assert json.loads(file.read_text())["errors"]["energy"]["rmse"]["value"] is None
    assert "overflow" not in capsys.readouterr().err
