"""A substructure that is given: read, and put rigidly where the model believes its atoms to be."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from molgen.elements import SYMBOLS
from molgen.errors import RequestError
from molgen.interfaces import Schema
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms
    from rdkit.Chem import Mol

    ScaffoldGiven = str | Path | Structures | Mol | Atoms

__all__ = ["TOLERANCE", "Scaffold", "superpose"]

TOLERANCE: Final = 1e-4
"""Å, by which an atom of the substructure may be off after superposition."""

_CLOSEST: Final = 0.3  # Å


@dataclass(frozen=True, eq=False)
class Scaffold:
    """Atoms that every molecule is to have, as its first ones, in this geometry up to rotation and translation."""

    species: Tensor  # [K] atomic numbers
    positions: Tensor  # [K, 3] Å, float64, without centre of mass
    source: str | None = None  # name of the file

    @classmethod
    def read(cls, given: ScaffoldGiven, schema: Schema) -> Scaffold:
        """A substructure that a model can build on.

        Args:
            given: the path of a file with one structure, or an RDKit molecule, ASE atoms or `Structures` of one.
                Hydrogens are kept as they are: leave out those where something is to grow.
            schema: of the model.

        Raises:
            RequestError: several structures, none, elements that the model doesn't know, coincident atoms, or more
                atoms than its largest molecule.
            FileFormatError, StructureError: it can't be read.
        """
        structures, source = _structures(given)
        if len(structures) != 1 or not len(structures.species):
            raise RequestError(
                f"{source or 'it'} holds {len(structures)} structures with {len(structures.species)} atoms",
                where="scaffold",
                expected="one structure with at least one atom",
            )
        unknown = sorted(set(structures.species.tolist()) - set(schema.elements))
        if unknown:
            raise RequestError(
                f"the model knows no {', '.join(SYMBOLS[number] for number in unknown)}",
                where="scaffold",
                expected=f"elements of {', '.join(SYMBOLS[number] for number in schema.elements)}",
            )
        largest = max(schema.size_counts)
        if len(structures.species) > largest:
            raise RequestError(
                f"the substructure has {len(structures.species)} atoms, and the model's largest molecule {largest}",
                where="scaffold",
            )
        positions = structures.positions.double()
        apart = torch.pdist(positions)
        if len(apart) and float(apart.min()) < _CLOSEST:
            raise RequestError(
                f"two atoms of the substructure are {float(apart.min()):.2g} Å apart",
                where="scaffold",
                expected=f"at least {_CLOSEST} Å",
                remedy="give a structure with coordinates in three dimensions",
            )
        return cls(structures.species, positions - positions.mean(0), source)

    def __len__(self) -> int:
        return len(self.species)

    @property
    def counts(self) -> Mapping[int, int]:
        """How many atoms of each element."""
        return Counter(self.species.tolist())

    @property
    def sha256(self) -> str:
        """Of its elements and coordinates."""
        atoms = zip(self.species.tolist(), self.positions.tolist(), strict=True)
        return hashlib.sha256(repr([(z, [round(x, 6) for x in place]) for z, place in atoms]).encode()).hexdigest()

    def places(self, n_atoms: Tensor) -> Tensor:
        """[B · K] the atoms of a batch that belong to the substructure."""
        starts = torch.cumsum(n_atoms, 0) - n_atoms
        return (starts[:, None] + torch.arange(len(self), device=n_atoms.device)).reshape(-1)

    def placed(self, positions: Tensor, n_atoms: Tensor) -> Tensor:
        """[N, 3] Å with the substructure in its own geometry, turned and moved to lie nearest to where its atoms are.

        Args:
            positions: [N, 3] Å of a batch.
            n_atoms: [B].
        """
        places = self.places(n_atoms)
        aimed = positions[places].view(len(n_atoms), len(self), 3)
        whole = torch.isfinite(aimed).all(dim=(1, 2), keepdim=True)
        placed = torch.where(whole, superpose(self.positions, aimed), aimed)
        return positions.index_copy(0, places, placed.reshape(-1, 3))

    def kept(self, structures: Structures) -> list[bool]:
        """[B] whether a molecule has the substructure as its first atoms, within `TOLERANCE` after superposition."""
        if not len(structures):
            return []
        places = self.places(structures.n_atoms)
        found = structures.positions[places].view(len(structures), len(self), 3)
        off = torch.linalg.vector_norm(superpose(self.positions, found) - found, dim=-1).amax(1)
        same = (structures.species[places].view(len(structures), -1) == self.species).all(1)
        return (same & (off <= TOLERANCE)).tolist()


def superpose(rigid: Tensor, onto: Tensor) -> Tensor:
    """[B, K, 3] of `onto`'s dtype: a rigid body turned (never mirrored) and moved nearest to each of B others.

    Kabsch 1976, with the determinant's sign of Umeyama 1991.

    Args:
        rigid: [K, 3] float64, without centre of mass.
        onto: [B, K, 3].
    """
    aimed, body = torch.nan_to_num(onto.double()), rigid.to(onto.device)
    middle = aimed.mean(1, keepdim=True)
    u, _, vh = torch.linalg.svd(torch.einsum("ki,bkj->bij", body, aimed - middle))
    sign = torch.linalg.det(u @ vh)
    flip = torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign), dim=-1)
    turn = (u * flip[:, None, :]) @ vh  # [B, 3, 3], rows of the body times it
    return (body @ turn + middle).to(onto.dtype)


def _structures(given: ScaffoldGiven) -> tuple[Structures, str | None]:
    if isinstance(given, Structures):
        return given, None
    if isinstance(given, (str, Path)):
        from molgen.data import read

        return read(given), Path(given).name
    from molgen.conversion import from_ase, from_rdkit

    if hasattr(given, "GetAtoms"):
        return from_rdkit([given]), None  # type: ignore[list-item]
    if hasattr(given, "get_positions"):
        return from_ase([given]), None  # type: ignore[list-item]
    raise RequestError(
        f"a {type(given).__name__} is no substructure",
        where="scaffold",
        expected="the path of a file, an RDKit molecule, ASE atoms, or Structures of one molecule",
    )
