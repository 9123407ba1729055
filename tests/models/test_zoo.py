"""Models are found by path, by name, and by alias."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from molgen.errors import UnknownComponentError
from molgen.host.registry import Registry
from molgen.models.zoo import find_model

MakeRegistry = Callable[..., Registry]


@pytest.mark.parametrize("name", ["toy-molecules", "toy-1", "molgen-toy:toy-molecules", "molgen-toy:toy-1"])
def test_names_and_aliases_lead_to_the_file_and_the_id(toy_registry: MakeRegistry, name: str) -> None:
    located = find_model(name, source=toy_registry())
    assert located.path == Path("/models/toy.safetensors")
    assert located.id == "molgen-toy:toy-molecules"


@pytest.mark.parametrize("path", ["toy-1.safetensors", "./toy-1", "runs/toy-1", Path("toy-1")])
def test_what_is_written_like_a_path_is_a_path(toy_registry: MakeRegistry, path: str | Path) -> None:
    located = find_model(path, source=toy_registry())
    assert (located.path, located.id) == (Path(path), None)


def test_a_file_that_exists_is_a_path(
    toy_registry: MakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights").touch()
    Path("toy-1").mkdir()
    assert find_model("weights", source=toy_registry()).id is None
    assert find_model("toy-1", source=toy_registry()).id == "molgen-toy:toy-molecules"


def test_an_unknown_name_is_answered_with_the_nearest_and_all_that_there_are(toy_registry: MakeRegistry) -> None:
    with pytest.raises(UnknownComponentError, match=r"'toy-molecule'.*did you mean.*models: toy-molecules"):
        find_model("toy-molecule", source=toy_registry())


def test_without_models_the_plugins_are_named(toy_registry: MakeRegistry) -> None:
    with pytest.raises(UnknownComponentError, match="molgen plugins"):
        find_model("qm9", source=toy_registry(leave_out="model"))
