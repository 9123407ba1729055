"""Relaxation: structures one by one through ASE's optimisers, their cells too, or many molecules at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from molgen.errors import ConfigError, InputError, MolgenError, StructureError, nearest
from molgen.interruption import Interruption
from molgen.simulation.batched_relaxation import check_numbers
from molgen.simulation.guard import FORCE_LIMIT, collapsed, refuse_forces
from molgen.simulation.inputs import Inputs, as_calculator, as_inputs
from molgen.simulation.relaxed import Relaxation, RelaxationInterrupted, Relaxations, displacement
from molgen.simulation.state import energy_and_forces, told_as_ours
from molgen.simulation.together import OnStep, relax_inputs
from molgen.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["OPTIMIZERS", "relax"]

OPTIMIZERS: Final = ("bfgs", "lbfgs", "fire", "batched")


def relax(
    structures: Any,
    model: Any,
    *,
    fmax: float = 0.01,
    steps: int = 500,
    cell: bool = False,
    optimizer: str = "bfgs",
    force_limit: float = FORCE_LIMIT,
    device: str = "cpu",
    dtype: str | None = None,
    on_step: OnStep | None = None,
) -> Relaxations:
    """Move atoms to the nearest minimum of the energy.

    A structure that the model refuses, that does not converge, or whose energy or forces leave reason is no error of
    the whole: its last good frame is kept, with the reason.

    Args:
        structures: one or several `ase.Atoms` (their constraints are kept), `Structures`, or the path of a file.
        model: a registered name, the path of a file, a potential, or any ASE calculator.
        fmax: eV/Å; converged where no force is larger, nor with `cell` the generalised forces on the cell.
        steps: at most, for each structure.
        cell: also relax the cells, by ASE's `FrechetCellFilter`.
        optimizer: ASE's "bfgs", "lbfgs" or "fire"; or "batched", all structures at once as `relax_batch` does it: the
            fastest for many small ones; of potentials alone, without cells and constraints.
        force_limit: eV/Å, beyond which a relaxation is given up.
        device: for the model, as torch names it.
        dtype: "float32" or "float64", which it is if left out.
        on_step: told of each step: which structure, which step, the largest force. Of batches it is told the last
            structure that is done, its steps, and its largest force.

    Returns:
        What became of each structure, with `.table()` and `.write(path)`.

    Raises:
        ConfigError: an option that makes no sense.
        InputError: structures or a file that can't be used; a structure without a cell that is to be relaxed.
        StructureError: the model refuses every one of the structures; the error is that of the first.
        RelaxationInterrupted: SIGINT or SIGTERM.

    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> found = relax(molecule("CO"), EMT(), fmax=0.05)
    >>> found[0].converged, found[0].energy_after < found[0].energy_before
    (True, True)
    """
    if optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"unknown optimizer {optimizer!r}",
            expected=", ".join(OPTIMIZERS),
            remedy=nearest(optimizer, OPTIMIZERS),
        )
    check_numbers(fmax=fmax, steps=steps, force_limit=force_limit)
    inputs = as_inputs(structures)
    if optimizer == "batched":
        if cell:
            raise ConfigError("cells can't be relaxed in batches", remedy="choose another optimizer")
        results = relax_inputs(
            inputs, model, fmax=fmax, steps=steps, force_limit=force_limit, device=device, dtype=dtype, on_step=on_step
        )
    else:
        calculator = as_calculator(model, device=device, dtype=dtype)
        if cell:
            _require_cells(inputs, calculator)
        relaxers = [_Relaxer(atoms, calculator, optimizer, cell, fmax, force_limit) for atoms in inputs.atoms]
        results = _one_by_one(relaxers, steps, inputs.bonded, on_step)
    if all(result.refusal is not None for result in results):
        raise results[0].refusal
    return results


def _one_by_one(
    relaxers: Sequence[_Relaxer], steps: int, bonded: Structures | None, on_step: OnStep | None
) -> Relaxations:
    results: list[Relaxation] = []
    with Interruption() as interruption:
        for number, relaxer in enumerate(relaxers):
            for step, force in relaxer.steps(steps):
                if on_step is not None:
                    on_step(number, step, force)
                if interruption.signalled:
                    relaxer.reason = "interrupted"
                    break
            results.append(relaxer.result())
            if interruption.signalled:
                raise RelaxationInterrupted(Relaxations(results, bonded))
    return Relaxations(results, bonded)


@dataclass(frozen=True, eq=False)
class _Good:
    """A state that can be gone back to."""

    positions: np.ndarray  # [N, 3] Å
    cell: np.ndarray  # [3, 3] Å
    energy: float  # eV
    forces: np.ndarray  # [N, 3] eV/Å, of the model alone
    largest: float  # eV/Å, of the forces that constraints leave


class _Relaxer:
    """One structure on its way; `atoms` change."""

    def __init__(
        self, atoms: Atoms, calculator: Any, optimizer: str, cell: bool, fmax: float, force_limit: float
    ) -> None:
        self.reason: str | None = None
        atoms.arrays.pop("momenta", None)  # of other positions
        self._refusal: StructureError | None = None
        self._atoms, self._start, self._calculator = atoms, atoms.copy(), calculator
        self._name, self._cell, self._fmax, self._limit = optimizer, cell, fmax, force_limit
        self._good: _Good | None = None
        self._bad: Atoms | None = None
        self._before = float("nan")
        self._done = 0
        self._converged = False

    def steps(self, most: int) -> Iterator[tuple[int, float]]:
        """Yield step and largest force after each evaluation, the first included."""
        self._atoms.calc = self._calculator
        try:
            _refuse_not_finite(self._atoms)
            self._look()
        except StructureError as refused:
            self._refusal, self.reason = refused, str(refused)
        if self._good is None:
            return
        optimizer = self._optimizer()
        ways = optimizer.irun(fmax=self._fmax, steps=most)
        while (converged := self._next(ways)) is not None:
            self._done, self._converged = optimizer.nsteps, converged
            yield self._done, self._good.largest
        if self.reason is None and not self._converged:
            self.reason = f"not converged after {most} steps"
        self.reason = self.reason or collapsed(self._atoms)

    def result(self) -> Relaxation:
        """What has become of it so far."""
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms, good = self._start.copy(), self._good
        if good is not None:
            atoms.set_cell(good.cell)
            atoms.positions[:] = good.positions
            atoms.calc = SinglePointCalculator(atoms, energy=good.energy, forces=good.forces)
        return Relaxation(
            atoms=atoms,
            steps=self._done,
            energy_before=self._before,
            energy_after=float("nan") if good is None else good.energy,
            max_force=float("nan") if good is None else good.largest,
            rmsd=float("nan") if good is None else displacement(self._start, atoms),
            converged=self._converged and self.reason is None,
            reason=self.reason,
            refusal=self._refusal,
            bad=self._bad,
        )

    def _next(self, ways: Iterator[bool]) -> bool | None:
        """One step: whether it converged; None at the end, or where it left reason."""
        try:
            with warnings.catch_warnings(), told_as_ours():
                # of the logarithm of a cell that has hardly changed
                warnings.filterwarnings("ignore", message="logm result may be inaccurate")
                converged = next(ways, None)
            if converged is not None:
                self._look()
        except MolgenError as error:  # the calculator's word on coordinates that make no sense
            self.reason, self._bad = str(error), self._atoms.copy()
        return None if self.reason is not None or converged is None else bool(converged)

    def _look(self) -> None:
        """Remember the present state, or why it makes no sense."""
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms = self._atoms
        energy, forces = energy_and_forces(atoms)
        if self._good is None:
            self._before = energy
        wrong = refuse_forces(atoms, energy, forces, self._limit)
        if wrong is not None:
            self.reason, self._bad = wrong.what, atoms.copy()
            self._bad.calc = SinglePointCalculator(self._bad, energy=energy, forces=forces)
            return
        largest = float(np.sqrt(np.square(atoms.get_forces()).sum(1).max()))
        self._good = _Good(atoms.get_positions(), atoms.cell.array.copy(), energy, forces, largest)

    def _optimizer(self) -> Any:
        from ase.filters import FrechetCellFilter
        from ase.optimize import BFGS, FIRE, LBFGS

        kind = {"bfgs": BFGS, "lbfgs": LBFGS, "fire": FIRE}[self._name]
        return kind(FrechetCellFilter(self._atoms) if self._cell else self._atoms, logfile=None)


def _refuse_not_finite(atoms: Atoms) -> None:
    wrong = np.flatnonzero(~np.isfinite(atoms.positions).all(1))
    if len(wrong):
        atom = int(wrong[0])
        raise StructureError(
            f"the position of atom {atom} ({atoms.symbols[atom]}) is {atoms.positions[atom].tolist()}",
            expected="finite numbers",
        )
    if not np.isfinite(atoms.cell.array).all():
        raise StructureError("a cell vector is not finite", remedy="give zeros where there is no cell")


def _require_cells(inputs: Inputs, calculator: Any) -> None:
    for number, atoms in enumerate(inputs.atoms):
        if not atoms.pbc.all() or atoms.cell.rank < 3:
            raise InputError(
                "its cell can't be relaxed",
                where=f"{inputs.source}, structure {number}",
                expected="a cell that is periodic in three directions",
                remedy="leave the cell as it is",
            )
    if "stress" not in calculator.implemented_properties:
        raise ConfigError(
            "cells are relaxed by their stress, and the model gives none",
            remedy="choose one whose forces are derivatives of an energy, with a cutoff",
        )
