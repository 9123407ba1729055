"""Small encoders and structures that the tests of both encoders share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import molgen
from molgen.interfaces import Encoder
from molgen.neighbors import Graph, complete_graph, radius_graph
from molgen.structures import Structures

INPUTS = 3

Make = Callable[..., Encoder]
Evaluate = Callable[..., Tensor]


@pytest.fixture(scope="session")
def make() -> Make:
    """A small encoder in float64 with weights of seed 0."""

    def build(use: str, edge_inputs: int = 0, **options: Any) -> Encoder:
        torch.manual_seed(0)
        small = {"channels": 6, "hidden_channels": 8, "layers": 2, "radial_channels": 5, **options}
        encoder: Encoder = molgen.build(
            "encoder", use, inputs=INPUTS, edge_inputs=edge_inputs, average_neighbors=3.0, config=small
        )
        return encoder.double()

    return build


@pytest.fixture(scope="session")
def evaluate(graph_of: Callable[[Encoder, Structures], Graph], scalars: Callable[[int], Tensor]) -> Evaluate:
    """[N, dim] features of positions [N, 3]; atom i has the scalars of number i unless told otherwise."""

    def features(encoder: Encoder, positions: Tensor, given: Tensor | None = None, **fields: Any) -> Tensor:
        n = len(positions)
        structures = Structures.build(positions, [6] * n, **fields)
        given = scalars(n) if given is None else given
        return encoder(graph_of(encoder, structures), given.to(positions.dtype)).nodes

    return features


@pytest.fixture(scope="session")
def graph_of() -> Callable[[Encoder, Structures], Graph]:
    """The graph that an encoder wants."""

    def graph(encoder: Encoder, structures: Structures) -> Graph:
        cutoff = encoder.edges.cutoff
        return complete_graph(structures) if cutoff is None else radius_graph(structures, cutoff)

    return graph


@pytest.fixture(scope="session")
def scalars() -> Callable[[int], Tensor]:
    """[N, INPUTS] invariants of atoms, float64."""

    def drawn(n: int) -> Tensor:
        return torch.randn(n, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    return drawn


@pytest.fixture(scope="session")
def points() -> Callable[..., Tensor]:
    """[N, 3] Å, none closer to another than 0.7 Å, float64."""

    def drawn(n: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        found = torch.zeros(0, 3, dtype=torch.float64)
        while len(found) < n:
            point = 1.5 * torch.randn(1, 3, dtype=torch.float64, generator=generator)
            if not len(found) or torch.cdist(point, found).min() > 0.7:
                found = torch.cat((found, point))
        return found

    return drawn


@pytest.fixture(scope="session")
def orthogonal() -> Callable[[int], Tensor]:
    """[3, 3] a rotation for an even seed, a reflection for an odd one; float64."""

    def drawn(seed: int) -> Tensor:
        q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
        proper = q * torch.det(q)
        return -proper if seed % 2 else proper

    return drawn


@pytest.fixture(scope="session")
def turn_features() -> Callable[[Encoder, Tensor, Tensor], Tensor]:
    """Features [N, dim] as irreps_out says an orthogonal matrix [3, 3] turns them."""

    def turned(encoder: Encoder, features: Tensor, matrix: Tensor) -> Tensor:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)  # that of e3nn's generators
        try:
            return features @ encoder.irreps_out.D_from_matrix(matrix).T
        finally:
            torch.set_default_dtype(before)

    return turned
