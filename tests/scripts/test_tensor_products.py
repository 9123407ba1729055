"""The benchmark of tensor products compares like with like, and writes what it prints. Speed is no test."""

from __future__ import annotations

import json

import pytest
import torch

AGREEMENT = 1e-12  # of float64, relative to the largest number


@pytest.fixture
def parts(script):
    """The modules of the benchmark."""
    benchmark = script("benchmarks/tensor_products")
    from products import measure, peers, problem

    return benchmark, measure, peers, problem


def test_everyone_computes_the_same_function(parts):
    _, measure, peers, problem = parts
    for parity in ("even", "full"):
        wanted = problem.Problem(3, 4, 2, parity, dtype=torch.float64)
        cases = [peers.ours(wanted, "grid"), *(peers.e3nn_code(wanted, kind) for kind in ("eager", "script"))]
        if parity == "even":
            cases.append(peers.fft2d(wanted))
        for case in cases:
            assert measure.relative_error(case, wanted) < AGREEMENT, case.name


def test_cuequivariance_computes_the_same_function(parts):
    pytest.importorskip("cuequivariance_torch")
    _, measure, peers, problem = parts
    wanted = problem.Problem(2, 4, 3, "full", dtype=torch.float64)
    assert measure.relative_error(peers.cue(wanted, "naive"), wanted) < AGREEMENT


def test_what_is_not_here_says_why(parts):
    _, _, peers, problem = parts
    with pytest.raises(peers.NotHereError, match="kernel"):
        peers.ours(problem.Problem(1, 1, 1), "fused")
    with pytest.raises(peers.NotHereError, match="GiB"):
        peers.fft2d(problem.Problem(10, 4096, 64))


def test_bytes_are_counted_per_row_and_with_the_inputs(parts):
    _, measure, peers, problem = parts
    wanted = problem.Problem(1, 32, 2)
    table = torch.ones(1000, requires_grad=True)  # kept by a product with it, whatever the rows
    case = peers.Case("products", lambda x, y: x * y + x.sum() * table.square().sum())
    assert measure.saved_per_call(case, wanted) == 2 * 32 * 8 * 4


def test_a_slow_case_sits_out_and_a_failing_one_is_left_out(parts, capsys):
    _, measure, _, _ = parts

    def fail() -> None:
        raise RuntimeError("no such luck")

    timings = measure.rounds({"a": lambda: None, "b": fail, "c": lambda: torch.randn(10**6).sum()}, 6, 1e-4)
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 6, "c": 3}
    assert "b fails: no such luck" in capsys.readouterr().err


def test_exponents_and_crossings_are_those_of_power_laws(parts):
    _, measure, _, _ = parts
    degrees = range(4, 21, 2)
    cubic = {degree: 1e-3 * degree**3 for degree in degrees}
    quartic = {degree: 1e-5 * degree**4 for degree in degrees}
    assert measure.exponent(cubic)[0] == pytest.approx(3)
    assert measure.crossing(cubic, quartic, 10) == "L ≈ 100, extrapolated"
    assert measure.crossing(quartic, cubic, 10) == "L = 4 or below"
    assert measure.crossing(cubic, {degree: 2 * t for degree, t in cubic.items()}, 10) == "L = 4 or below"
    assert measure.crossing(cubic, {degree: t / 2 for degree, t in cubic.items()}, 10) == "never, by the fits"
    assert measure.crossing(cubic, {degree: 1e-3 * 11 * degree**2 for degree in degrees}, 10) == "never, by the fits"
    assert measure.crossing({4: 2.0, 6: 2.0, 8: 2.0}, {4: 1.0, 6: 3.0, 8: 4.0}, 4) == "L = 6"


def test_the_file_holds_what_is_printed(parts, tmp_path, capsys):
    path = tmp_path / "new/products.json"
    sections = ["accuracy", "saved", "times", "growth"]
    parts[0].main(["--quick", "--threads", "1", "--sections", *sections, "--json", str(path)])
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["quick"]
    assert found["settings"]["paths"]["2 even"][0] == "0ex0e->0e"
    printed = capsys.readouterr().out
    for title, rows in found["results"].items():
        assert title in printed
        assert rows
    errors = next(rows for title, rows in found["results"].items() if title.startswith("accuracy"))
    assert {row["dtype"] for row in errors} == {"float32", "float64"}
    assert max(row["relative_error"] for row in errors if row["dtype"] == "float64") < AGREEMENT
    times = next(rows for title, rows in found["results"].items() if title.startswith("ms, "))
    assert {row["pass"] for row in times} == {"forward", "forward+backward", "double backward"}
    assert all(len(row["runs_s"]) == 2 for row in times)
