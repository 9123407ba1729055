from dataclasses import replace

import pytest

from molgen.errors import ConfigError, RequestError, UnknownComponentError
from molgen.generation.samplers import choose_sampler
from molgen.host.registry import registry
from molgen.interfaces import Sampler
from molgen.models.document import ComponentRecord
from molgen.models.restoration import Loaded

pytest.importorskip("molgen_diffusion", reason="the plugin molgen-diffusion is not installed")

KARRAS = "molgen-diffusion:karras"


@pytest.fixture
def loaded(module, document, schema, process) -> Loaded:
    """A model that `karras` trained with options of its own."""
    sampler = registry().resolve("sampler", "karras").build({"n_steps": 30, "churn": 7.0})
    record = ComponentRecord(use=KARRAS, distribution_version="1", component_version=1)
    components = document.components | {"sampler": record}
    return Loaded(sampler, module, document.model_copy(update={"components": components}), schema, process, None)


@pytest.mark.parametrize("asked", [None, "karras", KARRAS, {"use": "karras"}])
def test_the_sampler_that_trained_the_model_keeps_its_options(loaded, asked):
    assert choose_sampler(loaded, asked, None) == (loaded.sampler, KARRAS, 30)


def test_options_that_are_given_replace_single_options_of_the_checkpoint(loaded):
    sampler, use, steps = choose_sampler(loaded, {"use": "karras", "config": {"order": 2}}, None)
    assert (use, steps) == (KARRAS, 30)
    assert (sampler.config.order, sampler.config.churn) == (2, 7.0)
    assert loaded.sampler.config.order == 1


def test_another_sampler_comes_with_its_own_defaults(loaded):
    sampler, use, steps = choose_sampler(loaded, "edm", None)
    assert use == "molgen-diffusion:edm"
    assert steps == sampler.config.n_steps


def test_the_number_of_steps_of_the_request_wins(loaded):
    assert choose_sampler(loaded, "edm", 12)[2] == 12


def test_a_sampler_without_a_number_of_steps_asks_for_one(loaded):
    class Bare(Sampler):
        def accepts(self, process):
            return None

    loaded = replace(loaded, sampler=Bare())
    with pytest.raises(RequestError, match=r"no number of steps of its own \(n_steps\); give one"):
        choose_sampler(loaded, None, None)
    assert choose_sampler(loaded, None, 5)[2] == 5


def test_a_misspelt_sampler_is_answered_with_the_nearest(loaded):
    with pytest.raises(UnknownComponentError, match="did you mean 'karras'"):
        choose_sampler(loaded, "karas", None)


@pytest.mark.parametrize(
    "asked", [{}, {"config": {}}, {"use": "karras", "options": {}}, {"use": "karras", "config": {"x": 1}}]
)
def test_a_sampler_with_other_keys_is_refused(loaded, asked):
    with pytest.raises(ConfigError):
        choose_sampler(loaded, asked, None)
