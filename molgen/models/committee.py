"""`Committee`: several potentials evaluated as one, whose disagreement says how much to trust them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from molgen.errors import ConfigError
from molgen.models.potential import Potential
from molgen.neighbors import Graph
from molgen.structures import Structures

__all__ = ["Committee"]

_SAME_ZERO = 1.0  # eV


class Committee(nn.Module):
    """The mean of potentials and their standard deviations, over one batch and one neighbour search for all.

    Args:
        members: at least two, for the same elements, conditions and properties.

    Raises:
        ConfigError: fewer than two, or members that don't fit each other.
    """

    def __init__(self, members: Sequence[Potential]) -> None:
        super().__init__()
        if len(members) < 2:
            raise ConfigError(f"a committee of {len(members)}", expected="at least two potentials")
        first = members[0]
        for number, member in enumerate(members):
            for what in ("elements", "conditions", "provides", "conservative", "periodic"):
                if getattr(member, what) != getattr(first, what):
                    raise ConfigError(
                        f"members of a committee differ in {what}: {_shown(getattr(first, what))} and "
                        f"{_shown(getattr(member, what))}",
                        where=f"member {number}",
                        remedy="train them with one config and different seeds",
                    )
            _refuse_other_zero(first, member, number)
        self.members = nn.ModuleList(members)
        self.elements, self.conditions = first.elements, first.conditions
        self.provides, self.conservative, self.periodic = first.provides, first.conservative, first.periodic
        cutoffs = [member.cutoff for member in members]
        self.cutoff = None if None in cutoffs else max(cutoffs)  # type: ignore[type-var]

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights of the first member."""
        return self._first.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._first.device

    @property
    def _first(self) -> Potential:
        return self.members[0]  # type: ignore[return-value]

    def graph(self, structures: Structures, skin: float = 0.0) -> Graph:
        """Edges that suffice for every member; see `Potential.graph`."""
        widest: Potential = max(self.members, key=lambda member: member.cutoff or 0.0)  # type: ignore[assignment,arg-type,return-value]
        return widest.graph(structures, skin)

    def check(self, structures: Structures) -> None:
        """As `Potential.check`."""
        self._first.check(structures)

    def forward(
        self,
        structures: Structures,
        graph: Graph | None = None,
        *,
        forces: bool = True,
        stress: bool = False,
        create_graph: bool = False,
    ) -> dict[str, Tensor]:
        """Means of what the members return, and `energy_deviation` [B] eV, `forces_deviation` [N, 3] eV/Å.

        Deviations are those of a sample, with n − 1. Arguments and errors are those of `Potential.forward`.
        """
        graph = self.graph(structures) if graph is None else graph
        found = [
            member(structures, graph, forces=forces, stress=stress, create_graph=create_graph)
            for member in self.members
        ]
        stacked = {name: torch.stack([each[name] for each in found]) for name in found[0]}
        out = {name: values.mean(0) for name, values in stacked.items()}
        for name in ("energy", "forces"):
            if name in stacked:
                out[f"{name}_deviation"] = stacked[name].std(0)
        return out


def _refuse_other_zero(first: Potential, other: Potential, number: int) -> None:
    """Refuse energies counted from another zero, whose mean has no meaning; fits to data may differ by any amount."""
    if not first.record.isolated_source == other.record.isolated_source == "given":
        return
    for symbol, element in first.record.elements.items():
        one, two = element.isolated_energy, other.record.elements[symbol].isolated_energy
        if abs(one - two) > _SAME_ZERO:
            raise ConfigError(
                f"members of a committee have {symbol} at {one:.3f} and {two:.3f} eV: they are of different methods",
                where=f"member {number}",
                remedy="train them on data of one method",
            )


def _shown(value: object) -> str:
    return ", ".join(map(str, sorted(value))) if isinstance(value, frozenset) else str(value)
