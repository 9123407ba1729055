"""What can't work is refused when the config is read, with the key's path."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from molgen_spherical_channels.config import ESCNConfig, SCNConfig

import molgen
from molgen.errors import ConfigError
from molgen.interfaces import Schema
from molgen.models.assembly import assemble_generator

BAD = [
    ("escn", {"l_max": 2, "m_max": 3}, r"no degree up to l_max = 2 has such an order \(config\.m_max\)"),
    ("scn", {"l_max": 1, "m_max": 2}, "m_max"),
    ("escn", {"m_max": -1}, "m_max"),
    ("escn", {"l_max": 0}, "l_max"),
    ("escn", {"l_max": 21}, "l_max"),
    ("scn", {"l_max": 21, "m_max": 1}, "l_max"),
    ("escn", {"m_max": 21}, "m_max"),
    ("escn", {"layers": 0}, "layers"),
    ("scn", {"cutoff": 0.0}, "cutoff"),
    ("escn", {"cutoff": -1.0}, "cutoff"),
    ("escn", {"cutoff": float("inf")}, "cutoff"),
    ("scn", {"taps": 0}, "taps"),
    ("scn", {"taps": 65}, "taps"),
    ("scn", {"l_max": 3, "grid_degree": 5}, "grid_degree"),
    ("escn", {"taps": 4}, "taps"),
    ("scn", {"chanels": 4}, "did you mean.*channels"),
]


@pytest.mark.parametrize(("use", "config", "says"), BAD)
def test_options_that_can_not_work_are_refused_by_name(use: str, config: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        molgen.build("encoder", use, inputs=1, average_neighbors=1.0, config=config)


@pytest.mark.parametrize("use", ["escn", "scn"])
@pytest.mark.parametrize("average", [0.0, -1.0, float("nan")])
def test_an_average_that_can_not_divide_is_refused(use: str, average: float) -> None:
    with pytest.raises(ConfigError, match="average_neighbors"):
        molgen.build("encoder", use, inputs=1, average_neighbors=average)


def test_what_is_left_out_follows_the_degree() -> None:
    assert ESCNConfig(l_max=4).orders == 4
    assert ESCNConfig(l_max=4, m_max=1).orders == 1
    assert SCNConfig(l_max=3).degree_of_grid == 16
    assert SCNConfig(l_max=3, grid_degree=7).degree_of_grid == 7


@pytest.mark.parametrize("use", ["escn", "scn"])
def test_a_generator_with_a_cutoff_is_refused(use: str) -> None:
    schema, statistics = Schema(elements=(1, 8), size_counts={3: 1}), {"sigma_data": 1.0, "average_neighbors": 2.0}
    with pytest.raises(ConfigError, match="cutoff"):
        assemble_generator(SimpleNamespace(use=use, config={"cutoff": 5.0}), "karras", schema, statistics)
