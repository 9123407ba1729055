"""A run that was interrupted or killed goes on, and ends with the molecules that it would have given without."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from molgen.errors import OutputError, RequestError
from molgen.generation import GenerationInterrupted

REQUEST = {"n": 9, "batch_size": 3, "report": False, "progress": False}


def interrupted(generator, drawer, out, **more):
    """The folder of a run of which two batches are finished."""
    drawer.interrupt_at = len(drawer.seen) + 2
    with pytest.raises(GenerationInterrupted):
        generator.generate(out=out, **REQUEST, **more)
    drawer.interrupt_at = None
    return out


def killed(folder):
    """The folder as it is where the process had no time to write results."""
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize("end", ["interrupted", "killed"])
def test_it_ends_with_the_same_files(generator, drawer, tmp_path, end):
    whole = generator.generate(out=tmp_path / "whole", trajectory=True, **REQUEST)
    folder = interrupted(generator, drawer, tmp_path / "out", trajectory=True)
    if end == "killed":
        killed(folder)
    resumed = generator.generate(out=folder, resume=True, trajectory=True, **REQUEST)
    assert resumed.indices == whole.indices
    assert torch.equal(resumed.structures.positions, whole.structures.positions)
    for name in ("molecules.sdf", "molecules.extxyz", "molecules.csv", "metrics.json", "trajectory.extxyz"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not (folder / ".partial").exists()


def test_batches_that_are_there_are_not_drawn_again(generator, drawer, tmp_path):
    folder = interrupted(generator, drawer, tmp_path / "out")
    drawn = {index for request in drawer.seen for index in request.indices.tolist()}
    drawer.seen.clear()
    generator.generate(out=folder, resume=True, **REQUEST)
    again = {index for request in drawer.seen for index in request.indices.tolist()}
    assert again == set(range(9)) - drawn


def test_a_damaged_batch_is_drawn_again(generator, drawer, tmp_path):
    whole = generator.generate(**REQUEST)
    folder = interrupted(generator, drawer, tmp_path / "out")
    first = min((folder / ".partial").glob("batch-*"))
    first.write_bytes(first.read_bytes()[:50])
    resumed = generator.generate(out=folder, resume=True, **REQUEST)
    assert torch.equal(resumed.structures.positions, whole.structures.positions)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 3}, "seed was 0, and is 3"),
        ({"n": 12}, "n was 9, and is 12"),
        ({"n_steps": 7}, "n_steps was 4, and is 7"),
        ({"batch_size": 4}, "batch size was 3, and is 4"),
        ({"trajectory": True}, "trajectory was False, and is True"),
    ],
)
def test_another_request_is_refused_and_nothing_is_lost(generator, drawer, tmp_path, change, words):
    folder = interrupted(generator, drawer, tmp_path / "out")
    files = sorted(path.name for path in (folder / ".partial").iterdir())
    with pytest.raises(OutputError, match=words):
        generator.generate(out=folder, resume=True, **{**REQUEST, **change})
    assert sorted(path.name for path in (folder / ".partial").iterdir()) == files


def test_an_unreadable_plan_is_refused_and_nothing_is_lost(generator, drawer, tmp_path):
    folder = interrupted(generator, drawer, tmp_path / "out")
    for text in ("{", json.dumps({"plan": 3}), json.dumps([])):
        (folder / ".partial" / "plan.json").write_text(text)
        with pytest.raises(OutputError, match="can't be read"):
            generator.generate(out=folder, resume=True, **REQUEST)
        assert list((folder / ".partial").glob("batch-*"))


def test_where_nothing_was_begun_there_is_nothing_to_go_on_with(generator, tmp_path):
    with pytest.raises(OutputError, match="no unfinished run"):
        generator.generate(out=tmp_path / "nowhere", resume=True, **REQUEST)
    with pytest.raises(RequestError, match="resume needs the folder"):
        generator.generate(resume=True, **REQUEST)


def test_a_folder_with_an_unfinished_run_says_how_to_go_on(generator, drawer, tmp_path):
    folder = interrupted(generator, drawer, tmp_path / "out")
    with pytest.raises(OutputError, match="holds an unfinished run; go on with it with --resume"):
        generator.generate(out=folder, **REQUEST)
    shutil.rmtree(folder / ".partial")
    with pytest.raises(OutputError, match="is not empty"):
        generator.generate(out=folder, **REQUEST)
