"""What every encoder refuses to be called with."""

from __future__ import annotations

import pytest
import torch

import molgen
from molgen.errors import ConfigError, InputError
from molgen.host.registry import registry
from molgen.neighbors import complete_graph
from molgen.structures import Structures

INSTALLED = sorted(component.id for component in registry().components("encoder"))


@pytest.mark.parametrize("use", INSTALLED)
def test_shapes_and_dtypes_that_do_not_fit_are_refused_by_name(use: str) -> None:
    encoder = molgen.build("encoder", use, inputs=3, edge_inputs=2, average_neighbors=2.0)
    graph = complete_graph(Structures.build([[0.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]], [1, 1, 8]).to(torch.float32))
    nodes, edges = torch.zeros(3, 3), torch.zeros(6, 2)
    encoder(graph, nodes, edges)
    for wrong, name in (((nodes[:2], edges), "node"), ((nodes[:, :2], edges), "node"), ((nodes, None), "edge")):
        with pytest.raises(InputError, match=f"{name}_scalars are"):
            encoder(graph, *wrong)
    with pytest.raises(InputError, match=r"weights torch\.float64"):
        encoder.double()(graph, nodes.double(), edges.double())


@pytest.mark.parametrize("use", INSTALLED)
@pytest.mark.parametrize("neighbors", [0.0, -1.0, float("inf"), float("nan")])
def test_an_average_number_of_neighbours_that_divides_nothing_is_refused(use: str, neighbors: float) -> None:
    with pytest.raises(ConfigError, match="average_neighbors"):
        molgen.build("encoder", use, inputs=3, average_neighbors=neighbors)
