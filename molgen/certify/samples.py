"""Structures that a model is measured on: given ones, those of its data, or some built of the elements it knows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from molgen.conversion import from_ase
from molgen.elements import SYMBOLS
from molgen.errors import ConfigError, DroppedDataWarning, InputError, StructureError
from molgen.models.potential import Potential
from molgen.random import Streams
from molgen.simulation.inputs import as_inputs
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Samples", "boxed", "chosen_samples", "rattled", "turned"]

# atoms of a molecule: enough for angles and torsions, few enough for some ten thousand steps
_FEWEST, _USUAL, _MOST = 3, 9, 16
_LEAST_CELL = 8  # atoms of a crystal
_LATTICES: Final = ("fcc", "bcc", "hcp", "diamond", "sc")
_GAP = 2.2  # Å between a molecule and its images


@dataclass(frozen=True, eq=False)
class Samples:
    """Structures and where they come from."""

    structures: Structures  # float64, on the CPU, without labels
    source: str

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur."""
        return tuple(torch.unique(self.structures.species).tolist())

    def first(self, count: int) -> Structures:
        """At most so many of the structures."""
        return self.structures.select(list(range(min(count, len(self.structures)))))


def chosen_samples(
    model: Potential, given: Any = None, data: Structures | None = None, *, count: int = 5, source: str = "given"
) -> Samples:
    """Up to `count` structures that a model is measured on.

    Args:
        model: knows some elements.
        given: a file, `ase.Atoms` or `Structures`: these are taken, the first ones.
        data: else some of these, of different composition where there are such, the smallest first.
        count: how many.
        source: what the data are called.

    Raises:
        ConfigError: nothing can be built of the model's elements.
        StructureError: a structure that the model can't take.
        InputError: no structure, or a file that can't be read.
    """
    if given is not None:
        found = _given(given)
        source = Path(given).name if isinstance(given, str | Path) else "given structures"
        several = (found.n_atoms > 1).nonzero()[:, 0]  # a single atom has no forces
        if not len(several):
            raise InputError("there is no structure of two or more atoms", where=source)
        samples = Samples(_plain(found.select(several[:count])), source)
    elif data is not None:
        samples = Samples(_plain(_varied(data, count)), source)
    else:
        samples = _built(model, count)
    model.check(samples.structures.to(model.device))
    if samples.structures.pbc.any() and not model.periodic:
        raise StructureError(
            "it is periodic, and the model takes molecules alone",
            where=samples.source,
            remedy="give molecules (--structures)",
        )
    return samples


def rattled(structures: Structures, width: float, seed: int) -> Structures:
    """The structures with every coordinate displaced by normal noise of so many Å."""
    streams = Streams(seed, range(len(structures)))
    noise = streams.normal("rattle", counts=structures.n_atoms, width=3, dtype=torch.float64)
    return structures.replace(positions=structures.positions + width * noise)


def boxed(structures: Structures) -> Structures:
    """Molecules in skewed periodic cells, little larger than they are; what is periodic already stays as it is."""
    cells = []
    for own in structures.split():
        if own.pbc.any():
            cells.append(own.cell)
            continue
        extent = own.positions.max(0).values - own.positions.min(0).values + _GAP
        cell = torch.diag(extent)
        cell[1, 0], cell[2, 0], cell[2, 1] = 0.4, -0.3, 0.2
        cells.append(cell[None])
    return structures.replace(cell=torch.cat(cells), pbc=torch.ones(len(structures), 3, dtype=torch.bool))


def _given(given: Any) -> Structures:
    return given if isinstance(given, Structures) else _structures(as_inputs(given).atoms)


def _structures(atoms: Sequence[Atoms]) -> Structures:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DroppedDataWarning)  # labels and constraints play no part
        return from_ase(list(atoms))


def _plain(structures: Structures) -> Structures:
    return structures.to("cpu").to(torch.float64).replace(atom_labels={}, structure_labels={})


def _varied(data: Structures, count: int) -> Structures:
    """The smallest structure of each composition, then further ones."""
    order = [index for index in data.n_atoms.argsort(stable=True).tolist() if int(data.n_atoms[index]) > 1]
    seen: set[str] = set()
    first: list[int] = []
    further: list[int] = []
    for index, formula in zip(order, data.select(order).formulas(), strict=True):
        (further if formula in seen else first).append(index)
        seen.add(formula)
    if not order:
        raise InputError("the data have no structure of two or more atoms")
    # spread over the rest, since neighbours in a file are often neighbours in time
    lacking = max(count - len(first), 0)
    spread = further[:: max(len(further) // max(lacking, 1), 1)][:lacking]
    return data.select([*first[:count], *spread])


def _built(model: Potential, count: int) -> Samples:
    molecules = _molecules(model.elements, count)
    if molecules:
        return Samples(_plain(_structures(molecules)), "molecules of the G2 set (Curtiss et al. 1991), as in ASE")
    crystals = _crystals(model.elements) if model.periodic else []
    if crystals:
        some = [crystals[index % len(crystals)] for index in range(count)]
        return Samples(_plain(_structures(some)), "crystals of the elements, as in ASE")
    symbols = ", ".join(SYMBOLS[number] for number in model.elements)
    raise ConfigError(
        f"no molecule or crystal to measure on can be built of {symbols}",
        remedy="give some structures (--structures FILE), or labelled data (--data FILE)",
    )


def _molecules(elements: Sequence[int], count: int) -> list[Atoms]:
    """Closed-shell molecules of these elements: those that bring new elements first, then those of usual size."""
    from ase.build import molecule
    from ase.collections import g2

    known = set(elements)
    fit = []
    for name in g2.names:
        atoms = molecule(name)
        closed = not atoms.get_initial_magnetic_moments().any()
        if closed and set(atoms.numbers.tolist()) <= known and _FEWEST <= len(atoms) <= _MOST:
            fit.append(atoms)
    fit.sort(key=lambda atoms: abs(len(atoms) - _USUAL))
    chosen: list[Atoms] = []
    covered: set[int] = set()
    while fit and len(chosen) < count:
        best = max(fit, key=lambda atoms: len(set(atoms.numbers.tolist()) - covered))
        chosen.append(best)
        fit.remove(best)
        covered |= set(best.numbers.tolist())
    return chosen


def _crystals(elements: Sequence[int]) -> list[Atoms]:
    """Cells of eight or more atoms of those elements whose lattice ASE knows."""
    from ase.build import bulk
    from ase.data import reference_states

    found = []
    for number in elements:
        lattice = (reference_states[number] or {}).get("symmetry")
        if lattice not in _LATTICES:
            continue
        atoms = bulk(SYMBOLS[number], orthorhombic=True) if lattice == "hcp" else bulk(SYMBOLS[number], cubic=True)
        axis = 0
        while len(atoms) < _LEAST_CELL:
            atoms = atoms.repeat([2 if k == axis else 1 for k in range(3)])
            axis += 1
        found.append(atoms)
    return found


def turned(structures: Structures, q: Tensor) -> Structures:
    """The structures with positions and cells multiplied by an orthogonal matrix [3, 3]."""
    return structures.replace(positions=structures.positions @ q.T, cell=structures.cell @ q.T)
