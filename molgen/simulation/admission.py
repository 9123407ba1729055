"""What a calculator takes of `ase.Atoms`, and what it refuses before the model sees it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from molgen.conversion.charges import charge_of, spin_of
from molgen.elements import SYMBOLS
from molgen.errors import ConfigError, StructureError
from molgen.neighbors import Graph
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["CLOSEST", "Admission", "refuse_coincident", "renamed"]

# Å; no two nuclei are ever so near, and derivatives of their distance mean nothing
CLOSEST = 1e-3


class _Model(Protocol):
    @property
    def elements(self) -> tuple[int, ...]: ...

    @property
    def conditions(self) -> frozenset[str]: ...

    @property
    def periodic(self) -> bool: ...


class Admission:
    """Makes `Structures` of `ase.Atoms` for one model, and refuses those that it can't take.

    Args:
        model: what it knows.
        charge: e, where `atoms.info` says nothing; None for the sum of the initial charges.
        spin: multiplicity, where `atoms.info` says nothing.

    Raises:
        ConfigError: a charge or spin that can't be.
    """

    def __init__(self, model: _Model, *, charge: float | None, spin: int) -> None:
        if charge is not None and not (_is_number(charge) and np.isfinite(charge)):
            raise ConfigError(
                f"charge is {charge!r}", where="charge", expected="a number of elementary charges, or None"
            )
        if not (_is_number(spin) and spin >= 1 and spin == int(spin)):
            raise ConfigError(f"spin is {spin!r}", where="spin", expected="a multiplicity 2S + 1: 1, 2, 3, …")
        self._charge, self._spin = charge, int(spin)
        self._conditions, self._periodic = model.conditions, model.periodic
        self._known = np.zeros(len(SYMBOLS), dtype=bool)
        self._known[list(model.elements)] = True
        self._names = ", ".join(SYMBOLS[number] for number in model.elements)
        self._last: tuple[object, Structures] | None = None

    def charge_and_spin(self, atoms: Atoms, where: str | None = None) -> tuple[float, int]:
        """Total charge in e and multiplicity.

        Raises:
            StructureError: what `atoms.info` says is no number.
        """
        return charge_of(atoms, where, default=self._charge), spin_of(atoms, where, default=self._spin)

    def one(self, atoms: Atoms, conditions: tuple[float, int], device: torch.device) -> Structures:
        """A batch of one. What a simulation leaves as it is, is kept from the call before.

        Args:
            atoms: on a CPU the structure shares their positions, which may not change while it is used.
            conditions: from `charge_and_spin`.
            device: where it goes.

        Raises:
            StructureError: as `many`.
        """
        key = (atoms.numbers.tobytes(), atoms.pbc.tobytes(), conditions, device)
        if self._last is None or self._last[0] != key:
            charge, spin = self._checked(atoms, None)
            self._last = (key, _structures([atoms], [charge], [spin]).to(device))
        # a sum shows NaN and infinity at once
        elif not all(math.isfinite(np.add.reduce(x, axis=None)) for x in (atoms.positions, atoms.cell.array)):
            _refuse_not_finite(atoms, None)
        return self._last[1].replace(
            positions=torch.from_numpy(np.asarray(atoms.positions, dtype=np.float64)).to(device),
            cell=torch.from_numpy(np.asarray(atoms.cell.array, dtype=np.float64)[None]).to(device),
        )

    def many(self, frames: Sequence[Atoms], numbers: Sequence[int], device: torch.device) -> Structures:
        """A batch of several.

        Args:
            frames: what it is made of.
            numbers: what errors call them.
            device: where it goes.

        Raises:
            StructureError: no atoms, numbers that are not finite, an element that the model doesn't know, a charge or
                spin that it was not trained to tell apart, periodic images that it doesn't see.
        """
        found = [self._checked(atoms, f"structure {number}") for atoms, number in zip(frames, numbers, strict=True)]
        return _structures(frames, [charge for charge, _ in found], [spin for _, spin in found]).to(device)

    def _checked(self, atoms: Atoms, where: str | None) -> tuple[float, int]:
        if len(atoms) == 0:
            raise StructureError("there are no atoms", where=where, expected="at least one")
        _refuse_not_finite(atoms, where)
        self._refuse_elements(atoms, where)
        if not self._periodic and atoms.pbc.any():
            raise StructureError(
                "it is periodic, and the model takes molecules alone",
                where=where,
                remedy="set pbc to False, or choose a model with a cutoff",
            )
        charge, spin = self.charge_and_spin(atoms, where)
        for name, value, usual in (("charge", charge, 0), ("spin", spin, 1)):
            if value != usual and name not in self._conditions:
                raise StructureError(
                    f"its {name} is {value:g}, and the model was not trained to tell {name}s apart",
                    where=where,
                    expected=f"{usual}",
                    remedy=f"correct atoms.info[{name!r}], or choose a model of several {name}s",
                )
        return charge, spin

    def _refuse_elements(self, atoms: Atoms, where: str | None) -> None:
        numbers = atoms.numbers
        in_table = (numbers >= 0) & (numbers < len(self._known))
        unknown = ~(in_table & self._known[np.where(in_table, numbers, 0)])
        if unknown.any():
            atom = int(np.flatnonzero(unknown)[0])
            symbol = SYMBOLS[numbers[atom]] if in_table[atom] else f"of number {numbers[atom]}"
            others = f" ({int(unknown.sum())} atoms of unknown elements in all)" if unknown.sum() > 1 else ""
            raise StructureError(
                f"atom {atom} is {symbol}, an element that the model doesn't know{others}",
                where=where,
                expected=f"one of {self._names}",
                remedy="choose a model that was trained on it",
            )


def refuse_coincident(graph: Graph, structures: Structures, numbers: Sequence[int] | None = None) -> None:
    """Refuse atoms on top of each other, periodic images included.

    Args:
        graph: with the lengths of the structures as they are.
        structures: whose it is.
        numbers: what errors call the structures; None where there is one alone.

    Raises:
        StructureError: names both atoms.
    """
    if len(graph.lengths) == 0 or float(graph.lengths.min()) >= CLOSEST:
        return
    edge = int(graph.lengths.argmin())
    receiver, sender = int(graph.receivers[edge]), int(graph.senders[edge])
    index = int(structures.batch[receiver])
    start = int(structures.offsets[index])
    image = "a periodic image of " if graph.cell_shifts[edge].any() else ""
    length = float(torch.linalg.vector_norm(graph.vectors[edge]))
    named = [f"{atom - start} ({SYMBOLS[int(structures.species[atom])]})" for atom in (receiver, sender)]
    raise StructureError(
        f"atom {named[0]} and {image}atom {named[1]} are {length:.1g} Å apart",
        where=None if numbers is None else f"structure {numbers[index]}",
        expected=f"at least {CLOSEST:g} Å",
        remedy="remove one of them, or check positions and cell",
    )


def _refuse_not_finite(atoms: Atoms, where: str | None) -> None:
    positions = atoms.positions
    if not np.isfinite(positions).all():
        atom = int(np.flatnonzero(~np.isfinite(positions).all(1))[0])
        raise StructureError(
            f"the position of atom {atom} ({atoms.symbols[atom]}) is {positions[atom].tolist()}",
            where=where,
            expected="finite numbers",
            remedy="a simulation that gets there has exploded: take a shorter time step, or relax first",
        )
    if not np.isfinite(atoms.cell.array).all():
        raise StructureError("a cell vector is not finite", where=where, remedy="give zeros where there is no cell")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def renamed(error: StructureError, number: int | None) -> StructureError:
    """The error of a batch of one, as one of the structure that its caller knows by a number, or by none."""
    place = (error.where or "").removeprefix("structure 0").removeprefix(", ")
    owner = [] if number is None else [f"structure {number}"]
    where = ", ".join([*owner, *([place] if place else [])])
    return type(error)(error.what, where=where or None, expected=error.expected, remedy=error.remedy)


def _structures(frames: Sequence[Atoms], charges: list[float], spins: list[int]) -> Structures:
    return Structures.build(
        positions=torch.from_numpy(np.concatenate([frame.positions for frame in frames]).astype(np.float64)),
        species=torch.from_numpy(np.concatenate([frame.numbers for frame in frames]).astype(np.int64)),
        n_atoms=[len(frame) for frame in frames],
        cell=torch.from_numpy(np.stack([frame.cell.array for frame in frames]).astype(np.float64)),
        pbc=torch.from_numpy(np.stack([frame.pbc for frame in frames])),
        charge=charges,
        spin=spins,
    )
