"""`Potential`: an encoder and heads as an energy surface; energy, forces, stress and further properties in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Self, cast

import torch
from torch import Tensor, nn

from molgen.elements import NUMBERS, SYMBOLS
from molgen.errors import ConfigError, StructureError
from molgen.interfaces import EncoderBuilder, Head
from molgen.models.document import PotentialRecord
from molgen.neighbors import Graph, complete_graph, radius_graph
from molgen.nn import ScreenedRepulsion
from molgen.structures import Structures

__all__ = ["Potential"]

_CONDITIONS = ("charge", "spin")


class Potential(nn.Module):
    """Energies, forces and stress of structures.

    E = Σ_i (E₀[z_i] + shift[z_i] + scale[z_i] · e_i) + Σ_pairs repulsion, summed in float64, where e_i is what the
    energy head reads of atom i. Forces are −∂E/∂x and stress is (1/V) ∂E/∂ε, both from one backward pass, unless a
    head gives forces and the record says that they come from there. An atom that sees no other keeps its shift and
    what the network says of it: energies of dissociation are right as far as the training data teach them.

    Args:
        encoder: builds the encoder once the number of its inputs is known.
        heads: by name; each builds a head from `irreps` and `edge_channels`.
        record: elements with their isolated atoms, shifts and scales; conditions; repulsion; where forces come from.
        average_neighbors: edges per atom in the training data.

    Raises:
        ConfigError: heads that provide the same property, or none that gives energies or forces.
    """

    def __init__(
        self,
        encoder: EncoderBuilder,
        heads: Mapping[str, Callable[..., Head]],
        record: PotentialRecord,
        average_neighbors: float,
    ) -> None:
        super().__init__()
        self.record = record
        self.elements = tuple(sorted(NUMBERS[symbol] for symbol in record.elements))
        self.conditions = frozenset(record.conditions)
        inputs = len(self.elements) + len(self.conditions)
        self.encoder = encoder(inputs=inputs, average_neighbors=average_neighbors)
        irreps, pairs = self.encoder.irreps_out, self.encoder.edge_channels
        self.heads = nn.ModuleDict({name: build(irreps=irreps, edge_channels=pairs) for name, build in heads.items()})
        owners = _owners(self.heads)
        self._provided = frozenset(owners)
        self.conservative = _source_of_forces(owners, record.forces_from) is None
        repelled = record.repulsion and self.conservative
        self.repulsion = ScreenedRepulsion(self.elements, record.repulsion_reach) if repelled else None
        columns = torch.full((max(self.elements) + 1,), -1)
        columns[list(self.elements)] = torch.arange(len(self.elements))
        self.register_buffer("columns", columns, persistent=False)
        values = [record.elements[SYMBOLS[number]] for number in self.elements]
        # float64 whatever the weights are converted to, so they are no buffers
        self._isolated = torch.tensor([value.isolated_energy for value in values], dtype=torch.float64)
        self._shifts = torch.tensor([value.shift for value in values], dtype=torch.float64)
        self._scales = torch.tensor([value.scale for value in values], dtype=torch.float64)

    columns: Tensor  # [largest atomic number + 1] place of each element in the one-hot, -1 for none

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for name in ("_isolated", "_shifts", "_scales"):
            setattr(self, name, getattr(self, name).to(self.columns.device))
        return self

    @property
    def cutoff(self) -> float | None:
        """Å, beyond which atoms don't see each other in a layer; None for complete graphs."""
        return self.encoder.edges.cutoff

    @property
    def periodic(self) -> bool:
        """Whether it takes structures with periodic images."""
        return self.encoder.edges.cutoff is not None and self.encoder.edges.periodic

    @property
    def provides(self) -> frozenset[str]:
        """What `forward` can return: of energy, energies, forces, stress, dipole, charges."""
        found = set(self._provided)
        if "energies" in found:
            found.add("energy")
            if self.conservative:
                found |= {"forces", "stress"} if self.periodic else {"forces"}
        return frozenset(found)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.columns.device

    def graph(self, structures: Structures, skin: float = 0.0) -> Graph:
        """The edges that the encoder sees, and those that it might see after atoms have moved by skin / 2.

        Raises:
            StructureError: a periodic structure for an encoder that can't take one.
        """
        if structures.pbc.any() and not self.periodic:
            index = int(structures.pbc.any(1).nonzero()[0])
            raise StructureError(
                "it is periodic, and the model's encoder takes molecules alone",
                where=f"structure {index}",
                remedy="set pbc to False, or train an encoder with a cutoff",
            )
        if self.cutoff is None:
            return complete_graph(structures)
        return radius_graph(structures, self.cutoff, skin=skin)

    def check(self, structures: Structures) -> None:
        """Refuse what the model was not made for.

        Raises:
            StructureError: an element, a charge or a spin that it doesn't know; names structure and atom.
        """
        species = structures.species
        columns = self.columns[species.clamp(0, len(self.columns) - 1)]
        unknown = (columns < 0) | (species >= len(self.columns))
        if unknown.any():
            atom = int(unknown.nonzero()[0, 0])
            index = int(structures.batch[atom])
            raise StructureError(
                f"the model doesn't know the element {SYMBOLS[int(species[atom])]}",
                where=f"structure {index}, atom {atom - int(structures.offsets[index])}",
                expected=f"one of {', '.join(SYMBOLS[number] for number in self.elements)}",
                remedy="choose a model that was trained on it",
            )
        for name, usual in (("charge", 0), ("spin", 1)):
            other = getattr(structures, name) != usual
            if name not in self.conditions and other.any():
                index = int(other.nonzero()[0, 0])
                raise StructureError(
                    f"its {name} is {float(getattr(structures, name)[index]):g}, and the model was not trained to tell "
                    f"{name}s apart",
                    where=f"structure {index}",
                    expected=f"{usual}",
                    remedy=f"train on data with several {name}s",
                )

    def forward(
        self,
        structures: Structures,
        graph: Graph | None = None,
        *,
        forces: bool = True,
        stress: bool = False,
        create_graph: bool = False,
    ) -> dict[str, Tensor]:
        """Properties by name.

        Args:
            structures: N atoms, B structures. Positions may be float64 beside float32 weights: then geometry is
                float64, and the network float32.
            graph: from `graph`; built if left out. Its vectors are computed anew from the positions.
            forces: whether forces are wanted; without them a conservative model takes no derivative.
            stress: whether stress is wanted.
            create_graph: where a loss of forces or stress is to be derived.

        Returns:
            Of `provides` what is wanted: energy [B] float64 eV, energies [N] float64 eV, which sum to it, forces
            [N, 3] eV/Å, stress [B, 3, 3] eV/Å³ (zero without a full cell), dipole [B, 3] e·Å, charges [N] e; and
            interaction_energy [B] float64 eV, the energy without isolated atoms.

        Raises:
            StructureError: as `graph` and `check`.
        """
        self.check(structures)
        graph = self.graph(structures) if graph is None else graph
        stress = stress and "stress" in self.provides
        derived = "energies" in self._provided and self.conservative and (forces or stress)
        with torch.enable_grad() if derived else nullcontext():
            given, strain = structures, None
            if derived and not structures.positions.requires_grad:
                structures = structures.replace(positions=structures.positions.detach().requires_grad_(True))
            leaf = structures.positions
            if derived and stress:
                strain = leaf.new_zeros(len(structures), 3, 3, requires_grad=True)
                structures = _strained(structures, strain)
            out = self._properties(structures, graph)
            if derived:
                self._derive(out, leaf, strain, given, create_graph)
        if not forces:
            out.pop("forces", None)
        return out

    def _properties(self, structures: Structures, graph: Graph) -> dict[str, Tensor]:
        exact = graph.with_positions(structures)
        dtype = self.dtype
        seen = exact
        if exact.vectors.dtype != dtype:
            seen = replace(exact, vectors=exact.vectors.to(dtype), lengths=exact.lengths.to(dtype))
        features = self.encoder(seen, self._inputs(structures))
        out: dict[str, Tensor] = {}
        for head in self.heads.values():
            out |= head(features, structures, seen)
        if self.conservative:
            out.pop("forces", None)  # of a head that the record passes over
        if "energies" in out:
            self._sum(out, structures, exact)
        return out

    def _inputs(self, structures: Structures) -> Tensor:
        """[N, elements + conditions]: one-hot elements, charge, number of unpaired electrons."""
        columns, dtype = self.columns[structures.species], self.dtype
        one_hot = torch.nn.functional.one_hot(columns, len(self.elements)).to(dtype)
        if not self.conditions:
            return one_hot
        given = {"charge": structures.charge.to(dtype), "spin": (structures.spin - 1).to(dtype)}
        further = [given[name][structures.batch][:, None] for name in _CONDITIONS if name in self.conditions]
        return torch.cat((one_hot, *further), dim=1)

    def _sum(self, out: dict[str, Tensor], structures: Structures, graph: Graph) -> None:
        columns = self.columns[structures.species]
        read = out["energies"].to(torch.float64)
        energies = self._shifts[columns] + self._scales[columns] * read  # [N] eV
        if self.repulsion is not None:
            energies = energies + self._repel(structures, graph)
        isolated = self._isolated[columns]
        totals = energies.new_zeros(2, len(structures)).index_add(
            1, structures.batch, torch.stack((energies, isolated))
        )
        out["energies"] = energies + isolated
        out["interaction_energy"] = totals[0]
        out["energy"] = totals.sum(0)

    def _repel(self, structures: Structures, graph: Graph) -> Tensor:
        """[N] eV, half of each pair's repulsion."""
        assert self.repulsion is not None
        if self.cutoff is not None and self.cutoff < self.repulsion.reach:
            graph = radius_graph(structures, self.repulsion.reach)
        near = (graph.lengths.detach() < self.repulsion.reach).nonzero()[:, 0]
        receivers = graph.receivers[near]
        species = structures.species
        pairs = self.repulsion(graph.lengths[near], species[receivers], species[graph.senders[near]])
        return pairs.new_zeros(len(species), dtype=torch.float64).index_add(0, receivers, 0.5 * pairs.to(torch.float64))

    def _derive(
        self, out: dict[str, Tensor], positions: Tensor, strain: Tensor | None, given: Structures, create_graph: bool
    ) -> None:
        wanted = [positions] if strain is None else [positions, strain]
        total = out["interaction_energy"].sum()
        if total.requires_grad:
            slopes = torch.autograd.grad(total, wanted, create_graph=create_graph, materialize_grads=True)
        else:  # a single atom sees nobody
            slopes = tuple(torch.zeros_like(value) for value in wanted)
        out["forces"] = -slopes[0]
        if strain is not None:
            out["stress"] = _per_volume(slopes[1], given)
        if not create_graph:
            for name, value in out.items():
                out[name] = value.detach()


def _strained(structures: Structures, strain: Tensor) -> Structures:
    """The structures under a symmetric strain [B, 3, 3], atoms and cell together."""
    symmetric = 0.5 * (strain + strain.mT)
    moved = torch.einsum("ni,nij->nj", structures.positions, symmetric[structures.batch])
    return structures.replace(
        positions=structures.positions + moved, cell=structures.cell + structures.cell @ symmetric
    )


def _per_volume(virial: Tensor, structures: Structures) -> Tensor:
    """[B, 3, 3] eV/Å³; zero where there is no cell with three periodic directions."""
    volume = torch.linalg.det(structures.cell).abs()
    full = structures.pbc.all(1) & (volume > 0)
    return torch.where(full[:, None, None], virial / torch.where(full, volume, 1.0)[:, None, None], 0.0)


def _owners(heads: nn.ModuleDict) -> dict[str, str]:
    """The head of each property."""
    owners: dict[str, str] = {}
    for name, head in heads.items():
        for provided in sorted(cast(Head, head).provides):
            if provided in owners:
                raise ConfigError(
                    f"the heads {owners[provided]} and {name} both provide {provided}",
                    where="heads",
                    remedy="leave one of them out",
                )
            owners[provided] = name
    if "energies" not in owners and "forces" not in owners:
        raise ConfigError(
            f"the heads provide {', '.join(sorted(owners)) or 'nothing'}",
            where="heads",
            expected="energies or forces",
            remedy="add the head `energy`",
        )
    return owners


def _source_of_forces(owners: Mapping[str, str], chosen: str | None) -> str | None:
    """The head that gives the forces, or None where they are derivatives of the energy."""
    sources = [owners[label] for label in ("energies", "forces") if label in owners]
    if chosen is None and len(sources) > 1:
        raise ConfigError(
            f"the heads {' and '.join(sources)} can both give forces",
            where="forces_from",
            expected=f"{' or '.join(sources)}",
            remedy=f"set forces_from: {sources[0]} for forces that conserve energy",
        )
    if chosen is not None and chosen not in sources:
        raise ConfigError(f"forces can't come from {chosen!r}", where="forces_from", expected=" or ".join(sources))
    chosen = chosen or sources[0]
    return None if chosen == owners.get("energies") else chosen
