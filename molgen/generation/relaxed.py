"""`RelaxedMolecules`: generated molecules at the minima of a potential nearest to where they were drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from molgen.chemistry.metrics import Metric
from molgen.chemistry.molecules import Molecules
from molgen.chemistry.perception import Perceived, perceive
from molgen.chemistry.strain import relaxation_metrics
from molgen.structures import Structures

__all__ = ["COLUMNS", "RelaxedMolecules"]

COLUMNS = ("strain_eV", "relax_rmsd", "relaxed", "kept_bonds", "relax_reason")
"""What a table says of the relaxation of a molecule."""


class RelaxedMolecules(Molecules):
    """What relaxation made of B generated molecules, in their order.

    Args:
        structures: B, without bonds; with the label `energy` in eV, NaN where the potential could not take a molecule,
            which then stands as it was drawn.
        strain: [B] eV that relaxation set free; NaN where it did not converge.
        rmsd: [B] Å between the two, superposed; NaN likewise.
        reasons: [B] why a relaxation did not converge, None where it did.
        drawn: [B] the molecules before.
    """

    def __init__(
        self,
        structures: Structures,
        *,
        strain: Tensor,
        rmsd: Tensor,
        reasons: Sequence[str | None],
        drawn: Sequence[Perceived],
    ) -> None:
        super().__init__(structures)
        self.strain, self.rmsd, self.reasons = strain, rmsd, tuple(reasons)
        self._drawn = drawn

    @property
    def converged(self) -> list[bool]:
        """[B] whether the molecule stands at a minimum."""
        return [reason is None for reason in self.reasons]

    @property
    def n_converged(self) -> int:
        """How many stand at a minimum."""
        return sum(self.converged)

    @cached_property
    def moved(self) -> list[bool]:
        """[B] whether the potential took the molecule at all."""
        return torch.isfinite(self.structures.structure_labels["energy"]).tolist()

    @cached_property
    def perceived(self) -> list[Perceived]:
        """The molecule of each structure; one that was not moved is the one that was drawn."""
        places = [place for place, moved in enumerate(self.moved) if moved]
        found = dict(zip(places, perceive(self.structures.select(places)), strict=True))
        return [found.get(place, drawn) for place, drawn in enumerate(self._drawn)]

    @cached_property
    def kept_bonds(self) -> list[bool | None]:
        """[B] whether the same atoms are bonded as before; None where there were no bonds or nothing was moved."""
        return [
            None if drawn.mol is None or not moved else now.mol is not None and np.array_equal(now.bonds, drawn.bonds)
            for drawn, now, moved in zip(self._drawn, self.perceived, self.moved, strict=True)
        ]

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """Strain, displacement and what became of the bonds, over all molecules."""
        return relaxation_metrics(self.strain.tolist(), self.rmsd.tolist(), self.converged, self.kept_bonds)

    @property
    def rows(self) -> list[dict[str, object]]:
        """One row per molecule, with the keys of `COLUMNS`; None for what is not known."""
        values = zip(
            map(_known, self.strain.tolist()),
            map(_known, self.rmsd.tolist()),
            self.converged,
            self.kept_bonds,
            self.reasons,
            strict=True,
        )
        return [dict(zip(COLUMNS, row, strict=True)) for row in values]


def _known(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
