"""The head `energy`: learned energies of atoms, whose sum forces and stress are derivatives of."""

from __future__ import annotations

from e3nn import o3
from torch import Tensor

from molgen.interfaces import Features, Head
from molgen.neighbors import Graph
from molgen.structures import Structures
from molgen_force_field.config import EnergyConfig
from molgen_force_field.readout import ScalarReadout

__all__ = ["EnergyHead", "build"]


def build(config: EnergyConfig, *, irreps: o3.Irreps | str, edge_channels: int = 0) -> EnergyHead:
    """The `energy` head of a config; see :class:`EnergyHead`. Pair features are not read."""
    return EnergyHead(config, irreps=irreps)


class EnergyHead(Head):
    """ε_i = MLP(invariants of atom i), in the dtype of the features; a structure's energy is the sum of them.

    Behler and Parrinello 2007, doi:10.1103/PhysRevLett.98.146401. Infinitely smooth in the features. Energies of
    isolated atoms, scales and the repulsion at short range are the potential's.

    Args:
        config: see :class:`~molgen_force_field.config.EnergyConfig`.
        irreps: of the encoder's node features.

    Raises:
        ConfigError: irreps without invariants.

    >>> import molgen, torch
    >>> from molgen.neighbors import complete_graph
    >>> head = molgen.build("head", "energy", irreps="8x0e + 1x1o", config={"hidden": [16]})
    >>> water = molgen.Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> head(Features(torch.randn(3, 11)), water, complete_graph(water))["energies"].shape
    torch.Size([3])
    """

    provides = frozenset({"energies"})

    def __init__(self, config: EnergyConfig, *, irreps: o3.Irreps | str) -> None:
        super().__init__()
        self.readout = ScalarReadout(irreps, config.hidden, head="energy")

    def forward(self, features: Features, structures: Structures, graph: Graph) -> dict[str, Tensor]:
        """`energies` [n_local]."""
        return {"energies": self.readout(features.nodes[: graph.n_local])[:, 0]}
