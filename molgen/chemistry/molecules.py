"""`Molecules`: structures, and the molecules that chemists see in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from molgen.chemistry.internal import Internal, internal
from molgen.chemistry.perception import Perceived, perceive
from molgen.chemistry.table_molecules import TableMolecules
from molgen.chemistry.valences import D2, d2
from molgen.structures import Structures

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["Molecules"]


class Molecules:
    """A batch of structures read as molecules. Nothing is dropped: lists are as long as the batch, in its order.

    Bonds are perceived when they are first asked for.

    >>> water = Structures.build([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], species=[8, 1, 1])
    >>> Molecules(water).smiles
    ['O']
    """

    def __init__(self, structures: Structures) -> None:
        self.structures = structures

    def __len__(self) -> int:
        return self.structures.n_structures

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} molecules, {len(self.structures.species)} atoms)"

    @cached_property
    def perceived(self) -> list[Perceived]:
        """The molecule of each structure, where its bonds come from, and why not from a better source."""
        return perceive(self.structures)

    @cached_property
    def table(self) -> TableMolecules:
        """The structures with the distance table's bonds: what the metrics count."""
        return TableMolecules(self.structures)

    @cached_property
    def d2(self) -> D2:
        """Strict stability, by the bonds and charges that the structures brought along, else by those perceived."""
        return d2(self._with_any_bonds())

    @cached_property
    def internal(self) -> Internal:
        """Bond lengths, angles and torsions of all that could be perceived."""
        return internal(self.structures, self.perceived)

    def select(self, indices: Sequence[int]) -> Molecules:
        """Some of them, with what was perceived of these; all are perceived first."""
        part = Molecules(self.structures.select(indices))
        part.perceived = [self.perceived[index] for index in indices]
        return part

    def rdkit(self) -> list[Mol | None]:
        """Sanitised RDKit molecules with conformer and explicit hydrogens; None where none could be perceived."""
        return [found.mol for found in self.perceived]

    @property
    def smiles(self) -> list[str | None]:
        """Canonical SMILES with stereochemistry; fragments are joined by dots; None where none could be perceived."""
        return [found.smiles for found in self.perceived]

    @property
    def flags(self) -> list[dict[str, object]]:
        """One row per molecule, in the words of the metrics.

        `stable` (D1), `valid`, `connected`, `bonds` (where the perceived ones come from), `status` ("ok", or "no bonds"
        where none could be perceived) and `reason` (of bonds from a worse source than RDKit alone, or of none).
        """
        stable, pieces = self.table.d1.molecule_stable.tolist(), self.table.n_fragments.tolist()
        rows = zip(self.perceived, stable, self.table.smiles, pieces, strict=True)
        return [
            {
                "stable": is_stable,
                "valid": smiles is not None,
                "connected": smiles is not None and n_pieces == 1,
                "bonds": found.source,
                "status": "no bonds" if found.mol is None else "ok",
                "reason": found.reason,
            }
            for found, is_stable, smiles, n_pieces in rows
        ]

    def bonded(self) -> Structures:
        """The structures with the perceived bonds, kekulised, and formal charges.

        `bonds_known` is False where none could be perceived.
        """
        device, starts = self.structures.positions.device, self.structures.offsets.tolist()
        bonds = [found.bonds + start for found, start in zip(self.perceived, starts, strict=True)]
        none = np.zeros(0, dtype=np.int64)
        orders = np.concatenate([none, *(found.bond_orders for found in self.perceived)])
        charges = np.concatenate([none, *(found.formal_charges for found in self.perceived)])
        return self.structures.replace(
            bonds=torch.from_numpy(np.concatenate([none.reshape(0, 2), *bonds])).to(device),
            bond_orders=torch.from_numpy(orders).to(device),
            formal_charges=torch.from_numpy(charges).to(device),
            bonds_known=torch.tensor([found.mol is not None for found in self.perceived], device=device).bool(),
        )

    def _with_any_bonds(self) -> Structures:
        """On the CPU: given bonds as they are, also where RDKit refuses the molecule, and perceived ones elsewhere."""
        given = self.structures.to("cpu")
        known = given.bonds_known
        if known.all():
            return given
        found = self.bonded().to("cpu")
        new = ~known[found.batch[found.bonds[:, 0]]]  # [M]
        return given.replace(
            bonds=torch.cat([given.bonds, found.bonds[new]]),
            bond_orders=torch.cat([given.bond_orders, found.bond_orders[new]]),
            formal_charges=torch.where(known[given.batch], given.formal_charges, found.formal_charges),
            bonds_known=known | found.bonds_known,
        )
