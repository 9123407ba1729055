"""The contract of encoders: a graph and invariants in, equivariant node features and invariant pair features out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.neighbors import Graph

__all__ = ["EdgeSpec", "Encoder", "EncoderBuilder", "Features"]


@dataclass(frozen=True)
class EdgeSpec:
    """The edges that an encoder wants; the task builds the graph from it.

    `complete`: all pairs of a structure, no cutoff. `radius`: neighbours within `cutoff` Å, periodic images included
    where `periodic`. `any`: takes either, as the task chooses.
    """

    kind: Literal["complete", "radius", "any"]
    cutoff: float | None = None  # Å
    periodic: bool = False

    def __post_init__(self) -> None:
        if self.kind == "radius" and self.cutoff is None:
            raise ConfigError("an encoder with radius edges states no cutoff", remedy="set cutoff in Å")
        if self.cutoff is not None and not self.cutoff > 0:
            raise ConfigError(f"cutoff is {self.cutoff}", expected="a positive length in Å")


@dataclass(frozen=True, eq=False)
class Features:
    """What an encoder returns."""

    nodes: Tensor  # [N, irreps_out.dim], mul_ir layout, component normalisation
    edges: Tensor | None = None  # [E, edge_channels], invariant


class Encoder(nn.Module):
    """Base class of encoders. An encoder knows nothing of tasks.

    A factory makes one: `(config, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> Encoder`.
    Species, charge, noise level and conditions reach it only as `node_scalars` and `edge_scalars`. It never returns
    positions: layers that move coordinates return the total displacement as the first `1o` of `irreps_out`.
    """

    irreps_out: o3.Irreps
    edge_channels: int = 0
    edges: EdgeSpec

    def forward(self, graph: Graph, node_scalars: Tensor, edge_scalars: Tensor | None = None) -> Features:
        """Features of a graph.

        Args:
            graph: N nodes, E edges.
            node_scalars: [N, inputs], invariant.
            edge_scalars: [E, edge_inputs], invariant, or None where `edge_inputs` is 0.
        """
        raise TypeError(f"{type(self).__name__} does not define forward")


class EncoderBuilder(Protocol):
    """Builds the encoder of a config once the task knows how many scalars it feeds."""

    def __call__(self, *, inputs: int, edge_inputs: int = 0, average_neighbors: float) -> Encoder:
        """The encoder, with weights drawn from torch's generator."""
        ...
