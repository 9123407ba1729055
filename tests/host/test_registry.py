"""The registry: ids, short names, options, objects, migrations."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

import molgen
from molgen.errors import BrokenPluginError, CheckpointError, ConfigError, UnknownComponentError
from molgen.host import registry as registry_module
from molgen.host.registry import Registry

PARTS = """
from pathlib import Path
from pydantic import BaseModel, ConfigDict

class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    width: int = 4

class Lax(BaseModel):
    width: int = 4

class Needy(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int

def build(config, *, folder="."):
    return Path(folder) / f"{config.width}.safetensors"

def bare(config):
    return Path("bare")

def wrong(config):
    return 3

def migrate(config, tensors, from_version):
    return config | {"width": config.pop("channels"), "from": from_version}, {"new." + k: v for k, v in tensors.items()}
"""


@pytest.fixture
def install(site):
    def install(**fields: object) -> Registry:
        fields = {"factory": "fake_parts.parts:build", "config": "fake_parts.parts:Options"} | fields
        site.add("fake-parts", site.hook("model", "part", **fields), version="2.3", modules={"parts": PARTS})
        return Registry.discover({})

    return install


def test_full_ids_short_names_and_aliases_lead_to_the_same_component(install):
    registry = install(aliases=("piece",))
    found = registry.resolve("model", "part")
    assert (found.id, found.distribution, found.distribution_version) == ("fake-parts:part", "fake-parts", "2.3")
    for id in ("fake-parts:part", "Fake.Parts:part", "piece", "fake-parts:piece"):
        assert registry.resolve("model", id) == found


def test_components_are_listed_once_each_sorted_by_id(site):
    site.add("fake-b", site.hook("model", "one", aliases=("alias",)) + site.hook("encoder", "one"))
    site.add("fake-a", site.hook("model", "two", "three"))
    ids = [each.id for each in Registry.discover({}).components("model") if each.distribution.startswith("fake-")]
    assert ids == ["fake-a:three", "fake-a:two", "fake-b:one"]


def test_kinds_are_separate_rooms_for_names(site):
    site.add("fake-gaunt", site.hook("encoder", "gaunt-x") + site.hook("tensor_product", "gaunt-x"))
    registry = Registry.discover({})
    assert registry.resolve("encoder", "gaunt-x").kind == "encoder"
    assert registry.resolve("tensor_product", "gaunt-x").kind == "tensor_product"


@pytest.mark.parametrize(
    ("kind", "id", "message"),
    [
        ("model", "prat", "unknown model 'prat'; did you mean 'part'?"),
        ("model", "fake-parts:prat", "did you mean 'fake-parts:part'?"),
        ("model", "fake-part:part", "did you mean 'fake-parts:part'?"),
        ("modl", "part", "there is no kind of component 'modl'; did you mean 'model'?"),
        ("metric", "part", "it is a model"),
        ("model", None, "None is no id of a model"),
        ("model", "", "unknown model ''"),
        ("model", ":part", "unknown model ':part'"),
        ("model", "fake-parts:", "unknown model 'fake-parts:'"),
        ("model", "a\x1b[31m\nb", r"'a\x1b[31m\nb'"),
    ],
)
def test_what_is_unknown_is_told_with_the_nearest_name(install, kind, id, message):
    with pytest.raises(UnknownComponentError) as raised:
        install().resolve(kind, id)
    assert message in str(raised.value)


def test_a_name_from_a_hostile_file_is_cut(install):
    with pytest.raises(UnknownComponentError) as raised:
        install().resolve("model", "x" * 1_000_000)
    assert len(str(raised.value)) < 1000


def test_options_have_their_defaults_filled_in(install):
    part = install().resolve("model", "part")
    assert part.make_config().model_dump() == {"width": 4}
    assert part.make_config({"width": 7}).model_dump() == {"width": 7}
    assert part.make_config(part.make_config({"width": 7})).width == 7


def test_wrong_options_are_told_with_their_place(install):
    part = install().resolve("model", "part")
    with pytest.raises(ConfigError, match=r"unknown key 'widht' \(encoder.config.widht\); did you mean 'width'"):
        part.make_config({"widht": 3}, where="encoder.config")


def test_a_component_without_options_takes_none(install):
    part = install(config=None, factory="fake_parts.parts:bare").resolve("model", "part")
    assert part.build() == Path("bare")
    with pytest.raises(ConfigError, match=r"unknown key 'width'.*there are no options here"):
        part.build({"width": 3})


def test_objects_are_built_from_mappings_and_from_models(install):
    part = install().resolve("model", "part")
    assert part.build({"width": 2}, folder="x") == Path("x/2.safetensors")
    assert part.build(part.make_config(), folder="x") == Path("x/4.safetensors")


def test_build_and_plugins_use_the_registry_of_the_process(install, monkeypatch):
    registry = install()
    monkeypatch.setattr(registry_module, "registry", lambda: registry)
    assert molgen.build("model", "part", config={"width": 2}, folder="x") == Path("x/2.safetensors")
    assert "fake-parts:parts" in [plugin.id for plugin in molgen.plugins()]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"factory": "fake_parts.absent:build"}, "its factory fake_parts.absent:build can't be imported"),
        ({"factory": "fake_parts.parts:absent"}, "its factory fake_parts.parts:absent can't be imported"),
        ({"factory": "fake_parts.parts:wrong"}, "its factory returns a int"),
        ({"config": "fake_parts.parts:absent"}, "its config fake_parts.parts:absent can't be imported"),
        ({"config": "fake_parts.parts:build"}, "is not a pydantic model"),
        ({"config": "fake_parts.parts:Lax"}, "takes unknown keys in silence"),
    ],
)
def test_a_promise_that_does_not_hold_names_the_plugin(install, fields, message):
    part = install(**fields).resolve("model", "part")
    with pytest.raises(BrokenPluginError) as raised:
        part.build()
    assert message in str(raised.value)
    assert "(model fake-parts:part, version 2.3)" in str(raised.value)
    assert "update fake-parts" in str(raised.value)


def test_a_missing_option_is_the_users_error(install):
    with pytest.raises(ConfigError, match=r"a required key is missing \(config.width\)"):
        install(config="fake_parts.parts:Needy").resolve("model", "part").build()


def test_nothing_of_a_component_is_imported_before_it_is_used(install):
    registry = install()
    assert "fake_parts.parts" not in sys.modules
    assert issubclass(registry.resolve("model", "part").config_model(), BaseModel)
    assert "fake_parts.parts" in sys.modules


def test_the_same_version_needs_no_migration(install):
    assert install().resolve("model", "part").migrate({"width": 1}, {"a": 2}, 1) == ({"width": 1}, {"a": 2})


def test_older_versions_migrate(install):
    part = install(version=3, migrate="fake_parts.parts:migrate").resolve("model", "part")
    assert part.migrate({"channels": 5}, {"w": 0}, 2) == ({"width": 5, "from": 2}, {"new.w": 0})


def test_newer_versions_and_those_without_a_way_are_refused(install):
    part = install(version=3).resolve("model", "part")
    with pytest.raises(CheckpointError, match=r"written by version 4 \(model fake-parts:part\); .*update fake-parts"):
        part.migrate({}, {}, 4)
    with pytest.raises(CheckpointError, match="written by version 2, from which no migration to 3 exists"):
        part.migrate({}, {}, 2)


def test_the_first_of_two_copies_of_a_distribution_counts(site, tmp_path, monkeypatch):
    site.add("fake-twice", site.hook("model", "new"), version="2.0")
    older = type(site)(tmp_path / "older")
    older.path.mkdir()
    older.add("fake-twice", site.hook("model", "old"), version="1.0")
    monkeypatch.setattr("sys.path", [*sys.path, str(older.path)])
    statuses = [plugin for plugin in Registry.discover({}).plugins if plugin.distribution == "fake-twice"]
    assert [(plugin.version, plugin.components) for plugin in statuses] == [("2.0", ("model new",))]
