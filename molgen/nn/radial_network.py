"""Learned functions of an edge's invariants: its length, and the scalars that the task gives."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.neighbors import Graph
from molgen.nn.radial import BesselBasis, ExponentialBasis, LogarithmicBasis, polynomial_envelope

__all__ = ["RadialNetwork"]

# Å, or the unit of scaled lengths: below and above, functions without a cutoff no longer change with the logarithm
_LOW: Final = 0.01
_HIGH: Final = 100.0


class RadialNetwork(nn.Module):
    """[E, outputs] functions of the lengths and edge scalars of a graph, by one network of two hidden layers.

    With a cutoff: of Bessel functions, times the polynomial envelope, so that all is zero beyond the cutoff and twice
    continuously differentiable there. Without: of Gaussians in exp(−r) and in ln r, finite at any length.

    Args:
        cutoff: Å, or None.
        size: radial basis functions.
        edge_inputs: invariant scalars per edge, 0 for none.
        hidden: width of the network.
        outputs: functions; 0 where only `features` is wanted.
        envelope_exponent: p of the envelope.
    """

    def __init__(
        self,
        cutoff: float | None,
        size: int,
        edge_inputs: int,
        hidden: int,
        outputs: int,
        *,
        envelope_exponent: int = 6,
    ) -> None:
        super().__init__()
        self.cutoff, self.envelope_exponent = cutoff, envelope_exponent
        if cutoff is not None:
            self.bases = nn.ModuleList([BesselBasis(size, cutoff)])
        else:
            self.bases = nn.ModuleList([ExponentialBasis(size, scale=1.5), LogarithmicBasis(size, _LOW, _HIGH)])
        self.network = nn.Sequential(
            nn.Linear(size * len(self.bases) + edge_inputs, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
        )
        self.last = nn.Linear(hidden, outputs) if outputs else None

    def features(self, graph: Graph, edge_scalars: Tensor | None = None) -> Tensor:
        """[E, hidden] of a graph and edge scalars [E, edge_inputs], before the last linear map and the envelope."""
        features = [basis(graph.lengths) for basis in self.bases]
        if edge_scalars is not None:
            features.append(edge_scalars)
        found: Tensor = self.network(torch.cat(features, dim=1))
        return found

    def envelope(self, graph: Graph) -> Tensor | None:
        """[E] the envelope, None without a cutoff."""
        if self.cutoff is None:
            return None
        return polynomial_envelope(graph.lengths, self.cutoff, self.envelope_exponent)

    def forward(self, graph: Graph, edge_scalars: Tensor | None = None) -> Tensor:
        """Of a graph with E edges and edge scalars [E, edge_inputs]; in the dtype of the lengths."""
        if self.last is None:
            raise ConfigError("this network has no last map", where="outputs=0", remedy="call `features`")
        found: Tensor = self.last(self.features(graph, edge_scalars)).to(graph.lengths.dtype)
        envelope = self.envelope(graph)
        return found if envelope is None else found * envelope[:, None]
