"""The contract of heads: features in, named physical properties out."""

from __future__ import annotations

from torch import Tensor, nn

from molgen.interfaces.encoder import Features
from molgen.neighbors import Graph
from molgen.structures import Structures

__all__ = ["Head"]


class Head(nn.Module):
    """Base class of heads.

    A factory makes one: `(config, *, irreps, edge_channels: int = 0) -> Head`. `provides` names what it returns:
    "energies" [N] eV, "forces" [N, 3] eV/Å, "stress" [B, 3, 3] eV/Å³, "dipole" [B, 3] e·Å, "charges" [N] e; disjoint
    within one potential.
    """

    provides: frozenset[str]

    def forward(self, features: Features, structures: Structures, graph: Graph) -> dict[str, Tensor]:
        """The provided properties by name."""
        raise TypeError(f"{type(self).__name__} does not define forward")
