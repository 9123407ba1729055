"""The head `charges`: partial charges of atoms that sum to the charge of their structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional as F

from molgen.interfaces import Features, Head
from molgen.neighbors import Graph
from molgen.structures import Structures
from molgen_force_field.config import ChargesConfig
from molgen_force_field.readout import ScalarReadout
from molgen_force_field.sums import sum_over_structures

__all__ = ["ChargesHead", "PartialCharges", "build"]

# a fresh atom's softness is about 0.7; none is less than this, so that their sum can be divided by
_LEAST_SOFTNESS: Final = 1e-3


def build(config: ChargesConfig, *, irreps: o3.Irreps | str, edge_channels: int = 0) -> ChargesHead:
    """The `charges` head of a config; see :class:`ChargesHead`. Pair features are not read."""
    return ChargesHead(config, irreps=irreps)


class PartialCharges(nn.Module):
    """q_i = q̃_i + w_i / Σ_j w_j · (Q − Σ_j q̃_j), of learned charges q̃ and positive weights w.

    With w the softness of each atom, the inverse of its hardness, these are the charges of least energy
    Σ_i (χ_i q_i + q_i² / 2w_i) that sum to Q, with electronegativities χ_i = −q̃_i / w_i: charge equilibration without
    Coulomb terms, as AIMNet-NSE has it (Zubatyuk et al. 2021, doi:10.1038/s41467-021-24904-0). With equal weights it is
    the correction of PhysNet (Unke and Meuwly 2019, arXiv:1902.08408).

    Args:
        irreps: of the features, with `0e`.
        hidden: widths of the hidden layers.
        spread: the weights, `softness` or `equal`.
        head: name of the head, for messages.

    Raises:
        ConfigError: irreps without invariants.
    """

    def __init__(
        self, irreps: o3.Irreps | str, hidden: Sequence[int], spread: Literal["softness", "equal"], *, head: str
    ) -> None:
        super().__init__()
        self.readout = ScalarReadout(irreps, hidden, 1 if spread == "equal" else 2, head=head)

    def forward(self, nodes: Tensor, structures: Structures) -> Tensor:
        """[n] e, float64, of the features [n, irreps.dim] of the first n atoms, those that count."""
        batch, size = structures.batch[: len(nodes)], len(structures)
        read = self.readout(nodes).to(torch.float64)  # [n, 1 or 2]
        raw = read[:, 0]
        softness = F.softplus(read[:, 1]) + _LEAST_SOFTNESS if read.shape[1] > 1 else torch.ones_like(raw)
        missing = structures.charge.to(torch.float64) - sum_over_structures(raw, batch, size)
        # a structure without atoms has none
        total = sum_over_structures(softness, batch, size).clamp(min=_LEAST_SOFTNESS)
        return raw + softness * (missing / total).index_select(0, batch)


class ChargesHead(Head):
    """Partial charges: learned of each atom's invariants, and shifted so that they sum to the structure's charge.

    See :class:`PartialCharges`. The shift knows no distance: charge that a structure lacks is spread over all its
    atoms, those of far-off molecules too.

    Args:
        config: see :class:`~molgen_force_field.config.ChargesConfig`.
        irreps: of the encoder's node features.

    Raises:
        ConfigError: irreps without invariants.

    >>> import molgen, torch
    >>> from molgen.neighbors import complete_graph
    >>> head = molgen.build("head", "charges", irreps="8x0e + 1x1o")
    >>> hydroxide = molgen.Structures.build([[0.0, 0, 0], [0.96, 0, 0]], [8, 1], charge=[-1])
    >>> charges = head(Features(torch.randn(2, 11)), hydroxide, complete_graph(hydroxide))["charges"]
    >>> charges.shape, round(charges.sum().item(), 12)
    (torch.Size([2]), -1.0)
    """

    provides = frozenset({"charges"})

    def __init__(self, config: ChargesConfig, *, irreps: o3.Irreps | str) -> None:
        super().__init__()
        self.partial_charges = PartialCharges(irreps, config.hidden, config.spread, head="charges")

    def forward(self, features: Features, structures: Structures, graph: Graph) -> dict[str, Tensor]:
        """`charges` [n_local] e, float64."""
        return {"charges": self.partial_charges(features.nodes[: graph.n_local], structures)}
