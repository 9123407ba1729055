"""Metrics that count what the sampler failed at: such molecules are neither stable nor valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch

from molgen.chemistry.stability import D1
from molgen.chemistry.table_molecules import TableMolecules
from molgen.structures import Structures

__all__ = ["MarkedTable"]


class MarkedTable(TableMolecules):
    """What the distance table sees in B structures, of which some are no results.

    Args:
        structures: all of them.
        failures: [B] why a structure is no result, or None.
    """

    def __init__(self, structures: Structures, failures: Sequence[str | None]) -> None:
        super().__init__(structures)
        self._failed = torch.tensor([failure is not None for failure in failures], dtype=torch.bool)

    @cached_property
    def d1(self) -> D1:
        """Bonds and stability; a failed structure is unstable, with all its atoms."""
        found = super().d1
        return replace(
            found,
            atom_stable=found.atom_stable & ~self._failed[self.structures.batch],
            molecule_stable=found.molecule_stable & ~self._failed,
        )

    @cached_property
    def smiles(self) -> list[str | None]:
        """SMILES of the largest fragment; None where RDKit refuses the molecule and where there is none."""
        pairs = zip(super().smiles, self._failed.tolist(), strict=True)
        return [None if failed else smiles for smiles, failed in pairs]
