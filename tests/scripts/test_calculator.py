"""The benchmark of the calculator runs, and says what it measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms


def test_overhead_skins_and_batches_are_printed_and_written(script, tmp_path, capsys):
    script("benchmarks/calculator").main(["--quick", "--threads", "1", "--json", str(tmp_path / "calculator.json")])
    found = json.loads((tmp_path / "calculator.json").read_text(encoding="utf-8"))
    assert found["quick"] is True
    results = found["results"]
    assert set(results) == {"overhead", "skin", "batch"}
    assert results["skin"]["0.0"]["searches"] == 4  # every step
    assert results["skin"]["0.5"]["searches"] < 4
    (overhead,) = results["overhead"].values()
    assert len(overhead["model_s"]) == len(overhead["calculator_s"]) == 4
    (batches,) = results["batch"].values()
    assert set(batches) == {"0", "4"}
    table = capsys.readouterr().out
    assert "24 atoms of water" in table
    assert "one by one" in table


def test_atoms_oscillate_as_far_as_their_temperature_takes_them(script):
    program = script("benchmarks/calculator")
    box = Atoms("H" * 400 + "O" * 400, positions=np.zeros((800, 3)))
    steps = np.stack(program.oscillations(box, 2000))
    speeds = np.diff(steps, axis=0) / 0.5  # Å/fs
    for own, mass in ((slice(0, 400), 1.008), (slice(400, 800), 15.999)):
        temperature = mass * (speeds[:, own] ** 2).mean() / 8.314462618e-7
        assert temperature == pytest.approx(300, rel=0.1)
