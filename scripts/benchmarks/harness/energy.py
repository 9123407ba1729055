"""The least that makes a potential of an encoder: an MLP on the invariants of each atom, summed; forces by autograd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from e3nn import o3
from torch import Tensor, nn

import molgen
from molgen.errors import ConfigError, StructureError
from molgen.interfaces import Encoder
from molgen.neighbors import Graph, complete_graph, radius_graph
from molgen.structures import Structures

__all__ = ["EnergyModel", "build_energy_model"]


class EnergyModel(nn.Module):
    """Energy = Σ_i MLP(the `0e` features of atom i), forces = -∂E/∂x.

    Args:
        encoder: takes as many scalars per node as there are elements, and none per edge.
        elements: atomic numbers that it knows; each is one entry of a one-hot.
        hidden: width of the MLP.

    Raises:
        ConfigError: an encoder without invariants.

    >>> model = build_energy_model("egnn", {"channels": 8, "layers": 2}, elements=(1, 8), average_neighbors=2.0)
    >>> water = Structures.build(torch.tensor([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]), [8, 1, 1])
    >>> energy, forces = model.energy_and_forces(water, model.graph(water))
    >>> energy.shape, forces.shape
    (torch.Size([1]), torch.Size([3, 3]))
    """

    def __init__(self, encoder: Encoder, elements: Sequence[int], *, hidden: int = 16) -> None:
        super().__init__()
        self.encoder = encoder
        self.elements = tuple(elements)
        irreps = encoder.irreps_out
        self._invariants = [
            place for (_, ir), place in zip(irreps, irreps.slices(), strict=True) if ir == o3.Irrep("0e")
        ]
        channels = sum(place.stop - place.start for place in self._invariants)
        if not channels:
            raise ConfigError(f"{type(encoder).__name__} gives {irreps}, without invariants", expected="some 0e")
        self.readout = nn.Sequential(nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, 1))
        column = torch.full((max(self.elements) + 1,), -1)
        column[list(self.elements)] = torch.arange(len(self.elements))
        self.register_buffer("column", column, persistent=False)  # of each atomic number in the one-hot, -1 for none

    def graph(self, structures: Structures) -> Graph:
        """The edges that the encoder wants.

        Raises:
            StructureError: a periodic structure for an encoder of complete graphs.
        """
        if self.encoder.edges.cutoff is not None:
            return radius_graph(structures, self.encoder.edges.cutoff)
        if structures.pbc.any():
            raise StructureError(
                "it is periodic, and the encoder takes complete graphs", remedy="give the encoder a cutoff"
            )
        return complete_graph(structures)

    def energy(self, structures: Structures, graph: Graph, inputs: Tensor | None = None) -> Tensor:
        """[B] float64 energies; the vectors of the graph's edges are computed anew from the positions.

        `inputs` are the one-hot elements [N, elements] where they are known already.
        """
        if inputs is None:
            inputs = self.one_hot(structures.species).to(structures.positions.dtype)
        features = self.encoder(graph.with_positions(structures), inputs).nodes
        invariants = torch.cat([features[:, place] for place in self._invariants], dim=1)  # [N, C]
        per_atom = self.readout(invariants)[:, 0].to(torch.float64)
        return per_atom.new_zeros(len(structures)).index_add(0, structures.batch, per_atom)

    def energy_and_forces(
        self, structures: Structures, graph: Graph, inputs: Tensor | None = None, *, create_graph: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Energies [B] and forces [N, 3]; `create_graph` where a loss of the forces is to be derived."""
        positions = structures.positions.detach().requires_grad_(True)
        energy = self.energy(structures.replace(positions=positions), graph, inputs)
        (slope,) = torch.autograd.grad(energy.sum(), positions, create_graph=create_graph)
        return energy, -slope

    def one_hot(self, species: Tensor) -> Tensor:
        """[N, elements] bool.

        Raises:
            StructureError: an element that the model doesn't know.
        """
        known = species.clamp(max=len(self.column) - 1)
        column = self.column[known].masked_fill(known != species, -1)
        if (column < 0).any():
            unknown = species[column < 0].unique().tolist()
            raise StructureError(f"atomic numbers {unknown} are none of {list(self.elements)}")
        return column[:, None] == torch.arange(len(self.elements), device=species.device)


def build_energy_model(
    use: str, config: Mapping[str, Any], *, elements: Sequence[int], average_neighbors: float, hidden: int = 16
) -> EnergyModel:
    """The model of an encoder by its id and config, with weights drawn from torch's generator."""
    encoder = molgen.build(
        "encoder", use, inputs=len(elements), average_neighbors=average_neighbors, config=dict(config)
    )
    return EnergyModel(encoder, elements, hidden=hidden)
