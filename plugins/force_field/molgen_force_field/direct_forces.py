"""The head `direct-forces`: forces read out as vectors, without an energy that they are derivatives of."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor

from molgen.interfaces import Features, Head
from molgen.neighbors import Graph
from molgen.structures import Structures
from molgen_force_field.config import DirectForcesConfig
from molgen_force_field.readout import VectorReadout
from molgen_force_field.sums import mean_over_structures

__all__ = ["DirectForcesHead", "build"]


def build(config: DirectForcesConfig, *, irreps: o3.Irreps | str, edge_channels: int = 0) -> DirectForcesHead:
    """The `direct-forces` head of a config; see :class:`DirectForcesHead`. Pair features are not read."""
    return DirectForcesHead(config, irreps=irreps)


class DirectForcesHead(Head):
    """F_i = Σ_c g_c(s_i) v_ic − mean over the structure, of the invariants s and vectors v of atom i.

    They need no backward pass, and they are not conservative: work around a closed path is not zero, so that a
    simulation at constant energy heats or cools (Bigi, Langer, Ceriotti 2024, arXiv:2412.11569). The net force is zero
    to rounding where `remove_net_force`; the net torque is what was learned.

    Args:
        config: see :class:`~molgen_force_field.config.DirectForcesConfig`.
        irreps: of the encoder's node features.

    Raises:
        ConfigError: irreps without vectors or without invariants.

    >>> import molgen, torch
    >>> from molgen.neighbors import complete_graph
    >>> head = molgen.build("head", "direct-forces", irreps="8x0e + 4x1o")
    >>> water = molgen.Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> forces = head(Features(torch.randn(3, 20)), water, complete_graph(water))["forces"]
    >>> forces.shape, bool(forces.sum(0).abs().max() < 1e-12)
    (torch.Size([3, 3]), True)
    """

    provides = frozenset({"forces"})

    def __init__(self, config: DirectForcesConfig, *, irreps: o3.Irreps | str) -> None:
        super().__init__()
        self.readout = VectorReadout(irreps, config.hidden, head="direct-forces")
        self.remove_net_force = config.remove_net_force

    def forward(self, features: Features, structures: Structures, graph: Graph) -> dict[str, Tensor]:
        """`forces` [n_local, 3] eV/Å, float64."""
        forces = self.readout(features.nodes[: graph.n_local]).to(torch.float64)
        if self.remove_net_force:
            batch = structures.batch[: graph.n_local]
            forces = forces - mean_over_structures(forces, batch, len(structures)).index_select(0, batch)
        return {"forces": forces}
