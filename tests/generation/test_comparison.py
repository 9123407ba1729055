"""Samplers are compared on one model: the same request for each, evaluations counted, finished rows never lost."""

from __future__ import annotations

import json

import pytest
import torch
from small_generators import written

import molgen
from molgen.errors import ConfigError, OutputError, RequestError, UnknownComponentError
from molgen.generation.comparison import COMPARED, ComparisonInterrupted, compare
from molgen.generation.comparison_files import make_folder, refuse_existing, write_comparison

pytest.importorskip("molgen_egnn", reason="the plugin molgen-egnn is not installed")
pytest.importorskip("molgen_diffusion", reason="the plugin molgen-diffusion is not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return molgen.load(written(tmp_path_factory.mktemp("model") / "tiny.safetensors", order=2))


@pytest.fixture(scope="module")
def found(tiny):
    samplers = {"edm": "edm", "heun": {"use": "flow", "config": {"order": 2}}, "own": None}
    return compare(tiny, samplers, (3, 1), 4, seed=5, progress=False)


def test_every_sampler_has_a_row_for_every_number_of_steps(found):
    asked = [(row.name, row.n_steps) for row in found.rows]
    assert asked == [("edm", 3), ("edm", 1), ("heun", 3), ("heun", 1), ("own", 3), ("own", 1)]
    assert found.planned == 6
    assert [row.sampler.split(":")[1] for row in found.rows[::2]] == ["edm", "flow", "karras"]
    assert found.rows[2].options["order"] == 2


def test_evaluations_are_counted_one_in_a_step_of_first_order_and_in_the_last(found):
    assert [row.evaluations for row in found.rows] == [3, 1, 5, 1, 5, 1]


def test_evaluations_are_of_each_molecule_however_many_batches(tiny):
    (row,) = compare(tiny, ["edm"], [3], 5, batch_size=2, progress=False).rows
    assert row.evaluations == 3


def test_a_row_is_what_a_run_of_that_sampler_gives(tiny, found):
    drawn = tiny.generate(4, seed=5, sampler="edm", n_steps=3, progress=False)
    row = found.rows[0]
    assert dict(row.metrics) == {name: drawn.metrics[name] for name in COMPARED}
    assert row.options == drawn.record["request"]["sampler_config"]
    assert row.n_failed == 0
    assert row.molecules_per_second > 0


def test_all_samplers_that_can_draw_are_compared_by_default_the_own_first_and_others_are_told_of(tiny, monkeypatch):
    from molgen_diffusion.edm import EDM

    monkeypatch.setattr(EDM, "accepts", lambda self, process: "it is Tuesday")
    default = compare(tiny, steps=[1], n=1, progress=False)
    assert [row.name for row in default.rows][:2] == ["karras", "flow"]
    assert "it is Tuesday" in default.refused["edm"]


def test_the_table_has_intervals_and_the_training_data(found):
    lines = found.table().splitlines()
    assert lines[0].split()[:3] == ["sampler", "steps", "evaluations"]
    assert len(lines) == 2 + 6 + 1
    assert lines[2].startswith("edm")
    assert lines[2].count("(") == 3
    assert lines[-1].startswith("training data")
    assert "97.8 (97.0–98.0)" in lines[-1]


def test_files_hold_the_rows_and_a_page_that_stands_alone(found, tmp_path):
    refuse_existing(tmp_path / "out")
    make_folder(tmp_path / "out")
    write_comparison(tmp_path / "out", found)
    data = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [row["evaluations"] for row in data["rows"]] == [3, 1, 5, 1, 5, 1]
    assert (data["n"], data["seed"], data["model"]["name"]) == (4, 5, "tiny")
    assert set(data["rows"][0]["metrics"]["validity"]) == {"value", "low", "high", "n"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == len(COMPARED)
    assert page.count('<circle class="spot') == len(COMPARED) * len(found.rows)
    assert "<script" not in page
    with pytest.raises(OutputError, match=r"compare\.json already"):
        refuse_existing(tmp_path / "out")


def test_an_interrupt_leaves_the_rows_that_were_finished(tiny, monkeypatch):
    from molgen_diffusion.flow import Flow

    def interrupted(self, model, request, streams):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Flow, "sample", interrupted)
    told = []
    with pytest.raises(ComparisonInterrupted) as stopped:
        compare(tiny, ["karras", "flow"], [2, 1], 1, progress=False, on_row=told.append)
    left = stopped.value.comparison
    assert [(row.name, row.n_steps) for row in left.rows] == [("karras", 2), ("karras", 1)]
    assert left.planned == 4
    assert [len(each.rows) for each in told] == [0, 1, 2]


def test_the_network_is_left_without_a_hook(tiny):
    compare(tiny, ["karras"], [1], 1, progress=False)
    assert not tiny._loaded.module._forward_hooks


@pytest.mark.parametrize(
    ("samplers", "steps", "n", "error", "says"),
    [
        (["karras", "karas"], [1], 1, UnknownComponentError, "did you mean 'karras'"),
        ({"x": {"use": "flow", "config": {"order": 3}}}, [1], 1, ConfigError, "order"),
        ({"x": {"use": "flow", "config": {"sigma_min": 90.0, "sigma_max": 99.0}}}, [1], 1, RequestError, "it learned"),
        ([], [1], 1, RequestError, "no sampler"),
        (["karras"], [], 1, RequestError, "no number of steps"),
        (["karras"], [0], 1, RequestError, "steps is 0"),
        (["karras"], [1], 0, RequestError, "n is 0"),
    ],
)
def test_what_can_not_be_met_is_refused_before_the_first_row(tiny, monkeypatch, samplers, steps, n, error, says):
    monkeypatch.setattr(tiny, "generate", lambda *_, **__: pytest.fail("a row was drawn"))
    with pytest.raises(error, match=says):
        compare(tiny, samplers, steps, n, progress=False)


def test_molecules_that_fail_are_counted(tiny, monkeypatch):
    from molgen_diffusion.edm import EDM

    sample = EDM.sample

    def breaks(self, network, request, streams):
        for state in sample(self, network, request, streams):
            positions = torch.full_like(state.structures.positions, torch.nan)
            yield type(state)(
                state.structures.replace(positions=positions),
                state.step,
                state.n_steps,
                state.noise_level,
                state.finished,
            )

    monkeypatch.setattr(EDM, "sample", breaks)
    (row,) = compare(tiny, ["edm"], [1], 2, progress=False).rows
    assert row.n_failed == 2
    assert row.metrics["validity"].value == 0.0
