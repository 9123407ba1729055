"""The benchmarks run, count what they say they count, and write what they print. How fast anything is, is no test."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from e3nn import o3

import molgen
from molgen.models.denoiser import Denoiser
from molgen.neighbors import complete_graph


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_cases_are_run_in_turn(script):
    harness = script("benchmarks/harness/__init__")
    order = []
    timings = harness.in_turn({name: lambda name=name: order.append(name) for name in "ab"}, 3)
    assert order == ["a", "b"] * 3
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]


def test_a_rate_and_its_range_are_those_of_the_runs(script):
    timing = script("benchmarks/harness/__init__").Timing((2.0, 1.0, 4.0))
    assert timing.rate_text(8.0) == "4.0 (2.0–8.0)"
    assert timing.text() == "2.00 (1.00–4.00)"


def test_a_table_has_a_column_per_key_even_if_only_one_row_has_it(script):
    table = script("benchmarks/harness/__init__").plain_table([{"a": 1}, {"a": 22, "longer": "x"}])
    assert table.splitlines() == ["a   longer", "--  ------", "1", "22  x"]


def test_an_error_of_the_user_is_one_line_and_exit_code_two(script, monkeypatch, capsys):
    harness, program = script("benchmarks/harness/__init__"), script("benchmarks/samplers")
    monkeypatch.setattr(sys, "argv", ["samplers.py", "--quick", "--threads", "1", "--model", "no/such.safetensors"])
    assert harness.ended(program.main) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_egnn_is_measured_beside_the_authors_way(script, tmp_path, capsys):
    script("benchmarks/egnn").main(["--quick", "--threads", "1", "--json", str(tmp_path / "new/egnn.json")])
    found = read(tmp_path / "new/egnn.json")
    results = {row["network"]: row for row in found["results"]}
    assert len(results) == 3
    table = capsys.readouterr().out
    assert results["molgen"]["ratio"] == 1.0
    for row in results.values():
        assert row["ratio"] == row["median_s"] / results["molgen"]["median_s"]
        assert len(row["runs_s"]) == 2
        assert f"\n{row['network']} " in table


def test_saved_bytes_are_those_that_only_autograd_keeps(script):
    saved_bytes = script("benchmarks/egnn").saved_bytes
    x, weight = torch.randn(100, 3), torch.randn(3, 5, requires_grad=True)
    assert saved_bytes(lambda: (x @ weight).sum(), [x, weight]) == 0
    # exp keeps its result, once, whoever else looks at it
    assert saved_bytes(lambda: (x @ weight).exp()[:50].exp().sum(), [x, weight]) == 4 * 5 * (100 + 50)


@pytest.mark.parametrize("hidden", [True, False])
def test_the_peer_is_the_equivariant_network_of_the_paper(script, hidden):
    egnn = script("benchmarks/egnn")
    torch.manual_seed(0)
    network = egnn.Authors(8, 2, hidden=hidden).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, rotation = torch.randn(6, 3, dtype=torch.float64), o3.rand_matrix().double()
    nodes = torch.randn(6, egnn.INPUTS, dtype=torch.float64)
    edges = torch.randn(30, egnn.EDGE_INPUTS, dtype=torch.float64)

    def outcome(positions: torch.Tensor) -> torch.Tensor:
        graph = complete_graph(molgen.Structures.build(positions, [6] * 6))
        return network(graph, positions, nodes, edges).detach()

    before, after = outcome(x), outcome(x @ rotation.T + 1.0)
    assert before[:, -3:].abs().max() > 1e-3
    torch.testing.assert_close(after[:, :-3], before[:, :-3])
    torch.testing.assert_close(after[:, -3:], before[:, -3:] @ rotation.T)


def test_generation_is_measured_beside_ancestral_steps(script, model_file, tmp_path, monkeypatch):
    generation = script("benchmarks/generation")
    monkeypatch.setattr(generation, "peak_memory", lambda command: 3_000_000_000)
    model, path = str(model_file(1)), tmp_path / "generation.json"
    generation.main(["--quick", "--threads", "1", "--model", model, "--atoms", "5", "--json", str(path)])
    found = read(path)
    rows = {(row["what"], row["sampler"].split(":")[1], row["steps"]): row for row in found["results"]}
    assert set(rows) == {
        ("sampling", "karras", 2),
        ("sampling", "karras", 4),
        ("sampling", "edm", 4),
        ("whole", "karras", 2),
        ("whole", "karras", 4),
        ("command", "karras", 2),
    }
    assert rows["sampling", "edm", 4]["ratio_to_edm"] == pytest.approx(1.0)
    assert rows["command", "karras", 2]["peak GB"] == "3.00"
    assert found["quick"] is True


@pytest.mark.skipif(sys.platform == "win32", reason="resource usage is POSIX")
def test_peak_memory_is_that_of_the_command_alone(script):
    peak_memory = script("benchmarks/generation").peak_memory
    ours = b"x" * 150_000_000  # of the process that asks, and so none of the command's
    peak = peak_memory([sys.executable, "-S", "-c", "x = b'x' * 60_000_000"])
    assert 60_000_000 < peak < len(ours)
    with pytest.raises(SystemExit, match="ended with 3"):
        peak_memory([sys.executable, "-S", "-c", "raise SystemExit(3)"])


def test_training_is_measured_from_the_log_of_a_real_run(script, capsys):
    training = script("benchmarks/training")
    training.main(["--quick", "--threads", "1", "--case", "32-true", "yes"])
    rates = json.loads(capsys.readouterr().out)
    assert len(rates) == 2
    assert all(rate > 0 for rate in rates)


def test_random_molecules_have_the_sizes_of_qm9(script):
    training = script("benchmarks/training")
    structures = training.random_molecules(3000)
    structures.check()
    assert set(structures.n_atoms.tolist()) <= set(training.QM9_SIZES)
    assert structures.n_atoms.double().mean() == pytest.approx(18.1, abs=0.3)


def test_commands_are_timed_from_the_shell(script, tmp_path):
    startup = script("benchmarks/startup")
    arguments = ["--only", "python -c pass", "--quick", "--json", str(tmp_path / "startup.json")]
    startup.main(arguments)
    (row,) = read(tmp_path / "startup.json")["results"]
    assert row["command"] == "python -c pass"
    assert 0 < row["median_s"] < 60


def test_the_curve_is_in_the_order_of_samples_seen(script, model_file, tmp_path, capsys):
    curve = script("benchmarks/d1_curve")
    files, places = (
        [str(model_file(2000, churn=5.0)), str(model_file(500, churn=9.0))],
        (tmp_path / "c.json", tmp_path / "c.svg"),
    )
    arguments = ["--quick", "--threads", "1", *files, "--json", str(places[0]), "--svg", str(places[1])]
    curve.main(arguments)
    points = read(places[0])["results"]
    assert read(places[0])["settings"]["sampler"]["config"]["churn"] == 5.0  # of the one that has seen most
    assert [point["samples"] for point in points] == [500, 2000]
    for point in points:
        for metric in point["metrics"].values():
            assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1
    drawing = places[1].read_text(encoding="utf-8")
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "connected validity" in drawing
    assert curve.draw(points) == drawing
    table = capsys.readouterr().out
    assert table.index("\n500 ") < table.index("\n2,000 ")


def test_samplers_are_compared_at_the_evaluations_that_they_make(script, model_file, tmp_path):
    counted = [0]

    def count(module, inputs, output):
        counted[0] += isinstance(module, Denoiser)

    samplers = script("benchmarks/samplers")
    generator = molgen.load(model_file(1))
    handle = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        for name, use, config, per_step in samplers._CASES:
            for evaluations in (1, 4, 5):
                counted[0] = 0
                # one atom count, so that there is one batch
                found = samplers._result(
                    _OfFourAtoms(generator), name, {"use": use, "config": config}, evaluations, per_step, _Arguments()
                )
                assert found["evaluations"] == counted[0] <= evaluations
                assert evaluations - counted[0] <= per_step - 1
    finally:
        handle.remove()


class _Arguments:
    molecules, seed = 2, 0


class _OfFourAtoms:
    def __init__(self, generator):
        self._generator = generator

    def generate(self, n, **options):
        return self._generator.generate(n, n_atoms=4, **options)


def test_every_sampler_has_its_row(script, model_file, tmp_path):
    samplers = script("benchmarks/samplers")
    path = tmp_path / "samplers.json"
    samplers.main(["--quick", "--threads", "1", "--model", str(model_file(1)), "--json", str(path)])
    rows = read(path)["results"]
    assert [row["name"] for row in rows] == [case[0] for case in samplers._CASES]
    churns = {row["name"]: row["options"].get("churn") for row in rows}
    assert churns["karras, Heun, no churn"] == 0.0
    assert churns["karras, Heun, churn"] > 0
