"""What pydantic finds wrong, said in molgen's words."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from molgen.errors import ConfigError
from molgen.host.config import config_error, validate


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rate: float = Field(1e-3, gt=0)
    kind: Literal["cosine", "constant"] = "cosine"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner = Inner()
    maybe: Inner | None = None
    many: list[Inner] = []
    named: dict[str, Inner] = {}
    even: int = 0

    @field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value == 13:
            raise ConfigError("13 is unlucky", remedy="choose 14")
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "a required key is missing (run.name); set name"),
        ({"name": "x", "iner": {}}, "unknown key 'iner' (run.iner); did you mean 'inner'?"),
        ({"name": "x", "inner": {"rat": 1}}, "unknown key 'rat' (run.inner.rat); did you mean 'rate'?"),
        ({"name": "x", "maybe": {"rat": 1}}, "unknown key 'rat' (run.maybe.rat); did you mean 'rate'?"),
        ({"name": "x", "many": [{}, {"rat": 1}]}, "unknown key 'rat' (run.many[1].rat); did you mean 'rate'?"),
        ({"name": "x", "named": {"a": {"rat": 1}}}, "unknown key 'rat' (run.named.a.rat); did you mean 'rate'?"),
        ({"name": "x", "inner": {"zzz": 1}}, "unknown key 'zzz' (run.inner.zzz); choose one of kind, rate"),
        ({"name": "x", "inner": {"rate": 0}}, "0 can't be used (run.inner.rate); expected greater than 0"),
        (
            {"name": "x", "inner": {"kind": "sine"}},
            "'sine' can't be used (run.inner.kind); expected 'cosine' or 'constant'",
        ),
        ({"name": "x", "inner": 3}, "3 can't be used (run.inner); expected a valid dictionary or instance of Inner"),
        ({"name": "x", "even": 3}, "3 is odd (run.even)"),
        ([], "[] can't be used (run); expected a valid dictionary or instance of Outer"),
    ],
)
def test_a_message_has_the_path_and_the_nearest_key(data, message):
    with pytest.raises(ConfigError) as raised:
        validate(Outer, data, where="run")
    assert str(raised.value) == message


def test_one_of_our_own_errors_keeps_its_words():
    with pytest.raises(ConfigError, match=r"13 is unlucky \(run\); choose 14"):
        validate(Outer, {"name": "x", "even": 13}, where="run")


def test_without_a_root_the_path_starts_at_the_first_key():
    with pytest.raises(ConfigError, match=r"\(inner\.rate\)"):
        validate(Outer, {"name": "x", "inner": {"rate": -1}})


def test_an_error_without_its_model_has_the_path_still():
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate({"name": "x", "inner": {"rat": 1}})
    assert str(config_error(raised.value, root="task")) == "unknown key 'rat' (task.inner.rat)"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from([*Outer.model_fields, *Inner.model_fields, "other"])


@given(st.dictionaries(keys, json_values | st.dictionaries(keys, json_values)))
def test_any_data_gives_a_model_or_a_config_error(data):
    try:
        read = validate(Outer, data)
    except ConfigError:
        return
    assert validate(Outer, read.model_dump()) == read
