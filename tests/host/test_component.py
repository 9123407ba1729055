"""Components say what they are; what can't be used is refused when it is made."""

from __future__ import annotations

import dataclasses

import pytest

from molgen.errors import PluginError
from molgen.host.component import API, KINDS, Capabilities, Component

GOOD = {"name": "egnn", "summary": "a network", "factory": "package.module:build"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "EGNN"),
        ("name", "a:b"),
        ("name", "a b"),
        ("name", "-a"),
        ("name", 3),
        ("summary", None),
        ("cite", 3),
        ("factory", None),
        ("factory", "package.module"),
        ("factory", "package.module:a.b"),
        ("factory", "../module:a"),
        ("config", "package.module"),
        ("config", dict),
        ("migrate", print),
        ("api", "1"),
        ("api", 0),
        ("version", 1.5),
        ("version", True),
        ("aliases", "qm9"),
        ("aliases", ["qm9"]),
        ("name", "a--b"),
        ("capabilities", {"symmetry": "O3"}),
    ],
)
def test_a_field_that_can_not_be_used_is_named(field, value):
    with pytest.raises(PluginError, match=field):
        Component(**GOOD | {field: value})


def test_aliases_are_names_too():
    with pytest.raises(PluginError, match="name 'QM9' can't be used"):
        Component(**GOOD, aliases=("QM9",))


@pytest.mark.parametrize("name", ["egnn", "pair-attention", "qm9", "direct-forces", "gaunt_2.1", "3d"])
def test_names_are_lower_case_words(name):
    assert Component(**GOOD | {"name": name}).name == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"symmetry": "E3"},
        {"dtypes": "float32"},
        {"dtypes": ()},
        {"dtypes": ("float8",)},
        {"devices": ["cpu"]},
        {"l_max": -1},
        {"l_max": 1.0},
        {"smooth": "yes"},
        {"periodic": 1},
    ],
)
def test_a_capability_that_means_nothing_is_refused(wrong):
    with pytest.raises(PluginError, match=next(iter(wrong))):
        Capabilities(**wrong)


def test_what_is_not_claimed_is_not_promised():
    claims = dataclasses.asdict(Capabilities())
    assert not any(value for value in claims.values() if isinstance(value, bool))
    assert claims["symmetry"] == "none"


def test_components_can_not_be_altered():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Component(**GOOD).name = "other"


def test_a_component_that_states_no_api_speaks_the_first():
    assert Component(**GOOD).api == 1 <= API


def test_each_kind_has_its_hook():
    from molgen.host import hookspecs

    hooks = {name for name in vars(hookspecs) if name.startswith("molgen_register_")}
    assert hooks == {f"molgen_register_{kind}s" for kind in KINDS}
