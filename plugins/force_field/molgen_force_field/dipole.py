"""The head `dipole`: dipole moments of molecules, from charges and dipoles of atoms."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor

from molgen.interfaces import Features, Head
from molgen.neighbors import Graph
from molgen.structures import Structures
from molgen_force_field.charges import PartialCharges
from molgen_force_field.config import DipoleConfig
from molgen_force_field.readout import Part, VectorReadout
from molgen_force_field.sums import mean_over_structures, sum_over_structures

__all__ = ["DipoleHead", "build"]


def build(config: DipoleConfig, *, irreps: o3.Irreps | str, edge_channels: int = 0) -> DipoleHead:
    """The `dipole` head of a config; see :class:`DipoleHead`. Pair features are not read."""
    return DipoleHead(config, irreps=irreps)


class DipoleHead(Head):
    """μ = Σ_i (q_i r_i + μ_i), of charges that sum to the structure's and dipoles of atoms.

    Charges from the invariants, as :class:`~molgen_force_field.charges.PartialCharges`, dipoles of atoms from the
    vectors where the encoder gives some (Schütt, Unke, Gastegger 2021, arXiv:2102.03150). They are this head's own and
    not those of the head `charges`.

    The moment is about the origin of the coordinates, as ASE and xTB have it: that of a neutral molecule doesn't depend
    on where it lies, that of an ion with charge Q moves by Q·t when the ion is moved by t. A moment about another point
    c is μ − Q·c. A periodic structure has no dipole moment (it would depend on the choice of the cell): its row is NaN.

    Args:
        config: see :class:`~molgen_force_field.config.DipoleConfig`.
        irreps: of the encoder's node features.

    Raises:
        ConfigError: irreps without invariants.

    >>> import molgen, torch
    >>> from molgen.neighbors import complete_graph
    >>> head = molgen.build("head", "dipole", irreps="8x0e + 4x1o")
    >>> water = molgen.Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> head(Features(torch.randn(3, 20)), water, complete_graph(water))["dipole"].shape
    torch.Size([1, 3])
    """

    provides = frozenset({"dipole"})

    def __init__(self, config: DipoleConfig, *, irreps: o3.Irreps | str) -> None:
        super().__init__()
        self.partial_charges = PartialCharges(irreps, config.hidden, config.spread, head="dipole")
        vectors = config.atomic_dipoles and Part(irreps, "1o").channels > 0
        self.atomic_dipoles = VectorReadout(irreps, config.hidden, head="dipole") if vectors else None

    def forward(self, features: Features, structures: Structures, graph: Graph) -> dict[str, Tensor]:
        """`dipole` [B, 3] e·Å, float64; NaN where a structure is periodic."""
        nodes = features.nodes[: graph.n_local]
        batch, size = structures.batch[: len(nodes)], len(structures)
        positions = structures.positions[: len(nodes)].to(torch.float64)
        # about the middle of the atoms first, so that nothing is lost to rounding far from the origin
        middle = mean_over_structures(positions, batch, size)  # [B, 3]
        moments = self.partial_charges(nodes, structures)[:, None] * (positions - middle.index_select(0, batch))
        if self.atomic_dipoles is not None:
            moments = moments + self.atomic_dipoles(nodes).to(torch.float64)
        dipole = sum_over_structures(moments, batch, size) + structures.charge.to(torch.float64)[:, None] * middle
        return {"dipole": dipole.masked_fill(structures.pbc.any(1)[:, None], torch.nan)}
