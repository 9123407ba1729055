"""The encoder `gaunt` with each way to compute its products: all of them run, and rows of one product agree."""

from __future__ import annotations

import json

import pytest
import torch

from molgen.errors import ConfigError


def test_the_quick_run_times_every_way_in_both_tasks(script, tmp_path, capsys):
    path = tmp_path / "gaunt_products.json"
    program = script("benchmarks/gaunt_products")
    program.main(["--quick", "--json", str(path)])
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = {(row["variant"], row["task"]) for row in found["results"]}
    assert rows == {(name, task) for name in program.variants("cpu") for task in ("energy and forces", "training step")}
    assert "on edges, fourier" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(script):
    with pytest.raises(ConfigError, match="no CUDA device"):
        script("benchmarks/gaunt_products").main(["--device", "cuda"])
