"""Components inside configs: validated, resolved, recorded and refused at any depth like those at the top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from molgen.errors import AmbiguousComponentError, BrokenPluginError, ConfigError, UnknownComponentError
from molgen.host.component import ComponentKind, ComponentRef
from molgen.host.config import validate
from molgen.host.reference import REGISTRY
from molgen.host.registry import Registry

OPTIONS = """
from pathlib import Path
from typing import Annotated, Literal
from pydantic import BaseModel, ConfigDict, Field
from molgen.errors import ConfigError
from molgen.host.component import ComponentKind, ComponentRef

class Leaf(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    channels: int = Field(8, ge=1)
    method: Literal["grid", "fourier"] = "grid"

class Branch(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    layers: int = 2
    leaf: Annotated[ComponentRef, ComponentKind("dataset")] = Field("leaf", validate_default=True)
    other: Annotated[ComponentRef, ComponentKind("dataset")] | None = None

class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid")
    branches: list[Annotated[ComponentRef, ComponentKind("model")]] = []

def leaf(config, *, folder="."):
    return Path(folder) / f"{config.method}-{config.channels}"

def branch(config):
    return config.leaf.build(folder="branch")
"""


class Task(BaseModel):
    model_config = ConfigDict(extra="forbid")
    steps: int = 1
    branch: Annotated[ComponentRef, ComponentKind("model")]


@pytest.fixture
def registry(site) -> Registry:
    source = (
        site.hook("dataset", "leaf", factory="fake_tree.options:leaf", config="fake_tree.options:Leaf")
        + site.hook("model", "branch", factory="fake_tree.options:branch", config="fake_tree.options:Branch")
        + site.hook("metric", "tree", factory="fake_tree.options:branch", config="fake_tree.options:Tree")
    )
    site.add("fake-tree", source, modules={"options": OPTIONS})
    site.add("fake-bad", "import no_such_module")
    return Registry.discover({})


def read(registry: Registry, branch: object) -> Task:
    return validate(Task, {"branch": branch}, registry=registry)


def test_an_id_alone_means_its_defaults(registry):
    assert read(registry, "branch") == read(registry, {"use": "fake-tree:branch", "config": {"layers": 2}})
    assert read(registry, {"use": "branch", "config": None}).branch.use == "fake-tree:branch"


def test_a_dump_records_full_ids_and_every_default_at_every_depth(registry):
    leaf = {"use": "fake-tree:leaf", "config": {"channels": 8, "method": "fourier"}}
    task = read(registry, {"use": "branch", "config": {"leaf": {"use": "leaf", "config": {"method": "fourier"}}}})
    branch = {"use": "fake-tree:branch", "config": {"layers": 2, "leaf": leaf, "other": None}}
    assert task.model_dump() == {"steps": 1, "branch": branch}
    assert json.loads(task.model_dump_json()) == task.model_dump()
    assert task.branch.record() == branch


def test_what_was_recorded_reads_back_equal(registry):
    task = read(registry, {"use": "branch", "config": {"leaf": {"use": "leaf", "config": {"channels": 3}}}})
    assert read(registry, task.model_dump()["branch"]) == task
    assert read(registry, task.branch) == task


def test_nested_components_build(registry):
    task = read(registry, {"use": "branch", "config": {"leaf": {"use": "leaf", "config": {"channels": 3}}}})
    assert task.branch.build() == Path("branch/grid-3")
    assert task.branch.config.leaf.build(folder="elsewhere") == Path("elsewhere/grid-3")


@pytest.mark.parametrize(
    ("branch", "error", "message"),
    [
        ("brnch", UnknownComponentError, "unknown model 'brnch' (branch); did you mean 'branch'?"),
        ({"use": "brnch"}, UnknownComponentError, "(branch.use); did you mean 'branch'?"),
        ({"use": "leaf"}, UnknownComponentError, "unknown model 'leaf' (branch.use)"),
        ({"use": "leaf"}, UnknownComponentError, "it is a dataset"),
        ({"use": "fake-bad:x"}, BrokenPluginError, "No module named 'no_such_module' (branch.use); install the module"),
        ({"use": 3}, UnknownComponentError, "3 is no id of a model (branch.use)"),
        (3, ConfigError, "3 names no model (branch); expected an id, or {use: id, config: {…}}"),
        (None, ConfigError, "None names no model (branch)"),
        ({"config": {}}, ConfigError, "no model is named (branch); expected use: id"),
        ({"use": "branch", "confg": {}}, ConfigError, "unknown key 'confg' (branch.confg); did you mean 'config'?"),
        ({"use": "branch", "config": {"layer": 3}}, ConfigError, "(branch.config.layer); did you mean 'layers'?"),
        ({"use": "branch", "config": {"layers": "x"}}, ConfigError, "'x' can't be used (branch.config.layers)"),
        ({"use": "branch", "config": []}, ConfigError, "[] can't be used (branch.config)"),
        (
            {"use": "branch", "config": {"leaf": "laef"}},
            UnknownComponentError,
            "(branch.config.leaf); did you mean 'leaf'",
        ),
        (
            {"use": "branch", "config": {"leaf": {"use": "laef"}}},
            UnknownComponentError,
            "unknown dataset 'laef' (branch.config.leaf.use); did you mean 'leaf'?",
        ),
        (
            {"use": "branch", "config": {"other": {"use": "leaf", "config": {"chanels": 3}}}},
            ConfigError,
            "unknown key 'chanels' (branch.config.other.config.chanels); did you mean 'channels'?",
        ),
        (
            {"use": "branch", "config": {"leaf": {"use": "leaf", "config": {"channels": 0}}}},
            ConfigError,
            "0 can't be used (branch.config.leaf.config.channels); expected greater than or equal to 1",
        ),
    ],
)
def test_a_refusal_names_the_key_path_and_what_was_meant(registry, branch, error, message):
    with pytest.raises(error) as raised:
        read(registry, branch)
    assert message in str(raised.value)


def test_an_ambiguous_name_is_refused_where_it_stands(registry, site):
    site.add("fake-one", site.hook("dataset", "leaf"))
    with pytest.raises(AmbiguousComponentError, match=r"fake-one:leaf and fake-tree:leaf \(branch.config.leaf\)"):
        read(Registry.discover({}), "branch")


def test_components_in_lists_have_their_index_in_the_path(registry):
    tree = registry.resolve("metric", "tree")
    config = tree.make_config({"branches": ["branch", {"use": "branch", "config": {"layers": 5}}]}, where="")
    assert [each.config.layers for each in config.branches] == [2, 5]
    with pytest.raises(ConfigError, match=r"\(score\.branches\[1\]\.config\.lairs\); did you mean 'layers'"):
        tree.make_config({"branches": ["branch", {"use": "branch", "config": {"lairs": 5}}]}, where="score")


def test_the_number_of_further_problems_is_told(registry):
    with pytest.raises(ConfigError, match=r"'a' \(branch.config.leaf.config.a\); .* \(2 more problems follow\)"):
        read(registry, {"use": "branch", "config": {"layer": 3, "leaf": {"use": "leaf", "config": {"a": 1, "b": 2}}}})


def test_an_import_path_is_no_component(registry):
    for path in ("pathlib:Path", "fake_tree.options:branch", "fake_tree.options.branch"):
        with pytest.raises(UnknownComponentError):
            read(registry, path)


def test_pydantic_alone_reports_the_same_paths(registry):
    with pytest.raises(ValidationError) as raised:
        Task.model_validate({"branch": {"use": "branch", "config": {"x": 1}}}, context={REGISTRY: registry})
    assert [each["loc"] for each in raised.value.errors()] == [("branch", "config", "x")]


def test_a_config_has_a_json_schema():
    schema = Task.model_json_schema()["properties"]["branch"]
    assert "registered model" in schema["description"]
    assert {"type": "string"} in schema["anyOf"]


def test_a_reference_without_a_kind_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match="states its kind"):

        class Careless(BaseModel):
            encoder: ComponentRef


def test_a_kind_annotates_references_only():
    with pytest.raises(TypeError, match="annotates a ComponentRef"):

        class Careless(BaseModel):
            encoder: Annotated[str, ComponentKind("encoder")]


def test_a_component_whose_default_would_go_unvalidated_is_refused(site):
    options = OPTIONS.replace(", validate_default=True", "")
    site.add("fake-tree", site.hook("model", "branch", config="fake_tree.options:Branch"), modules={"options": options})
    with pytest.raises(BrokenPluginError, match="does not validate the default of leaf; set validate_default=True"):
        Registry.discover({}).resolve("model", "branch").config_model()


def test_a_default_may_be_validated_by_the_whole_model(site):
    options = OPTIONS.replace(", validate_default=True", "")
    options = options.replace('extra="forbid", frozen=True', 'extra="forbid", validate_default=True')
    hooks = site.hook("model", "branch", config="fake_tree.options:Branch") + site.hook("dataset", "leaf")
    site.add("fake-tree", hooks, modules={"options": options})
    config = Registry.discover({}).resolve("model", "branch").make_config()
    assert config.leaf.use == "fake-tree:leaf"
