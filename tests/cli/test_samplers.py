"""`molgen samplers` lists samplers with their options, and compares them on a model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from small_generators import written

from molgen.cli.main import main
from molgen.host import registry as registry_module
from molgen.host.registry import Registry

pytest.importorskip("molgen_egnn", reason="the plugin molgen-egnn is not installed")
pytest.importorskip("molgen_diffusion", reason="the plugin molgen-diffusion is not installed")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return written(tmp_path_factory.mktemp("model") / "tiny.safetensors")


def run(model, *options: str) -> int:
    return main(["samplers", "compare", str(model), "-n", "2", "--steps", "2,1", "--threads", "1", *options])


@pytest.mark.parametrize("words", [["samplers"], ["samplers", "list"]])
def test_samplers_are_listed_with_their_options(words, capsys):
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "flow  (molgen-diffusion:flow)\n    the straight path from noise to data" in printed
    (kind, *_) = [line.split() for line in printed.splitlines() if line.split()[:1] == ["schedule.kind"]]
    assert kind[1] == '"uniform"'


def test_the_list_is_data_for_programs(tmp_path, capsys):
    assert main(["samplers", "--json", "-"]) == 0
    by_id = {each["id"]: each for each in json.loads(capsys.readouterr().out)}
    order = {option["name"]: option for option in by_id["molgen-diffusion:karras"]["options"]}["order"]
    assert order == {
        "name": "order",
        "values": "1 or 2",
        "default": "1",
        "description": "1: Euler, one evaluation a step; 2: Heun, two",
    }
    assert main(["samplers", "list", "--json", str(tmp_path / "list.json")]) == 0
    assert {each["id"] for each in json.loads((tmp_path / "list.json").read_text())} == set(by_id)


def test_a_sampler_whose_options_can_not_be_had_does_not_stop_the_list(site, monkeypatch, capsys):
    site.add("fake-good", site.hook("sampler", "well", config="no_such_module:Config"))
    monkeypatch.setattr(registry_module, "registry", lambda: Registry.discover({}))
    assert main(["samplers"]) == 0
    printed = capsys.readouterr().out
    assert "its options are not known" in printed
    assert "molgen-diffusion:karras" in printed


def test_the_list_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from molgen.cli.main import main\n"
        "code = main(['samplers']) + main(['samplers', 'compare', '--help'])\n"
        "heavy = {'torch', 'rdkit', 'ase', 'e3nn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_comparison_ends_with_a_table_and_the_place_of_its_page(model, tmp_path, capsys):
    samplers = "karras order=2, flow schedule.kind=cosine schedule.alpha=0.5,edm"
    assert run(model, "--samplers", samplers, "--out", str(tmp_path / "out"), "--seed", "4") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["sampler", "steps", "evaluations"]
    assert lines[2].startswith("karras order=2")
    assert lines[-1] == str(tmp_path / "out" / "report.html")
    rows = json.loads((tmp_path / "out" / "compare.json").read_text())["rows"]
    assert [row["evaluations"] for row in rows] == [3, 1, 2, 1, 2, 1]
    assert rows[2]["options"]["schedule"] | {"kind": "cosine", "alpha": 0.5} == rows[2]["options"]["schedule"]
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()


def test_json_on_standard_output_is_all_that_is_printed(model, capsys):
    assert run(model, "--samplers", "flow", "--json", "-") == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 2


def test_an_interrupt_writes_and_tells_the_finished_rows_and_ends_with_130(model, tmp_path, capsys, monkeypatch):
    from molgen_diffusion.flow import Flow

    def interrupted(self, network, request, streams):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Flow, "sample", interrupted)
    assert run(model, "--samplers", "karras,flow", "--out", str(tmp_path / "out")) == 130
    captured = capsys.readouterr()
    assert "2 of 4 rows are finished" in captured.err
    assert captured.out.count("\nkarras") == 2
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [row["n_steps"] for row in found["rows"]] == [2, 1]
    assert found["planned_rows"] == 4
    assert "2 of 4 rows were not drawn" in (tmp_path / "out" / "report.html").read_text()


def test_a_comparison_that_is_there_needs_overwrite(model, tmp_path, capsys):
    out = ("--samplers", "karras", "--out", str(tmp_path / "out"))
    assert run(model, *out) == 0
    assert run(model, *out) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(model, *out, "--overwrite") == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--samplers", "karas"], "did you mean 'karras'?"),
        (["--samplers", "karras ordr=2"], "did you mean"),
        (["--samplers", "karras order"], "sets nothing (--samplers); expected KEY=VALUE"),
        (["--samplers", "flow schedule=1 schedule.kind=rho"], "schedule is set twice"),
        (["--samplers", "flow order={"], "is no YAML"),
        (["--samplers", ","], "no sampler is given"),
        (["--steps", "ten"], "'ten' is no list of numbers"),
        (["--steps", "0"], "steps is 0"),
        (["--steps", ","], "no number of steps is given"),
        (["-n", "0"], "n is 0"),
        (["--batch-size", "0"], "batch_size is 0"),
    ],
)
def test_what_can_not_be_met_is_told_in_one_line_and_leaves_nothing(model, tmp_path, capsys, options, words):
    assert run(model, "--out", str(tmp_path / "out"), *options) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_told_in_one_line(tmp_path, capsys):
    assert run("qm7", "--out", str(tmp_path / "out")) == 2
    assert capsys.readouterr().err.count("\n") == 1
