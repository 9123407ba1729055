"""A potential as torch-sim knows models; imported where torch-sim is installed."""

from __future__ import annotations

import torch
from torch_sim.models.interface import ModelInterface
from torch_sim.state import SimState

from molgen.models.potential import Potential
from molgen.structures import Structures

__all__ = ["TorchSimModel"]


class TorchSimModel(ModelInterface):
    """Energy, forces and, where all directions are periodic, stress of a batch of neutral singlets.

    Args:
        potential: frozen.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        self._device, self._dtype = potential.device, potential.dtype
        self._compute_forces = self._compute_stress = True

    def forward(self, state: SimState, **_: object) -> dict[str, torch.Tensor]:
        """`energy` [B] eV, `forces` [N, 3] eV/Å, `stress` [B, 3, 3] eV/Å³."""
        counts = torch.bincount(state.system_idx)
        structures = Structures.build(
            state.positions.detach(),
            state.atomic_numbers.to(torch.int64),
            counts,
            cell=state.row_vector_cell.detach(),  # theirs are columns
            pbc=state.pbc.reshape(-1, 3).expand(len(counts), 3),
        )
        found = self.potential(structures, forces=True, stress=True)
        wanted = ("energy", "forces", "stress") if structures.pbc.all() else ("energy", "forces")
        return {name: found[name].detach().to(state.positions.dtype) for name in wanted}
