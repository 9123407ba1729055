"""The contract of encoders: a graph and invariants in, equivariant node features and invariant pair features out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from e3nn import o3
from torch import Tensor, nn

from molgen.errors import ConfigError, InputError
from molgen.neighbors import Graph

__all__ = ["EdgeSpec", "Encoder", "EncoderBuilder", "Features", "check_inputs"]


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


def check_inputs(
    dtype: torch.dtype,
    graph: Graph,
    node_scalars: Tensor,
    edge_scalars: Tensor | None,
    *,
    inputs: int,
    edge_inputs: int,
) -> None:
    """Refuse what an encoder can't be called with; the first line of a `forward`.

    Args:
        dtype: of the encoder's weights; under autocast any.
        graph: as `forward` takes it.
        node_scalars: likewise.
        edge_scalars: likewise.
        inputs: scalars per node that the encoder was built for.
        edge_inputs: scalars per edge that it was built for.

    Raises:
        InputError: shapes or dtypes that don't fit.
    """
    wanted = {"node_scalars": (graph.n_nodes, inputs), "edge_scalars": (len(graph.senders), edge_inputs)}
    for name, value in (("node_scalars", node_scalars), ("edge_scalars", edge_scalars)):
        found = None if value is None else tuple(value.shape)
        if found != wanted[name] and not (found is None and not wanted[name][1]):
            raise InputError(
                f"{name} are {'missing' if found is None else f'of shape {found}'}",
                where=name,
                expected=f"{wanted[name]}" if wanted[name][1] else "none: the encoder was built without them",
            )
    if graph.vectors.dtype != dtype and not torch.is_autocast_enabled(graph.vectors.device.type):
        raise InputError(
            f"positions are {graph.vectors.dtype}, and the encoder's weights {dtype}",
            where="graph",
            remedy=f"convert one of them: structures.to({dtype}), or the encoder",
        )
