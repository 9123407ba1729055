"""Options that can't work are refused when the config is read, with the path of the key."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from encoders.cases import FIRST, FIRST_LOCAL, Case

from molgen.errors import ConfigError, PluginError
from molgen.host.registry import registry
from molgen.models.assembly import check_generator

INSTALLED = {resolved.id: resolved for resolved in registry().components("encoder")}

# of every encoder that has the option
_GENERAL: tuple[tuple[dict[str, Any], str], ...] = (
    ({"layers": 0}, "layers"),
    ({"layers": -1}, "layers"),
    ({"channels": 0}, "channels"),
    ({"l_max": -1}, "l_max"),
    ({"cutoff": 0.0}, "cutoff"),
    ({"cutoff": -5.0}, "cutoff"),
    ({"cutoff": float("nan")}, "cutoff"),
    ({"cutoff": float("inf")}, "cutoff"),
    ({"layers": "many"}, "layers"),
    ({"radial_channels": 0}, "radial_channels"),
    ({"envelope_exponent": 2}, "envelope_exponent"),
)

# combinations that single encoders can't do
_OWN: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("molgen-gaunt:gaunt", {"irreps_out": "8x0o"}, "irreps_out"),
    ("molgen-gaunt:gaunt", {"irreps_out": "8x0e + 1x1e"}, "irreps_out"),
    ("molgen-gaunt:gaunt", {"irreps_out": "8x2e"}, "irreps_out"),
    ("molgen-gaunt:gaunt", {"irreps_out": "eight"}, "irreps_out"),
    ("molgen-gaunt:gaunt", {"irreps_out": ""}, "irreps_out"),
    ("molgen-gaunt:gaunt", {"parity": "full", "layers": 1, "irreps_out": "8x0e + 8x0o"}, "irreps_out"),
    ("molgen-gaunt:gaunt", {"correlation": 0}, "correlation"),
    ("molgen-gaunt:gaunt", {"l_max": 1, "l_hidden": 2}, "l_hidden"),
    ("molgen-gaunt:gaunt", {"parity": "full", "nonlinearity": "s2"}, "nonlinearity"),
    ("molgen-gaunt:gaunt", {"tensor_product": "gant"}, "tensor_product"),
    (
        "molgen-gaunt:gaunt",
        {"tensor_product": {"use": "gaunt", "config": {"method": "slow"}}},
        "tensor_product.config.method",
    ),
    ("molgen-spherical-channels:escn", {"l_max": 2, "m_max": 3}, "m_max"),
    ("molgen-spherical-channels:scn", {"l_max": 2, "m_max": 3}, "m_max"),
    ("molgen-spherical-channels:escn", {"m_max": -1}, "m_max"),
    ("molgen-spherical-channels:scn", {"taps": 0}, "taps"),
    ("molgen-spherical-channels:scn", {"l_max": 3, "grid_degree": 5}, "grid_degree"),
)


def _refused() -> list[Any]:
    found = [
        (use, config, key)
        for use, resolved in INSTALLED.items()
        for config, key in _GENERAL
        if key in resolved.config_model().model_fields
    ]
    found += [each for each in _OWN if each[0] in INSTALLED]
    return [pytest.param(*each, id=f"{each[0].partition(':')[2]} {each[1]}") for each in found]


@pytest.mark.parametrize(("use", "config", "key"), _refused())
def test_options_that_can_not_work_are_refused_with_their_key(use: str, config: dict[str, Any], key: str) -> None:
    for refuse in (
        lambda: INSTALLED[use].make_config(config, where="encoder.config"),
        lambda: check_generator(SimpleNamespace(use=use, config=config), "karras"),
    ):
        with pytest.raises((ConfigError, PluginError)) as caught:  # an unknown component inside is the host's
            refuse()
        assert caught.value.where is not None
        assert caught.value.where.startswith(f"encoder.config.{key}")


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_an_unknown_option_is_refused_with_the_nearest_one(case: Case) -> None:
    with pytest.raises(ConfigError, match="'layers'") as caught:
        INSTALLED[case.use].make_config({"layer": 3}, where="encoder.config")
    assert caught.value.where == "encoder.config.layer"


@pytest.mark.parametrize("average", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("case", [*FIRST, *FIRST_LOCAL], ids=str)
def test_an_average_of_neighbours_that_is_not_positive_is_refused(case: Case, average: float) -> None:
    with pytest.raises(ConfigError, match="average_neighbors"):
        INSTALLED[case.use].build(case.config, inputs=2, average_neighbors=average)


@pytest.mark.parametrize("case", [*FIRST, *FIRST_LOCAL], ids=str)
def test_options_come_back_from_their_record(case: Case) -> None:
    made = INSTALLED[case.use].make_config(case.config)
    assert INSTALLED[case.use].make_config(made.model_dump(mode="json")) == made
