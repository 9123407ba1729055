"""`Structures`: the one data type that flows through every room, always a batch, tensors on one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from molgen.errors import StructureError

__all__ = ["Structures", "concatenate", "hill_formula"]


@dataclass(frozen=True, eq=False)
class Structures:
    """A batch of B structures with N atoms and M bonds in all.

    Build it with :meth:`build`, which fills what is left out, or from other libraries with `molgen.from_ase` and
    `molgen.from_rdkit`. The first atoms belong to structure 0, the next to structure 1, and so on.

    Shapes and units stand beside the fields. Labels are tensors whose first axis is N or B: energy eV, forces eV/Å,
    stress eV/Å³, dipole e·Å, masses amu, momenta as ASE writes them.

    >>> water = Structures.build(positions=[[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], species=[8, 1, 1])
    >>> water.n_structures, water.formulas()
    (1, ['H2O'])
    """

    positions: Tensor  # [N, 3] Å, floating; keeps the dtype it came with
    species: Tensor  # [N] int64, atomic numbers
    batch: Tensor  # [N] int64, the structure of each atom, ascending
    n_atoms: Tensor  # [B] int64
    cell: Tensor  # [B, 3, 3] Å, rows are lattice vectors, zeros for none; dtype of positions
    pbc: Tensor  # [B, 3] bool
    charge: Tensor  # [B] e, total charge; dtype of positions
    spin: Tensor  # [B] int64, multiplicity 2S + 1
    formal_charges: Tensor  # [N] int64, e
    bonds: Tensor  # [M, 2] int64, atom indices into the batch, i < j
    bond_orders: Tensor  # [M] int64, kekulised: 1, 2 or 3
    bonds_known: Tensor  # [B] bool; False says that an empty list of bonds means "not known"
    atom_labels: Mapping[str, Tensor] = field(default_factory=dict)  # each [N, ...]
    structure_labels: Mapping[str, Tensor] = field(default_factory=dict)  # each [B, ...]

    @classmethod
    def build(
        cls,
        positions: Tensor | Sequence,
        species: Tensor | Sequence[int],
        n_atoms: Tensor | Sequence[int] | None = None,
        **given: object,
    ) -> Structures:
        """Structures from positions and species; one structure unless `n_atoms` says otherwise.

        Args:
            positions: [N, 3] Å. Integers become float64.
            species: [N] atomic numbers.
            n_atoms: [B] atoms of each structure, in order.
            **given: any other field but `batch`; what is left out is empty, zero, or singlet.

        Raises:
            StructureError: shapes that don't fit, numbers that are not finite, elements that don't exist.
        """
        unknown = set(given) - {f.name for f in fields(cls)} | (set(given) & {"batch"})
        if unknown:
            raise StructureError(f"Structures has no field {', '.join(sorted(unknown))} to set")
        positions = _tensor("positions", positions)
        if not positions.is_floating_point():
            positions = positions.to(torch.float64)
        device, dtype = positions.device, positions.dtype
        positions = positions.reshape(-1, 3) if positions.numel() == 0 else positions
        species = _tensor("species", species, torch.int64, device)
        counts = _tensor("n_atoms", [len(species)] if n_atoms is None else n_atoms, torch.int64, device)
        _check_counts(counts, len(species))
        n, b = len(species), len(counts)
        batch = torch.repeat_interleave(torch.arange(b, device=device), counts)
        defaults: dict[str, Tensor] = {
            "cell": torch.zeros(b, 3, 3, dtype=dtype, device=device),
            "pbc": torch.zeros(b, 3, dtype=torch.bool, device=device),
            "charge": torch.zeros(b, dtype=dtype, device=device),
            "spin": torch.ones(b, dtype=torch.int64, device=device),
            "formal_charges": torch.zeros(n, dtype=torch.int64, device=device),
            "bonds": torch.zeros(0, 2, dtype=torch.int64, device=device),
            "bond_orders": torch.zeros(0, dtype=torch.int64, device=device),
            "bonds_known": torch.zeros(b, dtype=torch.bool, device=device),
        }
        for name, default in defaults.items():
            if name in given:
                value = _tensor(name, given.pop(name), default.dtype, device)
                defaults[name] = value.reshape(-1, 2) if name == "bonds" and value.numel() == 0 else value
        structures = cls(positions, species, batch, counts, **defaults, **given)  # type: ignore[arg-type]
        structures.check()
        return structures

    @property
    def n_structures(self) -> int:
        """B, the number of structures."""
        return len(self.n_atoms)

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def offsets(self) -> Tensor:
        """[B] int64: the index of each structure's first atom."""
        return torch.cumsum(self.n_atoms, 0) - self.n_atoms

    def replace(self, **changes: object) -> Structures:
        """A copy with some fields changed, unchecked (the fields of a batch change in inner loops)."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def to(self, target: torch.device | str | torch.dtype) -> Structures:
        """Moved to a device, or with every floating tensor in another dtype."""

        def move(value: Tensor) -> Tensor:
            if isinstance(target, torch.dtype) and not value.is_floating_point():
                return value
            return value.to(target)

        changed: dict[str, object] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            changed[f.name] = move(value) if isinstance(value, Tensor) else {k: move(v) for k, v in value.items()}
        return replace(self, **changed)  # type: ignore[arg-type]

    def split(self) -> list[Structures]:
        """One `Structures` per structure; the inverse of :func:`concatenate`."""
        return [self.select([index]) for index in range(self.n_structures)]

    def select(self, indices: Sequence[int] | Tensor) -> Structures:
        """The structures of the given indices, in that order, or those that a mask [B] of bools keeps."""
        device = self.positions.device
        chosen = torch.as_tensor(indices, device=device).reshape(-1)
        chosen = chosen.nonzero()[:, 0] if chosen.dtype == torch.bool else chosen.to(torch.int64)
        counts = self.n_atoms[chosen]
        n = int(counts.sum())
        start = torch.cumsum(counts, 0) - counts
        # index of each kept atom in this batch
        atoms = torch.arange(n, device=device) + torch.repeat_interleave(self.offsets[chosen] - start, counts)
        batch = torch.repeat_interleave(torch.arange(len(chosen), device=device), counts)
        bonds, orders = self._select_bonds(chosen, start)
        return Structures(
            positions=self.positions[atoms],
            species=self.species[atoms],
            batch=batch,
            n_atoms=counts,
            cell=self.cell[chosen],
            pbc=self.pbc[chosen],
            charge=self.charge[chosen],
            spin=self.spin[chosen],
            formal_charges=self.formal_charges[atoms],
            bonds=bonds,
            bond_orders=orders,
            bonds_known=self.bonds_known[chosen],
            atom_labels={k: v[atoms] for k, v in self.atom_labels.items()},
            structure_labels={k: v[chosen] for k, v in self.structure_labels.items()},
        )

    def _select_bonds(self, chosen: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.bonds) == 0:
            return self.bonds, self.bond_orders
        owner = self.batch[self.bonds[:, 0]]  # [M]
        wanted = torch.zeros(self.n_structures, dtype=torch.bool, device=owner.device)
        wanted[chosen] = True
        candidates = wanted[owner].nonzero()[:, 0]
        owner = owner[candidates]
        by_owner = candidates[torch.argsort(owner, stable=True)]
        per_owner = torch.bincount(owner, minlength=self.n_structures)  # [B]
        first = torch.cumsum(per_owner, 0) - per_owner
        counts = per_owner[chosen]
        # place of each kept bond among the bonds in the order of their structures
        rank = torch.arange(int(counts.sum()), device=owner.device)
        shift = first[chosen] - (torch.cumsum(counts, 0) - counts)
        kept = by_owner[rank + torch.repeat_interleave(shift, counts)]
        moved = torch.repeat_interleave(start - self.offsets[chosen], counts)
        return self.bonds[kept] + moved[:, None], self.bond_orders[kept]

    def formulas(self) -> list[str]:
        """The Hill formula of each structure."""
        return [hill_formula(own.tolist()) for own in torch.split(self.species, self.n_atoms.tolist())]

    def check(self) -> None:
        """Raise StructureError unless every field has its shape and every number is finite.

        Raises:
            StructureError: names the field, and the structure and atom where that is known.
        """
        n, b, m = len(self.species), self.n_structures, len(self.bonds)
        shapes = {
            "positions": (n, 3),
            "batch": (n,),
            "cell": (b, 3, 3),
            "pbc": (b, 3),
            "charge": (b,),
            "spin": (b,),
            "formal_charges": (n,),
            "bonds": (m, 2),
            "bond_orders": (m,),
            "bonds_known": (b,),
        }
        for name, shape in shapes.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise StructureError(f"{name} has shape {list(found)}", expected=str(list(shape)))
        for name, value in self.atom_labels.items():
            if len(value) != n:
                raise StructureError(f"atom label {name!r} has {len(value)} rows", expected=f"one per atom, {n}")
        for name, value in self.structure_labels.items():
            if len(value) != b:
                raise StructureError(f"structure label {name!r} has {len(value)} rows", expected=f"{b}")
        _check_counts(self.n_atoms, n)
        self._check_values()

    def _check_values(self) -> None:
        if not torch.isfinite(self.positions).all():
            atom = int((~torch.isfinite(self.positions)).any(1).nonzero()[0, 0])
            raise StructureError("a coordinate is not a finite number", where=self._where(atom))
        if not torch.isfinite(self.cell).all():
            raise StructureError("a cell vector is not finite", remedy="give zeros where there is no cell")
        if not torch.isfinite(self.charge).all():
            index = int((~torch.isfinite(self.charge)).nonzero()[0])
            raise StructureError("charge is not finite", where=f"structure {index}")
        if (self.spin < 1).any():
            index = int((self.spin < 1).nonzero()[0])
            message = f"spin is {int(self.spin[index])}"
            raise StructureError(message, where=f"structure {index}", expected="a multiplicity 2S + 1: 1, 2, 3, …")
        wrong = (self.species < 1) | (self.species > 118)
        if wrong.any():
            atom = int(wrong.nonzero()[0, 0])
            number = int(self.species[atom])
            raise StructureError(f"atomic number {number} is no element", where=self._where(atom), expected="1 to 118")
        if len(self.bonds):
            if int(self.bonds.min()) < 0 or int(self.bonds.max()) >= len(self.species):
                raise StructureError("a bond names an atom that is not there", expected=f"0 to {len(self.species) - 1}")
            if not (self.bonds[:, 0] < self.bonds[:, 1]).all():
                raise StructureError("bonds must be listed as pairs i < j")
            if not (self.batch[self.bonds[:, 0]] == self.batch[self.bonds[:, 1]]).all():
                raise StructureError("a bond joins two structures")

    def _where(self, atom: int) -> str:
        structure = int(self.batch[atom])
        return f"structure {structure}, atom {atom - int(self.offsets[structure])}"


def concatenate(parts: Sequence[Structures]) -> Structures:
    """One batch of several; the inverse of `Structures.split`. Labels are kept where every part has them.

    Raises:
        StructureError: nothing to concatenate.
    """
    if not parts:
        raise StructureError("nothing to concatenate", expected="at least one Structures")
    atoms = torch.tensor([0] + [len(p.species) for p in parts]).cumsum(0).tolist()
    counts = torch.tensor([0] + [p.n_structures for p in parts]).cumsum(0).tolist()
    joined: dict[str, object] = {}
    for f in fields(Structures):
        values = [getattr(p, f.name) for p in parts]
        if f.name == "batch":
            values = [v + shift for v, shift in zip(values, counts, strict=False)]
        elif f.name == "bonds":
            values = [v + shift for v, shift in zip(values, atoms, strict=False)]
        if f.name.endswith("_labels"):
            shared = set(values[0]).intersection(*values[1:])
            joined[f.name] = {key: torch.cat([v[key] for v in values]) for key in sorted(shared)}
        else:
            joined[f.name] = torch.cat(values)
    return Structures(**joined)  # type: ignore[arg-type]


def _tensor(
    name: str, value: object, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    try:
        return torch.as_tensor(value, dtype=dtype, device=device)  # type: ignore[call-overload]
    except (TypeError, ValueError, RuntimeError) as error:
        raise StructureError(f"{name} is no array of numbers", expected="rows of one length") from error


def _check_counts(n_atoms: Tensor, n: int) -> None:
    if (n_atoms < 0).any():
        raise StructureError("n_atoms is negative", where=f"structure {int((n_atoms < 0).nonzero()[0])}")
    if int(n_atoms.sum()) != n:
        raise StructureError(f"n_atoms sums to {int(n_atoms.sum())}", expected=f"{n}, one per species")


def hill_formula(numbers: Sequence[int]) -> str:
    """The formula of atomic numbers: carbon, hydrogen, then the others by symbol (Hill 1900).

    >>> hill_formula([8, 1, 6, 1])
    'CH2O'
    """
    from molgen.elements import SYMBOLS

    counts: dict[str, int] = {}
    for number in numbers:
        counts[SYMBOLS[number]] = counts.get(SYMBOLS[number], 0) + 1
    order = sorted(counts, key=lambda s: (0 if "C" in counts and s in "CH" else 1, s))
    return "".join(s + (str(counts[s]) if counts[s] > 1 else "") for s in order)
