"""The benchmark of the spherical channels runs, and its errors are those of what it says it measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_errors_fall_with_taps_and_grid_points(script, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "spherical_channels.json"
    script("benchmarks/spherical_channels").main(["--quick", "--threads", "1", "--json", str(path)])
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    measured = {(row["encoder"], *row["options"].values()): row for row in rows if "features" in row}
    for exact in (measured["escn",], measured["escn", False]):
        assert max(exact["features"], exact["energies"], exact["jump"]) < 1e-8
    by_taps = [measured["scn", taps, 28] for taps in (1, 4, 16)]
    for name in ("features", "energies", "jump"):
        assert by_taps[0][name] > 10 * by_taps[1][name] > 100 * by_taps[2][name]
    assert measured["scn", 16, 4]["features"] > 10 * measured["scn", 16, 20]["features"]
    growth = [row for row in rows if "features" not in row]
    assert [row["options"]["l_max"] for row in growth] == [1, 2, 4]
    assert all("exponent" in row for row in growth[1:])
    assert "jump at the pole" in capsys.readouterr().out
