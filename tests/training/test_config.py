"""A config is checked as a whole before anything is built, and says what to mend."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from molgen.errors import ConfigError, MolgenError, UnknownComponentError
from molgen.training import parse_override, read_config


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"training.step": 5}, "unknown key 'step' (training.step); did you mean 'steps'?"),
        ({"encoder.config.channel": 5}, "unknown key 'channel' (encoder.config.channel); did you mean 'channels'?"),
        ({"task": "potential"}, "a potential has no sampler"),
        ({"task": "poem"}, "'poem' can't be used (task)"),
        ({"sampler": None}, "a generator needs a sampler"),
        ({"training.steps": None}, "would never end"),
        ({"training.steps": None, "training.hours": 1}, "cosine needs steps"),
        ({"training.learning_rate": float("nan")}, "training.learning_rate"),
        ({"training.batch_size": 0}, "training.batch_size"),
        ({"data": 5}, "(data)"),
        ({"training.steps.x": 5}, "'steps' has no keys below it"),
    ],
)
def test_a_wrong_config_is_refused_with_the_key(config, overrides, told):
    with pytest.raises(ConfigError) as error:
        read_config(config(), overrides)
    assert told in str(error.value)


def test_an_unknown_component_is_refused_with_the_nearest_name(config):
    with pytest.raises(UnknownComponentError, match=r"unknown sampler 'tinny' \(sampler\); did you mean 'tiny'"):
        read_config(config(), {"sampler": "tinny"})


def test_a_component_by_its_id_alone_takes_overrides_of_its_options(config):
    read = read_config(config(), {"encoder.config.channels": 3})
    assert read.encoder.use == "fake-tiny:tiny"
    assert read.encoder.config.channels == 3


def test_a_config_survives_being_written_and_read(config):
    read = read_config(config())
    assert read_config(yaml.safe_load(yaml.safe_dump(read.model_dump(mode="json")))) == read


def test_overrides_leave_the_given_mapping_as_it_was(config):
    given_data = config()
    read_config(given_data, {"training.steps": 99})
    assert given_data["training"]["steps"] == 12


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: [1", "line"),
        (b"- 1", "mapping"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"", "mapping"),
        (b"!!python/name:os.system", "YAML"),
    ],
)
def test_a_file_that_is_no_config_is_refused_with_its_name(tmp_path, content, told):
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=told) as error:
        read_config(file)
    assert "run.yaml" in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="can't read config"):
        read_config(tmp_path / "none.yaml")


@given(st.binary(max_size=200))
def test_no_file_content_is_more_than_a_config_error(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("fuzz") / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(MolgenError):
        read_config(file)


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("1.5", 1.5), ("muon", "muon"), ("[1, 2]", [1, 2]), ("null", None), ("a=b", "a=b")]
)
def test_an_override_is_read_as_yaml(text, value):
    assert parse_override(f"a.b={text}") == ("a.b", value)


@pytest.mark.parametrize("text", ["training.steps", "=5", "a=[1"])
def test_an_override_without_key_or_value_is_refused(text):
    with pytest.raises(ConfigError, match="--set"):
        parse_override(text)


def test_every_option_says_what_it_is(config):
    for section in (read_config(config()).training, read_config(config()).data):
        assert all(field.description for field in type(section).model_fields.values())
